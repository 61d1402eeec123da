//! The home of an instance without containers: put back, refused, and on a disk that gets full.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Place, Ran, names};

/// An instance in `home`, below the place, with what `more` adds.
fn configure(place: &Place, home: &str, paths: &str, more: &str) {
    let root = place.dir.path().display();
    let config = format!(
        "version = 1\n[instance.mrs]\nhome = \"{root}/{home}\"\nrepository = \"{root}/repo\"\n\
         key = {{ file = \"{root}/password\" }}\npaths = [{paths}]\n{more}\n"
    );
    place.write("config.toml", config.as_bytes());
}

fn with_config(place: &Place, args: &[&str]) -> Ran {
    place.run_bare(&[&["-c", "config.toml"], args].concat())
}

fn ok(place: &Place, args: &[&str]) -> Ran {
    let ran = with_config(place, args);
    assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    ran
}

/// Saved with what is in `src`.
fn saved() -> Place {
    let place = Place::new();
    configure(&place, "src", "\"a.txt\", \"sub\"", "");
    ok(&place, &["init", "--kdf-memory", "8"]);
    ok(&place, &["run"]);
    place
}

#[test]
fn paths_change_places_and_everything_else_stays() {
    let place = saved();
    place.write("src/a.txt", b"changed");
    place.write("src/stays", b"stays");
    fs::write(place.path("src/sub/new"), "new").unwrap();
    let ran = ok(&place, &["restore", "latest", "src", "--dry-run"]);
    assert!(ran.stdout.contains("REPLACED: a.txt, sub (2 files"), "{ran:?}");
    assert_eq!(fs::read(place.path("src/a.txt")).unwrap(), b"changed");
    with_config(&place, &["restore", "latest", "src"]).fails(2, "is to be replaced", "--dry-run");

    ok(&place, &["restore", "latest", "src", "--yes"]);
    assert_eq!(fs::read(place.path("src/a.txt")).unwrap(), b"alpha\n");
    assert!(!place.path("src/sub/new").exists());
    assert_eq!(fs::read(place.path("src/stays")).unwrap(), b"stays");
    let ran = ok(&place, &["undo", "--list"]);
    assert!(ran.stdout.contains("home of mrs: replaced by snapshot"), "{ran:?}");
    ok(&place, &["undo", "--yes"]);
    assert_eq!(fs::read(place.path("src/a.txt")).unwrap(), b"changed");
    assert!(place.path("src/sub/new").exists());
    ok(&place, &["undo", "--yes"]);
    assert_eq!(fs::read(place.path("src/a.txt")).unwrap(), b"alpha\n");
    ok(&place, &["undo", "--drop", "--yes"]);
    assert!(!place.path(".src.mrs-backup").exists(), "{:?}", names(place.dir.path()));
    with_config(&place, &["undo", "--yes"]).fails(2, "nothing is kept of a home", "undo --list");
    assert!(ok(&place, &["undo", "--list"]).stdout.contains("nothing is kept"));
    // A part is written as into any directory.
    place.write("src/a.txt", b"changed again");
    ok(&place, &["restore", "latest", "src", "--path", "a.txt", "--yes"]);
    assert_eq!(fs::read(place.path("src/a.txt")).unwrap(), b"alpha\n");
    assert!(!place.path(".src.mrs-backup").exists());
}

#[test]
fn what_nobody_can_mean_is_refused() {
    let place = saved();
    place.write("src/a.txt", b"changed");
    let refused = |code: i32, words: &str, hint: &str| {
        let ran = with_config(&place, &["restore", "latest", "src", "--yes"]);
        ran.fails(code, words, hint);
        assert_eq!(fs::read(place.path("src/a.txt")).unwrap(), b"changed");
        assert!(!place.path(".src.mrs-backup").exists());
    };
    configure(&place, "src", "\".\"", "");
    refused(1, "`paths` has the whole home", "one by one");
    configure(&place, "src", "\"never\"", "");
    refused(1, "has none of the paths", "mrs-backup ls");
    configure(&place, "src", "\"a.txt\"", "protected = true");
    refused(2, "`mrs` is protected", "--confirm mrs");
    ok(&place, &["restore", "latest", "src", "--confirm", "mrs"]);
    ok(&place, &["undo", "--confirm", "mrs"]);
    ok(&place, &["undo", "--drop", "--yes"]);
    // Another instance's data.
    configure(&place, "src", "\"a.txt\"", "");
    let text = fs::read_to_string(place.path("config.toml")).unwrap();
    place.write("config.toml", text.replace("instance.mrs", "instance.staging").as_bytes());
    let restore = ["restore", "latest:mrs", "src", "--yes"];
    with_config(&place, &restore).fails(
        1,
        "is of instance `mrs`, not of `staging`",
        "--other-instance",
    );
    assert_eq!(fs::read(place.path("src/a.txt")).unwrap(), b"changed");
    ok(&place, &[&restore[..], &["--other-instance"]].concat());
    assert_eq!(fs::read(place.path("src/a.txt")).unwrap(), b"alpha\n");
}

/// A small disk of its own, while it lives.
struct Disk<'p>(&'p Path);

impl<'p> Disk<'p> {
    fn mount(at: &'p Path, size: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={size},nr_inodes=100000");
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status();
        assert!(status.is_ok_and(|status| status.success()), "this test needs root, for mount");
        Self(at)
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_everything_as_it_was() {
    let place = Place::new();
    let disk = place.path("disk");
    let _disk = Disk::mount(&disk, "24m");
    // Small files take a page each, which nobody can know beforehand.
    fs::create_dir_all(disk.join("home/many")).unwrap();
    for number in 0..4000 {
        fs::write(disk.join(format!("home/many/{number}")), b"x").unwrap();
    }
    configure(&place, "disk/home", "\"many\"", "");
    ok(&place, &["init", "--kdf-memory", "8"]);
    ok(&place, &["run"]);
    fs::write(disk.join("home/many/0"), "changed").unwrap();
    let ran = with_config(&place, &["restore", "latest", "disk/home", "--yes"]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stderr.contains("nothing was replaced"),
        "{}",
        &ran.stderr[ran.stderr.len().saturating_sub(500)..]
    );
    assert_eq!(fs::read(disk.join("home/many/0")).unwrap(), b"changed");
    assert_eq!(fs::read_dir(disk.join("home/many")).unwrap().count(), 4000);
    let left: Vec<_> = fs::read_dir(&disk).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(left, ["home"], "nothing is left beside");
    // What is known beforehand is said before anything is written.
    fs::write(disk.join("home/large"), vec![7; 6 << 20]).unwrap();
    configure(&place, "disk/home", "\"large\"", "");
    ok(&place, &["run"]);
    fs::write(disk.join("fill"), vec![1; 1 << 20]).unwrap();
    let ran = with_config(&place, &["restore", "latest", "disk/home", "--yes"]);
    ran.fails(1, "are needed", "it needs the room twice");
}
