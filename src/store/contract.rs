//! The suite every store has to pass: what the [`Store`] trait promises, tried out one by one.
//!
//! Every store's tests call [`check_contract`] on an empty place. It panics with what was expected
//! and removes what it wrote.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{
    ByteRange, CONFIG_MAGIC, ObjectInfo, ObjectKind, ObjectName, Store, StoreError, StoreErrorKind,
    Survey, Verb, list_all,
};
use crate::id::{ObjectId, PackId, SessionId, SnapshotId};

const SESSION: SessionId = SessionId::new([0x5e; 16]);
const SNAPSHOT: SnapshotId = SnapshotId::new([0x51; 32]);
const STAGED: ObjectName = ObjectName::Staged { session: SESSION, snapshot: SNAPSHOT };
const TARGET: ObjectName = ObjectName::Snapshot(SNAPSHOT);
const KEY: ObjectName = ObjectName::Key(ObjectId::new([0x4e; 32]));
const BIG: usize = 20 << 20;
const THREADS: u8 = 4;

/// Asserts that `store`, an empty place, keeps the contract.
#[doc(hidden)]
pub fn check_contract(store: &dyn Store) {
    check_places(store);
    check_absence(store);
    check_put_and_get(store);
    check_ranges(store);
    check_limits(store);
    check_no_overwriting(store);
    check_shapes(store);
    check_listings(store);
    check_listing_while_deleting(store);
    check_publish(store);
    check_parallel_puts(store);
    done("last sync", store.sync());
    for kind in ObjectKind::ALL {
        assert_eq!(listing(store, kind), BTreeMap::new(), "all {kind:?} objects are deleted");
    }
    assert_eq!(done("survey", store.survey()), Survey::Empty, "nothing is left");
}

fn done<T>(what: &str, result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| panic!("{what} should succeed: {error}"))
}

fn put(store: &dyn Store, name: &ObjectName, bytes: &[u8]) {
    done(&format!("put of {name}"), store.put(name, &[bytes]));
}

fn whole(store: &dyn Store, name: &ObjectName) -> Vec<u8> {
    done(&format!("get of {name}"), store.get(name, ByteRange::Whole { limit: u64::MAX }))
}

fn delete(store: &dyn Store, name: &ObjectName) {
    done(&format!("delete of {name}"), store.delete(name));
}

fn exact(offset: u64, len: u64) -> ByteRange {
    ByteRange::Exact { offset, len }
}

/// Asserts a failure that names its verb, object and place.
fn fails<T: std::fmt::Debug>(
    store: &dyn Store,
    kind: StoreErrorKind,
    verb: Verb,
    object: &ObjectName,
    result: Result<T, StoreError>,
) {
    let error = match result {
        Err(error) => error,
        Ok(value) => panic!("{verb} {object} should be {kind:?}, not succeed with {value:?}"),
    };
    assert_eq!(error.kind, kind, "{verb} {object}: {error}");
    assert_eq!((error.verb, error.object), (verb, Some(*object)), "{error}");
    assert_eq!(&error.location, store.location(), "{error}");
    assert!(!error.reason.is_empty(), "{verb} {object} fails without a reason");
}

fn listing(store: &dyn Store, kind: ObjectKind) -> BTreeMap<ObjectName, u64> {
    let found = done(&format!("listing of {kind:?}"), list_all(store, kind));
    let count = found.len();
    let map: BTreeMap<_, _> = found.into_iter().map(|info| (info.name, info.size)).collect();
    assert_eq!(map.len(), count, "a {kind:?} object is listed twice");
    map
}

fn check_places(store: &dyn Store) {
    let before = done("survey", store.survey());
    assert!(matches!(before, Survey::Missing | Survey::Empty), "not an empty place: {before:?}");
    done("create", store.create());
    done("create of an existing place", store.create());
    assert_eq!(done("survey", store.survey()), Survey::Empty, "a new place");
    done("sync of nothing", store.sync());
    put(store, &KEY, b"slot");
    assert_eq!(done("survey", store.survey()), Survey::Headless, "a key without config");
    put(store, &ObjectName::Config, &[&CONFIG_MAGIC[..], b"the rest"].concat());
    assert_eq!(done("survey", store.survey()), Survey::Repository, "a key with config");
    done("create of a repository", store.create());
    assert_eq!(whole(store, &KEY), b"slot", "create leaves an existing place as it is");
    delete(store, &KEY);
    assert_eq!(done("survey", store.survey()), Survey::Repository, "a config alone");
    delete(store, &ObjectName::Config);
    assert_eq!(done("survey", store.survey()), Survey::Empty, "all deleted");
}

