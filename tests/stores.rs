//! Every store keeps the contract, and a directory stands what happens to directories.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use mrs_backup::id::{ObjectId, PackId};
use mrs_backup::store::contract::check_contract;
use mrs_backup::store::{
    ByteRange, Fault, Faulty, LocalStore, MemoryStore, ObjectKind, ObjectName, Recording, Store,
    StoreErrorKind, Verb, list_all, open_store,
};

const KEY: ObjectName = ObjectName::Key(ObjectId::new([1; 32]));
const PACK: ObjectName = ObjectName::Pack(PackId::new([0xab; 32]));

fn local_store() -> (tempfile::TempDir, LocalStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::new(directory.path().to_owned());
    store.create().unwrap();
    (directory, store)
}

/// Paths of all files below `root`.
fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files
}

#[test]
fn a_directory_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    check_contract(&LocalStore::new(directory.path().join("not/yet/made")));
    assert_eq!(files_below(directory.path()), [] as [PathBuf; 0]);
}

#[test]
fn an_existing_directory_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    check_contract(&*open_store(&format!("file://{}", directory.path().display())).unwrap());
}

#[test]
fn memory_keeps_the_contract() {
    check_contract(&MemoryStore::new());
}

#[test]
fn recording_keeps_the_contract_of_what_it_records() {
    let store = Recording::new(Arc::new(MemoryStore::new()));
    check_contract(&store);
    assert!(store.count(Verb::Publish) >= 4);
    let directory = tempfile::tempdir().unwrap();
    check_contract(&Recording::new(Arc::new(LocalStore::new(directory.path().join("new")))));
}

#[test]
fn without_faults_a_faulty_store_keeps_the_contract() {
    check_contract(&Faulty::new(Arc::new(MemoryStore::new()), Vec::new()));
    let directory = tempfile::tempdir().unwrap();
    let local = Arc::new(LocalStore::new(directory.path().join("new")));
    check_contract(&Faulty::new(local, Vec::new()));
}

#[test]
#[should_panic(expected = "reads back as it was put")]
fn the_contract_notices_wrong_bytes() {
    let wrong = Fault::FlipBit { object: ObjectName::Key(ObjectId::new([1; 32])), bit: 4 };
    check_contract(&Faulty::new(Arc::new(MemoryStore::new()), vec![wrong]));
}

#[test]
fn a_temporary_file_left_behind_is_neither_listed_nor_in_the_way() {
    let (directory, store) = local_store();
    store.put(&PACK, &[b"x"]).unwrap();
    let left = directory.path().join(format!("{PACK}.0123456789abcdef.tmp"));
    fs::write(left, "half a pa").unwrap();
    store.delete(&PACK).unwrap();
    assert_eq!(list_all(&store, ObjectKind::Pack).unwrap(), []);
    store.put(&PACK, &[b"whole"]).unwrap();
    let listed = list_all(&store, ObjectKind::Pack).unwrap();
    assert_eq!(listed.iter().map(|info| (info.name, info.size)).collect::<Vec<_>>(), [(PACK, 5)]);
}

#[test]
fn only_a_regular_file_is_an_object() {
    let (directory, store) = local_store();
    let path = directory.path().join(KEY.path());
    let secret = directory.path().join("secret");
    fs::write(&secret, "somebody else's").unwrap();
    let place: [(&str, &dyn Fn()); 4] = [
        ("a symbolic link", &|| symlink(&secret, &path).unwrap()),
        ("a symbolic link", &|| symlink("/nowhere", &path).unwrap()),
        ("a directory", &|| fs::create_dir(&path).unwrap()),
        ("a special file", &|| {
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        }),
    ];
    for (what, place) in place {
        place();
        let got = store.get(&KEY, ByteRange::Whole { limit: 100 }).unwrap_err();
        let size = store.size(&KEY).unwrap_err();
        for error in [&got, &size] {
            assert_eq!(error.kind, StoreErrorKind::Permanent, "{error}");
            let message = error.to_string();
            for part in [what, &KEY.path(), &directory.path().display().to_string()] {
                assert!(message.contains(part), "`{part}` is missing in: {message}");
            }
        }
        assert_eq!(store.put(&KEY, &[b"x"]).unwrap_err().kind, StoreErrorKind::Exists, "{what}");
        assert_eq!(list_all(&store, ObjectKind::Key).unwrap(), [], "{what}");
        if path.is_dir() {
            assert_eq!(store.delete(&KEY).unwrap_err().object, Some(KEY));
            fs::remove_dir(&path).unwrap();
        }
        store.delete(&KEY).unwrap();
    }
    assert_eq!(fs::read_to_string(secret).unwrap(), "somebody else's");
}

#[test]
fn a_file_in_place_of_a_directory_is_told_with_object_and_place() {
    let (directory, store) = local_store();
    fs::remove_dir(directory.path().join("keys")).unwrap();
    fs::write(directory.path().join("keys"), "").unwrap();
    for error in [
        store.put(&KEY, &[b"x"]).unwrap_err(),
        store.get(&KEY, ByteRange::Whole { limit: 100 }).unwrap_err(),
        store.delete(&KEY).unwrap_err(),
    ] {
        assert_eq!(error.kind, StoreErrorKind::Permanent, "{error}");
        let message = error.to_string();
        let expected = format!("{KEY} at {}: Not a directory", directory.path().display());
        assert!(message.contains(&expected), "{message}");
    }
    let error = list_all(&store, ObjectKind::Key).unwrap_err();
    assert!(error.to_string().contains("keys: Not a directory"), "{error}");
    store.create().unwrap_err();
}

/// A file system in memory of one MiB, gone when dropped.
struct TinyDisk(tempfile::TempDir);

impl TinyDisk {
    fn mount() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(directory.path())
            .status()
            .expect("`mount` runs");
        assert!(mounted.success(), "this test has to run as root: it mounts a tmpfs");
        Self(directory)
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_half_written() {
    let disk = TinyDisk::mount();
    let root = disk.0.path();
    let store = LocalStore::new(root.to_owned());
    store.create().unwrap();
    assert!(store.free_bytes().unwrap() <= 1 << 20);
    store.put(&KEY, &[&[1; 300_000]]).unwrap();
    let half = vec![2; 500_000];
    let error = store.put(&PACK, &[&half, &half]).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoSpace, "{error}");
    assert!(error.to_string().contains(&PACK.path()), "{error}");
    assert_eq!(files_below(root), [root.join(KEY.path())]);
    assert_eq!(list_all(&store, ObjectKind::Pack).unwrap(), []);
    store.put(&PACK, &[&half]).unwrap();
    store.sync().unwrap();
    assert_eq!(store.size(&KEY).unwrap(), 300_000);
}

#[test]
fn a_read_only_disk_denies_and_still_reads() {
    let disk = TinyDisk::mount();
    let store = LocalStore::new(disk.0.path().to_owned());
    store.create().unwrap();
    store.put(&KEY, &[b"x"]).unwrap();
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(disk.0.path())
        .status()
        .expect("`mount` runs");
    assert!(remounted.success());
    assert_eq!(store.put(&PACK, &[b"x"]).unwrap_err().kind, StoreErrorKind::Denied);
    assert_eq!(store.delete(&KEY).unwrap_err().kind, StoreErrorKind::Denied);
    assert_eq!(store.get(&KEY, ByteRange::Whole { limit: 1 }).unwrap(), b"x");
}
