//! What was removed, as keyed fingerprints: enough to find it again, too little to read it.
//!
//! A fingerprint is a polynomial of the value's letters modulo 2^61 - 1 at a secret point (so that every
//! part of a text is looked up without reading it anew), confirmed by 32 bits of a keyed BLAKE3. It is of the
//! *folded* value: lower case, without accents, spaces and punctuation.

use crate::anonymize::fold::{Folded, fold};
use crate::crypto::random::{Randomness, random_bytes};

use super::transform::Class;

/// Shortest value that is looked for, in folded letters.
pub const SHORTEST: usize = 6;
/// Shortest one of digits alone: shorter ones are met by chance.
pub const SHORTEST_DIGITS: usize = 9;
/// Shortest text that is looked for as a whole.
const SHORTEST_TEXT: usize = 16;
/// Longest value that is looked for within others; a longer one is looked for as a whole.
pub const LONGEST: usize = 64;
/// Most fingerprints of one class: 12 bytes each.
pub const MOST: usize = 8 << 20;
/// How many are gathered before they are sorted.
const BATCH: usize = 1 << 16;
/// Bits of the filter that is asked before a set.
const FILTER_BITS: usize = 1 << 24;

const MODULUS: u64 = (1 << 61) - 1;

/// `a * b` modulo 2^61 - 1.
pub const fn multiply(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    let sum = (product as u64 & MODULUS) + (product >> 61) as u64;
    if sum >= MODULUS { sum - MODULUS } else { sum }
}

/// The secret of a run's fingerprints.
#[derive(Clone)]
pub struct FingerprintKey {
    point: u64,
    check: [u8; 32],
}

impl FingerprintKey {
    /// A fresh one: fingerprints are never kept beyond a run.
    pub fn new(random: &dyn Randomness) -> Self {
        let point = u64::from_le_bytes(random_bytes(random)) % (MODULUS - 256) + 256;
        Self { point, check: random_bytes(random) }
    }

    /// The secret point.
    pub const fn point(&self) -> u64 {
        self.point
    }

    /// The polynomial of `letters`.
    fn polynomial(&self, letters: &[u8]) -> u64 {
        letters.iter().fold(0, |sum, letter| {
            let next = multiply(sum, self.point) + u64::from(*letter) + 1;
            if next >= MODULUS { next - MODULUS } else { next }
        })
    }

    fn check(&self, letters: &[u8]) -> u32 {
        let hash = blake3::keyed_hash(&self.check, letters);
        let bytes = hash.as_bytes().first_chunk::<4>().copied();
        u32::from_le_bytes(bytes.unwrap_or_default())
    }
}

/// A set of fingerprints that can be asked.
#[derive(Debug, Default)]
pub struct Fingerprints {
    sorted: Vec<u64>,
    checks: Vec<u32>,
    filter: Vec<u64>,
    /// Bit n: there is one of n letters.
    pub lengths: u128,
}

const fn filter_bit(polynomial: u64) -> usize {
    (polynomial as usize ^ (polynomial >> 31) as usize) % FILTER_BITS
}

impl Fingerprints {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Whether one of `len` letters may be there.
    pub const fn has_length(&self, len: usize) -> bool {
        let bit = if len < 127 { len } else { 127 };
        self.lengths >> bit & 1 == 1
    }

    /// Whether one of this polynomial may be there: wrong once in many thousand times.
    pub fn may_have(&self, polynomial: u64) -> bool {
        let bit = filter_bit(polynomial);
        self.filter.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
            && self.sorted.binary_search(&polynomial).is_ok()
    }

    /// Whether `letters`, of this polynomial, are there.
    pub fn has(&self, key: &FingerprintKey, polynomial: u64, letters: &[u8]) -> bool {
        if !self.may_have(polynomial) {
            return false;
        }
        let check = key.check(letters);
        let start = self.sorted.partition_point(|known| *known < polynomial);
        let same = self.sorted.iter().zip(&self.checks).skip(start);
        same.take_while(|(known, _)| **known == polynomial).any(|(_, known)| *known == check)
    }

