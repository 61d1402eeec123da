//! Reads chunks: locate, get, open, verify. Every place of a chunk is tried before it is given up.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::id::{ChunkId, SegmentId, SessionId};
use crate::index::{MAX_CHAIN, Place};
use crate::pack::{ChunkEntry, unseal_segment};
use crate::snapshot::ChunkRef;
use crate::store::{ByteRange, ObjectName};

use super::error::RepositoryError;
use super::fallback::Unread;
use super::open::Repository;
use super::opened::{ChunkBytes, SegmentCache};

/// The way from a delta up to the plain segment it hangs on.
#[derive(Debug, Default)]
struct Climb {
    /// Deltas that wait for the segment that is being read.
    depth: usize,
    /// What could not be read on the way. Each segment may be in several packs and have another base in each:
    /// without this, a hostile index of sixteen levels could ask for millions of attempts.
    failed: HashSet<SegmentId>,
}

/// Reads chunks of one repository. Shared between threads.
#[derive(Debug)]
pub struct Fetcher<'r> {
    repository: &'r Repository,
    session: Option<SessionId>,
    cache: Mutex<SegmentCache>,
    /// When the index was brought up to date because something was not where it said.
    looked_again: Mutex<Option<Duration>>,
    /// Told when a segment was opened, or could not be.
    opened: Condvar,
}

/// The right to open a segment: others who need it wait until this is dropped.
struct Opening<'f, 'r> {
    fetcher: &'f Fetcher<'r>,
    id: SegmentId,
}

impl Drop for Opening<'_, '_> {
    fn drop(&mut self) {
        self.fetcher.lock().opening.remove(&self.id);
        self.fetcher.opened.notify_all();
    }
}

/// How long nobody looks again for what was not found: where much is lost, each chunk would cost a listing.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(60);

impl<'r> Fetcher<'r> {
    /// A fetcher that keeps up to `cache_bytes` of opened segments.
    pub fn new(repository: &'r Repository, cache_bytes: usize) -> Self {
        let cache = Mutex::new(SegmentCache::new(cache_bytes));
        let looked_again = Mutex::new(None);
        Self { repository, session: None, cache, looked_again, opened: Condvar::new() }
    }

    /// One that also sees what `session` has uploaded but not yet indexed.
    pub fn in_session(mut self, session: SessionId) -> Self {
        self.session = Some(session);
        self
    }

