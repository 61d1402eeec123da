//! Delays that spread jobs over some minutes, so that not every machine starts on the hour.

use std::time::Duration;

/// A delay below `most`, always the same for the same `name`: a job keeps its hour, and what is
/// shown is what will be.
pub fn spread(name: &str, most: Duration) -> Duration {
    let seconds = most.as_secs();
    if seconds == 0 {
        return Duration::ZERO;
    }
    let hash = blake3::hash(name.as_bytes());
    let number =
        hash.as_bytes()[..8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    Duration::from_secs(number % seconds)
}
