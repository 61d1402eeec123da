//! Cut, full, pruned meanwhile, copied by two at once.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::store::{
    ByteRange, Fault, Faulty, Location, ObjectInfo, StoreError, StoreErrorKind, Survey, Verb,
};

type Kill = fn(u64) -> Fault;
const KILLS: [Kill; 2] = [|call| Fault::KillBefore { call }, |call| Fault::KillAfter { call }];

/// What every reader must find at the copy at any time: each snapshot that is listed is whole.
#[track_caller]
fn assert_listed_snapshots_are_whole(target: &Arc<MemoryStore>, told: &str) {
    if !target.objects().contains_key(&ObjectName::Config) {
        return;
    }
    let copy = open_in(Arc::clone(target) as _).unwrap();
    let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
    let report = check(&copy, &options, &StopFlag::new(), &Silent).unwrap();
    assert!(report.is_clean(), "{told}: {report:?}");
}

#[test]
fn cut_at_every_call_of_the_target_it_goes_on() {
    for kill in KILLS {
        for call in 0.. {
            let mut rig = Rig::new();
            rig.night();
            rig.night();
            let faulty = Arc::new(Faulty::new(Arc::clone(&rig.target) as _, vec![kill(call)]));
            let target: Arc<dyn Store> = Arc::clone(&faulty) as _;
            let done = rig.try_copy_to(&target, &CopyOptions::default());
            if !faulty.is_dead() {
                done.unwrap();
                assert!(call > 15, "only {call} calls were tried");
                break;
            }
            let told = format!("killed at call {call}");
            assert!(done.is_err(), "{told}");
            assert_listed_snapshots_are_whole(&rig.target, &told);
            rig.night();
            let report = rig.copy_with(&CopyOptions::default());
            assert!(report.is_complete(), "{told}: {report:?}");
            assert_eq!(rig.snapshots_of_copy().len(), 3, "{told}");
            assert_listed_snapshots_are_whole(&rig.target, &told);
        }
    }
}

#[test]
fn cut_while_it_deletes_it_goes_on() {
    for kill in KILLS {
        for call in 0.. {
            let (rig, _) = Rig::with_forgotten();
            rig.copy();
            rig.clock.advance(31 * DAY);
            let faulty = Arc::new(Faulty::new(Arc::clone(&rig.target) as _, vec![kill(call)]));
            let target: Arc<dyn Store> = Arc::clone(&faulty) as _;
            let done = rig.try_copy_to(&target, &CopyOptions::default());
            let told = format!("killed at call {call}");
            if !faulty.is_dead() {
                done.unwrap();
                assert!(call > 5, "only {call} calls were tried");
                break;
            }
            assert_listed_snapshots_are_whole(&rig.target, &told);
            // The dead session expires.
            rig.clock.advance(8 * DAY);
            let report = rig.copy_with(&CopyOptions::default());
            assert!(report.findings.is_empty(), "{told}: {report:?}");
            assert_eq!(rig.snapshots_of_copy().len(), 1, "{told}");
            assert_eq!(report.kept, 0, "{told}: {report:?}");
            assert_listed_snapshots_are_whole(&rig.target, &told);
        }
    }
}

#[test]
fn a_full_target_loses_nothing_and_the_next_run_goes_on() {
    let mut rig = Rig::new();
    rig.night();
    let whole: u64 =
        list_all(rig.source.as_ref(), ObjectKind::Pack).unwrap().iter().map(|info| info.size).sum();
    for after_bytes in [0, 500, whole / 2, whole - 1, whole + 100] {
        let rig = Rig { target: Arc::new(MemoryStore::new()), ..fork(&rig) };
        let plan = vec![Fault::NoSpace { after_bytes }];
        let faulty = Arc::new(Faulty::new(Arc::clone(&rig.target) as _, plan));
        let target: Arc<dyn Store> = Arc::clone(&faulty) as _;
        let error = rig.try_copy_to(&target, &CopyOptions::default()).unwrap_err();
        let CopyError::Repository(RepositoryError::Store(error)) = error else { panic!("{error}") };
        assert_eq!(error.kind, StoreErrorKind::NoSpace);
        assert_listed_snapshots_are_whole(&rig.target, "full");
        faulty.reset(Vec::new());
        rig.try_copy_to(&target, &CopyOptions::default()).unwrap();
        assert_listed_snapshots_are_whole(&rig.target, "with room again");
        assert_eq!(rig.snapshots_of_copy().len(), 1);
    }
}

fn fork(rig: &Rig) -> Rig {
    let source = Arc::new(rig.source.clone_store());
    let repository = open_with(Arc::clone(&source) as _, &rig.clock);
    let holdings = Holdings::in_memory(repository.config().id).unwrap();
    let (clock, target) = (Arc::clone(&rig.clock), Arc::clone(&rig.target));
    Rig { clock, source, repository, target, holdings, nights: rig.nights }
}

