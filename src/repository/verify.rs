//! Reads any small object for its own sake: is it whole, and does it hold what its kind must?

use crate::crypto::envelope::SealedKind;
use crate::crypto::slot::read_info;
use crate::id::ObjectId;
use crate::index::IndexObject;
use crate::snapshot::{CondemnedRecord, ReceiptRecord, SessionRecord, Snapshot};
use crate::store::{ByteRange, ObjectName};

use super::config::{CONFIG_LIMIT, RepositoryConfig};
use super::error::RepositoryError;
use super::objects::object_id;
use super::open::{Repository, SLOT_LIMIT};

/// What a small object holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// The config this repository was opened with.
    Config,
    /// A key slot of this repository. Only its owner can tell whether the keys in it are whole.
    Key,
    /// What packs hold.
    Index(IndexObject),
    /// A snapshot, published or staged.
    Snapshot(Box<Snapshot>),
    /// A beat of a session.
    Session(SessionRecord),
    /// Condemned packs.
    Condemned(CondemnedRecord),
    /// A receipt.
    Receipt(ReceiptRecord),
}

impl Repository {
    /// Reads a small object and checks all that can be checked of it alone. Not for packs.
    pub fn read_object(&self, name: &ObjectName) -> Result<Content, RepositoryError> {
        Ok(match name {
            ObjectName::Config => self.read_config_again()?,
            ObjectName::Key(id) => self.read_slot(name, *id)?,
            ObjectName::Index(_) => Content::Index(self.read_sealed(name, SealedKind::Index)?),
            ObjectName::Snapshot(_) => {
                Content::Snapshot(Box::new(self.read_sealed(name, SealedKind::Snapshot)?))
            }
            // A backup stages a snapshot, a prune what it condemns.
            ObjectName::Staged { .. } => match self.read_sealed(name, SealedKind::Snapshot) {
                Ok(snapshot) => Content::Snapshot(Box::new(snapshot)),
                Err(error) => match self.read_sealed(name, SealedKind::Condemned) {
                    Ok(record) => Content::Condemned(record),
                    Err(_) => return Err(error),
                },
            },
            ObjectName::Session { .. } => {
                Content::Session(self.read_sealed(name, SealedKind::Session)?)
            }
            ObjectName::Condemned(_) => {
                Content::Condemned(self.read_sealed(name, SealedKind::Condemned)?)
            }
            ObjectName::Receipt(_) => {
                Content::Receipt(self.read_sealed(name, SealedKind::Receipt)?)
            }
            ObjectName::Pack(_) => {
                return Err(RepositoryError::Internal("a pack was read as a small object"));
            }
        })
    }

    fn damaged(&self, name: &ObjectName, reason: String) -> RepositoryError {
        RepositoryError::Damaged { object: *name, location: self.store.location().clone(), reason }
    }

    fn read_config_again(&self) -> Result<Content, RepositoryError> {
        let name = ObjectName::Config;
        let bytes = self.store.get(&name, ByteRange::Whole { limit: CONFIG_LIMIT })?;
        let config = RepositoryConfig::decode(&bytes)
            .map_err(|error| self.damaged(&name, error.to_string()))?;
        if !RepositoryConfig::is_authentic(&bytes, &self.keyring) {
            let reason = "it was changed by somebody without the keys, or damaged".to_owned();
            return Err(self.damaged(&name, reason));
        }
        if config != self.config {
            let reason = "it is another config than the repository was opened with".to_owned();
            return Err(self.damaged(&name, reason));
        }
        Ok(Content::Config)
    }

    fn read_slot(&self, name: &ObjectName, id: ObjectId) -> Result<Content, RepositoryError> {
        let bytes = self.store.get(name, ByteRange::Whole { limit: SLOT_LIMIT })?;
        if object_id(&bytes) != id {
            return Err(self.damaged(name, "its checksum differs from its name".to_owned()));
        }
        let info = read_info(&bytes).map_err(|error| self.damaged(name, error.to_string()))?;
        if info.repository != self.config.id {
            return Err(self.damaged(name, "it belongs to another repository".to_owned()));
        }
        Ok(Content::Key)
    }
}

/// Whether `bytes` hash to the id in `name`. Objects of other names count as right.
pub fn is_rightly_named(name: &ObjectName, bytes: &[u8]) -> bool {
    let digest = object_id(bytes);
    match name {
        ObjectName::Pack(id) => id.as_bytes() == digest.as_bytes(),
        ObjectName::Snapshot(id) | ObjectName::Staged { snapshot: id, .. } => {
            id.as_bytes() == digest.as_bytes()
        }
        ObjectName::Key(id)
        | ObjectName::Index(id)
        | ObjectName::Condemned(id)
        | ObjectName::Receipt(id) => *id == digest,
        ObjectName::Config | ObjectName::Session { .. } => true,
    }
}
