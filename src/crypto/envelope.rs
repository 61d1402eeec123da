//! Sealed objects: the wrapping that index, snapshot, session, condemned and receipt objects share
//! (format.md section 5): compressed, padded, sealed and bound to their repository and kind.

use crate::id::{KeyId, RepositoryId};

use super::keyring::{Keyring, OpenError, Purpose, SEAL_OVERHEAD};
use super::padme::padme;
use super::random::Randomness;

/// The first bytes of every sealed object.
const MAGIC: &[u8; 8] = b"MRSBOBJ1";

/// Magic, kind, three zeros, key id.
pub const HEADER: usize = 16;

/// `u32 r ‖ u32 s`, in front of the frame.
const LENGTHS: usize = 8;

/// Bytes of an object that are not frame or padding.
const OVERHEAD: usize = HEADER + SEAL_OVERHEAD + LENGTHS;

/// Largest object other than a pack, in bytes (format.md section 12).
pub const MAX_OBJECT: u64 = 1 << 30;

/// Largest content before compression, in bytes.
const MAX_RAW: usize = 1 << 30;

/// Objects are written once and fetched often over slow lines; above this the gain is small.
const LEVEL: i32 = 6;

/// Kinds of sealed object, with the numbers they have in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SealedKind {
    /// `index/`
    Index = 2,
    /// `snapshots/`
    Snapshot = 3,
    /// `sessions/`
    Session = 4,
    /// `condemned/`
    Condemned = 5,
    /// `receipts/`
    Receipt = 6,
}

impl SealedKind {
    /// Which key seals it.
    pub const fn purpose(self) -> Purpose {
        match self {
            Self::Index | Self::Condemned => Purpose::Index,
            Self::Snapshot | Self::Receipt => Purpose::Snapshot,
            Self::Session => Purpose::Session,
        }
    }
}

/// Why a sealed object cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not one of our objects, or not of this kind.
    #[error("it is not a sealed object of this kind: {0}")]
    Malformed(&'static str),
    /// Does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Opens, but its content is not what its kind must hold.
    #[error("its content cannot be read: {0}")]
    Content(String),
    /// What was to be written does not fit into an object.
    #[error("it cannot be written: {0}")]
    Unwritable(String),
}

/// The object's bytes for `value`. Their number is a PADMÉ size.
pub fn seal<T: minicbor::Encode<()>>(
    keyring: &Keyring,
    kind: SealedKind,
    value: &T,
    random: &dyn Randomness,
) -> Result<Vec<u8>, EnvelopeError> {
    let unwritable = |error: &dyn std::fmt::Display| EnvelopeError::Unwritable(error.to_string());
    let too_large = || EnvelopeError::Unwritable("it would be larger than 1 GiB".into());
    let raw = minicbor::to_vec(value).map_err(|error| unwritable(&error))?;
    if raw.len() > MAX_RAW {
        return Err(too_large());
    }
    let frame = zstd::bulk::compress(&raw, LEVEL).map_err(|error| unwritable(&error))?;
    let text = pad(&raw, &frame).ok_or_else(too_large)?;
    drop((raw, frame));
    let header = header(kind, keyring.current());
    let mut object = Vec::with_capacity(HEADER + SEAL_OVERHEAD + text.len());
    object.extend_from_slice(&header);
    let ad = associated_data(keyring.repository(), &header);
    keyring.seal_into(kind.purpose(), &ad, &text, random, &mut object)?;
    Ok(object)
}

/// The value in an object's bytes.
pub fn open<T: for<'b> minicbor::Decode<'b, ()>>(
    keyring: &Keyring,
    kind: SealedKind,
    bytes: &[u8],
) -> Result<T, EnvelopeError> {
    let (key_id, header, sealed) = parse(kind, bytes)?;
    let ad = associated_data(keyring.repository(), header);
    let text = keyring.open(kind.purpose(), key_id, &ad, sealed)?;
    let content = |reason: &str| EnvelopeError::Content(reason.to_owned());
    let (raw_length, frame) = unpad(&text).map_err(content)?;
    let raw = decompress(frame, raw_length).map_err(content)?;
    let mut decoder = minicbor::Decoder::new(&raw);
    let value = decoder.decode().map_err(|error| EnvelopeError::Content(error.to_string()))?;
    if decoder.position() != raw.len() {
        return Err(content("bytes are left over"));
    }
    Ok(value)
}

/// The key an object of this kind claims to be sealed with, from its first [`HEADER`] bytes. `None` if it is none.
pub fn claimed_key(kind: SealedKind, header: &[u8]) -> Option<KeyId> {
    let [fixed @ .., a, b, c, d] = header.first_chunk::<HEADER>()?;
    let is_it = fixed.starts_with(MAGIC) && fixed.get(8) == Some(&(kind as u8));
    is_it.then_some(KeyId(u32::from_le_bytes([*a, *b, *c, *d])))
}

