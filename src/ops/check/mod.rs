//! The check: is everything there, is it what it was, and if not, what is lost by it?
//!
//! 1. *Objects*: every small object is read, whatever the local index knows of it.
//! 2. *Packs*: each one listed has the size and the directory the index tells of. Packs of trees are read
//!    whole; so are packs of data if that is asked for, and every pack that looks wrong.
//! 3. *Trees*: every directory and list of every snapshot is read, once; each chunk of a file is looked up.
//! 4. *Affected*: if anything is damaged, the snapshots and paths that cannot be restored whole.
//! 5. *Memory*: no snapshot this machine has seen is gone without a receipt.

mod affected;
mod deltas;
mod objects;
mod packs;
mod report;
mod trees;

use std::collections::{HashMap, HashSet};

use crate::event::{Observer, StopFlag};
use crate::id::{ChunkId, PackId, SegmentId, SnapshotId};
use crate::index::{Index, IndexError, MAX_CHAIN, Place};
use crate::repository::{Refresh, Repository, RepositoryError};
use crate::snapshot::Snapshot;
use crate::store::ObjectName;

pub(in crate::ops) use packs::lost_with;
pub use report::{AffectedSnapshot, CheckCounts, CheckReport, Problem, Severity};

use objects::Objects;
use report::Findings;

/// Bytes of opened segments kept while trees are walked.
const CACHE: usize = 32 << 20;

/// Which packs of data are read whole.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ReadData {
    /// None: only their directories are read.
    #[default]
    None,
    /// All.
    All,
    /// Some, chosen by `seed`: another seed chooses others.
    Subset {
        /// How many of a hundred.
        percent: f64,
        /// Chooses.
        seed: u64,
    },
}

/// Choices of a check.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Which packs of data are read whole.
    pub read_data: ReadData,
    /// Only the trees of these snapshots are walked; `None`: those of all.
    pub snapshots: Option<Vec<SnapshotId>>,
}

/// Places that do not give what the index promises of them.
#[derive(Debug, Default)]
struct BadPlaces(HashMap<PackId, Bad>);

#[derive(Debug)]
enum Bad {
    /// The whole pack.
    All,
    /// These segments.
    Segments(HashSet<SegmentId>),
}

impl BadPlaces {
    /// Whether it cannot be read, or nothing it was compressed against can.
    fn is_bad(&self, index: &Index, place: &Place, depth: usize) -> Result<bool, IndexError> {
        let is_bad = match self.0.get(&place.pack) {
            None => false,
            Some(Bad::All) => true,
            Some(Bad::Segments(segments)) => segments.contains(&place.entry.id),
        };
        let Some(base) = place.entry.base.filter(|_| !is_bad) else { return Ok(is_bad) };
        if depth >= MAX_CHAIN {
            return Ok(true);
        }
        self.are_bad(index, &index.locate_segment(&base, None)?, depth + 1)
    }

    fn are_bad(&self, index: &Index, places: &[Place], depth: usize) -> Result<bool, IndexError> {
        for place in places {
            if !self.is_bad(index, place, depth)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether `chunk` has no good place.
    fn is_lost(&self, index: &Index, chunk: &ChunkId) -> Result<bool, IndexError> {
        self.are_bad(index, &index.locate(chunk, None)?, 0)
    }
}

/// Checks `repository`. What it finds is in the report; an error means that the check itself could
/// not go on.
pub fn check(
    repository: &Repository,
    options: &CheckOptions,
    stop: &StopFlag,
    observer: &dyn Observer,
) -> Result<CheckReport, RepositoryError> {
    let findings = Findings::new(observer);
    let known = repository.index().objects()?;
    let objects = objects::check_objects(repository, &findings, stop)?;
    let refresh = repository.refresh_for_check()?;
    let covered = objects::check_index(repository, &findings, stop)?;
    let packs = packs::check_packs(repository, options.read_data, &refresh, &findings, stop)?;
    note_suspects(repository, &packs, &refresh)?;
    let walked = selected(options, &objects, &findings);
    let mut lost =
        trees::check_trees(repository, &walked, &packs.bad, packs.has_unindexed, &findings, stop)?;
    // Index objects are merged and go; but then what they said is said elsewhere.
    if lost.has_missing_chunks {
        for gone in known.difference(&covered) {
            let message = "this machine had loaded it, now it is gone, and chunks are missing";
            findings.error(&ObjectName::Index(*gone), message, objects::REBUILD);
        }
    }
    let needs =
        affected::find_affected(repository, &walked, &packs.bad, &mut lost, &findings, stop)?;
    let is_partial = options.snapshots.is_some();
    packs::report_missing(repository, &packs.missing, &needs, is_partial, &findings)?;
    check_memory(repository, &objects, &findings)?;
    Ok(findings.into_report())
}

/// Remembers which packs are damaged: the next backup stores what it sees of them again. One that was
/// read whole and is good, or is gone, is no suspect any more.
fn note_suspects(
    repository: &Repository,
    packs: &packs::Packs,
    refresh: &Refresh,
) -> Result<(), RepositoryError> {
    let index = repository.index();
    let mut suspects = index.suspects()?;
    suspects.retain(|id| refresh.packs.contains_key(id) && !packs.proven.contains(id));
    suspects.extend(&packs.damaged);
    Ok(index.set_suspects(&suspects)?)
}

/// The snapshots whose trees are walked.
fn selected<'s>(
    options: &CheckOptions,
    objects: &'s Objects,
    findings: &Findings<'_>,
) -> Vec<&'s (SnapshotId, Snapshot)> {
    let Some(wanted) = &options.snapshots else {
        return objects.snapshots.iter().collect();
    };
    for id in wanted {
        if !objects.listed.contains(id) {
            let hint = "`mrs-backup snapshots` lists those that are there";
            findings.error(&ObjectName::Snapshot(*id), "it is not in the repository", hint);
        }
    }
    objects.snapshots.iter().filter(|(id, _)| wanted.contains(id)).collect()
}

/// Compares what is listed with what this machine has seen before: a store (or whoever writes to it)
/// that takes back snapshots is found out.
fn check_memory(
    repository: &Repository,
    objects: &Objects,
    findings: &Findings<'_>,
) -> Result<(), RepositoryError> {
    let index = repository.index();
    let mut forgotten = Vec::new();
    for (id, instance, counter) in index.seen_snapshots()? {
        if objects.listed.contains(&id) {
            continue;
        }
        if objects.forgotten.contains(&id) {
            forgotten.push(id);
            continue;
        }
        let mut message = format!(
            "the store hides or lost this snapshot (number {counter} of `{instance}`), which this machine has seen"
        );
        if objects.has_damaged_receipts {
            message.push_str("; a damaged receipt may be the one that tells why");
        }
        let hint = "no receipt says that it was forgotten: find out who removed it, and look for it in another copy of the repository";
        findings.error(&ObjectName::Snapshot(id), message, hint);
    }
    index.unremember_snapshots(&forgotten)?;
    if !findings.has_errors() {
        let seen: Vec<_> = objects
            .snapshots
            .iter()
            .map(|(id, snapshot)| (*id, snapshot.instance.clone(), snapshot.counter))
            .collect();
        index.remember_snapshots(&seen)?;
    }
    Ok(())
}
