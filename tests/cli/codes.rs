//! Exit codes, and what is said with them.

use std::fs;

use super::{Place, names};

#[test]
fn two_for_wrong_use() {
    let place = Place::ready();
    for args in [&["no-such-command"][..], &["backup"], &["restore", "latest"], &["check", "--x"]] {
        assert_eq!(place.run(args).code, Some(2), "{args:?}");
    }
    place.run_bare(&["snapshots"]).fails(2, "no repository is named", "--repo");
    place.run_bare(&["snapshots", "--repo", "repo"]).fails(2, "no password", "--password-file");
    place.run_bare(&["run"]).fails(2, "no configuration", "--config");
    place.run(&["backup", "src", "--exclude", "[a"]).fails(2, "[a", "");
    place.run(&["backup", "nothing-there"]).fails(2, "/nothing-there is not there", "");
    place.run(&["backup", "neither", "nor"]).fails(2, "/neither, ", "");
    place.run(&["check", "--read-data-subset", "0%"]).fails(2, "5%", "");
    let ran = place.run_bare(&["snapshots", "--repo", "ftp://user:hunter2@host/x"]);
    ran.fails(2, "a password in the arguments", "MRS_BACKUP_REPOSITORY");
    assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    // Both a password file and a key file: which one is meant?
    let both = ["snapshots", "--password-file", "password", "--key-file", "password"];
    assert_eq!(place.run_bare(&both).code, Some(2));
}

