//! Nothing is written outside, whatever tree and target try.

use super::*;

#[test]
fn paths_of_hostile_trees_are_refused() {
    let dir = tempdir().unwrap();
    let target = open(&dir.path().join("target"));
    let long = vec![b'x'; 5000];
    for path in [
        &b".."[..],
        b"../x",
        b"a/../../x",
        b"/x",
        b"/etc/x",
        b"a//b",
        b"a/",
        b".",
        b"./x",
        b"a\0b",
        &long,
    ] {
        let node = file_node("x", b"");
        let shown = path.escape_ascii().to_string();
        assert!(target.create_file(path, &node).is_err(), "{shown}");
        assert!(target.make_directory(path).is_err(), "{shown}");
        assert!(target.make_other(path, &symlink_node("x")).is_err(), "{shown}");
        assert!(target.finish_directory(path, &directory_node()).is_err(), "{shown}");
    }
    assert!(target.create_file(b"", &file_node("x", b"")).is_err());
    assert_eq!(fs::read_dir(dir.path().join("target")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// A target with the link `link` to a directory outside that has the file `secret`.
pub(super) fn with_link() -> (TempDir, TempDir) {
    let (dir, outside) = (tempdir().unwrap(), tempdir().unwrap());
    fs::write(outside.path().join("secret"), "secret").unwrap();
    symlink(outside.path(), dir.path().join("link")).unwrap();
    (dir, outside)
}

pub(super) fn assert_untouched(outside: &TempDir) {
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn links_in_the_target_are_not_followed() {
    for overwrite in [Overwrite::Always, Overwrite::IfChanged, Overwrite::Never] {
        let (dir, outside) = with_link();
        let options = TargetOptions { delete: true, ..with(overwrite) };
        let target = open_with(dir.path(), options);
        let node = file_node("x", b"new");
        for path in [&b"link/x"[..], b"link/secret", b"link/a/b"] {
            assert!(write(&target, path, &node, b"new").is_err());
            assert!(target.make_directory(path).is_err());
            assert!(target.make_other(path, &symlink_node("x")).is_err());
        }
        assert!(target.finish_directory(b"link", &directory_node()).is_err());
        assert!(target.remove_extra(b"link", |_, _| false).is_err());
        let made = target.make_directory(b"link");
        assert_eq!(made.is_ok(), overwrite == Overwrite::Always);
        if let Err(error) = made {
            assert!(error.to_string().contains("link: a symbolic link is in the way"), "{error}");
        }
        assert_untouched(&outside);
        assert!(target.remove_extra(b"", |_, _| false).is_ok());
        assert_untouched(&outside);
    }
}

#[test]
fn a_link_where_a_file_belongs_is_replaced_itself() {
    let (dir, outside) = with_link();
    symlink(outside.path().join("secret"), dir.path().join("file")).unwrap();
    let target = open(dir.path());
    for path in [&b"file"[..], b"link"] {
        assert!(write(&target, path, &file_node("x", b"new"), b"new").unwrap());
        let path = dir.path().join(OsStr::from_bytes(path));
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read(path).unwrap(), b"new");
    }
    assert_untouched(&outside);
}

#[test]
fn a_tree_cannot_lead_through_its_own_link() {
    let (dir, outside) = with_link();
    let target = open(dir.path());
    target.make_directory(b"a").unwrap();
    target.make_directory(b"a/b").unwrap();
    write(&target, b"a/b/kept-open", &file_node("x", b""), b"").unwrap();
    let link = symlink_node(outside.path().to_str().unwrap());
    target.make_other(b"trap", &link).unwrap();
    assert!(write(&target, b"trap/secret", &file_node("x", b""), b"").is_err());
    // A directory of the tree that somebody swaps for a link: what is open stays what it was.
    fs::rename(dir.path().join("a/b"), dir.path().join("moved")).unwrap();
    symlink(outside.path(), dir.path().join("a/b")).unwrap();
    let _ = write(&target, b"a/b/secret", &file_node("x", b""), b"");
    let _ = target.finish_directory(b"a/b", &directory_node());
    target.directories.forget(b"a");
    assert!(write(&target, b"a/b/secret", &file_node("x", b""), b"").is_err());
    assert_untouched(&outside);
}

#[test]
fn old_kernels_are_as_safe() {
    let (dir, _outside) = with_link();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    let root = openat(CWD, dir.path(), OFlags::PATH, Mode::empty()).unwrap();
    assert!(paths::resolve_by_names(root.as_fd(), b"a/b").is_ok());
    assert!(paths::resolve_by_names(root.as_fd(), b"link").is_err());
    assert!(paths::resolve_by_names(root.as_fd(), b"link/x").is_err());
    assert!(paths::resolve_by_names(root.as_fd(), b"a/c").is_err());
}
