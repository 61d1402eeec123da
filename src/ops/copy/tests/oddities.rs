//! Places that are no copies; copies that lie; sources that are damaged.

use super::*;
use crate::ops::repair::repair_packs;
use crate::repository::IngestOptions;

/// That a pack is named by an index object and not there is worth a warning, if nothing needs it.
fn assert_nothing_is_lost(rig: &Rig) {
    let copy = open_with(Arc::clone(&rig.target) as _, &rig.clock);
    let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
    let report = check(&copy, &options, &StopFlag::new(), &Silent).unwrap();
    assert_eq!(report.errors, 0, "{report:?}");
}

fn problems(report: &CopyReport) -> Vec<Problem> {
    report.findings.iter().map(|finding| finding.problem).collect()
}

#[test]
fn another_repository_and_anything_else_are_refused() {
    let mut rig = Rig::new();
    rig.night();
    let other = Arc::new(MemoryStore::new());
    init(&other);
    let before = other.objects();
    let target: Arc<dyn Store> = Arc::clone(&other) as _;
    let error = rig.try_copy_to(&target, &CopyOptions::default()).unwrap_err();
    assert!(matches!(error, CopyError::Repository(RepositoryError::OtherRepository { .. })));
    assert_eq!(other.objects(), before);
    // Its key slots alone, as a killed `init` leaves them.
    let keys = Arc::new(MemoryStore::new());
    for (name, bytes) in before.iter().filter(|(name, _)| name.kind() == ObjectKind::Key) {
        keys.insert_raw(*name, bytes.clone());
    }
    let target: Arc<dyn Store> = Arc::clone(&keys) as _;
    let error = rig.try_copy_to(&target, &CopyOptions::default()).unwrap_err();
    assert!(error.to_string().contains("another repository"), "{error}");
    let error = rig.try_copy_to(rig.repository.store(), &CopyOptions::default()).unwrap_err();
    assert!(matches!(error, CopyError::Same { .. }), "{error}");
}

#[test]
fn a_directory_of_others_is_refused() {
    let rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("letter.txt"), "dear").unwrap();
    let target = crate::store::open_store(directory.path().to_str().unwrap()).unwrap();
    let error = rig.try_copy_to(&target, &CopyOptions::default()).unwrap_err();
    assert!(error.to_string().contains("letter.txt"), "{error}");
}

#[test]
fn a_copy_that_vanished_is_not_begun_anew_unasked() {
    let mut rig = Rig::copied(1);
    rig.target = Arc::new(MemoryStore::new());
    let error = rig.try_copy(&CopyOptions::default()).unwrap_err();
    assert!(matches!(error, CopyError::Vanished { .. }), "{error}");
    assert!(rig.target.objects().is_empty());
    let options = CopyOptions { start_over: true, ..CopyOptions::default() };
    assert!(rig.copy_with(&options).is_complete());
    rig.assert_copy_is_whole();
}

#[test]
fn an_emptied_source_is_never_mirrored() {
    let mut rig = Rig::new();
    let empty = rig.source.clone_store();
    rig.night();
    rig.copy();
    let before = rig.target.objects();
    rig.source = Arc::new(empty);
    rig.repository = open_with(Arc::clone(&rig.source) as _, &rig.clock);
    rig.clock.advance(100 * DAY);
    let error = rig.try_copy(&CopyOptions::default()).unwrap_err();
    assert!(matches!(error, CopyError::Emptied { snapshots: 1, .. }), "{error}");
    assert_eq!(rig.target.objects(), before);
}

#[test]
fn other_bytes_than_were_stored_are_found_and_mended() {
    let rig = Rig::copied(2);
    for (name, bytes) in rig.target.objects() {
        if !matches!(name.kind(), ObjectKind::Pack | ObjectKind::Index | ObjectKind::Snapshot) {
            continue;
        }
        let mut bad = bytes.clone();
        bad[bytes.len() / 2] ^= 1;
        rig.target.insert_raw(name, bad);
        let options = CopyOptions { sample: Sample::ALL, ..CopyOptions::default() };
        let report = rig.copy_with(&options);
        assert_eq!(problems(&report), [Problem::OtherBytes], "{name}");
        assert_eq!(report.findings[0].object, name.to_string());
        assert!(report.findings[0].mended && report.is_complete());
        assert_eq!(rig.target.objects()[&name], bytes);
        // Swapped with another of its kind: rightly sealed, wrongly named.
    }
    rig.assert_copy_is_whole();
}

#[test]
fn what_cannot_be_mended_is_told() {
    use crate::store::{Fault, Faulty};
    let rig = Rig::copied(1);
    let name = rig.first_pack(&rig.target);
    let options = CopyOptions { sample: Sample::ALL, ..CopyOptions::default() };
    for plan in [
        // It always comes back wrong.
        vec![Fault::FlipBit { object: name, bit: 100 }],
        vec![Fault::FlipBit { object: name, bit: 100 }, Fault::NoDeletes],
    ] {
        let faulty = Faulty::new(Arc::clone(&rig.target) as _, plan);
        let target: Arc<dyn Store> = Arc::new(faulty);
        let Copied::Done(_, report) = rig.try_copy_to(&target, &options).unwrap() else {
            panic!("only planned")
        };
        assert_eq!(problems(&report), [Problem::OtherBytes]);
        assert!(!report.is_complete(), "{report:?}");
        assert!(report.findings[0].message.contains("; "), "{report:?}");
    }
}

