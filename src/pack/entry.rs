//! What a pack's directory and the index say of a segment, and how they write it in CBOR
//! (`docs/format.md` section 6).

use minicbor::Decoder;
use minicbor::encode::{self, Encoder, Write};

use crate::cbor::{read_list, read_map};
use crate::chunker::Features;
use crate::crypto::keyring::{Purpose, SEAL_OVERHEAD};
use crate::id::{ChunkId, KeyId, SegmentId};

use super::reader::PackError;

/// Most raw bytes of a segment.
pub const MAX_RAW_LEN: u32 = 1 << 27;

/// What a pack holds. Trees and data go to different packs, so that browsing reads little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PackClass {
    /// Content of files.
    Data = 0,
    /// Directories and chunk lists.
    Tree = 1,
}

impl PackClass {
    /// The class of this number.
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Data),
            1 => Some(Self::Tree),
            _ => None,
        }
    }

    /// Which keys seal it.
    pub const fn purpose(self) -> Purpose {
        match self {
            Self::Data => Purpose::Data,
            Self::Tree => Purpose::Tree,
        }
    }
}

/// How a segment's frame is made from its raw bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SegmentKind {
    /// As they are.
    Raw = 0,
    /// A zstd frame.
    Zstd = 1,
    /// A zstd frame with another segment's raw bytes as prefix: a delta.
    ZstdWithBase = 2,
}

impl SegmentKind {
    const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            2 => Some(Self::ZstdWithBase),
            _ => None,
        }
    }
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
    /// What its raw bytes are like, where later segments may be compressed against it.
    pub features: Option<Features>,
    /// Its chunks, one after the other; they fill it. Never empty.
    pub chunks: Vec<ChunkEntry>,
}

impl SegmentEntry {
    /// Where its sealed bytes end in the pack.
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.sealed_len)
    }

    /// Length of its frame; `None` where `sealed_len` leaves no room for one.
    pub(super) fn frame_len(&self) -> Option<u32> {
        self.sealed_len.checked_sub(SEAL_OVERHEAD as u32).filter(|len| *len > 0)
    }

    /// Whether it is one chunk with the segment's own id, which then need not be written.
    fn is_one_chunk(&self) -> bool {
        matches!(&self.chunks[..], [chunk]
            if SegmentId::from(chunk.id) == self.id && chunk.len == self.raw_len)
    }

    /// Whether its lengths agree with one another and with the limits of the format.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let Some(frame_len) = self.frame_len() else {
            return Err("a segment too short to be sealed");
        };
        if self.raw_len == 0 || self.raw_len > MAX_RAW_LEN {
            return Err("a segment's raw length is outside the limits");
        }
        if self.kind == SegmentKind::Raw && frame_len != self.raw_len {
            return Err("a raw segment is not as long as its raw bytes");
        }
        if self.base.is_some() != (self.kind == SegmentKind::ZstdWithBase) {
            return Err("a segment has a base and needs none, or the reverse");
        }
        if self.chunks.iter().any(|chunk| chunk.len == 0) {
            return Err("an empty chunk");
        }
        let filled: u64 = self.chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
        if filled != u64::from(self.raw_len) {
            return Err("chunks do not fill their segment");
        }
        Ok(())
    }
}

/// Writes `entries` as an array; `default_key` is the key id of the pack's header.
pub fn encode_entries<W: Write>(
    entries: &[SegmentEntry],
    default_key: KeyId,
    e: &mut Encoder<W>,
) -> Result<(), encode::Error<W::Error>> {
    e.array(entries.len() as u64)?;
    for entry in entries {
        encode_entry(entry, default_key, e)?;
    }
    Ok(())
}

