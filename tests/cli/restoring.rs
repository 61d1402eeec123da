//! What a restore asks before it acts.

use std::fs;

use super::Place;

#[test]
fn a_target_with_files_needs_assent() {
    let place = Place::ready();
    place.backup();
    let path = place.tree("");
    let part = ["restore", "latest", "out", "--path", &path];
    fs::create_dir(place.path("out")).unwrap();
    place.ok(&part);
    fs::write(place.path("out/a.txt"), "precious").unwrap();
    place.run(&part).fails(2, "is not empty", "--yes");
    assert_eq!(fs::read(place.path("out/a.txt")).unwrap(), b"precious");
    place.ok(&[&part[..], &["--yes", "--overwrite", "never"]].concat());
    assert_eq!(fs::read(place.path("out/a.txt")).unwrap(), b"precious");
    place.ok(&[&part[..], &["--yes"]].concat());
    assert_eq!(fs::read(place.path("out/a.txt")).unwrap(), b"alpha\n");
}

#[test]
fn removing_always_needs_assent() {
    let place = Place::ready();
    place.backup();
    let path = place.tree("");
    let part = ["restore", "latest", "out", "--path", &path, "--delete"];
    place.run(&part).fails(2, "removed", "--yes");
    assert!(!place.path("out").exists());
    fs::create_dir(place.path("out")).unwrap();
    fs::write(place.path("out/extra"), "x").unwrap();
    let ran = place.run(&part);
    ran.fails(2, "1 entry", "--yes");
    assert!(ran.stdout.contains("REMOVED") && ran.stdout.contains("out/extra"), "{ran:?}");
    assert!(place.path("out/extra").exists());
    place.ok(&[&part[..], &["--yes"]].concat());
    assert!(!place.path("out/extra").exists() && place.path("out/a.txt").exists());
}

#[test]
fn parts_are_chosen() {
    let place = Place::ready();
    place.backup();
    let path = place.tree("");
    place.ok(&["restore", "latest", "one", "--path", &path, "--include", "*.txt", "-e", "b.txt"]);
    assert!(place.path("one/a.txt").exists() && !place.path("one/sub/b.txt").exists());
    place.run(&["restore", "latest", "two", "--path", "no/such"]).fails(1, "no/such", "ls");
    place.run(&["restore", "latest", "two", "--include", "[a"]).fails(2, "[a", "");
    let nothing = ["restore", "latest", "two", "--include", "no.such", "--include", "nor.this"];
    place.run(&nothing).fails(1, "nothing in the snapshot fits `no.such`, `nor.this`", "find");
    assert!(!place.path("two").exists());
}

#[test]
fn a_file_in_the_place_of_the_target_is_told_before_anything_is_asked() {
    let place = Place::ready();
    place.backup();
    std::os::unix::fs::symlink("nowhere", place.path("dangling")).unwrap();
    for (target, named) in [
        ("password", "password is not a directory"),
        ("password/below/it", "password is not a directory"),
        ("dangling/below", "dangling is not a directory"),
    ] {
        for rest in [&[][..], &["--yes"], &["--dry-run"]] {
            let ran = place.run(&[&["restore", "latest", target], rest].concat());
            ran.fails(1, named, "another target");
        }
    }
}

#[test]
fn a_snapshot_is_named_by_date_too() {
    let place = Place::ready();
    place.backup();
    let today = jiff::Zoned::now().date().to_string();
    place.ok(&["restore", &today, "out"]);
    place.run(&["restore", "2001-01-01", "out2"]).fails(1, "2001-01-01", "snapshots");
}
