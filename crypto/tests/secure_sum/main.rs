//! The secure sum as its users see it: properties, the `tfhe` oracle, frozen vectors, and the
//! attack that a vote before release prevents.

mod consortium;
mod mixing;
mod oracle;
mod property;
mod vectors;
