use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, SystemTime};

use super::*;
use crate::clock::SystemClock;
use crate::id::{ObjectId, PackId, SessionId};
use crate::store::list_all;

const KEY: ObjectName = ObjectName::Key(ObjectId::new([1; 32]));
const PACK: ObjectName = ObjectName::Pack(PackId::new([0xab; 32]));

fn new_store() -> (tempfile::TempDir, LocalStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::new(directory.path().join("deep/repository"));
    store.create().unwrap();
    (directory, store)
}

fn survey_of(path: &Path) -> Survey {
    LocalStore::new(path.to_owned()).survey().unwrap()
}

#[test]
fn files_and_directories_are_for_their_owner_alone() {
    let (directory, store) = new_store();
    store.put(&PACK, &[b"x"]).unwrap();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(store.path_of(&PACK)), 0o600);
    for path in ["deep", "deep/repository", "deep/repository/packs", "deep/repository/packs/ab"] {
        assert_eq!(mode(directory.path().join(path)), 0o700, "{path}");
    }
}

#[test]
fn sync_covers_every_directory_up_to_the_root_once() {
    let (_directory, store) = new_store();
    store.sync().unwrap();
    assert_eq!(*lock(&store.dirty), BTreeSet::new());
    store.put(&PACK, &[b"x"]).unwrap();
    let expected = ["", "packs", "packs/ab"].map(|path| store.root.join(path));
    assert_eq!(*lock(&store.dirty), BTreeSet::from(expected.clone()));
    store.sync().unwrap();
    // Whoever finds an object there builds on it, so its name has to be durable as well.
    store.put(&PACK, &[b"x"]).unwrap_err();
    assert_eq!(*lock(&store.dirty), BTreeSet::from(expected));
}

#[test]
fn a_new_root_is_made_durable_in_its_parents() {
    let (directory, store) = new_store();
    let dirty = lock(&store.dirty);
    assert!(dirty.contains(directory.path()) && dirty.contains(&directory.path().join("deep")));
}

#[test]
fn a_relative_root_works_from_the_current_directory() {
    disk::flush_directory(&disk::open_directory(Path::new("")).unwrap()).unwrap();
}

#[test]
fn a_missing_root_is_never_made_by_the_way() {
    let (directory, store) = new_store();
    fs::remove_dir_all(directory.path().join("deep")).unwrap();
    let kinds = [
        store.put(&PACK, &[b"x"]).unwrap_err().kind,
        store.put(&ObjectName::Config, &[b"x"]).unwrap_err().kind,
        list_all(&store, ObjectKind::Pack).unwrap_err().kind,
        list_all(&store, ObjectKind::Config).unwrap_err().kind,
        store.sync().unwrap_err().kind,
    ];
    assert_eq!(kinds[2..], [StoreErrorKind::NotFound; 3]);
    assert_eq!(kinds[..2], [StoreErrorKind::NotFound; 2]);
    assert_eq!(store.survey().unwrap(), Survey::Missing);
    assert_eq!(store.free_bytes(), None);
}

#[test]
fn names_lost_in_a_flush_are_not_forgotten() {
    let (_directory, store) = new_store();
    *lock(&store.flush) = Some("packs: Input/output error".to_owned());
    let error = store.sync().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Permanent);
    assert!(error.reason.contains("Input/output error"), "{error}");
    store.put(&KEY, &[b"x"]).unwrap();
    store.publish(&KEY, &PACK).unwrap_err();
    assert_eq!(store.size(&KEY).unwrap(), 1, "nothing is published any more");
}

#[test]
fn a_failed_flush_is_tried_again() {
    let (_directory, store) = new_store();
    store.sync().unwrap();
    let blocked = store.root.join("config");
    symlink("config", &blocked).unwrap();
    lock(&store.dirty).insert(blocked.clone());
    let error = store.sync().unwrap_err();
    assert!(error.reason.contains("repository/config"), "{error}");
    assert!(lock(&store.dirty).contains(&blocked));
    fs::remove_file(blocked).unwrap();
    store.sync().unwrap();
}

