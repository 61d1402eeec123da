//! The config object: what the repository is (format.md section 3).

use minicbor::{Decode, Encode};

use crate::chunker::{ChunkerProfile, ProfileName};
use crate::crypto::Keyring;
use crate::id::RepositoryId;
use crate::store::CONFIG_MAGIC;

use super::error::RepositoryError;

const VERSION: u32 = 1;
const MAC_LEN: usize = 32;
/// The CBOR map's greatest length in bytes.
const MAP_LIMIT: usize = 65_536;
/// The object's greatest length in bytes.
pub(super) const CONFIG_LIMIT: u64 = 16 + MAP_LIMIT as u64 + MAC_LEN as u64;

/// Smallest and largest pack size that can be configured.
pub const PACK_LEN_BOUNDS: (u64, u64) = (1 << 20, 128 << 20);

/// Least and largest average chunk of what compresses that can be chosen, in bytes.
pub const CHUNK_LEN_BOUNDS: (u32, u32) = (16 << 10, 1 << 20);
/// Largest average chunk of what does not compress.
const OPAQUE_MOST: u32 = 1 << 20;

/// What a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryConfig {
    /// Its id.
    pub id: RepositoryId,
    /// When it was made, seconds since 1970.
    pub created: i64,
    /// How text-like streams are cut.
    pub text: ChunkerProfile,
    /// How incompressible streams are cut.
    pub opaque: ChunkerProfile,
    /// Largest pack in bytes.
    pub pack_len: u64,
    /// What people call it.
    pub label: String,
    /// Whether segments may be deltas on others.
    pub deltas: bool,
}

/// Why bytes are not a config object we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not a config object.
    #[error("{0}")]
    Malformed(String),
    /// Of another version.
    #[error("format version {0}")]
    UnknownVersion(u32),
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct ConfigMap {
    #[n(0)]
    id: RepositoryId,
    #[n(1)]
    created: i64,
    #[n(2)]
    profiles: Vec<ProfileMap>,
    #[n(3)]
    pack_len: u64,
    #[n(4)]
    label: Option<String>,
    #[n(5)]
    deltas: Option<bool>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct ProfileMap {
    #[n(0)]
    name: String,
    #[n(1)]
    min: u32,
    #[n(2)]
    avg: u32,
    #[n(3)]
    max: u32,
}

impl ProfileMap {
    fn new(name: ProfileName, profile: ChunkerProfile) -> Self {
        Self {
            name: name.as_str().to_owned(),
            min: profile.min,
            avg: profile.avg,
            max: profile.max,
        }
    }
}

impl RepositoryConfig {
    /// Defaults for a new repository.
    pub fn new(id: RepositoryId, created: i64, label: String) -> Self {
        Self {
            id,
            created,
            text: ChunkerProfile::default_for(ProfileName::Text),
            opaque: ChunkerProfile::default_for(ProfileName::Opaque),
            pack_len: 16 << 20,
            label,
            deltas: true,
        }
    }

    /// Cuts what compresses at `len` on average, a power of two within [`CHUNK_LEN_BOUNDS`], and what does not at four
    /// times that, or 1 MiB.
    pub(super) fn set_chunk_len(&mut self, len: u32) {
        let around = |avg: u32| ChunkerProfile { min: avg / 4, avg, max: avg * 4 };
        self.text = around(len);
        self.opaque = around((len * 4).min(OPAQUE_MOST));
    }

    /// The object's bytes.
    pub(super) fn encode(&self, keyring: &Keyring) -> Result<Vec<u8>, RepositoryError> {
        let map = ConfigMap {
            id: self.id,
            created: self.created,
            profiles: vec![
                ProfileMap::new(ProfileName::Text, self.text),
                ProfileMap::new(ProfileName::Opaque, self.opaque),
            ],
            pack_len: self.pack_len,
            label: Some(self.label.clone()).filter(|label| !label.is_empty()),
            deltas: (!self.deltas).then_some(false),
        };
        let map = minicbor::to_vec(&map)
            .map_err(|_| RepositoryError::Internal("the config cannot be encoded"))?;
        let mut bytes = CONFIG_MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(u32::try_from(map.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(map);
        let mac = keyring.config_mac(&bytes);
        bytes.extend(mac);
        Ok(bytes)
    }

    /// Reads the object without checking who wrote it: the id is needed to find the keys.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, ConfigError> {
        let malformed = |reason: &str| ConfigError::Malformed(reason.to_owned());
        let head = bytes.get(..16).ok_or_else(|| malformed("it is too short"))?;
        if head[..8] != CONFIG_MAGIC {
            return Err(malformed("it does not begin as a config object of mrs-backup"));
        }
        let number =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if number(8) != VERSION {
            return Err(ConfigError::UnknownVersion(number(8)));
        }
        let len = usize::try_from(number(12)).unwrap_or(usize::MAX);
        if len > MAP_LIMIT || bytes.len() != 16 + len + MAC_LEN {
            return Err(malformed("its length is not what it says"));
        }
        let map: ConfigMap = minicbor::decode(&bytes[16..16 + len])
            .map_err(|error| ConfigError::Malformed(error.to_string()))?;
        let profile = |name: ProfileName| {
            let found = map.profiles.iter().find(|profile| profile.name == name.as_str());
            let profile = found.map_or_else(
                || ChunkerProfile::default_for(name),
                |p| ChunkerProfile { min: p.min, avg: p.avg, max: p.max },
            );
            if profile.is_valid() {
                Ok(profile)
            } else {
                Err(ConfigError::Malformed(format!(
                    "its chunk sizes of `{}` make no sense",
                    name.as_str()
                )))
            }
        };
        if !(PACK_LEN_BOUNDS.0..=PACK_LEN_BOUNDS.1).contains(&map.pack_len) {
            return Err(ConfigError::Malformed(format!(
                "its pack size of {} bytes is out of bounds",
                map.pack_len
            )));
        }
        Ok(Self {
            id: map.id,
            created: map.created,
            text: profile(ProfileName::Text)?,
            opaque: profile(ProfileName::Opaque)?,
            pack_len: map.pack_len,
            label: map.label.unwrap_or_default(),
            deltas: map.deltas.unwrap_or(true),
        })
    }

    /// Whether the object was written by somebody who has the keys.
    pub(super) fn is_authentic(bytes: &[u8], keyring: &Keyring) -> bool {
        bytes.len().checked_sub(MAC_LEN).is_some_and(|end| {
            // blake3::Hash compares in constant time.
            let expected = blake3::Hash::from(keyring.config_mac(&bytes[..end]));
            blake3::Hash::from_slice(&bytes[end..]).is_ok_and(|found| found == expected)
        })
    }
}
