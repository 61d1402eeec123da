//! What a walk finds comes back.

use super::*;

fn make_special_files(root: &Path) {
    let dir = openat(CWD, root, OFlags::PATH, Mode::empty()).unwrap();
    let mode = Mode::from_raw_mode(0o622);
    mknodat(&dir, "fifo", FileType::Fifo, mode, 0).unwrap();
    if is_root() {
        let device = rustix::fs::makedev(1, 3);
        mknodat(&dir, "char", FileType::CharacterDevice, mode, device).unwrap();
        mknodat(&dir, "block", FileType::BlockDevice, mode, rustix::fs::makedev(7, 200)).unwrap();
        fs::hard_link(root.join("fifo"), root.join("fifo 2")).unwrap();
        for name in ["fifo", "link", "char"] {
            std::os::unix::fs::lchown(root.join(name), Some(4321), Some(8765)).unwrap();
        }
    }
    set_mode(&root.join("fifo"), 0o606);
}

fn make_everything(root: &Path) {
    fs::create_dir_all(root.join("dir/sub")).unwrap();
    let mut all: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    all.truncate(255);
    fs::write(root.join(OsStr::from_bytes(&all[..127])), "x").unwrap();
    fs::write(root.join(OsStr::from_bytes(&all[127..])), "").unwrap();
    fs::create_dir(root.join("n".repeat(255))).unwrap();
    fs::write(root.join("n".repeat(255)).join("m".repeat(255)), vec![3; 12_345]).unwrap();
    symlink("../../etc/passwd", root.join("link")).unwrap();
    symlink(OsStr::from_bytes(b"\xff\n"), root.join("dir/link")).unwrap();
    for name in ["first", "dir/second", "third"] {
        if fs::hard_link(root.join("first"), root.join(name)).is_err() {
            fs::write(root.join(name), "linked").unwrap();
        }
    }
    make_special_files(root);
    for (name, mode) in [("suid", 0o6755), ("none", 0), ("dir/sub", 0o1777), ("read", 0o444)] {
        let path = root.join(name);
        if !path.exists() {
            fs::write(&path, name).unwrap();
        }
        if is_root() && name == "suid" {
            std::os::unix::fs::chown(&path, Some(1111), Some(2222)).unwrap();
        }
        let _ = setxattr(&path, "user.test", &[0, 1, 255], XattrFlags::empty());
        set_mode(&path, mode);
    }
    let _ = setxattr(root.join("dir"), "system.posix_acl_default", &acl(7, 5), XattrFlags::empty());
    let _ =
        setxattr(root.join("third"), "system.posix_acl_access", &acl(6, 4), XattrFlags::empty());
    // CAP_NET_BIND_SERVICE, effective.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let _ = setxattr(root.join("read"), "security.capability", &capability, XattrFlags::empty());
    let _ = rustix::fs::lsetxattr(root.join("link"), "trusted.test", b"t", XattrFlags::empty());
    // 1900 and 2300 may be more than the file system can keep: then the walk finds what it kept.
    for (name, seconds, nanos) in [
        ("none", -2_208_988_800, 1),
        ("suid", 10_413_792_000, 999_999_999),
        ("link", -1, 5),
        ("dir", 0, 0),
    ] {
        set_times(&root.join(name), seconds, nanos);
    }
}

#[test]
fn everything_comes_back() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    make_everything(source.path());
    let found = collect(source.path());
    assert_eq!(found.troubles, []);
    for options in [
        TargetOptions::default(),
        TargetOptions {
            sparse: true,
            sync: true,
            numeric_owner: true,
            ..with(Overwrite::IfChanged)
        },
        TargetOptions::default(),
    ] {
        let recorder = Recorder::default();
        let opened = FilesTarget::open(&target.path().join("a/b"), options, &recorder).unwrap();
        restore(&found, &opened);
        assert_eq!(recorder.events(), []);
        assert_same(source.path(), &target.path().join("a/b"));
    }
}

/// Another machine may have given the same people other numbers.
#[test]
fn owners_are_names_where_they_are_known_and_numbers_where_that_is_asked_for() {
    if !is_root() {
        return;
    }
    let names = Names::of_system();
    let (user, group) = (names.user_id("daemon").unwrap(), names.group_id("daemon").unwrap());
    let dir = tempdir().unwrap();
    let restored = |name: &str, numeric_owner, owner: &str| {
        let mut node = file_node(name, b"x");
        (node.uid, node.gid) = (4242, 4343);
        (node.user, node.group) = (Some(owner.to_owned()), Some(owner.to_owned()));
        let options = TargetOptions { numeric_owner, ..TargetOptions::default() };
        write(&open_with(dir.path(), options), name.as_bytes(), &node, b"x").unwrap();
        let found = fs::metadata(dir.path().join(name)).unwrap();
        (found.uid(), found.gid())
    };
    assert_eq!(restored("by-name", false, "daemon"), (user, group));
    assert_eq!(restored("by-number", true, "daemon"), (4242, 4343));
    assert_eq!(restored("nobody-knows", false, "no-such-name-here"), (4242, 4343));
}

#[test]
fn deep_trees_come_back() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    make_deep(source.path(), &"long".repeat(63), 200);
    restore(&collect(source.path()), &open(target.path()));
    assert_same(source.path(), target.path());
    let options = TargetOptions { delete: true, ..TargetOptions::default() };
    assert_eq!(
        open_with(target.path(), options).remove_extra(b"", |_, _| false).unwrap().count,
        400
    );
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
}

#[test]
fn sparse_files_stay_sparse() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    let mut file = fs::File::create(source.path().join("sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    for offset in [3 << 20, 1 << 39, (1 << 40) - 4096] {
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(&[9; 4096]).unwrap();
    }
    fs::File::create(source.path().join("empty")).unwrap().set_len(123_456).unwrap();
    restore(&collect(source.path()), &open(target.path()));
    assert_same(source.path(), target.path());
    assert!(fs::metadata(target.path().join("sparse")).unwrap().blocks() < 200);
}

#[test]
fn runs_of_zeros_become_holes_if_asked() {
    let dir = tempdir().unwrap();
    let mut content = vec![0; 100_000];
    content[50_001] = 1;
    let node = file_node("f", &content);
    for (name, sparse) in [("dense", false), ("sparse", true)] {
        let target = open_with(dir.path(), TargetOptions { sparse, ..TargetOptions::default() });
        assert!(write(&target, name.as_bytes(), &node, &content).unwrap());
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), content);
        fs::File::open(dir.path().join(name)).unwrap().sync_all().unwrap();
    }
    let blocks = |name| fs::metadata(dir.path().join(name)).unwrap().blocks();
    assert!(blocks("sparse") < blocks("dense"));
}

#[test]
fn content_must_fit_its_node() {
    let dir = tempdir().unwrap();
    let target = open(dir.path());
    let mut node = file_node("f", b"1234");
    let Created::Write(writer) = target.create_file(b"f", &node).unwrap() else { panic!() };
    assert!(matches!(writer.write_at(2, b"345"), Err(TargetError::BadNode { .. })));
    assert!(writer.write_at(u64::MAX, b"345").is_err());
    drop(writer);
    node.sparse_size = Some(10);
    node.extents = Some(vec![Extent { offset: 1, len: 1 }, Extent { offset: 5, len: 2 }]);
    let Created::Write(writer) = target.create_file(b"f", &node).unwrap() else { panic!() };
    assert!(writer.write_at(0, b"1234").is_err());
    writer.write_at(0, b"123").unwrap();
    writer.finish(&node).unwrap();
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"\x001\0\0\x0023\0\0\0");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
