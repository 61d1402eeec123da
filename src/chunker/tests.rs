//! Where streams are cut.

use std::io::{Error, ErrorKind, Read};

use proptest::prelude::*;

use super::*;
use crate::crypto::SecretKey;

const SMALL: ChunkerProfile = ChunkerProfile { min: 1 << 10, avg: 4 << 10, max: 16 << 10 };

fn table() -> GearTable {
    GearTable::new(&SecretKey::new([7; 32]))
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(b"golden").finalize_xof().fill(&mut bytes);
    bytes
}

fn text(len: usize) -> Vec<u8> {
    let mut text = String::new();
    for line in 0u64.. {
        if text.len() >= len {
            break;
        }
        text +=
            &format!("{line}\t{}\tINSERT INTO users VALUES ({})\n", line * line % 9973, line % 61);
    }
    text.truncate(len);
    text.into_bytes()
}

/// Ends of all chunks; checks that they hold `input` and keep to the profile.
fn cuts(profile: ChunkerProfile, input: &[u8], reader: impl Read) -> Vec<usize> {
    let table = table();
    let mut chunker = Chunker::new(&table, profile, reader);
    let (mut ends, mut whole) = (Vec::new(), Vec::new());
    while let Some(Chunk { bytes: chunk, .. }) = chunker.next_chunk().unwrap() {
        assert!(!chunk.is_empty() && chunk.len() <= profile.max as usize);
        whole.extend_from_slice(chunk);
        ends.push(whole.len());
        if whole.len() < input.len() {
            assert!(chunk.len() >= profile.min as usize);
        }
    }
    assert!(whole == input);
    assert!(chunker.next_chunk().unwrap().is_none(), "the end stays the end");
    ends
}

fn digest(ends: &[usize]) -> String {
    let mut hasher = blake3::Hasher::new();
    for end in ends {
        hasher.update(&(*end as u64).to_le_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Gives a number of bytes a time that changes, now and then `Interrupted`.
struct Dribble<'a> {
    bytes: &'a [u8],
    sizes: Vec<usize>,
    turn: usize,
}

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.turn += 1;
        if self.turn % 5 == 2 {
            return Err(Error::from(ErrorKind::Interrupted));
        }
        let size = self.sizes[self.turn % self.sizes.len()].max(1).min(buffer.len());
        self.bytes.read(&mut buffer[..size])
    }
}

/// Cuts decide what is deduplicated against what is stored already: they must never move.
#[test]
fn cuts_stay_where_they_were() {
    let random = noise(1 << 20);
    let ends = cuts(SMALL, &random, &random[..]);
    assert_eq!(ends[..6], GOLDEN_FIRST);
    assert_eq!((ends.len(), digest(&ends)), (GOLDEN_SMALL.0, GOLDEN_SMALL.1.to_owned()));
    let lines = text(12 << 20);
    let ends = cuts(ChunkerProfile::default_for(ProfileName::Text), &lines, &lines[..]);
    assert_eq!((ends.len(), digest(&ends)), (GOLDEN_TEXT.0, GOLDEN_TEXT.1.to_owned()));
    let random = noise(20 << 20);
    let ends = cuts(ChunkerProfile::default_for(ProfileName::Opaque), &random, &random[..]);
    assert_eq!((ends.len(), digest(&ends)), (GOLDEN_OPAQUE.0, GOLDEN_OPAQUE.1.to_owned()));
}

const GOLDEN_FIRST: [usize; 6] = [5135, 11875, 17559, 22098, 26347, 32018];
const GOLDEN_SMALL: (usize, &str) = (223, "f85a1f45753bc7be");
const GOLDEN_TEXT: (usize, &str) = (35, "2719975c463b1d63");
const GOLDEN_OPAQUE: (usize, &str) = (17, "8d2dba7f35857833");

/// Normalised FastCDC as its paper has it, a byte at a time, over the whole input.
fn by_the_paper(profile: ChunkerProfile, input: &[u8]) -> Vec<usize> {
    let mut output = blake3::Hasher::new_keyed(&[7; 32]);
    let mut output = output.update(b"mrs-backup gear table v1").finalize_xof();
    let mut table = [0; 2048];
    output.fill(&mut table);
    let gear = |byte: u8| {
        let at = usize::from(byte) * 8;
        u64::from_le_bytes(table[at..at + 8].try_into().unwrap())
    };
    let bits = profile.avg.ilog2() as usize;
    let (strict, loose) = (fastcdc::v2020::MASKS[bits + 2], fastcdc::v2020::MASKS[bits - 2]);
    let (mut ends, mut start) = (Vec::new(), 0);
    while start < input.len() {
        let window = &input[start..input.len().min(start + profile.max as usize)];
        let mut hash = 0u64;
        let mut len = window.len();
        // An odd last byte is not tested.
        let tested = window.iter().enumerate().take(window.len() & !1);
        for (at, byte) in tested.skip(profile.min as usize) {
            hash = (hash << 1).wrapping_add(gear(*byte));
            if hash & if at < profile.avg as usize { strict } else { loose } == 0 {
                len = at;
                break;
            }
        }
        start += len;
        ends.push(start);
    }
    ends
}

#[test]
fn cuts_are_those_of_the_paper() {
    for input in [noise(3 << 20), text(3_000_001), vec![0; 100_000], noise(1023), noise(1025)] {
        assert_eq!(cuts(SMALL, &input, &input[..]), by_the_paper(SMALL, &input));
    }
}

#[test]
fn another_key_cuts_elsewhere() {
    let input = noise(1 << 20);
    let other = GearTable::new(&SecretKey::new([8; 32]));
    let mut chunker = Chunker::new(&other, SMALL, &input[..]);
    let first = chunker.next_chunk().unwrap().unwrap().bytes.len();
    assert_ne!(first, cuts(SMALL, &input, &input[..])[0]);
}

