use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::index::Opened;

use super::*;

fn open(directory: &Path) -> (Index, Opened) {
    Index::open(directory, REPOSITORY).unwrap()
}

/// Makes an index with something in it.
fn filled(directory: &Path) {
    let (index, opened) = open(directory);
    assert_eq!(opened, Opened { set_aside: None, is_new: true });
    index.add_object(object_id(1), &object(&[pack(1, &[&[1]])])).unwrap();
}

fn is_empty(index: &Index) -> bool {
    index.objects().unwrap().is_empty() && index.packs().unwrap().is_empty()
}

fn sql(directory: &Path, sql: &str) {
    rusqlite::Connection::open(directory.join("index-v1.sqlite"))
        .unwrap()
        .execute_batch(sql)
        .unwrap();
}

/// It is moved away as it is, and an empty one takes its place.
fn assert_set_aside(directory: &Path) {
    let before = fs::read(directory.join("index-v1.sqlite")).unwrap();
    let (index, opened) = open(directory);
    assert!(opened.is_new && is_empty(&index));
    let aside = opened.set_aside.unwrap();
    assert!(aside.to_str().unwrap().contains("index-v1.sqlite.set-aside-"));
    assert_eq!(fs::read(aside).unwrap(), before);
    drop(index);
    assert_eq!(open(directory).1, Opened::default());
}

#[test]
fn it_is_private_and_keeps_what_it_was_told() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a/b");
    filled(&directory);
    let (index, opened) = open(&directory);
    assert_eq!(opened, Opened::default());
    assert_eq!(index.objects().unwrap().len(), 1);
    index.remember_snapshots(&[]).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let files: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
}

#[test]
fn garbage_is_set_aside_each_time_under_another_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("index-v1.sqlite");
    for (n, garbage) in [b"x".repeat(5000), b"SQLite format 3\0".repeat(900)].iter().enumerate() {
        fs::write(&file, garbage).unwrap();
        assert_set_aside(directory.path());
        assert!(directory.path().join(format!("index-v1.sqlite.set-aside-{}", n + 1)).exists());
    }
}

#[test]
fn a_cut_file_is_set_aside_or_found_damaged_but_never_a_panic() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    let file = directory.path().join("index-v1.sqlite");
    let whole = fs::read(&file).unwrap();
    for len in [0, 1, 50, 100, 4096, 8192, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..len]).unwrap();
        let (index, _) = open(directory.path());
        for result in [
            index.packs().map(drop),
            index.objects().map(drop),
            index.locate(&chunk(1), None).map(drop),
            index.add_object(object_id(len as u64), &object(&[pack(2, &[&[1]])])),
        ] {
            if let Err(error) = result {
                assert!(error.reason.contains("mrs-backup index rebuild"), "{error}");
            }
        }
    }
}

#[test]
fn flipped_bytes_are_errors_at_worst() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    let file = directory.path().join("index-v1.sqlite");
    let whole = fs::read(&file).unwrap();
    for at in (0..whole.len()).step_by(389) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        damaged[(at + 7) % whole.len()] ^= 0x55;
        fs::write(&file, damaged).unwrap();
        let Ok((index, _)) = Index::open(directory.path(), REPOSITORY) else {
            continue;
        };
        let _ = (index.packs(), index.objects(), index.locate(&chunk(1), None));
        let _ = (index.counts(), index.segments_of(&pack_id(1)), index.seen_snapshots());
        let _ = index.add_pending(MINE, &pack(3, &[&[1], &[2, 3]]));
        let _ = index.drop_objects(&[object_id(1)]);
    }
}

#[test]
fn other_repositories_versions_and_programs_are_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for change in [
        "PRAGMA user_version = 99",
        "PRAGMA application_id = 5",
        "DROP TABLE seen",
        "DELETE FROM meta",
        "UPDATE meta SET repository = x'0102'",
    ] {
        drop(open(path));
        sql(path, change);
        assert_set_aside(path);
    }
    drop(open(path));
    let (_, opened) = Index::open(path, RepositoryId::new([9; 32])).unwrap();
    assert!(opened.is_new && opened.set_aside.is_some());
}

#[test]
fn what_another_process_has_open_is_not_moved_away() {
    let directory = tempfile::tempdir().unwrap();
    let (_index, _) = open(directory.path());
    let error = Index::open(directory.path(), RepositoryId::new([9; 32])).unwrap_err();
    assert!(error.reason.contains("another process"), "{error}");
}

#[test]
fn a_damaged_row_is_an_error_that_says_what_helps() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    sql(directory.path(), "UPDATE pack SET id = x'01', size = -1; UPDATE segment SET kind = 9");
    let (index, _) = open(directory.path());
    for error in [
        index.packs().unwrap_err(),
        index.locate(&chunk(1), None).unwrap_err(),
        index.counts().unwrap_err(),
        index.refresh_packs(&HashMap::new(), &HashSet::new()).unwrap_err(),
    ] {
        assert!(error.reason.contains("mrs-backup index rebuild"), "{error}");
    }
}

#[test]
fn two_handles_on_one_file_write_and_read_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let work = |from: u64| {
        let (index, _) = open(directory.path());
        for n in from..from + 40 {
            index.add_object(object_id(n), &object(&[pack(n, &[&[n], &[n + 1, 7]])])).unwrap();
            assert!(!index.locate(&chunk(7), None).unwrap().is_empty());
            assert!(index.objects().unwrap().contains(&object_id(n)));
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        for from in [1000, 2000, 3000] {
            scope.spawn(move || work(from));
        }
    });
    let (index, _) = open(directory.path());
    assert_eq!(index.locate(&chunk(7), None).unwrap().len(), 120);
    assert_eq!(index.counts().unwrap().packs, 120);
}
