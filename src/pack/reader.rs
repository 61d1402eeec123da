//! Reads packs: header, trailer, directory, segments. Every length is checked before it is believed.

use crate::crypto::Keyring;
use crate::id::KeyId;

use super::entry::{PackClass, SegmentEntry};

/// Length of a pack's header in bytes.
pub const HEADER_LEN: usize = 32;
/// Length of a pack's sealed trailer in bytes.
pub const TRAILER_LEN: usize = 64;

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
    /// Content whose hash is not its id.
    #[error("chunk {0} has other bytes than its id says")]
    WrongChunk(String),
    /// zstd failed to compress.
    #[error("zstd failed: {0}")]
    Compress(String),
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

/// Reads the first [`HEADER_LEN`] bytes.
pub fn parse_header(bytes: &[u8]) -> Result<PackHeader, PackError> {
    let _ = bytes;
    todo!()
}

/// Where the directory lies, from the last [`TRAILER_LEN`] bytes of a pack of `pack_len` bytes:
/// its offset, its sealed length and its raw length.
pub fn parse_trailer(
    keyring: &Keyring,
    header: &PackHeader,
    trailer: &[u8],
    pack_len: u64,
) -> Result<(u64, u32, u32), PackError> {
    let _ = (keyring, header, trailer, pack_len);
    todo!()
}

/// The entries of a sealed directory; all lie before `directory_offset` and do not overlap.
pub fn parse_directory(
    keyring: &Keyring,
    header: &PackHeader,
    sealed: &[u8],
    raw_len: u32,
    directory_offset: u64,
) -> Result<Vec<SegmentEntry>, PackError> {
    let _ = (keyring, header, sealed, raw_len, directory_offset);
    todo!()
}

/// Header and entries of a whole pack in memory.
pub fn read_directory(
    keyring: &Keyring,
    pack: &[u8],
) -> Result<(PackHeader, Vec<SegmentEntry>), PackError> {
    let _ = (keyring, pack);
    todo!()
}

/// The raw bytes of one sealed segment. Checks seal, length, and the id of every chunk.
pub fn open_segment(
    keyring: &Keyring,
    class: PackClass,
    entry: &SegmentEntry,
    sealed: &[u8],
) -> Result<Vec<u8>, PackError> {
    let _ = (keyring, class, entry, sealed);
    todo!()
}
