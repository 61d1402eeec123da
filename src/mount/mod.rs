//! Snapshots as a file system: read only, through FUSE, without anything being restored.
//!
//! Nothing is read before somebody asks for it, and memory is bounded: an entry's number says where it is, so that only directories
//! are known, from the kernel's first lookup in them until it forgets the last one; a directory of a million entries is read piece by piece, a file chunk by chunk. Several may read at once.

mod attributes;
mod databases;
mod directory;
mod entries;
mod file;
mod filesystem;
mod places;
mod positions;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption, SessionACL};
use jiff::tz::TimeZone;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::event::Observer;
use crate::repository::{Fetcher, Repository};
use crate::snapshot::Selected;

use filesystem::SnapshotFs;

/// Bytes of opened segments that are kept.
const CACHE: usize = 32 << 20;
/// How often and how long it is waited for readers, before it is unmounted.
const ATTEMPTS: u32 = 30;
const PAUSE: Duration = Duration::from_millis(100);
/// Threads that answer the kernel.
const THREADS: usize = 4;

/// What is mounted.
#[derive(Debug)]
pub struct MountOptions {
    /// The tree of the only snapshot at the top, instead of instances and times.
    pub is_single: bool,
    /// Other users may read as well, as the modes of files say.
    pub allow_other: bool,
    /// In which times are written.
    pub zone: TimeZone,
}

/// Snapshots cannot be mounted, or not be unmounted.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {error}", path.display())]
pub struct MountFailure {
    doing: &'static str,
    path: PathBuf,
    error: io::Error,
}

/// A file system at work, until it is dropped or somebody unmounts it.
#[derive(Debug)]
pub struct Mounted {
    session: Option<BackgroundSession>,
    path: PathBuf,
}

impl Mounted {
    /// Whether somebody unmounted it.
    pub fn is_over(&self) -> bool {
        self.session.as_ref().is_none_or(|session| session.guard.is_finished())
    }

    /// Unmounts it, after waiting a little for whoever is in it; then they have to do without.
    pub fn unmount(mut self) -> Result<(), MountFailure> {
        let Some(session) = self.session.take().filter(|session| !session.guard.is_finished())
        else {
            return Ok(());
        };
        for attempt in 0..=ATTEMPTS {
            let flags =
                if attempt == ATTEMPTS { UnmountFlags::DETACH } else { UnmountFlags::empty() };
            match unmount(&self.path, flags) {
                Ok(()) => return Ok(()),
                // Files closed a moment ago are still on their way.
                Err(Errno::BUSY) => std::thread::sleep(PAUSE),
                // Not root: a program of the system helps.
                Err(_) => break,
            }
        }
        let failed = |error| MountFailure { doing: "unmount", path: self.path.clone(), error };
        session.umount_and_join().map_err(failed)
    }
}

/// Mounts `snapshots` at `path`. The repository stays open until the process ends: the kernel may ask at any time.
pub fn mount(
    repository: Repository,
    snapshots: Vec<Selected>,
    path: &Path,
    options: &MountOptions,
    observer: Arc<dyn Observer>,
) -> Result<Mounted, MountFailure> {
    let failed = |error| MountFailure { doing: "mount snapshots at", path: path.to_owned(), error };
    let repository: &'static Repository = Box::leak(Box::new(repository));
    let fetcher: &'static Fetcher<'static> = Box::leak(Box::new(Fetcher::new(repository, CACHE)));
    let snapshots: &'static [Selected] = Box::leak(snapshots.into_boxed_slice());
    let filesystem = SnapshotFs::new(fetcher, snapshots, options, observer);
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoAtime,
        MountOption::DefaultPermissions,
        MountOption::FSName("mrs-backup".to_owned()),
        MountOption::Subtype("mrs-backup".to_owned()),
    ];
    config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    let session = fuser::spawn_mount(filesystem, path, &config).map_err(failed)?;
    Ok(Mounted { session: Some(session), path: path.to_owned() })
}
