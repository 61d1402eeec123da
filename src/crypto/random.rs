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

/// The kernel's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Randomness for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        // Without randomness nothing may be sealed; Linux fails here only before the pool is ready.
        #[expect(clippy::expect_used, reason = "no safe way to go on")]
        getrandom::fill(bytes).expect("the kernel gives random bytes");
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
