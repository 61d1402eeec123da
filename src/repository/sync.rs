//! Brings the local index up to date with the store.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::crypto::envelope::SealedKind;
use crate::id::{ObjectId, PackId};
use crate::index::IndexObject;
use crate::store::{
    ObjectInfo, ObjectKind, ObjectName, StoreErrorKind, each, list_all, list_kinds,
};

use super::error::RepositoryError;
use super::open::Repository;

/// Bytes of index objects that are read at once.
const BYTES_AT_ONCE: u64 = 4 << 20;

/// What is listed together with packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    Nothing,
    Sessions,
}

/// What a refresh saw.
#[derive(Debug, Default)]
pub struct Refresh {
    /// Condemned objects and the packs they name.
    pub condemned: HashMap<ObjectId, Vec<PackId>>,
    /// Packs listed, with their sizes, after the index was read.
    pub packs: HashMap<PackId, u64>,
    /// Index objects newly loaded.
    pub loaded: usize,
    /// Index and condemned objects that cannot be read.
    pub damaged: Vec<(ObjectName, RepositoryError)>,
    /// Snapshots, as they were listed at a session's opening.
    pub snapshots: Vec<ObjectName>,
    /// Objects of sessions, if they were asked for.
    pub(super) sessions: Vec<ObjectName>,
}

impl Refresh {
    /// All condemned packs.
    pub fn condemned_packs(&self) -> HashSet<PackId> {
        self.condemned.values().flatten().copied().collect()
    }
}

impl Repository {
    /// Lists condemned and index objects, then packs, loads what is new and drops what is gone.
    ///
    /// Rows count only for packs in a listing taken *after* the index was read and what is condemned was listed
    /// (protocol rule 1). Where a listing is a trip over a line, those that need not follow each other are made at once.
    /// A damaged condemned object does not stop a writer: a session that does not name it keeps every
    /// prune from acting on it, so what it names stays.
    pub fn refresh(&self) -> Result<Refresh, RepositoryError> {
        let [condemned, index] =
            list_kinds(self.store.as_ref(), [ObjectKind::Condemned, ObjectKind::Index])?;
        self.refresh_from(&condemned, &index, Beside::Nothing)
    }

    /// [`Repository::refresh`] which lists sessions as late as packs.
    pub(super) fn refresh_with_sessions(&self) -> Result<Refresh, RepositoryError> {
        let [condemned, index] =
            list_kinds(self.store.as_ref(), [ObjectKind::Condemned, ObjectKind::Index])?;
        self.refresh_from(&condemned, &index, Beside::Sessions)
    }

    /// [`Repository::refresh`] for those who only read, and for whom an index or condemned object that
    /// cannot be read, for whatever reason, is one more thing to tell.
    pub fn refresh_for_check(&self) -> Result<Refresh, RepositoryError> {
        let [condemned, index] =
            list_kinds(self.store.as_ref(), [ObjectKind::Condemned, ObjectKind::Index])?;
        let (found, damaged) = self.read_condemned(&condemned_ids(&condemned))?;
        let mut refresh = Refresh { damaged, ..Refresh::default() };
        refresh.condemned.extend(found.into_iter().map(|(id, record)| (id, record.packs)));
        self.load_objects(&index, &mut refresh, RepositoryError::concerns_object)?;
        self.see_packs(&mut refresh, Beside::Nothing)?;
        Ok(refresh)
    }

    /// The rest of a refresh, after these were listed.
    pub(super) fn refresh_from(
        &self,
        condemned: &[ObjectInfo],
        index: &[ObjectInfo],
        beside: Beside,
    ) -> Result<Refresh, RepositoryError> {
        let (read, mut new): (HashMap<_, _>, Vec<_>) = {
            let read = lock(&self.condemned_read);
            let (old, new): (Vec<_>, Vec<_>) =
                condemned_ids(condemned).into_iter().partition(|id| read.contains_key(id));
            (old.into_iter().filter_map(|id| Some((id, read.get(&id)?.clone()))).collect(), new)
        };
        new.sort_unstable();
        let (found, damaged) = self.read_condemned(&new)?;
        let (damaged, failed): (Vec<_>, Vec<_>) =
            damaged.into_iter().partition(|(_, error)| error.is_damage());
        if let Some((_, error)) = failed.into_iter().next() {
            return Err(error);
        }
        let mut refresh = Refresh { damaged, condemned: read, ..Refresh::default() };
        refresh.condemned.extend(found.into_iter().map(|(id, record)| (id, record.packs)));
        // What is condemned is written once: it need not be read again.
        lock(&self.condemned_read).clone_from(&refresh.condemned);
        self.load_objects(index, &mut refresh, RepositoryError::is_damage)?;
        self.see_packs(&mut refresh, beside)?;
        Ok(refresh)
    }

