//! Trying again: what failed for a reason that may pass is done again, later and later.
//!
//! A reply that got lost leaves open whether the call took effect. So what the second try of a put finds
//! there is compared with what was to be put, and a publish whose staged object is gone after a first
//! try has succeeded if its target is there.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{
    ByteRange, Location, ObjectInfo, ObjectKind, ObjectName, Store, StoreError, StoreErrorKind,
    Survey, Watch,
};
use crate::clock::Clock;
use crate::event::Event;

/// Tries after the first one, unless the location says otherwise.
pub(super) const RETRIES: u32 = 6;
/// The same where the server's name has no address: a name that was mistyped is not worth a minute.
const RETRIES_OF_NAMES: u32 = 1;
/// What takes no longer than so many tries is told to nobody.
const SILENT_TRIES: u32 = 2;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How soon a stop is noticed.
const MOMENT: Duration = Duration::from_millis(250);

/// Passes calls on, and again.
pub struct Retrying {
    inner: Arc<dyn Store>,
    retries: u32,
    pause: fn(Duration),
    watch: Option<Watch>,
    /// Since the last call that succeeded.
    is_told: AtomicBool,
}

impl fmt::Debug for Retrying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retrying")
            .field("inner", &self.inner)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

impl Retrying {
    /// `inner`, each call tried again up to `retries` times, with `pause` in between.
    pub fn new(inner: Arc<dyn Store>, retries: u32, pause: fn(Duration)) -> Self {
        Self { inner, retries, pause, watch: None, is_told: AtomicBool::new(false) }
    }

    /// The same; who watches is told what makes it wait, unless that passes at once.
    pub fn watched_by(self, watch: Option<Watch>) -> Self {
        Self { watch, ..self }
    }

    /// Says why nothing goes on, once until something does, however many calls wait.
    fn tell(&self, error: &StoreError) {
        let Some(watch) = &self.watch else { return };
        if self.is_told.swap(true, Ordering::Relaxed) {
            return;
        }
        let message = format!("{}; it is tried again for a while", error.reason);
        watch.observer.event(&Event::Warning { item: self.location().to_string(), message });
    }

    fn is_stopped(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.stop.is_stopped())
    }

    /// Waits before the next try; gives whether it is to be made.
    fn wait(&self, tries: u32) -> bool {
        let mut rest = (FIRST_PAUSE * 2_u32.pow(tries.min(10))).min(LONGEST_PAUSE);
        while !rest.is_zero() && !self.is_stopped() {
            let now = rest.min(MOMENT);
            (self.pause)(now);
            rest = rest.saturating_sub(now);
        }
        !self.is_stopped()
    }

    /// Does `act`, told how many tries there were before.
    fn again<T>(&self, act: impl Fn(u32) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut tries = 0;
        loop {
            match act(tries) {
                Err(error) if tries < self.retries_after(error.kind) => {
                    if tries >= SILENT_TRIES {
                        self.tell(&error);
                    }
                    if !self.wait(tries) {
                        let reason =
                            format!("{}; stopped while waiting for another try", error.reason);
                        return Err(StoreError {
                            kind: StoreErrorKind::Interrupted,
                            reason,
                            ..error
                        });
                    }
                    tries += 1;
                }
                Err(error) if tries > 0 => {
                    let reason = format!("{} (tried {} times)", error.reason, tries + 1);
                    return Err(StoreError { reason, ..error });
                }
                done => {
                    if done.is_ok() {
                        self.is_told.store(false, Ordering::Relaxed);
                    }
                    return done;
                }
            }
        }
    }

    fn retries_after(&self, kind: StoreErrorKind) -> u32 {
        match kind {
            StoreErrorKind::Temporary => self.retries,
            StoreErrorKind::NoAddress => self.retries.min(RETRIES_OF_NAMES),
            _ => 0,
        }
    }

    fn is_gone(&self, name: &ObjectName) -> bool {
        matches!(self.inner.size(name), Err(error) if error.kind == StoreErrorKind::NotFound)
    }

    fn holds(&self, name: &ObjectName, parts: &[&[u8]]) -> bool {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        self.inner.size(name).is_ok_and(|size| size == len)
            && self
                .inner
                .get(name, ByteRange::Whole { limit: len })
                .is_ok_and(|bytes| bytes == parts.concat())
    }
}

