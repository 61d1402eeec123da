use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use rustix::fs::{Timespec, Timestamps, XattrFlags, mknodat, setxattr, utimensat};
use tempfile::{TempDir, tempdir};

use crate::event::{Recorder, Silent};
use crate::snapshot::{Device, Extent, NodeKind, StreamRef, Xattr};
use crate::source::files::tests::{Collected, collect, make_deep};

use super::*;

mod existing;
mod round_trip;
mod safety;

fn open(path: &Path) -> FilesTarget<'static> {
    open_with(path, TargetOptions::default())
}

fn open_with(path: &Path, options: TargetOptions) -> FilesTarget<'static> {
    FilesTarget::open(path, options, &Silent).unwrap()
}

fn with(overwrite: Overwrite) -> TargetOptions {
    TargetOptions { overwrite, ..TargetOptions::default() }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn write(
    target: &FilesTarget<'_>,
    path: &[u8],
    node: &Node,
    content: &[u8],
) -> Result<bool, TargetError> {
    match target.create_file(path, node)? {
        Created::KeepExisting => Ok(false),
        Created::Write(writer) => {
            // The last piece first: the order is free.
            for (index, piece) in content.chunks(5000).enumerate().rev() {
                writer.write_at(index as u64 * 5000, piece)?;
            }
            writer.finish(node).map(|()| true)
        }
    }
}

/// Restores what a walk found.
fn restore(found: &Collected, target: &FilesTarget<'_>) {
    let mut directories = Vec::new();
    for path in &found.order {
        let (node, content) = &found.nodes[path];
        match node.kind {
            NodeKind::Directory => {
                target.make_directory(path).unwrap();
                directories.push((path, node));
            }
            NodeKind::File if !node.is_further_link => {
                write(target, path, node, content).unwrap();
            }
            _ => target.make_other(path, node).unwrap(),
        }
    }
    for (path, node) in directories.into_iter().rev() {
        target.finish_directory(path, node).unwrap();
    }
}

/// The nodes in a form that does not depend on where the tree is.
fn comparable(found: &Collected) -> BTreeMap<Vec<u8>, (Node, Vec<u8>)> {
    let mut groups = BTreeMap::new();
    let mut nodes = found.nodes.clone();
    for (path, (node, _)) in &mut nodes {
        if path.is_empty() {
            node.name.clear();
        }
        if let Some(group) = &mut node.hard_link {
            let next = groups.len() as u64;
            *group = *groups.entry(*group).or_insert(next);
        }
    }
    nodes
}

fn assert_same(source: &Path, restored: &Path) {
    let (source, restored) = (collect(source), collect(restored));
    let (expected, found) = (comparable(&source), comparable(&restored));
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (path, expected) in &expected {
        assert_eq!(found[path], *expected, "{}", path.escape_ascii());
    }
}

fn file_node(name: &str, content: &[u8]) -> Node {
    let mut node = Node::new(name, NodeKind::File);
    node.mode = 0o644;
    (node.uid, node.gid) =
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    node.content = Some(StreamRef { len: content.len() as u64, ..StreamRef::default() });
    node
}

fn directory_node() -> Node {
    Node { kind: NodeKind::Directory, mode: 0o755, ..file_node("d", b"") }
}

fn symlink_node(to: &str) -> Node {
    Node { link_target: Some(to.into()), kind: NodeKind::Symlink, ..file_node("l", b"") }
}

fn set_times(path: &Path, seconds: i64, nanos: u32) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// An ACL: the owner everything, user 1234 and the mask `named`, the group `group`, others nothing.
fn acl(named: u16, group: u16) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in [
        (1, 7, u32::MAX),
        (2, named, 1234),
        (4, group, u32::MAX),
        (16, named, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        bytes.extend_from_slice(&u16::to_le_bytes(tag));
        bytes.extend_from_slice(&u16::to_le_bytes(rights));
        bytes.extend_from_slice(&u32::to_le_bytes(id));
    }
    bytes
}
