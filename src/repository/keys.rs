//! Key slots of an open repository: list, add, remove, change, rotate.

use crate::crypto::envelope::{HEADER, SealedKind, claimed_key};
use crate::crypto::slot::{Credential, KdfCost, SlotError, SlotInfo, read_info, write_slot};
use crate::id::{KeyId, ObjectId};
use crate::store::{ByteRange, ObjectKind, ObjectName, StoreErrorKind, list_all};

use super::error::RepositoryError;
use super::objects::{list_ids, object_id};
use super::open::{Repository, SLOT_LIMIT};

/// One key slot, as anybody can see it.
#[derive(Debug)]
pub struct KeySlot {
    /// Its name.
    pub id: ObjectId,
    /// What it says, or why it cannot be read.
    pub info: Result<SlotInfo, SlotError>,
    /// Whether it opened this repository just now.
    pub is_current: bool,
}

impl Repository {
    /// All slots.
    pub fn key_slots(&self) -> Result<Vec<KeySlot>, RepositoryError> {
        let mut slots = Vec::new();
        for info in list_all(self.store.as_ref(), ObjectKind::Key)? {
            let ObjectName::Key(id) = info.name else { continue };
            let bytes = self.store.get(&info.name, ByteRange::Whole { limit: SLOT_LIMIT })?;
            slots.push(KeySlot { id, info: read_info(&bytes), is_current: id == self.slot });
        }
        slots.sort_by_key(|slot| (slot.info.as_ref().map_or(0, |info| info.created), slot.id));
        Ok(slots)
    }

    /// Adds a slot for another password or key file.
    pub fn add_key(
        &self,
        credential: &Credential,
        cost: KdfCost,
        label: &str,
    ) -> Result<ObjectId, RepositoryError> {
        let created = self.environment.clock.now().as_second();
        let random = self.environment.random.as_ref();
        let slot = write_slot(&self.keyring, credential, cost, label, created, random)?;
        let id = object_id(&slot);
        self.store.put(&ObjectName::Key(id), &[&slot])?;
        self.store.sync()?;
        Ok(id)
    }

    /// Removes a slot. The one in use cannot be removed, and it is put back if somebody else removed
    /// it meanwhile: so one always remains that is known to open.
    pub fn remove_key(&self, id: ObjectId) -> Result<(), RepositoryError> {
        if id == self.slot {
            return Err(RepositoryError::NoKeySlot {
                location: self.store.location().clone(),
                reason: "the slot that opened the repository cannot be removed; open it with another password first".to_owned(),
            });
        }
        let own = ObjectName::Key(self.slot);
        let bytes = self.store.get(&own, ByteRange::Whole { limit: SLOT_LIMIT })?;
        self.store.delete(&ObjectName::Key(id))?;
        match self.store.size(&own) {
            Ok(_) => {}
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                self.store.put(&own, &[&bytes])?;
            }
            Err(error) => return Err(error.into()),
        }
        self.store.sync()?;
        Ok(())
    }

    /// Replaces the slot in use by one for `credential`: the new one first, then the old one goes.
    pub fn change_password(
        &mut self,
        credential: &Credential,
        cost: KdfCost,
        label: &str,
    ) -> Result<ObjectId, RepositoryError> {
        let new = self.add_key(credential, cost, label)?;
        let old = std::mem::replace(&mut self.slot, new);
        self.remove_key(old)?;
        Ok(new)
    }

    /// Begins a new key epoch: a new slot for `credential` holds old and new keys, and every other
    /// slot is removed, since their owners must not learn the new keys. What was sealed before stays readable to whoever kept a copy of an old slot.
    ///
    /// A slot that was added since this repository was opened stays: it may hold keys that ours does not. Refused if ours is gone, or if something is sealed with newer keys than it holds, for the same reason.
    pub fn rotate_keys(
        &mut self,
        credential: &Credential,
        cost: KdfCost,
        label: &str,
    ) -> Result<KeyId, RepositoryError> {
        self.refuse_newer_keys()?;
        let mut keyring = (*self.keyring).clone();
        let created = self.environment.clock.now().as_second();
        let epoch = keyring.rotate(created, self.environment.random.as_ref());
        let there = list_ids(self.store.as_ref(), ObjectKind::Key)?;
        if !there.contains(&ObjectName::Key(self.slot)) {
            return Err(RepositoryError::NoKeySlot {
                location: self.store.location().clone(),
                reason: "the one that opened it was removed meanwhile; run the same command again"
                    .to_owned(),
            });
        }
        self.keyring = std::sync::Arc::new(keyring);
        let new = self.add_key(credential, cost, label)?;
        self.slot = new;
        for id in std::mem::take(&mut self.slots_before) {
            if id != new && there.contains(&ObjectName::Key(id)) {
                self.remove_key(id)?;
            }
        }
        self.slots_before.push(new);
        Ok(epoch)
    }

    /// Error if a snapshot or an index object is sealed with keys that ours do not have: of a rotation that
    /// was killed, or of which this slot's owner knows nothing.
    fn refuse_newer_keys(&self) -> Result<(), RepositoryError> {
        for (kind, sealed) in
            [(ObjectKind::Snapshot, SealedKind::Snapshot), (ObjectKind::Index, SealedKind::Index)]
        {
            for object in list_ids(self.store.as_ref(), kind)? {
                let range = ByteRange::Exact { offset: 0, len: HEADER as u64 };
                let header = match self.store.get(&object, range) {
                    Ok(header) => header,
                    // Gone since, or no sealed object: neither is newer than ours.
                    Err(error) => match error.kind {
                        StoreErrorKind::NotFound | StoreErrorKind::TooShort => continue,
                        _ => return Err(error.into()),
                    },
                };
                let newest = self.keyring.current();
                if claimed_key(sealed, &header).is_some_and(|key| key.0 > newest.0) {
                    let location = self.store.location().clone();
                    return Err(RepositoryError::NewerKeys { object, location });
                }
            }
        }
        Ok(())
    }
}