#[test]
fn dropped_and_renamed_objects_are_noticed_and_put_again() {
    let rig = Rig::copied(2);
    let whole = rig.target.objects();
    for (name, bytes) in &whole {
        let kind = name.kind();
        let is_listed = [ObjectKind::Key, ObjectKind::Index, ObjectKind::Snapshot].contains(&kind);
        if kind != ObjectKind::Pack && !is_listed {
            continue;
        }
        rig.target.delete(name).unwrap();
        // Packs are found missing by the sample or by a listing of everything, others at once.
        let sample = if is_listed { Sample::NONE } else { Sample::ALL };
        let report = rig.copy_with(&CopyOptions { sample, ..CopyOptions::default() });
        assert_eq!(problems(&report), [Problem::Dropped], "{name}");
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(rig.target.objects().get(name), Some(bytes), "{name}");
        if kind == ObjectKind::Pack {
            rig.target.delete(name).unwrap();
            let options =
                CopyOptions { audit: true, sample: Sample::NONE, ..CopyOptions::default() };
            let report = rig.copy_with(&options);
            assert_eq!(problems(&report), [Problem::Dropped], "{name}");
            assert_eq!(rig.target.objects().get(name), Some(bytes), "{name}");
        }
    }
    // One object's bytes under the name of another.
    let packs: Vec<_> = whole.iter().filter(|(name, _)| name.kind() == ObjectKind::Pack).collect();
    let (one, other) = (packs[0], packs[1]);
    rig.target.insert_raw(*one.0, other.1.clone());
    let options = CopyOptions { audit: true, sample: Sample::ALL, ..CopyOptions::default() };
    let report = rig.copy_with(&options);
    assert!(!report.findings.is_empty() && report.is_complete(), "{report:?}");
    assert_eq!(rig.target.objects()[one.0], *one.1);
}

#[test]
fn where_a_snapshot_was_dropped_packs_are_looked_for_too() {
    let rig = Rig::copied(2);
    let whole = rig.target.objects();
    // The whole store is put back to an older state: replayed.
    for name in whole.keys() {
        if matches!(name.kind(), ObjectKind::Pack | ObjectKind::Snapshot | ObjectKind::Index) {
            rig.target.delete(name).unwrap();
        }
    }
    let options = CopyOptions { sample: Sample::NONE, ..CopyOptions::default() };
    let report = rig.copy_with(&options);
    assert!(report.packs > 0 && report.is_complete(), "{report:?}");
    assert_eq!(rig.target.objects(), whole);
}

#[test]
fn a_snapshot_that_comes_back_is_told() {
    let mut rig = Rig::new();
    let first = rig.night();
    rig.night();
    rig.copy();
    let name = ObjectName::Snapshot(first);
    let bytes = rig.target.objects()[&name].clone();
    rig.forget(first);
    rig.copy();
    rig.clock.advance(31 * DAY);
    rig.copy();
    assert!(!rig.snapshots_of_copy().contains(&first));
    rig.target.insert_raw(name, bytes);
    let report = rig.copy_with(&CopyOptions::default());
    assert_eq!(problems(&report), [Problem::Returned]);
    assert_eq!(report.findings[0].object, name.to_string());
}

#[test]
fn what_is_damaged_at_the_source_is_not_copied_and_snapshots_that_need_it_wait() {
    let mut rig = Rig::copied(1);
    let before = rig.source.objects();
    let second = rig.night();
    let new: Vec<_> = rig
        .source
        .objects()
        .into_iter()
        .filter(|(name, _)| name.kind() == ObjectKind::Pack && !before.contains_key(name))
        .collect();
    for (name, bytes) in &new {
        let mut rig = Rig {
            target: Arc::new(rig.target.clone_store()),
            holdings: Holdings::in_memory(rig.repository.config().id).unwrap(),
            ..fork(&rig)
        };
        let mut bad = bytes.clone();
        bad[40] ^= 1;
        rig.source.insert_raw(*name, bad);
        let report = rig.copy_with(&CopyOptions::default());
        assert!(problems(&report).contains(&Problem::DamagedAtSource), "{report:?}");
        assert!(problems(&report).contains(&Problem::HeldBack), "{report:?}");
        assert!(!rig.target.objects().contains_key(name));
        assert!(!rig.snapshots_of_copy().contains(&second));
        assert_nothing_is_lost(&rig);
        // The next night sees the same data and stores it anew.
        rig.nights = 1;
        let third = rig.night();
        let report = rig.copy_with(&CopyOptions::default());
        assert!(rig.snapshots_of_copy().contains(&third), "{report:?}");
        assert_nothing_is_lost(&rig);
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
fn damage_at_the_source_never_reaches_what_the_copy_has_and_is_healed_from_it() {
    let rig = Rig::copied(2);
    let name = rig.first_pack(&rig.source);
    let good = rig.source.objects()[&name].clone();
    let mut bad = good.clone();
    bad[50] ^= 1;
    rig.source.insert_raw(name, bad);
    let options = CopyOptions { audit: true, sample: Sample::ALL, ..CopyOptions::default() };
    assert!(rig.copy_with(&options).is_complete());
    assert_eq!(rig.target.objects()[&name], good);
    let ObjectName::Pack(id) = name else { panic!("no pack") };
    let copy_of = open_with(Arc::clone(&rig.target) as _, &rig.clock);
    let ingest = IngestOptions { level: 1, ..IngestOptions::default() };
    let stop = StopFlag::new();
    let report =
        repair_packs(&rig.repository, &[id], Some(&copy_of), ingest, &stop, &Silent).unwrap();
    assert_eq!(report.lost_chunks, 0, "{report:?}");
}
