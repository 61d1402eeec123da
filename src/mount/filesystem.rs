//! What the kernel asks, and the answers.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fuser::{
    Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyXattr, Request,
};

use crate::event::{Event, Observer};
use crate::ops::browse::TreeWalk;
use crate::repository::{Fetcher, RepositoryError};
use crate::snapshot::{Node, NodeKind, Selected};

use super::MountOptions;
use super::attributes::{attributes, kind_of};
use super::databases::{self, OpenDump};
use super::directory::{Directories, Found};
use super::entries::{Entry, EntryTable, What};
use super::file::OpenFile;
use super::places::{Made, places};
use super::positions::{Position, Positions, is_position};

/// How long the kernel may believe what it was told: nothing here ever changes.
const TTL: Duration = Duration::from_secs(3600);
/// Offsets in a directory: `.`, `..`, then a piece and a place in it, and what is made up at the end.
const FIRST: u64 = 3;
const PLACE_BITS: u32 = 24;
const MADE_UP: u64 = 1 << 60;

/// First names of the groups of hard links of a snapshot.
type Links = Arc<HashMap<u64, Arc<Node>>>;

/// Something that is open.
enum Open {
    File(Box<OpenFile>),
    Dump(Box<OpenDump>),
}

/// The file system.
pub struct SnapshotFs {
    fetcher: &'static Fetcher<'static>,
    snapshots: &'static [Selected],
    directories: Directories,
    entries: EntryTable,
    positions: Positions,
    links: Mutex<HashMap<usize, Links>>,
    open: Mutex<HashMap<u64, Arc<Mutex<Open>>>>,
    last_handle: AtomicU64,
    observer: Arc<dyn Observer>,
}

/// One name of a listing: its offset, kind and name.
type Listed = (u64, FileType, Vec<u8>);

impl SnapshotFs {
    /// Of these snapshots.
    pub fn new(
        fetcher: &'static Fetcher<'static>,
        snapshots: &'static [Selected],
        options: &MountOptions,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let root = match options.is_single {
            true => top(snapshots, 0),
            false => What::Made(places(snapshots, &options.zone)),
        };
        Self {
            fetcher,
            snapshots,
            directories: Directories::new(fetcher),
            entries: EntryTable::new(root),
            positions: Positions::default(),
            links: Mutex::default(),
            open: Mutex::default(),
            last_handle: AtomicU64::new(0),
            observer,
        }
    }

    /// What cannot be read is an error of the disk for whoever reads; what it was is told here.
    fn unreadable(&self, name: &[u8], error: &dyn std::fmt::Display) -> Errno {
        let item = String::from_utf8_lossy(name).into_owned();
        self.observer.event(&Event::ItemFailed { item, message: error.to_string() });
        Errno::EIO
    }

    fn entry(&self, number: INodeNo) -> Result<Entry, Errno> {
        if !is_position(number.0) {
            return self.entries.get(number.0).ok_or(Errno::ENOENT);
        }
        let at = self.positions.find(number.0).ok_or(Errno::ENOENT)?;
        let node = self.directories.at(&at.directory, (at.piece, at.place));
        let node = node.map_err(|error| self.unreadable(b"directory", &error))?;
        let node = node.ok_or(Errno::ENOENT)?;
        let name = node.name.clone();
        Ok(Entry { parent: at.parent, name, what: self.linked(at.snapshot, node)? })
    }

    /// The entry of this name in the directory with this number, and its own number, which the kernel knows from now on.
    fn look_up(&self, parent: u64, name: &[u8]) -> Result<(u64, What), Errno> {
        let directory = self.entry(INodeNo(parent))?;
        if let What::Node { snapshot, node, .. } = &directory.what
            && node.kind == NodeKind::Directory
        {
            let content = node.content.clone().unwrap_or_default();
            let found = self.directories.find(&content, name);
            let found = found.map_err(|error| self.unreadable(name, &error))?;
            if let Some(Found { piece, place, node }) = found {
                let snapshot = *snapshot;
                let what = self.linked(snapshot, node)?;
                let at = Position { parent, snapshot, directory: content, piece, place };
                return Ok((self.positions.looked_up(&at).ok_or(Errno::ENFILE)?, what));
            }
        }
        let what = self.made(&directory, name)?;
        let entry = Entry { parent, name: name.to_vec(), what: what.clone() };
        Ok((self.entries.looked_up(entry), what))
    }

