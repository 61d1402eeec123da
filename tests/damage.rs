//! Every object of a small repository damaged in every way: a check names it, never panics, and
//! tells which snapshots and paths are lost.

#[path = "../src/ops/testing.rs"]
#[expect(dead_code, reason = "some of it is for the unit tests only")]
mod testing;

use std::collections::BTreeMap;
use std::sync::Arc;

use mrs_backup::crypto::envelope::{self, SealedKind};
use mrs_backup::crypto::random::SystemRandom;
use mrs_backup::crypto::secret::Secret;
use mrs_backup::crypto::slot::{Credential, KdfCost};
use mrs_backup::event::{Event, Recorder, StopFlag};
use mrs_backup::id::{ObjectId, PackId, SnapshotId};
use mrs_backup::ops::check::{CheckOptions, CheckReport, ReadData, Severity, check};
use mrs_backup::pack::PackClass;
use mrs_backup::repository::Repository;
use mrs_backup::snapshot::{CondemnedRecord, ReceiptRecord};
use mrs_backup::store::{MemoryStore, ObjectKind, ObjectName, Store};
use sha2::{Digest, Sha256};
use testing::{backup, dir, file, init, noise, open};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    /// One bit in the middle.
    Flip,
    /// One bit at this distance from the end (of a pack: in trailer or directory), or in the header.
    FlipAtEnd(usize),
    FlipInHeader,
    Halve,
    Empty,
    Grow,
    Delete,
    /// The bytes of another object of its kind.
    Swap,
}

const ALL: [Damage; 9] = [
    Damage::Flip,
    Damage::FlipAtEnd(1),
    Damage::FlipAtEnd(70),
    Damage::FlipInHeader,
    Damage::Halve,
    Damage::Empty,
    Damage::Grow,
    Damage::Delete,
    Damage::Swap,
];

fn run_check(repository: &Repository, read_data: ReadData) -> CheckReport {
    let options = CheckOptions { read_data, snapshots: None };
    let recorder = Recorder::default();
    let report = check(repository, &options, &StopFlag::new(), &recorder).unwrap();
    let told = recorder.events();
    let failed = told.iter().filter(|event| matches!(event, Event::ItemFailed { .. })).count();
    assert_eq!(failed as u64, report.errors, "every error is told as it is found");
    report
}

fn put_condemned(repository: &Repository, pack: u8) {
    let packs = vec![PackId::new([pack; 32])];
    let record = CondemnedRecord { packs, time: 0, host: "host".to_owned() };
    let keyring = repository.keyring();
    let bytes = envelope::seal(keyring, SealedKind::Condemned, &record, &SystemRandom).unwrap();
    let id = ObjectId::new(Sha256::digest(&bytes).into());
    repository.store().put(&ObjectName::Condemned(id), &[&bytes]).unwrap();
}

fn put_receipt(repository: &Repository, kind: &str) {
    let receipt = ReceiptRecord {
        kind: kind.to_owned(),
        time: 0,
        instance: "app".to_owned(),
        host: "host".to_owned(),
        result: "ok".to_owned(),
        snapshot: None,
        details: BTreeMap::new(),
        forgotten: Vec::new(),
    };
    repository.put_receipt(&receipt).unwrap();
}

/// Two objects or more of every kind but the config.
fn sample() -> (Arc<MemoryStore>, Repository, [SnapshotId; 2]) {
    let store = Arc::new(MemoryStore::new());
    let repository = init(&store);
    let first = dir([("a", file(noise(1, 200_000))), ("d", dir([("x", file("small"))]))]);
    let second = dir([
        ("a", file(noise(1, 200_000))),
        ("d", dir([("y", file(noise(2, 200_000)))])),
        ("e", dir([])),
    ]);
    let ids = [backup(&repository, 1, &first), backup(&repository, 2, &second)];
    let other = Credential::KeyFile(Secret::new(vec![9; 32]));
    repository.add_key(&other, KdfCost::default(), "other").unwrap();
    put_receipt(&repository, "run");
    put_receipt(&repository, "check");
    put_condemned(&repository, 1);
    put_condemned(&repository, 2);
    // A writer that dies leaves its session.
    drop(repository.begin_session("died").unwrap());
    (store, repository, ids)
}

