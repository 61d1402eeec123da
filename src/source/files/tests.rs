use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, XattrFlags, mkdirat, openat};

use crate::snapshot::{Node, NodeKind, StreamRef};

use super::*;

type EnterHook = Box<dyn FnMut(&[u8])>;
type ReadHook = Box<dyn FnMut(&[u8], bool)>;

/// What a walk showed, by path. Content is kept beside the nodes, which get only its length.
#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) nodes: BTreeMap<Vec<u8>, (Node, Vec<u8>)>,
    pub(crate) order: Vec<Vec<u8>>,
    pub(crate) stamps: BTreeMap<Vec<u8>, FileStamp>,
    pub(crate) troubles: Vec<(Vec<u8>, Trouble)>,
    pub(crate) unchanged: Vec<Vec<u8>>,
    /// Files of earlier walks.
    pub(crate) known: BTreeMap<Vec<u8>, FileStamp>,
    directories: Vec<Vec<u8>>,
    /// Called with the path of a directory that was entered.
    pub(crate) on_enter: Option<EnterHook>,
    /// Called with a file's path before the first and after the last byte is read.
    pub(crate) on_read: Option<ReadHook>,
    /// Called with a file's path before it is opened.
    on_look: Option<EnterHook>,
    /// Files that changed while they were read.
    pub(crate) changed: Vec<Vec<u8>>,
}

impl Collected {
    fn path(&self, name: &[u8]) -> Vec<u8> {
        match self.directories.last() {
            None => Vec::new(),
            Some(directory) if directory.is_empty() => name.to_vec(),
            Some(directory) => [directory, &b"/"[..], name].concat(),
        }
    }

    fn keep(&mut self, path: Vec<u8>, node: Node, content: Vec<u8>) {
        assert!(self.nodes.insert(path.clone(), (node, content)).is_none(), "shown twice");
        self.order.push(path);
    }

    pub(crate) fn node(&self, path: &str) -> &Node {
        &self.nodes[path.as_bytes()].0
    }
}

impl TreeVisitor for Collected {
    type Error = io::Error;

    fn enter_directory(&mut self, mut node: Node, path: &[u8]) -> io::Result<()> {
        assert_eq!(path, self.path(&node.name));
        node.content = Some(StreamRef::default());
        self.keep(path.to_vec(), node, Vec::new());
        self.directories.push(path.to_vec());
        if let Some(hook) = &mut self.on_enter {
            hook(path);
        }
        Ok(())
    }

    fn is_unchanged(&mut self, name: &[u8], stamp: &FileStamp, _: Option<u64>) -> io::Result<bool> {
        let path = self.path(name);
        if let Some(hook) = &mut self.on_look {
            hook(&path);
        }
        let is_known = self.known.get(&path) == Some(stamp);
        if is_known {
            self.unchanged.push(path);
        }
        Ok(is_known)
    }

    fn file(
        &mut self,
        mut node: Node,
        stamp: &FileStamp,
        content: &mut FileContent,
    ) -> io::Result<()> {
        let path = self.path(&node.name);
        let mut bytes = Vec::new();
        if let Some(hook) = &mut self.on_read {
            hook(&path, false);
        }
        content.read_to_end(&mut bytes)?;
        if let Some(hook) = &mut self.on_read {
            hook(&path, true);
        }
        if content.changed_while_reading() {
            self.changed.push(path.clone());
        }
        node.content = Some(StreamRef { len: bytes.len() as u64, ..StreamRef::default() });
        node.extents = content.extents();
        node.is_torn = content.is_torn();
        self.stamps.insert(path.clone(), *stamp);
        self.keep(path, node, bytes);
        Ok(())
    }

    fn other(&mut self, node: Node) -> io::Result<()> {
        self.keep(self.path(&node.name), node, Vec::new());
        Ok(())
    }

    fn leave_directory(&mut self) -> io::Result<()> {
        self.directories.pop();
        Ok(())
    }

