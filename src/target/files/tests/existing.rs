//! What is there already, and what the system does not allow.

use super::safety::{assert_untouched, with_link};
use super::*;

#[test]
fn files_are_whole_or_not_there() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("f"), "old").unwrap();
    let target = open(dir.path());
    let node = file_node("f", b"new!");
    let Created::Write(writer) = target.create_file(b"f", &node).unwrap() else { panic!() };
    writer.write_at(0, b"ne").unwrap();
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"old");
    let options = TargetOptions { delete: true, ..TargetOptions::default() };
    let other = open_with(dir.path(), options);
    let keep = BTreeSet::from([b"f".to_vec()]);
    assert_eq!(
        other.remove_extra(b"", |name, _| keep.contains(name)).unwrap().count,
        1,
        "left by another restore"
    );
    assert!(writer.finish(&node).is_err());
    let Created::Write(writer) = target.create_file(b"f", &node).unwrap() else { panic!() };
    drop(writer);
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"old");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let Created::Write(writer) = other.create_file(b"f", &node).unwrap() else { panic!() };
    assert_eq!(
        other.remove_extra(b"", |name, _| keep.contains(name)).unwrap().count,
        0,
        "its own stays"
    );
    writer.write_at(0, b"new!").unwrap();
    writer.finish(&node).unwrap();
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"new!");
}

#[test]
fn what_is_there_is_overwritten_as_asked() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("f");
    let mut node = file_node("f", b"new");
    (node.mtime, node.mtime_nanos) = (1000, 7);
    let attempt = |overwrite| write(&open_with(dir.path(), with(overwrite)), b"f", &node, b"new");
    fs::write(&path, "old").unwrap();
    assert!(!attempt(Overwrite::Never).unwrap());
    set_times(&path, 1000, 7);
    set_mode(&path, 0o600);
    assert!(!attempt(Overwrite::IfChanged).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644, "the metadata is restored");
    set_times(&path, 1000, 8);
    assert!(attempt(Overwrite::IfChanged).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert!(attempt(Overwrite::Always).unwrap());
    fs::remove_file(&path).unwrap();
    assert!(attempt(Overwrite::Never).unwrap());
    fs::write(dir.path().join("l"), "").unwrap();
    open_with(dir.path(), with(Overwrite::Never)).make_other(b"l", &symlink_node("x")).unwrap();
    assert!(dir.path().join("l").is_file());
    let never = open_with(dir.path(), with(Overwrite::Never));
    never.make_directory(b"").unwrap();
    never.finish_directory(b"", &Node { mode: 0o123, ..directory_node() }).unwrap();
    assert_ne!(fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o123);
}

