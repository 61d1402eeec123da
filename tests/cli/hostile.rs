//! Names that mean harm.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use super::Place;

#[test]
fn names_are_shown_escaped() {
    let place = Place::ready();
    let names: [&[u8]; 4] =
        [b"line\nbreak", b"\x1b[2J\x1b[31mred", b"not\xffutf8", "right\u{202e}left".as_bytes()];
    for name in names {
        fs::write(place.path("src").join(OsStr::from_bytes(name)), "x").unwrap();
    }
    fs::create_dir(place.path("src").join(OsStr::from_bytes(b"gone\r\x07"))).unwrap();
    let gone = OsStr::from_bytes(b"no\nsuch\x1b");
    let ran = place.run(&[OsStr::new("backup"), OsStr::new("src"), gone]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let is_clean = |text: &str| {
        text.chars().all(|letter| letter == '\n' || !letter.is_control() && letter != '\u{202e}')
    };
    assert!(is_clean(&ran.stderr) && is_clean(&ran.stdout), "{ran:?}");
    let first = place.snapshots()[0]["id"].as_str().unwrap().to_owned();
    fs::write(place.path("src").join(OsStr::from_bytes(b"new\x1b[0m")), "x").unwrap();
    place.backup();
    for args in [
        &["ls", "latest", "-r"][..],
        &["ls", "latest", "-r", "-l"],
        &["ls", "latest", "-r", "--json"],
        &["find", "*red"],
        &["diff", &first[..8], "latest"],
        &["restore", "latest", "out", "--verify"],
        &["snapshots", "--json"],
        &["stats"],
    ] {
        let ran = place.ok(args);
        assert!(is_clean(&ran.stdout) && is_clean(&ran.stderr), "{args:?}: {ran:?}");
    }
    let listed = place.ok(&["ls", "latest", &place.tree("")]).stdout;
    assert!(listed.contains("line\\x0abreak") && listed.contains("\\x1b[2J"), "{listed}");
    let entry = place.path("out").join(place.tree("")).join(OsStr::from_bytes(names[0]));
    assert_eq!(fs::read(entry).unwrap(), b"x");
}

#[test]
fn hostile_tags_and_instances_are_shown_escaped() {
    let place = Place::ready();
    place.ok(&["backup", "src", "--tag", "a\u{1b}[31m", "-i", "in\nstance"]);
    let ran = place.ok(&["snapshots"]);
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stdout.contains("in\nstance"), "{ran:?}");
}
