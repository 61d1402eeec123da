//! The keys of a repository: what a slot holds and what everything is sealed with.

use minicbor::{Decode, Encode};
use zeroize::{Zeroize, Zeroizing};

use crate::id::{ChunkId, KeyId, RepositoryId};

use super::random::{Randomness, random_bytes};
use super::sealed;
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

/// The highest key id a key set may come with: far from the end of `u32`, so that there always is
/// a next one.
const LAST_KEY_ID: u32 = u32::MAX / 2;

/// All keys one slot gives. Cheap to share behind an `Arc`; wiped when dropped.
#[derive(Debug, Clone)]
pub struct Keyring {
    repository: RepositoryId,
    keys: KeySet,
    /// The same as the last epoch's, so that no caller has to ask whether there is one.
    current: KeyId,
}

/// A key set as a slot keeps it (format.md section 4).
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
struct KeySet {
    #[n(0)]
    config: StoredKey,
    #[n(1)]
    id: StoredKey,
    #[n(2)]
    gear: StoredKey,
    #[n(3)]
    nonce: StoredKey,
    /// Ascending by key id, never empty.
    #[n(4)]
    epochs: Vec<Epoch>,
}

/// One generation of sealing keys. A key that is absent is not for the holder of the slot.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
struct Epoch {
    #[n(0)]
    key_id: KeyId,
    /// Seconds since 1970.
    #[n(1)]
    created: i64,
    #[n(2)]
    data: Option<StoredKey>,
    #[n(3)]
    tree: Option<StoredKey>,
    #[n(4)]
    index: Option<StoredKey>,
    #[n(5)]
    snapshot: Option<StoredKey>,
    #[n(6)]
    session: Option<StoredKey>,
}

/// A key that can be written into a key set. [`SecretKey`] itself cannot, lest one is written
/// elsewhere by mistake.
#[derive(Debug, Clone)]
struct StoredKey(SecretKey);

impl StoredKey {
    fn generate(random: &dyn Randomness) -> Self {
        let mut bytes = random_bytes::<32>(random);
        let key = SecretKey::new(bytes);
        bytes.zeroize();
        Self(key)
    }
}

impl<C> Encode<C> for StoredKey {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(self.0.expose())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for StoredKey {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = <&[u8; 32]>::try_from(d.bytes()?)
            .map_err(|_| minicbor::decode::Error::message("wrong length of a key"))?;
        Ok(Self(SecretKey::new(*bytes)))
    }
}

impl Epoch {
    fn generate(key_id: KeyId, created: i64, random: &dyn Randomness) -> Self {
        let key = || Some(StoredKey::generate(random));
        let (data, tree, index, snapshot, session) = (key(), key(), key(), key(), key());
        Self { key_id, created, data, tree, index, snapshot, session }
    }

    fn key(&self, purpose: Purpose) -> Option<&SecretKey> {
        let key = match purpose {
            Purpose::Data => &self.data,
            Purpose::Tree => &self.tree,
            Purpose::Index => &self.index,
            Purpose::Snapshot => &self.snapshot,
            Purpose::Session => &self.session,
        };
        key.as_ref().map(|key| &key.0)
    }
}

impl Keyring {
    /// Fresh keys with one epoch, for a new repository. `created` in seconds since 1970.
    pub fn generate(repository: RepositoryId, created: i64, random: &dyn Randomness) -> Self {
        let current = KeyId(1);
        let keys = KeySet {
            config: StoredKey::generate(random),
            id: StoredKey::generate(random),
            gear: StoredKey::generate(random),
            nonce: StoredKey::generate(random),
            epochs: vec![Epoch::generate(current, created, random)],
        };
        Self { repository, keys, current }
    }

    /// Adds an epoch; what is sealed from now on uses it.
    pub fn rotate(&mut self, created: i64, random: &dyn Randomness) -> KeyId {
        // Cannot end: see `LAST_KEY_ID`.
        let next = KeyId(self.current.0.saturating_add(1));
        self.keys.epochs.push(Epoch::generate(next, created, random));
        self.current = next;
        next
    }

    /// The repository these keys belong to.
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// The epoch that new objects are sealed with.
    pub fn current(&self) -> KeyId {
        self.current
    }

    /// Every epoch's id and creation time (seconds since 1970), oldest first.
    pub fn epochs(&self) -> Vec<(KeyId, i64)> {
        self.keys.epochs.iter().map(|epoch| (epoch.key_id, epoch.created)).collect()
    }

    /// Keyed hash of a chunk's (or segment's) raw bytes.
    pub fn chunk_id(&self, bytes: &[u8]) -> ChunkId {
        ChunkId::new(*blake3::keyed_hash(self.keys.id.0.expose(), bytes).as_bytes())
    }

    /// The secret from which the chunker's gear table is derived.
    pub fn gear_key(&self) -> &SecretKey {
        &self.keys.gear.0
    }

    /// Authenticates the config object.
    pub fn config_mac(&self, bytes: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(self.keys.config.0.expose(), bytes).as_bytes()
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
        let key = self.key(purpose, self.current)?;
        sealed::seal_into(key, &self.keys.nonce.0, ad, text, random, out);
        Ok(())
    }

    /// The text of `sealed`.
    pub fn open(
        &self,
        purpose: Purpose,
        key: KeyId,
        ad: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, OpenError> {
        sealed::open(self.key(purpose, key)?, ad, sealed)
    }

    fn key(&self, purpose: Purpose, key_id: KeyId) -> Result<&SecretKey, OpenError> {
        let epochs = &self.keys.epochs;
        epochs
            .binary_search_by_key(&key_id, |epoch| epoch.key_id)
            .ok()
            .and_then(|at| epochs.get(at)?.key(purpose))
            .ok_or(OpenError::NoKey(key_id))
    }

    /// The key set as a slot keeps it (format.md section 4), in CBOR.
    pub(super) fn to_cbor(&self) -> Zeroizing<Vec<u8>> {
        // Room for all of it (four keys; of an epoch five keys and two integers), since a buffer
        // that grows leaves copies of keys behind.
        let room = 256 + 256 * self.keys.epochs.len();
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        #[expect(clippy::expect_used, reason = "a `Vec` takes every write and no key refuses")]
        minicbor::encode(&self.keys, &mut *bytes).expect("keys can be written");
        bytes
    }

    /// Reads a key set; `None` if it is not one: a key missing or of another length, bytes left
    /// over, no epoch, epochs that are not ascending, or key ids outside 1 to 2^31 - 1.
    pub(super) fn from_cbor(repository: RepositoryId, bytes: &[u8]) -> Option<Self> {
        let mut decoder = minicbor::Decoder::new(bytes);
        let keys: KeySet = decoder.decode().ok()?;
        let ascending = keys.epochs.is_sorted_by(|a, b| a.key_id < b.key_id);
        let (first, last) = (keys.epochs.first()?.key_id, keys.epochs.last()?.key_id);
        let valid = ascending && first >= KeyId(1) && last <= KeyId(LAST_KEY_ID);
        (valid && decoder.position() == bytes.len()).then_some(Self {
            repository,
            keys,
            current: last,
        })
    }
}

#[cfg(test)]
mod tests;
