//! Key slots: one object a password (or key file), holding the sealed key set.

use argon2::{Algorithm, Argon2, Params, Version};
use minicbor::{Decode, Encode};
use zeroize::{Zeroize, Zeroizing};

use crate::id::RepositoryId;

use super::keyring::Keyring;
use super::random::{Randomness, random_bytes};
use super::sealed;
use super::secret::{Secret, SecretKey};

/// The first bytes of every slot.
const MAGIC: &[u8; 8] = b"MRSBKEY1";

/// What commitment and key set are bound to, besides repository and salt.
const CONTEXT: &[u8] = b"mrs-backup key slot v1";

/// Largest slot object, in bytes.
const MAX_OBJECT: usize = 2 << 20;

/// Largest map in it, in bytes.
const MAX_MAP: u32 = 1 << 20;

/// The fewest bytes of a key file: it is not stretched, so it must be beyond guessing.
const MIN_KEY_FILE: usize = 32;

const KIND_PASSWORD: u32 = 0;
const KIND_KEY_FILE: u32 = 1;

/// What a key file's slot records as cost.
const NO_COST: KdfCost = KdfCost { memory_kib: 0, passes: 0, lanes: 0 };

/// What opens a slot.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A password, stretched with Argon2id.
    Password(Secret),
    /// The content of a key file (32 random bytes or more): no stretching, so it opens at once.
    KeyFile(Secret),
}

impl Credential {
    /// What people call it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Password(_) => "password",
            Self::KeyFile(_) => "key file",
        }
    }
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
    /// 64 MiB, three passes, four lanes: the second choice of RFC 9106, section 4, which is meant for
    /// machines without gigabytes to spare. An eighth of a second on two cores.
    fn default() -> Self {
        Self { memory_kib: 64 << 10, passes: 3, lanes: 4 }
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
    /// There is not enough memory to try the password.
    #[error("its password needs {} MiB of memory, which cannot be had", memory_kib / 1024)]
    NoMemory {
        /// Memory in KiB.
        memory_kib: u32,
    },
    /// Too few bytes for a key file, which is used without stretching.
    #[error("the key file has {length} bytes; it needs at least 32 random ones")]
    ShortKeyFile {
        /// Its length in bytes.
        length: usize,
    },
    /// Belongs to another repository.
    #[error("it belongs to another repository")]
    OtherRepository,
    /// The password (or key file) is not the one of this slot.
    #[error("it opens with another password or key file")]
    WrongPassword,
    /// A password for a slot that takes a key file, or the reverse.
    #[error("it takes the other of password and key file")]
    OtherCredential,
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

/// The bytes of a new slot object. `cost` is that of a password; a key file needs none.
pub fn write_slot(
    keyring: &Keyring,
    credential: &Credential,
    cost: KdfCost,
    label: &str,
    created: i64,
    random: &dyn Randomness,
) -> Result<Vec<u8>, SlotError> {
    let cost = match credential {
        Credential::Password(_) => cost,
        Credential::KeyFile(content) if content.expose().len() < MIN_KEY_FILE => {
            return Err(SlotError::ShortKeyFile { length: content.expose().len() });
        }
        Credential::KeyFile(_) => NO_COST,
    };
    let mut map = SlotMap {
        repository: keyring.repository(),
        kind: kind_of(credential),
        memory_kib: cost.memory_kib,
        passes: cost.passes,
        lanes: cost.lanes,
        salt: random_bytes(random),
        commitment: [0; 32],
        sealed: Vec::new(),
        label: label.to_owned(),
        created,
    };
    map.check_cost()?;
    let keys = map.derive(credential)?;
    map.commitment = *map.commitment_with(&keys).as_bytes();
    let (ad, set) = (map.associated_data(), keyring.to_cbor());
    sealed::seal_into(&keys.slot, &keys.slot, &ad, &set, random, &mut map.sealed);

    let bytes = minicbor::to_vec(&map).map_err(|_| SlotError::Malformed("it cannot be written"))?;
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= MAX_MAP);
    let length = length.ok_or(SlotError::Malformed("its map is longer than 1 MiB"))?;
    Ok([MAGIC.as_slice(), &length.to_le_bytes(), &bytes].concat())
}

/// What a slot says of itself. None of it is proven before the slot is opened.
pub fn read_info(bytes: &[u8]) -> Result<SlotInfo, SlotError> {
    let map = SlotMap::parse(bytes)?;
    Ok(SlotInfo {
        repository: map.repository,
        key_file: map.kind == KIND_KEY_FILE,
        cost: map.cost(),
        label: map.label,
        created: map.created,
    })
}

/// Opens a slot. A password is only tried on password slots and a key file on key file slots
/// (the other kind is [`SlotError::OtherCredential`] without any work).
pub fn open_slot(
    bytes: &[u8],
    repository: RepositoryId,
    credential: &Credential,
) -> Result<Keyring, SlotError> {
    let map = SlotMap::parse(bytes)?;
    if map.repository != repository {
        return Err(SlotError::OtherRepository);
    }
    if map.kind != kind_of(credential) {
        return Err(SlotError::OtherCredential);
    }
    let keys = map.derive(credential)?;
    // Hashes are compared in constant time.
    if map.commitment_with(&keys) != blake3::Hash::from_bytes(map.commitment) {
        return Err(SlotError::WrongPassword);
    }
    let set = sealed::open(&keys.slot, &map.associated_data(), &map.sealed)
        .map(Zeroizing::new)
        .map_err(|_| SlotError::Damaged)?;
    Keyring::from_cbor(repository, &set).ok_or(SlotError::Damaged)
}

