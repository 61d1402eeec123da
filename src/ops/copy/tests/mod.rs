//! Copies between stores in memory.

mod deletions;
mod faults;
mod oddities;
mod trips;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::clock::FixedClock;
use crate::crypto::SystemRandom;
use crate::event::Silent;
use crate::id::SnapshotId;
use crate::ops::check::{CheckOptions, ReadData, check};
use crate::ops::forget::{ForgetNote, forget_snapshots};
use crate::ops::prune::{PruneOptions, prune};
use crate::ops::testing::{Tree, backup, credential, dir, file, init, noise, open_in};
use crate::repository::Environment;
use crate::store::{MemoryStore, ObjectKind, list_all};

const DAY: Duration = Duration::from_hours(24);

/// A repository, a place for its copy, and what is known of that; all times are ours.
struct Rig {
    clock: Arc<FixedClock>,
    source: Arc<MemoryStore>,
    repository: Repository,
    target: Arc<MemoryStore>,
    holdings: Holdings,
    nights: u64,
}

fn open_with(store: Arc<dyn Store>, clock: &Arc<FixedClock>) -> Repository {
    let environment = Environment {
        clock: Arc::clone(clock) as _,
        random: Arc::new(SystemRandom),
        host: "host".to_owned(),
        state_dir: None,
    };
    Repository::open(store, &credential(), environment).unwrap()
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(FixedClock::new(Timestamp::from_second(1_700_000_000).unwrap()));
        let source = Arc::new(MemoryStore::with_clock(Arc::clone(&clock) as _));
        init(&source);
        let repository = open_with(Arc::clone(&source) as _, &clock);
        let target = Arc::new(MemoryStore::with_clock(Arc::clone(&clock) as _));
        let holdings = Holdings::in_memory(repository.config().id).unwrap();
        Self { clock, source, repository, target, holdings, nights: 0 }
    }

    /// One with some nights, copied.
    fn copied(nights: u64) -> Self {
        let mut rig = Self::new();
        for _ in 0..nights {
            rig.night();
        }
        rig.copy();
        rig
    }

    /// One with two nights, copied, of which the first was then forgotten and pruned.
    fn with_forgotten() -> (Self, SnapshotId) {
        let mut rig = Self::new();
        let first = rig.night();
        rig.night();
        rig.copy();
        rig.forget(first);
        rig.prune();
        (rig, first)
    }

    /// Another snapshot, with content of its own and some of the night before.
    fn night(&mut self) -> SnapshotId {
        self.clock.advance(DAY);
        self.nights += 1;
        backup(&self.repository, self.nights, &tree(self.nights))
    }

    fn try_copy(&self, options: &CopyOptions) -> Result<Copied, CopyError> {
        let target: Arc<dyn Store> = Arc::clone(&self.target) as _;
        self.try_copy_to(&target, options)
    }

    fn try_copy_to(
        &self,
        target: &Arc<dyn Store>,
        options: &CopyOptions,
    ) -> Result<Copied, CopyError> {
        let stop = StopFlag::new();
        copy(&self.repository, target, &self.holdings, options, (&stop, &Silent), |_| Ok(true))
    }

    #[track_caller]
    fn copy_with(&self, options: &CopyOptions) -> CopyReport {
        match self.try_copy(options).unwrap() {
            Copied::Done(_, report) => report,
            Copied::Planned(plan) => panic!("only planned: {plan:?}"),
        }
    }

    #[track_caller]
    fn copy(&self) -> CopyReport {
        let report = self.copy_with(&CopyOptions::default());
        assert!(report.is_complete(), "{report:?}");
        report
    }

    fn forget(&self, id: SnapshotId) {
        forget_snapshots(&self.repository, &[id], &ForgetNote::default(), &Silent).unwrap();
    }

    /// Both halves of a prune of the source.
    fn prune(&self) {
        for _ in 0..2 {
            self.clock.advance(4 * DAY);
            let options = PruneOptions::default();
            prune(&self.repository, &options, &StopFlag::new(), &Silent, |_| {
                Ok::<_, RepositoryError>(true)
            })
            .unwrap();
        }
    }

    fn snapshots_of_copy(&self) -> Vec<SnapshotId> {
        let mut ids: Vec<_> = self
            .target
            .objects()
            .into_keys()
            .filter_map(|name| match name {
                ObjectName::Snapshot(id) => Some(id),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        ids
    }

    fn first_pack(&self, store: &MemoryStore) -> ObjectName {
        list_all(store, ObjectKind::Pack).unwrap().into_iter().map(|info| info.name).min().unwrap()
    }

    /// The copy, as a machine sees it that never saw it before, has everything its snapshots need.
    #[track_caller]
    fn assert_copy_is_whole(&self) {
        assert_whole(&self.target);
    }
}

#[track_caller]
fn assert_whole(store: &Arc<MemoryStore>) {
    let copy = open_in(Arc::clone(store) as _).unwrap();
    let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
    let report = check(&copy, &options, &StopFlag::new(), &Silent).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let left = list_all(store.as_ref(), ObjectKind::Session).unwrap();
    assert!(left.is_empty(), "a session is left: {left:?}");
}

fn tree(night: u64) -> Tree {
    dir([
        ("new", file(noise(night, 300_000))),
        ("old", file(noise(night / 2 + 1_000, 200_000))),
        ("same", file(noise(7, 100_000))),
    ])
}

#[test]
fn a_copy_opens_and_restores_by_itself_and_a_second_one_has_nothing_to_do() {
    let rig = Rig::copied(3);
    rig.assert_copy_is_whole();
    let kinds = [ObjectKind::Key, ObjectKind::Pack, ObjectKind::Index, ObjectKind::Snapshot];
    for kind in kinds {
        let of = |store: &MemoryStore| {
            let mut all = list_all(store, kind).unwrap();
            all.iter_mut().for_each(|info| info.modified = None);
            all.sort_by_key(|info| info.name);
            all
        };
        assert_eq!(of(&rig.target), of(&rig.source), "{kind:?}");
    }
    let again = rig.copy();
    let put = (again.packs, again.small_objects, again.snapshots, again.bytes);
    assert_eq!(put, (0, 0, 0, 0));
    assert!(again.sampled > 0);
    assert!(rig.holdings.stamp().unwrap().copied.is_some());
}

#[test]
fn another_night_adds_only_what_is_new() {
    let mut rig = Rig::copied(2);
    let before = list_all(rig.source.as_ref(), ObjectKind::Pack).unwrap().len();
    let id = rig.night();
    let after = list_all(rig.source.as_ref(), ObjectKind::Pack).unwrap().len();
    let report = rig.copy();
    assert_eq!(report.packs, (after - before) as u64);
    assert_eq!(report.snapshots, 1);
    assert!(rig.snapshots_of_copy().contains(&id));
    rig.assert_copy_is_whole();
}

#[test]
fn a_dry_run_writes_nothing() {
    let mut rig = Rig::new();
    rig.night();
    let options = CopyOptions { dry_run: true, ..CopyOptions::default() };
    let Copied::Planned(plan) = rig.try_copy(&options).unwrap() else { panic!("it copied") };
    assert!(plan.begins && plan.packs > 0 && plan.snapshots.len() == 1);
    assert!(rig.target.objects().is_empty());
    rig.copy();
    rig.night();
    let before = rig.target.objects();
    let Copied::Planned(plan) = rig.try_copy(&options).unwrap() else { panic!("it copied") };
    assert!(!plan.begins && plan.packs > 0 && plan.snapshots.len() == 1);
    assert_eq!(rig.target.objects(), before);
}

#[test]
fn a_lost_record_costs_one_listing_and_nothing_is_put_twice() {
    let mut rig = Rig::copied(2);
    rig.holdings = Holdings::in_memory(rig.repository.config().id).unwrap();
    let report = rig.copy();
    assert_eq!((report.packs, report.snapshots, report.bytes), (0, 0, 0));
    rig.assert_copy_is_whole();
}

#[test]
fn the_copy_can_be_copied_back() {
    let mut rig = Rig::copied(2);
    let lost = Arc::new(MemoryStore::new());
    let copy_of = open_with(Arc::clone(&rig.target) as _, &rig.clock);
    let holdings = Holdings::in_memory(copy_of.config().id).unwrap();
    let back: Arc<dyn Store> = Arc::clone(&lost) as _;
    let stop = StopFlag::new();
    let options = CopyOptions::default();
    copy(&copy_of, &back, &holdings, &options, (&stop, &Silent), |_| Ok::<_, CopyError>(true))
        .unwrap();
    assert_whole(&lost);
    assert_eq!(open_in(back).unwrap().snapshots().unwrap().snapshots.len(), 2);
    rig.night();
    rig.copy();
}