/// The damaged bytes of an object, or `None` if this damage does nothing to it.
fn damaged(
    objects: &BTreeMap<ObjectName, Vec<u8>>,
    name: &ObjectName,
    damage: Damage,
) -> Option<Vec<u8>> {
    let mut bytes = objects[name].clone();
    let len = bytes.len();
    match damage {
        Damage::Flip => bytes[len / 2] ^= 1,
        Damage::FlipAtEnd(distance) => bytes[len.checked_sub(distance)?] ^= 0x80,
        Damage::FlipInHeader => bytes[20] ^= 4,
        Damage::Halve => bytes.truncate(len / 2),
        Damage::Empty => bytes.clear(),
        Damage::Grow => bytes.push(0),
        Damage::Delete => bytes.clear(),
        Damage::Swap => {
            let of_kind = |other: &&ObjectName| {
                // Of packs, one of the same length is the worst.
                *other != name && other.kind() == name.kind()
            };
            bytes = objects[objects.keys().find(of_kind)?].clone();
        }
    }
    Some(bytes)
}

fn apply(store: &MemoryStore, name: ObjectName, damage: Damage, bytes: Vec<u8>) {
    if damage == Damage::Delete {
        store.delete(&name).unwrap();
    } else {
        store.insert_raw(name, bytes);
    }
}

/// How loudly a check must name the object.
fn expected(
    repository: &Repository,
    name: &ObjectName,
    damage: Damage,
    is_fresh: bool,
    read_data: ReadData,
    is_data: bool,
) -> Option<Severity> {
    let is_deleted = damage == Damage::Delete;
    match name {
        ObjectName::Receipt(_) | ObjectName::Condemned(_) | ObjectName::Session { .. }
            if is_deleted =>
        {
            None
        }
        ObjectName::Receipt(_) | ObjectName::Condemned(_) | ObjectName::Session { .. } => {
            Some(Severity::Warning)
        }
        ObjectName::Key(id) if is_deleted && *id != repository.slot() => None,
        // A machine that never saw the snapshot cannot miss it.
        ObjectName::Snapshot(_) if is_deleted && is_fresh => None,
        ObjectName::Pack(_) if is_data && read_data == ReadData::None && damage == Damage::Flip => {
            None
        }
        _ => Some(Severity::Error),
    }
}

/// Whether a problem of that severity names the object.
fn is_named(report: &CheckReport, name: &ObjectName, severity: Severity) -> bool {
    let path = name.path();
    report
        .problems
        .iter()
        .any(|p| p.severity == severity && (p.object == path || p.message.contains(&path)))
}

fn is_data_pack(repository: &Repository, name: &ObjectName) -> bool {
    let rows = repository.index().packs().unwrap();
    rows.iter().any(|row| ObjectName::Pack(row.id) == *name && row.class == PackClass::Data)
}

/// Checks one damaged repository, as a machine that knew it before or as one that did not.
fn check_case(repository: &Repository, name: &ObjectName, damage: Damage, is_fresh: bool) {
    for read_data in [ReadData::None, ReadData::All] {
        let is_data = is_data_pack(repository, name);
        let report = run_check(repository, read_data);
        let case = format!("{damage:?} {name} fresh={is_fresh} {read_data:?}: {report:#?}");
        let wanted = expected(repository, name, damage, is_fresh, read_data, is_data);
        match wanted {
            // Only a machine that had loaded it can name it, and only once; then what is missing tells.
            Some(_)
                if name.kind() == ObjectKind::Index
                    && damage == Damage::Delete
                    && (is_fresh || read_data == ReadData::All) =>
            {
                let hint = "index rebuild --from-packs";
                assert!(report.errors > 0, "{case}");
                assert!(report.problems.iter().any(|p| p.hint.contains(hint)), "{case}");
            }
            Some(severity) => assert!(is_named(&report, name, severity), "{case}"),
            None => assert!(!is_named(&report, name, Severity::Error), "{case}"),
        }
        if wanted != Some(Severity::Error) {
            assert_eq!(report.errors, 0, "{case}");
        }
        let is_needed = name.kind() == ObjectKind::Pack && wanted == Some(Severity::Error);
        let breaks = matches!(damage, Damage::Halve | Damage::Empty | Damage::Delete);
        if is_needed && breaks {
            assert!(!report.affected.is_empty(), "{case}");
        }
        if name.kind() != ObjectKind::Pack && name.kind() != ObjectKind::Index {
            assert!(report.affected.is_empty(), "{case}");
        }
    }
}

