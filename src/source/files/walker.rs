//! The walk itself: directories on a stack of our own, so depth costs neither stack nor descriptors.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{CWD, FileType, Mode, OFlags, Statx, openat, readlinkat};
use rustix::io::Errno;

use crate::snapshot::{Node, NodeKind};

use super::content::FileContent;
use super::directory::{CACHE_TAG, Entry, Listed, is_cache, list, open_directory, open_file};
use super::links::Links;
use super::names::Names;
use super::stat::{file_type, identity, identity_of, node, node_kind, stamp, stat_at, stat_open};
use super::xattrs::{Found, Subject};
use super::{Excludes, TreeVisitor, Trouble, WalkError, WalkOptions};

/// Most directories open at a time. Those further up are closed, and found again through `..`.
const MAX_OPEN: usize = 100;
/// Most bytes of names and values of one entry's attributes: they must fit into its node.
const XATTR_ROOM: usize = 1 << 20;
/// Room for the names of one directory; one with more is listed in parts, each of which reads all of it.
/// A million names are about four parts.
pub(super) const LISTING_BYTES: usize = 24 << 20;
/// How many times that the names of all directories on the way may take.
const LISTINGS_HELD: usize = 2;
/// Not worth letting go.
const FEW_ENTRIES: usize = 1000;
/// How often an entry is looked at again that is another one each time.
const ATTEMPTS: usize = 3;

/// A directory on the way to the current entry.
struct Frame {
    name: CString,
    fd: Option<Rc<OwnedFd>>,
    identity: (u64, u64),
    entries: std::vec::IntoIter<Entry>,
    /// Room the entries take, and the last name of them if there are more behind it.
    bytes: usize,
    after: Option<CString>,
    /// Length of the path of the directory it is in.
    parent_len: usize,
}

impl Frame {
    /// Goes on with these entries.
    fn take(&mut self, listed: Listed) {
        let last = listed.entries.last().filter(|_| listed.has_more);
        self.after = last.map(|entry| entry.name.clone());
        self.bytes = listed.bytes;
        self.entries = listed.entries.into_iter();
    }
}

/// What became of an entry.
enum Outcome {
    Done,
    /// A directory, which is the current one now.
    Entered,
    /// It is not what it was a moment ago, which an error may have told.
    Replaced(Option<Errno>),
}

struct Walker<'a, V> {
    visitor: &'a mut V,
    options: &'a WalkOptions,
    /// For the names of one directory, in bytes.
    room: usize,
    excludes: Excludes,
    names: Names,
    links: Links,
    device: Option<u64>,
    /// The directories we write to.
    own: Vec<(u64, u64)>,
    frames: Vec<Frame>,
    path: Vec<u8>,
}

pub(super) fn walk<V: TreeVisitor>(
    root: &Path,
    options: &WalkOptions,
    room: usize,
    visitor: &mut V,
) -> Result<(), WalkError<V::Error>> {
    let named = |error: io::Error| {
        WalkError::Root(io::Error::new(error.kind(), format!("{}: {error}", root.display())))
    };
    let real = root.canonicalize().map_err(named)?;
    let absolute = std::path::absolute(root).map_err(named)?;
    let excludes = options
        .excludes
        .for_roots(&[&real, &absolute])
        .map_err(|error| named(io::Error::other(error)))?;
    let mut walker = Walker {
        visitor,
        options,
        room,
        excludes,
        names: Names::of_system(),
        links: Links::new(absolute.as_os_str().as_bytes()),
        device: None,
        own: options.own.iter().filter_map(|path| identity_of(path)).collect(),
        frames: Vec::new(),
        path: Vec::new(),
    };
    // The name people know it by; a path like `/srv/..` has none.
    let shown = absolute.file_name().or(real.file_name()).unwrap_or_default().as_bytes();
    let (parent, name) = match (real.parent(), real.file_name()) {
        (Some(parent), Some(name)) => (parent, name.as_bytes()),
        _ => (real.as_path(), &b"."[..]),
    };
    let name = CString::new(name).map_err(|error| named(error.into()))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = openat(CWD, parent, flags, Mode::empty()).map_err(|e| named(e.into()))?;
    walker.root(Rc::new(parent), &name, shown, &named)?;
    walker.run().map_err(WalkError::Visitor)
}

