//! What the source has: a view in which every snapshot has all it needs.
//!
//! Prunes and backups may be at work meanwhile. The order of listings is a reader's: snapshots, then index
//! until two listings agree, then packs, then snapshots again. A snapshot in both listings was there
//! when the index was read, so that all its chunks are in packs that the index names.

use std::collections::{HashMap, HashSet};

use crate::id::{PackId, SnapshotId};
use crate::repository::Repository;
use crate::store::{ByteRange, ObjectKind, ObjectName, Store, StoreErrorKind, list_all};

use super::error::CopyError;

/// How often a listing is repeated before the source is given up.
const ROUNDS: usize = 8;
/// Longest objects (format.md section 12).
const PACK_LIMIT: u64 = 256 << 20;
const OBJECT_LIMIT: u64 = 1 << 30;

/// What the source has.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Packs that the index names and that are listed, with their sizes.
    pub packs: HashMap<PackId, u64>,
    /// Packs that the index names and that are not listed: lost, or long deleted.
    pub absent: Vec<PackId>,
    /// Index objects, key slots and receipts, with their sizes.
    pub small: HashMap<ObjectName, u64>,
    /// Snapshots that may be copied once all packs are, with their sizes.
    pub snapshots: HashMap<SnapshotId, u64>,
    /// All snapshots, those that appeared meanwhile among them.
    pub listed: HashSet<SnapshotId>,
    /// Index objects that cannot be read: what they name is not known.
    pub unreadable: Vec<(ObjectName, String)>,
}

impl View {
    /// Looks.
    pub fn of(source: &Repository) -> Result<Self, CopyError> {
        let store = source.store().as_ref();
        for _ in 0..ROUNDS {
            let before = snapshots(store)?;
            let refresh = source.refresh()?;
            let index: HashMap<_, _> = sizes(store, ObjectKind::Index)?;
            let loaded = source.index().objects()?;
            let unreadable: Vec<_> = refresh
                .damaged
                .iter()
                .filter(|(name, _)| name.kind() == ObjectKind::Index)
                .map(|(name, error)| (*name, error.to_string()))
                .collect();
            let is_read = |name: &ObjectName| match name {
                ObjectName::Index(id) => loaded.contains(id),
                _ => false,
            };
            let is_settled = index
                .keys()
                .all(|name| is_read(name) || unreadable.iter().any(|(damaged, _)| damaged == name))
                && loaded.iter().all(|id| index.contains_key(&ObjectName::Index(*id)));
            if !is_settled {
                continue;
            }
            let mut view = Self { unreadable, ..Self::default() };
            for row in source.index().packs()?.iter().filter(|row| !row.is_pending) {
                match refresh.packs.get(&row.id) {
                    Some(size) => drop(view.packs.insert(row.id, *size)),
                    None => view.absent.push(row.id),
                }
            }
            view.small = index;
            view.small.extend(sizes(store, ObjectKind::Key)?);
            let after = snapshots(store)?;
            view.small.extend(sizes(store, ObjectKind::Receipt)?);
            view.listed = after.keys().copied().collect();
            view.snapshots = before;
            view.snapshots.retain(|id, _| after.contains_key(id));
            return Ok(view);
        }
        Err(CopyError::Restless { location: store.location().clone() })
    }

    /// The size of an object at the source, if it has it.
    pub fn size_of(&self, name: &ObjectName) -> Option<u64> {
        match name {
            ObjectName::Pack(id) => self.packs.get(id).copied(),
            ObjectName::Snapshot(id) => self.snapshots.get(id).copied(),
            name => self.small.get(name).copied(),
        }
    }

    /// Whether the source has it (listed, whole or not).
    pub fn has(&self, name: &ObjectName) -> bool {
        match name {
            ObjectName::Snapshot(id) => self.listed.contains(id),
            name => self.size_of(name).is_some(),
        }
    }
}

fn snapshots(store: &dyn Store) -> Result<HashMap<SnapshotId, u64>, CopyError> {
    let all = list_all(store, ObjectKind::Snapshot)?;
    Ok(all
        .into_iter()
        .filter_map(|info| match info.name {
            ObjectName::Snapshot(id) => Some((id, info.size)),
            _ => None,
        })
        .collect())
}

/// Names and sizes of all objects of one kind.
pub(super) fn sizes(
    store: &dyn Store,
    kind: ObjectKind,
) -> Result<HashMap<ObjectName, u64>, CopyError> {
    Ok(list_all(store, kind)?.into_iter().map(|info| (info.name, info.size)).collect())
}

/// An object as it was read.
#[derive(Debug)]
pub(super) enum Read {
    /// Its bytes, which are those it was written with.
    Good(Vec<u8>),
    /// It is not there.
    Missing,
    /// It has other bytes; why that is known.
    Damaged(String),
}

/// Reads a whole object and holds it against its name.
pub(super) fn read_whole(store: &dyn Store, name: &ObjectName) -> Result<Read, CopyError> {
    let limit = if name.kind() == ObjectKind::Pack { PACK_LIMIT } else { OBJECT_LIMIT };
    match store.get(name, ByteRange::Whole { limit }) {
        Ok(bytes) if crate::repository::is_rightly_named(name, &bytes) => Ok(Read::Good(bytes)),
        Ok(_) => Ok(Read::Damaged("its checksum differs from its name".to_owned())),
        Err(error) => match error.kind {
            StoreErrorKind::NotFound => Ok(Read::Missing),
            StoreErrorKind::TooLong | StoreErrorKind::TooShort => Ok(Read::Damaged(error.reason)),
            _ => Err(error.into()),
        },
    }
}