fn kind_of(credential: &Credential) -> u32 {
    match credential {
        Credential::Password(_) => KIND_PASSWORD,
        Credential::KeyFile(_) => KIND_KEY_FILE,
    }
}

/// The map of format.md section 4.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct SlotMap {
    #[n(0)]
    repository: RepositoryId,
    #[n(1)]
    kind: u32,
    #[n(2)]
    memory_kib: u32,
    #[n(3)]
    passes: u32,
    #[n(4)]
    lanes: u32,
    #[cbor(n(5), with = "minicbor::bytes")]
    salt: [u8; 32],
    #[cbor(n(6), with = "minicbor::bytes")]
    commitment: [u8; 32],
    /// The key set: `nonce ‖ ciphertext ‖ tag`.
    #[cbor(n(7), with = "minicbor::bytes")]
    sealed: Vec<u8>,
    #[n(8)]
    label: String,
    /// Seconds since 1970.
    #[n(9)]
    created: i64,
}

/// What a password and the salt give.
struct SlotKeys {
    slot: SecretKey,
    commitment: SecretKey,
}

impl SlotMap {
    /// The map of a slot object, with a kind we know and a cost within bounds.
    fn parse(bytes: &[u8]) -> Result<Self, SlotError> {
        use SlotError::Malformed;
        if bytes.len() > MAX_OBJECT {
            return Err(Malformed("it is larger than 2 MiB"));
        }
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(Malformed("it is too short"))?;
        if magic != MAGIC {
            return Err(Malformed("it begins with other bytes"));
        }
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(Malformed("it is too short"))?;
        let length = u32::from_le_bytes(*length);
        if length > MAX_MAP || usize::try_from(length).ok() != Some(rest.len()) {
            return Err(Malformed("it is of another length than recorded"));
        }
        let mut decoder = minicbor::Decoder::new(rest);
        let map: Self = decoder.decode().map_err(|_| Malformed("its map cannot be read"))?;
        if decoder.position() != rest.len() {
            return Err(Malformed("bytes are left over"));
        }
        map.check_cost()?;
        Ok(map)
    }

    fn cost(&self) -> KdfCost {
        KdfCost { memory_kib: self.memory_kib, passes: self.passes, lanes: self.lanes }
    }

    /// Refuses a cost that would exhaust the machine or protect nothing.
    fn check_cost(&self) -> Result<(), SlotError> {
        let cost @ KdfCost { memory_kib, passes, lanes } = self.cost();
        let within = match self.kind {
            KIND_PASSWORD => {
                (8192..=2_097_152).contains(&memory_kib)
                    && (1..=64).contains(&passes)
                    && (1..=64).contains(&lanes)
            }
            KIND_KEY_FILE => cost == NO_COST,
            _ => return Err(SlotError::Malformed("it is of an unknown kind")),
        };
        if within { Ok(()) } else { Err(SlotError::OutOfBounds { memory_kib, passes, lanes }) }
    }

    /// The keys that `credential` gives with this salt and cost, which are checked already.
    fn derive(&self, credential: &Credential) -> Result<SlotKeys, SlotError> {
        let mut secret = Zeroizing::new([0; 64]);
        match credential {
            Credential::Password(password) => self.stretch(password.expose(), &mut secret)?,
            Credential::KeyFile(content) => {
                let mut hasher = blake3::Hasher::new_keyed(&self.salt);
                let mut output = hasher.update(content.expose()).finalize_xof();
                output.fill(&mut *secret);
                output.zeroize();
                hasher.zeroize();
            }
        }
        let half = |bytes: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            key.copy_from_slice(bytes);
            SecretKey::new(*key)
        };
        Ok(SlotKeys { slot: half(&secret[..32]), commitment: half(&secret[32..]) })
    }

    /// Argon2id. Its memory is ours, so that it can be wiped: whoever finds it needs no password.
    fn stretch(&self, password: &[u8], secret: &mut [u8; 64]) -> Result<(), SlotError> {
        let KdfCost { memory_kib, passes, lanes } = self.cost();
        let params = Params::new(memory_kib, passes, lanes, Some(secret.len()))
            .map_err(|_| SlotError::OutOfBounds { memory_kib, passes, lanes })?;
        let blocks = params.block_count();
        let mut memory = Zeroizing::new(Vec::new());
        memory.try_reserve_exact(blocks).map_err(|_| SlotError::NoMemory { memory_kib })?;
        memory.resize(blocks, argon2::Block::default());
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(password, &self.salt, secret, memory.as_mut_slice())
            // What is left is a password of 4 GiB.
            .map_err(|_| SlotError::WrongPassword)
    }

    /// Ties the slot to one password: without it, somebody could write a slot that opens with
    /// several passwords and learn which of them is used.
    fn commitment_with(&self, keys: &SlotKeys) -> blake3::Hash {
        blake3::keyed_hash(keys.commitment.expose(), &self.context())
    }

    fn context(&self) -> Vec<u8> {
        [CONTEXT, self.repository.as_bytes(), &self.salt].concat()
    }

    fn associated_data(&self) -> Vec<u8> {
        let mut ad = self.context();
        for number in [self.kind, self.memory_kib, self.passes, self.lanes] {
            ad.extend_from_slice(&number.to_le_bytes());
        }
        ad.extend_from_slice(&self.created.to_le_bytes());
        // Last, so that its length needs no telling.
        ad.extend_from_slice(self.label.as_bytes());
        ad
    }
}

#[cfg(test)]
mod tests;
