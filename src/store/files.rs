//! A store on anything that has files, directories and a rename: FTP, SFTP, WebDAV. What differs
//! between them is [`Files`]; what a [`Store`] promises is made of it here, once.
//!
//! An object is written under a temporary name next to its own, its size is confirmed, and then it is
//! renamed. Most servers rename over what is there: within this process one writer at a time works on a
//! name, and looks first. Between processes names do not meet, since they are hashes or random.
//!
//! Where a server refuses renames, objects are written under their own names. Then a cut can leave half an
//! object, which is found by its size and its hash, and written again.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use super::at_once::by_threads;
use super::claims::Claims;
use super::{
    ByteRange, Location, ObjectInfo, ObjectKind, ObjectName, Store, StoreError, StoreErrorKind,
    Survey, Verb,
};
use crate::clock::Clock;
use crate::crypto::SystemRandom;
use crate::crypto::random::random_bytes;
use crate::id::{from_hex, to_hex};

mod leftovers;
mod publish;
mod survey;

/// Written and removed to see what time it is there, and whether anything can be removed.
const PROBE: &str = "probe.tmp";

/// Why something failed, before it is known for which object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub kind: StoreErrorKind,
    pub reason: String,
    /// The server does not know how to do that at all.
    pub is_unsupported: bool,
}

impl Failure {
    pub fn new(kind: StoreErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), is_unsupported: false }
    }
}

/// What a question for a whole file gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whole {
    Bytes(Vec<u8>),
    /// It has so many bytes, or more, and they were not taken.
    TooLong(u64),
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub size: u64,
    pub modified: Option<Timestamp>,
    pub is_directory: bool,
}

/// Files of a server. Paths are below the store's root, with `/` between the parts; `""` is the root.
///
/// Servers often cannot say whether something is missing or forbidden: either kind may mean both, and
/// [`FileStore`] looks.
pub(super) trait Files: std::fmt::Debug + Send + Sync {
    fn connections(&self) -> NonZeroUsize;

    /// Calls that carry little, at once.
    fn small_calls(&self) -> NonZeroUsize {
        self.connections()
    }

    /// Whether calls made at once share a connection, so that a further one costs nothing.
    fn share_a_connection(&self) -> bool {
        false
    }

    /// Whether the listing of a directory that is missing is an error, always.
    fn tell_missing(&self) -> bool {
        false
    }

    /// Whether a directory is there.
    fn has_directory(&self, path: &str) -> Result<bool, Failure>;

    /// Makes one directory; one that is there is left as it is.
    fn make_directory(&self, path: &str) -> Result<(), Failure>;

    /// Makes the root, and what is above it.
    fn make_root(&self) -> Result<(), Failure>;

    /// Removes an empty directory.
    fn remove_directory(&self, path: &str) -> Result<(), Failure>;

    /// Writes a file, over what is there, as durable as the server can. Gives the size that the server says it has
    /// then, if asking costs no trip of its own.
    fn write(&self, path: &str, parts: &[&[u8]]) -> Result<Option<u64>, Failure>;

    /// Reads from `offset` on, at most `len` bytes.
    fn read(&self, path: &str, offset: u64, len: u64) -> Result<Vec<u8>, Failure>;

    /// Reads a file that is at most `limit` long without asking for its size first; `None` where that cannot be.
    fn read_whole(&self, path: &str, limit: u64) -> Option<Result<Whole, Failure>> {
        let _ = (path, limit);
        None
    }

    /// Size of a file.
    fn size(&self, path: &str) -> Result<u64, Failure>;

    /// What is in a directory. One that is missing may be an empty one.
    fn list(&self, path: &str) -> Result<Vec<Entry>, Failure>;

    /// Moves a file, within or between directories.
    fn rename(&self, from: &str, to: &str) -> Result<(), Failure>;

    /// Removes a file.
    fn remove(&self, path: &str) -> Result<(), Failure>;
}

