//! The local index is a cache: whatever became of its file, a run works, and nothing is deleted that
//! somebody may want to look at.

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;

use crate::{Rig, support};

fn directory(rig: &Rig) -> PathBuf {
    let mut found = fs::read_dir(rig.path("state"))
        .expect("a state directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir() && path.file_name().is_some_and(|name| name.len() == 64));
    let directory = found.next().expect("an index");
    assert_eq!(found.next(), None);
    directory
}

fn file(rig: &Rig) -> PathBuf {
    directory(rig).join("index-v1.sqlite")
}

fn set_aside(rig: &Rig) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(directory(rig))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.display().to_string().contains(".set-aside-"))
        .filter(|path| !path.display().to_string().ends_with("-wal"))
        .filter(|path| !path.display().to_string().ends_with("-shm"))
        .collect();
    found.sort();
    found
}

fn replace(rig: &Rig, bytes: &[u8]) {
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(directory(rig).join(format!("index-v1.sqlite{suffix}")));
    }
    fs::write(file(rig), bytes).expect("written");
}

/// Backs up and expects that no content is stored again.
#[track_caller]
fn backup_stores_nothing(rig: &Rig) {
    let summary = rig.backup();
    // The directories above `data` are made up, with the time of the run.
    assert!(summary["new_bytes"].as_u64().expect("a number") < 1000, "{summary}");
    rig.assert_restores("latest");
}

#[test]
fn a_file_that_cannot_be_used_is_set_aside_and_kept() {
    let rig = Rig::filled();
    let stranger = Rig::filled();
    let of_other = fs::read(file(&stranger)).expect("an index");
    type Spoil<'a> = Box<dyn Fn() + 'a>;
    let spoils: [(&str, Spoil<'_>); 4] = [
        ("garbage", Box::new(|| replace(&rig, &support::noise(1, 50_000)))),
        ("text", Box::new(|| replace(&rig, b"this is no database\n"))),
        (
            "from the future",
            Box::new(|| {
                let connection = Connection::open(file(&rig)).expect("a database");
                connection.pragma_update(None, "user_version", 99).expect("a version");
                let _: i64 = connection
                    .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
                    .expect("a checkpoint");
            }),
        ),
        ("of another repository", Box::new(|| replace(&rig, &of_other))),
    ];
    for (number, (what, spoil)) in spoils.iter().enumerate() {
        println!("{what}");
        spoil();
        let spoilt = fs::read(file(&rig)).expect("an index");
        let data = crate::text(&rig.path("data"));
        let ran = rig.run(&["backup", &data]).expect(0);
        ran.mentions(&["the local index was unusable", ".set-aside-"]);
        let aside = set_aside(&rig);
        assert_eq!(aside.len(), number + 1, "{what}: {aside:?}");
        assert!(
            aside.iter().any(|path| fs::read(path).expect("a file") == spoilt),
            "{what}: it was changed or deleted"
        );
        backup_stores_nothing(&rig);
    }
    rig.assert_clean();
}

#[test]
fn an_empty_or_missing_file_is_filled_again_and_everything_is_found() {
    let rig = Rig::filled();
    replace(&rig, b"");
    backup_stores_nothing(&rig);
    fs::remove_dir_all(directory(&rig)).expect("removed");
    backup_stores_nothing(&rig);
    fs::remove_dir_all(rig.path("state")).expect("removed");
    backup_stores_nothing(&rig);
    assert!(set_aside(&rig).is_empty());
    rig.assert_clean();
}

/// Cheap looks at the start cannot find it: it is met in the middle of the work.
#[test]
fn a_file_damaged_inside_is_made_anew() {
    let rig = Rig::filled();
    let connection = Connection::open(file(&rig)).expect("a database");
    let _: i64 = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .expect("a checkpoint");
    drop(connection);
    let mut bytes = fs::read(file(&rig)).expect("an index");
    for page in bytes[4096 * 2..].chunks_mut(4096) {
        page[..200].fill(0x5a);
    }
    replace(&rig, &bytes);
    let data = crate::text(&rig.path("data"));
    // It makes the index anew and starts again, by itself.
    rig.run(&["backup", &data]).expect(0).mentions(&["the local index", ".set-aside-1"]);
    assert_eq!(set_aside(&rig).len(), 1);
    // A command that cannot simply start again fails once, and says what to do.
    replace(&rig, &bytes);
    let ran = rig.run(&["restore", "latest", &crate::text(&rig.path("out")), "--yes"]);
    if ran.code != Some(0) {
        ran.says(&["the local index", "index-v1.sqlite"])
            .mentions(&["run it again", "mrs-backup index rebuild"]);
    }
    rig.run(&["snapshots"]).expect(0).mentions(&[".set-aside-2"]);
    rig.backup();
    rig.assert_restores("latest");
    rig.assert_clean();
}

#[test]
fn a_state_directory_that_cannot_be_made_is_named() {
    let rig = Rig::filled();
    fs::write(rig.path("file"), "").expect("written");
    let data = crate::text(&rig.path("data"));
    let state = crate::text(&rig.path("file/state"));
    rig.run(&["backup", &data, "--state-dir", &state]).expect(1).says(&["state", "file/state"]);
}
