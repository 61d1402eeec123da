//! What a pack says of itself, without reading its segments.

use crate::id::{KeyId, PackId};
use crate::pack::{
    HEADER_LEN, PackClass, SegmentEntry, TRAILER_LEN, parse_directory, parse_header, parse_trailer,
};
use crate::repository::Repository;
use crate::store::{ByteRange, ObjectName};

/// Header and directory of a pack.
#[derive(Debug)]
pub(super) struct PackHead {
    pub class: PackClass,
    pub key: KeyId,
    pub entries: Vec<SegmentEntry>,
}

/// Reads header, trailer and directory of a pack of `size` bytes; the error says what is wrong with it.
pub(super) fn read_head(
    repository: &Repository,
    id: PackId,
    size: u64,
) -> Result<PackHead, String> {
    let keyring = repository.keyring();
    let get = |offset: u64, len: u64| {
        let range = ByteRange::Exact { offset, len };
        repository.store().get(&ObjectName::Pack(id), range).map_err(|error| error.reason)
    };
    let header = parse_header(&get(0, HEADER_LEN as u64)?).map_err(|error| error.to_string())?;
    let trailer_at = size
        .checked_sub(TRAILER_LEN as u64)
        .ok_or_else(|| "it is shorter than a trailer".to_owned())?;
    let trailer = get(trailer_at, TRAILER_LEN as u64)?;
    let (offset, len, raw_len) =
        parse_trailer(keyring, &header, &trailer, size).map_err(|error| error.to_string())?;
    let sealed = get(offset, u64::from(len))?;
    let entries = parse_directory(keyring, &header, &sealed, raw_len, offset)
        .map_err(|error| error.to_string())?;
    Ok(PackHead { class: header.class, key: header.key, entries })
}
