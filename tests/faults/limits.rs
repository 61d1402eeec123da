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
