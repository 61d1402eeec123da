//! What programs that simulate many nights share.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mrs_backup::clock::Clock;
use mrs_backup::crypto::Secret;
use mrs_backup::crypto::random::SeededRandom;
use mrs_backup::crypto::slot::Credential;
use mrs_backup::event::{Silent, StopFlag};
use mrs_backup::id::SnapshotId;
use mrs_backup::ops::backup::{BackupPlan, FilesInput, backup};
use mrs_backup::ops::forget::{ForgetNote, forget_snapshots};
use mrs_backup::ops::prune::{PruneOptions, PruneSummary, Pruned, prune};
use mrs_backup::ops::restore::{self, RestoreOptions};
use mrs_backup::repository::{
    Environment, IngestOptions, InitOptions, Repository, RepositoryError,
};
use mrs_backup::source::files::WalkOptions;
use mrs_backup::store::{MemoryStore, ObjectName, Recording, Verb};

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// A store in memory that counts, and a new repository in it.
pub fn repository(clock: Arc<dyn Clock>) -> Outcome<(Arc<Recording>, Repository)> {
    let store = Arc::new(Recording::new(Arc::new(MemoryStore::with_clock(Arc::clone(&clock)))));
    let environment = Environment {
        clock,
        random: Arc::new(SeededRandom::new(1)),
        host: "nightly".to_owned(),
        state_dir: None,
    };
    let key = Credential::KeyFile(Secret::new(vec![7; 32]));
    let repository =
        Repository::init(Arc::clone(&store) as _, &key, &InitOptions::default(), environment)?;
    Ok((store, repository))
}

pub fn back_up(repository: &Repository, root: &Path, ingest: IngestOptions) -> Outcome<()> {
    let plan = BackupPlan {
        instance: "nightly".to_owned(),
        tags: Vec::new(),
        files: vec![FilesInput {
            path: root.to_owned(),
            tree_path: b"data".to_vec(),
            options: Arc::new(WalkOptions::default()),
        }],
        streams: Vec::new(),
        ingest,
    };
    backup(repository, plan, &StopFlag::new(), &(Arc::new(Silent) as _))?;
    Ok(())
}

/// What a restore read: how often from packs, from how many of them, and bytes.
pub struct Reads {
    pub reads: usize,
    pub packs: usize,
    pub bytes: u64,
}

/// Restores the newest snapshot and counts.
pub fn restore_reads(repository: &Repository, store: &Recording) -> Outcome<Reads> {
    let stop = StopFlag::new();
    let listed = repository.snapshots()?.snapshots;
    let (id, snapshot) = listed.into_iter().next_back().ok_or("no snapshot")?;
    let target = tempfile::tempdir()?;
    let options = RestoreOptions::default();
    let plan = restore::plan(repository, id, snapshot, target.path(), options, &stop)?;
    store.clear();
    restore::apply(repository, &plan, &stop, &(Arc::new(Silent) as _))?;
    let calls = store.calls();
    let reads: Vec<_> = calls
        .iter()
        .filter(|call| call.verb == Verb::Get && matches!(call.object, Some(ObjectName::Pack(_))))
        .collect();
    let packs: BTreeSet<_> = reads.iter().filter_map(|call| call.object).collect();
    let bytes = reads.iter().map(|call| call.bytes).sum();
    Ok(Reads { reads: reads.len(), packs: packs.len(), bytes })
}

/// Forgets `ids` and prunes; gives the bytes that were written again.
pub fn forget_and_prune(repository: &Repository, ids: &[SnapshotId]) -> Outcome<u64> {
    forget_snapshots(repository, ids, &ForgetNote::default(), &Silent)?;
    let options = PruneOptions { grace: Duration::ZERO, ..PruneOptions::default() };
    let mut repacked = 0;
    // What the first condemns, the second deletes.
    for _ in 0..2 {
        let accept = |_: &PruneSummary| Ok::<_, RepositoryError>(true);
        let done = prune(repository, &options, &StopFlag::new(), &Silent, accept)?;
        let Pruned::Done(summary, _) = done else { return Err("nothing was pruned".into()) };
        repacked += summary.repack_bytes;
    }
    Ok(repacked)
}
