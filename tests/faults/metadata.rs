//! What a file has besides its bytes, at its limits.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};

use crate::{Rig, Tmpfs, support, text, tool};

fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos },
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("a time");
}

/// Every time a file system can keep; what it cannot it has changed before we look.
#[test]
fn times_of_all_ages_come_back() {
    let rig = Rig::empty();
    let disk = Tmpfs::mount(rig.path("disk"), "32m");
    let seconds = [
        i64::from(i32::MIN) - 1,
        -86_400 * 365 * 900,
        -1,
        0,
        i64::from(i32::MAX) + 1,
        4_300_000_000,
        16_000_000_000,
        400_000_000_000,
        9_000_000_000_000_000,
    ];
    // On the disk of the temporary directories, and on one that keeps all of them.
    for place in [rig.path("data"), rig.path("disk/data")] {
        fs::create_dir_all(&place).expect("a directory");
        for (number, seconds) in seconds.iter().enumerate() {
            let file = place.join(format!("file-{number}"));
            fs::write(&file, number.to_string()).expect("a file");
            set_time(&file, *seconds, 999_999_999);
            let link = place.join(format!("link-{number}"));
            symlink("nowhere", &link).expect("a link");
            set_time(&link, *seconds, 1);
            let directory = place.join(format!("directory-{number}"));
            fs::create_dir(&directory).expect("a directory");
            set_time(&directory, *seconds, 500_000_000);
        }
        let target = place.with_file_name("restored");
        for _ in 0..2 {
            rig.run(&["backup", &text(&place)]).expect(0);
        }
        rig.run(&["restore", "latest", &text(&target), "--verify"]).expect(0);
        let restored = crate::below(&target, &place);
        support::assert_same_tree(&support::tree(&place), &support::tree(&restored));
        rig.run(&["ls", "latest", "-r", "-l"]).expect(0);
        rig.run(&["ls", "latest", "-r", "--json"]).expect(0);
        rig.run(&["diff", "latest", "latest"]).expect(0);
        fs::remove_dir_all(&target).expect("removed");
    }
    rig.assert_clean();
    drop(disk);
}

#[test]
fn a_sparse_tebibyte_is_nothing() {
    const TEBIBYTE: u64 = 1 << 40;
    let rig = Rig::empty();
    let file = fs::File::create(rig.path("data/sparse")).expect("a file");
    file.set_len(TEBIBYTE).expect("this test needs a file system with files of 1 TiB");
    use std::os::unix::fs::FileExt;
    file.write_all_at(b"begin", 0).expect("written");
    file.write_all_at(&support::noise(1, 100_000), TEBIBYTE / 2 + 12_345).expect("written");
    file.write_all_at(b"end", TEBIBYTE - 3).expect("written");
    let all_hole = fs::File::create(rig.path("data/hole")).expect("a file");
    all_hole.set_len(TEBIBYTE - 1).expect("a size");
    let start = std::time::Instant::now();
    let summary = rig.backup();
    assert_eq!(summary["is_complete"], true);
    assert!(summary["new_bytes"].as_u64().expect("a number") < 1 << 20, "{summary}");
    let target = rig.path("restored");
    rig.run(&["restore", "latest", &text(&target), "--verify"]).expect(0);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    let restored = crate::below(&target, &rig.path("data/sparse"));
    let found = fs::metadata(&restored).expect("a file");
    assert_eq!(found.len(), TEBIBYTE);
    assert!(found.blocks() * 512 < 1 << 20, "{} blocks", found.blocks());
    let again = fs::File::open(&restored).expect("a file");
    let read = |offset: u64, len: usize| {
        let mut bytes = vec![0; len];
        again.read_exact_at(&mut bytes, offset).expect("bytes");
        bytes
    };
    assert_eq!(read(0, 6), b"begin\0");
    assert_eq!(read(TEBIBYTE - 4, 4), b"\0end");
    assert!(read(TEBIBYTE / 2 + 12_345, 100_000) == support::noise(1, 100_000));
    let hole = fs::metadata(restored.with_file_name("hole")).expect("a file");
    assert_eq!((hole.len(), hole.blocks()), (TEBIBYTE - 1, 0));
    rig.run(&["check", "--read-data"]).expect(0);
}