/// A store on files of a server.
#[derive(Debug)]
pub(super) struct FileStore<F> {
    files: F,
    location: Location,
    claims: Claims,
    refuses_renames: AtomicBool,
    seen: leftovers::Seen,
}

fn is_absent(failure: &Failure) -> bool {
    matches!(failure.kind, StoreErrorKind::NotFound | StoreErrorKind::Denied)
}

/// The object whose temporary file has this path.
fn temporary_of(path: &str) -> Option<ObjectName> {
    let (target, nonce) = path.strip_suffix(".tmp")?.rsplit_once('.')?;
    from_hex::<8>(nonce)?;
    ObjectName::parse(target)
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl<F: Files> FileStore<F> {
    pub fn new(files: F, location: Location) -> Self {
        Self {
            files,
            location,
            claims: Claims::default(),
            refuses_renames: AtomicBool::new(false),
            seen: leftovers::Seen::default(),
        }
    }

    fn error(&self, verb: Verb, object: Option<&ObjectName>, failure: Failure) -> StoreError {
        self.location.error(failure.kind, verb, object, failure.reason)
    }

    /// Size of a file, `None` if it is not there.
    fn size_of(&self, path: &str) -> Result<Option<u64>, Failure> {
        match self.files.size(path) {
            Ok(size) => Ok(Some(size)),
            Err(failure) if failure.is_unsupported || failure.kind == StoreErrorKind::Denied => {
                let name = path.rsplit('/').next().unwrap_or(path);
                let listed = self.files.list(parent(path))?;
                Ok(listed.into_iter().find(|entry| entry.name == name).map(|entry| entry.size))
            }
            Err(failure) if failure.kind == StoreErrorKind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Makes the directories above `path`, except the root.
    fn make_directories(&self, path: &str) -> Result<(), Failure> {
        let directory = parent(path);
        let ends = directory.match_indices('/').map(|(at, _)| at).chain([directory.len()]);
        for end in ends.filter(|end| *end > 0) {
            self.files.make_directory(&directory[..end])?;
        }
        Ok(())
    }

    /// Does `act`, which needs the directory of `path`; makes that when it is missing.
    fn in_directory<T>(
        &self,
        path: &str,
        act: impl Fn() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match act() {
            Err(failure) if is_absent(&failure) && !parent(path).is_empty() => {
                // A disk that is not mounted must not get a repository's directories.
                if !self.files.has_directory("")? {
                    return Err(Failure::new(StoreErrorKind::NotFound, "the place is not there"));
                }
                self.make_directories(path).map_err(|made| Failure {
                    reason: format!("{} ({})", failure.reason, made.reason),
                    ..made
                })?;
                act()
            }
            done => done,
        }
    }

    /// Writes `parts` at `path` and sees that all of it arrived.
    fn write_confirmed(&self, path: &str, parts: &[&[u8]]) -> Result<(), Failure> {
        let expected: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let told = self.in_directory(path, || self.files.write(path, parts))?;
        let size = if told.is_some() { told } else { self.size_of(path)? };
        match size {
            Some(size) if size == expected => Ok(()),
            Some(size) => {
                let reason = format!("the server kept {size} bytes of {expected}");
                Err(Failure::new(StoreErrorKind::Temporary, reason))
            }
            None => Err(Failure::new(
                StoreErrorKind::Temporary,
                "the server took it, but it is not there",
            )),
        }
    }

    /// Whether nothing is at `path`, and all of `parts` at `temporary`: looked at and written at once where that
    /// saves a trip.
    fn prepare(&self, path: &str, temporary: &str, parts: &[&[u8]]) -> Result<bool, Failure> {
        if !self.files.share_a_connection() {
            return Ok(self.size_of(path)?.is_none()
                && self.write_confirmed(temporary, parts).map(|()| true)?);
        }
        let (there, written) = std::thread::scope(|scope| {
            let look = scope.spawn(|| self.size_of(path));
            let written = self.write_confirmed(temporary, parts);
            let lost = || Err(Failure::new(StoreErrorKind::Permanent, "a thread of ours died"));
            (look.join().unwrap_or_else(|_| lost()), written)
        });
        if there?.is_some() {
            let _ = self.files.remove(temporary);
            return Ok(false);
        }
        written.map(|()| true)
    }

    /// Writes what is not there yet; false if something is.
    fn write_new(&self, path: &str, parts: &[&[u8]]) -> Result<bool, Failure> {
        if self.refuses_renames.load(Ordering::Relaxed) {
            return Ok(
                self.size_of(path)?.is_none() && self.write_in_place(path, parts).map(|()| true)?
            );
        }
        let nonce = to_hex(&random_bytes::<8>(&SystemRandom));
        let temporary = format!("{path}.{nonce}.tmp");
        let renamed = match self.prepare(path, &temporary, parts) {
            Ok(true) => self.files.rename(&temporary, path),
            Ok(false) => return Ok(false),
            Err(failure) => Err(failure),
        };
        let Err(failure) = renamed else { return Ok(true) };
        let refused = (failure.is_unsupported || is_absent(&failure))
            && matches!(self.size_of(&temporary), Ok(Some(_)))
            && matches!(self.size_of(path), Ok(None));
        // Left behind if the connection is gone: passed over by everybody, and some day found stale.
        let _ = self.files.remove(&temporary);
        if !refused {
            return Err(failure);
        }
        self.write_in_place(path, parts)?;
        self.refuses_renames.store(true, Ordering::Relaxed);
        Ok(true)
    }

    fn write_in_place(&self, path: &str, parts: &[&[u8]]) -> Result<(), Failure> {
        self.write_confirmed(path, parts).inspect_err(|_| {
            let _ = self.files.remove(path);
        })
    }

    /// Removes a file; one that is not there counts as removed.
    fn remove(&self, path: &str) -> Result<(), Failure> {
        match self.files.remove(path) {
            Err(failure) if is_absent(&failure) => match self.size_of(path)? {
                None => Ok(()),
                Some(_) => Err(Failure { kind: StoreErrorKind::Denied, ..failure }),
            },
            done => done,
        }
    }

    fn drop_empty_session(&self, name: &ObjectName) {
        // The first beat goes last.
        if matches!(name, ObjectName::Session { beat: 0, .. } | ObjectName::Staged { .. }) {
            // Not empty, gone already, not allowed: no harm in keeping it.
            let _ = self.files.remove_directory(parent(&name.path()));
        }
    }

    /// Visits every file that lies where objects of `kind` do.
    fn walk(
        &self,
        kind: ObjectKind,
        visit: &mut dyn FnMut(&str, &Entry) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let top = if kind == ObjectKind::Config { "" } else { kind.directory() };
        let is_nested = matches!(kind, ObjectKind::Pack | ObjectKind::Session);
        let mut is_missing = false;
        let entries = match self.files.list(top) {
            Err(failure) if !top.is_empty() => {
                is_missing = true;
                self.unless_missing(top, failure)?
            }
            listed => listed?,
        };
        let is_doubtful = entries.is_empty() && (is_missing || !self.files.tell_missing());
        if is_doubtful && !self.files.has_directory("")? {
            return Err(Failure::new(StoreErrorKind::NotFound, "the place is not there"));
        }
        let below = |name: &str| match top {
            "" => name.to_owned(),
            _ => format!("{top}/{name}"),
        };
        let (directories, files): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|entry| entry.is_directory);
        for entry in &files {
            if visit(&below(&entry.name), entry).is_break() {
                return Ok(());
            }
        }
        if is_nested {
            let paths: Vec<String> =
                directories.iter().map(|directory| below(&directory.name)).collect();
            return self.walk_directories(&paths, visit);
        }
        Ok(())
    }

    /// Nothing, if the listing of `path` failed because it is not there (yet, or any more). What is there and
    /// cannot be listed must not look empty.
    fn unless_missing(&self, path: &str, failure: Failure) -> Result<Vec<Entry>, Failure> {
        if is_absent(&failure) && !self.files.has_directory(path)? {
            return Ok(Vec::new());
        }
        let kind = match failure.kind {
            StoreErrorKind::NotFound => StoreErrorKind::Denied,
            kind => kind,
        };
        Err(Failure { kind, ..failure })
    }

    /// Lists several directories, many at once.
    fn walk_directories(
        &self,
        paths: &[String],
        visit: &mut dyn FnMut(&str, &Entry) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let listed = by_threads(self.files.small_calls(), paths, |path| self.files.list(path));
        for (path, entries) in paths.iter().zip(listed) {
            let entries = match entries {
                Err(failure) => self.unless_missing(path, failure)?,
                Ok(entries) => entries,
            };
            for entry in entries.iter().filter(|entry| !entry.is_directory) {
                if visit(&format!("{path}/{}", entry.name), entry).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A whole object without asking for its size first. `None` where that cannot be done, or where asking tells more
    /// of why it failed.
    fn fetch_at_once(&self, name: &ObjectName, limit: u64) -> Option<Result<Vec<u8>, StoreError>> {
        let fail = |failure| Some(Err(self.error(Verb::Get, Some(name), failure)));
        match self.files.read_whole(&name.path(), limit.min(64 << 20))? {
            Ok(Whole::Bytes(bytes)) => Some(Ok(bytes)),
            Err(failure) if failure.kind == StoreErrorKind::NotFound => {
                fail(Failure::new(StoreErrorKind::NotFound, "it is not there"))
            }
            Err(failure) if failure.kind == StoreErrorKind::Temporary => fail(failure),
            Ok(Whole::TooLong(_)) | Err(_) => None,
        }
    }

    fn fetch(&self, name: &ObjectName, range: ByteRange) -> Result<Vec<u8>, StoreError> {
        let fail = |failure| self.error(Verb::Get, Some(name), failure);
        let refuse = |kind, reason| self.location.error(kind, Verb::Get, Some(name), reason);
        let path = name.path();
        let absent = || refuse(StoreErrorKind::NotFound, "it is not there".to_owned());
        let (offset, len) = match range {
            ByteRange::Whole { .. } => (0, None),
            ByteRange::Exact { offset, len } => (offset, Some(len)),
        };
        if let ByteRange::Whole { limit } = range
            && let Some(read) = self.fetch_at_once(name, limit)
        {
            return read;
        }
        let size = || self.size_of(&path).map_err(fail)?.ok_or_else(absent);
        let wanted = match (range, len) {
            (ByteRange::Whole { limit }, _) => {
                let size = size()?;
                if size > limit {
                    let reason =
                        format!("it has {size} bytes where at most {limit} are acceptable");
                    return Err(refuse(StoreErrorKind::TooLong, reason));
                }
                size
            }
            (_, len) => len.unwrap_or(0),
        };
        let short = |size: u64| {
            let reason = format!("it has {size} bytes, not {wanted} from byte {offset} on");
            refuse(StoreErrorKind::TooShort, reason)
        };
        // Nothing is asked of the server that it could not have: some take an offset behind the end for
        // an error, some for 0.
        if wanted == 0 || wanted > (64 << 20) || offset > (1 << 40) {
            let size = size()?;
            if offset.checked_add(wanted).is_none_or(|end| end > size) {
                return Err(short(size));
            }
            if wanted == 0 {
                return Ok(Vec::new());
            }
        }
        let bytes = match self.files.read(&path, offset, wanted) {
            Ok(bytes) => bytes,
            Err(failure) => {
                let size = size()?;
                if offset.checked_add(wanted).is_none_or(|end| end > size) {
                    return Err(short(size));
                }
                return Err(fail(failure));
            }
        };
        if (bytes.len() as u64) < wanted {
            let size = size()?;
            if offset + wanted <= size {
                let reason = format!("only {} of {wanted} bytes came", bytes.len());
                return Err(refuse(StoreErrorKind::Temporary, reason));
            }
            return Err(short(size));
        }
        Ok(bytes)
    }
}

impl<F: Files> Store for FileStore<F> {
    fn location(&self) -> &Location {
        &self.location
    }

    fn connections(&self) -> NonZeroUsize {
        self.files.connections()
    }

    fn small_calls(&self) -> NonZeroUsize {
        self.files.small_calls()
    }

    fn is_far(&self) -> bool {
        true
    }

    fn create(&self) -> Result<(), StoreError> {
        let fail = |failure| self.error(Verb::Create, None, failure);
        self.files.make_root().map_err(fail)?;
        for kind in ObjectKind::ALL.into_iter().filter(|kind| *kind != ObjectKind::Config) {
            self.files.make_directory(kind.directory()).map_err(fail)?;
        }
        Ok(())
    }

    fn survey(&self) -> Result<Survey, StoreError> {
        survey::survey(self).map_err(|failure| self.error(Verb::Survey, None, failure))
    }

    fn put(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<(), StoreError> {
        let fail = |failure| self.error(Verb::Put, Some(name), failure);
        let _claimed = self.claims.claim(name);
        let path = name.path();
        if matches!(name, ObjectName::Session { beat: 0, .. }) {
            // Each session has a directory of its own. Why it cannot be made, writing tells.
            let _ = self.files.make_directory(parent(&path));
        }
        match self.write_new(&path, parts).map_err(fail)? {
            true => Ok(()),
            false => {
                let kind = StoreErrorKind::Exists;
                Err(self.location.error(kind, Verb::Put, Some(name), "it is there"))
            }
        }
    }

    fn get(&self, name: &ObjectName, range: ByteRange) -> Result<Vec<u8>, StoreError> {
        self.fetch(name, range)
    }

    fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        let found = self
            .size_of(&name.path())
            .map_err(|failure| self.error(Verb::Size, Some(name), failure))?;
        found.ok_or_else(|| {
            self.location.error(StoreErrorKind::NotFound, Verb::Size, Some(name), "it is not there")
        })
    }

    fn list(
        &self,
        kind: ObjectKind,
        visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.list_objects(kind, visit).map_err(|failure| self.error(Verb::List, None, failure))
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.remove(&name.path())
            .map_err(|failure| self.error(Verb::Delete, Some(name), failure))?;
        self.drop_empty_session(name);
        Ok(())
    }

    fn publish(&self, staged: &ObjectName, target: &ObjectName) -> Result<(), StoreError> {
        self.publish_by_rename(staged, target)
    }

    /// What is confirmed is as durable as the server makes it.
    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn remove_stale_temporaries(
        &self,
        older_than: Duration,
        clock: &dyn Clock,
    ) -> Result<u64, StoreError> {
        self.remove_leftovers(older_than, clock)
    }

    fn publishing(&self) -> &'static str {
        match self.refuses_renames.load(Ordering::Relaxed) {
            false => "by one rename that fails if the staged snapshot is gone",
            true => "written in place: the server refuses to rename",
        }
    }

    fn remove_empty_place(&self) -> Result<(), StoreError> {
        for kind in ObjectKind::ALL.into_iter().filter(|kind| *kind != ObjectKind::Config) {
            let top = kind.directory();
            for entry in self.files.list(top).unwrap_or_default() {
                let _ = self.files.remove_directory(&format!("{top}/{}", entry.name));
            }
            let _ = self.files.remove_directory(top);
        }
        self.files.remove_directory("").map_err(|failure| self.error(Verb::Delete, None, failure))
    }

    fn refuses_deletes(&self) -> Result<bool, StoreError> {
        let tried = self.files.write(PROBE, &[b"probe"]).and_then(|_| self.remove(PROBE));
        match tried {
            Ok(()) => Ok(false),
            Err(failure) if failure.kind == StoreErrorKind::Denied => Ok(true),
            Err(failure) => Err(self.error(Verb::Delete, None, failure)),
        }
    }
}