#[test]
fn two_for_an_empty_password() {
    let place = Place::new();
    place.write("empty", b"\n");
    let ran = place.run_bare(&["init", "--repo", "repo", "--password-file", "empty"]);
    ran.fails(2, "empty", "");
    assert!(!place.path("repo").exists());
    let ran = place.run_bare(&["init", "--repo", "repo"]);
    ran.fails(2, "no password", "");
    place.write("short", b"0123456789");
    place.run_bare(&["init", "--repo", "repo", "--key-file", "short"]).fails(2, "32", "");
    assert!(!place.path("repo").exists());
    for memory in ["7", "2049", "x"] {
        let ran = place.run(&["init", "--kdf-memory", memory]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
}

#[test]
fn three_for_an_incomplete_snapshot() {
    let place = Place::ready();
    let ran = place.run(&["backup", "src", "missing"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("missing") && ran.stdout.contains("INCOMPLETE"), "{ran:?}");
    let snapshots = place.snapshots();
    assert_eq!(snapshots.len(), 1);
    assert_eq!(snapshots[0]["is_complete"], false);
}

#[test]
fn ten_where_no_repository_is() {
    let place = Place::new();
    let see = |words: &str, hint: &str| {
        let before = names(&place.path("repo"));
        for args in [&["snapshots"][..], &["backup", "src"], &["check"], &["index", "rebuild"]] {
            place.run(args).fails(10, words, hint);
        }
        // It is said before anybody is asked for a password.
        place.run_bare(&["check", "--repo", "repo"]).fails(10, words, hint);
        assert_eq!(names(&place.path("repo")), before);
    };
    see("nothing is there", "mrs-backup init");
    assert!(!place.path("repo").exists());
    fs::create_dir(place.path("repo")).unwrap();
    see("empty", "mrs-backup init");
    fs::write(place.path("repo/diary"), "dear").unwrap();
    see("diary", "nothing was written");
    place.run(&["init"]).fails(1, "diary", "--repo");
    fs::remove_dir_all(place.path("repo")).unwrap();
    fs::write(place.path("repo"), "a file").unwrap();
    see("repo", "nothing was written");
    fs::remove_file(place.path("repo")).unwrap();
    for directory in ["data", "index", "keys", "locks", "snapshots"] {
        fs::create_dir_all(place.path("repo").join(directory)).unwrap();
    }
    fs::write(place.path("repo/config"), [7; 155]).unwrap();
    see("restic", "migrate restic");
    assert_ne!(place.run(&["init"]).code, Some(0));
}

#[test]
fn twelve_for_a_wrong_password() {
    let place = Place::ready();
    place.write("wrong", b"battery staple");
    let ran = place.run_bare(&["snapshots", "--repo", "repo", "--password-file", "wrong"]);
    ran.fails(12, "wrong password", "--password-file");
    assert!(!ran.stderr.contains("staple"), "{ran:?}");
    let tried = format!("tried was file {}; name another", place.text("wrong"));
    ran.fails(12, "wrong password", &tried);
    // A variable somebody left over is named.
    let mut command = place.bare();
    command.env("RESTIC_PASSWORD", "battery staple").args(["snapshots", "--repo", "repo"]);
    let ran = super::Ran::of(&mut command);
    ran.fails(
        12,
        "wrong password",
        "environment variable RESTIC_PASSWORD; unset it, or name another",
    );
    assert!(!ran.stderr.contains("staple"), "{ran:?}");
}

#[test]
fn a_key_file_is_not_called_a_password() {
    let place = Place::ready();
    place.write("key", &[42; 64]);
    place.write("other", &[43; 64]);
    let with_key = ["snapshots", "--repo", "repo", "--key-file"];
    let ran = place.run_bare(&[&with_key[..], &["key"]].concat());
    ran.fails(12, "no key slot for a key file", "--password-file");
    place.ok(&["key", "add", "--new-key-file", "key"]);
    let ran = place.run_bare(&[&with_key[..], &["other"]].concat());
    ran.fails(12, "wrong key file", "--key-file");
    assert!(ran.stderr.contains("tried 1 key slot)"), "{ran:?}");
    assert!(!ran.stderr.contains("wrong password"), "{ran:?}");
}

#[test]
fn without_config_or_keys_other_copies_are_named_and_no_check() {
    let place = Place::ready();
    let overwrite = |path: &std::path::Path, bytes: &[u8]| {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let key = names(&place.path("repo/keys")).into_iter().find(|path| path.is_file()).unwrap();
    let good = fs::read(&key).unwrap();
    overwrite(&key, &good[..good.len() / 2]);
    place.run(&["snapshots"]).fails(1, "no usable key slot", "put the objects of `keys/` back");
    overwrite(&key, &good);
    let config = place.path("repo/config");
    let half = fs::read(&config).unwrap().len() / 2;
    overwrite(&config, &fs::read(&config).unwrap()[..half]);
    let ran = place.run(&["snapshots"]);
    ran.fails(1, "config", "put `config` back");
    assert!(!ran.stderr.contains("check"), "{ran:?}");
}

#[test]
fn one_for_damage() {
    let place = Place::ready();
    place.backup();
    let pack = names(&place.path("repo/packs")).into_iter().find(|path| path.is_file()).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(&pack, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(&pack, bytes).unwrap();
    let ran = place.run(&["check", "--read-data", "--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.lines().iter().any(|line| line["type"] == "problem"), "{ran:?}");
    assert_eq!(ran.summary()["result"], "failed");
}

#[test]
fn one_for_a_snapshot_that_is_not_there() {
    let place = Place::ready();
    place.run(&["ls", "latest"]).fails(1, "no snapshot fits", "the first snapshot is made by");
    place.backup();
    place.run(&["ls", "0000ffff0000"]).fails(1, "the nearest ids are", "mrs-backup snapshots");
    let target = place.text("back");
    let ran = place.run(&["restore", "0000ffff0000", &target]);
    ran.fails(1, "no snapshot fits `0000ffff0000`", "mrs-backup snapshots");
    assert!(!place.path("back").exists(), "nothing is made for a snapshot that is not there");
    place.run(&["ls", "latest", "no/such"]).fails(1, "no/such", "mrs-backup");
    place.run(&["ls", "latest:other"]).fails(1, "latest:other", "");
    let ran = place.run(&["dump", "latest", &place.tree("")]);
    ran.fails(2, "directory", "restore");
}

#[test]
fn a_list_that_filters_emptied_does_not_say_that_nothing_is_there() {
    let place = Place::ready();
    assert!(place.ok(&["snapshots"]).stdout.contains("there are no snapshots"));
    place.backup();
    let ran = place.ok(&["snapshots", "--tag", "nope"]);
    assert!(ran.stdout.contains("none of 1 snapshot has"), "{ran:?}");
    let ran = place.run(&["restore", "latest", "out", "--include", "["]);
    ran.fails(2, "`[` is not a pattern", "");
}
