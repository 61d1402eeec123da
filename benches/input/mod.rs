//! Bytes to measure with, the same ones every time.

use mrs_backup::crypto::Randomness;
use mrs_backup::crypto::random::SeededRandom;

/// Rows as a database dump has them: numbers and dates change, words repeat.
pub fn text(len: usize) -> Vec<u8> {
    let mut rows = String::with_capacity(len + 200);
    let mut state = 88_172_645_463_325_252u64;
    for row in 0u64.. {
        if rows.len() >= len {
            break;
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        rows += &format!(
            "{row}\tuser{}@example.org\t2024-0{}-1{} 10:00:00\tactive\t{:x}\n",
            state % 9973,
            state % 9 + 1,
            state % 10,
            state >> 40
        );
    }
    rows.truncate(len);
    rows.into_bytes()
}

/// Bytes that do not compress.
pub fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    SeededRandom::new(2).fill(&mut bytes);
    bytes
}
