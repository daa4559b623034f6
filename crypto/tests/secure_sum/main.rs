//! The secure sum as its users see it: properties, the `tfhe` oracle, frozen vectors, and the
//! attack that a vote before release prevents.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod consortium;
mod forgery;
mod mixing;
mod oracle;
mod property;
mod timing;
mod vectors;
