//! Key slots of an open repository: list, add, remove, change, rotate.

use crate::crypto::slot::{Credential, KdfCost, SlotError, SlotInfo, read_info, write_slot};
use crate::id::{KeyId, ObjectId};
use crate::store::{ByteRange, ObjectKind, ObjectName, StoreErrorKind, list_all};

use super::error::RepositoryError;
use super::objects::object_id;
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
    pub fn rotate_keys(
        &mut self,
        credential: &Credential,
        cost: KdfCost,
        label: &str,
    ) -> Result<KeyId, RepositoryError> {
        let mut keyring = (*self.keyring).clone();
        let created = self.environment.clock.now().as_second();
        let epoch = keyring.rotate(created, self.environment.random.as_ref());
        // Only what was there before goes: a slot that somebody else adds at this moment holds keys
        // that ours does not.
        let before = self.key_slots()?;
        self.keyring = std::sync::Arc::new(keyring);
        let new = self.add_key(credential, cost, label)?;
        self.slot = new;
        for slot in before.iter().filter(|slot| slot.id != new) {
            self.remove_key(slot.id)?;
        }
        Ok(epoch)
    }
}