fn fill(data: &Path) {
    fs::write(data.join("one"), "the same file").expect("a file");
    fs::create_dir(data.join("sub")).expect("a directory");
    fs::hard_link(data.join("one"), data.join("sub/two")).expect("a link");
    fs::hard_link(data.join("one"), data.join("three")).expect("a link");
    tool("mkfifo", &["-m", "640", &text(&data.join("fifo"))]);
    tool("mknod", &[&text(&data.join("null")), "c", "1", "3"]);
    tool("mknod", &[&text(&data.join("loop")), "b", "7", "200"]);
    fs::write(data.join("acl"), "x").expect("a file");
    tool("setfacl", &["-m", "u:1234:rw,g:4321:r", &text(&data.join("acl"))]);
    tool("setfacl", &["-d", "-m", "u:1234:rwx", &text(&data.join("sub"))]);
    tool("setfattr", &["-n", "user.comment", "-v", "some text", &text(&data.join("one"))]);
    tool("setfattr", &["-n", "trusted.secret", "-v", "x", &text(&data.join("sub"))]);
    tool("chown", &["12345:54321", &text(&data.join("acl"))]);
    tool("chown", &["-h", "12345:54321", &text(&data.join("fifo"))]);
    for (name, mode) in [("setuid", 0o4755), ("setgid", 0o2711), ("sticky", 0o1666), ("none", 0)] {
        fs::write(data.join(name), name).expect("a file");
        tool("chown", &["777:888", &text(&data.join(name))]);
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(data.join(name), mode).expect("a mode");
    }
    fs::create_dir_all(data.join("locked/inner")).expect("directories");
    fs::write(data.join("locked/inner/file"), "x").expect("a file");
    set_time(&data.join("locked/inner/file"), 1_000_000_000, 5);
    for name in ["locked/inner", "locked"] {
        fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o555)).expect("a mode");
        set_time(&data.join(name), 1_000_000_001, 7);
    }
    set_time(data, 1_000_000_002, 9);
}

#[test]
fn everything_a_file_has_comes_back_and_a_socket_is_told() {
    assert!(rustix::process::geteuid().is_root(), "making devices needs root");
    let rig = Rig::empty();
    let data = rig.path("data");
    let socket = std::os::unix::net::UnixListener::bind(data.join("socket")).expect("a socket");
    fill(&data);
    rig.run(&["backup", &text(&data), "-v"]).expect(0).mentions(&["/data/socket", "not stored"]);
    drop(socket);
    fs::remove_file(data.join("socket")).expect("removed");
    set_time(&data, 1_000_000_002, 9);
    rig.assert_restores("latest");
    let (_target, restored) = rig.restore("latest");
    let inodes: Vec<u64> = ["one", "sub/two", "three"]
        .iter()
        .map(|name| fs::metadata(restored.join(name)).expect("a file").ino())
        .collect();
    assert!(inodes.iter().all(|inode| *inode == inodes[0]), "{inodes:?}");
    let acl = tool("getfacl", &["-pn", &text(&restored.join("acl"))]);
    assert!(acl.contains("user:1234:rw-") && acl.contains("group:4321:r--"), "{acl}");
    let acl = tool("getfacl", &["-pn", &text(&restored.join("sub"))]);
    assert!(acl.contains("default:user:1234:rwx"), "{acl}");
    // The second time everything is kept or made right, and is the same again.
    let target = text(&rig.path("twice"));
    for _ in 0..2 {
        rig.run(&["restore", "latest", &target, "--yes"]).expect(0);
        let restored = crate::below(&rig.path("twice"), &data);
        support::assert_same_tree(&support::tree(&data), &support::tree(&restored));
    }
    rig.assert_clean();
}

/// Somebody who is not root can restore into directories that nobody may write to.
#[test]
fn read_only_directories_are_restored_by_anybody() {
    assert!(rustix::process::geteuid().is_root(), "becoming another user needs root");
    let rig = Rig::filled();
    let data = rig.path("data");
    fs::set_permissions(data.join("log/old"), fs::Permissions::from_mode(0o555)).expect("a mode");
    fs::set_permissions(data.join("log"), fs::Permissions::from_mode(0o555)).expect("a mode");
    rig.backup();
    let program = rig.path("mrs-backup");
    fs::copy(crate::PROGRAM, &program).expect("copied");
    let home = rig.path("").canonicalize().expect("a path");
    tool("chown", &["-R", "65534:65534", &text(&home)]);
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
    let restore = ["restore", "latest"];
    let target = rig.path("restored");
    let command = rig.command::<&str>(&[]);
    let output = std::process::Command::new("setpriv")
        .args(user)
        .arg(&program)
        .args(restore)
        .arg(&target)
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(&home)
        .output()
        .expect("this test needs `setpriv`");
    crate::Ran::of(output).expect(0).mentions(&["0 failed"]);
    let restored = crate::below(&target, &data);
    for name in ["log", "log/old"] {
        let found = fs::metadata(restored.join(name)).expect("a directory");
        assert_eq!(found.mode() & 0o7777, 0o555, "{name}");
        assert_eq!(found.mtime_nsec(), fs::metadata(data.join(name)).expect("it").mtime_nsec());
    }
    assert!(fs::read(restored.join("log/old/3.txt")).expect("a file") == support::text(3, 500));
}