    fn trouble(&mut self, path: &[u8], trouble: Trouble) -> io::Result<()> {
        self.troubles.push((path.to_vec(), trouble));
        Ok(())
    }
}

/// Walks `root`, leaving nothing out.
pub(crate) fn collect(root: &Path) -> Collected {
    collect_with(root, &WalkOptions::default(), Collected::default())
}

pub(crate) fn collect_with(root: &Path, options: &WalkOptions, mut into: Collected) -> Collected {
    walk(root, options, &mut into).unwrap();
    assert!(into.directories.is_empty());
    into
}

fn paths(collected: &Collected) -> Vec<String> {
    collected.order.iter().map(|path| path.escape_ascii().to_string()).collect()
}

fn touch(path: impl AsRef<Path>) {
    fs::write(path, "x").unwrap();
}

#[test]
fn everything_comes_in_order_with_its_metadata() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for name in ["b", "b/sub", "z"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    fs::write(root.join("b/file"), "hello").unwrap();
    touch(root.join("b.txt"));
    touch(root.join(std::ffi::OsStr::from_bytes(b"\xff\n")));
    symlink("../nowhere", root.join("b/link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let found = collect(root);
    let expected = ["", "b", "b/file", "b/link", "b/sub", "b.txt", "z", "\\xff\\n"];
    assert_eq!(paths(&found), expected);
    assert_eq!(found.troubles, [(b"socket".to_vec(), Trouble::SkippedSocket)]);
    assert_eq!(found.nodes[&b"b/file"[..]].1, b"hello");
    assert_eq!(found.node("b/link").link_target.as_deref(), Some(&b"../nowhere"[..]));
    let metadata = fs::metadata(root.join("b/file")).unwrap();
    let node = found.node("b/file");
    assert_eq!(
        (node.mode, node.uid, node.gid),
        (metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
    );
    assert_eq!(
        (node.mtime, i64::from(node.mtime_nanos)),
        (metadata.mtime(), metadata.mtime_nsec())
    );
    assert_eq!(found.node("").name, root.file_name().unwrap().as_bytes());
    let mut again = Collected { known: found.stamps, ..Collected::default() };
    again = collect_with(root, &WalkOptions::default(), again);
    assert_eq!(again.unchanged.len(), 3);
    assert!(again.stamps.is_empty());
}

#[test]
fn a_root_may_be_a_file_or_a_link_or_missing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    touch(&file);
    let found = collect(&file);
    assert_eq!(found.node("").name, b"file");
    assert_eq!(found.nodes[&b""[..]].1, b"x");
    symlink(dir.path(), dir.path().join("link")).unwrap();
    let found = collect(&dir.path().join("link"));
    assert_eq!(paths(&found), ["", "file", "link"]);
    assert_eq!(found.node("").name, b"link");
    let missing = dir.path().join("missing");
    match walk(&missing, &WalkOptions::default(), &mut Collected::default()) {
        Err(WalkError::Root(error)) => {
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            assert!(error.to_string().contains("missing: "), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn hard_links_have_one_content_and_stay_in_their_group() {
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path().join("m"));
    for name in ["a", "z"] {
        fs::hard_link(dir.path().join("m"), dir.path().join(name)).unwrap();
    }
    let found = collect(dir.path());
    let group = found.node("a").hard_link;
    assert!(group.is_some() && !found.node("a").is_further_link);
    for name in ["m", "z"] {
        assert!(found.node(name).is_further_link && found.node(name).content.is_none());
        assert_eq!(found.node(name).hard_link, group);
    }
    let known = Collected { known: found.stamps, ..Collected::default() };
    let again = collect_with(dir.path(), &WalkOptions::default(), known);
    assert_eq!(again.unchanged, [b"a"]);
    assert_eq!(again.node("z").hard_link, group);
}

#[test]
fn excludes_caches_and_mounts_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["cache", "logs", "fake", "own"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        touch(dir.path().join(name).join("x"));
    }
    fs::write(
        dir.path().join("cache/CACHEDIR.TAG"),
        "Signature: 8a477f597d28d172789f06886806bc55\n",
    )
    .unwrap();
    fs::write(dir.path().join("fake/CACHEDIR.TAG"), "Signature: none").unwrap();
    let absolute = format!("{}/fake/x", dir.path().display());
    let options = WalkOptions {
        excludes: Excludes::new(["logs/", &absolute]).unwrap(),
        exclude_caches: true,
        one_file_system: true,
        own: vec![dir.path().join("own"), dir.path().join("not there")],
    };
    let found = collect_with(dir.path(), &options, Collected::default());
    let kept = ["", "cache", "cache/CACHEDIR.TAG", "fake", "fake/CACHEDIR.TAG", "own"];
    assert_eq!(paths(&found), kept);
    assert_eq!(found.troubles, [(b"own".to_vec(), Trouble::SkippedOwn)]);
    // `/dev` has a file system of its own in it on every Linux.
    let options = WalkOptions { one_file_system: true, ..WalkOptions::default() };
    let found = collect_with(Path::new("/dev"), &options, Collected::default());
    if found.nodes.contains_key(&b"pts"[..]) {
        assert!(found.troubles.contains(&(b"pts".to_vec(), Trouble::SkippedMount)));
        assert!(!found.nodes.contains_key(&b"pts/ptmx"[..]));
    }
}

/// Makes `depth` directories `d`, each in the other, with a file beside each.
pub(crate) fn make_deep(root: &Path, name: &str, depth: usize) {
    let open = |dir: std::os::fd::BorrowedFd<'_>, name: &str| {
        openat(dir, name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
    };
    let mut fd = openat(CWD, root, OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&fd, name, Mode::RWXU).unwrap();
        let flags = OFlags::CREATE | OFlags::WRONLY;
        drop(openat(&fd, "zfile", flags, Mode::RUSR | Mode::WUSR).unwrap());
        fd = open(std::os::fd::AsFd::as_fd(&fd), name);
    }
}

#[test]
fn depth_costs_no_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    make_deep(dir.path(), "directory", 1000);
    let counter = std::rc::Rc::new(std::cell::Cell::new(0));
    let seen = counter.clone();
    let inside = dir.path().to_owned();
    let hook = move |_: &[u8]| {
        let count = fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .filter(|target| target.starts_with(&inside))
            .count();
        seen.set(seen.get().max(count));
    };
    let found = Collected { on_enter: Some(Box::new(hook)), ..Collected::default() };
    let found = collect_with(dir.path(), &WalkOptions::default(), found);
    assert_eq!(found.nodes.len(), 2001);
    assert_eq!(found.troubles, []);
    assert!(counter.get() <= 105, "{}", counter.get());
}

#[test]
fn names_are_listed_in_parts_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..1000).map(|n| format!("{:03}-{n}", n * 7 % 1000)).collect();
    names.iter().for_each(|name| touch(dir.path().join(name)));
    let mut sorted = names;
    sorted.sort();
    let fd = openat(CWD, dir.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    for (room, least_parts) in [(1 << 20, 1), (8000, 7), (1, 1000)] {
        let (mut shown, mut parts, mut after) = (Vec::new(), 0, None);
        loop {
            let (listed, result) = directory::list(&fd, after.as_deref(), room);
            result.unwrap();
            assert!(listed.bytes <= room.max(100), "{} bytes of {room}", listed.bytes);
            parts += 1;
            after = listed.entries.last().map(|entry| entry.name.clone());
            let name = |entry: directory::Entry| entry.name.into_string().unwrap();
            shown.extend(listed.entries.into_iter().map(name));
            if !listed.has_more {
                break;
            }
        }
        assert_eq!(shown, sorted, "{room}");
        assert!((least_parts..=least_parts * 3).contains(&parts), "{parts} parts of {room}");
        rustix::fs::seek(&fd, rustix::fs::SeekFrom::Start(0)).unwrap();
    }
}

#[test]
fn a_walk_that_lists_in_parts_shows_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut place = dir.path().to_owned();
    for level in 0..4 {
        // More than are worth letting go, before and behind the directory that is entered.
        (0..1200).for_each(|n| touch(place.join(format!("f{level}-{n}"))));
        (0..1200).for_each(|n| touch(place.join(format!("x{level}-{n}"))));
        place = place.join(format!("m{level}"));
        fs::create_dir(&place).unwrap();
    }
    let whole = collect(dir.path());
    assert_eq!(whole.nodes.len(), 4 * 2401 + 1);
    for room in [150_000, 5000] {
        let mut parted = Collected::default();
        walker::walk(dir.path(), &WalkOptions::default(), room, &mut parted).unwrap();
        assert_eq!(parted.order, whole.order, "{room}");
        assert!(parted.troubles.is_empty());
    }
}

