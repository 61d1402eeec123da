//! Prunes of small repositories in memory, with a store whose time is ours.

mod bases;
mod faults;
mod sessions;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::clock::FixedClock;
use crate::event::Silent;
use crate::id::SnapshotId;
use crate::ops::check::{CheckOptions, CheckReport, ReadData, check};
use crate::ops::forget::{ForgetNote, forget_snapshots};
use crate::ops::testing::{Tree, backup, dir, file, init, noise, open};
use crate::repository::Grouping;
use crate::store::{MemoryStore, ObjectKind, Store, list_all};

const HOUR: Duration = Duration::from_hours(1);

/// A repository whose store's clock stands still until told otherwise.
pub struct Rig {
    pub clock: Arc<FixedClock>,
    pub store: Arc<MemoryStore>,
    pub repository: Repository,
}

impl Rig {
    pub fn new() -> Self {
        let clock = Arc::new(FixedClock::new(Timestamp::from_second(1_700_000_000).unwrap()));
        let store = Arc::new(MemoryStore::with_clock(Arc::clone(&clock) as _));
        let repository = init(&store);
        Self { clock, store, repository }
    }

    /// Another one with the same objects, and the same clock.
    pub fn fork(&self) -> Self {
        let store = Arc::new(self.store.clone_store());
        let repository = open(&store).unwrap();
        Self { clock: Arc::clone(&self.clock), store, repository }
    }

    pub fn backup(&self, counter: u64, tree: &Tree) -> SnapshotId {
        self.clock.advance(HOUR);
        backup(&self.repository, counter, tree)
    }

    pub fn forget(&self, id: SnapshotId) {
        forget_snapshots(&self.repository, &[id], &ForgetNote::default(), &Silent).unwrap();
    }

    /// An hour later.
    pub fn prune(&self) -> (PruneSummary, PruneStats) {
        self.prune_with(&options())
    }

    pub fn prune_with(&self, options: &PruneOptions) -> (PruneSummary, PruneStats) {
        self.clock.advance(HOUR);
        done(try_prune(&self.repository, options).unwrap())
    }

    /// After the grace time.
    pub fn prune_later(&self) -> (PruneSummary, PruneStats) {
        self.clock.advance(GRACE);
        self.prune()
    }

    pub fn count(&self, kind: ObjectKind) -> usize {
        list_all(self.store.as_ref(), kind).unwrap().len()
    }

    pub fn pack_bytes(&self) -> u64 {
        list_all(self.store.as_ref(), ObjectKind::Pack).unwrap().iter().map(|info| info.size).sum()
    }

    #[track_caller]
    pub fn assert_clean(&self) {
        assert_clean(&self.repository);
        // And as a machine sees it that never saw it before.
        assert_clean(&open(&self.store).unwrap());
    }
}

pub fn options() -> PruneOptions {
    let ingest = IngestOptions { level: 1, sealers: NonZeroUsize::MIN, ..IngestOptions::default() };
    PruneOptions { ingest, ..PruneOptions::default() }
}

pub fn try_prune(
    repository: &Repository,
    options: &PruneOptions,
) -> Result<Pruned, RepositoryError> {
    prune(repository, options, &StopFlag::new(), &Silent, |_| Ok(true))
}

#[track_caller]
pub fn done(pruned: Pruned) -> (PruneSummary, PruneStats) {
    match pruned {
        Pruned::Done(summary, stats) => (summary, stats),
        other => panic!("{other:?}"),
    }
}

fn checked(repository: &Repository) -> CheckReport {
    let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
    check(repository, &options, &StopFlag::new(), &Silent).unwrap()
}

#[track_caller]
pub fn assert_clean(repository: &Repository) {
    let report = checked(repository);
    assert!(report.is_clean(), "{report:#?}");
}

/// Two files, of which `shared` is the same in every tree.
pub fn tree(n: u64) -> Tree {
    dir([("own", file(noise(n, 200_000))), ("shared", file(noise(1000, 100_000)))])
}

