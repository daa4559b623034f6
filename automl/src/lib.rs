//! Federated AutoML over sums.
//!
//! A search that learns about rows in one way only: it sends an [`ask::Ask`] and
//! gets [`ask::Totals`], the element-wise sum of every site's
//! [`ask::Answer`]. Everything is plain synchronous code: no network, no
//! cryptography, no clock, no threads.
//!
//! **In scope:** tasks, tables, splits, the profile, features, model families,
//! the race between candidates, blends of them, calibration, metrics from sums, the champion file and its
//! predictions.
//!
//! **Out of scope:** how sums are made. [`federation::Pooled`] adds in this
//! process; the coordinator brings a [`federation::Federation`] that encrypts
//! and talks to daemons. Both add the same integers, so both give the same
//! champion.
//!
//! # Where to start reading
//!
//! [`search::run`] is a round from the top. [`ask`] and [`site`] are the two
//! sides of the narrow waist. [`family`] says how each kind of model is trained
//! over sums.
//!
//! # Determinism
//!
//! The same seed, data and contributing sites give the same champion, byte for
//! byte. From totals to the next ask everything is scalar `f64` arithmetic in a
//! fixed order; transcendental functions come from `libm`; random numbers are
//! hashes of seeds ([`random`]); nothing iterates over a hash map. A crashed
//! search is run again over its journal ([`federation::Journaled`]).
#![cfg_attr(not(test), deny(clippy::unwrap_used))]

/// What a family of another crate reads and writes its JSON with.
pub use erased_serde;

pub mod ask;
pub mod blend;
pub mod calibrate;
pub mod data;
pub mod family;
pub mod features;
pub mod federation;
pub mod fixed;
pub mod local;
pub mod metric;
pub mod model;
pub mod noise;
pub mod object;
pub mod privacy;
pub mod profile;
pub mod random;
pub mod search;
pub mod simulate;
pub mod site;
pub mod split;
pub mod table;
pub mod task;
pub mod trial;
