//! Tells which chunks are alike: a few numbers that stay the same when little of a chunk changes.
//!
//! Features sampled by content, as in Odess (Zou et al., *The Dilemma between Deduplication and
//! Locality*, 2021) after Broder's min-hashing: wherever the rolling gear hash has some zero bits, it is
//! mixed in twelve ways, and the largest result of each way is one feature. A change touches a feature
//! only if it hits the one place that it came from. Four features make one super-feature: two chunks
//! of which 97% is the same share at least one of the three nearly always.
//!
//! The hash is the one that cuts are found by, so that sampling while cutting costs next to nothing.
//! The gear table is a secret of the repository, so the numbers tell strangers nothing.

use super::cutter::{Cutting, GearTable};
use super::profile::ChunkerProfile;

/// Super-features of a chunk.
const SUPER_FEATURES: usize = 3;
/// Features in each.
const GROUP: usize = 4;
/// Odd numbers by which hashes are mixed: the first digits of the golden ratio, multiplied by odd numbers.
const MIXERS: [u64; SUPER_FEATURES * GROUP] = mixers();

/// What a chunk is like. Chunks that share a super-feature are worth comparing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Features([u32; SUPER_FEATURES]);

/// The samples of a chunk so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Samples([u64; SUPER_FEATURES * GROUP]);

impl Samples {
    /// Takes the rolling hash at one place. Apart, so that the loop around it keeps its registers.
    #[inline(never)]
    pub fn add(&mut self, hash: u64) {
        // The upper half has seen most bytes.
        let seen = hash ^ (hash >> 32);
        for (largest, mixer) in self.0.iter_mut().zip(MIXERS) {
            let mixed = seen.wrapping_mul(mixer);
            *largest = (*largest).max(mixed ^ (mixed >> 29));
        }
    }

    pub fn features(&self) -> Features {
        Features(std::array::from_fn(|at| {
            let group = &self.0[at * GROUP..][..GROUP];
            let fold =
                |sum: u64, feature: &u64| (sum ^ feature).wrapping_mul(MIXERS[0]).rotate_left(23);
            (group.iter().fold(at as u64, fold) >> 32) as u32
        }))
    }
}

impl Features {
    /// Bytes in the stored form.
    pub const SIZE: usize = 4 * SUPER_FEATURES;

    /// What `bytes` are like, by a repository's `table` and the `profile` they were cut with: one place in
    /// 128 counts (fewer bits in common of the masks of tiny profiles: more), from where cuts are looked
    /// for, or from the start if less than half of `bytes` comes after that.
    pub fn of(table: &GearTable, profile: ChunkerProfile, bytes: &[u8]) -> Self {
        let cutting = Cutting::of(profile);
        let mut samples = Samples::default();
        cutting.sample(table, &bytes[cutting.sampled_from(bytes.len())..], 0, &mut samples);
        samples.features()
    }

    /// The stored form: little-endian numbers.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        for (place, number) in bytes.chunks_exact_mut(4).zip(self.0) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) gave; `None` if the length is another.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::SIZE] = bytes.try_into().ok()?;
        Some(Self(std::array::from_fn(|at| {
            u32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[4 * at + byte]))
        })))
    }

    /// A number of 48 bits for each super-feature, by which those who share one find each other.
    pub fn keys(self) -> [i64; SUPER_FEATURES] {
        std::array::from_fn(|at| {
            let number = u64::from(self.0[at]) << 2 | at as u64;
            (number.wrapping_mul(MIXERS[1]) >> 16) as i64
        })
    }

    /// How many super-features both have.
    pub fn shared_with(self, other: Self) -> usize {
        self.0.iter().zip(other.0).filter(|(a, b)| **a == *b).count()
    }
}

const fn mixers() -> [u64; SUPER_FEATURES * GROUP] {
    let mut mixers = [0; SUPER_FEATURES * GROUP];
    let mut at = 0;
    while at < mixers.len() {
        mixers[at] = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(2 * at as u64 + 1);
        at += 1;
    }
    mixers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunker::ProfileName;
    use crate::crypto::SecretKey;

    const PROFILE: ChunkerProfile = ChunkerProfile::default_for(ProfileName::Text);

    fn table() -> GearTable {
        GearTable::new(&SecretKey::new([7; 32]))
    }

    /// Rows of a dump: `changed` says which have a new version.
    fn rows(count: u64, changed: impl Fn(u64) -> bool) -> Vec<u8> {
        let mut text = String::new();
        for row in 0..count {
            let version = u64::from(changed(row));
            let digest = blake3::hash(&(row << 1 | version).to_le_bytes()).to_hex();
            text += &format!("{row}\t{}\t{digest}\n", 1_700_000_000 + row * 37 + version);
        }
        text.into_bytes()
    }

    #[test]
    fn a_changed_chunk_is_found_by_most_of_its_old_neighbours() {
        let table = table();
        let old = Features::of(&table, PROFILE, &rows(3000, |_| false));
        let mut found = 0;
        for night in 0..50 {
            let new = rows(3000, |row| (row * 31 + night * 7) % 100 == 0);
            found += usize::from(Features::of(&table, PROFILE, &new).shared_with(old) > 0);
        }
        assert!(found >= 48, "{found} of 50 with 1% of the rows changed");
    }

    #[test]
    fn other_content_shares_nothing() {
        let table = table();
        let features = |from: u64| {
            Features::of(&table, PROFILE, &rows(from + 1000, |_| false)[from as usize * 80..])
        };
        let all: Vec<Features> = (0..20).map(|n| features(n * 2000)).collect();
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| one.shared_with(*other) == 0), "{at}");
        }
    }

    #[test]
    fn the_stored_form_and_the_keys() {
        let features = Features::of(&table(), PROFILE, &rows(100, |_| false));
        assert_eq!(Features::from_bytes(&features.to_bytes()), Some(features));
        assert_eq!(Features::from_bytes(&[0; 11]), None);
        let keys = features.keys();
        assert!(keys.iter().all(|key| (0..1 << 48).contains(key)));
        // The same number in another place is another key.
        let [a, b, c] = Features([5; 3]).keys();
        assert!(a != b && b != c && a != c);
    }

    /// The numbers are stored, so they must never change.
    #[test]
    fn golden() {
        let features = Features::of(&table(), PROFILE, &rows(1000, |_| false));
        assert_eq!(features.0.map(|number| format!("{number:08x}")), GOLDEN);
        let (none, one) =
            (Features::of(&table(), PROFILE, b""), Features::of(&table(), PROFILE, b"a"));
        assert_eq!(none, one, "too short for a sample");
    }
    const GOLDEN: [&str; 3] = ["42b2c225", "8dd6bd52", "2716e2cb"];
}
