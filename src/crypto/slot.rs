//! Key slots: one object a password (or key file), holding the sealed key set.

use crate::id::RepositoryId;

use super::keyring::Keyring;
use super::random::Randomness;
use super::secret::Secret;

/// What opens a slot.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A password, stretched with Argon2id.
    Password(Secret),
    /// The content of a key file (32 random bytes or more): no stretching, so it opens at once.
    KeyFile(Secret),
}

/// How hard guessing a password is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for KdfCost {
    /// 64 MiB and three passes: about an eighth of a second, and a gigabyte-second of a guesser's hardware for a few guesses.
    fn default() -> Self {
        Self { memory_kib: 64 << 10, passes: 3, lanes: 1 }
    }
}

/// Why a slot does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// Not a key slot, or damaged.
    #[error("it is not a key slot of version 1: {0}")]
    Malformed(&'static str),
    /// Parameters no honest writer would choose.
    #[error(
        "its password parameters are out of bounds (memory {memory_kib} KiB, {passes} passes, {lanes} lanes)"
    )]
    OutOfBounds {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// Belongs to another repository.
    #[error("it belongs to another repository")]
    OtherRepository,
    /// The password (or key file) is not the one of this slot.
    #[error("wrong password")]
    WrongPassword,
    /// The right password, but the key set does not open: the slot is damaged.
    #[error("the password fits, but the keys in it are damaged")]
    Damaged,
}

/// What can be read of a slot without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInfo {
    /// Repository it belongs to.
    pub repository: RepositoryId,
    /// Whether a key file opens it (else a password).
    pub key_file: bool,
    /// Cost of a guess (zeros for a key file).
    pub cost: KdfCost,
    /// What its owner called it.
    pub label: String,
    /// Creation time, seconds since 1970.
    pub created: i64,
}

/// The bytes of a new slot object.
pub fn write_slot(
    keyring: &Keyring,
    credential: &Credential,
    cost: KdfCost,
    label: &str,
    created: i64,
    random: &dyn Randomness,
) -> Result<Vec<u8>, SlotError> {
    let _ = (keyring, credential, cost, label, created, random);
    todo!()
}

/// What a slot says of itself.
pub fn read_info(bytes: &[u8]) -> Result<SlotInfo, SlotError> {
    let _ = bytes;
    todo!()
}

/// Opens a slot. A password is only tried on password slots and a key file on key file slots
/// (the other kind is [`SlotError::WrongPassword`] without any work).
pub fn open_slot(
    bytes: &[u8],
    repository: RepositoryId,
    credential: &Credential,
) -> Result<Keyring, SlotError> {
    let _ = (bytes, repository, credential);
    todo!()
}
