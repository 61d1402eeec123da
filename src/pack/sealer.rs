//! Compresses and seals segments. One sealer a thread: it keeps its zstd context.

use std::sync::Arc;

use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, Strategy, compress_bound};

use crate::chunker::Features;
use crate::crypto::keyring::SEAL_OVERHEAD;
use crate::crypto::{Keyring, Randomness};
use crate::id::{ChunkId, SegmentId};

use super::entry::{ChunkEntry, PackClass, SegmentEntry, SegmentKind};
use super::layout;
use super::reader::PackError;

/// The level that is taken if none is configured.
pub const QUICK_LEVEL: i32 = 2;
/// What it means. zstd's own level 2 changes with the length of the input, to a strategy with two tables
/// for the shorter of our segments; this is quicker by a quarter for 1% more bytes (docs/benchmarks.md), as
/// its one table of 2^14 places stays in the processor's nearest cache.
const QUICK: [CParameter; 4] = [
    CParameter::Strategy(Strategy::ZSTD_fast),
    CParameter::HashLog(14),
    CParameter::MinMatch(6),
    CParameter::TargetLength(0),
];

/// What is known of a segment's compressibility.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Try zstd and keep the frame if it is smaller by 2% or more.
    Try,
    /// Known to be incompressible: store raw.
    Skip,
}

/// A segment on its way to the sealers.
#[derive(Debug, Clone)]
pub struct RawSegment {
    /// Which packs it goes to.
    pub class: PackClass,
    /// Its bytes, 1 to 2^27.
    pub bytes: Vec<u8>,
    /// Its chunks; they fill `bytes`. The ids are taken as they are, not computed again.
    pub chunks: Vec<ChunkEntry>,
    /// Whether compressing is worth a try.
    pub compression: Compression,
    /// What it resembles.
    pub likeness: Likeness,
}

/// What a segment of one chunk may resemble.
#[derive(Debug, Clone, Copy, Default)]
pub struct Likeness {
    /// What it is like, if it may become a delta, or the base of one.
    pub features: Option<Features>,
    /// The chunk that was at its place in an earlier version of the stream, if there is one.
    pub earlier: Option<ChunkId>,
}

/// A segment compressed against another.
#[derive(Debug, Clone)]
pub struct Delta {
    /// The other one.
    pub base: SegmentId,
    /// The zstd frame ([`compress_delta`](super::compress_delta)).
    pub frame: Vec<u8>,
}

/// A segment ready for a pack. `entry.offset` is 0 until a builder takes it.
#[derive(Debug, Clone)]
pub struct SealedSegment {
    /// Which packs it goes to.
    pub class: PackClass,
    /// What the directory will say.
    pub entry: SegmentEntry,
    /// The sealed bytes.
    pub bytes: Vec<u8>,
}

/// Compresses and seals.
pub struct Sealer {
    keyring: Arc<Keyring>,
    random: Arc<dyn Randomness>,
    compressor: Compressor<'static>,
    /// Where zstd writes; as large as the largest segment so far.
    frame: Vec<u8>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Sealer {
    /// A sealer compressing at zstd `level`.
    pub fn new(
        keyring: Arc<Keyring>,
        level: i32,
        random: Arc<dyn Randomness>,
    ) -> Result<Self, PackError> {
        let compressor = frame_compressor(level)?;
        Ok(Self { keyring, random, compressor, frame: Vec::new() })
    }

    /// Compresses and seals one segment with the current epoch's key.
    pub fn seal(&mut self, segment: RawSegment) -> Result<SealedSegment, PackError> {
        self.seal_with(segment, None, None).map(|(sealed, _)| sealed)
    }

    /// Seals one segment, as `delta` if there is one, and lists its `features`. Gives its raw buffer
    /// back for the next one.
    pub fn seal_with(
        &mut self,
        segment: RawSegment,
        features: Option<Features>,
        delta: Option<&Delta>,
    ) -> Result<(SealedSegment, Vec<u8>), PackError> {
        let RawSegment { class, bytes, chunks, compression, .. } = segment;
        let raw_len = u32::try_from(bytes.len())
            .map_err(|_| PackError::Segment("it is longer than a segment may be"))?;
        let id = match &chunks[..] {
            [chunk] => SegmentId::from(chunk.id),
            _ => SegmentId::from(self.keyring.chunk_id(&bytes)),
        };
        let (kind, frame) = match delta {
            Some(delta) => (SegmentKind::ZstdWithBase, &delta.frame[..]),
            None if self.compress(&bytes, compression)? => (SegmentKind::Zstd, &self.frame[..]),
            None => (SegmentKind::Raw, &bytes[..]),
        };
        let frame_len = u32::try_from(frame.len())
            .map_err(|_| PackError::Segment("it is longer than a segment may be"))?;
        let sealed_len = frame_len.saturating_add(SEAL_OVERHEAD as u32);
        let key = self.keyring.current();
        let base = delta.map(|delta| delta.base);
        let entry =
            SegmentEntry { id, offset: 0, sealed_len, raw_len, kind, key, base, features, chunks };
        entry.check().map_err(PackError::Segment)?;
        let ad = layout::segment_ad(self.keyring.repository(), class, &entry, frame_len);
        let mut sealed = Vec::with_capacity(frame.len() + SEAL_OVERHEAD);
        self.keyring.seal_into(class.purpose(), &ad, frame, &*self.random, &mut sealed)?;
        Ok((SealedSegment { class, entry, bytes: sealed }, bytes))
    }

    /// Fills `self.frame`; false if that is not worth it.
    fn compress(&mut self, raw: &[u8], how: Compression) -> Result<bool, PackError> {
        if how == Compression::Skip {
            return Ok(false);
        }
        self.frame.clear();
        self.frame.reserve(compress_bound(raw.len()));
        self.compressor.compress_to_buffer(raw, &mut self.frame).map_err(compress_error)?;
        // Below 2% the time to decompress is worth more than the bytes.
        Ok((self.frame.len() as u64) * 50 < (raw.len() as u64) * 49)
    }
}

/// A zstd context that writes frames as the format has them: with content size, without checksum
/// (the seal is one).
pub(super) fn frame_compressor(level: i32) -> Result<Compressor<'static>, PackError> {
    let mut compressor = Compressor::new(level).map_err(compress_error)?;
    compressor.set_parameter(CParameter::ChecksumFlag(false)).map_err(compress_error)?;
    compressor.set_parameter(CParameter::ContentSizeFlag(true)).map_err(compress_error)?;
    if level == QUICK_LEVEL {
        for parameter in QUICK {
            compressor.set_parameter(parameter).map_err(compress_error)?;
        }
    }
    Ok(compressor)
}

/// What to say when zstd fails.
pub(super) fn compress_error(error: std::io::Error) -> PackError {
    PackError::Compress(error.to_string())
}