#[test]
fn the_last_object_takes_its_session_with_it() {
    let (_directory, store) = new_store();
    let session = SessionId::new([1; 16]);
    let beats = [0, 1].map(|beat| ObjectName::Session { session, beat });
    for beat in &beats {
        store.put(beat, &[b"beat"]).unwrap();
    }
    let directory = store.root.join("sessions").join(session.to_hex());
    store.delete(&beats[0]).unwrap();
    assert!(directory.exists());
    store.delete(&beats[1]).unwrap();
    assert!(!directory.exists());
    store.sync().unwrap();
    store.put(&beats[0], &[b"beat"]).unwrap();
}

#[test]
fn stale_temporaries_are_removed_and_nothing_else() {
    let (_directory, store) = new_store();
    let session = ObjectName::Session { session: SessionId::new([1; 16]), beat: 0 };
    store.put(&KEY, &[b"x"]).unwrap();
    store.make_directories(&session).unwrap();
    let hour_ago = FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(3600));
    let place = |path: String, old: bool| {
        let file = File::create(store.root.join(&path)).unwrap();
        if old {
            file.set_times(hour_ago).unwrap();
        }
        store.root.join(path)
    };
    let stale = [
        place(format!("{KEY}.0123456789abcdef.tmp"), true),
        place("config.0123456789abcdef.tmp".to_owned(), true),
        place(format!("{session}.0123456789abcdef.tmp"), true),
    ];
    let kept = [
        place(format!("{KEY}.1123456789abcdef.tmp"), false),
        place(format!("{KEY}.tmp"), true),
        place("keys/notes.0123456789abcdef.tmp".to_owned(), true),
        place("0123456789abcdef.tmp".to_owned(), true),
        store.path_of(&KEY),
    ];
    let removed = store.remove_stale_temporaries(Duration::from_secs(600), &SystemClock);
    assert_eq!(removed.unwrap(), 3);
    assert!(stale.iter().all(|path| !path.exists()) && kept.iter().all(|path| path.exists()));
    assert!(!store.path_of(&session).parent().unwrap().exists());
}

#[test]
fn strange_files_among_objects_are_passed_over() {
    let (directory, store) = new_store();
    store.put(&PACK, &[b"x"]).unwrap();
    for path in ["packs/README", "packs/ab/README", "packs/.DS_Store"] {
        fs::write(store.root.join(path), "").unwrap();
    }
    fs::create_dir(store.root.join("packs/ab").join("ab".repeat(31) + "cd")).unwrap();
    symlink(directory.path(), store.root.join("packs/loop")).unwrap();
    let listed = list_all(&store, ObjectKind::Pack).unwrap();
    assert_eq!(listed.iter().map(|info| info.name).collect::<Vec<_>>(), [PACK]);
}

#[test]
fn a_directory_for_packs_may_be_a_link_to_another_disk() {
    let (directory, store) = new_store();
    let elsewhere = directory.path().join("elsewhere");
    fs::rename(store.root.join("packs"), &elsewhere).unwrap();
    symlink(&elsewhere, store.root.join("packs")).unwrap();
    store.put(&PACK, &[b"x"]).unwrap();
    store.sync().unwrap();
    assert_eq!(list_all(&store, ObjectKind::Pack).unwrap().len(), 1);
}

#[test]
fn both_ways_to_rename_overwrite_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let [from, to] = ["from", "to"].map(|name| directory.path().join(name));
    for rename in [disk::rename_new, disk::rename_after_look] {
        let kind = || rename(&from, &to).unwrap_err().kind();
        assert_eq!(kind(), io::ErrorKind::NotFound);
        fs::write(&from, "new").unwrap();
        rename(&from, &to).unwrap();
        assert_eq!(kind(), io::ErrorKind::NotFound, "though the target is there");
        fs::write(&from, "newer").unwrap();
        assert_eq!(kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"new");
        fs::remove_file(&from).unwrap();
        fs::remove_file(&to).unwrap();
    }
}