    /// The repository.
    pub fn repository(&self) -> &'r Repository {
        self.repository
    }

    pub(super) fn damaged_tree(&self, reason: &str) -> RepositoryError {
        RepositoryError::DamagedTree {
            location: self.repository.store.location().clone(),
            reason: reason.to_owned(),
        }
    }

    /// The bytes of one chunk.
    pub fn chunk(&self, wanted: &ChunkRef) -> Result<ChunkBytes, RepositoryError> {
        let bytes = self.chunk_by_id(&wanted.id)?;
        if bytes.len() != usize::try_from(wanted.len).unwrap_or(usize::MAX) {
            return Err(self.damaged_tree(&format!(
                "chunk {} has {} bytes where {} are expected",
                wanted.id.short(),
                bytes.len(),
                wanted.len
            )));
        }
        Ok(bytes)
    }

    /// The bytes of the chunk with this id. What cannot be found where the index says is looked for once more with
    /// the index brought up to date: a prune may have stored it elsewhere meanwhile (docs/protocol.md).
    pub fn chunk_by_id(&self, id: &ChunkId) -> Result<ChunkBytes, RepositoryError> {
        let kept = self.lock().chunk(id);
        if let Some(bytes) = kept.filter(|bytes| self.repository.keyring.chunk_id(bytes) == *id) {
            return Ok(bytes);
        }
        let began = self.repository.environment.clock.elapsed();
        match self.find_chunk(id) {
            Err(RepositoryError::MissingChunk { .. } | RepositoryError::UnreadableChunk { .. })
                if self.look_again(began)? =>
            {
                self.find_chunk(id)
            }
            other => other,
        }
    }

    /// Brings the index up to date, unless that was just done. Tells whether it is worth looking again for what was
    /// looked for at `began`.
    fn look_again(&self, began: Duration) -> Result<bool, RepositoryError> {
        let mut looked =
            self.looked_again.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = self.repository.environment.clock.elapsed();
        match *looked {
            // Another thread was faster.
            Some(before) if before >= began => return Ok(true),
            Some(before) if now.saturating_sub(before) < LOOK_AGAIN_AFTER => return Ok(false),
            _ => {}
        }
        let before = self.repository.index.loss_generation()?;
        // Also one that fails counts: the store is asked no more often then.
        *looked = Some(now);
        let refreshed = self.repository.refresh_for_check()?;
        let has_changed = self.repository.index.loss_generation()? != before;
        Ok(has_changed || refreshed.loaded > 0)
    }

    fn find_chunk(&self, id: &ChunkId) -> Result<ChunkBytes, RepositoryError> {
        let places = self.repository.index.locate_with_neighbours(id, self.session)?;
        if places.is_empty() {
            return Err(RepositoryError::MissingChunk {
                chunk: *id,
                location: self.repository.store.location().clone(),
            });
        }
        let mut reasons = Vec::new();
        let mut climb = Climb::default();
        for place in &places {
            match self.read_place(id, place, &mut climb) {
                Ok(bytes) => return Ok(bytes),
                Err(reason) => {
                    let pack = ObjectName::Pack(place.pack);
                    let location = self.repository.store.location();
                    reasons.push(format!("{pack} at {location}: {reason}"));
                }
            }
        }
        Err(RepositoryError::UnreadableChunk { chunk: *id, reason: reasons.join("; ") })
    }

    fn read_place(
        &self,
        id: &ChunkId,
        place: &Place,
        climb: &mut Climb,
    ) -> Result<ChunkBytes, String> {
        let start = usize::try_from(place.chunk_offset).map_err(|error| error.to_string())?;
        let len = usize::try_from(place.chunk_len).map_err(|error| error.to_string())?;
        let segment = self.segment(place, climb)?;
        let range = start..start.saturating_add(len);
        let Some(bytes) = ChunkBytes::within(segment, range) else {
            return Err("the index places the chunk outside its segment".to_owned());
        };
        // The seal proves who wrote the segment; the hash proves that the chunk is what was meant.
        if self.repository.keyring.chunk_id(&bytes) != *id {
            return Err(format!("chunk {} has other bytes than its id says", id.short()));
        }
        Ok(bytes)
    }

    fn segment(&self, place: &Place, climb: &mut Climb) -> Result<Arc<Vec<u8>>, String> {
        if place.entry.raw_len == place.chunk_len {
            return self.read_segment(place, climb);
        }
        let (id, chunks) = (place.entry.id, &place.entry.chunks);
        // Neighbours are restored by several threads at once, and all find their files in the same segment.
        // One with a base is not waited for: a hostile index might make two wait for each other.
        let found = match place.entry.base {
            None => self.cached_or_opening(id).map_err(Some),
            Some(_) => self.cached(&id).ok_or(None),
        };
        let opening = match found {
            Ok(segment) => {
                // It may have been opened as a base, without anybody knowing what is in it.
                self.keep(id, &segment, chunks);
                return Ok(segment);
            }
            Err(opening) => opening,
        };
        let segment = self.read_segment(place, climb)?;
        self.keep(id, &segment, chunks);
        drop(opening);
        Ok(segment)
    }

    /// A segment from the cache, if need be after another thread has opened it, or the right to open it.
    fn cached_or_opening(&self, id: SegmentId) -> Result<Arc<Vec<u8>>, Opening<'_, 'r>> {
        let mut cache = self.lock();
        loop {
            if let Some(segment) = cache.segment(&id) {
                return Ok(segment);
            }
            if cache.opening.insert(id) {
                return Err(Opening { fetcher: self, id });
            }
            cache = self.opened.wait(cache).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, SegmentCache> {
        self.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn cached(&self, id: &SegmentId) -> Option<Arc<Vec<u8>>> {
        self.lock().segment(id)
    }

    fn keep(&self, id: SegmentId, segment: &Arc<Vec<u8>>, chunks: &[ChunkEntry]) {
        self.lock().keep(id, segment, chunks);
    }

    /// The raw bytes of segment `id`, wherever it can be read. They are kept for a while, since what was a
    /// base once is likely to be one again soon.
    pub fn segment_by_id(&self, id: &SegmentId) -> Result<Arc<Vec<u8>>, RepositoryError> {
        self.base(id, &mut Climb::default())
            .map_err(|reason| RepositoryError::UnreadableSegment { segment: *id, reason })
    }

    fn base(&self, id: &SegmentId, climb: &mut Climb) -> Result<Arc<Vec<u8>>, String> {
        if let Some(segment) = self.cached(id) {
            return Ok(segment);
        }
        if climb.failed.contains(id) {
            return Err("it could not be read just now".to_owned());
        }
        let places = self
            .repository
            .index
            .locate_segment(id, self.session)
            .map_err(|error| error.to_string())?;
        let mut reasons = Vec::new();
        for place in &places {
            match self.read_segment(place, climb) {
                Ok(segment) => {
                    self.keep(*id, &segment, &[]);
                    return Ok(segment);
                }
                Err(reason) => reasons.push(format!("{}: {reason}", ObjectName::Pack(place.pack))),
            }
        }
        climb.failed.insert(*id);
        Err(if reasons.is_empty() { "it is in no pack".to_owned() } else { reasons.join("; ") })
    }

    /// The segment at `place`, for which the deltas below it wait.
    fn read_segment(&self, place: &Place, climb: &mut Climb) -> Result<Arc<Vec<u8>>, String> {
        let base = match place.entry.base {
            None => None,
            Some(_) if climb.depth >= MAX_CHAIN => {
                return Err(
                    "it is a delta on a delta and so on, further than is ever written".into()
                );
            }
            Some(base) => {
                climb.depth += 1;
                let read = self.base(&base, climb);
                climb.depth -= 1;
                Some(read.map_err(|reason| {
                    format!("its base, segment {}, cannot be read: {reason}", base.short())
                })?)
            }
        };
        let range = ByteRange::Exact {
            offset: u64::from(place.entry.offset),
            len: u64::from(place.entry.sealed_len),
        };
        let base = base.as_deref().map(Vec::as_slice);
        let keyring = &self.repository.keyring;
        let raw = self.repository.read_anywhere(place.pack, |store| {
            let sealed = store.get(&ObjectName::Pack(place.pack), range)?;
            unseal_segment(keyring, place.class, &place.entry, &sealed, base)
                .map_err(|error| Unread { reason: error.to_string(), is_wound: true })
        })?;
        Ok(Arc::new(raw))
    }
}
