//! Small sealed objects: put, read, list.

use sha2::{Digest, Sha256};

use crate::crypto::envelope::{self, MAX_OBJECT, SealedKind};
use crate::id::{ObjectId, SnapshotId};
use crate::index::IndexObject;
use crate::snapshot::{CondemnedRecord, ReceiptRecord, Snapshot};
use crate::store::{ByteRange, ObjectKind, ObjectName, Store, StoreErrorKind, each, list_all};

use super::error::RepositoryError;
use super::open::Repository;

/// SHA-256 of an object: its name.
pub(super) fn object_id(bytes: &[u8]) -> ObjectId {
    ObjectId::new(Sha256::digest(bytes).into())
}

/// A snapshot listing: what could be read and what could not.
#[derive(Debug, Default)]
pub struct Listed {
    /// Snapshots, oldest first.
    pub snapshots: Vec<(SnapshotId, Snapshot)>,
    /// Those that are damaged.
    pub damaged: Vec<(SnapshotId, RepositoryError)>,
}

/// Condemned objects that can be read, and those that cannot.
type Condemned = (Vec<(ObjectId, CondemnedRecord)>, Vec<(ObjectName, RepositoryError)>);

/// Names of all objects of one kind.
pub fn list_ids(store: &dyn Store, kind: ObjectKind) -> Result<Vec<ObjectName>, RepositoryError> {
    Ok(list_all(store, kind)?.into_iter().map(|info| info.name).collect())
}

impl Repository {
    /// Reads a sealed object and checks that its name is the hash of its bytes.
    pub(super) fn read_sealed<T: for<'b> minicbor::Decode<'b, ()>>(
        &self,
        name: &ObjectName,
        kind: SealedKind,
    ) -> Result<T, RepositoryError> {
        let bytes = self.store.get(name, ByteRange::Whole { limit: MAX_OBJECT })?;
        let damaged = |reason: String| RepositoryError::Damaged {
            object: *name,
            location: self.store.location().clone(),
            reason,
        };
        let digest = object_id(&bytes);
        let named = match name {
            ObjectName::Index(id) | ObjectName::Condemned(id) | ObjectName::Receipt(id) => {
                Some(*id)
            }
            ObjectName::Snapshot(id) | ObjectName::Staged { snapshot: id, .. } => {
                Some(ObjectId::new(*id.as_bytes()))
            }
            _ => None,
        };
        if named.is_some_and(|id| id != digest) {
            return Err(damaged("its checksum differs from its name".to_owned()));
        }
        envelope::open(&self.keyring, kind, &bytes).map_err(|error| damaged(error.to_string()))
    }

    /// Seals and puts an object whose name is its hash.
    pub(super) fn put_sealed<T: minicbor::Encode<()>>(
        &self,
        kind: SealedKind,
        value: &T,
        name: impl FnOnce(ObjectId) -> ObjectName,
    ) -> Result<ObjectId, RepositoryError> {
        Ok(self.put_sealed_and_count(kind, value, name)?.0)
    }

    /// The same; gives its length in bytes, too.
    pub(super) fn put_sealed_and_count<T: minicbor::Encode<()>>(
        &self,
        kind: SealedKind,
        value: &T,
        name: impl FnOnce(ObjectId) -> ObjectName,
    ) -> Result<(ObjectId, u64), RepositoryError> {
        let bytes = envelope::seal(&self.keyring, kind, value, self.environment.random.as_ref())?;
        let id = object_id(&bytes);
        self.store.put(&name(id), &[&bytes])?;
        Ok((id, bytes.len() as u64))
    }

    /// All snapshots, oldest first; a damaged one does not hide the others.
    pub fn snapshots(&self) -> Result<Listed, RepositoryError> {
        let names = list_ids(self.store.as_ref(), ObjectKind::Snapshot)?;
        self.read_snapshots(&names)
    }

    /// Those of `names` that are still there, oldest first.
    pub fn read_snapshots(&self, names: &[ObjectName]) -> Result<Listed, RepositoryError> {
        let mut listed = Listed::default();
        let ids: Vec<SnapshotId> = names
            .iter()
            .filter_map(|name| match name {
                ObjectName::Snapshot(id) => Some(*id),
                _ => None,
            })
            .collect();
        let read = each(self.store.as_ref(), &ids, |id| self.snapshot(id));
        for (id, snapshot) in ids.into_iter().zip(read) {
            match snapshot {
                Ok(snapshot) => listed.snapshots.push((id, snapshot)),
                // Forgotten by somebody else between the listing and now.
                Err(RepositoryError::Store(error)) if error.kind == StoreErrorKind::NotFound => {}
                Err(error) if error.is_damage() => listed.damaged.push((id, error)),
                Err(error) => return Err(error),
            }
        }
        listed.snapshots.sort_by_key(|(id, snapshot)| (snapshot.start, snapshot.counter, *id));
        Ok(listed)
    }

    /// One snapshot.
    pub fn snapshot(&self, id: &SnapshotId) -> Result<Snapshot, RepositoryError> {
        self.read_sealed(&ObjectName::Snapshot(*id), SealedKind::Snapshot)
    }

    /// What condemned objects name, and those that are damaged. One that vanished meanwhile is left out.
    pub(super) fn read_condemned(&self, ids: &[ObjectId]) -> Result<Condemned, RepositoryError> {
        let mut found = Vec::new();
        let mut damaged = Vec::new();
        let read = each(self.store.as_ref(), ids, |id| {
            self.read_sealed(&ObjectName::Condemned(*id), SealedKind::Condemned)
        });
        for (id, record) in ids.iter().copied().zip(read) {
            let name = ObjectName::Condemned(id);
            match record {
                Ok(record) => found.push((id, record)),
                Err(RepositoryError::Store(error)) if error.kind == StoreErrorKind::NotFound => {}
                Err(error) if error.concerns_object() => damaged.push((name, error)),
                Err(error) => return Err(error),
            }
        }
        Ok((found, damaged))
    }

    /// Writes an index object and makes it durable. Its packs must be durable before. It is not
    /// loaded: the next refresh does that.
    pub fn write_index_object(&self, object: &IndexObject) -> Result<ObjectId, RepositoryError> {
        let id = self.put_sealed(SealedKind::Index, object, ObjectName::Index)?;
        self.store.sync()?;
        Ok(id)
    }

    /// Leaves a receipt.
    pub fn put_receipt(&self, receipt: &ReceiptRecord) -> Result<ObjectId, RepositoryError> {
        let id = self.put_sealed(SealedKind::Receipt, receipt, ObjectName::Receipt)?;
        self.store.sync()?;
        Ok(id)
    }

    /// One receipt.
    pub fn receipt(&self, id: &ObjectId) -> Result<ReceiptRecord, RepositoryError> {
        self.read_sealed(&ObjectName::Receipt(*id), SealedKind::Receipt)
    }

    /// All receipts that can be read.
    pub fn receipts(&self) -> Result<Vec<(ObjectId, ReceiptRecord)>, RepositoryError> {
        let mut found = Vec::new();
        let names = list_ids(self.store.as_ref(), ObjectKind::Receipt)?;
        let read = each(self.store.as_ref(), &names, |name| match name {
            ObjectName::Receipt(id) => self.receipt(id).ok().map(|record| (*id, record)),
            _ => None,
        });
        found.extend(read.into_iter().flatten());
        Ok(found)
    }
}
