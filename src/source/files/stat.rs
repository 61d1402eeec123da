//! What `statx` tells, as stamps and nodes.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Statx, StatxFlags, StatxTimestamp};
use rustix::{io, path};

use crate::snapshot::{Device, Node, NodeKind};

use super::FileStamp;
use super::names::Names;

/// `statx` of `name` in `dir`, never through a link and without mounting anything.
pub(crate) fn stat_at(dir: impl AsFd, name: impl path::Arg) -> io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS)
}

/// `statx` of what is open.
pub(crate) fn stat_open(fd: impl AsFd) -> io::Result<Statx> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}

/// What kind of file it is.
pub(crate) fn file_type(stat: &Statx) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

/// Device and inode: what makes a file itself.
pub(crate) fn identity(stat: &Statx) -> (u64, u64) {
    (u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor), stat.stx_ino)
}

/// The same of what a path leads to.
pub(crate) fn identity_of(path: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statx(CWD, path, AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS);
    stat.ok().map(|stat| identity(&stat))
}

fn nanoseconds(time: StatxTimestamp) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// The stamp of a file.
pub(crate) fn stamp(stat: &Statx) -> FileStamp {
    let (device, inode) = identity(stat);
    FileStamp {
        device,
        inode,
        size: stat.stx_size,
        mtime: nanoseconds(stat.stx_mtime),
        ctime: nanoseconds(stat.stx_ctime),
    }
}

/// The kind a node has; `None` for sockets and what Linux may think of next.
pub(crate) fn node_kind(kind: FileType) -> Option<NodeKind> {
    Some(match kind {
        FileType::RegularFile => NodeKind::File,
        FileType::Directory => NodeKind::Directory,
        FileType::Symlink => NodeKind::Symlink,
        FileType::Fifo => NodeKind::Fifo,
        FileType::CharacterDevice => NodeKind::CharDevice,
        FileType::BlockDevice => NodeKind::BlockDevice,
        FileType::Socket | FileType::Unknown => return None,
    })
}

/// A node with everything `statx` knows.
pub(crate) fn node(name: &[u8], kind: NodeKind, stat: &Statx, names: &Names) -> Node {
    let mut node = Node::new(name, kind);
    node.mode = u32::from(stat.stx_mode) & 0o7777;
    node.uid = stat.stx_uid;
    node.gid = stat.stx_gid;
    node.user = names.user(stat.stx_uid).map(str::to_owned);
    node.group = names.group(stat.stx_gid).map(str::to_owned);
    node.mtime = stat.stx_mtime.tv_sec;
    node.mtime_nanos = stat.stx_mtime.tv_nsec;
    if matches!(kind, NodeKind::CharDevice | NodeKind::BlockDevice) {
        node.device = Some(Device { major: stat.stx_rdev_major, minor: stat.stx_rdev_minor });
    }
    node
}