#[test]
fn directories_in_the_way_go_only_if_nothing_is_lost() {
    let dir = tempdir().unwrap();
    let node = file_node("f", b"x");
    fs::create_dir(dir.path().join("f")).unwrap();
    let changed = open_with(dir.path(), with(Overwrite::IfChanged));
    assert!(matches!(write(&changed, b"f", &node, b"x"), Err(TargetError::InTheWay { .. })));
    assert!(write(&open(dir.path()), b"f", &node, b"x").unwrap());
    fs::remove_file(dir.path().join("f")).unwrap();
    fs::create_dir_all(dir.path().join("f/sub")).unwrap();
    let error = write(&open(dir.path()), b"f", &node, b"x").unwrap_err().to_string();
    assert!(error.contains("not empty is in the way"), "{error}");
    let options = TargetOptions { delete: true, ..TargetOptions::default() };
    assert!(write(&open_with(dir.path(), options), b"f", &node, b"x").unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn extra_entries_are_removed_only_if_asked() {
    let (dir, outside) = with_link();
    fs::create_dir_all(dir.path().join("sub/a/b")).unwrap();
    fs::write(dir.path().join("sub/a/f"), "").unwrap();
    symlink(outside.path(), dir.path().join("sub/a/link")).unwrap();
    fs::write(dir.path().join("sub/keep"), "").unwrap();
    let keep = BTreeSet::from([b"keep".to_vec()]);
    assert_eq!(
        open(dir.path()).remove_extra(b"sub", |name, _| keep.contains(name)).unwrap().count,
        0
    );
    let options = TargetOptions { delete: true, ..TargetOptions::default() };
    assert_eq!(
        open_with(dir.path(), options)
            .remove_extra(b"sub", |name, _| keep.contains(name))
            .unwrap()
            .count,
        4
    );
    assert_eq!(fs::read_dir(dir.path().join("sub")).unwrap().count(), 1);
    assert_untouched(&outside);
}

#[test]
fn further_links_need_their_first() {
    let dir = tempdir().unwrap();
    let target = open(dir.path());
    let mut first = file_node("a", b"x");
    first.hard_link = Some(5);
    let further = Node { is_further_link: true, content: None, ..first.clone() };
    assert!(matches!(target.make_other(b"b", &further), Err(TargetError::LinkMissing { .. })));
    write(&target, b"a", &first, b"x").unwrap();
    // Twice: renaming one name of a file to another is nothing to the kernel.
    for _ in 0..2 {
        target.make_other(b"b", &further).unwrap();
    }
    assert_eq!(fs::metadata(dir.path().join("b")).unwrap().nlink(), 2);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    fs::write(dir.path().join("other"), "").unwrap();
    fs::rename(dir.path().join("other"), dir.path().join("a")).unwrap();
    assert!(target.make_other(b"c", &further).is_err(), "another file by now");
}

#[test]
fn bad_nodes_and_attributes_are_told_of() {
    let dir = tempdir().unwrap();
    let recorder = Recorder::default();
    let target = FilesTarget::open(dir.path(), TargetOptions::default(), &recorder).unwrap();
    for kind in [NodeKind::CharDevice, NodeKind::Directory, NodeKind::Symlink] {
        let node = Node::new("x", kind);
        assert!(matches!(target.make_other(b"x", &node), Err(TargetError::BadNode { .. })));
    }
    let mut node = file_node("x", b"");
    for name in [&b"nonsense"[..], b"user.a\0b", b"odd.name"] {
        node.xattrs.push(Xattr { name: name.to_vec(), value: Vec::new() });
    }
    node.uid = u32::MAX;
    for _ in 0..3 {
        write(&target, b"x", &node, b"").unwrap();
    }
    assert_eq!(recorder.events().len(), 2, "{:?}", recorder.events());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn attributes_of_the_directory_do_not_stay_on_files() {
    let dir = tempdir().unwrap();
    let flags = XattrFlags::empty();
    if setxattr(dir.path(), "system.posix_acl_default", &acl(7, 7), flags).is_err() {
        return;
    }
    let target = open(dir.path());
    write(&target, b"f", &Node { mode: 0o640, ..file_node("f", b"") }, b"").unwrap();
    target.make_directory(b"d").unwrap();
    target.finish_directory(b"d", &directory_node()).unwrap();
    let found = collect(dir.path());
    assert_eq!((found.node("f").mode, found.node("d").mode), (0o640, 0o755));
    for path in ["f", "d"] {
        let names = found.node(path).xattrs.iter().map(|xattr| &xattr.name);
        assert!(names.into_iter().all(|name| !name.starts_with(b"system.")), "{path}");
    }
}

#[test]
fn a_missing_acl_gives_the_group_no_more() {
    let mut node = file_node("f", b"");
    node.mode = 0o670;
    node.xattrs.push(Xattr { name: b"system.posix_acl_access".to_vec(), value: acl(7, 4) });
    assert_eq!(super::super::metadata::mode_without_acl(&node) & node.mode, 0o640);
    node.xattrs[0].value.truncate(5);
    assert_eq!(super::super::metadata::mode_without_acl(&node) & node.mode, 0o600);
}

/// What the test below does as a user without rights, in the directory it is given.
fn restore_without_rights(dir: &std::ffi::OsStr) {
    let recorder = Recorder::default();
    let target = FilesTarget::open(Path::new(dir), TargetOptions::default(), &recorder).unwrap();
    for name in ["a", "b"] {
        let mut node = file_node(name, b"x");
        (node.uid, node.gid, node.mode) = (0, 0, 0o6555);
        node.xattrs.push(Xattr { name: b"user.x".to_vec(), value: b"v".to_vec() });
        write(&target, name.as_bytes(), &node, b"x").unwrap();
        let path = Path::new(dir).join(name);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o555);
    }
    assert_eq!(recorder.events().len(), 1, "{:?}", recorder.events());
    let mut device = Node::new("d", NodeKind::BlockDevice);
    device.device = Some(Device { major: 1, minor: 1 });
    let error = target.make_other(b"d", &device).unwrap_err().to_string();
    assert!(error.contains("cannot make the block device"), "{error}");
}

#[test]
fn without_rights_there_is_one_warning() {
    use std::os::unix::process::CommandExt as _;
    // The test runs itself again as somebody else.
    if let Some(dir) = std::env::var_os("MRS_BACKUP_TEST_DIRECTORY") {
        return restore_without_rights(&dir);
    }
    if !is_root() {
        return;
    }
    let dir = tempdir().unwrap();
    std::os::unix::fs::chown(dir.path(), Some(65_534), Some(65_534)).unwrap();
    // Somebody else may not be allowed to run what is in our home.
    let program = dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let restored = dir.path().join("restored");
    let output = std::process::Command::new(&program)
        .args(["--exact", "target::files::tests::existing::without_rights_there_is_one_warning"])
        .env("MRS_BACKUP_TEST_DIRECTORY", &restored)
        .current_dir(dir.path())
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(restored.join("b").exists());
}
