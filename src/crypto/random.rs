//! Randomness, passed in so that tests can repeat a run.

use std::sync::Mutex;

/// A source of bytes nobody can guess.
pub trait Randomness: Send + Sync + std::fmt::Debug {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// `N` fresh random bytes.
pub fn random_bytes<const N: usize>(random: &dyn Randomness) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

/// What the kernel gives at once without a pause, however full its pool is: getrandom(2).
const AT_ONCE: usize = 256;

/// The kernel's generator, asked by its call: it also answers a static program that has no `/dev`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Randomness for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(AT_ONCE) {
            let filled = rustix::io::retry_on_intr(|| {
                rustix::rand::getrandom(&mut *part, rustix::rand::GetRandomFlags::empty())
            });
            // Without randomness nothing may be sealed. Linux waits until its pool is ready, and fails only where the
            // call is forbidden.
            assert!(filled == Ok(part.len()), "the kernel gives no random bytes: {filled:?}");
        }
    }
}

/// Bytes that follow from a seed: for tests only.
#[derive(Debug)]
pub struct SeededRandom(Mutex<(u64, u64)>);

impl SeededRandom {
    /// Starts anew from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(Mutex::new((seed, 0)))
    }
}

impl Randomness for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut input = state.0.to_le_bytes().to_vec();
        input.extend(state.1.to_le_bytes());
        state.1 += 1;
        blake3::Hasher::new().update(&input).finalize_xof().fill(bytes);
    }
}
