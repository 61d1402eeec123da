//! Names of every byte, names that are long, paths that are deep.

use std::ffi::{CString, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

use crate::{Rig, support, text};

fn name(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

#[test]
fn names_of_every_byte_come_back_and_are_shown_escaped() {
    let rig = Rig::empty();
    let data = rig.path("data");
    for byte in (1..=255_u8).filter(|byte| *byte != b'/') {
        let whole = if byte == b'.' { b"...".to_vec() } else { vec![byte] };
        fs::write(data.join(name(&whole)), [byte]).expect("a file");
        fs::write(data.join(name(&[b'x', byte, b'y'])), [byte]).expect("a file");
    }
    let long = |byte: u8| name(&[byte; 255]);
    fs::write(data.join(long(b'n')), "long").expect("a file");
    fs::create_dir(data.join(long(0xff))).expect("a directory");
    fs::write(data.join(long(0xff)).join(long(b'\n')), "long").expect("a file");
    fs::write(data.join("\u{1b}]0;title\u{7}"), "x").expect("a file");
    fs::write(data.join("a\u{202e}b"), "x").expect("a file");
    std::os::unix::fs::symlink(name(b"\xff\x1b\n"), data.join("link")).expect("a link");
    let summary = rig.backup();
    assert_eq!(summary["is_complete"], true);
    rig.assert_restores("latest");
    // Nothing of it reaches a terminal.
    for args in [
        &["ls", "latest", "-r"][..],
        &["ls", "latest", "-r", "-l"],
        &["ls", "latest", "-r", "-v"],
        &["find", "*"],
        &["backup", &text(&data), "-v"],
        &["backup", &text(&data), "--dry-run"],
    ] {
        let ran = rig.run(args).expect(0);
        for letter in ran.out.chars().chain(ran.err.chars()) {
            let is_fit = letter == '\n' || !(letter.is_control() || letter == '\u{202e}');
            assert!(is_fit, "{args:?} writes {letter:?}");
        }
        assert!(!ran.out.contains('\u{fffd}'), "{args:?} writes bytes that are no text");
    }
    let ran = rig.run(&["ls", "latest", "-r", "--json"]).expect(0);
    for line in ran.out.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("one JSON object a line");
    }
    let listed = ran.out.lines().filter(|line| line.contains("\"type\":\"node\"")).count();
    let parents = data.components().count() - 1;
    assert_eq!(listed, support::tree(&data).len() - 1 + parents);
}

fn enter(parent: &OwnedFd, name: &str) -> OwnedFd {
    let name = CString::new(name).expect("a name");
    mkdirat(parent, &name, Mode::RWXU).expect("a directory");
    openat(parent, &name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).expect("a directory")
}

fn root(path: &Path) -> OwnedFd {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).expect("a directory")
}

/// 200 levels of names of 200 bytes: far longer than any path the kernel takes.
#[test]
fn deep_paths_come_back() {
    let rig = Rig::empty();
    let long = "d".repeat(200);
    let mut fd = root(&rig.path("data"));
    for _ in 0..200 {
        fd = enter(&fd, &long);
    }
    let flags = OFlags::WRONLY | OFlags::CREATE;
    let file = openat(&fd, c"bottom", flags, Mode::RUSR | Mode::WUSR).expect("a file");
    rustix::io::write(&file, b"deep").expect("written");
    let summary = rig.backup();
    assert_eq!((&summary["is_complete"], &summary["files"]), (&true.into(), &1.into()));
    let target = rig.path("restored");
    let restore = ["restore", "latest", &text(&target), "--verify", "--yes"];
    let ran = rig.run(&restore).expect(0).mentions(&["1 file restored", "4 B read back and equal"]);
    drop(ran);
    let mut fd = root(&crate::below(&target, &rig.path("data")));
    for _ in 0..200 {
        fd = openat(&fd, long.as_str(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .expect("a directory");
    }
    let file = openat(&fd, c"bottom", OFlags::RDONLY, Mode::empty()).expect("a file");
    let mut bytes = [0; 16];
    assert_eq!(rustix::io::read(&file, &mut bytes).expect("read"), 4);
    assert_eq!(&bytes[..4], b"deep");
    rig.assert_clean();
    // What is deeper than the kernel's paths, a plain removal of the temporary directory cannot remove.
    crate::tool("rm", &["-rf", &text(&rig.path("data")), &text(&target)]);
}

#[test]
fn a_root_that_is_neither_directory_nor_file_is_refused() {
    let rig = Rig::empty();
    crate::tool("mkfifo", &[&text(&rig.path("fifo"))]);
    let _socket = std::os::unix::net::UnixListener::bind(rig.path("socket")).expect("a socket");
    for path in ["/dev/null".to_owned(), text(&rig.path("fifo")), text(&rig.path("socket"))] {
        rig.run(&["backup", &path]).expect(1).says(&[&path, "neither a directory nor a file"]);
    }
    assert!(rig.snapshots().is_empty());
    // Beside something that can be stored it makes the snapshot incomplete.
    fs::write(rig.path("data/file"), "x").expect("a file");
    let ran = rig.run(&["backup", "/dev/null", &text(&rig.path("data")), "--json"]).expect(3);
    assert!(ran.summary()["incomplete"].to_string().contains("/dev/null"));
    let name = OsString::from_vec(b"caf\xe9".to_vec());
    let odd = rig.path("data").join(&name);
    fs::write(&odd, "x").expect("a file");
    rig.run(&[std::ffi::OsStr::new("backup"), odd.as_os_str()]).expect(0);
    let (_target, restored) = rig.restore("latest");
    assert!(restored.join(&name).exists(), "{:?}", name.as_bytes());
}
