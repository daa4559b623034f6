//! The node daemon: it stands beside one institution's rows and answers asks about them.
//!
//! # In scope
//!
//! - [`config`]: what the site can set, from file, environment and flags;
//! - [`policy`] and [`privacy`]: this site's own policy, and the key of its hashes;
//! - [`data`] and [`trainer`]: the rows, held by one thread that asks go to and answers come from;
//! - [`link`]: the connection that the node dials, and the step machines of `protocol` driven
//!   over it: what must be on the disk is on the disk before anything is sent;
//! - [`store`] and [`ledger`]: what the node must not forget, and what it did;
//! - [`keys`], [`join`], [`renew`], [`charter`]: private keys made at the site, certificates for them,
//!   and the pinned charter;
//! - [`requests`]: tasks that wait for a steward;
//! - [`mod@check`]: what usually goes wrong, and how to mend it.
//!
//! # Out of scope
//!
//! The rules of a step (`collegium-protocol`), the cryptography (`collegium-crypto`), what an
//! ask means (`collegium-automl`).
//!
//! Start reading at [`app`], then [`link`].

pub mod app;
pub mod beacon;
pub mod charter;
pub mod check;
pub mod config;
pub mod data;
pub mod join;
pub mod keys;
pub mod ledger;
pub mod link;
pub mod logging;
pub mod policy;
pub mod privacy;
pub mod renew;
pub mod requests;
pub mod spool;
pub mod state;
pub mod store;
pub mod trainer;

pub use app::{NodeError, run};
pub use check::check;
pub use config::Config;
