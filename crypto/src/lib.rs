//! The secure sum's cryptography: ring, encryption, sharing, sealing, identities.
