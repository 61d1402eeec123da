//! The keys of a repository: what a slot holds and what everything is sealed with.

use crate::id::{ChunkId, KeyId, RepositoryId};

use super::random::Randomness;
use super::secret::SecretKey;
use super::xaes::NotAuthentic;

/// What a key is for. Each purpose has its own key in every epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Segments and directories of data packs.
    Data,
    /// Segments and directories of tree packs.
    Tree,
    /// Index and condemned objects.
    Index,
    /// Snapshots and receipts.
    Snapshot,
    /// Sessions.
    Session,
}

/// Why something sealed does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Its key epoch is not in our slot.
    #[error("it is sealed with key {0:?}, which this password does not give")]
    NoKey(KeyId),
    /// Shorter than a nonce and a tag.
    #[error("it is too short to be sealed")]
    TooShort,
    /// Wrong tag.
    #[error(transparent)]
    NotAuthentic(#[from] NotAuthentic),
}

/// Bytes that sealing adds: a nonce of 24 and a tag of 16.
pub const SEAL_OVERHEAD: usize = 40;

/// All keys one slot gives. Cheap to share behind an `Arc`; wiped when dropped.
#[derive(Debug, Clone)]
pub struct Keyring {
    repository: RepositoryId,
    config: SecretKey,
    id: SecretKey,
    gear: SecretKey,
    nonce: SecretKey,
    epochs: Vec<Epoch>,
}

/// One generation of sealing keys.
#[derive(Debug, Clone)]
struct Epoch {
    key_id: KeyId,
    created: i64,
    data: Option<SecretKey>,
    tree: Option<SecretKey>,
    index: Option<SecretKey>,
    snapshot: Option<SecretKey>,
    session: Option<SecretKey>,
}

impl Keyring {
    /// Fresh keys with one epoch, for a new repository. `created` in seconds since 1970.
    pub fn generate(repository: RepositoryId, created: i64, random: &dyn Randomness) -> Self {
        let _ = (repository, created, random);
        todo!()
    }

    /// Adds an epoch; what is sealed from now on uses it.
    pub fn rotate(&mut self, created: i64, random: &dyn Randomness) -> KeyId {
        let _ = (created, random);
        todo!()
    }

    /// The repository these keys belong to.
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// The epoch that new objects are sealed with.
    pub fn current(&self) -> KeyId {
        todo!()
    }

    /// Every epoch's id and creation time (seconds since 1970), oldest first.
    pub fn epochs(&self) -> Vec<(KeyId, i64)> {
        todo!()
    }

    /// Keyed hash of a chunk's (or segment's) raw bytes.
    pub fn chunk_id(&self, bytes: &[u8]) -> ChunkId {
        ChunkId::new(*blake3::keyed_hash(self.id.expose(), bytes).as_bytes())
    }

    /// The secret from which the chunker's gear table is derived.
    pub fn gear_key(&self) -> &SecretKey {
        &self.gear
    }

    /// Authenticates the config object.
    pub fn config_mac(&self, bytes: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(self.config.expose(), bytes).as_bytes()
    }

    /// `nonce ‖ ciphertext ‖ tag` of `text`, appended to `out`, with the current epoch's key.
    /// The nonce is hedged (format.md section 2). Fails only if the slot lacks this purpose.
    pub fn seal_into(
        &self,
        purpose: Purpose,
        ad: &[u8],
        text: &[u8],
        random: &dyn Randomness,
        out: &mut Vec<u8>,
    ) -> Result<(), OpenError> {
        let _ = (purpose, ad, text, random, out);
        todo!()
    }

    /// The text of `sealed`.
    pub fn open(
        &self,
        purpose: Purpose,
        key: KeyId,
        ad: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, OpenError> {
        let _ = (purpose, key, ad, sealed);
        todo!()
    }

    /// The key set as a slot keeps it (format.md section 4), in CBOR.
    pub(super) fn to_cbor(&self) -> zeroize::Zeroizing<Vec<u8>> {
        todo!()
    }

    /// Reads a key set; `None` if it is not one.
    pub(super) fn from_cbor(repository: RepositoryId, bytes: &[u8]) -> Option<Self> {
        let _ = (repository, bytes);
        todo!()
    }
}
