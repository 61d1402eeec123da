//! Object stores: S3 and compatible ones, Google Cloud Storage, Azure Blob Storage.
//!
//! There is no rename: [`fence`] says how a snapshot is published.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions,
    PutOptions, PutPayload,
};

use self::fence::{Published, fence, is_fence};
use super::claims::Claims;
use super::files::Failure;
use super::throttle::Limits;
use super::{
    ByteRange, CONFIG_MAGIC, Location, ObjectInfo, ObjectKind, ObjectName, Store, StoreError,
    StoreErrorKind, Survey, Verb,
};
use super::{background, http, is_bar, may_be_bar};
use crate::clock::Clock;

mod fence;
mod retention;

pub(super) use retention::{Locking, Retention};

/// Connections at once, unless the location says otherwise.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);
/// Small calls at once, unless it does.
const SMALL_CALLS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(15);
/// From this size on an object is sent in parts.
const MULTIPART_FROM: usize = 16 << 20;
/// Bytes of such a part.
const PART: usize = 8 << 20;
/// Most bytes that are read in one go.
const MOST_AT_ONCE: u64 = 64 << 20;
const PROBE: &str = "probe.tmp";
/// Another one, to try out whether anything can be removed: the first is to stay.
const REMOVED_PROBE: &str = "probe-removed.tmp";
const RESTIC_DIRECTORIES: [&str; 4] = ["data", "keys", "snapshots", "index"];

/// How a bucket is used.
#[derive(Debug)]
pub(super) struct BucketSettings {
    pub prefix: String,
    pub storage_class: Option<String>,
    pub connections: Option<NonZeroUsize>,
    /// `None`: it has to be tried out whether only one of two can create an object.
    pub creates_once: Option<bool>,
    pub timeout: Duration,
}

/// A store in a bucket.
#[derive(Debug)]
pub(super) struct BucketStore {
    objects: Arc<dyn ObjectStore>,
    settings: BucketSettings,
    location: Location,
    limits: Arc<Limits>,
    claims: Claims,
    creates_once: OnceLock<bool>,
    known: Mutex<Known>,
}

/// What this process has seen of sessions, so that it need not ask again.
#[derive(Debug, Default)]
struct Known {
    /// What it staged itself, and has not moved or removed.
    staged: BTreeMap<ObjectName, Bytes>,
    /// All that it ever staged.
    was_staged: BTreeSet<ObjectName>,
    /// What it published, but for removing what was staged.
    published: BTreeSet<ObjectName>,
    /// Fences in the last listing of sessions, with their times.
    fences: Option<Vec<(String, Timestamp)>>,
    /// What bars names, in the last listings of snapshots and condemned objects.
    bars: BTreeMap<String, Timestamp>,
}

fn of(error: Error) -> Failure {
    http::failure(&error)
}

