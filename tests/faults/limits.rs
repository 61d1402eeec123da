//! What is more than a snapshot can hold, or a restore can remove.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::{Rig, Tmpfs, below, text};

/// Attributes of one file are bounded: the rest of its directory is stored and readable. The file is
/// named each time, not only the first.
#[test]
fn too_many_attributes_of_one_file_cost_only_themselves() {
    let rig = Rig::empty();
    let disk = Tmpfs::mount(rig.path("disk"), "64m");
    let data = rig.path("disk/data");
    fs::create_dir(&data).expect("a directory");
    for name in ["after", "before", "fat"] {
        fs::write(data.join(name), name).expect("a file");
    }
    for number in 0..20 {
        let name = format!("user.{number:02}");
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(data.join("fat"), name, &[7; 60_000], flags)
            .expect("this test needs attributes in tmpfs");
    }
    // What changed just now would be read again anyway.
    std::thread::sleep(Duration::from_millis(2100));
    for _ in 0..3 {
        let summary = rig.run(&["backup", &text(&data), "--json"]).expect(3).summary();
        let why = summary["incomplete"].to_string();
        assert!(why.contains("data/fat") && why.contains("1048576 bytes"), "{why}");
    }
    let target = rig.path("restored");
    rig.run(&["restore", "latest", &text(&target), "--verify"]).expect(0);
    for name in ["after", "before", "fat"] {
        let restored = fs::read_to_string(below(&target, &data).join(name)).expect("a file");
        assert_eq!(restored, name);
    }
    rig.assert_clean();
    drop(disk);
}

/// What `--delete` cannot remove is a failure of the restore.
#[test]
fn what_cannot_be_removed_is_a_failure() {
    let rig = Rig::filled();
    let target = rig.path("restored");
    rig.run(&["restore", "latest", &text(&target)]).expect(0);
    let restored = below(&target, &rig.path("data"));
    fs::write(restored.join("extra"), "x").expect("a file");
    let disk = Tmpfs::mount(restored.join("mounted"), "1m");
    let delete = ["restore", "latest", &text(&target), "--delete", "--yes"];
    rig.run(&delete).expect(3).mentions(&["1 failed", "mounted", "cannot be removed"]);
    assert!(!restored.join("extra").exists() && restored.join("mounted").is_dir());
    drop(disk);
    rig.run(&delete).expect(0).mentions(&["0 failed"]);
    assert!(!restored.join("mounted").exists());
}

/// A repository in what is backed up: it is not stored in itself, and no restore removes it.
#[test]
fn a_repository_in_its_own_source_neither_grows_by_itself_nor_goes() {
    let rig = Rig::bare();
    let data = rig.path("data");
    let repo = data.join("backup/repo");
    rig.init(&repo);
    fs::write(data.join("file"), crate::support::noise(1, 400_000)).expect("a file");
    let run = |args: &[&str]| {
        let mut command = rig.command(args);
        command.env("MRS_BACKUP_REPOSITORY", &repo).env("MRS_BACKUP_STATE_DIR", data.join("state"));
        crate::Ran::of(command.output().expect("the program runs"))
    };
    let first = run(&["backup", &text(&data), "--json", "-v"]).expect(0);
    assert_eq!(first.summary()["is_complete"], true);
    let told = first.out.matches("it is not stored in itself").count();
    assert_eq!(told, 2, "the repository and its index: {first:#?}");
    let again = run(&["backup", &text(&data), "--json"]).expect(0).summary();
    assert!(again["new_bytes"].as_u64().expect("a number") < 20_000, "{again}");
    let before = crate::contents(&repo.join("packs"));
    fs::write(data.join("extra"), "x").expect("a file");
    let place = text(&data);
    let back = ["restore", "latest", &place, "--path", &place, "--delete", "--yes"];
    run(&back).expect(0).mentions(&["data/extra", "0 failed"]);
    assert!(!data.join("extra").exists());
    assert!(before == crate::contents(&repo.join("packs")), "the repository was touched");
    run(&["check", "--read-data"]).expect(0);
    assert_eq!(run(&["snapshots", "--json"]).expect(0).summary()["snapshots"], 2);
}

/// What was mounted in a directory that was backed up with `-x` was not stored: it is not removed either.
#[test]
fn what_is_mounted_where_a_walk_did_not_go_stays() {
    let rig = Rig::empty();
    let data = rig.path("data");
    fs::write(data.join("file"), "x").expect("a file");
    let disk = Tmpfs::mount(data.join("disk"), "1m");
    fs::write(data.join("disk/precious"), "x").expect("a file");
    rig.run(&["backup", "-x", &text(&data)]).expect(0);
    fs::write(data.join("extra"), "x").expect("a file");
    let data_text = text(&data);
    let back = ["restore", "latest", &data_text, "--path", &data_text, "--delete", "--yes"];
    rig.run(&back).expect(0).mentions(&["1 entry REMOVED", "0 failed"]);
    assert!(data.join("disk/precious").exists() && !data.join("extra").exists());
    drop(disk);
    // Nothing is mounted there now: what lies there instead is not of the snapshot.
    fs::write(data.join("disk/stray"), "x").expect("a file");
    rig.run(&back).expect(0).mentions(&["1 entry REMOVED"]);
    assert!(!data.join("disk/stray").exists());
}

/// Of a hard-linked file only further names are restored: one gets the content, the others are it.
#[test]
fn links_are_restored_without_their_first_name() {
    let rig = Rig::empty();
    let data = rig.path("data");
    fs::create_dir(data.join("sub")).expect("a directory");
    fs::write(data.join("first"), "the content").expect("a file");
    for name in ["sub/second", "sub/third"] {
        fs::hard_link(data.join("first"), data.join(name)).expect("a link");
    }
    rig.backup();
    let sub = text(&data.join("sub"));
    let ways: [(&[&str], &str); 4] = [
        (&["--path", &sub], ""),
        (&["--include", "sub"], "sub"),
        (&["--exclude", "first"], "sub"),
        (&["--path", &text(&data.join("sub/third"))], ""),
    ];
    for (number, (options, place)) in ways.into_iter().enumerate() {
        let target = rig.path(&format!("restored-{number}"));
        let mut args = vec!["restore", "latest"];
        let shown = text(&target);
        args.push(&shown);
        args.extend(options);
        rig.run(&args).expect(0).mentions(&["0 failed"]);
        let restored = if place.is_empty() { target } else { below(&target, &data).join(place) };
        let third = fs::metadata(restored.join("third")).expect("a file");
        assert_eq!(fs::read(restored.join("third")).expect("a file"), b"the content");
        if number < 3 {
            let second = fs::metadata(restored.join("second")).expect("a file");
            assert_eq!((second.ino(), second.nlink()), (third.ino(), 2));
        }
    }
}
