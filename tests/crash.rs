//! Killed at any call of the store: nothing stored is lost, and the next run simply works.
//!
//! A run is repeated with the process "dying" at its first, second, third ... changing call, before or
//! after the call took effect, until a run gets through. After each death the store must
//! still open, every listed snapshot must restore, and another run must succeed.

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use mrs_backup::store::{Fault, Faulty, MemoryStore, Store, StoreErrorKind};
use support::{
    assert_same_tree, assert_sound, backup_of, fill_small, init, open, restore_into, tree,
};

type Kill = fn(u64) -> Fault;

const KILLS: [(&str, Kill); 2] =
    [("before", |call| Fault::KillBefore { call }), ("after", |call| Fault::KillAfter { call })];

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

/// One night into a store that `faults` make full, then the night after into the same with more room.
/// Gives whether the first one came through.
fn full_night(home: &Path, number: u64, faults: Vec<Fault>) -> bool {
    let told = format!("{number}: {:?} ...", faults.first());
    let data = &home.join(number.to_string());
    fs::create_dir_all(data.join("sub")).expect("a directory");
    fs::write(data.join("sub/old"), support::text(number, 40_000)).expect("a file");
    let inner = Arc::new(MemoryStore::new());
    let store: Arc<dyn Store> = inner.clone();
    let repository = init(&store, None).expect("a repository");
    backup_of(&repository, data).expect("the first night");
    drop(repository);
    fs::write(data.join("today"), support::noise(number, 200_000)).expect("a file");
    let full: Arc<dyn Store> = Arc::new(Faulty::new(inner, faults));
    let repository = open(&full, None).expect("an open repository");
    let outcome = backup_of(&repository, data);
    drop(repository);
    if let Err(error) = &outcome {
        let is_told =
            ["no space", "planned fault"].iter().any(|word| error.to_string().contains(word));
        assert!(is_told, "{told}: {error}");
    }
    let repository = open(&store, None).expect("an open repository");
    assert_sound(&repository, home, &told);
    let next = backup_of(&repository, data).unwrap_or_else(|error| panic!("{told}, next: {error}"));
    let target = home.join("restored");
    restore_into(&repository, next.commit.id, &target);
    assert_same_tree(&tree(data), &tree(&target.join("data")));
    fs::remove_dir_all(&target).expect("removed");
    outcome.is_ok()
}

/// Full at every call that writes: at that one alone, and from that one on.
#[test]
fn a_store_full_at_any_write_loses_nothing_and_the_next_run_works() {
    let home = tempfile::tempdir().expect("a directory");
    let kind = StoreErrorKind::NoSpace;
    let mut nights = 0..;
    let mut night = |faults| full_night(home.path(), nights.next().expect("a number"), faults);
    for last in [0, 1000] {
        for call in 0.. {
            if night((call..=call + last).map(|call| Fault::Fail { call, kind }).collect()) {
                assert!(call > 8, "only {call} calls were tried");
                break;
            }
        }
    }
    for room in [0, 1000, 40_000, 150_000, 200_000] {
        assert!(!night(vec![Fault::NoSpace { after_bytes: room }]), "{room} bytes were enough");
    }
}