#[test]
fn a_directory_moved_away_while_deep_in_it_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    make_deep(dir.path(), "d", 150);
    let root = dir.path().to_owned();
    let deepest = ["d"; 150].join("/");
    let hook = move |path: &[u8]| {
        if path == deepest.as_bytes() {
            fs::rename(root.join("d/d/d"), root.join("moved")).unwrap();
        }
    };
    let found = Collected { on_enter: Some(Box::new(hook)), ..Collected::default() };
    let found = collect_with(dir.path(), &WalkOptions::default(), found);
    let lost: Vec<_> = found.troubles.iter().map(|(path, _)| path.as_slice()).collect();
    assert_eq!(lost, Vec::<&[u8]>::new(), "`..` leads to the root, which finds the others");
    assert!(found.nodes.contains_key(&b"d/d/zfile"[..]));
}

#[test]
fn a_directory_replaced_by_a_link_leads_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    touch(outside.path().join("secret"));
    for name in ["a", "a/b", "c"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    let (root, target) = (dir.path().to_owned(), outside.path().to_owned());
    let hook = move |path: &[u8]| {
        if path == b"a" {
            fs::remove_dir(root.join("a/b")).unwrap();
            symlink(&target, root.join("a/b")).unwrap();
            fs::remove_dir(root.join("c")).unwrap();
        }
    };
    let found = Collected { on_enter: Some(Box::new(hook)), ..Collected::default() };
    let found = collect_with(dir.path(), &WalkOptions::default(), found);
    assert_eq!(paths(&found), ["", "a", "a/b"]);
    assert_eq!(found.node("a/b").kind, NodeKind::Symlink);
    assert_eq!(found.troubles, [(b"c".to_vec(), Trouble::Vanished)]);
}