impl BucketStore {
    pub fn new(
        objects: Arc<dyn ObjectStore>,
        settings: BucketSettings,
        location: Location,
        limits: Arc<Limits>,
    ) -> Self {
        let creates_once = settings.creates_once.map(OnceLock::from).unwrap_or_default();
        let claims = Claims::default();
        let known = Mutex::default();
        Self { objects, settings, location, limits, claims, creates_once, known }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn small_calls_at_once(&self) -> NonZeroUsize {
        self.settings.connections.unwrap_or(SMALL_CALLS)
    }

    /// Two calls at once. Both are made, whatever comes of the other.
    fn both<A: Send, B: Send>(
        &self,
        one: impl FnOnce() -> Result<A, Failure> + Send,
        other: impl FnOnce() -> Result<B, Failure>,
    ) -> (Result<A, Failure>, Result<B, Failure>) {
        if self.small_calls_at_once().get() < 2 {
            return (one(), other());
        }
        std::thread::scope(|scope| {
            let one = scope.spawn(one);
            let other = other();
            let lost = || Err(Failure::new(StoreErrorKind::Permanent, "a thread of ours died"));
            (one.join().unwrap_or_else(|_| lost()), other)
        })
    }

    fn path(&self, path: &str) -> Path {
        match self.settings.prefix.as_str() {
            "" => Path::from(path),
            prefix => Path::from(format!("{prefix}/{path}")),
        }
    }

    fn error(&self, verb: Verb, object: Option<&ObjectName>, failure: Failure) -> StoreError {
        self.location.error(failure.kind, verb, object, failure.reason)
    }

    fn size_of(&self, path: &str) -> Result<Option<u64>, Failure> {
        let path = self.path(path);
        match background::wait(async { self.objects.head(&path).await.map_err(of) }) {
            Ok(found) => Ok(Some(found.size)),
            Err(failure) if failure.kind == StoreErrorKind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Writes a small object; with `create`, only if it is not there.
    fn write(&self, path: &str, bytes: Bytes, create: bool) -> Result<(), Failure> {
        let attributes = self.attributes(path);
        let path = self.path(path);
        let mode = if create { PutMode::Create } else { PutMode::Overwrite };
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        let payload = PutPayload::from_bytes(bytes);
        background::wait(async {
            self.objects.put_opts(&path, payload, options).await.map(|_| ()).map_err(of)
        })
    }

    /// The class of storage is for packs: what else there is, is small, read often and soon replaced, for which
    /// cheaper classes ask more.
    fn attributes(&self, path: &str) -> Attributes {
        let mut attributes = Attributes::new();
        let directory = ObjectKind::Pack.directory();
        let is_pack = path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
        if is_pack && let Some(class) = &self.settings.storage_class {
            attributes.insert(Attribute::StorageClass, class.clone().into());
        }
        attributes
    }

    fn write_parts(&self, path: &str, bytes: Bytes) -> Result<(), Failure> {
        let options =
            PutMultipartOptions { attributes: self.attributes(path), ..Default::default() };
        let path = self.path(path);
        let mut upload = background::wait(async {
            self.objects.put_multipart_opts(&path, options).await.map_err(of)
        })?;
        let mut at = 0;
        while at < bytes.len() {
            let end = bytes.len().min(at + PART);
            let part = bytes.slice(at..end);
            self.limits.send(part.len());
            let sent = upload.put_part(PutPayload::from_bytes(part));
            if let Err(failure) = background::wait(async { sent.await.map_err(of) }) {
                // Parts of an upload nobody completes would be paid for.
                let _ = background::wait(async { upload.abort().await.map_err(of) });
                return Err(failure);
            }
            at = end;
        }
        background::wait(async { upload.complete().await.map(|_| ()).map_err(of) })
    }

    fn read(&self, path: &str, offset: u64, len: u64) -> Result<Bytes, Failure> {
        let path = self.path(path);
        let end = offset.saturating_add(len);
        self.limits.receive(usize::try_from(len).unwrap_or(usize::MAX));
        background::wait(async { self.objects.get_range(&path, offset..end).await.map_err(of) })
    }

    /// The whole object in one question, its length looked at before its bytes come; `None` if it is not there.
    fn read_whole(&self, path: &str, limit: u64) -> Result<Option<Whole>, Failure> {
        let path = self.path(path);
        background::wait(async {
            let found = match self.objects.get(&path).await.map_err(of) {
                Err(failure) if failure.kind == StoreErrorKind::NotFound => return Ok(None),
                found => found?,
            };
            let size = found.meta.size;
            if size > limit.min(MOST_AT_ONCE) {
                return Ok(Some(Whole::TooLong(size)));
            }
            self.limits.receive_async(usize::try_from(size).unwrap_or(usize::MAX)).await;
            let bytes = found.bytes().await.map_err(of)?;
            if bytes.len() as u64 != size {
                let reason = format!("{} of {size} bytes came", bytes.len());
                return Err(Failure::new(StoreErrorKind::Temporary, reason));
            }
            Ok(Some(Whole::Bytes(bytes)))
        })
    }

    /// A small object, `None` if it is not there.
    fn read_small(&self, path: &str) -> Result<Option<Bytes>, Failure> {
        match self.read_whole(path, MOST_AT_ONCE)? {
            Some(Whole::TooLong(size)) => {
                Err(Failure::new(StoreErrorKind::TooLong, format!("it has {size} bytes")))
            }
            Some(Whole::Bytes(bytes)) => Ok(Some(bytes)),
            None => Ok(None),
        }
    }

    fn remove(&self, path: &str) -> Result<(), Failure> {
        let path = self.path(path);
        match background::wait(async { self.objects.delete(&path).await.map_err(of) }) {
            Err(failure) if failure.kind == StoreErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// Whether of two that create one object only one succeeds. Some servers take the condition and
    /// do not keep it, so it is tried out, on an object that stays, so that the next one who asks has to ask but once.
    fn creates_once(&self) -> Result<bool, Failure> {
        if let Some(known) = self.creates_once.get() {
            return Ok(*known);
        }
        let create = || match self.write(PROBE, Bytes::from_static(b"probe"), true) {
            Ok(()) => Ok(true),
            Err(failure) if failure.kind == StoreErrorKind::Exists => Ok(false),
            Err(failure) => Err(failure),
        };
        // Made just now, or whatever was there replaced: a second one tells.
        let known = match create().and_then(|made| if made { create() } else { Ok(false) }) {
            Ok(made) => !made,
            Err(failure) if failure.is_unsupported => false,
            Err(failure) => return Err(failure),
        };
        Ok(*self.creates_once.get_or_init(|| known))
    }

    fn entries(&self, path: &str) -> Result<Vec<(String, u64, Timestamp)>, Failure> {
        let below = self.path(path);
        let root = self.path("");
        let skip = if root.as_ref().is_empty() { 0 } else { root.as_ref().len() + 1 };
        background::wait(async {
            let prefix = (!below.as_ref().is_empty()).then_some(&below);
            let found: Vec<_> = self.objects.list(prefix).try_collect().await.map_err(of)?;
            Ok(found
                .into_iter()
                .filter_map(|meta| {
                    let path = meta.location.as_ref().get(skip..)?.to_owned();
                    let seconds = meta.last_modified.timestamp();
                    Some((path, meta.size, Timestamp::from_second(seconds).ok()?))
                })
                .collect())
        })
    }

    fn look(&self) -> Result<Survey, Failure> {
        let root = self.path("");
        let prefix = (!root.as_ref().is_empty()).then_some(&root);
        let found = background::wait_at_most(self.settings.timeout * 4, async {
            self.objects.list_with_delimiter(prefix).await.map_err(of)
        });
        let found = match found {
            Err(failure) if failure.kind == StoreErrorKind::NotFound => {
                let reason = "there is no such bucket; make it first".to_owned();
                return Ok(Survey::Unusable(reason));
            }
            found => found?,
        };
        let last = |path: &Path| path.filename().unwrap_or_default().to_owned();
        let files: Vec<String> = found.objects.iter().map(|meta| last(&meta.location)).collect();
        let directories: Vec<String> = found.common_prefixes.iter().map(last).collect();
        if files.iter().any(|name| name == "config") {
            let begin = self.read_small("config")?.unwrap_or_default();
            if begin.starts_with(&CONFIG_MAGIC) {
                return Ok(Survey::Repository);
            }
            let has = |name: &&str| directories.iter().any(|directory| directory == name);
            if RESTIC_DIRECTORIES.iter().all(&has) && !has(&"packs") {
                return Ok(Survey::Restic);
            }
        }
        let mut foreign: Vec<String> = files
            .into_iter()
            .filter(|name| ![PROBE, REMOVED_PROBE].contains(&name.as_str()))
            .collect();
        for directory in directories {
            let entries = self.entries(&directory)?;
            if entries.iter().any(|(path, ..)| ObjectName::parse(path).is_some()) {
                return Ok(Survey::Headless);
            }
            if !entries.iter().all(|(path, ..)| is_fence(path)) {
                foreign.push(directory);
            }
        }
        foreign.truncate(5);
        Ok(if foreign.is_empty() { Survey::Empty } else { Survey::Foreign(foreign) })
    }
}

/// What a question for a whole object gives.
enum Whole {
    Bytes(Bytes),
    /// It has so many bytes, and none of them was taken.
    TooLong(u64),
}

impl Store for BucketStore {
    fn location(&self) -> &Location {
        &self.location
    }

    fn connections(&self) -> NonZeroUsize {
        self.settings.connections.unwrap_or(CONNECTIONS)
    }

    fn small_calls(&self) -> NonZeroUsize {
        self.small_calls_at_once()
    }

    fn is_far(&self) -> bool {
        true
    }

    /// A bucket has no directories; whether it is there shows here.
    fn create(&self) -> Result<(), StoreError> {
        match self.survey()? {
            Survey::Unusable(reason) => {
                Err(self.location.error(StoreErrorKind::NotFound, Verb::Create, None, reason))
            }
            _ => Ok(()),
        }
    }

    fn survey(&self) -> Result<Survey, StoreError> {
        self.look().map_err(|failure| self.error(Verb::Survey, None, failure))
    }

    fn put(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<(), StoreError> {
        let fail = |failure| self.error(Verb::Put, Some(name), failure);
        let there =
            || self.location.error(StoreErrorKind::Exists, Verb::Put, Some(name), "it is there");
        let _claimed = self.claims.claim(name);
        let path = name.path();
        let bytes = Bytes::from(parts.concat());
        let is_long = bytes.len() >= MULTIPART_FROM;
        if let Some(fence) = fence(name) {
            // Names of sessions are random: only we can have made it before.
            if !self.known().was_staged.insert(*name) {
                self.remove(&fence).map_err(fail)?;
            }
            let mut known = self.known();
            known.published.remove(name);
            if !is_long {
                known.staged.insert(*name, bytes.clone());
            }
        }
        let creates_once = !is_long && self.creates_once().map_err(fail)?;
        if !creates_once && self.size_of(&path).map_err(fail)?.is_some() {
            return Err(there());
        }
        let written = if is_long {
            self.write_parts(&path, bytes)
        } else {
            self.limits.send(bytes.len());
            self.write(&path, bytes, creates_once)
        };
        let Err(failure) = written else { return Ok(()) };
        if failure.kind == StoreErrorKind::Exists {
            self.must_be_there(&path).map_err(fail)?;
            return Err(there());
        }
        Err(fail(failure))
    }

    fn get(&self, name: &ObjectName, range: ByteRange) -> Result<Vec<u8>, StoreError> {
        let fail = |failure| self.error(Verb::Get, Some(name), failure);
        let refuse = |kind, reason| self.location.error(kind, Verb::Get, Some(name), reason);
        let path = name.path();
        let missing = || refuse(StoreErrorKind::NotFound, "it is not there".to_owned());
        let (offset, len) = match range {
            ByteRange::Exact { offset, len } => (offset, len),
            ByteRange::Whole { limit } => {
                return match self.read_whole(&path, limit).map_err(fail)?.ok_or_else(missing)? {
                    Whole::Bytes(bytes) if is_bar(name, &bytes) => Err(missing()),
                    Whole::Bytes(bytes) => Ok(bytes.to_vec()),
                    Whole::TooLong(size) => {
                        let reason =
                            format!("it has {size} bytes where at most {limit} are acceptable");
                        Err(refuse(StoreErrorKind::TooLong, reason))
                    }
                };
            }
        };
        let size = || self.size_of(&path).map_err(fail)?.ok_or_else(missing);
        let check = |size: u64| match offset.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => {
                let reason = format!("it has {size} bytes, not {len} from byte {offset} on");
                Err(refuse(StoreErrorKind::TooShort, reason))
            }
        };
        if len == 0 || len > MOST_AT_ONCE || offset > (1 << 40) {
            check(size()?)?;
            if len == 0 {
                return Ok(Vec::new());
            }
        }
        match self.read(&path, offset, len) {
            Ok(bytes) if bytes.len() as u64 == len => Ok(bytes.to_vec()),
            Ok(bytes) => {
                check(size()?)?;
                let reason = format!("{} of {len} bytes came", bytes.len());
                Err(refuse(StoreErrorKind::Temporary, reason))
            }
            Err(failure) => {
                check(size()?)?;
                Err(fail(failure))
            }
        }
    }

    fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        let fail = |failure| self.error(Verb::Size, Some(name), failure);
        let missing = || {
            self.location.error(StoreErrorKind::NotFound, Verb::Size, Some(name), "it is not there")
        };
        let size = self.size_of(&name.path()).map_err(fail)?.ok_or_else(missing)?;
        let is_bar = may_be_bar(name, size) && self.is_bar(&name.path()).map_err(fail)?;
        if is_bar { Err(missing()) } else { Ok(size) }
    }

    fn list(
        &self,
        kind: ObjectKind,
        visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        if kind == ObjectKind::Config {
            if let Some(size) =
                self.size_of("config").map_err(|failure| self.error(Verb::List, None, failure))?
            {
                let _ = visit(ObjectInfo { name: ObjectName::Config, size, modified: None });
            }
            return Ok(());
        }
        let entries = self
            .entries(kind.directory())
            .map_err(|failure| self.error(Verb::List, None, failure))?;
        if kind == ObjectKind::Session {
            let fences = entries.iter().filter(|(path, ..)| is_fence(path));
            let fences = fences.map(|(path, _, modified)| (path.clone(), *modified)).collect();
            self.known().fences = Some(fences);
        }
        for (path, size, modified) in entries {
            let Some(name) = ObjectName::parse(&path).filter(|name| name.kind() == kind) else {
                continue;
            };
            let fail = |failure| self.error(Verb::List, Some(&name), failure);
            if may_be_bar(&name, size) && self.is_bar(&path).map_err(fail)? {
                self.known().bars.insert(path, modified);
                continue;
            }
            if visit(ObjectInfo { name, size, modified: Some(modified) }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        let fail = |failure| self.error(Verb::Delete, Some(name), failure);
        self.known().staged.remove(name);
        let is_fenced = fence(name).filter(|_| self.creates_once().unwrap_or(false));
        match is_fenced {
            Some(fence) => self.remove_staged(name, &fence).map_err(fail),
            None => self.remove(&name.path()).map_err(fail),
        }
    }

    fn publish(&self, staged: &ObjectName, target: &ObjectName) -> Result<(), StoreError> {
        let fail = |failure| self.error(Verb::Publish, Some(target), failure);
        let lost = |reason: &str| {
            self.location.error(StoreErrorKind::NotFound, Verb::Publish, Some(staged), reason)
        };
        let _claimed = self.claims.claim(target);
        let to = target.path();
        let own = self.known().staged.get(staged).cloned();
        let published = match (own, fence(staged)) {
            _ if self.known().published.contains(staged) => self.clear_published(staged),
            (Some(bytes), Some(fence)) if self.creates_once().map_err(fail)? => {
                self.publish_own(staged, &fence, bytes, &to)
            }
            _ => self.publish_read(staged, &to),
        };
        match published.map_err(fail)? {
            Published::Done => {
                let mut known = self.known();
                known.staged.remove(staged);
                known.published.remove(staged);
                Ok(())
            }
            Published::Exists => {
                let reason = "it is there";
                let kind = StoreErrorKind::Exists;
                Err(self.location.error(kind, Verb::Publish, Some(target), reason))
            }
            Published::Gone => Err(lost("it is not there")),
            Published::Lost => Err(lost("it was removed while it was published")),
        }
    }

    /// What an object store has taken it keeps.
    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn remove_stale_temporaries(
        &self,
        older_than: Duration,
        clock: &dyn Clock,
    ) -> Result<u64, StoreError> {
        let limit = clock.now().saturating_sub(older_than).unwrap_or(Timestamp::MIN);
        // Whoever may still come for a fence was asleep for longer than any session lives.
        let limit = limit.saturating_sub(Duration::from_secs(30 * 86400)).unwrap_or(Timestamp::MIN);
        if self.known().fences.is_none() {
            self.list(ObjectKind::Session, &mut |_| ControlFlow::Continue(()))?;
        }
        let (fences, bars) = {
            let mut known = self.known();
            (known.fences.take().unwrap_or_default(), std::mem::take(&mut known.bars))
        };
        let mut removed = 0;
        for (path, _) in fences.into_iter().chain(bars).filter(|(_, modified)| *modified < limit) {
            self.remove(&path).map_err(|failure| self.error(Verb::Delete, None, failure))?;
            removed += 1;
        }
        Ok(removed)
    }

    fn publishing(&self) -> &'static str {
        match self.creates_once.get() {
            Some(true) => "by a conditional create, which only one of two can win",
            _ => "by looking again: the server keeps no condition of a create",
        }
    }

    fn remove_empty_place(&self) -> Result<(), StoreError> {
        let fail = |failure| self.error(Verb::Delete, None, failure);
        for (path, ..) in self.entries("sessions").map_err(fail)? {
            if is_fence(&path) {
                self.remove(&path).map_err(fail)?;
            }
        }
        self.remove(PROBE).map_err(fail)
    }

    fn refuses_deletes(&self) -> Result<bool, StoreError> {
        let tried = self
            .write(REMOVED_PROBE, Bytes::from_static(b"probe"), false)
            .and_then(|()| self.remove(REMOVED_PROBE));
        match tried {
            Ok(()) => Ok(false),
            Err(failure) if failure.kind == StoreErrorKind::Denied => Ok(true),
            Err(failure) => Err(self.error(Verb::Delete, None, failure)),
        }
    }
}