    /// The entry of this name in a directory, if it is in no snapshot's tree.
    fn made(&self, parent: &Entry, name: &[u8]) -> Result<What, Errno> {
        match &parent.what {
            What::Made(Made::Directory(names)) => match names.get(name) {
                Some(Made::Snapshot(number)) => Ok(top(self.snapshots, *number)),
                Some(made) => Ok(What::Made(made.clone())),
                None => Err(Errno::ENOENT),
            },
            What::Databases(snapshot) => {
                let names = self.snapshots.get(*snapshot).map(databases::names).unwrap_or_default();
                let at = names.iter().position(|known| known == name).ok_or(Errno::ENOENT)?;
                Ok(What::Dump(*snapshot, at))
            }
            What::Node { snapshot, node, is_top } if node.kind == NodeKind::Directory => {
                match *is_top && name == databases::DIRECTORY && self.has_databases(*snapshot) {
                    true => Ok(What::Databases(*snapshot)),
                    false => Err(Errno::ENOENT),
                }
            }
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn has_databases(&self, snapshot: usize) -> bool {
        self.snapshots.get(snapshot).is_some_and(|(_, snapshot)| !snapshot.databases.is_empty())
    }

    /// A node with its content, which a further name of a file has at the first one.
    fn linked(&self, snapshot: usize, node: Node) -> Result<What, Errno> {
        let group = node.hard_link.filter(|_| node.is_further_link);
        let node = match group {
            None => Arc::new(node),
            Some(group) => {
                let links = self.links(snapshot);
                let links = links.map_err(|error| self.unreadable(&node.name, &error))?;
                links.get(&group).cloned().ok_or(Errno::EIO)?
            }
        };
        Ok(What::Node { snapshot, node, is_top: false })
    }

    /// All first names, found by one walk when the first further name is met.
    fn links(&self, snapshot: usize) -> Result<Links, RepositoryError> {
        let mut known = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(links) = known.get(&snapshot) {
            return Ok(Arc::clone(links));
        }
        let mut links = HashMap::new();
        if let Some((_, of)) = self.snapshots.get(snapshot) {
            let mut walk = TreeWalk::new(self.fetcher, b"", &of.root);
            while let Some(entry) = walk.next_entry()? {
                walk.enter(&entry);
                if let (Some(group), false) = (entry.node.hard_link, entry.node.is_further_link) {
                    links.insert(group, Arc::new(entry.node));
                }
            }
        }
        let links = Arc::new(links);
        known.insert(snapshot, Arc::clone(&links));
        Ok(links)
    }

    /// Calls `add` with names from `offset` on until it is full.
    fn list(
        &self,
        entry: &Entry,
        offset: u64,
        add: &mut dyn FnMut(Listed) -> bool,
    ) -> Result<(), Errno> {
        let mut all = |names: Vec<(FileType, Vec<u8>)>| {
            for (at, (kind, name)) in names.into_iter().enumerate() {
                let place = FIRST + at as u64;
                if place > offset && add((place, kind, name)) {
                    return;
                }
            }
        };
        match &entry.what {
            What::Made(Made::Directory(names)) => {
                let kind = |made: &Made| match made {
                    Made::Link(_) => FileType::Symlink,
                    Made::Directory(_) | Made::Snapshot(_) => FileType::Directory,
                };
                all(names.iter().map(|(name, made)| (kind(made), name.clone())).collect());
                Ok(())
            }
            What::Databases(snapshot) => {
                let names = self.snapshots.get(*snapshot).map(databases::names).unwrap_or_default();
                all(names.into_iter().map(|name| (FileType::RegularFile, name)).collect());
                Ok(())
            }
            What::Node { snapshot, node, is_top } if node.kind == NodeKind::Directory => {
                let listed = self.list_node(node, offset, add);
                let is_full = listed.map_err(|error| self.unreadable(&entry.name, &error))?;
                if !is_full && *is_top && offset < MADE_UP && self.has_databases(*snapshot) {
                    let name = databases::DIRECTORY.to_vec();
                    // Whether it was full does not matter for the last one.
                    let _ = add((MADE_UP, FileType::Directory, name));
                }
                Ok(())
            }
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Names of a directory of a snapshot. Gives whether no more fitted.
    fn list_node(
        &self,
        node: &Node,
        offset: u64,
        add: &mut dyn FnMut(Listed) -> bool,
    ) -> Result<bool, RepositoryError> {
        let pieces = self.directories.list(&node.content.clone().unwrap_or_default())?;
        // The offset names what was listed last.
        let (piece, place) = match offset.checked_sub(FIRST) {
            None => (0, 0),
            Some(last) => (last >> PLACE_BITS, (last & ((1 << PLACE_BITS) - 1)) + 1),
        };
        let first = usize::try_from(piece).unwrap_or(usize::MAX);
        let mut skip = usize::try_from(place).unwrap_or(usize::MAX);
        for (number, piece) in pieces.iter().enumerate().skip(first) {
            let entries = self.directories.entries(piece)?;
            for (at, node) in entries.iter().enumerate().skip(skip) {
                let here = FIRST + ((number as u64) << PLACE_BITS | at as u64);
                if add((here, kind_of(node.kind), node.name.clone())) {
                    return Ok(true);
                }
            }
            skip = 0;
        }
        Ok(false)
    }

    fn opened(&self, open: Open) -> u64 {
        let handle = self.last_handle.fetch_add(1, Ordering::Relaxed) + 1;
        let mut table = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        table.insert(handle, Arc::new(Mutex::new(open)));
        handle
    }
}

fn top(snapshots: &[Selected], number: usize) -> What {
    let mut node = Node::new("", NodeKind::Directory);
    if let Some((_, snapshot)) = snapshots.get(number) {
        node.content = Some(snapshot.root.clone());
        node.mtime = snapshot.start.div_euclid(1_000_000_000);
    }
    // What is in it says who may read it.
    node.mode = 0o755;
    What::Node { snapshot: number, node: Arc::new(node), is_top: true }
}

impl Filesystem for SnapshotFs {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.look_up(parent.0, name.as_bytes()) {
            Ok((number, what)) => reply.entry(&TTL, &attributes(number, &what), Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _: &Request, number: INodeNo, times: u64) {
        match is_position(number.0) {
            true => self.positions.forget(number.0, times),
            false => self.entries.forget(number.0, times),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.entry(number) {
            Ok(entry) => reply.attr(&TTL, &attributes(number.0, &entry.what)),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        match self.entry(number).map(|entry| entry.what) {
            Ok(What::Made(Made::Link(target))) => reply.data(&target),
            Ok(What::Node { node, .. }) if node.kind == NodeKind::Symlink => {
                reply.data(node.link_target.as_deref().unwrap_or_default());
            }
            Ok(_) => reply.error(Errno::EINVAL),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.entry(number).map(|entry| entry.what) {
            Ok(What::Node { node, .. }) if node.kind == NodeKind::File => {
                let open = Open::File(Box::new(OpenFile::new(self.fetcher, &node)));
                reply.opened(FileHandle(self.opened(open)), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Ok(What::Dump(snapshot, database)) => {
                let Some(of) = self.snapshots.get(snapshot) else {
                    return reply.error(Errno::ENOENT);
                };
                match OpenDump::new(self.fetcher, of, database) {
                    // How long it is shows only when it was read: the kernel must not believe the size.
                    Ok(dump) => {
                        let handle = self.opened(Open::Dump(Box::new(dump)));
                        reply.opened(FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO);
                    }
                    Err(error) => reply.error(self.unreadable(b"dump", &error)),
                }
            }
            Ok(_) => reply.error(Errno::EISDIR),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let open = {
            let table = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            table.get(&handle.0).cloned()
        };
        let Some(open) = open else { return reply.error(Errno::EBADF) };
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        let len = usize::try_from(size).unwrap_or(0);
        let read = match &mut *open {
            Open::File(file) => file.read(offset, len).map_err(|error| error.to_string()),
            Open::Dump(dump) => dump.read(offset, len).map_err(|error| error.to_string()),
        };
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => {
                let name = self.entry(number).map(|entry| entry.name).unwrap_or_default();
                reply.error(self.unreadable(&name, &error));
            }
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle.0);
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let entry = match self.entry(number) {
            Ok(entry) => entry,
            Err(error) => return reply.error(error),
        };
        for (place, name, of) in [(1, ".", number.0), (2, "..", entry.parent)] {
            if offset < place && reply.add(INodeNo(of), place, FileType::Directory, name) {
                return reply.ok();
            }
        }
        let listed = self.list(&entry, offset, &mut |(place, kind, name)| {
            // The number comes with the lookup; here any will do that is none.
            reply.add(INodeNo(0xffff_ffff), place, kind, OsStr::from_bytes(&name))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let value = match self.entry(number).map(|entry| entry.what) {
            Ok(What::Node { node, .. }) => {
                let is_it = |xattr: &&crate::snapshot::Xattr| xattr.name == name.as_bytes();
                node.xattrs.iter().find(is_it).map(|xattr| xattr.value.clone())
            }
            _ => None,
        };
        match value {
            Some(value) => sized(&value, size, reply),
            None => reply.error(Errno::NO_XATTR),
        }
    }

    fn listxattr(&self, _: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        let mut names = Vec::new();
        if let Ok(What::Node { node, .. }) = self.entry(number).map(|entry| entry.what) {
            for xattr in &node.xattrs {
                names.extend_from_slice(&xattr.name);
                names.push(0);
            }
        }
        sized(&names, size, reply);
    }
}

/// Answers with a length, or with what has it.
fn sized(value: &[u8], size: u32, reply: ReplyXattr) {
    let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
    match size {
        0 => reply.size(len),
        size if size < len => reply.error(Errno::ERANGE),
        _ => reply.data(value),
    }
}