fn check_absence(store: &dyn Store) {
    for name in one_of_each() {
        let missing = StoreErrorKind::NotFound;
        fails(store, missing, Verb::Get, &name, store.get(&name, exact(0, 0)));
        fails(store, missing, Verb::Get, &name, store.get(&name, ByteRange::Whole { limit: 0 }));
        fails(store, missing, Verb::Size, &name, store.size(&name));
        delete(store, &name);
    }
}

fn check_put_and_get(store: &dyn Store) {
    for (number, name) in one_of_each().into_iter().enumerate() {
        let bytes = vec![7; number * 1000];
        put(store, &name, &bytes);
        assert!(whole(store, &name) == bytes, "{name} reads back as it was put");
        assert_eq!(done("size", store.size(&name)), bytes.len() as u64, "size of {name}");
    }
    done("sync", store.sync());
    for name in one_of_each() {
        delete(store, &name);
        delete(store, &name);
        fails(store, StoreErrorKind::NotFound, Verb::Size, &name, store.size(&name));
    }
}

fn check_ranges(store: &dyn Store) {
    let bytes: Vec<u8> = (0..=255).collect();
    put(store, &KEY, &bytes);
    for (offset, len) in [(0, 256), (0, 0), (256, 0), (255, 1), (100, 50), (0, 1)] {
        let got = done("range", store.get(&KEY, exact(offset as u64, len as u64)));
        assert_eq!(got, bytes[offset..offset + len], "{len} bytes from byte {offset} on");
    }
    for (offset, len) in
        [(0, 257), (256, 1), (255, 2), (u64::MAX, 1), (0, u64::MAX), (1, u64::MAX), (1 << 40, 5)]
    {
        let got = store.get(&KEY, exact(offset, len));
        fails(store, StoreErrorKind::TooShort, Verb::Get, &KEY, got);
    }
    delete(store, &KEY);
}

fn check_limits(store: &dyn Store) {
    put(store, &KEY, &[1; 100]);
    for limit in [100, 101, u64::MAX] {
        let got = done("get within the limit", store.get(&KEY, ByteRange::Whole { limit }));
        assert_eq!(got, [1; 100], "the limit is {limit}");
    }
    for limit in [0, 1, 99] {
        let got = store.get(&KEY, ByteRange::Whole { limit });
        fails(store, StoreErrorKind::TooLong, Verb::Get, &KEY, got);
    }
    delete(store, &KEY);
}

fn check_no_overwriting(store: &dyn Store) {
    for name in one_of_each() {
        put(store, &name, b"first");
        let second = store.put(&name, &[b"second"]);
        fails(store, StoreErrorKind::Exists, Verb::Put, &name, second);
        assert_eq!(whole(store, &name), b"first", "a refused put leaves {name} as it was");
        delete(store, &name);
        put(store, &name, b"third");
        assert_eq!(whole(store, &name), b"third", "{name} can be put again once deleted");
        delete(store, &name);
    }
}

fn check_shapes(store: &dyn Store) {
    let pack = ObjectName::Pack(PackId::new([0xba; 32]));
    let shapes: [&[&[u8]]; 4] =
        [&[], &[b""], &[b"one ", b"", b"two ", b"three"], &[&[0, 0], b"\n\r"]];
    for parts in shapes {
        let bytes = parts.concat();
        let size = bytes.len() as u64;
        done(&format!("put of the parts {parts:?}"), store.put(&pack, parts));
        assert_eq!(whole(store, &pack), bytes, "the parts {parts:?}");
        assert_eq!(done("size", store.size(&pack)), size, "size of the parts {parts:?}");
        assert_eq!(listing(store, ObjectKind::Pack), BTreeMap::from([(pack, size)]));
        delete(store, &pack);
    }
    let big: Vec<u8> = (0..BIG).map(|at| (at % 251) as u8).collect();
    let (front, back) = big.split_at(BIG / 3);
    done("put of a big object", store.put(&pack, &[front, back]));
    assert!(whole(store, &pack) == big, "a big object reads back");
    let tail = done("end of a big object", store.get(&pack, exact(BIG as u64 - 1000, 1000)));
    assert!(tail == big[BIG - 1000..], "the end of a big object reads back");
    delete(store, &pack);
}

fn check_listings(store: &dyn Store) {
    for kind in ObjectKind::ALL {
        assert_eq!(listing(store, kind), BTreeMap::new(), "nothing of {kind:?} is there yet");
    }
    let names = one_of_each();
    for (number, name) in names.iter().enumerate() {
        put(store, name, &vec![0; number]);
    }
    for kind in ObjectKind::ALL {
        let expected: BTreeMap<_, _> = names
            .iter()
            .zip(0_u64..)
            .filter(|(name, _)| name.kind() == kind)
            .map(|(name, size)| (*name, size))
            .collect();
        assert_eq!(listing(store, kind), expected, "listing of {kind:?}");
    }
    let mut visits = 0;
    let stopped = store.list(ObjectKind::Session, &mut |_| {
        visits += 1;
        ControlFlow::Break(())
    });
    done("listing that is stopped", stopped);
    assert_eq!(visits, 1, "a listing stops when the visitor says so");
    for name in &names {
        delete(store, name);
    }
}