#[test]
fn what_is_another_file_each_time_is_no_file_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        touch(dir.path().join(name));
    }
    let root = dir.path().to_owned();
    let hook = move |path: &[u8]| {
        if path == b"a" {
            touch(root.join("new"));
            fs::rename(root.join("new"), root.join("a")).unwrap();
        }
    };
    let found = Collected { on_look: Some(Box::new(hook)), ..Collected::default() };
    let found = collect_with(dir.path(), &WalkOptions::default(), found);
    assert_eq!(paths(&found), ["", "b"]);
    assert!(
        matches!(&found.troubles[..], [(path, Trouble::Unreadable(_))] if path == b"a"),
        "{:?}",
        found.troubles
    );
}

#[test]
fn files_that_change_while_read_are_told_of() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["appended", "cut", "rewritten", "same"] {
        fs::write(dir.path().join(name), [b'x'; 100]).unwrap();
    }
    let root = dir.path().to_owned();
    let hook = move |path: &[u8], is_read: bool| {
        let path = root.join(std::ffi::OsStr::from_bytes(path));
        let open = || fs::OpenOptions::new().append(true).open(&path).unwrap();
        match path.file_name().unwrap().to_str().unwrap() {
            "appended" => open().write_all(b"more").unwrap(),
            "cut" if !is_read => open().set_len(10).unwrap(),
            "rewritten" if is_read => {
                std::thread::sleep(std::time::Duration::from_millis(20));
                fs::write(&path, [b'y'; 100]).unwrap();
            }
            _ => {}
        }
    };
    let found = Collected { on_read: Some(Box::new(hook)), ..Collected::default() };
    let found = collect_with(dir.path(), &WalkOptions::default(), found);
    assert_eq!(found.nodes[&b"appended"[..]].1.len(), 100);
    assert_eq!(found.nodes[&b"cut"[..]].1.len(), 10);
    assert!(found.node("cut").is_torn && !found.node("rewritten").is_torn);
    assert_eq!(found.changed, [b"cut".to_vec(), b"rewritten".to_vec()]);
}

