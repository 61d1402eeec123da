//! The streaming cut loop.
//!
//! It cuts where the crate's `cut_gear` does, which a property test compares, but goes on where it stopped when more bytes
//! arrive, so that little is copied and nothing is hashed twice, and samples the same hash for
//! [`Features`].

use std::io::Read;

use fastcdc::v2020::{self, Normalization};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::crypto::SecretKey;

use super::fill::fill;
use super::profile::{ChunkerProfile, ProfileName};
use super::similarity::{Features, Samples};

/// What the gear key is hashed with; another text gives another table.
const GEAR_CONTEXT: &[u8] = b"mrs-backup gear table v1";
/// How far beyond the largest chunk is read, in bytes.
const READ_AHEAD: usize = 1 << 20;
/// Bits by which samples are chosen: one place in 128. A chunk of 64 KiB has some 500 samples.
const SAMPLED_BITS: u32 = 7;
/// How much is read before the buffer gets its full size. Most files are shorter, so most streams
/// never need more than this.
const FIRST_READ: usize = 64 << 10;
/// How much is read at once from then on.
const READ_AT_ONCE: usize = 256 << 10;

/// The secret table that decides where cuts fall: 256 numbers.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct GearTable {
    gear: [u64; 256],
}

impl GearTable {
    /// The table of a repository: the first 2048 bytes of BLAKE3's extendable output over
    /// `"mrs-backup gear table v1"`, keyed with `key`, as little-endian numbers.
    pub fn new(key: &SecretKey) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(key.expose());
        hasher.update(GEAR_CONTEXT);
        let mut output = hasher.finalize_xof();
        let mut gear = [0u64; 256];
        for number in &mut gear {
            let mut bytes = [0; 8];
            output.fill(&mut bytes);
            *number = u64::from_le_bytes(bytes);
        }
        let table = Self { gear };
        gear.zeroize();
        hasher.zeroize();
        output.zeroize();
        table
    }

    /// The gear hash after one more byte. A byte is forgotten after 64 more.
    #[inline(always)]
    fn roll(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.gear[usize::from(byte)])
    }
}

impl std::fmt::Debug for GearTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GearTable(..)")
    }
}

/// Which hashes matter, by profile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cutting {
    min: usize,
    avg: usize,
    max: usize,
    /// Bits that are zero where a chunk below the average length is cut.
    strict: u64,
    /// Fewer bits, for one above it.
    loose: u64,
    /// Bits that both have: where they are zero the hash is a sample, and only there may be a cut.
    often: u64,
}

impl Cutting {
    /// Of a profile that is valid.
    pub fn of(profile: ChunkerProfile) -> Self {
        let (strict, loose) = v2020::select_masks(profile.avg as usize, Normalization::Level2);
        let (min, avg, max) = (profile.min as usize, profile.avg as usize, profile.max as usize);
        Self { min, avg, max, strict, loose, often: highest_bits(strict & loose, SAMPLED_BITS) }
    }

    /// Where sampling begins in a chunk of `len` bytes.
    pub fn sampled_from(&self, len: usize) -> usize {
        if len / 2 >= self.min { self.min } else { 0 }
    }

    /// Rolls `hash` over `bytes` and takes every sample.
    pub fn sample(&self, table: &GearTable, bytes: &[u8], hash: u64, samples: &mut Samples) {
        let mut hash = hash;
        for byte in bytes {
            hash = table.roll(hash, *byte);
            if hash & self.often == 0 {
                samples.add(hash);
            }
        }
    }
}

/// Rolls `hash` over `bytes` up to a place where it has zeros in all bits of `mask`; that byte is rolled over
/// too. `often` are some of these bits; where they are zero it is a sample.
#[inline(always)]
fn roll<const IS_SAMPLED: bool>(
    table: &GearTable,
    bytes: &[u8],
    hash: &mut u64,
    often: u64,
    mask: u64,
    samples: &mut Samples,
) -> Option<usize> {
    let mut rolling = *hash;
    for (at, byte) in bytes.iter().enumerate() {
        rolling = table.roll(rolling, *byte);
        if rolling & often == 0 {
            if rolling & mask == 0 {
                *hash = rolling;
                return Some(at);
            }
            if IS_SAMPLED {
                samples.add(rolling);
            }
        }
    }
    *hash = rolling;
    None
}

/// The `count` highest of the bits that are set.
fn highest_bits(mut bits: u64, count: u32) -> u64 {
    while bits.count_ones() > count {
        bits &= bits - 1;
    }
    bits
}

/// A chunk on its way.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// What it is like, if the chunker was told to [look](Chunker::with_features).
    pub features: Option<Features>,
}

/// How far into the next chunk was looked.
#[derive(Debug, Clone, Copy, Default)]
struct Scan {
    at: usize,
    hash: u64,
    samples: Samples,
}

/// Cuts one stream. Where it cuts follows from the bytes, the table and the profile alone, however
/// the reader hands the bytes out.
///
/// The buffer holds one of the largest chunks and 1 MiB, and grows to that only when the stream is
/// long enough. Whoever cuts many streams passes the buffer on with
/// [`into_buffer`](Self::into_buffer) and [`with_buffer`](Self::with_buffer).
pub struct Chunker<'a, R> {
    reader: R,
    table: &'a GearTable,
    profile: ChunkerProfile,
    cutting: Cutting,
    has_features: bool,
    /// Most bytes the buffer holds.
    room: usize,
    /// All of it can be read into; it is zeroed once, not for each stream.
    buffer: Vec<u8>,
    /// Where in the buffer the next chunk begins.
    start: usize,
    /// Where in the buffer ends what was read.
    end: usize,
    scan: Scan,
    ended: bool,
}

