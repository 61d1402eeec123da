//! Repairs of repositories in memory, damaged on purpose.

use std::sync::Arc;

use super::*;
use crate::event::{Silent, StopFlag};
use crate::id::{PackId, SnapshotId};
use crate::ops::browse::resolve;
use crate::ops::check::{CheckOptions, CheckReport, ReadData, check};
use crate::ops::prune::{EXPIRY, GRACE, PruneOptions, Pruned, prune};
use crate::ops::testing::{Tree, backup, dir, file, init, noise, open};
use crate::pack::PackClass;
use crate::repository::{Fetcher, IngestOptions, Repository, RepositoryError};
use crate::store::{MemoryStore, ObjectName, Store};

fn tree() -> Tree {
    dir([
        ("a", file(noise(1, 300_000))),
        ("b", dir([("c", file(noise(2, 900_000))), ("d", file(noise(3, 1000)))])),
    ])
}

fn checked(repository: &Repository) -> CheckReport {
    let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
    check(repository, &options, &StopFlag::new(), &Silent).unwrap()
}

fn packs(repository: &Repository, class: PackClass) -> Vec<PackId> {
    let rows = repository.index().packs().unwrap();
    rows.into_iter().filter(|row| row.class == class).map(|row| row.id).collect()
}

/// Flips a bit in a segment of a pack.
fn damage(store: &MemoryStore, pack: PackId) {
    let name = ObjectName::Pack(pack);
    let mut bytes = store.objects()[&name].clone();
    bytes[200] ^= 4;
    store.insert_raw(name, bytes);
}

fn repaired(repository: &Repository, copy: Option<&Repository>) -> PacksReport {
    let damaged = known_damage(repository).unwrap();
    let options = IngestOptions::default();
    repair_packs(repository, &damaged, copy, options, &StopFlag::new(), &Silent).unwrap()
}

fn names(repository: &Repository, id: &SnapshotId, path: &[u8]) -> bool {
    repository.refresh().unwrap();
    let fetcher = Fetcher::new(repository, 1 << 20);
    resolve(&fetcher, &repository.snapshot(id).unwrap(), path).is_ok()
}

#[test]
fn the_next_backup_of_the_same_data_heals_what_a_check_found() {
    let store = Arc::new(MemoryStore::new());
    let repository = init(&store);
    backup(&repository, 1, &tree());
    damage(&store, packs(&repository, PackClass::Data)[0]);
    assert!(!checked(&repository).affected.is_empty());
    // Nothing changed, and yet it is stored again; the old snapshot is whole with it.
    backup(&repository, 2, &tree());
    let report = checked(&repository);
    assert!(report.affected.is_empty(), "{report:#?}");
    // The damaged pack is freed in time, and then nothing is wrong any more.
    let options = PruneOptions { grace: std::time::Duration::ZERO, ..PruneOptions::default() };
    for _ in 0..2 {
        std::thread::sleep(std::time::Duration::from_millis(5));
        let yes = |_: &_| Ok::<_, RepositoryError>(true);
        let pruned = prune(&repository, &options, &StopFlag::new(), &Silent, yes).unwrap();
        assert!(matches!(pruned, Pruned::Done(..)));
    }
    let report = checked(&repository);
    assert!(report.is_clean(), "{report:#?}");
    assert!(repository.index().suspects().unwrap().is_empty());
    assert!(GRACE < EXPIRY);
}

#[test]
fn good_chunks_of_a_damaged_pack_are_salvaged() {
    let store = Arc::new(MemoryStore::new());
    let repository = init(&store);
    backup(&repository, 1, &tree());
    assert_eq!(known_damage(&repository).unwrap(), []);
    let pack = packs(&repository, PackClass::Data)[0];
    damage(&store, pack);
    checked(&repository);
    assert_eq!(known_damage(&repository).unwrap(), [pack]);
    let report = repaired(&repository, None);
    assert_eq!((report.packs, report.lost_chunks), (1, 1), "{report:?}");
    let chunks = repository.index().segments_of(&pack).unwrap().len() as u64;
    assert_eq!(report.salvaged_chunks, chunks - 1, "{report:?}");
    // Once more changes nothing.
    let again = repaired(&repository, None);
    assert_eq!((again.salvaged_chunks, again.lost_chunks), (0, 1), "{again:?}");
    let affected = checked(&repository).affected;
    assert_eq!(affected[0].total, 1, "{affected:?}");
}

