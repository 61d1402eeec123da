//! What was removed, as keyed fingerprints: enough to find it again, too little to read it.
//!
//! A fingerprint is a [`polynomial`](super::polynomial) of the value's letters at a secret point, confirmed by 32 bits of
//! that at another one. It is of the *folded* value: lower case, without accents, spaces and punctuation.

use crate::anonymize::fold::{Folded, fold, fold_first, fold_short};
use crate::anonymize::polynomial::{MODULUS, Point};
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
/// Bits of the filter that is asked before a set: for each value in it, and for all of them at least and at most.
const FILTER_BITS: usize = 16;
const SMALLEST_FILTER: usize = 1 << 16;
const LARGEST_FILTER: usize = 1 << 24;
/// Bits of the filter of beginnings, at most.
const BEGINNING_BITS: usize = 1 << 21;
/// Of so many bits of it one is set, if it can be made smaller.
const SPARSE: usize = 32;

/// The secret of a run's fingerprints.
#[derive(Clone)]
pub struct FingerprintKey {
    point: Point,
    second: Point,
}

impl FingerprintKey {
    /// A fresh one: fingerprints are never kept beyond a run.
    pub fn new(random: &dyn Randomness) -> Self {
        let point = || {
            let bits = u64::from_le_bytes(random_bytes(random));
            Point::new(bits % (MODULUS - 256) + 256)
        };
        Self { point: point(), second: point() }
    }

    /// The secret point.
    pub const fn point(&self) -> &Point {
        &self.point
    }

    fn check(&self, letters: &[u8]) -> u32 {
        self.second.polynomial(letters) as u32
    }
}

/// A set of fingerprints that can be asked.
#[derive(Debug, Default)]
pub struct Fingerprints {
    sorted: Vec<u64>,
    checks: Vec<u32>,
    filter: Filter,
    /// Of the first letters of each.
    beginnings: Filter,
    /// Bit n: there is one of n letters.
    pub lengths: u128,
}

/// Says of most polynomials that are not in a set that they are not.
#[derive(Debug, Default)]
struct Filter(Vec<u64>);

impl Filter {
    /// Of so many bits, a power of two from 64 on.
    fn new(bits: usize) -> Self {
        Self(vec![0; bits / 64])
    }

    /// In which word a polynomial has its bit, and which that is.
    const fn place(&self, polynomial: u64) -> (usize, u64) {
        let mixed = polynomial ^ (polynomial >> 31);
        ((mixed >> 6) as usize & self.0.len().wrapping_sub(1), 1 << (mixed % 64))
    }

    fn add(&mut self, polynomial: u64) {
        let (word, bit) = self.place(polynomial);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    /// Whether it may be there.
    fn may_have(&self, polynomial: u64) -> bool {
        let (word, bit) = self.place(polynomial);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Makes it as small as it can be without many bits being set: a small one stays near the processor.
    fn shrink(&mut self) {
        let set: usize = self.0.iter().map(|word| word.count_ones() as usize).sum();
        // Words are chosen by the last bits of a number, so that both halves may lie one upon the other.
        while self.0.len() > 1 && self.0.len() * 64 >= 2 * SPARSE * set {
            let other = self.0.split_off(self.0.len() / 2);
            self.0.iter_mut().zip(other).for_each(|(own, other)| *own |= other);
        }
        self.0.shrink_to_fit();
    }

    fn join(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own |= other);
    }
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

    /// Whether one may be there that begins with [`SHORTEST`] letters of this polynomial. Whatever begins at one place of a
    /// text is ruled out by one look.
    pub fn may_begin(&self, polynomial: u64) -> bool {
        self.beginnings.may_have(polynomial)
    }

    /// Whether `letters`, of this polynomial, are there.
    pub fn has(&self, key: &FingerprintKey, polynomial: u64, letters: &[u8]) -> bool {
        if !self.filter.may_have(polynomial) {
            return false;
        }
        let start = self.sorted.partition_point(|known| *known < polynomial);
        if self.sorted.get(start) != Some(&polynomial) {
            return false;
        }
        let check = key.check(letters);
        let same = self.sorted.iter().zip(&self.checks).skip(start);
        same.take_while(|(known, _)| **known == polynomial).any(|(_, known)| *known == check)
    }

    fn seal(gathering: Gathering) -> Self {
        let Gathering { entries, mut beginnings, lengths, .. } = gathering;
        beginnings.shrink();
        let bits = (entries.len() * FILTER_BITS).next_power_of_two();
        let mut filter = match entries.len() {
            0 => Filter::default(),
            _ => Filter::new(bits.clamp(SMALLEST_FILTER, LARGEST_FILTER)),
        };
        entries.iter().for_each(|(polynomial, _)| filter.add(*polynomial));
        let (sorted, checks) = entries.into_iter().unzip();
        Self { sorted, checks, filter, beginnings, lengths }
    }
}

/// Fingerprints being gathered.
#[derive(Default)]
struct Gathering {
    entries: Vec<(u64, u32)>,
    /// Up to here they are sorted, and each is there once.
    sorted: usize,
    beginnings: Filter,
    lengths: u128,
}

impl Gathering {
    fn add(&mut self, key: &FingerprintKey, letters: &[u8]) {
        if let Some(beginning) = letters.first_chunk::<SHORTEST>() {
            if self.beginnings.0.is_empty() {
                self.beginnings = Filter::new(BEGINNING_BITS);
            }
            self.beginnings.add(key.point.polynomial(beginning));
        }
        self.entries.push((key.point.polynomial(letters), key.check(letters)));
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
            own.beginnings.join(&other.beginnings);
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
        Ok(Originals {
            key: self.key,
            identifiers: Fingerprints::seal(self.identifiers),
            pairs: Fingerprints::seal(self.pairs),
            names: Fingerprints::seal(self.names),
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
        let point = &self.key.point;
        // Most values are told apart by their first letters.
        if fold_first::<SHORTEST>(value)
            .is_some_and(|first| !set.may_begin(point.polynomial(&first)))
        {
            return false;
        }
        let has = |letters: &[u8]| {
            set.has_length(letters.len()) && set.has(&self.key, point.polynomial(letters), letters)
        };
        let mut buffer = [0; LONGEST];
        if let Some(letters) = fold_short(value, &mut buffer) {
            return has(letters);
        }
        let mut folded = Folded::default();
        fold(value, &mut folded);
        has(&folded.letters)
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
            .map(|set| set.len() * 12 + (set.filter.0.len() + set.beginnings.0.len()) * 8)
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
        // All begin alike.
        assert_eq!(originals.bytes(), count * 12 + (1 << 22) / 8 + 8);
        assert!(originals.bytes() < count * 12 + (LARGEST_FILTER + BEGINNING_BITS) / 8);
        let wrong =
            (0..count).filter(|n| originals.has_identifier(&format!("other-{n}@example.org")));
        assert_eq!(wrong.count(), 0);
    }
}
