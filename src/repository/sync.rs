//! Brings the local index up to date with the store.

use std::collections::{HashMap, HashSet};

use crate::crypto::envelope::SealedKind;
use crate::id::{ObjectId, PackId};
use crate::index::IndexObject;
use crate::snapshot::CondemnedRecord;
use crate::store::{ObjectKind, ObjectName, StoreErrorKind, list_all};

use super::error::RepositoryError;
use super::objects::list_ids;
use super::open::Repository;

/// What a refresh saw.
#[derive(Debug, Default)]
pub struct Refresh {
    /// Condemned objects and the packs they name.
    pub condemned: HashMap<ObjectId, Vec<PackId>>,
    /// Packs listed, with their sizes, after the index was read.
    pub packs: HashMap<PackId, u64>,
    /// Index objects newly loaded.
    pub loaded: usize,
    /// Index objects that cannot be read; after [`Repository::refresh_for_check`] also condemned ones.
    pub damaged: Vec<(ObjectName, RepositoryError)>,
}

impl Refresh {
    /// All condemned packs.
    pub fn condemned_packs(&self) -> HashSet<PackId> {
        self.condemned.values().flatten().copied().collect()
    }
}

impl Repository {
    /// Lists condemned, index and packs, in this order, loads what is new and drops what is gone.
    ///
    /// Rows count only for packs in a listing taken *after* the index was read (protocol rule 1).
    /// A condemned object that cannot be read is an error: a writer must know what it names.
    pub fn refresh(&self) -> Result<Refresh, RepositoryError> {
        let (found, mut damaged) = self.condemned()?;
        match damaged.pop() {
            Some((_, error)) => Err(error),
            None => self.refresh_with(found, RepositoryError::is_damage),
        }
    }

    /// [`Repository::refresh`] for those who only read, and for whom an index or condemned object that
    /// cannot be read, for whatever reason, is one more thing to tell.
    pub fn refresh_for_check(&self) -> Result<Refresh, RepositoryError> {
        let (found, damaged) = self.condemned()?;
        let mut refresh = self.refresh_with(found, RepositoryError::concerns_object)?;
        refresh.damaged.extend(damaged);
        Ok(refresh)
    }

    fn refresh_with(
        &self,
        condemned: Vec<(ObjectId, CondemnedRecord)>,
        is_tolerable: fn(&RepositoryError) -> bool,
    ) -> Result<Refresh, RepositoryError> {
        let mut refresh = Refresh::default();
        for (id, record) in condemned {
            refresh.condemned.insert(id, record.packs);
        }
        self.refresh_objects(&mut refresh, is_tolerable)?;
        for info in list_all(self.store.as_ref(), ObjectKind::Pack)? {
            if let ObjectName::Pack(id) = info.name {
                refresh.packs.insert(id, info.size);
            }
        }
        self.index.refresh_packs(&refresh.packs, &refresh.condemned_packs())?;
        Ok(refresh)
    }

    fn refresh_objects(
        &self,
        refresh: &mut Refresh,
        is_tolerable: fn(&RepositoryError) -> bool,
    ) -> Result<(), RepositoryError> {
        let known = self.index.objects()?;
        let mut listed = HashSet::new();
        for name in list_ids(self.store.as_ref(), ObjectKind::Index)? {
            let ObjectName::Index(id) = name else { continue };
            listed.insert(id);
            if known.contains(&id) {
                continue;
            }
            match self.read_sealed::<IndexObject>(&name, SealedKind::Index) {
                Ok(object) => {
                    self.index.add_object(id, &object)?;
                    refresh.loaded += 1;
                }
                // Merged away between the listing and now: what it said is in a newer one.
                Err(RepositoryError::Store(error)) if error.kind == StoreErrorKind::NotFound => {}
                Err(error) if is_tolerable(&error) => refresh.damaged.push((name, error)),
                Err(error) => return Err(error),
            }
        }
        let gone: Vec<ObjectId> = known.difference(&listed).copied().collect();
        if !gone.is_empty() {
            self.index.drop_objects(&gone)?;
        }
        Ok(())
    }
}