/// Writes one entry; what has its default is left out.
pub(super) fn encode_entry<W: Write>(
    entry: &SegmentEntry,
    default_key: KeyId,
    e: &mut Encoder<W>,
) -> Result<(), encode::Error<W::Error>> {
    let with_kind = entry.kind != SegmentKind::Zstd;
    let with_key = entry.key != default_key;
    let with_chunks = !entry.is_one_chunk();
    let optional =
        [with_kind, with_key, entry.base.is_some(), with_chunks, entry.features.is_some()];
    e.map(4 + optional.iter().filter(|present| **present).count() as u64)?;
    e.u8(0)?.encode(entry.id)?;
    e.u8(1)?.u32(entry.offset)?;
    e.u8(2)?.u32(entry.sealed_len)?;
    e.u8(3)?.u32(entry.raw_len)?;
    if with_kind {
        e.u8(4)?.u8(entry.kind as u8)?;
    }
    if with_key {
        e.u8(5)?.u32(entry.key.0)?;
    }
    if let Some(base) = entry.base {
        e.u8(6)?.encode(base)?;
    }
    if with_chunks {
        e.u8(7)?.array(entry.chunks.len() as u64)?;
        for chunk in &entry.chunks {
            e.map(2)?.u8(0)?.encode(chunk.id)?.u8(1)?.u32(chunk.len)?;
        }
    }
    if let Some(features) = entry.features {
        e.u8(8)?.bytes(&features.to_bytes())?;
    }
    Ok(())
}

/// Reads what [`encode_entries`] wrote. Each entry's lengths agree with one another; whether they
/// fit a pack is for the caller to check. Fails with [`PackError::UnknownKind`] for a kind this
/// version has never heard of.
pub fn decode_entries(
    d: &mut Decoder<'_>,
    default_key: KeyId,
) -> Result<Vec<SegmentEntry>, PackError> {
    read_list(d, |d| decode_entry(d, default_key))
}

fn decode_entry(d: &mut Decoder<'_>, default_key: KeyId) -> Result<SegmentEntry, PackError> {
    let (mut id, mut offset, mut sealed_len, mut raw_len) = (None, None, None, None);
    let (mut kind, mut key_id, mut base, mut chunks) = (1, default_key, None, None);
    let mut features = None;
    read_map(d, |key, d| {
        match key {
            0 => id = Some(d.decode::<SegmentId>()?),
            1 => offset = Some(d.u32()?),
            2 => sealed_len = Some(d.u32()?),
            3 => raw_len = Some(d.u32()?),
            4 => kind = d.u64()?,
            5 => key_id = KeyId(d.u32()?),
            6 => base = Some(d.decode()?),
            7 => chunks = Some(read_list(d, decode_chunk)?),
            // Of another length they are a later version's: then this one is not compared with.
            8 => features = Features::from_bytes(d.bytes()?),
            _ => d.skip()?,
        }
        Ok::<_, PackError>(())
    })?;
    let missing = PackError::Malformed("a segment's entry lacks its id or a length");
    let (Some(id), Some(offset), Some(sealed_len), Some(raw_len)) =
        (id, offset, sealed_len, raw_len)
    else {
        return Err(missing);
    };
    let kind = SegmentKind::from_number(kind).ok_or_else(|| PackError::UnknownKind(id.short()))?;
    let whole = || vec![ChunkEntry { id: ChunkId::new(*id.as_bytes()), len: raw_len }];
    let chunks = chunks.unwrap_or_else(whole);
    let entry =
        SegmentEntry { id, offset, sealed_len, raw_len, kind, key: key_id, base, features, chunks };
    entry.check().map_err(PackError::Malformed)?;
    Ok(entry)
}

fn decode_chunk(d: &mut Decoder<'_>) -> Result<ChunkEntry, PackError> {
    let (mut id, mut len) = (None, None);
    read_map(d, |key, d| {
        match key {
            0 => id = Some(d.decode::<ChunkId>()?),
            1 => len = Some(d.u32()?),
            _ => d.skip()?,
        }
        Ok::<_, PackError>(())
    })?;
    let (Some(id), Some(len)) = (id, len) else {
        return Err(PackError::Malformed("a chunk's entry lacks its id or length"));
    };
    Ok(ChunkEntry { id, len })
}