impl<'a, R: Read> Chunker<'a, R> {
    /// A chunker over `reader` with a buffer of its own.
    pub fn new(table: &'a GearTable, profile: ChunkerProfile, reader: R) -> Self {
        Self::with_buffer(table, profile, reader, Vec::new())
    }

    /// A chunker over `reader` that works in `buffer`; what is in there is dropped.
    ///
    /// A profile that is not [valid](ChunkerProfile::is_valid) is replaced by the one for text: masks and
    /// lengths would make no sense. The cuts are then others, the content is not.
    pub fn with_buffer(
        table: &'a GearTable,
        profile: ChunkerProfile,
        reader: R,
        buffer: Vec<u8>,
    ) -> Self {
        let profile = if profile.is_valid() {
            profile
        } else {
            ChunkerProfile::default_for(ProfileName::Text)
        };
        Self {
            reader,
            table,
            profile,
            cutting: Cutting::of(profile),
            has_features: false,
            room: profile.max as usize + READ_AHEAD,
            buffer,
            start: 0,
            end: 0,
            scan: Scan::default(),
            ended: false,
        }
    }

    /// Whether chunks come with their features; at first they do not.
    pub fn with_features(mut self, has_features: bool) -> Self {
        self.has_features = has_features;
        self
    }

    /// The next chunk, or `None` at the end. Retries interrupted reads. After any other
    /// error it may be called again: what was read by then is kept.
    pub fn next_chunk(&mut self) -> std::io::Result<Option<Chunk<'_>>> {
        let len = loop {
            let there = self.end - self.start;
            if let Some(len) = self.find_cut(there.min(self.cutting.max)) {
                break len;
            }
            if there >= self.cutting.max || self.ended {
                break there.min(self.cutting.max);
            }
            self.fill()?;
        };
        if len == 0 {
            return Ok(None);
        }
        let bytes = &self.buffer[self.start..][..len];
        self.start += len;
        let scan = std::mem::take(&mut self.scan);
        let features = self.has_features.then(|| self.features(bytes, scan));
        Ok(Some(Chunk { bytes, features }))
    }

    /// Looks on for a cut in the first `there` bytes of the next chunk.
    fn find_cut(&mut self, there: usize) -> Option<usize> {
        let Cutting { min, avg, strict, loose, .. } = self.cutting;
        // As the crate has it, a stream's odd last byte is not tested; the next may be the last.
        let there = there & !1;
        while self.scan.at.max(min) < there {
            let from = self.scan.at.max(min);
            let (to, mask) = if from < avg { (there.min(avg), strict) } else { (there, loose) };
            let found = self.roll(from, to, mask);
            self.scan.at = found.unwrap_or(to);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn roll(&mut self, from: usize, to: usize, mask: u64) -> Option<usize> {
        let bytes = &self.buffer[self.start..][from..to];
        let (often, Scan { hash, samples, .. }) = (self.cutting.often, &mut self.scan);
        let found = if self.has_features {
            roll::<true>(self.table, bytes, hash, often, mask, samples)
        } else {
            roll::<false>(self.table, bytes, hash, mask, mask, samples)
        };
        found.map(|found| from + found)
    }

    /// The features of a chunk after it was scanned.
    fn features(&self, bytes: &[u8], mut scan: Scan) -> Features {
        let from = self.cutting.sampled_from(bytes.len());
        if from != self.cutting.min {
            return Features::of(self.table, self.profile, bytes);
        }
        let untested = &bytes[scan.at.max(from)..];
        self.cutting.sample(self.table, untested, scan.hash, &mut scan.samples);
        scan.samples.features()
    }

    /// The buffer, to be used for the next stream.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Reads more, at least something if the stream has not ended. Not much at once, so that it is
    /// still in the processor's cache when it is looked at.
    fn fill(&mut self) -> std::io::Result<()> {
        if self.room - self.end < READ_AT_ONCE {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let is_short = self.end < FIRST_READ;
        let to = self.end + if is_short { FIRST_READ } else { READ_AT_ONCE };
        if self.buffer.len() < to {
            let len = if is_short { to } else { self.room };
            self.buffer.reserve_exact(len - self.buffer.len());
            self.buffer.resize(len, 0);
        }
        let (got, outcome) = fill(&mut self.reader, &mut self.buffer[self.end..to]);
        self.end += got;
        self.ended = outcome.is_ok() && self.end < to;
        outcome
    }
}

#[cfg(test)]
impl GearTable {
    /// Length of the first chunk of `input`, by the crate's function.
    pub(super) fn cut_of_the_crate(&self, profile: ChunkerProfile, input: &[u8]) -> usize {
        let (min, avg, max) = (profile.min as usize, profile.avg as usize, profile.max as usize);
        let (strict, loose) = v2020::select_masks(avg, Normalization::Level2);
        let doubled = self.gear.map(|number| number << 1);
        let masks = [strict, loose, strict << 1, loose << 1];
        let [strict, loose, strict_doubled, loose_doubled] = masks;
        v2020::cut_gear(
            input,
            min,
            avg,
            max,
            strict,
            loose,
            strict_doubled,
            loose_doubled,
            &self.gear,
            &doubled,
        )
        .1
    }
}
