//! A directory as a store: one file for each object, at the object's path below the root.
//!
//! A file with an object's name is always complete and its bytes are on the disk: it is written
//! under a temporary name next to it, made durable, and only then renamed, never over another
//! file. What may still be lost to a power cut is the rename; [`Store::sync`] waits for those.
//!
//! Only [`Store::create`] makes the root. Anything else finding it gone fails, so that a disk that
//! is not mounted is never mistaken for an empty repository and written to.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use self::direct::Blocks;
use self::disk::{Temporary, Trouble};
use super::{
    BAR, ByteRange, Location, ObjectInfo, ObjectKind, ObjectName, Store, StoreError,
    StoreErrorKind, Survey, Verb, may_be_bar,
};
use crate::clock::Clock;

mod direct;
mod disk;
mod survey;

/// Writers worth running at once: enough to keep a disk busy while others seal, few enough not to
/// make a spinning one seek between them.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

/// What is written and removed to see what time it is there, and whether anything can be removed.
const PROBE: &str = ".probe";

/// A store in a directory.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    location: Location,
    /// Directories with names in them that may not be durable yet.
    dirty: Mutex<BTreeSet<PathBuf>>,
    has_synced: AtomicBool,
    blocks: Blocks,
    /// Held while directories are flushed. `Some` after a flush failed: the kernel tells of lost
    /// writes once, so a second try would report success for names that are gone.
    flush: Mutex<Option<String>>,
}

impl LocalStore {
    /// The store in the directory `root`, which need not exist.
    pub fn new(root: PathBuf) -> Self {
        // A writer that was killed before its sync may have left names we are going to build on,
        // so the first sync covers every directory, not only those with names of ours.
        let mut dirty: BTreeSet<_> = kind_directories().map(|name| root.join(name)).collect();
        dirty.insert(root.clone());
        Self {
            location: Location::directory(&root),
            root,
            dirty: Mutex::new(dirty),
            has_synced: AtomicBool::new(false),
            blocks: Blocks::default(),
            flush: Mutex::new(None),
        }
    }

    /// Packs that somebody else left without a sync may be indexed by us: their names, too, must be
    /// durable before.
    fn mark_pack_directories(&self) {
        let packs = self.root.join(ObjectKind::Pack.directory());
        let Ok(entries) = fs::read_dir(packs) else { return };
        let found = entries.flatten().filter(|entry| entry.file_name().len() == 2);
        lock(&self.dirty).extend(found.map(|entry| entry.path()));
    }

    fn path_of(&self, name: &ObjectName) -> PathBuf {
        self.root.join(name.path())
    }

    fn error(&self, verb: Verb, object: Option<&ObjectName>, error: &io::Error) -> StoreError {
        self.location.error(disk::kind_of(error), verb, object, error.to_string())
    }

    fn trouble(&self, verb: Verb, trouble: &Trouble) -> StoreError {
        self.location.error(disk::kind_of(&trouble.error), verb, None, trouble.to_string())
    }

    /// Makes the directories above `name`, except the root.
    fn make_directories(&self, name: &ObjectName) -> io::Result<()> {
        for directory in self.directories_of(name).iter().rev().skip(1) {
            disk::make_directory(directory)?;
        }
        Ok(())
    }

    /// The directories above `name`, from its own up to the root.
    fn directories_of(&self, name: &ObjectName) -> Vec<PathBuf> {
        let depth = name.path().split('/').count();
        self.path_of(name).ancestors().skip(1).take(depth).map(Path::to_owned).collect()
    }

    /// Remembers that the names above and at `name` have to be made durable. Must follow the
    /// change: a sync in between would count the directory as done.
    fn mark(&self, name: &ObjectName) {
        let directories = self.directories_of(name);
        lock(&self.dirty).extend(directories);
    }

