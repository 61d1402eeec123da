//! A store in memory, for tests: the same behaviour as a directory, and ways to damage it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::{
    ByteRange, CONFIG_MAGIC, Location, ObjectInfo, ObjectKind, ObjectName, Store, StoreError,
    StoreErrorKind, Survey, Verb,
};
use crate::clock::{Clock, SystemClock};

type Objects = BTreeMap<ObjectName, (Vec<u8>, Timestamp)>;

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    objects: Mutex<Objects>,
    clock: Arc<dyn Clock>,
    location: Location,
    is_far: bool,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// An empty store whose objects are as old as `clock` says.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self {
            objects: Mutex::default(),
            clock,
            location: Location::named("memory"),
            is_far: false,
        }
    }

    /// Another store with the same objects, which goes its own way from now on.
    pub fn clone_store(&self) -> Self {
        Self {
            objects: Mutex::new(self.lock().clone()),
            clock: Arc::clone(&self.clock),
            location: self.location.clone(),
            is_far: self.is_far,
        }
    }

    /// An empty store that says it is at the other end of a line.
    pub fn far() -> Self {
        Self { is_far: true, ..Self::new() }
    }

    /// All objects as they are now.
    pub fn objects(&self) -> BTreeMap<ObjectName, Vec<u8>> {
        self.lock().iter().map(|(name, (bytes, _))| (*name, bytes.clone())).collect()
    }

    /// Puts `bytes` at `name`, over what is there.
    pub fn insert_raw(&self, name: ObjectName, bytes: Vec<u8>) {
        let now = self.clock.now();
        self.lock().insert(name, (bytes, now));
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(
        &self,
        kind: StoreErrorKind,
        verb: Verb,
        object: &ObjectName,
        reason: impl Into<String>,
    ) -> StoreError {
        self.location.error(kind, verb, Some(object), reason)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn location(&self) -> &Location {
        &self.location
    }

    fn connections(&self) -> NonZeroUsize {
        NonZeroUsize::MIN.saturating_add(3)
    }

    fn is_far(&self) -> bool {
        self.is_far
    }

    fn create(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn survey(&self) -> Result<Survey, StoreError> {
        let objects = self.lock();
        Ok(match objects.get(&ObjectName::Config) {
            Some((config, _)) if config.starts_with(&CONFIG_MAGIC) => Survey::Repository,
            Some(_) if objects.len() == 1 => Survey::Foreign(vec!["config".to_owned()]),
            None if objects.is_empty() => Survey::Empty,
            Some(_) | None => Survey::Headless,
        })
    }

    fn put(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<(), StoreError> {
        let bytes = parts.concat();
        let now = self.clock.now();
        let mut objects = self.lock();
        if objects.contains_key(name) {
            return Err(self.failure(StoreErrorKind::Exists, Verb::Put, name, "it is there"));
        }
        objects.insert(*name, (bytes, now));
        Ok(())
    }

    fn get(&self, name: &ObjectName, range: ByteRange) -> Result<Vec<u8>, StoreError> {
        let fail = |kind, reason: String| self.failure(kind, Verb::Get, name, reason);
        let objects = self.lock();
        let (bytes, _) = objects
            .get(name)
            .ok_or_else(|| fail(StoreErrorKind::NotFound, "it is not there".to_owned()))?;
        let size = bytes.len() as u64;
        match range {
            ByteRange::Whole { limit } if size > limit => {
                let reason = format!("it has {size} bytes where at most {limit} are acceptable");
                Err(fail(StoreErrorKind::TooLong, reason))
            }
            ByteRange::Whole { .. } => Ok(bytes.clone()),
            ByteRange::Exact { offset, len } => {
                slice(bytes, offset, len).map(<[u8]>::to_vec).ok_or_else(|| {
                    let reason = format!("it has {size} bytes, not {len} from byte {offset} on");
                    fail(StoreErrorKind::TooShort, reason)
                })
            }
        }
    }

    fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        let size = self.lock().get(name).map(|(bytes, _)| bytes.len() as u64);
        size.ok_or_else(|| {
            self.failure(StoreErrorKind::NotFound, Verb::Size, name, "it is not there")
        })
    }

    fn list(
        &self,
        kind: ObjectKind,
        visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        // Collected first: the visitor may call the store.
        let found: Vec<_> = self
            .lock()
            .iter()
            .filter(|(name, _)| name.kind() == kind)
            .map(|(name, (bytes, modified))| ObjectInfo {
                name: *name,
                size: bytes.len() as u64,
                modified: Some(*modified),
            })
            .collect();
        // The flow only says whether the visitor stopped early.
        let _ = found.into_iter().try_for_each(visit);
        Ok(())
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.lock().remove(name);
        Ok(())
    }

    fn publish(&self, staged: &ObjectName, target: &ObjectName) -> Result<(), StoreError> {
        let fail = |kind, object, reason| self.failure(kind, Verb::Publish, object, reason);
        let mut objects = self.lock();
        if !objects.contains_key(staged) {
            return Err(fail(StoreErrorKind::NotFound, staged, "it is not there"));
        }
        if objects.contains_key(target) {
            return Err(fail(StoreErrorKind::Exists, target, "it is there"));
        }
        if let Some(object) = objects.remove(staged) {
            objects.insert(*target, object);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn slice(bytes: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = usize::try_from(offset.checked_add(len)?).ok()?;
    bytes.get(start..end)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::FixedClock;
    use crate::id::ObjectId;
    use crate::store::{contract, list_all};

    const KEY: ObjectName = ObjectName::Key(ObjectId::new([1; 32]));

    #[test]
    fn it_keeps_the_contract() {
        contract::check_contract(&MemoryStore::new());
    }

    #[test]
    fn objects_are_as_old_as_the_clock_says() {
        let clock = Arc::new(FixedClock::new(Timestamp::UNIX_EPOCH));
        let store = MemoryStore::with_clock(clock.clone());
        clock.advance(Duration::from_secs(90));
        store.put(&KEY, &[b"x"]).unwrap();
        clock.advance(Duration::from_secs(90));
        let modified = list_all(&store, ObjectKind::Key).unwrap()[0].modified;
        assert_eq!(modified, Some(Timestamp::from_second(90).unwrap()));
    }

    #[test]
    fn a_clone_goes_its_own_way_and_damage_overwrites() {
        let store = MemoryStore::new();
        store.put(&KEY, &[b"good"]).unwrap();
        let clone = store.clone_store();
        clone.insert_raw(KEY, b"bad".to_vec());
        assert_eq!(store.objects(), BTreeMap::from([(KEY, b"good".to_vec())]));
        assert_eq!(clone.objects(), BTreeMap::from([(KEY, b"bad".to_vec())]));
    }
}
