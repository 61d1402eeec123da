//! Keys through the library: epochs, removals, and two people at once.

mod support;

use std::sync::Arc;

use mrs_backup::repository::{Repository, RepositoryError};
use mrs_backup::store::{MemoryStore, ObjectKind, ObjectName, Store, list_all};
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

#[test]
fn rotations_at_the_same_time_leave_both_slots() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut one = init(&store, None).expect("a repository");
    let mut other = open(&store, None).expect("an open repository");
    one.rotate_keys(&password("one"), CHEAP, "").expect("an epoch");
    // `other` still knows the first slot only, and must not remove what came after it looked.
    let outcome = other.rotate_keys(&password("two"), CHEAP, "");
    let names = list_all(store.as_ref(), ObjectKind::Key).expect("a listing");
    assert!(names.iter().all(|info| matches!(info.name, ObjectName::Key(_))));
    assert!(!names.is_empty());
    let opens = ["one", "two"].iter().filter(|text| open_with(&store, text).is_ok()).count();
    assert!(opens >= 1, "{:?}", outcome.err().map(|error| error.to_string()));
}