#[test]
fn of_sparse_files_only_data_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = fs::File::create(dir.path().join("sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    for offset in [1 << 20, 1 << 39] {
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(&[7; 4096]).unwrap();
    }
    fs::File::create(dir.path().join("empty")).unwrap().set_len(1 << 30).unwrap();
    let found = collect(dir.path());
    let node = found.node("sparse");
    assert_eq!(node.size(), 1 << 40);
    assert_eq!(found.nodes[&b"sparse"[..]].1, [7; 8192]);
    let offsets: Vec<_> = node.extents.iter().flatten().map(|extent| extent.offset).collect();
    assert_eq!(offsets, [1 << 20, 1 << 39]);
    assert_eq!(found.node("empty").extents, Some(Vec::new()));
    for (node, _) in found.nodes.values().filter(|(node, _)| node.extents.is_some()) {
        let mut node = node.clone();
        if let Some(content) = &mut node.content {
            content.depth = 1;
        }
        let mut bytes = Vec::new();
        crate::snapshot::encode_node(&node, &mut bytes);
        let mut reader = crate::snapshot::NodeReader::default();
        reader.push(&bytes);
        assert_eq!(reader.next_node(), Ok(Some(node)));
    }
}

#[test]
fn attributes_are_read_sorted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    touch(&file);
    for (name, len) in [("user.b", 3000), ("user.a", 0)] {
        if rustix::fs::setxattr(&file, name, &vec![1; len], XattrFlags::empty()).is_err() {
            return;
        }
    }
    let found = collect(dir.path());
    let xattrs = &found.node("file").xattrs;
    let user: Vec<_> = xattrs.iter().filter(|xattr| xattr.name.starts_with(b"user.")).collect();
    assert_eq!((user[0].name.as_slice(), user[0].value.len()), (&b"user.a"[..], 0));
    assert_eq!((user[1].name.as_slice(), user[1].value.len()), (&b"user.b"[..], 3000));
}

#[test]
fn attributes_beyond_the_room_are_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    touch(&path);
    for name in ["user.c", "user.a", "user.d", "user.b"] {
        if rustix::fs::setxattr(&path, name, &[1; 94], XattrFlags::empty()).is_err() {
            return;
        }
    }
    let file = fs::File::open(&path).unwrap();
    let subject = xattrs::Subject::Open(std::os::fd::AsFd::as_fd(&file));
    for (room, kept) in [(0, 0), (99, 0), (100, 1), (299, 2), (300, 3), (400, 4)] {
        let found = subject.read(room, |_, error| panic!("{error}")).unwrap();
        assert_eq!((found.xattrs.len(), found.dropped), (kept, 4 - kept), "{room}");
        let names = found.xattrs.iter().map(|xattr| xattr.name.as_slice());
        assert!(names.eq([&b"user.a"[..], b"user.b", b"user.c", b"user.d"].into_iter().take(kept)));
    }
}
