//! What `stat` tells of an entry.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

use crate::snapshot::{Node, NodeKind};

use super::entries::What;
use super::places::Made;

/// Bytes of a block as `stat` counts them.
const BLOCK: u64 = 512;

/// The kind in the kernel's words.
pub const fn kind_of(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Directory => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::Fifo => FileType::NamedPipe,
        NodeKind::CharDevice => FileType::CharDevice,
        NodeKind::BlockDevice => FileType::BlockDevice,
    }
}

/// All of them.
pub fn attributes(number: u64, what: &What) -> FileAttr {
    match what {
        What::Node { node, .. } => of_node(number, node),
        What::Made(Made::Link(target)) => {
            FileAttr { size: target.len() as u64, ..plain(number, FileType::Symlink, 0o777) }
        }
        // Its length shows only when it was read.
        What::Dump(..) => plain(number, FileType::RegularFile, 0o400),
        What::Databases(_) => plain(number, FileType::Directory, 0o500),
        What::Made(_) => plain(number, FileType::Directory, 0o755),
    }
}

/// Of what is in no snapshot: it belongs to root.
fn plain(number: u64, kind: FileType, perm: u16) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 128 << 10,
        flags: 0,
    }
}

fn of_node(number: u64, node: &Node) -> FileAttr {
    let size = match node.kind {
        NodeKind::Symlink => node.link_target.as_ref().map_or(0, Vec::len) as u64,
        _ => node.size(),
    };
    let time = time(node.mtime, node.mtime_nanos);
    let device = node.device.map(|device| rustix::fs::makedev(device.major, device.minor));
    FileAttr {
        size,
        blocks: size.div_ceil(BLOCK),
        mtime: time,
        ctime: time,
        atime: time,
        uid: node.uid,
        gid: node.gid,
        rdev: device.and_then(|device| u32::try_from(device).ok()).unwrap_or(0),
        ..plain(number, kind_of(node.kind), u16::try_from(node.mode & 0o7777).unwrap_or(0))
    }
}

fn time(seconds: i64, nanos: u32) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let time = match seconds < 0 {
        true => UNIX_EPOCH.checked_sub(whole),
        false => UNIX_EPOCH.checked_add(whole),
    };
    time.and_then(|time| time.checked_add(Duration::from_nanos(nanos.into()))).unwrap_or(UNIX_EPOCH)
}
