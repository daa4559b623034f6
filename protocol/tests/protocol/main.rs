//! The protocol's tests with real cryptography and tiny shapes, in one binary.

mod admission;
mod aggregation;
mod charters;
mod coding;
mod crashes;
mod member_checks;
mod mixing;
mod simulation;
mod support;
mod wire;
