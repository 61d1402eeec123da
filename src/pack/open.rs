//! A pack being written: header, segments so far, and what the directory will need.

use minicbor::Encoder;
use sha2::{Digest, Sha256};

use crate::crypto::keyring::SEAL_OVERHEAD;
use crate::crypto::padme::padme;
use crate::crypto::random::random_bytes;
use crate::crypto::{Keyring, Randomness};
use crate::id::{KeyId, PackId};

use super::builder::FinishedPack;
use super::entry::{PackClass, SegmentEntry, encode_entries, encode_entry};
use super::layout::{self, FIXED_LEN, MAX_DIRECTORY, Part};
use super::reader::{HEADER_LEN, PackError, PackHeader, TRAILER_LEN};
use super::sealer::{SealedSegment, compress_error, frame_compressor};

/// What a zstd frame may need beyond its raw bytes, and a little for what entries added since the
/// measurement do to the compression of the others.
const FRAME_SLACK: u64 = 128;
/// zstd's level for directories: ids do not compress, so more effort gains nothing.
const DIRECTORY_LEVEL: i32 = 3;

/// A pack that still takes segments.
#[derive(Debug)]
pub(super) struct OpenPack {
    header: PackHeader,
    /// Header and segments, each in the memory it came in.
    parts: Vec<Vec<u8>>,
    /// Bytes of all parts.
    len: u64,
    /// Of `parts`. Hashing each segment while it is in the processor's cache is half as much work again
    /// faster than hashing a whole pack (measured: 2.0 and 1.3 GB/s).
    hasher: Sha256,
    entries: Vec<SegmentEntry>,
    /// How long the directory's frame will be, nearly always at most.
    listed: u64,
    /// Whether `listed` has been measured, but for entries added since.
    measured: bool,
}

impl OpenPack {
    /// Length of a pack without segments, by the same estimate as [`len`](Self::len).
    pub const EMPTY_LEN: u64 = FIXED_LEN + FRAME_SLACK;

    /// An empty pack.
    pub fn new(class: PackClass, key: KeyId, random: &dyn Randomness) -> Self {
        let header = layout::header(class, key, random_bytes(random));
        let parts = vec![header.bytes.to_vec()];
        let hasher = Sha256::new_with_prefix(header.bytes);
        let (entries, len) = (Vec::new(), HEADER_LEN as u64);
        Self { header, parts, len, hasher, entries, listed: FRAME_SLACK, measured: false }
    }

    /// How many bytes it would have, nearly always at most, if closed now, without padding.
    pub fn len(&self) -> u64 {
        self.len - HEADER_LEN as u64 + FIXED_LEN + self.listed
    }

    /// Puts a segment behind the others.
    pub fn append(&mut self, segment: SealedSegment) -> Result<(), PackError> {
        let SealedSegment { mut entry, bytes, .. } = segment;
        entry.offset = u32::try_from(self.len)
            .map_err(|_| PackError::Segment("its pack is too long already"))?;
        self.listed += entry_len(&entry, self.header.key);
        self.len += bytes.len() as u64;
        self.hasher.update(&bytes);
        self.parts.push(bytes);
        self.entries.push(entry);
        Ok(())
    }

    /// Replaces the estimate of the directory by its true length, as ids do not compress but the
    /// rest does. Costs one compression of the directory, so only the first time.
    pub fn measure(&mut self) -> Result<(), PackError> {
        if !self.measured {
            self.measured = true;
            self.listed = self.directory(&self.entries)?.0.len() as u64 + FRAME_SLACK;
        }
        Ok(())
    }

    /// Whether it can be closed with `more` segments and `padding` bytes to spare by the estimate. A
    /// frame of thousands of entries may grow by more than the entries added to it: then the
    /// estimate is raised by that, and another choice has to be made.
    pub fn confirm<'a>(
        &mut self,
        more: impl Iterator<Item = &'a SegmentEntry>,
        padding: u64,
    ) -> Result<bool, PackError> {
        let mut entries = self.entries.clone();
        let mut estimate = self.listed;
        let mut end = self.len;
        for entry in more {
            estimate += entry_len(entry, self.header.key);
            let offset = u32::try_from(end).unwrap_or(u32::MAX);
            end += u64::from(entry.sealed_len);
            entries.push(SegmentEntry { offset, ..entry.clone() });
        }
        let exact = self.directory(&entries)?.0.len() as u64;
        if exact <= estimate + padding {
            return Ok(true);
        }
        self.listed += exact - estimate;
        Ok(false)
    }

    /// The frame of a directory of `entries`, and its raw length.
    fn directory(&self, entries: &[SegmentEntry]) -> Result<(Vec<u8>, u32), PackError> {
        let mut encoder = Encoder::new(Vec::new());
        encode_entries(entries, self.header.key, &mut encoder)
            .map_err(|_| PackError::Segment("its entry cannot be written"))?;
        let raw = encoder.into_writer();
        let raw_len = u32::try_from(raw.len())
            .ok()
            .filter(|len| *len <= MAX_DIRECTORY)
            .ok_or(PackError::Segment("its pack lists too many chunks already"))?;
        let frame = frame_compressor(DIRECTORY_LEVEL)?.compress(&raw).map_err(compress_error)?;
        Ok((frame, raw_len))
    }

    /// Pads it and adds directory and trailer.
    pub fn close(
        self,
        keyring: &Keyring,
        random: &dyn Randomness,
    ) -> Result<FinishedPack, PackError> {
        let (frame, raw_len) = self.directory(&self.entries)?;
        let Self { header, mut parts, len: segments_end, mut hasher, entries, .. } = self;
        let too_long = PackError::Segment("its pack is too long already");
        let sealed_len = u32::try_from(frame.len() + SEAL_OVERHEAD).map_err(|_| too_long)?;
        let end_len = u64::from(sealed_len) + TRAILER_LEN as u64;
        let padding = padme(segments_end + end_len) - segments_end - end_len;
        let offset = segments_end + padding;
        let padding = usize::try_from(padding).unwrap_or_default();
        let mut end = Vec::with_capacity(padding + sealed_len as usize + TRAILER_LEN);
        end.resize(padding, 0);
        random.fill(&mut end);

        let (purpose, repository) = (header.class.purpose(), keyring.repository());
        let ad = layout::part_ad(Part::Directory, repository, &header);
        keyring.seal_into(purpose, &ad, &frame, random, &mut end)?;
        let fields: [&[u8]; 4] =
            [&offset.to_le_bytes(), &sealed_len.to_le_bytes(), &raw_len.to_le_bytes(), &[0; 8]];
        let ad = layout::part_ad(Part::Trailer, repository, &header);
        keyring.seal_into(purpose, &ad, &fields.concat(), random, &mut end)?;
        hasher.update(&end);
        parts.push(end);
        let id = PackId::new(hasher.finalize().into());
        Ok(FinishedPack { id, class: header.class, key: header.key, parts, entries })
    }
}

/// Bytes of `entry` in the directory before compression, at most, wherever in the pack it will lie.
pub(super) fn entry_len(entry: &SegmentEntry, default_key: KeyId) -> u64 {
    let mut counter = Counter(0);
    // Counting cannot fail.
    let _ = encode_entry(entry, default_key, &mut Encoder::new(&mut counter));
    counter.0 - minicbor::len(entry.offset) as u64 + minicbor::len(u32::MAX) as u64
}

/// Counts what is written.
struct Counter(u64);

impl minicbor::encode::Write for Counter {
    type Error = std::convert::Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0 += bytes.len() as u64;
        Ok(())
    }
}
