//! Reads packs: header, trailer, directory, segments. Every length is checked before it is believed.

use minicbor::Decoder;

use crate::crypto::Keyring;
use crate::crypto::keyring::SEAL_OVERHEAD;
use crate::id::KeyId;

use super::delta::inflate_delta;
use super::entry::{PackClass, SegmentEntry, SegmentKind, decode_entries};
use super::layout::{self, FIXED_LEN, MAGIC, MAX_DIRECTORY, Part};

/// Length of a pack's header in bytes.
pub const HEADER_LEN: usize = 32;
/// Length of a pack's sealed trailer in bytes.
pub const TRAILER_LEN: usize = 64;

/// Longest pack in bytes.
pub const MAX_PACK_LEN: u64 = 256 << 20;

/// Why a pack or a segment in it cannot be read. The caller adds which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// Not a pack of version 1.
    #[error("it is not a pack of version 1: {0}")]
    Malformed(&'static str),
    /// Does not open.
    #[error(transparent)]
    Open(#[from] crate::crypto::keyring::OpenError),
    /// A segment kind this version does not know.
    #[error("segment {0} is of a kind this version cannot read; use a newer mrs-backup")]
    UnknownKind(String),
    /// Bytes that decompress to something else than recorded.
    #[error("segment {0} does not decompress to what its directory says")]
    Decompress(String),
    /// A delta without its base.
    #[error("segment {0} is a delta, and its base is not at hand")]
    NeedsBase(String),
    /// Content whose hash is not its id.
    #[error("chunk {0} has other bytes than its id says")]
    WrongChunk(String),
    /// A segment that has no place in a pack: a mistake of the caller.
    #[error("a segment cannot be packed: {0}")]
    Segment(&'static str),
    /// zstd failed to compress.
    #[error("zstd failed: {0}")]
    Compress(String),
}

impl From<minicbor::decode::Error> for PackError {
    fn from(_: minicbor::decode::Error) -> Self {
        Self::Malformed("its list of segments is not the CBOR it should be")
    }
}

/// The clear part of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackHeader {
    /// What it holds.
    pub class: PackClass,
    /// Epoch of its directory and trailer.
    pub key: KeyId,
    /// All 32 bytes, to which directory and trailer are bound.
    pub bytes: [u8; HEADER_LEN],
}

/// Reads the first [`HEADER_LEN`] bytes; what follows them is passed over.
pub fn parse_header(bytes: &[u8]) -> Result<PackHeader, PackError> {
    let bytes: [u8; HEADER_LEN] =
        *bytes.first_chunk().ok_or(PackError::Malformed("it is shorter than a header"))?;
    let (magic, rest) = bytes.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(PackError::Malformed("it does not begin as one"));
    }
    let [class, zero, zero_too, key @ ..] = rest else {
        return Err(PackError::Malformed("it is shorter than a header"));
    };
    let class = PackClass::from_number(u64::from(*class))
        .ok_or(PackError::Malformed("its class is unknown"))?;
    if (*zero, *zero_too) != (0, 0) {
        return Err(PackError::Malformed("a reserved byte is not zero"));
    }
    let key = number(key).ok_or(PackError::Malformed("it is shorter than a header"))?;
    Ok(PackHeader { class, key: KeyId(key), bytes })
}

/// Where the directory lies, from the last [`TRAILER_LEN`] bytes of a pack of `pack_len` bytes:
/// its offset, its sealed length and its raw length. The directory ends where the trailer begins.
pub fn parse_trailer(
    keyring: &Keyring,
    header: &PackHeader,
    trailer: &[u8],
    pack_len: u64,
) -> Result<(u64, u32, u32), PackError> {
    if trailer.len() != TRAILER_LEN {
        return Err(PackError::Malformed("its trailer has another length"));
    }
    if !(FIXED_LEN..=MAX_PACK_LEN).contains(&pack_len) {
        return Err(PackError::Malformed("its length is outside the limits"));
    }
    let ad = layout::part_ad(Part::Trailer, keyring.repository(), header);
    let text = keyring.open(header.class.purpose(), header.key, &ad, trailer)?;
    let fields = || {
        let (low, high) = (number(&text)?, number(text.get(4..)?)?);
        let offset = u64::from(high) << 32 | u64::from(low);
        let (len, raw_len) = (number(text.get(8..)?)?, number(text.get(12..)?)?);
        (text.get(16..)? == [0; 8]).then_some((offset, len, raw_len))
    };
    let (offset, len, raw_len) =
        fields().ok_or(PackError::Malformed("its trailer has other fields"))?;
    let ends_at_trailer = offset
        .checked_add(u64::from(len))
        .and_then(|end| end.checked_add(TRAILER_LEN as u64))
        .is_some_and(|end| end == pack_len);
    if offset < HEADER_LEN as u64 || (len as usize) <= SEAL_OVERHEAD || !ends_at_trailer {
        return Err(PackError::Malformed("its directory is not where it should be"));
    }
    if raw_len == 0 || raw_len > MAX_DIRECTORY {
        return Err(PackError::Malformed("its directory is too long"));
    }
    Ok((offset, len, raw_len))
}