#[test]
fn what_nobody_needs_is_condemned_at_first_and_deleted_after_the_grace_time() {
    let rig = Rig::new();
    let old = rig.backup(1, &tree(1));
    let new = rig.backup(2, &tree(2));
    let (summary, stats) = rig.prune();
    assert!(summary.is_nothing(), "{summary:?}");
    assert_eq!((summary.snapshots, stats.condemned_packs), (2, 0));
    rig.forget(old);
    let before = rig.pack_bytes();

    let (summary, stats) = rig.prune();
    assert!(summary.condemn_packs > 0 && stats.deleted_packs == 0, "{summary:?}");
    assert_eq!(rig.count(ObjectKind::Condemned), 1);
    rig.assert_clean();

    // The repository's own clock says anything; the store's counts.
    rig.clock.advance(70 * HOUR);
    let (summary, _) = rig.prune();
    assert_eq!(summary.delete_packs, 0);
    assert!(matches!(summary.waiting[0].waits_for, WaitsFor::Grace(_)), "{summary:?}");

    let (summary, stats) = rig.prune_later();
    assert_eq!(
        (stats.deleted_packs, stats.deleted_bytes),
        (summary.delete_packs, summary.delete_bytes)
    );
    assert!(rig.pack_bytes() < before - 190_000, "{} of {before}", rig.pack_bytes());
    assert_eq!(rig.count(ObjectKind::Condemned), 0);
    assert_eq!(rig.count(ObjectKind::Session), 0);
    rig.assert_clean();
    let listed = rig.repository.snapshots().unwrap().snapshots;
    assert_eq!(listed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [new]);
    // Nothing is left to do, and nothing was: every tree was known.
    let (summary, _) = rig.prune();
    assert!(summary.is_nothing(), "{summary:?}");
    assert_eq!(rig.repository.index().packs().unwrap().len(), rig.count(ObjectKind::Pack));
}

#[test]
fn a_plan_that_is_not_accepted_changes_nothing() {
    let rig = Rig::new();
    let old = rig.backup(1, &tree(1));
    rig.backup(2, &tree(2));
    rig.forget(old);
    rig.clock.advance(HOUR);
    let before = rig.store.objects();
    let planned = prune(&rig.repository, &options(), &StopFlag::new(), &Silent, |summary| {
        assert!(summary.condemn_packs > 0);
        Ok::<_, RepositoryError>(false)
    });
    assert!(matches!(planned, Ok(Pruned::Planned(_))));
    assert_eq!(rig.store.objects(), before);
}

#[test]
fn an_empty_repository_is_pruned_of_everything() {
    let rig = Rig::new();
    assert!(rig.prune().0.is_nothing());
    let only = rig.backup(1, &tree(1));
    rig.forget(only);
    rig.prune();
    rig.prune_later();
    assert_eq!((rig.count(ObjectKind::Pack), rig.count(ObjectKind::Index)), (0, 0));
    rig.assert_clean();
    rig.backup(2, &tree(1));
    rig.assert_clean();
}

#[test]
fn only_new_trees_are_read() {
    let directory = |n: u64| {
        let entries = (0..50).map(|at| (NAMES[at], dir([("f", file(noise(at as u64, 100)))])));
        let mut entries: Vec<_> = entries.collect();
        entries[7].1 = dir([("f", file(noise(n, 100)))]);
        Tree::Dir(entries)
    };
    let mut rig = Rig::new();
    let state = tempfile::tempdir().unwrap();
    rig.repository = crate::ops::testing::open_at(&rig.store, state.path());
    rig.backup(1, &directory(100));
    let (summary, _) = rig.prune();
    assert_eq!((summary.trees, summary.trees_read), (51, 51));
    rig.backup(2, &directory(101));
    let (summary, _) = rig.prune();
    assert_eq!((summary.trees, summary.trees_read), (53, 2));
    let (summary, _) = rig.prune();
    assert_eq!((summary.trees, summary.trees_read), (53, 0));
}

const NAMES: [&str; 50] = [
    "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "b0", "b1", "b2", "b3", "b4", "b5",
    "b6", "b7", "b8", "b9", "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "d0", "d1",
    "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9", "e0", "e1", "e2", "e3", "e4", "e5", "e6", "e7",
    "e8", "e9",
];

