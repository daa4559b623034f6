//! End to end: the real binary as real processes, over real QUIC on the loopback interface.
//!
//! [`consortium`] brings up a coordinator and four hospitals exactly as people would; each module
//! beside it tells one story. Nothing here sleeps for luck: the stories wait for files, for events
//! of the run, or for processes to end.

mod access;
mod admission;
mod audit;
mod bad_input;
mod banks;
mod check;
mod consortium;
mod demo;
mod equality;
mod faults;
mod key;
mod membership;
mod model;
mod page;
mod privacy;
mod rounds;
mod scripted_coordinator;
mod site_policy;
