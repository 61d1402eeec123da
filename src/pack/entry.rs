//! What a pack's directory and the index say of a segment.

use crate::id::{ChunkId, KeyId, SegmentId};

/// What a pack holds. Trees and data go to different packs, so that browsing reads little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PackClass {
    /// Content of files.
    Data = 0,
    /// Directories and chunk lists.
    Tree = 1,
}

/// How a segment's frame is made from its raw bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SegmentKind {
    /// As they are.
    Raw = 0,
    /// A zstd frame.
    Zstd = 1,
    /// A zstd frame with another segment as prefix. Reserved.
    ZstdWithBase = 2,
}

/// One chunk inside a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Its id.
    pub id: ChunkId,
    /// Its length in bytes.
    pub len: u32,
}

/// One segment in a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentEntry {
    /// Keyed hash of its raw bytes.
    pub id: SegmentId,
    /// Where it starts in the pack, in bytes.
    pub offset: u32,
    /// Length of the sealed segment in bytes.
    pub sealed_len: u32,
    /// Length of its raw bytes.
    pub raw_len: u32,
    /// How the frame is made.
    pub kind: SegmentKind,
    /// Which epoch sealed it.
    pub key: KeyId,
    /// The segment it was compressed against.
    pub base: Option<SegmentId>,
    /// Its chunks, one after the other; they fill it. Never empty.
    pub chunks: Vec<ChunkEntry>,
}