#[test]
fn errors_of_the_system_are_sorted_by_what_callers_can_do() {
    use rustix::io::Errno;
    for (errno, kind) in [
        (Errno::NOENT, StoreErrorKind::NotFound),
        (Errno::EXIST, StoreErrorKind::Exists),
        (Errno::NOSPC, StoreErrorKind::NoSpace),
        (Errno::DQUOT, StoreErrorKind::NoSpace),
        (Errno::ACCESS, StoreErrorKind::Denied),
        (Errno::ROFS, StoreErrorKind::Denied),
        (Errno::IO, StoreErrorKind::Temporary),
        (Errno::NOTDIR, StoreErrorKind::Permanent),
    ] {
        assert_eq!(disk::kind_of(&io::Error::from(errno)), kind, "{errno}");
    }
}

#[test]
fn a_survey_tells_what_is_ours_and_what_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    assert_eq!(survey_of(&path.join("nothing")), Survey::Missing);
    assert_eq!(survey_of(path), Survey::Empty);
    fs::create_dir(path.join("lost+found")).unwrap();
    fs::write(path.join("config.0123456789abcdef.tmp"), "").unwrap();
    assert_eq!(survey_of(path), Survey::Empty);

    for name in ["f", "e", "d", "c", "b", "a"] {
        fs::write(path.join(name), "").unwrap();
    }
    let names = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    assert_eq!(survey_of(path), Survey::Foreign(names));

    assert!(matches!(survey_of(&path.join("a")), Survey::Unusable(_)));
    assert!(matches!(survey_of(&path.join("a/below")), Survey::Unusable(_)));
    symlink("nowhere", path.join("link")).unwrap();
    assert!(matches!(survey_of(&path.join("link")), Survey::Unusable(_)));
}

#[test]
fn a_survey_knows_repositories_from_half_made_and_headless_ones() {
    let (_directory, store) = new_store();
    assert_eq!(store.survey().unwrap(), Survey::Empty);
    store.put(&PACK, &[b"x"]).unwrap();
    assert_eq!(store.survey().unwrap(), Survey::Headless);
    store.put(&ObjectName::Config, &[b"MRSB"]).unwrap();
    assert_eq!(store.survey().unwrap(), Survey::Headless, "a torn config is no config");
    store.delete(&ObjectName::Config).unwrap();
    store.put(&ObjectName::Config, &[b"MRSBCONF\x01"]).unwrap();
    assert_eq!(store.survey().unwrap(), Survey::Repository);
}

#[test]
fn a_survey_never_takes_a_restic_repository_for_ours() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["data", "keys", "snapshots", "index", "locks"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    fs::write(directory.path().join(KEY.path()), "{}").unwrap();
    fs::write(directory.path().join("config"), [9; 155]).unwrap();
    assert_eq!(survey_of(directory.path()), Survey::Restic);
    fs::remove_file(directory.path().join("config")).unwrap();
    assert!(matches!(survey_of(directory.path()), Survey::Foreign(_)));
    fs::create_dir(directory.path().join("config")).unwrap();
    assert!(matches!(survey_of(directory.path()), Survey::Unusable(_)));
}

#[test]
fn a_directory_of_ours_by_name_with_strange_content_is_foreign() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("index")).unwrap();
    assert_eq!(survey_of(directory.path()), Survey::Empty);
    fs::write(directory.path().join("index/page.html"), "").unwrap();
    assert_eq!(survey_of(directory.path()), Survey::Foreign(vec!["index".to_owned()]));
}

#[test]
fn what_only_bars_a_name_in_a_bucket_that_was_copied_here_is_no_object() {
    let (directory, store) = new_store();
    let [bar, damaged] = [1, 2].map(|n| ObjectName::Condemned(ObjectId::new([n; 32])));
    store.put(&bar, &[b"barred"]).unwrap();
    store.put(&damaged, &[b"barreD"]).unwrap();
    store.put(&KEY, &[b"barred"]).unwrap();
    // A link as long as that is not read: this one would wait for ever.
    let link = ObjectName::Condemned(ObjectId::new([3; 32]));
    let place = directory.path().join("deep/repository");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(place.join("condemned/fifo"))
            .status()
            .unwrap()
            .success()
    );
    std::os::unix::fs::symlink("./fifo", place.join(link.path())).unwrap();
    let names = |kind| -> Vec<ObjectName> {
        list_all(&store, kind).unwrap().into_iter().map(|info| info.name).collect()
    };
    assert_eq!(names(ObjectKind::Condemned), [damaged]);
    assert_eq!(names(ObjectKind::Key), [KEY]);
}