/// The entries of a sealed directory; all lie before `directory_offset` and do not overlap.
/// They come in the order in which they were written, which is that of their offsets.
pub fn parse_directory(
    keyring: &Keyring,
    header: &PackHeader,
    sealed: &[u8],
    raw_len: u32,
    directory_offset: u64,
) -> Result<Vec<SegmentEntry>, PackError> {
    if raw_len == 0 || raw_len > MAX_DIRECTORY {
        return Err(PackError::Malformed("its directory is too long"));
    }
    let ad = layout::part_ad(Part::Directory, keyring.repository(), header);
    let frame = keyring.open(header.class.purpose(), header.key, &ad, sealed)?;
    let raw = layout::inflate(&frame, raw_len)
        .ok_or(PackError::Malformed("its directory does not decompress to its length"))?;
    drop(frame);
    let mut decoder = Decoder::new(&raw);
    let entries = decode_entries(&mut decoder, header.key)?;
    if decoder.position() != raw.len() {
        return Err(PackError::Malformed("its directory is followed by something"));
    }
    check_places(&entries, directory_offset)?;
    Ok(entries)
}

/// Whether all entries lie between the header and `end`, none over another.
fn check_places(entries: &[SegmentEntry], end: u64) -> Result<(), PackError> {
    let mut places: Vec<_> =
        entries.iter().map(|entry| (u64::from(entry.offset), entry.end())).collect();
    places.sort_unstable();
    let mut free = HEADER_LEN as u64;
    for (from, to) in places {
        if from < free {
            return Err(PackError::Malformed("its segments overlap"));
        }
        free = to;
    }
    if free > end {
        return Err(PackError::Malformed("a segment reaches into its directory"));
    }
    Ok(())
}

/// Header and entries of a whole pack in memory.
pub fn read_directory(
    keyring: &Keyring,
    pack: &[u8],
) -> Result<(PackHeader, Vec<SegmentEntry>), PackError> {
    let header = parse_header(pack)?;
    let (_, trailer) = pack
        .split_last_chunk::<TRAILER_LEN>()
        .ok_or(PackError::Malformed("it is shorter than a trailer"))?;
    let (offset, len, raw_len) = parse_trailer(keyring, &header, trailer, pack.len() as u64)?;
    let sealed = usize::try_from(offset)
        .ok()
        .and_then(|from| pack.get(from..from.checked_add(len as usize)?))
        .ok_or(PackError::Malformed("its directory is not where it should be"))?;
    let entries = parse_directory(keyring, &header, sealed, raw_len, offset)?;
    Ok((header, entries))
}

/// The raw bytes of one sealed segment. Checks seal, length, and the id of every chunk. A delta needs
/// the raw bytes of its base; for other kinds `base` is not looked at.
pub fn open_segment(
    keyring: &Keyring,
    class: PackClass,
    entry: &SegmentEntry,
    sealed: &[u8],
    base: Option<&[u8]>,
) -> Result<Vec<u8>, PackError> {
    // An entry may also come from the index, or be made by hand.
    entry.check().map_err(PackError::Malformed)?;
    let raw = unseal_segment(keyring, class, entry, sealed, base)?;
    let mut rest = &raw[..];
    for chunk in &entry.chunks {
        let (bytes, after) = rest
            .split_at_checked(chunk.len as usize)
            .ok_or_else(|| PackError::Decompress(entry.id.short()))?;
        if keyring.chunk_id(bytes) != chunk.id {
            return Err(PackError::WrongChunk(chunk.id.short()));
        }
        rest = after;
    }
    if !rest.is_empty() {
        return Err(PackError::Decompress(entry.id.short()));
    }
    Ok(raw)
}

/// The raw bytes of one sealed segment, for callers who check the id of the one chunk they want
/// themselves: `entry.chunks` is not looked at and may be empty.
pub fn unseal_segment(
    keyring: &Keyring,
    class: PackClass,
    entry: &SegmentEntry,
    sealed: &[u8],
    base: Option<&[u8]>,
) -> Result<Vec<u8>, PackError> {
    if entry.kind == SegmentKind::ZstdWithBase && base.is_none() {
        return Err(PackError::NeedsBase(entry.id.short()));
    }
    let frame_len = entry
        .frame_len()
        .filter(|_| sealed.len() as u64 == u64::from(entry.sealed_len))
        .ok_or(PackError::Malformed("a segment has another length than its entry says"))?;
    let ad = layout::segment_ad(keyring.repository(), class, entry, frame_len);
    let frame = keyring.open(class.purpose(), entry.key, &ad, sealed)?;
    let raw = match (entry.kind, base) {
        (SegmentKind::Raw, _) => Some(frame),
        (SegmentKind::Zstd, _) => layout::inflate(&frame, entry.raw_len),
        (SegmentKind::ZstdWithBase, base) => {
            inflate_delta(&frame, base.unwrap_or_default(), entry.raw_len)
        }
    };
    raw.ok_or_else(|| PackError::Decompress(entry.id.short()))
}

/// The little-endian number at the start of `bytes`.
fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}