#[test]
fn a_copy_heals_what_is_damaged_or_missing() {
    for is_missing in [false, true] {
        let store = Arc::new(MemoryStore::new());
        let repository = init(&store);
        let id = backup(&repository, 1, &tree());
        let copy = open(&Arc::new(store.clone_store())).unwrap();
        for pack in packs(&repository, PackClass::Data) {
            if is_missing {
                store.delete(&ObjectName::Pack(pack)).unwrap();
            } else {
                damage(&store, pack);
            }
        }
        checked(&repository);
        let report = repaired(&repository, Some(&copy));
        assert!(report.healed_chunks > 0 && report.lost_chunks == 0, "{report:?}");
        assert!(checked(&repository).affected.is_empty());
        // A damaged snapshot object comes back, too.
        let name = ObjectName::Snapshot(id);
        let good = store.objects()[&name].clone();
        store.insert_raw(name, good[..100].to_vec());
        let stop = StopFlag::new();
        let plan = plan_snapshots(&repository, Some(&copy), &stop, &Silent).unwrap();
        assert_eq!(plan.repairs[0].remedy, Remedy::CopyBack);
        let options = IngestOptions::default();
        let done = apply_snapshots(&repository, &plan, Some(&copy), options, &stop, &Silent);
        assert_eq!(done.unwrap().copied_back, 1);
        assert_eq!(store.objects()[&name], good);
    }
}

#[test]
fn what_is_lost_is_taken_out_of_snapshots_by_name() {
    let store = Arc::new(MemoryStore::new());
    let repository = init(&store);
    let whole = backup(&repository, 1, &dir([("z", file(noise(9, 200_000)))]));
    let id = backup(&repository, 2, &tree());
    let data = packs(&repository, PackClass::Data);
    let lost = *data.iter().find(|pack| holds(&repository, pack, &noise(1, 64 << 10))).unwrap();
    damage(&store, lost);
    checked(&repository);
    repaired(&repository, None);
    let stop = StopFlag::new();
    let plan = plan_snapshots(&repository, None, &stop, &Silent).unwrap();
    assert_eq!((plan.snapshots, plan.repairs.len()), (2, 1));
    let Remedy::Replace { lost: 1, paths } = &plan.repairs[0].remedy else { panic!("{plan:?}") };
    let gone = paths[0].clone().into_bytes();
    let options = IngestOptions::default();
    let report = apply_snapshots(&repository, &plan, None, options, &stop, &Silent).unwrap();
    let (old, new) = report.replaced[0];
    assert_eq!(old, id);
    let listed = repository.snapshots().unwrap().snapshots;
    assert_eq!(listed.len(), 2);
    let (_, snapshot) = listed.iter().find(|(id, _)| *id == new).unwrap();
    assert!(!snapshot.is_complete);
    assert!(!names(&repository, &new, &gone));
    assert!(names(&repository, &new, b"b/d") && names(&repository, &whole, b"z"));
    let report = checked(&repository);
    assert!(report.affected.is_empty(), "{report:#?}");
    assert!(plan_snapshots(&repository, None, &stop, &Silent).unwrap().repairs.is_empty());
}

/// Whether a pack holds this chunk.
fn holds(repository: &Repository, pack: &PackId, bytes: &[u8]) -> bool {
    let id = repository.keyring().chunk_id(bytes);
    let segments = repository.index().segments_of(pack).unwrap();
    segments.iter().flat_map(|segment| &segment.chunks).any(|chunk| chunk.id == id)
}

#[test]
fn a_snapshot_of_which_nothing_is_left_is_dropped_and_said_so() {
    let store = Arc::new(MemoryStore::new());
    let repository = init(&store);
    let id = backup(&repository, 1, &tree());
    let broken = backup(&repository, 2, &dir([("y", file(noise(8, 1000)))]));
    for pack in packs(&repository, PackClass::Tree) {
        store.delete(&ObjectName::Pack(pack)).unwrap();
    }
    store.insert_raw(ObjectName::Snapshot(broken), vec![1, 2, 3]);
    let stop = StopFlag::new();
    let plan = plan_snapshots(&repository, None, &stop, &Silent).unwrap();
    assert!(plan.repairs.iter().all(|repair| matches!(repair.remedy, Remedy::Drop { .. })));
    let options = IngestOptions::default();
    let report = apply_snapshots(&repository, &plan, None, options, &stop, &Silent).unwrap();
    let mut dropped = report.dropped;
    dropped.sort_unstable();
    let mut expected = vec![id, broken];
    expected.sort_unstable();
    assert_eq!(dropped, expected);
    assert_eq!(repository.receipts().unwrap().len(), 2);
}
