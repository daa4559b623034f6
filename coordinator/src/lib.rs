//! The coordinator daemon: it plans the search, adds ciphertexts, and writes
//! down what happened. It is trusted to be there, never with anyone's data.
//!
//! # In scope
//!
//! - [`config`]: everything the daemon can be told; [`app`]: start, serve, stop;
//!   **start reading there**;
//! - [`session`], [`hub`], [`upload`]: connections, who is connected, what they send;
//! - [`runs`], [`mod@run`]: the queue of runs, and one run from offer to end, with
//!   [`remote`] and [`journal`] as the search sees them;
//! - [`store`]: the database; [`ledger`]: the append-only log; [`objects`]: models, and
//!   [`evidence`] of totals
//!   by content hash; [`spool`]: where uploads wait to be added;
//! - [`admin`], [`progress`]: people's requests, and what the watchers of a run see;
//! - [`authorize`]: whether a principal may do what it asks, by the access policy;
//! - [`certificates`], [`users`], [`connections`]: who has access, and how it is taken away;
//! - [`init`], [`members`], [`join_service`], [`charter_service`], [`client`]: how a consortium
//!   comes to be.
//!
//! # Out of scope
//!
//! The rules of a step (`collegium-protocol`), the search (`collegium-automl`),
//! command lines and formatting for people (the root package).

pub mod admin;
pub mod app;
pub mod authorize;
pub mod certificates;
pub mod charter_service;
pub mod client;
pub mod config;
pub mod connections;
pub mod evidence;
pub mod hub;
pub mod init;
pub mod join_service;
pub mod journal;
pub mod ledger;
mod ledger_service;
pub mod members;
pub mod objects;
pub mod participants;
mod pieces;
pub mod progress;
pub mod remote;
pub mod replay;
pub mod rounds;
pub mod run;
pub mod runs;
pub mod session;
pub mod spool;
pub mod stepfiles;
pub mod store;
pub mod sum;
pub mod upload;
pub mod users;
pub mod witness;

pub use app::run;
pub use config::{Config, Sources};