/// Small chunks that share segments, of which `n` is the seed of every second one.
fn shared_segments(rig: &Rig, counter: u64, n: u64) -> SnapshotId {
    rig.clock.advance(HOUR);
    crate::ops::testing::backup_with(&rig.repository, counter, |ingest| {
        let mut stream = crate::repository::StreamBuilder::new();
        for at in 0..90_u64 {
            let seed = if at % 3 == 0 { at } else { at + 1000 * n };
            let class = crate::pack::PackClass::Data;
            let chunk = ingest.store_chunk(class, &noise(seed, 5000), Grouping::Shared).unwrap();
            stream.push(ingest, chunk).unwrap();
        }
        let mut node = crate::snapshot::Node::new("f", crate::snapshot::NodeKind::File);
        node.content = Some(stream.finish(ingest).unwrap());
        let root = dir([("f", Tree::Node(Box::new(node)))]);
        crate::ops::testing::store_tree(ingest, "", &root).content.unwrap()
    })
}

#[test]
fn segments_of_which_little_lives_are_rewritten() {
    let rig = Rig::new();
    let old = shared_segments(&rig, 1, 1);
    shared_segments(&rig, 2, 2);
    rig.forget(old);
    let unlimited = PruneOptions { max_unused: MaxUnused::Unlimited, ..options() };
    rig.clock.advance(HOUR);
    let planned = prune(&rig.repository, &unlimited, &StopFlag::new(), &Silent, |_| {
        Ok::<_, RepositoryError>(false)
    });
    let Ok(Pruned::Planned(summary)) = planned else { panic!("{planned:?}") };
    assert_eq!(summary.repack_packs, 0);
    assert!(summary.unused_bytes > 290_000, "{summary:?}");
    assert_eq!(summary.unused_bytes, summary.unused_bytes_after);

    let small = PruneOptions { max_repack_bytes: Some(10), ..options() };
    let planned = prune(&rig.repository, &small, &StopFlag::new(), &Silent, |_| {
        Ok::<_, RepositoryError>(false)
    });
    let Ok(Pruned::Planned(summary)) = planned else { panic!("{planned:?}") };
    assert_eq!(summary.repack_packs, 0);

    let (summary, stats) = rig.prune();
    assert!(stats.repacked_packs > 0, "{summary:?}");
    assert!(stats.stored_bytes < 250_000, "only what lives is written again: {stats:?}");
    rig.assert_clean();
    let (_, stats) = rig.prune_later();
    assert!(stats.deleted_bytes > 400_000, "{stats:?}");
    rig.assert_clean();
    let (summary, _) = rig.prune();
    assert!(summary.is_nothing(), "{summary:?}");
    assert!(summary.unused_bytes * 20 <= summary.used_bytes, "{summary:?}");
}

#[test]
fn many_small_index_objects_become_one() {
    let rig = Rig::new();
    for n in 0..20 {
        rig.backup(n + 1, &dir([("f", file(noise(n, 2000)))]));
    }
    assert_eq!(rig.count(ObjectKind::Index), 20);
    let (summary, stats) = rig.prune();
    assert_eq!((summary.merge_index_objects, stats.index_objects_deleted), (20, 20));
    assert_eq!(rig.count(ObjectKind::Index), 1);
    rig.assert_clean();
    assert!(rig.prune().0.is_nothing());
}

#[test]
fn without_grace_space_is_free_at_once_but_only_alone() {
    let rig = Rig::new();
    let old = rig.backup(1, &dir([("own", file(noise(1, 200_000)))]));
    rig.backup(2, &dir([("own", file(noise(2, 200_000)))]));
    rig.forget(old);
    rig.clock.advance(HOUR);
    let before = rig.pack_bytes();
    let other = open(&rig.store).unwrap();
    let session = other.begin_session("backup").unwrap();
    rig.clock.advance(HOUR);
    let yes = |_: &PruneSummary| Ok::<_, RepositoryError>(true);
    let refused =
        prune_now(&rig.repository, &options(), &StopFlag::new(), &Silent, yes).unwrap_err();
    assert!(refused.to_string().contains("backup on host"), "{refused}");
    assert_eq!(rig.pack_bytes(), before);
    session.end().unwrap();
    let pruned = prune_now(&rig.repository, &options(), &StopFlag::new(), &Silent, yes).unwrap();
    let (_, stats) = done(pruned);
    assert!(stats.deleted_bytes > 190_000, "{stats:?}");
    assert_eq!(rig.count(ObjectKind::Condemned), 0);
    rig.assert_clean();
}