#[test]
fn every_damage_is_found_and_named() {
    let (store, repository, _) = sample();
    let report = run_check(&repository, ReadData::All);
    assert!(report.is_clean(), "{:#?}", report.problems);
    let objects = store.objects();
    let mut cases = 0;
    for name in objects.keys() {
        for damage in ALL {
            let Some(bytes) = damaged(&objects, name, damage) else { continue };
            let is_beat = matches!(name, ObjectName::Session { .. });
            if is_beat && damage == Damage::Swap {
                continue;
            }
            cases += 1;
            let clone = Arc::new(store.clone_store());
            apply(&clone, *name, damage, bytes.clone());
            match open(&clone) {
                Ok(fresh) => {
                    fresh.refresh_for_check().unwrap();
                    check_case(&fresh, name, damage, true);
                }
                // Nothing can be checked without config or keys; the error must say so.
                Err(error) => {
                    let text = error.to_string();
                    let kind = name.kind();
                    assert!(matches!(kind, ObjectKind::Config | ObjectKind::Key), "{text}");
                    assert!(text.contains(kind.directory()) || text.contains("key slot"), "{text}");
                }
            }
            apply(&store, *name, damage, bytes);
            check_case(&repository, name, damage, false);
            store.insert_raw(*name, objects[name].clone());
        }
    }
    assert!(cases > 120, "{cases}");
    let report = run_check(&repository, ReadData::All);
    assert!(report.is_clean(), "all is as it was: {:#?}", report.problems);
}

/// The data packs written by one of the backups.
fn data_packs(repository: &Repository) -> Vec<PackId> {
    let rows = repository.index().packs().unwrap();
    rows.iter().filter(|row| row.class == PackClass::Data).map(|row| row.id).collect()
}

#[test]
fn the_paths_that_are_lost_are_named_by_snapshot() {
    let store = Arc::new(MemoryStore::new());
    let repository = init(&store);
    let tree = |y: u64| {
        dir([
            ("a", file(noise(1, 100_000))),
            ("d", dir([("y", file(noise(y, 100_000))), ("z\n", file(noise(y, 100_000)))])),
        ])
    };
    let first = backup(&repository, 1, &dir([("a", file(noise(1, 100_000)))]));
    let old = data_packs(&repository);
    let second = backup(&repository, 2, &tree(2));
    let new: Vec<PackId> =
        data_packs(&repository).into_iter().filter(|id| !old.contains(id)).collect();
    let objects = store.objects();
    let lost = [
        (old[0], vec![(first, vec!["a"]), (second, vec!["a"])]),
        (new[0], vec![(second, vec!["d/y", "d/z\\x0a"])]),
    ];
    for (pack, affected) in lost {
        let name = ObjectName::Pack(pack);
        for damage in [Damage::Halve, Damage::Empty, Damage::Delete, Damage::Swap, Damage::Flip] {
            // Half of a pack still holds its first segments: every file here has one in the rest.
            apply(&store, name, damage, damaged(&objects, &name, damage).unwrap());
            let report = run_check(&repository, ReadData::All);
            let found: Vec<(SnapshotId, Vec<&str>)> = report
                .affected
                .iter()
                .map(|one| (one.id, one.paths.iter().map(String::as_str).collect()))
                .collect();
            assert_eq!(found, affected, "{damage:?}");
            assert!(report.affected.iter().all(|one| one.total as usize == one.paths.len()));
            store.insert_raw(name, objects[&name].clone());
        }
    }
    assert!(run_check(&repository, ReadData::All).is_clean());
}

#[test]
fn a_chunk_with_another_good_place_is_not_lost() {
    let (store, repository, _) = sample();
    // The same content stored twice: the second writer saw none of the index.
    let objects = store.objects();
    for name in objects.keys().filter(|name| name.kind() == ObjectKind::Index) {
        store.delete(name).unwrap();
    }
    let fresh = open(&store).unwrap();
    backup(&fresh, 3, &dir([("a", file(noise(1, 200_000)))]));
    let second = data_packs(&fresh);
    for (name, bytes) in objects.iter().filter(|(name, _)| name.kind() == ObjectKind::Index) {
        store.insert_raw(*name, bytes.clone());
    }
    store.delete(&ObjectName::Pack(second[0])).unwrap();
    let report = run_check(&open(&store).unwrap(), ReadData::All);
    assert!(report.affected.is_empty(), "{:#?}", report.affected);
    assert_eq!((report.errors, report.warnings), (0, 1), "{:#?}", report.problems);
    drop(repository);
}

#[test]
fn a_missing_directory_stands_for_all_below_it() {
    let (store, repository, ids) = sample();
    let trees: Vec<_> = repository
        .index()
        .packs()
        .unwrap()
        .into_iter()
        .filter(|row| row.class == PackClass::Tree)
        .collect();
    for row in trees {
        store.delete(&ObjectName::Pack(row.id)).unwrap();
    }
    let report = run_check(&repository, ReadData::None);
    let affected: Vec<_> =
        report.affected.iter().map(|one| (one.id, one.paths.clone(), one.total)).collect();
    assert_eq!(affected, ids.map(|id| (id, vec!["/".to_owned()], 1)));
}
