//! A store that writes down every call, so that tests can assert the work done.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{
    ByteRange, Location, ObjectInfo, ObjectKind, ObjectName, Store, StoreError, Survey, Verb,
};
use crate::clock::Clock;

/// One call, whether it succeeded or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What was asked for.
    pub verb: Verb,
    /// Of which object; of a publish, the target.
    pub object: Option<ObjectName>,
    /// Bytes given to a put, or got from a get.
    pub bytes: u64,
}

/// Passes every call on and remembers it, in the order in which the calls ended.
#[derive(Debug)]
pub struct Recording {
    inner: Arc<dyn Store>,
    calls: Mutex<Vec<Call>>,
}

impl Recording {
    /// Records what is asked of `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, calls: Mutex::default() }
    }

    /// All calls since the start or the last [`clear`](Self::clear).
    pub fn calls(&self) -> Vec<Call> {
        self.lock().clone()
    }

    /// How many of them were `verb`.
    pub fn count(&self, verb: Verb) -> usize {
        self.lock().iter().filter(|call| call.verb == verb).count()
    }

    /// Forgets all calls.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, verb: Verb, object: Option<&ObjectName>, bytes: u64) {
        self.lock().push(Call { verb, object: object.copied(), bytes });
    }
}

impl Store for Recording {
    fn location(&self) -> &Location {
        self.inner.location()
    }

    fn connections(&self) -> NonZeroUsize {
        self.inner.connections()
    }

    fn uploads(&self) -> NonZeroUsize {
        self.inner.uploads()
    }

    fn small_calls(&self) -> NonZeroUsize {
        self.inner.small_calls()
    }

    fn is_far(&self) -> bool {
        self.inner.is_far()
    }

    fn create(&self) -> Result<(), StoreError> {
        let done = self.inner.create();
        self.note(Verb::Create, None, 0);
        done
    }

    fn survey(&self) -> Result<Survey, StoreError> {
        let found = self.inner.survey();
        self.note(Verb::Survey, None, 0);
        found
    }

    fn put(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<(), StoreError> {
        let done = self.inner.put(name, parts);
        self.note(Verb::Put, Some(name), parts.iter().map(|part| part.len() as u64).sum());
        done
    }

    fn get(&self, name: &ObjectName, range: ByteRange) -> Result<Vec<u8>, StoreError> {
        let got = self.inner.get(name, range);
        self.note(Verb::Get, Some(name), got.as_ref().map_or(0, |bytes| bytes.len() as u64));
        got
    }

    fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        let size = self.inner.size(name);
        self.note(Verb::Size, Some(name), 0);
        size
    }

    fn list(
        &self,
        kind: ObjectKind,
        visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let done = self.inner.list(kind, visit);
        self.note(Verb::List, None, 0);
        done
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        let done = self.inner.delete(name);
        self.note(Verb::Delete, Some(name), 0);
        done
    }

    fn publish(&self, staged: &ObjectName, target: &ObjectName) -> Result<(), StoreError> {
        let done = self.inner.publish(staged, target);
        self.note(Verb::Publish, Some(target), 0);
        done
    }

    fn sync(&self) -> Result<(), StoreError> {
        let done = self.inner.sync();
        self.note(Verb::Sync, None, 0);
        done
    }

    fn remove_stale_temporaries(
        &self,
        older_than: Duration,
        clock: &dyn Clock,
    ) -> Result<u64, StoreError> {
        self.inner.remove_stale_temporaries(older_than, clock)
    }

    fn refuses_deletes(&self) -> Result<bool, StoreError> {
        self.inner.refuses_deletes()
    }

    fn directory(&self) -> Option<&Path> {
        self.inner.directory()
    }

    fn free_bytes(&self) -> Option<u64> {
        self.inner.free_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ObjectId;
    use crate::store::MemoryStore;

    const KEY: ObjectName = ObjectName::Key(ObjectId::new([1; 32]));

    #[test]
    fn calls_are_noted_with_object_and_bytes_and_can_be_forgotten() {
        let store = Recording::new(Arc::new(MemoryStore::new()));
        store.put(&KEY, &[b"ab", b"c"]).unwrap();
        store.get(&KEY, ByteRange::Exact { offset: 1, len: 2 }).unwrap();
        store.sync().unwrap();
        assert_eq!(
            store.calls(),
            [
                Call { verb: Verb::Put, object: Some(KEY), bytes: 3 },
                Call { verb: Verb::Get, object: Some(KEY), bytes: 2 },
                Call { verb: Verb::Sync, object: None, bytes: 0 },
            ]
        );
        assert_eq!(store.count(Verb::Put), 1);
        store.clear();
        assert_eq!(store.count(Verb::Put), 0);
    }

    #[test]
    fn failed_calls_count() {
        let store = Recording::new(Arc::new(MemoryStore::new()));
        store.size(&KEY).unwrap_err();
        store.get(&KEY, ByteRange::Whole { limit: 1 }).unwrap_err();
        assert_eq!((store.count(Verb::Size), store.count(Verb::Get)), (1, 1));
    }
}