#[test]
fn two_copies_at_once_end_well() {
    let mut rig = Rig::new();
    for _ in 0..3 {
        rig.night();
    }
    let other = fork(&rig);
    std::thread::scope(|scope| {
        let one = scope.spawn(|| rig.copy_with(&CopyOptions::default()));
        let two = scope.spawn(|| other.copy_with(&CopyOptions::default()));
        assert!(one.join().unwrap().is_complete());
        assert!(two.join().unwrap().is_complete());
    });
    rig.assert_copy_is_whole();
    assert_eq!(rig.snapshots_of_copy().len(), 3);
    assert_eq!(rig.copy().bytes, 0);
}

/// Passes calls on; before the `at`-th read of a pack it does something.
struct Meddling {
    inner: Arc<dyn Store>,
    reads: AtomicUsize,
    at: usize,
    act: Box<dyn Fn() + Send + Sync>,
    /// Nobody can publish this one here.
    barred: Option<ObjectName>,
}

impl std::fmt::Debug for Meddling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meddling")
    }
}

impl Store for Meddling {
    fn location(&self) -> &Location {
        self.inner.location()
    }
    fn connections(&self) -> NonZeroUsize {
        self.inner.connections()
    }
    fn create(&self) -> Result<(), StoreError> {
        self.inner.create()
    }
    fn survey(&self) -> Result<Survey, StoreError> {
        self.inner.survey()
    }
    fn put(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.inner.put(name, parts)
    }
    fn get(&self, name: &ObjectName, range: ByteRange) -> Result<Vec<u8>, StoreError> {
        let is_pack = name.kind() == ObjectKind::Pack;
        if is_pack && self.reads.fetch_add(1, Ordering::SeqCst) == self.at {
            (self.act)();
        }
        self.inner.get(name, range)
    }
    fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        self.inner.size(name)
    }
    fn list(
        &self,
        kind: ObjectKind,
        visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.inner.list(kind, visit)
    }
    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.inner.delete(name)
    }
    fn publish(&self, staged: &ObjectName, target: &ObjectName) -> Result<(), StoreError> {
        if self.barred == Some(*target) {
            let (kind, verb) = (StoreErrorKind::NotFound, Verb::Publish);
            return Err(self.location().error(kind, verb, Some(staged), "it is barred"));
        }
        self.inner.publish(staged, target)
    }
    fn sync(&self) -> Result<(), StoreError> {
        self.inner.sync()
    }
}

#[test]
fn a_source_that_is_pruned_meanwhile_is_copied_as_it_is_then() {
    for at in 0..4 {
        let mut rig = Rig::new();
        let first = rig.night();
        rig.night();
        rig.night();
        // Another process on the same store forgets and prunes, both halves, in the middle of the copy.
        let (store, clock) = (Arc::clone(&rig.source), Arc::clone(&rig.clock));
        let act = Box::new(move || {
            let pruning = Rig {
                repository: open_with(Arc::clone(&store) as _, &clock),
                source: Arc::clone(&store),
                clock: Arc::clone(&clock),
                target: Arc::new(MemoryStore::new()),
                holdings: Holdings::in_memory(crate::id::RepositoryId::new([0; 32])).unwrap(),
                nights: 0,
            };
            pruning.forget(first);
            pruning.prune();
        });
        let inner: Arc<dyn Store> = Arc::clone(&rig.source) as _;
        let meddling = Meddling { inner, reads: AtomicUsize::new(0), at, act, barred: None };
        rig.repository = open_with(Arc::new(meddling), &rig.clock);
        let report = rig.copy_with(&CopyOptions::default());
        assert!(report.is_complete(), "{report:?}");
        rig.assert_copy_is_whole();
        let copied = rig.snapshots_of_copy();
        assert!(copied.len() >= 2, "{copied:?}");
        rig.copy();
        rig.clock.advance(31 * DAY);
        rig.copy();
        rig.assert_copy_is_whole();
        assert_eq!(rig.snapshots_of_copy().len(), 2);
    }
}

#[test]
fn a_snapshot_whose_name_is_barred_there_is_held_back_and_told_alone() {
    let mut rig = Rig::new();
    let ids = [rig.night(), rig.night(), rig.night()];
    let inner: Arc<dyn Store> = Arc::clone(&rig.target) as _;
    let (reads, at, act) = (AtomicUsize::new(0), usize::MAX, Box::new(|| ()));
    let barred = Some(ObjectName::Snapshot(ids[1]));
    let target: Arc<dyn Store> = Arc::new(Meddling { inner, reads, at, act, barred });
    let Copied::Done(_, report) = rig.try_copy_to(&target, &CopyOptions::default()).unwrap() else {
        panic!("only planned");
    };
    assert!(!report.is_complete());
    assert_eq!((report.findings.len(), report.snapshots), (1, 2), "{report:?}");
    assert_eq!(report.findings[0].problem, Problem::HeldBack);
    assert!(report.findings[0].message.contains("taken for dead"), "{report:?}");
    rig.assert_copy_is_whole();
    // Later it comes as any other.
    rig.copy();
    assert_eq!(rig.snapshots_of_copy().len(), 3);
}
