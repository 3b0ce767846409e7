//! What the bytes are.
//!
//! Invariant: no power of two is a period of a pattern, so a page in another's
//! place is noticed; the two patterns differ in every byte.

use shared_ring::{OutOfRange, SharedMemory};

/// What bytes are overwritten with that nobody may see.
pub const SCRIBBLE: u8 = 0xee;
/// Bytes worked on at a time in shared memory.
const PIECE: usize = 1024;

/// Byte `n` of the first pattern.
pub fn first(n: usize) -> u8 {
    (n % 251) as u8
}

/// Byte `n` of the second pattern.
pub fn second(n: usize) -> u8 {
    !first(n)
}

/// Writes the first pattern from byte `at` on.
pub fn fill(bytes: &mut [u8], at: usize) {
    (at..).zip(bytes).for_each(|(n, byte)| *byte = first(n));
}

/// How many bytes are not those of the first pattern from byte `at` on.
pub fn wrong(bytes: &[u8], at: usize) -> usize {
    let pairs = (at..).zip(bytes);
    pairs.filter(|(n, byte)| **byte != first(*n)).count()
}

/// How many bytes somebody has touched.
pub fn touched(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte != SCRIBBLE).count()
}

/// Writes a pattern to all of `memory`.
pub fn write(memory: &SharedMemory, pattern: fn(usize) -> u8) -> Result<(), OutOfRange> {
    let mut piece = [0; PIECE];
    for at in (0..memory.len()).step_by(PIECE) {
        let piece = &mut piece[..PIECE.min(memory.len() - at)];
        (at..)
            .zip(&mut *piece)
            .for_each(|(n, byte)| *byte = pattern(n));
        memory.write(at, piece)?;
    }
    Ok(())
}

/// How many bytes of `memory` are not those of a pattern.
pub fn differ(memory: &SharedMemory, pattern: fn(usize) -> u8) -> Result<usize, OutOfRange> {
    let (mut piece, mut count) = ([0; PIECE], 0);
    for at in (0..memory.len()).step_by(PIECE) {
        let piece = &mut piece[..PIECE.min(memory.len() - at)];
        memory.read(at, piece)?;
        let pairs = (at..).zip(&*piece);
        count += pairs.filter(|(n, byte)| **byte != pattern(*n)).count();
    }
    Ok(count)
}
