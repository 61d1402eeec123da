//! Links, fifos and devices.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, linkat, makedev, mknodat, openat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::snapshot::{Node, NodeKind};
use crate::source::files::stat::{file_type, identity, stat_at, stat_open};

use super::metadata::Handle;
use super::paths::{self, Location};
use super::{FilesTarget, Overwrite, TargetError, lock};

impl FilesTarget<'_> {
    /// Makes a symlink, fifo or device with its metadata, or a further name of a hard link group
    /// whose first name was made before and is finished. With [`Overwrite::Never`] what is there
    /// stays.
    pub fn make_other(&self, path: &[u8], node: &Node) -> Result<(), TargetError> {
        let location = self.locate(path)?;
        if self.options.overwrite == Overwrite::Never {
            match stat_at(&location.dir, &location.name) {
                Ok(stat) => {
                    if !node.is_further_link {
                        self.remember_link(node, path, identity(&stat));
                    }
                    return Ok(());
                }
                Err(Errno::NOENT) => {}
                Err(error) => return Err(self.io(path, "look at what is there", error)),
            }
        }
        if node.is_further_link {
            self.make_link(&location, node)
        } else {
            self.make_special(&location, node)
        }
    }

    fn bad(&self, location: &Location, reason: &'static str) -> TargetError {
        TargetError::BadNode { path: self.full(&location.path), reason }
    }

    fn make_link(&self, location: &Location, node: &Node) -> Result<(), TargetError> {
        let group = node.hard_link.and_then(|group| lock(&self.links).get(&group).cloned());
        let Some(first) = group else {
            return Err(TargetError::LinkMissing { path: self.full(&location.path) });
        };
        let (parent, name) = paths::split(&first.path)?;
        let source = self.directory(parent)?;
        const ACTION: &str = "make the hard link";
        let failed = |error| self.io(&location.path, ACTION, error);
        let (temporary, ()) = self.make_temporary(location, ACTION, |dir, temporary| {
            linkat(&source, &name, dir, temporary, AtFlags::empty())
        })?;
        // Whoever may write there may have put another file under that name.
        let stat = stat_at(&location.dir, &temporary.name).map_err(failed)?;
        if identity(&stat) != first.identity {
            return Err(failed(Errno::STALE));
        }
        let leftover = temporary.name.clone();
        self.place(location, temporary)?;
        // Renaming one name of a file to another of the same file does nothing at all.
        match unlinkat(&location.dir, &leftover, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    fn make_special(&self, location: &Location, node: &Node) -> Result<(), TargetError> {
        let device = || match node.device {
            Some(device) => Ok(makedev(device.major, device.minor)),
            None => Err(self.bad(location, "its device number is missing")),
        };
        let mode = Mode::RUSR | Mode::WUSR;
        let (kind, action, number) = match node.kind {
            NodeKind::Symlink => (FileType::Symlink, "make the symbolic link", 0),
            NodeKind::Fifo => (FileType::Fifo, "make the fifo", 0),
            NodeKind::CharDevice => {
                (FileType::CharacterDevice, "make the character device", device()?)
            }
            NodeKind::BlockDevice => (FileType::BlockDevice, "make the block device", device()?),
            NodeKind::File | NodeKind::Directory => {
                return Err(self.bad(location, "files and directories are made another way"));
            }
        };
        let link_target = node.link_target.as_deref().unwrap_or_default();
        if kind == FileType::Symlink && (link_target.is_empty() || link_target.contains(&0)) {
            return Err(self.bad(location, "the target of the symbolic link is not valid"));
        }
        let (temporary, ()) = self.make_temporary(location, action, |dir, name| {
            if kind == FileType::Symlink {
                symlinkat(link_target, dir, name)
            } else {
                mknodat(dir, name, kind, mode, number)
            }
        })?;
        let made = self.open_made(location, &temporary.name, kind)?;
        self.set_metadata(&location.path, &Handle::Path(made.as_fd()), node)?;
        self.place(location, temporary)?;
        self.remember_open_link(node, &location.path, &made)
    }

    /// Opens what was just made, and makes sure that it is that: in a directory others may write to,
    /// they could have put something else under its name, for us to give away.
    fn open_made(
        &self,
        location: &Location,
        name: &std::ffi::CStr,
        kind: FileType,
    ) -> Result<OwnedFd, TargetError> {
        let failed = |error| self.io(&location.path, "open what was made", error);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&location.dir, name, flags, Mode::empty()).map_err(failed)?;
        let stat = stat_open(&made).map_err(failed)?;
        let is_ours = stat.stx_uid == rustix::process::geteuid().as_raw() && stat.stx_nlink == 1;
        if file_type(&stat) != kind || !is_ours {
            return Err(failed(Errno::STALE));
        }
        Ok(made)
    }
}