/// The 16 bytes an object begins with.
fn header(kind: SealedKind, key_id: KeyId) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8] = kind as u8;
    header[12..].copy_from_slice(&key_id.0.to_le_bytes());
    header
}

/// Key id, header and what is sealed. Nothing here is authentic yet; the header becomes so when
/// the rest opens.
fn parse(kind: SealedKind, bytes: &[u8]) -> Result<(KeyId, &[u8; HEADER], &[u8]), EnvelopeError> {
    use EnvelopeError::Malformed;
    if bytes.len() as u64 > MAX_OBJECT {
        return Err(Malformed("it is larger than 1 GiB"));
    }
    let too_short = Malformed("it is too short");
    if bytes.len() < OVERHEAD {
        return Err(too_short);
    }
    let (header, sealed) = bytes.split_first_chunk::<HEADER>().ok_or(too_short)?;
    if !header.starts_with(MAGIC) {
        return Err(Malformed("it begins with other bytes"));
    }
    if header[8] != kind as u8 {
        return Err(Malformed("it is of another kind"));
    }
    if header[9..12] != [0; 3] {
        return Err(Malformed("reserved bytes are not zero"));
    }
    let [.., a, b, c, d] = *header;
    Ok((KeyId(u32::from_le_bytes([a, b, c, d])), header, sealed))
}

fn associated_data(repository: RepositoryId, header: &[u8; HEADER]) -> Vec<u8> {
    [b"mrs-backup object v1".as_slice(), repository.as_bytes(), header].concat()
}

/// `u32 r ‖ u32 s ‖ frame ‖ zeros` that fill the whole object up to a PADMÉ size; `None` if that
/// is more than an object may have.
fn pad(raw: &[u8], frame: &[u8]) -> Option<Vec<u8>> {
    let length = padme(u64::try_from(frame.len().checked_add(OVERHEAD)?).ok()?);
    if length > MAX_OBJECT {
        return None;
    }
    let text_length = usize::try_from(length).ok()?.checked_sub(HEADER + SEAL_OVERHEAD)?;
    let mut text = Vec::with_capacity(text_length);
    text.extend_from_slice(&u32::try_from(raw.len()).ok()?.to_le_bytes());
    text.extend_from_slice(&u32::try_from(frame.len()).ok()?.to_le_bytes());
    text.extend_from_slice(frame);
    text.resize(text_length, 0);
    Some(text)
}

/// The content's length and its frame.
fn unpad(text: &[u8]) -> Result<(usize, &[u8]), &'static str> {
    const SHORT: &str = "it is too short";
    let (raw_length, rest) = text.split_first_chunk::<4>().ok_or(SHORT)?;
    let (frame_length, rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
    let length = |bytes: [u8; 4]| usize::try_from(u32::from_le_bytes(bytes));
    let raw_length = length(*raw_length).map_err(|_| "its length is too large")?;
    let frame_length = length(*frame_length).map_err(|_| "its length is too large")?;
    if raw_length > MAX_RAW {
        return Err("its length is too large");
    }
    let (frame, padding) = rest.split_at_checked(frame_length).ok_or(SHORT)?;
    if padding.iter().any(|&byte| byte != 0) {
        return Err("its padding is not zero");
    }
    Ok((raw_length, frame))
}

/// The `raw_length` bytes of the one frame that `frame` must be.
fn decompress(frame: &[u8], raw_length: usize) -> Result<Vec<u8>, &'static str> {
    const DAMAGED: &str = "its frame is damaged";
    // A block of a frame is 4 bytes or more, and holds 128 KiB or less (RFC 8878, 3.1.1.2): a short
    // frame that promises more lies, and gets no memory.
    const BLOCK: usize = 128 << 10;
    let least = raw_length.div_ceil(BLOCK).checked_mul(4).ok_or(DAMAGED)?;
    let promised = zstd::zstd_safe::get_frame_content_size(frame).map_err(|_| DAMAGED)?;
    if promised != u64::try_from(raw_length).ok() || frame.len() < least {
        return Err("its frame is of another length than recorded");
    }
    if zstd::zstd_safe::find_frame_compressed_size(frame).ok() != Some(frame.len()) {
        return Err(DAMAGED);
    }
    let raw = zstd::bulk::Decompressor::new()
        .and_then(|mut decompressor| decompressor.decompress(frame, raw_length))
        .map_err(|_| DAMAGED)?;
    if raw.len() != raw_length {
        return Err("its frame is of another length than recorded");
    }
    Ok(raw)
}

#[cfg(test)]
mod tests;