    /// Lists packs, after the index was read, and `beside`.
    fn see_packs(&self, refresh: &mut Refresh, beside: Beside) -> Result<(), RepositoryError> {
        let store = self.store.as_ref();
        let packs = match beside {
            Beside::Nothing => list_all(store, ObjectKind::Pack)?,
            Beside::Sessions => {
                let [packs, sessions] = list_kinds(store, [ObjectKind::Pack, ObjectKind::Session])?;
                refresh.sessions = sessions.into_iter().map(|info| info.name).collect();
                packs
            }
        };
        for info in packs {
            if let ObjectName::Pack(id) = info.name {
                refresh.packs.insert(id, info.size);
            }
        }
        self.index.refresh_packs(&refresh.packs, &refresh.condemned_packs())?;
        Ok(())
    }

    /// Reads the index objects that are new, and drops what those said that are gone.
    fn load_objects(
        &self,
        index: &[ObjectInfo],
        refresh: &mut Refresh,
        is_tolerable: fn(&RepositoryError) -> bool,
    ) -> Result<(), RepositoryError> {
        let known = self.index.objects()?;
        let listed: HashSet<ObjectId> = index
            .iter()
            .filter_map(|info| match info.name {
                ObjectName::Index(id) => Some(id),
                _ => None,
            })
            .collect();
        let mut new: Vec<(ObjectId, u64)> = index
            .iter()
            .filter_map(|info| match info.name {
                ObjectName::Index(id) if !known.contains(&id) => Some((id, info.size)),
                _ => None,
            })
            .collect();
        new.sort_unstable();
        new.dedup();
        let store = self.store.as_ref();
        // Nothing is gained by more than one where reading is no trip over a line.
        let most = if store.is_far() { store.connections().get() } else { 1 };
        for some in at_once(&new, most) {
            let read = each(store, some, |(id, _)| {
                self.read_sealed::<IndexObject>(&ObjectName::Index(*id), SealedKind::Index)
            });
            for ((id, _), object) in some.iter().zip(read) {
                match object {
                    Ok(object) => {
                        self.index.add_object(*id, &object)?;
                        refresh.loaded += 1;
                    }
                    // Merged away between the listing and now: what it said is in a newer one.
                    Err(RepositoryError::Store(error))
                        if error.kind == StoreErrorKind::NotFound => {}
                    Err(error) if is_tolerable(&error) => {
                        refresh.damaged.push((ObjectName::Index(*id), error));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let gone: Vec<ObjectId> = known.difference(&listed).copied().collect();
        if !gone.is_empty() {
            self.index.drop_objects(&gone)?;
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Slices of `objects` to be held at the same time: at most so many, and few bytes unless one alone has more, since in memory
/// they are several times as long.
fn at_once(objects: &[(ObjectId, u64)], most: usize) -> Vec<&[(ObjectId, u64)]> {
    let (mut slices, mut rest) = (Vec::new(), objects);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take(most).take_while(|(_, size)| {
            bytes = u64::saturating_add(bytes, *size);
            bytes <= BYTES_AT_ONCE
        });
        let (now, later) = rest.split_at(fits.count().max(1));
        slices.push(now);
        rest = later;
    }
    slices
}

fn condemned_ids(listed: &[ObjectInfo]) -> Vec<ObjectId> {
    let id = |info: &ObjectInfo| match info.name {
        ObjectName::Condemned(id) => Some(id),
        _ => None,
    };
    listed.iter().filter_map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_objects_are_read_at_once_and_large_ones_alone() {
        let sizes = |list: &[u64]| -> Vec<(ObjectId, u64)> {
            (0..).zip(list).map(|(n, size)| (ObjectId::new([n; 32]), *size)).collect()
        };
        let lengths = |list: &[u64], most| -> Vec<usize> {
            at_once(&sizes(list), most).into_iter().map(<[_]>::len).collect()
        };
        assert!(lengths(&[], 8).is_empty());
        assert_eq!(lengths(&[1; 10], 4), [4, 4, 2]);
        assert_eq!(lengths(&[1; 3], 1), [1, 1, 1]);
        let much = BYTES_AT_ONCE;
        assert_eq!(lengths(&[much * 9, 1, much, much / 2, much / 2, 1], 8), [1, 1, 1, 2, 1]);
    }
}
