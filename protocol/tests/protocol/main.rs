//! The protocol's tests with real cryptography and tiny shapes, in one binary.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod admission;
mod aggregation;
mod answering;
mod blame;
mod charters;
mod coding;
mod committees;
mod crashes;
mod large;
mod mixing;
mod opening;
mod releasing;
mod simulation;
mod streaming;
mod support;
mod verification;
mod voting;
mod wire;
