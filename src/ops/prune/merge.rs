//! Index objects written anew: without what is deleted, and fewer of them, so that opening a repository
//! costs few round trips after years.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::event::StopFlag;
use crate::id::{ObjectId, PackId};
use crate::index::IndexObject;
use crate::repository::{Content, Repository, RepositoryError, Session};
use crate::store::{ObjectKind, ObjectName, StoreErrorKind, list_all};

use super::summary::PruneStats;

/// Index objects below this length are small, in bytes.
const SMALL: u64 = 1 << 20;
/// So many small ones are merged.
const MANY: usize = 16;
/// Bytes of index objects that are read to be written as one.
const TARGET: u64 = 4 << 20;
/// How often a listing is asked for a new index object.
const LISTING_TRIES: u32 = 20;

/// The small index objects, if they are many.
pub(super) fn due(repository: &Repository) -> Result<Vec<ObjectId>, RepositoryError> {
    let mut small: Vec<ObjectId> = list_all(repository.store().as_ref(), ObjectKind::Index)?
        .into_iter()
        .filter(|info| info.size < SMALL)
        .filter_map(|info| match info.name {
            ObjectName::Index(id) => Some(id),
            _ => None,
        })
        .collect();
    if small.len() < MANY {
        return Ok(Vec::new());
    }
    small.sort_unstable();
    Ok(small)
}

/// Writes the objects in `merge` and those that name a pack in `doomed` anew, without rows of doomed packs and of packs
/// that are gone. What an object said is read from the store again: the local index is a cache.
pub(super) fn rewrite(
    session: &Session<'_>,
    doomed: &HashSet<PackId>,
    merge: &[ObjectId],
    stats: &mut PruneStats,
    stop: &StopFlag,
) -> Result<(), RepositoryError> {
    let repository = session.repository();
    let mut wanted: HashSet<ObjectId> = merge.iter().copied().collect();
    // Rows of packs that are gone (an expired writer that woke up wrote them) go on this occasion.
    let mut superfluous = doomed.clone();
    let rows = repository.index().packs()?;
    superfluous.extend(rows.iter().filter(|row| !row.is_present).map(|row| row.id));
    wanted.extend(repository.index().objects_naming(&superfluous)?);
    let sizes: HashMap<ObjectId, u64> = list_all(repository.store().as_ref(), ObjectKind::Index)?
        .into_iter()
        .filter_map(|info| match info.name {
            ObjectName::Index(id) => Some((id, info.size)),
            _ => None,
        })
        .collect();
    let mut wanted: Vec<(u64, ObjectId)> =
        wanted.into_iter().filter_map(|id| Some((*sizes.get(&id)?, id))).collect();
    wanted.sort_unstable();
    let mut group = Group::default();
    for (size, id) in wanted {
        if stop.is_stopped() {
            return Err(RepositoryError::Interrupted);
        }
        group.take(repository, id)?;
        group.bytes += size;
        if group.bytes >= TARGET {
            std::mem::take(&mut group).write(session, doomed, stats)?;
        }
    }
    group.write(session, doomed, stats)
}

/// Index objects that become one.
#[derive(Default)]
struct Group {
    bytes: u64,
    merged: IndexObject,
    known: HashSet<PackId>,
}

impl Group {
    fn take(&mut self, repository: &Repository, id: ObjectId) -> Result<(), RepositoryError> {
        let name = ObjectName::Index(id);
        let object = match repository.read_object(&name) {
            Ok(Content::Index(object)) => object,
            Ok(_) => return Ok(()),
            // Another prune was faster.
            Err(RepositoryError::Store(error)) if error.kind == StoreErrorKind::NotFound => {
                return Ok(());
            }
            // A damaged one stays where it is; a repair makes it superfluous.
            Err(error) if error.is_damage() => return Ok(()),
            Err(error) => return Err(error),
        };
        self.merged.replaces.push(id);
        for pack in object.packs {
            if self.known.insert(pack.id) {
                self.merged.packs.push(pack);
            }
        }
        Ok(())
    }

    fn write(
        mut self,
        session: &Session<'_>,
        doomed: &HashSet<PackId>,
        stats: &mut PruneStats,
    ) -> Result<(), RepositoryError> {
        let repository = session.repository();
        self.drop_gone(repository, doomed)?;
        let Self { merged, .. } = self;
        let replaced = merged.replaces.clone();
        if replaced.is_empty() {
            return Ok(());
        }
        if !merged.packs.is_empty() {
            let id = repository.write_index_object(&merged)?;
            stats.index_objects_written += 1;
            // Where listings are late, both the old and the new one would be unseen for a while.
            if !is_listed(repository, id)? {
                return Ok(());
            }
        }
        for id in &replaced {
            repository.store().delete(&ObjectName::Index(*id))?;
            stats.index_objects_deleted += 1;
        }
        repository.store().sync()?;
        session.keep_alive()
    }

    /// Leaves out what is deleted, and packs that are gone: not merely missing in a listing, which was taken
    /// after the objects were read.
    fn drop_gone(
        &mut self,
        repository: &Repository,
        doomed: &HashSet<PackId>,
    ) -> Result<(), RepositoryError> {
        self.merged.packs.retain(|pack| !doomed.contains(&pack.id));
        let store = repository.store();
        let mut listed = HashSet::new();
        store.list(ObjectKind::Pack, &mut |info| {
            if let ObjectName::Pack(id) = info.name {
                listed.insert(id);
            }
            std::ops::ControlFlow::Continue(())
        })?;
        let mut gone = HashSet::new();
        for pack in self.merged.packs.iter().filter(|pack| !listed.contains(&pack.id)) {
            match store.size(&ObjectName::Pack(pack.id)) {
                Ok(_) => {}
                Err(error) if error.kind == StoreErrorKind::NotFound => {
                    gone.insert(pack.id);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.merged.packs.retain(|pack| !gone.contains(&pack.id));
        Ok(())
    }
}

fn is_listed(repository: &Repository, id: ObjectId) -> Result<bool, RepositoryError> {
    for attempt in 0..LISTING_TRIES {
        let listed = list_all(repository.store().as_ref(), ObjectKind::Index)?;
        if listed.iter().any(|info| info.name == ObjectName::Index(id)) {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(50) * attempt);
    }
    Ok(false)
}
