//! What writer and reader share: the header, what each seal is bound to, and zstd frames.

use std::cell::RefCell;

use zstd::bulk::Decompressor;
use zstd::zstd_safe;

use crate::crypto::keyring::SEAL_OVERHEAD;
use crate::id::{KeyId, RepositoryId};

use super::entry::{PackClass, SegmentEntry};
use super::reader::{HEADER_LEN, PackHeader, TRAILER_LEN};

/// What every pack begins with: the name of the format and its version.
pub(super) const MAGIC: &[u8; 9] = b"MRSBPACK\x01";
/// Most raw bytes of a directory.
pub(super) const MAX_DIRECTORY: u32 = 1 << 28;
/// Bytes of a pack besides its segments, its padding and the frame of its directory.
pub(super) const FIXED_LEN: u64 = (HEADER_LEN + SEAL_OVERHEAD + TRAILER_LEN) as u64;

/// A seal of a pack that is bound to the pack's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The list of segments.
    Directory,
    /// Where the directory is.
    Trailer,
}

/// The header of a pack told from others by `random`.
pub(super) fn header(class: PackClass, key: KeyId, random: [u8; 16]) -> PackHeader {
    let mut bytes = [0; HEADER_LEN];
    bytes[..9].copy_from_slice(MAGIC);
    bytes[9] = class as u8;
    bytes[12..16].copy_from_slice(&key.0.to_le_bytes());
    bytes[16..].copy_from_slice(&random);
    PackHeader { class, key, bytes }
}

/// What a directory or trailer is bound to.
pub(super) fn part_ad(part: Part, repository: RepositoryId, header: &PackHeader) -> Vec<u8> {
    let label: &[u8] = match part {
        Part::Directory => b"mrs-backup directory v1",
        Part::Trailer => b"mrs-backup trailer v1",
    };
    [label, repository.as_bytes(), &header.bytes].concat()
}

/// What a segment is bound to: all the reader must know to open it, nothing of the pack around it.
/// `frame_len` is the sealed length less the 40 bytes of the seal.
pub(crate) fn segment_ad(
    repository: RepositoryId,
    class: PackClass,
    entry: &SegmentEntry,
    frame_len: u32,
) -> Vec<u8> {
    let base = entry.base.map_or([0; 32], |base| *base.as_bytes());
    let parts: [&[u8]; 9] = [
        b"mrs-backup segment v1",
        repository.as_bytes(),
        &[class as u8],
        &[entry.kind as u8],
        &entry.key.0.to_le_bytes(),
        entry.id.as_bytes(),
        &base,
        &entry.raw_len.to_le_bytes(),
        &frame_len.to_le_bytes(),
    ];
    parts.concat()
}

thread_local! {
    static DECOMPRESSOR: RefCell<Decompressor<'static>> = RefCell::default();
}

/// Room for the `raw_len` bytes in a zstd frame; `None` if `frame` is not exactly one frame that says
/// it has so many.
pub(super) fn room_for(frame: &[u8], raw_len: u32) -> Option<Vec<u8>> {
    let stated = zstd_safe::get_frame_content_size(frame).ok()??;
    if stated != u64::from(raw_len) {
        return None;
    }
    if zstd_safe::find_frame_compressed_size(frame).ok()? != frame.len() {
        return None;
    }
    let mut raw = Vec::new();
    raw.try_reserve_exact(usize::try_from(raw_len).ok()?).ok()?;
    Some(raw)
}

/// The `raw_len` bytes in a zstd frame; `None` if `frame` is anything but exactly one such frame.
/// Makes room only after the frame's own content size has been compared.
pub(super) fn inflate(frame: &[u8], raw_len: u32) -> Option<Vec<u8>> {
    let mut raw = room_for(frame, raw_len)?;
    let written = DECOMPRESSOR
        .with_borrow_mut(|context| context.decompress_to_buffer(frame, &mut raw))
        .ok()?;
    (written == raw_len as usize && raw.len() == written).then_some(raw)
}
