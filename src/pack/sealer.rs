//! Compresses and seals segments. One sealer a thread: it keeps its zstd context.

use std::sync::Arc;

use crate::crypto::{Keyring, Randomness};

use super::entry::{ChunkEntry, PackClass, SegmentEntry};
use super::reader::PackError;

/// What is known of a segment's compressibility.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Try zstd and keep the frame if it is smaller.
    Try,
    /// Known to be incompressible: store raw.
    Skip,
}

/// A segment on its way to the sealers.
#[derive(Debug, Clone)]
pub struct RawSegment {
    /// Which packs it goes to.
    pub class: PackClass,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its chunks; they fill `bytes`.
    pub chunks: Vec<ChunkEntry>,
    /// Whether compressing is worth a try.
    pub compression: Compression,
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
}

impl Sealer {
    /// A sealer compressing at zstd `level`.
    pub fn new(
        keyring: Arc<Keyring>,
        level: i32,
        random: Arc<dyn Randomness>,
    ) -> Result<Self, PackError> {
        let _ = level;
        let _ = (&keyring, &random);
        todo!()
    }

    /// Compresses and seals one segment.
    pub fn seal(&mut self, segment: RawSegment) -> Result<SealedSegment, PackError> {
        let _ = (segment, &self.keyring, &self.random);
        todo!()
    }
}
