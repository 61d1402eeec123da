//! Sealed objects: the wrapping that index, snapshot, session, condemned and receipt objects share
//! (format.md section 5): compressed, padded, sealed and bound to their repository and kind.

use super::keyring::{Keyring, OpenError, Purpose};
use super::random::Randomness;

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
}

/// The object's bytes for `value`.
pub fn seal<T: minicbor::Encode<()>>(
    keyring: &Keyring,
    kind: SealedKind,
    value: &T,
    random: &dyn Randomness,
) -> Result<Vec<u8>, EnvelopeError> {
    let _ = (keyring, kind, value, random);
    todo!()
}

/// The value in an object's bytes.
pub fn open<T: for<'b> minicbor::Decode<'b, ()>>(
    keyring: &Keyring,
    kind: SealedKind,
    bytes: &[u8],
) -> Result<T, EnvelopeError> {
    let _ = (keyring, kind, bytes);
    todo!()
}