    /// A new temporary file for `name`, its directories made when they are missing.
    fn begin(&self, name: &ObjectName) -> io::Result<Temporary> {
        let target = self.path_of(name);
        match Temporary::create(&target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
        // Twice, because a session's directory may be removed by its last delete just after we
        // found or made it.
        self.make_directories(name)?;
        match Temporary::create(&target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
        self.make_directories(name)?;
        Temporary::create(&target)
    }

    fn probe_path(&self) -> PathBuf {
        self.root.join(ObjectKind::Pack.directory()).join(PROBE)
    }

    /// Writes a file that is no object; gives its time. Always the same file: where it cannot be removed,
    /// one is left and no more.
    fn probe(&self) -> io::Result<Timestamp> {
        let mut file = fs::File::create(self.probe_path())?;
        io::Write::write_all(&mut file, b"probe")?;
        let modified = file.metadata()?.modified()?;
        Timestamp::try_from(modified).map_err(io::Error::other)
    }

    fn drop_empty_session(&self, name: &ObjectName) {
        if name.kind() == ObjectKind::Session
            && let Some(directory) = self.path_of(name).parent()
        {
            // Not empty, gone already, not allowed: no harm in keeping it.
            let _ = fs::remove_dir(directory);
        }
    }

    /// Fails if names written before are known to be lost.
    fn refuse_after_loss(&self, verb: Verb, lost: Option<&String>) -> Result<(), StoreError> {
        lost.map_or(Ok(()), |reason| {
            let reason = format!("what was written before may be lost: {reason}");
            Err(self.location.error(StoreErrorKind::Permanent, verb, None, reason))
        })
    }

    /// Waits until the names in the directories `choose` returns are durable.
    fn flush(
        &self,
        verb: Verb,
        choose: impl FnOnce() -> BTreeSet<PathBuf>,
    ) -> Result<(), StoreError> {
        // Chosen under the lock: whoever finds a directory taken by another flush waits for it.
        let mut lost = lock(&self.flush);
        self.refuse_after_loss(verb, lost.as_ref())?;
        let directories = choose();
        let flushed = directories.iter().try_for_each(|directory| {
            let at = |error| Trouble { path: directory.display().to_string(), error };
            let file = match disk::open_directory(directory) {
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && *directory != self.root =>
                {
                    return Ok(());
                }
                opened => opened.map_err(|error| self.trouble(verb, &at(error)))?,
            };
            disk::flush_directory(&file).map_err(|error| {
                let reason = at(error).to_string();
                *lost = Some(reason.clone());
                self.location.error(StoreErrorKind::Permanent, verb, None, reason)
            })
        });
        if flushed.is_err() {
            lock(&self.dirty).extend(directories);
        }
        flushed
    }

    fn read(&self, name: &ObjectName, range: ByteRange) -> Result<Vec<u8>, StoreError> {
        let fail = |error: io::Error| self.error(Verb::Get, Some(name), &error);
        let refuse = |kind, reason| self.location.error(kind, Verb::Get, Some(name), reason);
        let file = disk::open_object(&self.path_of(name)).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len();
        let (offset, len) = match range {
            ByteRange::Whole { limit } if size > limit => {
                let reason = format!("it has {size} bytes where at most {limit} are acceptable");
                return Err(refuse(StoreErrorKind::TooLong, reason));
            }
            ByteRange::Whole { .. } => (0, size),
            ByteRange::Exact { offset, len } => (offset, len),
        };
        if offset.checked_add(len).is_none_or(|end| end > size) {
            let reason = format!("it has {size} bytes, not {len} from byte {offset} on");
            return Err(refuse(StoreErrorKind::TooShort, reason));
        }
        disk::read_exactly(&file, offset, len).map_err(fail)
    }
}

impl Store for LocalStore {
    fn location(&self) -> &Location {
        &self.location
    }

    fn connections(&self) -> NonZeroUsize {
        CONNECTIONS
    }

    fn create(&self) -> Result<(), StoreError> {
        let fail = |error: io::Error| self.error(Verb::Create, None, &error);
        let missing: Vec<_> = self
            .root
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
            .collect();
        for path in missing.into_iter().rev() {
            disk::make_directory(path).map_err(fail)?;
            lock(&self.dirty).extend(path.parent().map(Path::to_owned));
        }
        for name in kind_directories() {
            disk::make_directory(&self.root.join(name)).map_err(fail)?;
        }
        lock(&self.dirty).insert(self.root.clone());
        Ok(())
    }

    fn survey(&self) -> Result<Survey, StoreError> {
        survey::survey(&self.root).map_err(|trouble| self.trouble(Verb::Survey, &trouble))
    }

    fn put(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<(), StoreError> {
        let fail = |error: io::Error| self.error(Verb::Put, Some(name), &error);
        let target = self.path_of(name);
        // Looked up first to spare writing it all, and again by the rename.
        let placed = match fs::symlink_metadata(&target) {
            Ok(_) => Err(rustix::io::Errno::EXIST.into()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Err(_) => {
                let mut temporary = self.begin(name).map_err(fail)?;
                temporary.write(parts, &self.blocks).map_err(fail)?;
                temporary.rename_to(&target)
            }
        };
        // Marked even if it was there: whoever put it may have died before making it durable.
        self.mark(name);
        placed.map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => {
                let reason = "its temporary file was removed while it was written".to_owned();
                self.location.error(StoreErrorKind::Temporary, Verb::Put, Some(name), reason)
            }
            _ => fail(error),
        })
    }

    fn get(&self, name: &ObjectName, range: ByteRange) -> Result<Vec<u8>, StoreError> {
        self.read(name, range)
    }

    fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        fs::symlink_metadata(self.path_of(name))
            .and_then(|found| disk::regular(&found).map(|()| found.len()))
            .map_err(|error| self.error(Verb::Size, Some(name), &error))
    }

    fn list(
        &self,
        kind: ObjectKind,
        visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut see = |path: &str, entry: &fs::DirEntry| {
            let Some(name) = ObjectName::parse(path) else {
                return Ok(ControlFlow::Continue(()));
            };
            match entry.metadata() {
                // Of a bucket that was copied here. Only a file is read: a link may lead anywhere.
                Ok(found)
                    if found.is_file()
                        && may_be_bar(&name, found.len())
                        && fs::read(entry.path()).is_ok_and(|bytes| bytes == BAR) =>
                {
                    Ok(ControlFlow::Continue(()))
                }
                Ok(found) if found.is_file() => {
                    let modified = found.modified().ok().and_then(|at| at.try_into().ok());
                    Ok(visit(ObjectInfo { name, size: found.len(), modified }))
                }
                Ok(_) => Ok(ControlFlow::Continue(())),
                Err(error) => disk::unless_gone(error),
            }
        };
        disk::walk(&self.root, kind, &mut see).map_err(|trouble| self.trouble(Verb::List, &trouble))
    }

    /// Removals are durable after the next sync, too.
    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        match fs::remove_file(self.path_of(name)) {
            Ok(()) => self.mark(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(self.error(Verb::Delete, Some(name), &error)),
        }
        self.drop_empty_session(name);
        Ok(())
    }

    /// Durable when it returns. If that last step fails, the target is there all the same.
    fn publish(&self, staged: &ObjectName, target: &ObjectName) -> Result<(), StoreError> {
        self.refuse_after_loss(Verb::Publish, lock(&self.flush).as_ref())?;
        let (from, to) = (self.path_of(staged), self.path_of(target));
        let moved = match disk::rename_new(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_directories(target).and_then(|()| disk::rename_new(&from, &to))
            }
            done => done,
        };
        moved.map_err(|error| {
            // As in `put`: who finds the target there may build on it.
            self.mark(target);
            let concerned = if error.kind() == io::ErrorKind::NotFound { staged } else { target };
            self.error(Verb::Publish, Some(concerned), &error)
        })?;
        let mut directories = self.directories_of(target);
        directories.extend(from.parent().map(Path::to_owned));
        self.flush(Verb::Publish, || directories.into_iter().collect()).map_err(|error| {
            StoreError { object: Some(*target), kind: StoreErrorKind::Permanent, ..error }
        })?;
        self.drop_empty_session(staged);
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        if !self.has_synced.swap(true, Ordering::SeqCst) {
            self.mark_pack_directories();
        }
        self.flush(Verb::Sync, || std::mem::take(&mut *lock(&self.dirty)))
    }

