//! The index made anew: the local one from the index objects, or the index objects from the packs.
//!
//! Every pack carries a directory of itself, so nothing is lost with an index object. Damaged index objects
//! are left where they are unless their removal is asked for, and then they are removed only when their bytes
//! differ from their name (nobody can ever read them again) and every pack is in some readable object.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::crypto::envelope::MAX_OBJECT;
use crate::event::{Event, Observer, StopFlag};
use crate::id::{ObjectId, PackId};
use crate::index::{IndexObject, IndexedPack};
use crate::repository::{Content, Repository, RepositoryError, Session, is_rightly_named};
use crate::store::{ByteRange, ObjectKind, ObjectName, StoreErrorKind, list_all};

use super::pack_head::read_head;

/// Packs named by one new index object, so that a killed run loses little.
const PACKS_PER_INDEX: usize = 64;
/// Packs read at once: their directories wait on the store, not on the processor.
const MAX_THREADS: usize = 16;

/// How the index is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RebuildOptions {
    /// Read the directories of packs that no readable index object names, and write index objects for them.
    pub from_packs: bool,
    /// Then remove the damaged index objects.
    pub delete_damaged: bool,
}

/// An object that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Unusable {
    /// Its path.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct RebuildReport {
    /// Index objects loaded into the local index.
    pub loaded: u64,
    /// Index objects that cannot be read.
    pub damaged: Vec<Unusable>,
    /// Damaged index objects that were removed.
    pub deleted: u64,
    /// Packs that no readable index object named, and that are indexed now.
    pub indexed_packs: u64,
    /// Index objects written for them.
    pub written: u64,
    /// Packs whose directory cannot be read: what is in them stays unknown.
    pub unreadable_packs: Vec<Unusable>,
    /// Packs the index knows after all.
    pub packs: u64,
}

/// Makes the index anew.
pub fn rebuild_index(
    repository: &Repository,
    options: RebuildOptions,
    stop: &StopFlag,
    observer: &dyn Observer,
) -> Result<RebuildReport, RepositoryError> {
    let mut report = RebuildReport::default();
    reload(repository, &mut report, observer)?;
    if options.from_packs {
        // A session keeps a prune from deleting packs while they are read.
        let session = repository.begin_session("index rebuild")?;
        let done = from_packs(&session, options.delete_damaged, &mut report, stop, observer);
        // What was written stays good, whether the rest succeeded or not.
        session.end()?;
        done?;
        repository.refresh_for_check()?;
    }
    report.packs = repository.index().packs()?.len() as u64;
    Ok(report)
}

/// Drops what index objects said, and reads them all again. Pending rows of runs at work and the memory of
/// seen snapshots stay.
fn reload(
    repository: &Repository,
    report: &mut RebuildReport,
    observer: &dyn Observer,
) -> Result<(), RepositoryError> {
    observer.event(&Event::StepStarted { step: "index", total_bytes: None });
    let index = repository.index();
    let known: Vec<ObjectId> = index.objects()?.into_iter().collect();
    index.drop_objects(&known)?;
    let refresh = repository.refresh_for_check()?;
    report.loaded = refresh.loaded as u64;
    for (name, error) in refresh.damaged {
        let (object, reason) = (name.to_string(), error.to_string());
        observer.event(&Event::Warning { item: object.clone(), message: reason.clone() });
        report.damaged.push(Unusable { object, reason });
    }
    observer.event(&Event::StepFinished { step: "index" });
    Ok(())
}

fn from_packs(
    session: &Session<'_>,
    delete_damaged: bool,
    report: &mut RebuildReport,
    stop: &StopFlag,
    observer: &dyn Observer,
) -> Result<(), RepositoryError> {
    observer.event(&Event::StepStarted { step: "packs", total_bytes: None });
    let repository = session.repository();
    let opening = session.opening();
    // Condemned packs are left out: a prune took them out of the index and is about to delete them.
    // Packs of a run at work (pending rows) will be indexed by it.
    let condemned = opening.condemned_packs();
    let known: HashSet<PackId> =
        repository.index().packs()?.into_iter().map(|row| row.id).collect();
    let mut unknown: Vec<(PackId, u64)> = opening
        .packs
        .iter()
        .map(|(id, size)| (*id, *size))
        .filter(|(id, _)| !known.contains(id) && !condemned.contains(id))
        .collect();
    unknown.sort_unstable();
    for batch in unknown.chunks(PACKS_PER_INDEX) {
        if stop.is_stopped() {
            return Err(RepositoryError::Interrupted);
        }
        let packs = read_heads(repository, batch, report, observer)?;
        session.keep_alive()?;
        observer.event(&Event::Progress { bytes: 0, items: batch.len() as u64 });
        if packs.is_empty() {
            continue;
        }
        report.indexed_packs += packs.len() as u64;
        repository.write_index_object(&IndexObject { packs, replaces: Vec::new() })?;
        report.written += 1;
    }
    if delete_damaged && report.unreadable_packs.is_empty() {
        report.deleted = remove_damaged(repository)?;
    }
    observer.event(&Event::StepFinished { step: "packs" });
    Ok(())
}

/// Reads what some packs say of themselves, several at a time.
fn read_heads(
    repository: &Repository,
    batch: &[(PackId, u64)],
    report: &mut RebuildReport,
    observer: &dyn Observer,
) -> Result<Vec<IndexedPack>, RepositoryError> {
    let next = AtomicUsize::new(0);
    let heads = Mutex::new(HashMap::new());
    let work = || {
        while let Some(&(id, size)) = batch.get(next.fetch_add(1, Ordering::Relaxed)) {
            let head = read_head(repository, id, size);
            heads.lock().unwrap_or_else(PoisonError::into_inner).insert(id, head);
        }
    };
    let threads = repository.store().connections().get().min(MAX_THREADS).min(batch.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut heads = heads.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut packs = Vec::new();
    for &(id, size) in batch {
        let died = || Err("the thread that read it died".to_owned());
        match heads.remove(&id).unwrap_or_else(died) {
            Ok(head) => {
                let (class, key, entries) = (head.class, head.key, head.entries);
                packs.push(IndexedPack { id, class, size, key, entries });
            }
            Err(reason) => {
                let object = ObjectName::Pack(id).to_string();
                let message = reason.clone();
                observer.event(&Event::ItemFailed { item: object.clone(), message });
                report.unreadable_packs.push(Unusable { object, reason });
            }
        }
    }
    Ok(packs)
}

/// Removes index objects whose bytes are not those they were written with.
fn remove_damaged(repository: &Repository) -> Result<u64, RepositoryError> {
    let store = repository.store();
    let mut deleted = 0;
    for info in list_all(store.as_ref(), ObjectKind::Index)? {
        let name = info.name;
        match repository.read_object(&name) {
            Ok(Content::Index(_)) => continue,
            Err(error) if error.is_damage() => {}
            Err(RepositoryError::Store(error)) if error.kind == StoreErrorKind::NotFound => {
                continue;
            }
            Ok(_) => continue,
            Err(error) => return Err(error),
        }
        let bytes = store.get(&name, ByteRange::Whole { limit: MAX_OBJECT });
        let is_hopeless = match &bytes {
            Ok(bytes) => !is_rightly_named(&name, bytes),
            Err(error) => error.kind == StoreErrorKind::TooLong,
        };
        if is_hopeless {
            store.delete(&name)?;
            deleted += 1;
        }
    }
    store.sync()?;
    Ok(deleted)
}
