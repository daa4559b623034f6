//! Every message, each enum with its cap in [`crate::limits`].
//!
//! On the control, object and admin streams a message is one frame: its length as a big-endian
//! `u32`, then its codec bytes. A body travels raw between an upload's header and trailer.

pub mod admin;
mod complaint;
pub mod join;
pub mod ledger;
pub mod session;
pub mod step;
pub mod verify;