    /// They are never listed and do no harm but use space.
    fn remove_stale_temporaries(
        &self,
        older_than: Duration,
        clock: &dyn Clock,
    ) -> Result<u64, StoreError> {
        // Files have the times of the disk's own machine. A writer whose clock is days ahead must not take
        // files for stale that others are just writing.
        let Ok(on_disk) = self.probe() else { return Ok(0) };
        let _ = fs::remove_file(self.probe_path());
        let now = clock.now().min(on_disk);
        let limit = now.saturating_sub(older_than).unwrap_or(Timestamp::MIN);
        let mut removed = 0;
        for kind in ObjectKind::ALL {
            let mut visit = |path: &str, entry: &fs::DirEntry| {
                let Some(name) = disk::temporary_of(path) else {
                    return Ok(ControlFlow::Continue(()));
                };
                let modified = match entry.metadata() {
                    Ok(found) if found.is_file() => found.modified()?,
                    Ok(_) => return Ok(ControlFlow::Continue(())),
                    Err(error) => return disk::unless_gone(error),
                };
                if Timestamp::try_from(modified).is_ok_and(|modified| modified < limit) {
                    match fs::remove_file(entry.path()) {
                        Ok(()) => removed += 1,
                        Err(error) => return disk::unless_gone(error),
                    }
                    self.drop_empty_session(&name);
                }
                Ok(ControlFlow::Continue(()))
            };
            disk::walk(&self.root, kind, &mut visit)
                .map_err(|trouble| self.trouble(Verb::Delete, &trouble))?;
        }
        Ok(removed)
    }

    fn remove_empty_place(&self) -> Result<(), StoreError> {
        for name in kind_directories() {
            let directory = self.root.join(name);
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(entry.path());
            }
            let _ = fs::remove_dir(directory);
        }
        fs::remove_dir(&self.root).map_err(|error| self.error(Verb::Delete, None, &error))
    }

    fn refuses_deletes(&self) -> Result<bool, StoreError> {
        let tried = self.probe().and_then(|_| match fs::remove_file(self.probe_path()) {
            // Somebody else who looked was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        });
        match tried {
            Ok(()) => Ok(false),
            Err(error) => match disk::kind_of(&error) {
                StoreErrorKind::Denied => Ok(true),
                _ => Err(self.error(Verb::Delete, None, &error)),
            },
        }
    }

    fn directory(&self) -> Option<&Path> {
        Some(&self.root)
    }

    fn free_bytes(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(&self.root).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// Directories below the root (`config` is a file).
fn kind_directories() -> impl Iterator<Item = &'static str> {
    ObjectKind::ALL
        .into_iter()
        .filter(|kind| *kind != ObjectKind::Config)
        .map(ObjectKind::directory)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
