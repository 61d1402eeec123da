//! A small life of a store, to be disturbed.

use mrs_backup::id::{ObjectId, PackId, SessionId, SnapshotId};
use mrs_backup::store::{
    ByteRange, ObjectKind, ObjectName, Store, StoreError, StoreErrorKind, list_all,
};

pub const PACK: ObjectName = ObjectName::Pack(PackId::new([0xab; 32]));
pub const KEY: ObjectName = ObjectName::Key(ObjectId::new([1; 32]));
const SNAPSHOT: SnapshotId = SnapshotId::new([2; 32]);
const STAGED: ObjectName =
    ObjectName::Staged { session: SessionId::new([3; 16]), snapshot: SNAPSHOT };
pub const TARGET: ObjectName = ObjectName::Snapshot(SNAPSHOT);

pub fn bytes() -> Vec<u8> {
    (0..50_000_u32).map(|at| (at % 251) as u8).collect()
}

/// Puts, reads, lists, publishes and deletes.
pub fn live(store: &dyn Store) -> Result<(), StoreError> {
    let whole = ByteRange::Whole { limit: 1 << 20 };
    store.create()?;
    store.put(&PACK, &[&bytes()])?;
    assert!(store.get(&PACK, whole)? == bytes());
    let part = ByteRange::Exact { offset: 1000, len: 2000 };
    assert!(store.get(&PACK, part)? == bytes()[1000..3000]);
    store.put(&KEY, &[b"key"])?;
    assert_eq!(list_all(store, ObjectKind::Pack)?.len(), 1);
    store.put(&STAGED, &[b"snapshot"])?;
    store.publish(&STAGED, &TARGET)?;
    assert_eq!(store.get(&TARGET, whole)?, b"snapshot");
    store.delete(&KEY)?;
    assert_eq!(store.size(&PACK)?, 50_000);
    Ok(())
}

/// Whatever failed before, what has an object's name is that object. Removes it all.
pub fn assert_nothing_is_half(store: &dyn Store, what: &str) {
    let whole = ByteRange::Whole { limit: 1 << 20 };
    let all = [
        (PACK, bytes()),
        (KEY, b"key".to_vec()),
        (STAGED, b"snapshot".to_vec()),
        (TARGET, b"snapshot".to_vec()),
    ];
    for (name, content) in all {
        match store.get(&name, whole) {
            Ok(found) => assert!(found == content, "{what}: half of {name} is there"),
            Err(error) => assert_eq!(error.kind, StoreErrorKind::NotFound, "{what}: {error}"),
        }
        store.delete(&name).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

/// What must hold after a life in spite of whatever happened.
pub fn assert_was_lived(store: &dyn Store, what: &str) {
    let whole = ByteRange::Whole { limit: 1 << 20 };
    let read = |name| store.get(&name, whole).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(read(PACK) == bytes(), "{what}");
    assert_eq!(read(TARGET), b"snapshot", "{what}");
    for name in [KEY, STAGED] {
        assert_eq!(store.size(&name).unwrap_err().kind, StoreErrorKind::NotFound, "{what}: {name}");
    }
}