    fn seal(entries: Vec<(u64, u32)>, lengths: u128) -> Self {
        let mut filter = vec![0_u64; if entries.is_empty() { 0 } else { FILTER_BITS / 64 }];
        for (polynomial, _) in &entries {
            let bit = filter_bit(*polynomial);
            if let Some(word) = filter.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
        let (sorted, checks) = entries.into_iter().unzip();
        Self { sorted, checks, filter, lengths }
    }
}

/// Fingerprints being gathered.
#[derive(Default)]
struct Gathering {
    entries: Vec<(u64, u32)>,
    /// Up to here they are sorted, and each is there once.
    sorted: usize,
    lengths: u128,
}

impl Gathering {
    fn add(&mut self, key: &FingerprintKey, letters: &[u8]) {
        self.entries.push((key.polynomial(letters), key.check(letters)));
        self.lengths |= 1 << letters.len().min(127);
        if self.entries.len() - self.sorted >= BATCH.max(self.sorted) {
            self.compact();
        }
    }

    fn compact(&mut self) {
        self.entries.sort_unstable();
        self.entries.dedup();
        self.sorted = self.entries.len();
    }
}

/// Takes note of values that are removed.
pub struct Gatherer {
    key: FingerprintKey,
    classes: Classes,
    identifiers: Gathering,
    pairs: Gathering,
    names: Gathering,
    folded: Folded,
    pair: Vec<u8>,
}

/// Which classes are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classes {
    /// Identifiers and long texts.
    pub identifiers: bool,
    /// Names.
    pub names: bool,
}

/// Everything that was removed.
pub struct Originals {
    key: FingerprintKey,
    /// Identifiers.
    pub identifiers: Fingerprints,
    /// First names with last names, in both orders.
    pub pairs: Fingerprints,
    /// First and last names alone.
    pub names: Fingerprints,
}

/// There is more than fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MOST} different values would have to be looked for")]
pub struct TooMany;

impl Gatherer {
    /// Takes note of nothing yet.
    pub fn new(key: FingerprintKey, classes: Classes) -> Self {
        Self {
            key,
            classes,
            identifiers: Gathering::default(),
            pairs: Gathering::default(),
            names: Gathering::default(),
            folded: Folded::default(),
            pair: Vec::new(),
        }
    }

    /// Takes note of a value.
    pub fn take(&mut self, class: Class, value: &str) {
        match class {
            Class::Nothing => {}
            Class::Identifier => self.identifier(value),
            Class::Text if self.classes.identifiers => {
                fold(value, &mut self.folded);
                if self.folded.letters.len() >= SHORTEST_TEXT {
                    self.identifiers.add(&self.key, &self.folded.letters);
                }
            }
            Class::FirstName | Class::LastName if self.classes.names => {
                fold(value, &mut self.folded);
                self.names.add(&self.key, &self.folded.letters);
            }
            Class::FullName if self.classes.names => {
                fold(value, &mut self.folded);
                // One word is no full name.
                if self.folded.tokens.len() > 1 && self.folded.letters.len() >= SHORTEST {
                    self.pairs.add(&self.key, &self.folded.letters);
                }
            }
            _ => {}
        }
    }

    /// Takes note of an identifier, if it is long enough not to be met by chance.
    pub fn identifier(&mut self, value: &str) {
        if !self.classes.identifiers {
            return;
        }
        fold(value, &mut self.folded);
        let letters = &self.folded.letters;
        let least = match letters.iter().all(u8::is_ascii_digit) {
            true => SHORTEST_DIGITS,
            false => SHORTEST,
        };
        if letters.len() >= least {
            self.identifiers.add(&self.key, letters);
        }
    }

    /// Takes note of a first name with its last name.
    pub fn pair(&mut self, first: &str, last: &str) {
        if !self.classes.names {
            return;
        }
        for (one, two) in [(first, last), (last, first)] {
            self.pair.clear();
            for part in [one, two] {
                fold(part, &mut self.folded);
                if self.folded.letters.is_empty() {
                    return;
                }
                self.pair.extend_from_slice(&self.folded.letters);
            }
            if self.pair.len() >= SHORTEST {
                self.pairs.add(&self.key, &self.pair);
            }
        }
    }

    /// Adds what another took note of.
    pub fn join(&mut self, other: Self) {
        let pairs = [
            (&mut self.identifiers, other.identifiers),
            (&mut self.pairs, other.pairs),
            (&mut self.names, other.names),
        ];
        for (own, other) in pairs {
            own.entries.extend(other.entries);
            own.lengths |= other.lengths;
            own.compact();
        }
    }

