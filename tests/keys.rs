//! Keys through the library: epochs, removals, and two people at once.

mod support;

use std::sync::Arc;

use mrs_backup::repository::{Repository, RepositoryError};
use mrs_backup::store::{Fault, Faulty, MemoryStore, ObjectKind, Store, list_all};
use support::{CHEAP, backup_of, environment, fill_small, init, open, password, restore_into};

fn open_with(store: &Arc<dyn Store>, text: &str) -> Result<Repository, RepositoryError> {
    Repository::open(Arc::clone(store), &password(text), environment(None))
}

#[test]
fn what_older_epochs_sealed_stays_readable_and_other_slots_go() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    fill_small(&data);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut repository = init(&store, None).expect("a repository");
    let first = backup_of(&repository, &data).expect("a backup");
    repository.add_key(&password("second"), CHEAP, "second").expect("a slot");
    repository = open(&store, None).expect("an open repository");
    let epoch = repository.rotate_keys(&password("new"), CHEAP, "new").expect("an epoch");
    assert_eq!(epoch, repository.keyring().current());
    for gone in ["secret", "second"] {
        let error = open_with(&store, gone).expect_err("a removed slot");
        assert!(matches!(error, RepositoryError::WrongPassword { .. }), "{error}");
    }
    let repository = open_with(&store, "new").expect("an open repository");
    std::fs::write(data.join("later.txt"), support::text(9, 50_000)).expect("a file");
    let second = backup_of(&repository, &data).expect("a backup");
    assert!(second.stats.known_chunks > 0, "deduplication goes on over epochs");
    for (number, id) in [first.commit.id, second.commit.id].into_iter().enumerate() {
        restore_into(&repository, id, &home.path().join(format!("restored-{number}")));
    }
}

#[test]
fn two_people_who_remove_each_other_leave_a_slot() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let one = init(&store, None).expect("a repository");
    let id = one.add_key(&password("other"), CHEAP, "other").expect("a slot");
    let other = open_with(&store, "other").expect("an open repository");
    let third = one.add_key(&password("third"), CHEAP, "third").expect("a slot");
    other.remove_key(one.slot()).expect("removed");
    // The slot `one` was opened with is gone now; it removes the other all the same.
    let outcome = one.remove_key(id);
    assert!(outcome.is_err(), "its own slot is gone: it must not remove others");
    one.remove_key(third).expect_err("nor this one");
    assert!(open_with(&store, "other").is_ok());
}

/// The second one holds keys that know nothing of the first one's, and must not remove its slot: something
/// may be sealed with them already.
#[test]
fn of_two_rotations_at_the_same_time_the_later_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    fill_small(&data);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut one = init(&store, None).expect("a repository");
    let mut other = open(&store, None).expect("an open repository");
    one.rotate_keys(&password("one"), CHEAP, "").expect("an epoch");
    let error = other.rotate_keys(&password("two"), CHEAP, "").expect_err("its slot is gone");
    assert!(error.to_string().contains("removed meanwhile"), "{error}");
    assert!(open_with(&store, "two").is_err());
    let made = backup_of(&one, &data).expect("a backup");
    let again = open_with(&store, "one").expect("an open repository");
    restore_into(&again, made.commit.id, &home.path().join("restored"));
}

#[test]
fn a_slot_added_while_somebody_decides_to_rotate_stays() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut one = init(&store, None).expect("a repository");
    one.add_key(&password("before"), CHEAP, "").expect("a slot");
    let mut opened = open(&store, None).expect("an open repository");
    one.add_key(&password("meanwhile"), CHEAP, "").expect("a slot");
    opened.rotate_keys(&password("new"), CHEAP, "").expect("an epoch");
    let opens = |text: &str| open_with(&store, text).is_ok();
    assert!(opens("new") && opens("meanwhile"));
    assert!(!opens("before") && !opens("secret"));
    // It is older, however: it has not the keys to begin another epoch.
    backup_of_something(&opened);
    one = open_with(&store, "meanwhile").expect("an open repository");
    let error = one.rotate_keys(&password("x"), CHEAP, "").expect_err("newer keys are in use");
    assert!(matches!(error, RepositoryError::NewerKeys { .. }), "{error}");
    assert!(opens("new") && opens("meanwhile") && !opens("x"));
}

fn backup_of_something(repository: &Repository) {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    fill_small(&data);
    backup_of(repository, &data).expect("a backup");
}

/// Killed at each call: what was sealed before and after stays readable with one of the two passwords, and
/// no later change takes that way in away.
#[test]
fn a_rotation_killed_anywhere_locks_nobody_out() {
    for call in 0.. {
        for fault in [Fault::KillBefore { call }, Fault::KillAfter { call }] {
            let inner = Arc::new(MemoryStore::new());
            let store: Arc<dyn Store> = inner.clone();
            let repository = init(&store, None).expect("a repository");
            backup_of_something(&repository);
            drop(repository);
            let faulty = Arc::new(Faulty::new(inner, vec![fault]));
            let mut dying = open(&(faulty.clone() as _), None).expect("an open repository");
            let rotated = dying.rotate_keys(&password("new"), CHEAP, "");
            if !faulty.is_dead() {
                rotated.expect("a rotation");
                assert!(call >= 4, "only {call} calls were tried");
                return;
            }
            if let Ok(newer) = open_with(&store, "new") {
                backup_of_something(&newer);
            }
            // The old password either does nothing to the newer keys, or is gone.
            if let Ok(mut old) = open(&store, None) {
                let again = old.rotate_keys(&password("again"), CHEAP, "");
                let way_in = if again.is_ok() { "again" } else { "new" };
                let best = open_with(&store, way_in).expect("a way in");
                let listed = best.snapshots().expect("a listing");
                assert_eq!(listed.damaged.len(), 0, "{fault:?}: {:?}", listed.damaged);
            }
            let best =
                ["again", "new", "secret"].iter().find_map(|text| open_with(&store, text).ok());
            let listed = best.expect("a way in").snapshots().expect("a listing");
            assert!(listed.damaged.is_empty() && !listed.snapshots.is_empty(), "{fault:?}");
        }
    }
}

/// A slot that a killed `init` left does not turn a wrong password into a damaged repository.
#[test]
fn a_wrong_password_is_told_beside_a_slot_of_nobody() {
    let inner = Arc::new(MemoryStore::new());
    let dying: Arc<dyn Store> =
        Arc::new(Faulty::new(inner.clone(), vec![Fault::KillAfter { call: 1 }]));
    init(&dying, None).expect_err("killed behind its key slot");
    let store: Arc<dyn Store> = inner;
    init(&store, None).expect("another repository");
    assert_eq!(list_all(store.as_ref(), ObjectKind::Key).expect("a listing").len(), 2);
    open(&store, None).expect("an open repository");
    let error = open_with(&store, "wrong").expect_err("a wrong password");
    assert!(matches!(error, RepositoryError::WrongPassword { slots: 1, .. }), "{error}");
}