#[test]
fn an_empty_stream_has_no_chunks_and_takes_little_memory() {
    let table = table();
    let mut chunker = Chunker::new(&table, SMALL, std::io::empty());
    assert!(chunker.next_chunk().unwrap().is_none());
    assert!(chunker.into_buffer().capacity() <= 64 << 10);
}

#[test]
fn a_buffer_serves_many_streams_and_short_ones_do_not_grow_it() {
    let (table, input) = (table(), noise(40_000));
    let profile = ChunkerProfile::default_for(ProfileName::Opaque);
    let mut buffer = Vec::new();
    for len in [0, 1, 300, 40_000] {
        let mut chunker = Chunker::with_buffer(&table, profile, &input[..len], buffer);
        let mut whole = Vec::new();
        while let Some(chunk) = chunker.next_chunk().unwrap() {
            whole.extend_from_slice(chunk.bytes);
        }
        assert!(whole == input[..len]);
        buffer = chunker.into_buffer();
        assert!(buffer.capacity() <= 256 << 10, "{}", buffer.capacity());
    }
    let long = noise(30 << 20);
    let mut chunker = Chunker::with_buffer(&table, profile, &long[..], buffer);
    while chunker.next_chunk().unwrap().is_some() {}
    let capacity = chunker.into_buffer().capacity();
    assert!(capacity <= 5 << 20, "one of the largest chunks and 1 MiB, not {capacity}");
}

#[test]
fn an_unusable_profile_still_cuts() {
    let (table, input) = (table(), noise(300_000));
    let profile = ChunkerProfile { min: 0, avg: 1 << 31, max: 0 };
    let mut chunker = Chunker::new(&table, profile, &input[..]);
    let mut len = 0;
    while let Some(chunk) = chunker.next_chunk().unwrap() {
        len += chunk.bytes.len();
    }
    assert_eq!(len, input.len());
}

#[test]
fn after_an_error_reading_goes_on() {
    struct Failing<'a>(&'a [u8], bool);
    impl Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.len() < 50_000 && !self.1 {
                self.1 = true;
                return Err(Error::from(ErrorKind::TimedOut));
            }
            let size = buffer.len().min(700);
            self.0.read(&mut buffer[..size])
        }
    }
    let (table, input) = (table(), noise(100_000));
    let mut chunker = Chunker::new(&table, SMALL, Failing(&input, false));
    let (mut whole, mut errors) = (Vec::new(), 0);
    loop {
        match chunker.next_chunk() {
            Ok(Some(chunk)) => whole.extend_from_slice(chunk.bytes),
            Ok(None) => break,
            Err(_) => errors += 1,
        }
    }
    assert!(whole == input && errors == 1);
}

#[test]
fn an_insertion_moves_only_cuts_around_it() {
    let before = noise(2 << 20);
    let mut after = before.clone();
    after.splice(1_000_000..1_000_000, *b"a few more bytes");
    let old = cuts(SMALL, &before, &before[..]);
    let new = cuts(SMALL, &after, &after[..]);
    let head = |end: &&usize| **end < 1_000_000;
    assert!(old.iter().filter(head).eq(new.iter().filter(head)));
    let old: std::collections::HashSet<_> = old.into_iter().collect();
    let moved = new.iter().filter(|end| **end > 1_000_000 && !old.contains(&(**end - 16))).count();
    assert!(moved < 12, "{moved} cuts moved");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_reader_does_not_matter(
        len in 0usize..300_000,
        from in 0usize..100_000,
        plain in any::<bool>(),
        sizes in proptest::collection::vec(1usize..70_000, 1..6),
    ) {
        let source = if plain { text(400_000) } else { noise(400_000) };
        let input = &source[from..from + len];
        let dribbled = cuts(SMALL, input, Dribble { bytes: input, sizes, turn: 0 });
        prop_assert_eq!(cuts(SMALL, input, input), dribbled);
    }
}

#[test]
fn a_byte_at_a_time_cuts_the_same() {
    let input = text(90_000);
    let dribble = Dribble { bytes: &input, sizes: vec![1], turn: 0 };
    assert_eq!(cuts(SMALL, &input, dribble), cuts(SMALL, &input, &input[..]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// The crate's own function over each window, beside our loop.
    #[test]
    fn cuts_are_those_of_the_crate(
        avg in 8u32..16,
        min in 1u32..4,
        max in 1u32..5,
        len in 0usize..300_000,
        plain in any::<bool>(),
        has_features in any::<bool>(),
        sizes in proptest::collection::vec(1usize..70_000, 1..6),
    ) {
        let profile = ChunkerProfile {
            min: ((1 << avg) >> min).max(64),
            avg: 1 << avg,
            max: (1 << avg) << max,
        };
        prop_assume!(profile.is_valid());
        let input = if plain { text(len) } else { noise(len) };
        let table = table();
        let dribble = Dribble { bytes: &input, sizes, turn: 0 };
        let mut chunker = Chunker::new(&table, profile, dribble).with_features(has_features);
        let mut rest = &input[..];
        while let Some(chunk) = chunker.next_chunk().unwrap() {
            let expected = table.cut_of_the_crate(profile, rest);
            prop_assert_eq!(chunk.bytes.len(), expected);
            let features = has_features.then(|| Features::of(&table, profile, chunk.bytes));
            prop_assert_eq!(chunk.features, features, "sampled while cutting, or later");
            rest = &rest[expected..];
        }
        prop_assert!(rest.is_empty());
    }
}