    /// Whether there is more than fits.
    pub fn check(&self) -> Result<(), TooMany> {
        let all = [&self.identifiers, &self.pairs, &self.names];
        match all.iter().any(|gathering| gathering.sorted > MOST) {
            true => Err(TooMany),
            false => Ok(()),
        }
    }

    /// All of it, to be asked from now on.
    pub fn seal(mut self) -> Result<Originals, TooMany> {
        for gathering in [&mut self.identifiers, &mut self.pairs, &mut self.names] {
            gathering.compact();
        }
        self.check()?;
        let seal = |gathering: Gathering| Fingerprints::seal(gathering.entries, gathering.lengths);
        Ok(Originals {
            key: self.key,
            identifiers: seal(self.identifiers),
            pairs: seal(self.pairs),
            names: seal(self.names),
        })
    }
}

impl Originals {
    /// Of which nothing was removed.
    pub fn none(random: &dyn Randomness) -> Self {
        Self {
            key: FingerprintKey::new(random),
            identifiers: Fingerprints::default(),
            pairs: Fingerprints::default(),
            names: Fingerprints::default(),
        }
    }

    /// The key of its fingerprints.
    pub const fn key(&self) -> &FingerprintKey {
        &self.key
    }

    fn has(&self, set: &Fingerprints, value: &str) -> bool {
        if set.is_empty() {
            return false;
        }
        let mut folded = Folded::default();
        fold(value, &mut folded);
        set.has(&self.key, self.key.polynomial(&folded.letters), &folded.letters)
    }

    /// Whether an identifier was removed somewhere.
    pub fn has_identifier(&self, value: &str) -> bool {
        self.has(&self.identifiers, value)
    }

    /// Whether a name was removed somewhere.
    pub fn has_name(&self, value: &str) -> bool {
        self.has(&self.names, value)
    }

    /// Bytes they take.
    pub fn bytes(&self) -> usize {
        [&self.identifiers, &self.pairs, &self.names]
            .iter()
            .map(|set| set.len() * 12 + set.filter.len() * 8)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use crate::crypto::random::SeededRandom;

    use super::*;

    fn gatherer() -> Gatherer {
        let key = FingerprintKey::new(&SeededRandom::new(5));
        Gatherer::new(key, Classes { identifiers: true, names: true })
    }

    #[test]
    fn what_was_taken_is_found_again_in_any_writing() {
        let mut gatherer = gatherer();
        gatherer.identifier("1 85 05 78 006 084");
        gatherer.identifier("Jean.Dupont@example.org");
        gatherer.identifier("short");
        gatherer.identifier("12345678");
        gatherer.take(Class::LastName, "Lefèvre");
        let originals = gatherer.seal().unwrap();
        for there in ["1850578006084", "JEAN DUPONT EXAMPLE ORG", "jean.dupont@example.org"] {
            assert!(originals.has_identifier(there), "{there}");
        }
        for not in ["short", "12345678", "1850578006085", "jean.dupont@example.com"] {
            assert!(!originals.has_identifier(not), "{not}");
        }
        assert!(originals.has_name("LEFEVRE") && !originals.has_name("Lefebvre"));
    }

    #[test]
    fn two_gatherers_make_one() {
        let (mut one, mut two) = (gatherer(), gatherer());
        one.identifier("identifier one");
        two.identifier("identifier two");
        two.identifier("identifier one");
        one.join(two);
        let originals = one.seal().unwrap();
        assert_eq!(originals.identifiers.len(), 2);
        assert!(originals.has_identifier("identifier two"));
    }

    #[test]
    fn a_million_take_twelve_bytes_each_and_none_is_found_that_is_not_there() {
        let mut gatherer = gatherer();
        let count = 200_000;
        for number in 0..count {
            gatherer.identifier(&format!("person-{number}@example.org"));
            gatherer.identifier(&format!("person-{}@example.org", number / 2));
        }
        let originals = gatherer.seal().unwrap();
        assert_eq!(originals.identifiers.len(), count);
        assert_eq!(originals.bytes(), count * 12 + FILTER_BITS / 8);
        let wrong =
            (0..count).filter(|n| originals.has_identifier(&format!("other-{n}@example.org")));
        assert_eq!(wrong.count(), 0);
    }
}
