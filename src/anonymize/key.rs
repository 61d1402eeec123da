//! Keyed draws: the same value gives the same pseudonym under the same key, and nobody without the
//! key can tell which value a pseudonym stands for.
//!
//! A draw is HMAC-SHA256 (RFC 2104) of the value, under a key that is itself HMAC-SHA256 of the
//! domain's name under the target's key. So pseudonyms of two domains have nothing in common, those
//! of one domain agree across tables and runs.
//!
//! Draws are most of the work of a copy, so what a domain's key does to SHA-256 is computed once, and a short value
//! costs two blocks of it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use sha2::block_api::compress256;

use crate::crypto::Secret;

use super::divisor::Divisor;

type HmacSha256 = Hmac<Sha256>;

/// Shortest key taken, in bytes.
pub const SHORTEST_KEY: usize = 16;

/// The key of a target's pseudonyms. It stays where the originals are.
#[derive(Clone)]
pub struct PseudonymKey(HmacSha256);

impl std::fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PseudonymKey(..)")
    }
}

/// A key that is too short to hide anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key of the pseudonyms has {0} bytes; it needs {SHORTEST_KEY} or more")]
pub struct ShortKey(pub usize);

impl PseudonymKey {
    /// From the content of a key file.
    pub fn new(secret: &Secret) -> Result<Self, ShortKey> {
        let len = secret.expose().len();
        if len < SHORTEST_KEY {
            return Err(ShortKey(len));
        }
        HmacSha256::new_from_slice(secret.expose()).map(Self).map_err(|_| ShortKey(len))
    }

    /// 32 bytes for `purpose` that say nothing about the key.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(b"mrs-backup clone 1\0");
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// The key of a domain.
    pub fn domain(&self, name: &str) -> DomainKey {
        DomainKey::new(&self.derive(&format!("domain {name}")))
    }

    /// Eight digits by which people can tell two keys apart.
    pub fn id(&self) -> String {
        let derived = self.derive("id");
        derived.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What SHA-256 starts with (FIPS 180-4, 5.3.3).
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
/// Bytes of one block of it.
const BLOCK: usize = 64;

/// The key of one domain of values: what SHA-256 is at once it has read the key's inner and outer block.
#[derive(Clone)]
pub struct DomainKey {
    inner: [u32; 8],
    outer: [u32; 8],
}

/// Reads the rest of a message, of which one block was read before, to its end.
fn finish(mut state: [u32; 8], message: &[u8]) -> [u8; 32] {
    let (blocks, rest) = message.as_chunks::<BLOCK>();
    compress256(&mut state, blocks);
    // A single bit, zeros, and the length in bits: in this block, or in one more.
    let mut last = [[0; BLOCK]; 2];
    let bits = (BLOCK as u64).wrapping_add(message.len() as u64).wrapping_mul(8).to_be_bytes();
    let flat = last.as_flattened_mut();
    let count = if rest.len() + 1 + bits.len() <= BLOCK { 1 } else { 2 };
    if let Some((to, [mark, ..])) = flat.split_at_mut_checked(rest.len()) {
        to.copy_from_slice(rest);
        *mark = 0x80;
    }
    if let Some(to) = flat.get_mut(..count * BLOCK).and_then(<[u8]>::last_chunk_mut) {
        *to = bits;
    }
    compress256(&mut state, last.get(..count).unwrap_or_default());
    let mut digest = [0; 32];
    for (to, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *to = word.to_be_bytes();
    }
    digest
}

impl std::fmt::Debug for DomainKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DomainKey(..)")
    }
}

impl DomainKey {
    fn new(key: &[u8; 32]) -> Self {
        let after = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = START;
            compress256(&mut state, &[block]);
            state
        };
        Self { inner: after(0x36), outer: after(0x5c) }
    }

    /// HMAC-SHA256 of a message.
    fn mac(&self, message: &[u8]) -> [u8; 32] {
        finish(self.outer, &finish(self.inner, message))
    }

    /// Draws for `value`; another `attempt` draws otherwise.
    pub fn draw(&self, value: &str, attempt: u32) -> Draw<'_> {
        let block = match attempt {
            0 => self.mac(value.as_bytes()),
            // No text has this byte.
            _ => self.mac(&[value.as_bytes(), &[0xff], &attempt.to_le_bytes()].concat()),
        };
        Draw { key: self, block, at: 0 }
    }
}

