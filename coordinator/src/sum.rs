//! Adding bodies, one after the other, without holding more than a piece of any.

use collegium_crypto::error::BodyError;
use collegium_crypto::glwe::BodySum;

use crate::spool::Spooled;

/// Bytes of one coefficient.
const COEFFICIENT: usize = 8;

/// Why bodies cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum SumError {
    /// The spool cannot be read back.
    #[error("the spool: {0}")]
    Spool(#[from] std::io::Error),
    /// A body is not what was checked when it came in.
    #[error("a spooled body was damaged: {0}")]
    Body(#[from] BodyError),
}

/// Adds every body to `sum`, in the order given.
///
/// # Errors
/// [`SumError`]; the sum is then worth nothing.
pub fn add_bodies(mut sum: BodySum, bodies: Vec<Spooled>) -> Result<BodySum, SumError> {
    for mut body in bodies {
        let mut first = 0;
        // Pieces of the spool are whole coefficients: its piece size is a multiple of 8.
        body.for_each_chunk(|piece| {
            sum.add_part(first, piece)?;
            first += piece.len() / COEFFICIENT;
            Ok::<_, SumError>(())
        })?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{CHUNK_BYTES, Spool};

    const COEFFICIENTS: usize = 3 * CHUNK_BYTES / COEFFICIENT / 2 + 7;

    fn body(factor: u64) -> Vec<u8> {
        (0..COEFFICIENTS as u64)
            .flat_map(|index| (index * factor).to_le_bytes())
            .collect()
    }

    #[test]
    fn bodies_from_memory_and_disk_add_up_like_whole_ones() {
        let directory = tempfile::tempdir().expect("tempdir");
        let spool = Spool::open(directory.path(), body(1).len() as u64 + 1000).expect("opens");
        let spooled = |factor| {
            let mut writer = spool.writer();
            // Packets are cut anywhere.
            for piece in body(factor).chunks(1213) {
                writer.write(piece).expect("writes");
            }
            writer.finish()
        };
        let bodies = vec![spooled(1), spooled(5), spooled(1 << 30)];
        assert!(!bodies[0].is_on_disk() && bodies[1].is_on_disk());
        let sum = add_bodies(BodySum::new(COEFFICIENTS), bodies).expect("adds");
        let mut whole = BodySum::new(COEFFICIENTS);
        for factor in [1, 5, 1 << 30] {
            whole.add_bytes(&body(factor)).expect("adds");
        }
        assert_eq!(sum.to_bytes(), whole.to_bytes());
    }

    #[test]
    fn a_body_of_another_length_or_with_a_wrong_coefficient_is_refused() {
        let directory = tempfile::tempdir().expect("tempdir");
        let spool = Spool::open(directory.path(), 1 << 20).expect("opens");
        let spooled = |bytes: &[u8]| {
            let mut writer = spool.writer();
            writer.write(bytes).expect("writes");
            vec![writer.finish()]
        };
        assert!(
            add_bodies(BodySum::new(1), spooled(&[0; 16])).is_err(),
            "too long"
        );
        assert!(
            add_bodies(BodySum::new(1), spooled(&[0xff; 8])).is_err(),
            "not below q"
        );
    }
}
