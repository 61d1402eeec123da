//! Killed at any call of the store: nothing stored is lost, and the next run simply works.
//!
//! A run is repeated with the process "dying" at its first, second, third ... changing call, before or
//! after the call took effect, until a run gets through. After each death the store must
//! still open, every listed snapshot must restore, and another run must succeed.

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use mrs_backup::event::StopFlag;
use mrs_backup::ops::check::{CheckOptions, check};
use mrs_backup::repository::Repository;
use mrs_backup::store::{Fault, Faulty, MemoryStore, Store};
use support::{assert_same_tree, backup_of, fill_small, init, open, restore_into, silent, tree};

type Kill = fn(u64) -> Fault;

const KILLS: [(&str, Kill); 2] =
    [("before", |call| Fault::KillBefore { call }), ("after", |call| Fault::KillAfter { call })];

/// All listed snapshots restore, and `check` finds nothing wrong.
fn assert_sound(repository: &Repository, scratch: &Path, told: &str) {
    let listed = repository.snapshots().expect("snapshots are listed");
    assert!(listed.damaged.is_empty(), "{told}: damaged snapshots");
    for (id, snapshot) in &listed.snapshots {
        assert!(snapshot.is_complete, "{told}: an incomplete snapshot");
        let target = scratch.join(id.to_hex());
        restore_into(repository, *id, &target);
        fs::remove_dir_all(&target).expect("removed");
    }
    let options = CheckOptions::default();
    let report = check(repository, &options, &StopFlag::new(), &silent()).expect("a check");
    assert!(report.is_clean(), "{told}: {:?}", report.problems);
}

#[test]
fn init_killed_anywhere_can_be_repeated() {
    for (when, kill) in KILLS {
        for call in 0.. {
            let inner = Arc::new(MemoryStore::new());
            let faulty = Arc::new(Faulty::new(inner.clone(), vec![kill(call)]));
            let store: Arc<dyn Store> = faulty.clone();
            if init(&store, None).is_ok() && !faulty.is_dead() {
                assert!(call > 3, "only {call} calls were tried");
                break;
            }
            let store: Arc<dyn Store> = inner;
            let again = init(&store, None);
            let opened = open(&store, None);
            assert!(
                again.is_ok() || opened.is_ok(),
                "killed {when} call {call}: {:?} / {:?}",
                again.err().map(|error| error.to_string()),
                opened.err().map(|error| error.to_string())
            );
        }
    }
}

#[test]
fn backup_killed_anywhere_loses_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    fill_small(&data);
    for (when, kill) in KILLS {
        let mut deaths = 0;
        for call in 0.. {
            let state = tempfile::tempdir().expect("a directory");
            let inner = Arc::new(MemoryStore::new());
            let store: Arc<dyn Store> = inner.clone();
            let repository = init(&store, Some(state.path())).expect("a repository");
            backup_of(&repository, &data).expect("the first night");
            drop(repository);
            fs::write(data.join("today.log"), support::text(call + 100, 400_000)).expect("a file");

            let faulty = Arc::new(Faulty::new(inner.clone(), vec![kill(call)]));
            let broken: Arc<dyn Store> = faulty.clone();
            let survived = open(&broken, Some(state.path()))
                .ok()
                .is_some_and(|repository| backup_of(&repository, &data).is_ok());
            let told = format!("killed {when} call {call}");
            // With the index of the run that died, and with none at all.
            for state in [Some(state.path()), None] {
                let repository =
                    open(&store, state).unwrap_or_else(|error| panic!("{told}: {error}"));
                assert_sound(&repository, home.path(), &told);
                let next = backup_of(&repository, &data)
                    .unwrap_or_else(|error| panic!("{told}, next run: {error}"));
                let target = home.path().join("restored");
                restore_into(&repository, next.commit.id, &target);
                assert_same_tree(&tree(&data), &tree(&target.join("data")));
                fs::remove_dir_all(&target).expect("removed");
            }
            if survived && !faulty.is_dead() {
                break;
            }
            deaths += 1;
        }
        assert!(deaths > 8, "only {deaths} calls were tried");
    }
}

#[test]
fn a_full_store_loses_nothing_and_the_next_run_works() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    fill_small(&data);
    for room in [0u64, 1000, 40_000, 200_000, 700_000, 900_000] {
        let inner = Arc::new(MemoryStore::new());
        let store: Arc<dyn Store> = inner.clone();
        let repository = init(&store, None).expect("a repository");
        drop(repository);
        let faulty = Arc::new(Faulty::new(inner, vec![Fault::NoSpace { after_bytes: room }]));
        let full: Arc<dyn Store> = faulty;
        let repository = open(&full, None).expect("an open repository");
        let error = backup_of(&repository, &data).expect_err("a full store");
        assert!(error.to_string().contains("write"), "{error}");
        drop(repository);
        let repository = open(&store, None).expect("an open repository");
        assert_sound(&repository, home.path(), &format!("{room} bytes of room"));
        let next = backup_of(&repository, &data).expect("the next run");
        let target = home.path().join("restored");
        restore_into(&repository, next.commit.id, &target);
        assert_same_tree(&tree(&data), &tree(&target.join("data")));
        fs::remove_dir_all(&target).expect("removed");
    }
}
