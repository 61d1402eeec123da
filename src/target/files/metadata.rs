//! Owner, mode, extended attributes and times, in the order in which one does not undo another.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat, chownat,
    fchmod, fchown, futimens, setxattr, utimensat,
};
use rustix::io::{Errno, Result};

use crate::snapshot::{Node, NodeKind};
use crate::source::files::xattrs::Subject;

use super::{FilesTarget, TargetError};

/// The bits that lend a file's owner and group to whoever runs it.
const SET_ID_BITS: u32 = 0o6000;

/// The attribute with the ACL.
const ACL: &[u8] = b"system.posix_acl_access";

/// Something open whose metadata is set.
pub(super) enum Handle<'a> {
    /// A file or directory.
    Open(BorrowedFd<'a>),
    /// Anything, opened with `O_PATH` and without following it.
    Path(BorrowedFd<'a>),
}

impl Handle<'_> {
    /// The kernel leads from this name straight to what is open, even to a symlink itself.
    fn name(fd: BorrowedFd<'_>) -> String {
        format!("/proc/self/fd/{}", fd.as_raw_fd())
    }

    fn set_owner(&self, user: Option<Uid>, group: Option<Gid>) -> Result<()> {
        match self {
            Self::Open(fd) => fchown(fd, user, group),
            Self::Path(fd) => chownat(fd, c"", user, group, AtFlags::EMPTY_PATH),
        }
    }

    fn set_mode(&self, mode: Mode) -> Result<()> {
        match self {
            Self::Open(fd) => fchmod(fd, mode),
            Self::Path(fd) => chmodat(CWD, Self::name(*fd), mode, AtFlags::empty()),
        }
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<()> {
        match self {
            Self::Open(fd) => Subject::Open(*fd).set(name, value),
            Self::Path(fd) => setxattr(Self::name(*fd), name, value, XattrFlags::empty()),
        }
    }

    fn set_times(&self, times: &Timestamps) -> Result<()> {
        match self {
            Self::Open(fd) => futimens(fd, times),
            Self::Path(fd) => utimensat(CWD, Self::name(*fd), times, AtFlags::empty()),
        }
    }
}

/// A number that can be set: the largest means "as it is" to the kernel.
fn settable(id: u32) -> Option<u32> {
    (id != u32::MAX).then_some(id)
}

/// Attributes that a new file gets from the directory it is made in, or that an old one has, and
/// that must not stay if they are not the node's. Those of the system's own modules are left alone.
fn is_replaced(name: &CStr) -> bool {
    let name = name.to_bytes();
    name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_")
}

/// The bits of the mode that may stay if the node's ACL cannot be set. With an ACL the mode's group
/// bits are the most that anybody named in it may do; without it they would be the group's.
pub(super) fn mode_without_acl(node: &Node) -> u32 {
    const GROUP: u16 = 4;
    let acl = node.xattrs.iter().find(|xattr| xattr.name == ACL).map(|xattr| &xattr.value);
    // u32 version, then u16 tag, u16 rights, u32 id each.
    let entries = acl.and_then(|acl| acl.get(4..)).unwrap_or_default();
    let group = entries.chunks_exact(8).find_map(|entry| {
        let number = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
        (number(0) == GROUP).then(|| number(2) & 7)
    });
    !0o070 | u32::from(group.unwrap_or(0)) << 3
}

impl FilesTarget<'_> {
    /// Sets everything `node` says. What the system does not allow is told once; no error.
    pub(super) fn set_metadata(
        &self,
        path: &[u8],
        handle: &Handle<'_>,
        node: &Node,
    ) -> std::result::Result<(), TargetError> {
        // First the owner: a new one takes set-id bits and capabilities away. The mode after the
        // attributes: a file that is read-only takes none from anybody but root.
        let has_owner = self.set_owner(path, handle, node);
        let has_acl = self.set_xattrs(path, handle, node);
        if node.kind != NodeKind::Symlink {
            let mut mode = node.mode & 0o7777;
            if !has_owner {
                // Not to run as somebody it never was of.
                mode &= !SET_ID_BITS;
            }
            if !has_acl {
                mode &= mode_without_acl(node);
            }
            handle
                .set_mode(Mode::from_raw_mode(mode))
                .map_err(|error| self.io(path, "set the mode", error))?;
        }
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec {
                tv_sec: node.mtime,
                tv_nsec: node.mtime_nanos.min(999_999_999).into(),
            },
        };
        handle.set_times(&times).map_err(|error| self.io(path, "set the modification time", error))
    }

    /// Owner and group as numbers of this system.
    fn owner(&self, node: &Node) -> (u32, u32) {
        if self.options.numeric_owner {
            return (node.uid, node.gid);
        }
        let user = node.user.as_ref().and_then(|name| self.names.user_id(name));
        let group = node.group.as_ref().and_then(|name| self.names.group_id(name));
        (user.unwrap_or(node.uid), group.unwrap_or(node.gid))
    }

    /// Whether it has the right owner and group now.
    fn set_owner(&self, path: &[u8], handle: &Handle<'_>, node: &Node) -> bool {
        let (user, group) = self.owner(node);
        let user = settable(user).map(Uid::from_raw);
        let group = settable(group).map(Gid::from_raw);
        let Err(error) = handle.set_owner(user, group) else {
            return user.is_some() && group.is_some();
        };
        // Everybody may give own files to the own groups.
        let _ = handle.set_owner(None, group);
        self.warn_once(format!("owner {error}"), path, || {
            let error = io::Error::from(error);
            format!("owners cannot be set, here and maybe elsewhere: {error}")
        });
        false
    }

    /// Makes them those of the node. Whether its ACL, if it has one, is set.
    fn set_xattrs(&self, path: &[u8], handle: &Handle<'_>, node: &Node) -> bool {
        if let Handle::Open(fd) = handle {
            let subject = Subject::Open(*fd);
            let old = subject.names().unwrap_or_default();
            for name in old.iter().filter(|name| is_replaced(name)) {
                if node.xattrs.iter().all(|xattr| xattr.name != name.to_bytes())
                    && let Err(error) = subject.remove(name)
                {
                    self.tell_xattr(path, name.to_bytes(), error);
                }
            }
        }
        let mut has_acl = true;
        for xattr in &node.xattrs {
            if let Err(error) = handle.set_xattr(&xattr.name, &xattr.value) {
                has_acl &= xattr.name != ACL;
                self.tell_xattr(path, &xattr.name, error);
            }
        }
        has_acl
    }

    /// Once for every family of attributes: a file system without ACLs has none anywhere.
    fn tell_xattr(&self, path: &[u8], name: &[u8], error: Errno) {
        let mut family = name.split(|byte| *byte == b'.').next().unwrap_or_default();
        if !matches!(family, b"user" | b"system" | b"security" | b"trusted") {
            family = b"?";
        }
        self.warn_once(format!("xattr {} {error}", family.escape_ascii()), path, || {
            let error = io::Error::from(error);
            let name = name.escape_ascii();
            format!("attribute `{name}` cannot be set, here and maybe elsewhere: {error}")
        });
    }
}