/// Numbers that follow from a value and a key. As many as are asked for.
pub struct Draw<'k> {
    key: &'k DomainKey,
    block: [u8; 32],
    at: usize,
}

impl Draw<'_> {
    /// 64 bits.
    pub fn next_bits(&mut self) -> u64 {
        if self.at >= 32 {
            let mut message = [0xff; 34];
            if let Some(behind) = message.last_chunk_mut() {
                *behind = self.block;
            }
            self.block = self.key.mac(&message);
            self.at = 0;
        }
        let bytes = self.block.get(self.at..self.at + 8).and_then(|part| part.try_into().ok());
        self.at += 8;
        u64::from_le_bytes(bytes.unwrap_or_default())
    }

    /// A number below `bound`, as likely as any other to 1 in 2^40 for bounds up to 2^24.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_bits() % bound.max(1)
    }

    /// One of `list`, which is not empty.
    pub fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        let at = self.below(list.len() as u64);
        usize::try_from(at).ok().and_then(|at| list.get(at)).copied().unwrap_or_default()
    }

    /// Appends `count` letters of `alphabet` (at most 256).
    pub fn letters(&mut self, alphabet: &[u8], count: usize, out: &mut String) {
        let mut left = 0;
        let mut bits = 0;
        let base = Divisor::new(alphabet.len() as u64);
        for _ in 0..count {
            if left == 0 {
                bits = self.next_bits();
                // 56 bits hold seven letters of the largest alphabet, and leave a remainder small.
                left = 7;
            }
            let (rest, at) = base.divide(bits);
            let letter = usize::try_from(at).ok().and_then(|at| alphabet.get(at));
            out.push(char::from(letter.copied().unwrap_or(b'0')));
            bits = rest;
            left -= 1;
        }
    }
}

/// A key for tests.
#[cfg(test)]
pub(crate) fn test_key(seed: u8) -> PseudonymKey {
    PseudonymKey::new(&Secret::new(vec![seed; 32])).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_from_key_domain_value_and_attempt_alone() {
        let first = |key: u8, domain: &str, value: &str, attempt| {
            test_key(key).domain(domain).draw(value, attempt).next_bits()
        };
        let base = first(1, "nir", "x", 0);
        assert_eq!(base, first(1, "nir", "x", 0));
        for other in [
            first(2, "nir", "x", 0),
            first(1, "email", "x", 0),
            first(1, "nir", "y", 0),
            first(1, "nir", "x", 1),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn a_draw_is_hmac_sha256_twice() {
        // Computed with Python's hmac module: the definition, not this code.
        let key = test_key(7).domain("nir");
        let mut draw = key.draw("abc", 0);
        let bytes: Vec<u8> = (0..4).flat_map(|_| draw.next_bits().to_le_bytes()).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5717e64e7cd4810b84f7dcddb300907762081d8c78c9b34eda4e07e7d2a04588");
    }

    #[test]
    fn a_draw_of_any_length_is_the_hmac_of_the_library() {
        let secret = [9; 32];
        let key = DomainKey::new(&secret);
        for len in 0..300 {
            let message: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let mut mac = HmacSha256::new_from_slice(&secret).unwrap();
            mac.update(&message);
            assert_eq!(key.mac(&message)[..], mac.finalize().into_bytes()[..], "{len} bytes");
        }
        let again = key.draw("value", 3).block;
        let mut mac = HmacSha256::new_from_slice(&secret).unwrap();
        mac.update(b"value\xff\x03\0\0\0");
        assert_eq!(again[..], mac.finalize().into_bytes()[..]);
    }

    #[test]
    fn more_numbers_than_a_block_has_differ() {
        let key = test_key(1).domain("d");
        let mut draw = key.draw("v", 0);
        let mut all: Vec<u64> = (0..100).map(|_| draw.next_bits()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 100);
    }

    #[test]
    fn a_key_has_to_be_long_enough_and_is_never_printed() {
        assert_eq!(PseudonymKey::new(&Secret::new(vec![1; 15])).unwrap_err(), ShortKey(15));
        let key = test_key(3);
        assert_eq!(format!("{key:?}{:?}", key.domain("x")), "PseudonymKey(..)DomainKey(..)");
        assert_eq!(key.id().len(), 8);
        assert_ne!(key.id(), test_key(4).id());
    }
}
