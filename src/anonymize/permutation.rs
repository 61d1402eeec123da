//! Keyed permutations of the numbers below a bound: what a pseudonym needs that keeps its form and
//! is different for different originals.
//!
//! A Feistel network over two digits of about the same size (as in Black and Rogaway, "Ciphers with
//! Arbitrary Finite Domains", 2002), with SipHash-2-4 as round function. Numbers that fall out of
//! the range are sent through again, which keeps it a permutation.

use super::divisor::Divisor;

/// Rounds. NIST's FF1 has ten.
const ROUNDS: u64 = 10;

/// A permutation of the numbers below a bound, for each tweak another.
#[derive(Clone)]
pub struct Permutation {
    key: (u64, u64),
    bound: u64,
    low: Divisor,
    high: Divisor,
}

impl std::fmt::Debug for Permutation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Permutation(below {})", self.bound)
    }
}

/// SipHash-2-4 of two words (Aumasson and Bernstein, 2012).
fn sip(key: (u64, u64), words: [u64; 2]) -> u64 {
    let mut v = [
        key.0 ^ 0x736f_6d65_7073_6575,
        key.1 ^ 0x646f_7261_6e64_6f6d,
        key.0 ^ 0x6c79_6765_6e65_7261,
        key.1 ^ 0x7465_6462_7974_6573,
    ];
    let round = |v: &mut [u64; 4]| {
        let [mut a, mut b, mut c, mut d] = *v;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        *v = [a, b, c, d];
    };
    // The last word of a message is its length.
    for word in [words[0], words[1], 16 << 56] {
        v[3] ^= word;
        round(&mut v);
        round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

impl Permutation {
    /// Of the numbers below `bound`, which is 1 to 2^62.
    pub fn new(key: &[u8; 32], bound: u64) -> Self {
        let word = |at: usize| {
            let bytes = key.get(at..at + 8).and_then(|part| part.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        let bound = bound.clamp(1, 1 << 62);
        let root = bound.isqrt();
        let low = if root * root < bound { root + 1 } else { root };
        let (low, high) = (Divisor::new(low), Divisor::new(bound.div_ceil(low)));
        Self { key: (word(0), word(8)), bound, low, high }
    }

    fn share(&self, round: u64, half: u64, tweak: u64, modulus: Divisor) -> u64 {
        modulus.rest(sip(self.key, [(round << 56) ^ half, tweak]))
    }

    /// The sum of two numbers below the modulus.
    const fn sum(a: u64, b: u64, modulus: Divisor) -> u64 {
        let sum = a + b;
        if sum >= modulus.value() { sum - modulus.value() } else { sum }
    }

    fn pass(&self, value: u64, tweak: u64) -> u64 {
        let (mut high, mut low) = self.low.divide(value);
        for round in 0..ROUNDS {
            if round % 2 == 0 {
                high = Self::sum(high, self.share(round, low, tweak, self.high), self.high);
            } else {
                low = Self::sum(low, self.share(round, high, tweak, self.low), self.low);
            }
        }
        high * self.low.value() + low
    }

    fn pass_back(&self, value: u64, tweak: u64) -> u64 {
        let (mut high, mut low) = self.low.divide(value);
        for round in (0..ROUNDS).rev() {
            if round % 2 == 0 {
                let share = self.share(round, low, tweak, self.high);
                high = Self::sum(high, self.high.value() - share, self.high);
            } else {
                let share = self.share(round, high, tweak, self.low);
                low = Self::sum(low, self.low.value() - share, self.low);
            }
        }
        high * self.low.value() + low
    }

    /// Where `value`, which is below the bound, goes.
    pub fn forward(&self, value: u64, tweak: u64) -> u64 {
        let mut value = self.pass(value % self.bound, tweak);
        while value >= self.bound {
            value = self.pass(value, tweak);
        }
        value
    }

    /// What went to `value`.
    pub fn backward(&self, value: u64, tweak: u64) -> u64 {
        let mut value = self.pass_back(value % self.bound, tweak);
        while value >= self.bound {
            value = self.pass_back(value, tweak);
        }
        value
    }

    /// Where `value` goes in a permutation that leaves no number where it is: `step` places on in a
    /// secret order. `step` must not be a multiple of the bound.
    pub fn derange(&self, value: u64, tweak: u64, step: u64) -> u64 {
        let place = self.forward(value, tweak) + step % self.bound;
        self.backward(place % self.bound, tweak)
    }

    /// What [`Permutation::derange`] sends to `value`.
    pub fn derange_back(&self, value: u64, tweak: u64, step: u64) -> u64 {
        let place = self.forward(value, tweak) + self.bound - step % self.bound;
        self.backward(place % self.bound, tweak)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn siphash_is_the_published_one() {
        // The vector for the message 00 01 .. 0f under the key 00 01 .. 0f.
        let words = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(sip((words[0], words[1]), words), 0x3f2a_cc7f_57c2_9bdb);
    }

    #[test]
    fn small_ones_are_permutations_without_fixed_points() {
        for bound in (2..60).chain([97, 100, 1000, 9973]) {
            let permutation = Permutation::new(&[bound as u8; 32], bound);
            let mut seen = vec![false; bound as usize];
            for value in 0..bound {
                let other = permutation.derange(value, 5, 1);
                assert_ne!(other, value, "below {bound}");
                assert_eq!(permutation.derange_back(other, 5, 1), value);
                assert!(!std::mem::replace(&mut seen[other as usize], true), "below {bound}");
            }
        }
    }

    proptest! {
        #[test]
        fn forth_and_back(bound in 1_u64..1 << 62, value: u64, tweak: u64, key: [u8; 32]) {
            let permutation = Permutation::new(&key, bound);
            let value = value % bound;
            let there = permutation.forward(value, tweak);
            prop_assert!(there < bound);
            prop_assert_eq!(permutation.backward(there, tweak), value);
        }
    }
}