impl Store for Retrying {
    fn location(&self) -> &Location {
        self.inner.location()
    }

    fn connections(&self) -> NonZeroUsize {
        self.inner.connections()
    }

    fn uploads(&self) -> NonZeroUsize {
        self.inner.connections()
    }

    fn small_calls(&self) -> NonZeroUsize {
        self.inner.small_calls()
    }

    fn is_far(&self) -> bool {
        self.inner.is_far()
    }

    fn create(&self) -> Result<(), StoreError> {
        self.again(|_| self.inner.create())
    }

    fn survey(&self) -> Result<Survey, StoreError> {
        self.again(|_| self.inner.survey())
    }

    fn put(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.again(|tries| match self.inner.put(name, parts) {
            Err(error)
                if error.kind == StoreErrorKind::Exists && tries > 0 && self.holds(name, parts) =>
            {
                Ok(())
            }
            done => done,
        })
    }

    fn get(&self, name: &ObjectName, range: ByteRange) -> Result<Vec<u8>, StoreError> {
        self.again(|_| self.inner.get(name, range))
    }

    fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        self.again(|_| self.inner.size(name))
    }

    /// Collected first, so that nothing is visited twice.
    fn list(
        &self,
        kind: ObjectKind,
        visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let found = self.again(|_| super::list_all(self.inner.as_ref(), kind))?;
        // The flow only says whether the visitor stopped early.
        let _ = found.into_iter().try_for_each(visit);
        Ok(())
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.again(|_| self.inner.delete(name))
    }

    fn publish(&self, staged: &ObjectName, target: &ObjectName) -> Result<(), StoreError> {
        self.again(|tries| match self.inner.publish(staged, target) {
            // The try before may have been done after its answer was given up: even between two looks of this one.
            Err(error)
                if matches!(error.kind, StoreErrorKind::NotFound | StoreErrorKind::Exists)
                    && tries > 0
                    && self.is_gone(staged)
                    && self.inner.size(target).is_ok() =>
            {
                Ok(())
            }
            done => done,
        })
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.again(|_| self.inner.sync())
    }

    fn remove_stale_temporaries(
        &self,
        older_than: Duration,
        clock: &dyn Clock,
    ) -> Result<u64, StoreError> {
        self.again(|_| self.inner.remove_stale_temporaries(older_than, clock))
    }

    fn refuses_deletes(&self) -> Result<bool, StoreError> {
        self.again(|_| self.inner.refuses_deletes())
    }

    fn publishing(&self) -> &'static str {
        self.inner.publishing()
    }

    fn remove_empty_place(&self) -> Result<(), StoreError> {
        self.inner.remove_empty_place()
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
    use crate::event::{Recorder, StopFlag};
    use crate::id::{ObjectId, SessionId, SnapshotId};
    use crate::store::{Fault, Faulty, MemoryStore, contract};

    const KEY: ObjectName = ObjectName::Key(ObjectId::new([1; 32]));

    fn retrying(plan: Vec<Fault>) -> (Arc<Faulty>, Retrying) {
        let faulty = Arc::new(Faulty::new(Arc::new(MemoryStore::new()), plan));
        (faulty.clone(), Retrying::new(faulty, 3, |_| {}))
    }

    fn fail(call: u64) -> Fault {
        Fault::Fail { call, kind: StoreErrorKind::Temporary }
    }

    #[test]
    fn it_keeps_the_contract() {
        contract::check_contract(&retrying(Vec::new()).1);
    }

    #[test]
    fn what_may_pass_is_tried_again_and_only_so_often() {
        let (faulty, store) = retrying(vec![fail(0), fail(1)]);
        store.put(&KEY, &[b"x"]).unwrap();
        assert_eq!(faulty.mutating_calls(), 3);
        let (faulty, store) = retrying((0..9).map(fail).collect());
        let error = store.put(&KEY, &[b"x"]).unwrap_err();
        assert!(error.reason.contains("tried 4 times"), "{error}");
        assert_eq!(faulty.mutating_calls(), 4);
        let denied = Fault::Fail { call: 0, kind: StoreErrorKind::Denied };
        let (faulty, store) = retrying(vec![denied]);
        store.put(&KEY, &[b"x"]).unwrap_err();
        assert_eq!(faulty.mutating_calls(), 1);
    }

    #[test]
    fn a_name_without_an_address_is_given_up_soon() {
        let faults = (0..9).map(|call| Fault::Fail { call, kind: StoreErrorKind::NoAddress });
        let (faulty, store) = retrying(faults.collect());
        store.put(&KEY, &[b"x"]).unwrap_err();
        assert_eq!(faulty.mutating_calls(), 2);
    }

    /// Not what passes at once, nor the same thing for every call that waits.
    #[test]
    fn what_makes_it_wait_is_told_once() {
        let told = Arc::new(Recorder::default());
        let faults = (0..15).filter(|call| ![2, 6].contains(call)).map(fail);
        let (faulty, store) = retrying(faults.collect());
        let stop = Arc::new(StopFlag::new());
        let watch = Watch { observer: Arc::clone(&told) as _, stop: Arc::clone(&stop) };
        let store = store.watched_by(Some(watch));
        let events = |expected: usize| {
            let events = told.events();
            assert_eq!(events.len(), expected, "{events:?}");
            for event in events {
                let Event::Warning { item, message } = event else { panic!("{event:?}") };
                assert_eq!(item, store.location().to_string());
                assert!(message.ends_with("; it is tried again for a while"), "{message}");
            }
        };
        let id = |byte| ObjectName::Key(ObjectId::new([byte; 32]));
        store.put(&id(1), &[b"two tries fail"]).unwrap();
        events(0);
        store.put(&id(2), &[b"three tries fail"]).unwrap();
        events(1);
        store.put(&id(3), &[b"four do"]).unwrap_err();
        store.put(&id(3), &[b"and once more"]).unwrap_err();
        events(2);
        store.put(&id(4), &[b"none does"]).unwrap();
        assert_eq!(faulty.mutating_calls(), 16);
        // Nobody waits once a stop was asked for.
        let (faulty, store) = retrying((0..9).map(fail).collect());
        let store = store.watched_by(Some(Watch { observer: told, stop: Arc::clone(&stop) }));
        stop.stop();
        let error = store.put(&id(5), &[b"x"]).unwrap_err();
        assert_eq!((error.kind, faulty.mutating_calls()), (StoreErrorKind::Interrupted, 1));
    }

    #[test]
    fn a_call_whose_reply_was_lost_has_succeeded() {
        let staged = ObjectName::Staged {
            session: SessionId::new([1; 16]),
            snapshot: SnapshotId::new([2; 32]),
        };
        let target = ObjectName::Snapshot(SnapshotId::new([2; 32]));
        let (_, store) = retrying(vec![Fault::LoseReply { call: 0 }, Fault::LoseReply { call: 3 }]);
        store.put(&KEY, &[b"x"]).unwrap();
        store.put(&staged, &[b"s"]).unwrap();
        store.publish(&staged, &target).unwrap();
        // But not if somebody else's bytes are there.
        let (faulty, store) = retrying(vec![Fault::LoseReply { call: 1 }]);
        faulty.put(&KEY, &[b"other"]).unwrap();
        let error = store.put(&KEY, &[b"x"]).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Exists);
    }
}