fn check_listing_while_deleting(store: &dyn Store) {
    let packs: Vec<_> = (0..40).map(|number| ObjectName::Pack(PackId::new([number; 32]))).collect();
    for name in &packs {
        put(store, name, b"pack");
    }
    let mut visited = Vec::new();
    let listed = store.list(ObjectKind::Pack, &mut |info: ObjectInfo| {
        delete(store, &info.name);
        visited.push(info.name);
        ControlFlow::Continue(())
    });
    done("listing while deleting", listed);
    visited.sort_unstable();
    assert_eq!(visited, packs, "every object is visited though the visitor deletes them");
    assert_eq!(listing(store, ObjectKind::Pack), BTreeMap::new());
}

fn check_publish(store: &dyn Store) {
    let publish = || store.publish(&STAGED, &TARGET);
    fails(store, StoreErrorKind::NotFound, Verb::Publish, &STAGED, publish());

    put(store, &STAGED, b"snapshot");
    done("publish", publish());
    assert_eq!(whole(store, &TARGET), b"snapshot", "published");
    assert_eq!(listing(store, ObjectKind::Session), BTreeMap::new(), "staged no more");
    assert_eq!(listing(store, ObjectKind::Snapshot), BTreeMap::from([(TARGET, 8)]));

    // Told apart from a target that is there: whose staged object is gone has lost.
    fails(store, StoreErrorKind::NotFound, Verb::Publish, &STAGED, publish());
    put(store, &STAGED, b"other");
    fails(store, StoreErrorKind::Exists, Verb::Publish, &TARGET, publish());
    assert_eq!(whole(store, &TARGET), b"snapshot", "a refused publish leaves the target");
    assert_eq!(whole(store, &STAGED), b"other", "a refused publish leaves the staged object");

    delete(store, &TARGET);
    delete(store, &STAGED);
    fails(store, StoreErrorKind::NotFound, Verb::Publish, &STAGED, publish());
    fails(store, StoreErrorKind::NotFound, Verb::Size, &TARGET, store.size(&TARGET));
}

fn check_parallel_puts(store: &dyn Store) {
    let own = |thread: u8, number: u8| {
        let mut id = [number; 32];
        id[31] = thread;
        ObjectName::Pack(PackId::new(id))
    };
    let shared = |number: u8| ObjectName::Index(ObjectId::new([number; 32]));
    let won: usize = std::thread::scope(|scope| {
        let work = |thread: u8| {
            move || {
                let mut won = 0;
                for number in 0..8 {
                    put(store, &own(thread, number), &[thread; 5000]);
                    match store.put(&shared(number), &[&[number; 3000]]) {
                        Ok(()) => won += 1,
                        Err(error) => {
                            assert_eq!(error.kind, StoreErrorKind::Exists, "a lost race: {error}");
                        }
                    }
                    done("sync in parallel", store.sync());
                }
                won
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(work(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread's asserts hold")).sum()
    });
    assert_eq!(won, 8, "of several puts of one name exactly one succeeds");
    assert_eq!(listing(store, ObjectKind::Pack).len(), usize::from(THREADS) * 8);
    for number in 0..8 {
        assert!(whole(store, &shared(number)) == [number; 3000], "an object put by several");
        delete(store, &shared(number));
        for thread in 0..THREADS {
            assert!(whole(store, &own(thread, number)) == [thread; 5000], "an object put by one");
            delete(store, &own(thread, number));
        }
    }
}

/// Names of every kind, several for kinds with several forms.
fn one_of_each() -> Vec<ObjectName> {
    let id = |byte| ObjectId::new([byte; 32]);
    vec![
        ObjectName::Config,
        ObjectName::Key(id(1)),
        ObjectName::Pack(PackId::new([0; 32])),
        ObjectName::Pack(PackId::new([0xff; 32])),
        ObjectName::Index(id(2)),
        ObjectName::Snapshot(SnapshotId::new([3; 32])),
        ObjectName::Session { session: SESSION, beat: 0 },
        ObjectName::Session { session: SESSION, beat: u32::MAX },
        ObjectName::Session { session: SessionId::new([6; 16]), beat: 0 },
        STAGED,
        ObjectName::Condemned(id(4)),
        ObjectName::Receipt(id(5)),
    ]
}
