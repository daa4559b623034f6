//! The ledger: its formats against an independent implementation, its writer against crashes, its
//! verification against every kind of tampering.

mod copy;
mod crash;
mod interop;
mod mutate;
mod scale;
mod support;
mod tamper;
mod tree;
mod witness;