impl<V: TreeVisitor> Walker<'_, V> {
    fn root(
        &mut self,
        parent: Rc<OwnedFd>,
        name: &CStr,
        shown: &[u8],
        named: &impl Fn(io::Error) -> WalkError<V::Error>,
    ) -> Result<(), WalkError<V::Error>> {
        let failed = |error: Errno| named(error.into());
        let stat = stat_at(&parent, name).map_err(failed)?;
        match file_type(&stat) {
            FileType::Directory => {
                let fd = open_directory(&parent, name).map_err(failed)?;
                let stat = stat_open(&fd).map_err(failed)?;
                self.enter(fd, &stat, name, shown).map_err(WalkError::Visitor)?;
            }
            FileType::RegularFile => {
                let fd = open_file(&parent, name).map_err(failed)?;
                let stat = stat_open(&fd).map_err(failed)?;
                if file_type(&stat) != FileType::RegularFile {
                    return Err(named(io::Error::other("is not what it was a moment ago")));
                }
                self.device = Some(identity(&stat).0);
                let stamp = stamp(&stat);
                if self.visitor.is_unchanged(shown, &stamp, None).map_err(WalkError::Visitor)? {
                    return Ok(());
                }
                self.read_file(fd, &stat, shown, None).map_err(WalkError::Visitor)?;
            }
            _ => return Err(named(io::Error::other("is neither a directory nor a file"))),
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), V::Error> {
        while let Some(frame) = self.frames.last_mut() {
            let Some(entry) = frame.entries.next() else {
                if !self.list_more()? {
                    self.leave()?;
                }
                continue;
            };
            // `leave` reopened it, or took its entries away: there is always a descriptor.
            let Some(dir) = frame.fd.clone() else { continue };
            self.entry(&dir, entry)?;
        }
        Ok(())
    }

    /// Lists the names of the current directory behind those that were shown; `false` if there are none.
    fn list_more(&mut self) -> Result<bool, V::Error> {
        let Some(frame) = self.frames.last_mut() else { return Ok(false) };
        let (Some(after), Some(fd)) = (frame.after.take(), &frame.fd) else { return Ok(false) };
        let (listed, result) = list(fd, Some(&after), self.room);
        frame.take(listed);
        self.tell_unlisted(result)?;
        Ok(true)
    }

    fn tell_unlisted(&mut self, result: rustix::io::Result<()>) -> Result<(), V::Error> {
        match result {
            Ok(()) => Ok(()),
            Err(error) => {
                let reason = format!("cannot be listed: {}", io::Error::from(error));
                self.trouble(Trouble::Unreadable(reason))
            }
        }
    }

    /// Names of directories further up are let go while those below need the room: they are listed
    /// again when their turn comes.
    fn make_room(&mut self) {
        let mut held: usize = self.frames.iter().map(|frame| frame.bytes).sum();
        let most = self.room.saturating_mul(LISTINGS_HELD);
        for at in 0..self.frames.len().saturating_sub(1) {
            if held <= most {
                return;
            }
            let current = self.frames[at + 1].name.clone();
            let frame = &mut self.frames[at];
            if frame.entries.len() > FEW_ENTRIES {
                held = held.saturating_sub(frame.bytes);
                frame.after = Some(current);
                frame.entries = Vec::new().into_iter();
                frame.bytes = 0;
            }
        }
    }

    fn entry(&mut self, dir: &Rc<OwnedFd>, entry: Entry) -> Result<(), V::Error> {
        let parent_len = self.path.len();
        if parent_len > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(entry.name.as_bytes());
        let mut kind = entry.kind;
        let mut reason = "it is another one each time it is looked at".to_owned();
        for _ in 0..ATTEMPTS {
            match self.attempt(dir, &entry.name, kind)? {
                Outcome::Entered => {
                    if let Some(frame) = self.frames.last_mut() {
                        frame.parent_len = parent_len;
                    }
                    return Ok(());
                }
                Outcome::Done => {
                    self.path.truncate(parent_len);
                    return Ok(());
                }
                Outcome::Replaced(error) => {
                    kind = FileType::Unknown;
                    if let Some(error) = error {
                        reason = format!("cannot be opened: {}", io::Error::from(error));
                    }
                }
            }
        }
        self.trouble(Trouble::Unreadable(reason))?;
        self.path.truncate(parent_len);
        Ok(())
    }

    fn attempt(
        &mut self,
        dir: &Rc<OwnedFd>,
        name: &CStr,
        kind: FileType,
    ) -> Result<Outcome, V::Error> {
        if kind != FileType::Unknown && self.is_excluded(kind) {
            return Ok(Outcome::Done);
        }
        if kind == FileType::Directory {
            return self.directory(dir, name);
        }
        let stat = match stat_at(dir, name) {
            Ok(stat) => stat,
            Err(error) => return self.failed("cannot be looked at", error),
        };
        let real = file_type(&stat);
        if real != kind && self.is_excluded(real) {
            return Ok(Outcome::Done);
        }
        match node_kind(real) {
            Some(NodeKind::Directory) => self.directory(dir, name),
            Some(NodeKind::File) => self.file(dir, name, &stat),
            Some(kind) => self.special(dir, name, kind, &stat),
            None => {
                self.trouble(Trouble::SkippedSocket)?;
                Ok(Outcome::Done)
            }
        }
    }

    fn is_excluded(&self, kind: FileType) -> bool {
        self.excludes.is_excluded(&self.path, kind == FileType::Directory)
    }

    fn trouble(&mut self, trouble: Trouble) -> Result<(), V::Error> {
        self.visitor.trouble(&self.path, trouble)
    }

    /// What an error on the current entry means.
    fn failed(&mut self, what: &str, error: Errno) -> Result<Outcome, V::Error> {
        // What a link, or anything but a directory, is answered with when one is opened.
        if matches!(error, Errno::LOOP | Errno::NOTDIR | Errno::NXIO) {
            return Ok(Outcome::Replaced(Some(error)));
        }
        self.trouble(trouble_of(what, error))?;
        Ok(Outcome::Done)
    }

    fn directory(&mut self, dir: &OwnedFd, name: &CStr) -> Result<Outcome, V::Error> {
        let opened = open_directory(dir, name).and_then(|fd| Ok((stat_open(&fd)?, fd)));
        match opened {
            Ok((stat, fd)) => {
                self.enter(fd, &stat, name, name.to_bytes())?;
                Ok(Outcome::Entered)
            }
            Err(error) => self.failed("cannot be opened", error),
        }
    }

    /// Makes an open directory the current one.
    fn enter(
        &mut self,
        fd: OwnedFd,
        stat: &Statx,
        name: &CStr,
        shown: &[u8],
    ) -> Result<(), V::Error> {
        let identity = identity(stat);
        let device = *self.device.get_or_insert(identity.0);
        let mut node = node(shown, NodeKind::Directory, stat, &self.names);
        self.add_xattrs(&mut node, &Subject::Open(fd.as_fd()))?;
        let mut listed = Listed::default();
        if self.options.one_file_system && identity.0 != device {
            self.trouble(Trouble::SkippedMount)?;
        } else if self.own.contains(&identity) {
            self.trouble(Trouble::SkippedOwn)?;
        } else if self.options.exclude_caches && is_cache(&fd) {
            listed.entries.push(Entry { name: CACHE_TAG.to_owned(), kind: FileType::RegularFile });
        } else {
            let result;
            (listed, result) = list(&fd, None, self.room);
            self.tell_unlisted(result)?;
        }
        self.visitor.enter_directory(node, &self.path)?;
        let mut frame = Frame {
            name: name.to_owned(),
            fd: Some(Rc::new(fd)),
            identity,
            entries: Vec::new().into_iter(),
            bytes: 0,
            after: None,
            parent_len: 0,
        };
        frame.take(listed);
        self.frames.push(frame);
        self.make_room();
        // The root stays open: from there every other one can be found.
        if let Some(far) = self.frames.len().checked_sub(MAX_OPEN).filter(|far| *far > 0) {
            self.frames[far].fd = None;
        }
        Ok(())
    }

    /// Makes the directory above the current one.
    fn leave(&mut self) -> Result<(), V::Error> {
        self.visitor.leave_directory()?;
        let Some(left) = self.frames.pop() else { return Ok(()) };
        self.path.truncate(left.parent_len);
        let Some(parent) = self.frames.last() else { return Ok(()) };
        if parent.fd.is_some() {
            return Ok(());
        }
        let above = left.fd.and_then(|fd| open_directory(fd, c"..").ok());
        let fd = above.filter(|fd| is_same(fd, parent.identity)).or_else(|| self.descend());
        let is_lost = fd.is_none() && (parent.entries.len() > 0 || parent.after.is_some());
        if let Some(parent) = self.frames.last_mut() {
            parent.fd = fd.map(Rc::new);
            if parent.fd.is_none() {
                parent.entries = Vec::new().into_iter();
                parent.after = None;
            }
        }
        if is_lost {
            let reason = "was moved while it was read: the rest of it is missing".to_owned();
            self.trouble(Trouble::Unreadable(reason))?;
        }
        Ok(())
    }

    /// Opens the current directory from the root, for one where `..` leads elsewhere.
    fn descend(&self) -> Option<OwnedFd> {
        let (root, below) = self.frames.split_first()?;
        let mut fd = open_directory(root.fd.as_ref()?, c".").ok()?;
        for frame in below {
            fd = open_directory(&fd, &frame.name).ok().filter(|fd| is_same(fd, frame.identity))?;
        }
        Some(fd)
    }

    fn file(&mut self, dir: &OwnedFd, name: &CStr, stat: &Statx) -> Result<Outcome, V::Error> {
        let group = self.links.group(stat);
        if let Some(group) = group.filter(|group| self.links.is_shown(*group)) {
            let mut node = node(name.to_bytes(), NodeKind::File, stat, &self.names);
            node.hard_link = Some(group);
            node.is_further_link = true;
            self.visitor.other(node)?;
            return Ok(Outcome::Done);
        }
        if self.visitor.is_unchanged(name.to_bytes(), &stamp(stat), group)? {
            self.links.show(group);
            return Ok(Outcome::Done);
        }
        let opened = open_file(dir, name).and_then(|fd| Ok((stat_open(&fd)?, fd)));
        let (stat, fd) = match opened {
            Ok((now, _))
                if identity(&now) != identity(stat) || file_type(&now) != FileType::RegularFile =>
            {
                return Ok(Outcome::Replaced(None));
            }
            Ok(opened) => opened,
            Err(error) => return self.failed("cannot be opened", error),
        };
        self.read_file(fd, &stat, name.to_bytes(), group)?;
        Ok(Outcome::Done)
    }

    fn read_file(
        &mut self,
        fd: OwnedFd,
        stat: &Statx,
        shown: &[u8],
        group: Option<u64>,
    ) -> Result<(), V::Error> {
        let mut node = node(shown, NodeKind::File, stat, &self.names);
        self.add_xattrs(&mut node, &Subject::Open(fd.as_fd()))?;
        node.hard_link = group;
        let mut content = FileContent::new(fd, stat);
        node.sparse_size = content.sparse_size();
        self.visitor.file(node, &stamp(stat), &mut content)?;
        self.links.show(group);
        Ok(())
    }

    fn special(
        &mut self,
        dir: &OwnedFd,
        name: &CStr,
        kind: NodeKind,
        stat: &Statx,
    ) -> Result<Outcome, V::Error> {
        let group = self.links.group(stat);
        let mut node = node(name.to_bytes(), kind, stat, &self.names);
        if kind == NodeKind::Symlink {
            match readlinkat(dir, name, Vec::new()) {
                Ok(target) => node.link_target = Some(target.into_bytes()),
                // Not a link any more.
                Err(Errno::INVAL) => return Ok(Outcome::Replaced(None)),
                Err(error) => return self.failed("cannot be read", error),
            }
        }
        node.hard_link = group;
        node.is_further_link = group.is_some_and(|group| self.links.is_shown(group));
        self.links.show(group);
        if !node.is_further_link {
            self.add_xattrs(&mut node, &Subject::in_directory(dir.as_fd(), name))?;
        }
        self.visitor.other(node)?;
        Ok(Outcome::Done)
    }

    fn add_xattrs(&mut self, node: &mut Node, subject: &Subject<'_>) -> Result<(), V::Error> {
        let mut failures = Vec::new();
        let result = subject.read(XATTR_ROOM, |name, error| {
            let name = name.to_bytes().escape_ascii();
            failures.push(format!("attribute `{name}`: {}", io::Error::from(error)));
        });
        match result {
            Ok(Found { xattrs, dropped }) => {
                node.xattrs = xattrs;
                if dropped > 0 {
                    failures.push(format!(
                        "{dropped} of them are beyond the {XATTR_ROOM} bytes kept of one entry"
                    ));
                }
            }
            // Of a symlink or a device: `/proc` is missing, or the entry is gone by now.
            Err(Errno::NOENT) => {}
            Err(error) => failures.push(format!("attributes: {}", io::Error::from(error))),
        }
        if failures.is_empty() {
            return Ok(());
        }
        self.trouble(Trouble::WithoutAttributes(failures.join("; ")))
    }
}

/// Only what is not there is gone: a stale handle may well be of something that still is.
fn trouble_of(what: &str, error: Errno) -> Trouble {
    match error {
        Errno::NOENT => Trouble::Vanished,
        error => Trouble::Unreadable(format!("{what}: {}", io::Error::from(error))),
    }
}

fn is_same(fd: &OwnedFd, expected: (u64, u64)) -> bool {
    stat_open(fd).is_ok_and(|stat| identity(&stat) == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_is_gone() {
        assert_eq!(trouble_of("x", Errno::NOENT), Trouble::Vanished);
        for error in [Errno::STALE, Errno::IO, Errno::ACCESS] {
            assert!(matches!(trouble_of("x", error), Trouble::Unreadable(_)), "{error}");
        }
    }
}
