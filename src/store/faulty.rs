//! A store that fails as planned, for crash and damage tests. The same plan and the same calls give
//! the same failures.
//!
//! Calls that change something or promise durability (create, put, delete, publish, sync) are
//! counted from 0, so that a test can run once without faults, ask for
//! [`Faulty::mutating_calls`], and then once for each call with a failure just there.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{
    ByteRange, Location, ObjectInfo, ObjectKind, ObjectName, Store, StoreError, StoreErrorKind,
    Survey, Verb,
};
use crate::clock::Clock;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This mutating call fails without effect; the next ones work again.
    Fail {
        /// Which call, the first being 0.
        call: u64,
        /// What is reported.
        kind: StoreErrorKind,
    },
    /// The process dies just before this mutating call takes effect: this and every later call
    /// (reading ones too) fails. A put dying half-way is the same: what is torn is never listed.
    KillBefore {
        /// Which call, the first being 0.
        call: u64,
    },
    /// This mutating call takes effect, but its caller is told that the connection broke.
    LoseReply {
        /// Which call, the first being 0.
        call: u64,
    },
    /// The process dies just after this mutating call took effect, before it is told so.
    KillAfter {
        /// Which call, the first being 0.
        call: u64,
    },
    /// A put fails if with it more bytes than these would have been put. Nothing frees space.
    NoSpace {
        /// Bytes that can be put in all.
        after_bytes: u64,
    },
    /// Reading this object gives one bit wrong.
    FlipBit {
        /// Which object.
        object: ObjectName,
        /// Which bit of the object, the lowest of the first byte being 0.
        bit: u64,
    },
    /// Reading this object finds its end too early; size and listings still tell the old length.
    Truncate {
        /// Which object.
        object: ObjectName,
        /// Bytes that are left.
        len: u64,
    },
    /// Nothing can be deleted.
    NoDeletes,
    /// Whatever is put or published is missing in so many listings of its kind that follow,
    /// though it can be read by name.
    ListLate {
        /// Listings that pass the object over.
        listings: u32,
    },
}

/// Passes calls on, except where its plan says otherwise.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    plan: Vec<Fault>,
    mutating_calls: u64,
    bytes_put: u64,
    dead: bool,
    /// New objects, and how many more listings pass them over.
    unlisted: BTreeMap<ObjectName, u32>,
}

/// What becomes of a call that is let through.
#[derive(PartialEq, Eq)]
enum Fate {
    Live,
    DieAfterwards,
    LoseReply,
}

impl Faulty {
    /// `inner` with faults; an empty plan has none.
    pub fn new(inner: Arc<dyn Store>, plan: Vec<Fault>) -> Self {
        Self { inner, state: Mutex::new(State { plan, ..State::default() }) }
    }

    /// Starts over with another plan: alive, all counts at 0.
    pub fn reset(&self, plan: Vec<Fault>) {
        *self.lock() = State { plan, ..State::default() };
    }

    /// Mutating calls so far, failed ones included.
    pub fn mutating_calls(&self) -> u64 {
        self.lock().mutating_calls
    }

    fn is_append_only(&self) -> bool {
        self.lock().plan.contains(&Fault::NoDeletes)
    }

    /// Whether a planned kill has happened.
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(
        &self,
        kind: StoreErrorKind,
        verb: Verb,
        object: Option<&ObjectName>,
        reason: &str,
    ) -> StoreError {
        self.inner.location().error(kind, verb, object, format!("planned fault: {reason}"))
    }

    fn killed(&self, verb: Verb, object: Option<&ObjectName>) -> StoreError {
        self.failure(StoreErrorKind::Permanent, verb, object, "the process is dead")
    }

    fn alive(&self, verb: Verb, object: Option<&ObjectName>) -> Result<(), StoreError> {
        if self.lock().dead { Err(self.killed(verb, object)) } else { Ok(()) }
    }

    /// Counts a mutating call and decides on it.
    fn judge(&self, verb: Verb, object: Option<&ObjectName>) -> Result<Fate, StoreError> {
        let mut state = self.lock();
        if state.dead {
            return Err(self.killed(verb, object));
        }
        let now = state.mutating_calls;
        state.mutating_calls += 1;
        let mut fate = Fate::Live;
        for fault in state.plan.clone() {
            match fault {
                Fault::Fail { call, kind } if call == now => {
                    return Err(self.failure(kind, verb, object, "this call fails"));
                }
                Fault::LoseReply { call } if call == now => fate = Fate::LoseReply,
                Fault::KillBefore { call } if call == now => {
                    state.dead = true;
                    return Err(self.killed(verb, object));
                }
                Fault::KillAfter { call } if call == now => {
                    state.dead = true;
                    fate = Fate::DieAfterwards;
                }
                _ => {}
            }
        }
        Ok(fate)
    }

    fn mutate(
        &self,
        verb: Verb,
        object: Option<&ObjectName>,
        act: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let fate = self.judge(verb, object)?;
        let done = act();
        match fate {
            Fate::Live => done,
            Fate::DieAfterwards => Err(self.killed(verb, object)),
            Fate::LoseReply => {
                let kind = StoreErrorKind::Temporary;
                Err(self.failure(kind, verb, object, "the reply is lost"))
            }
        }
    }

    /// Lets `act` make `name` appear, unlisted at first if so planned. Hidden before it is there,
    /// or a listing by another thread could see it for a moment.
    fn appear(
        &self,
        name: &ObjectName,
        act: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let hidden = {
            let mut state = self.lock();
            let late = state.plan.iter().find_map(|fault| match fault {
                Fault::ListLate { listings } => Some(*listings),
                _ => None,
            });
            late.is_some_and(|listings| {
                let known = state.unlisted.contains_key(name);
                state.unlisted.entry(*name).or_insert(listings);
                !known
            })
        };
        let done = act();
        if done.is_err() && hidden {
            self.lock().unlisted.remove(name);
        }
        done
    }

    fn take_space(&self, name: &ObjectName, len: u64) -> Result<(), StoreError> {
        let mut state = self.lock();
        let full = state.plan.iter().any(|fault| {
            matches!(fault, Fault::NoSpace { after_bytes } if state.bytes_put + len > *after_bytes)
        });
        if full {
            return Err(self.failure(StoreErrorKind::NoSpace, Verb::Put, Some(name), "disk full"));
        }
        state.bytes_put += len;
        Ok(())
    }

    /// Does to `bytes`, which begin at `offset` of the object, what the plan says.
    fn damage(&self, name: &ObjectName, offset: u64, bytes: &mut Vec<u8>) {
        for fault in self.lock().plan.iter() {
            match fault {
                Fault::FlipBit { object, bit } if object == name => {
                    let byte = (bit / 8).checked_sub(offset).map(usize::try_from);
                    if let Some(Ok(byte)) = byte
                        && let Some(byte) = bytes.get_mut(byte)
                    {
                        *byte ^= 1 << (bit % 8);
                    }
                }
                Fault::Truncate { object, len } if object == name => {
                    bytes.truncate(usize::try_from(*len).unwrap_or(usize::MAX));
                }
                _ => {}
            }
        }
    }

    fn cut_at(&self, name: &ObjectName) -> Option<u64> {
        self.lock().plan.iter().find_map(|fault| match fault {
            Fault::Truncate { object, len } if object == name => Some(*len),
            _ => None,
        })
    }
}

impl Store for Faulty {
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
        self.mutate(Verb::Create, None, || self.inner.create())
    }

    fn survey(&self) -> Result<Survey, StoreError> {
        self.alive(Verb::Survey, None)?;
        self.inner.survey()
    }

    fn put(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<(), StoreError> {
        let len = parts.iter().map(|part| part.len() as u64).sum();
        self.mutate(Verb::Put, Some(name), || {
            self.take_space(name, len)?;
            let done = self.appear(name, || self.inner.put(name, parts));
            if done.is_err() {
                let mut state = self.lock();
                state.bytes_put = state.bytes_put.saturating_sub(len);
            }
            done
        })
    }

    fn get(&self, name: &ObjectName, range: ByteRange) -> Result<Vec<u8>, StoreError> {
        self.alive(Verb::Get, Some(name))?;
        let mut bytes = self.inner.get(name, range)?;
        let ByteRange::Exact { offset, len } = range else {
            self.damage(name, 0, &mut bytes);
            return Ok(bytes);
        };
        if self.cut_at(name).is_some_and(|cut| offset.saturating_add(len) > cut) {
            let kind = StoreErrorKind::TooShort;
            return Err(self.failure(kind, Verb::Get, Some(name), "the end is missing"));
        }
        self.damage(name, offset, &mut bytes);
        Ok(bytes)
    }

    fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        self.alive(Verb::Size, Some(name))?;
        self.inner.size(name)
    }

    fn list(
        &self,
        kind: ObjectKind,
        visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.alive(Verb::List, None)?;
        self.lock().unlisted.retain(|name, listings| {
            let passed_over = name.kind() != kind || *listings > 0;
            if name.kind() == kind {
                *listings = listings.saturating_sub(1);
            }
            passed_over
        });
        self.inner.list(kind, &mut |info| {
            if self.lock().unlisted.contains_key(&info.name) {
                return ControlFlow::Continue(());
            }
            visit(info)
        })
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.mutate(Verb::Delete, Some(name), || {
            if self.is_append_only() {
                let kind = StoreErrorKind::Denied;
                return Err(self.failure(
                    kind,
                    Verb::Delete,
                    Some(name),
                    "nothing is deleted here",
                ));
            }
            self.inner.delete(name)?;
            self.lock().unlisted.remove(name);
            Ok(())
        })
    }

    fn publish(&self, staged: &ObjectName, target: &ObjectName) -> Result<(), StoreError> {
        self.mutate(Verb::Publish, Some(target), || {
            self.appear(target, || self.inner.publish(staged, target))?;
            self.lock().unlisted.remove(staged);
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.mutate(Verb::Sync, None, || self.inner.sync())
    }

    fn remove_stale_temporaries(
        &self,
        older_than: Duration,
        clock: &dyn Clock,
    ) -> Result<u64, StoreError> {
        self.alive(Verb::Delete, None)?;
        self.inner.remove_stale_temporaries(older_than, clock)
    }

    fn refuses_deletes(&self) -> Result<bool, StoreError> {
        self.alive(Verb::Delete, None)?;
        Ok(self.is_append_only() || self.inner.refuses_deletes()?)
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
    use crate::store::{MemoryStore, list_all};

    fn key(number: u8) -> ObjectName {
        ObjectName::Key(ObjectId::new([number; 32]))
    }

    fn faulty(plan: Vec<Fault>) -> (Arc<MemoryStore>, Faulty) {
        let memory = Arc::new(MemoryStore::new());
        (memory.clone(), Faulty::new(memory, plan))
    }

    fn listed(store: &Faulty) -> usize {
        list_all(store, ObjectKind::Key).unwrap().len()
    }

    #[test]
    fn one_call_fails_and_the_next_works() {
        let fault = Fault::Fail { call: 1, kind: StoreErrorKind::Temporary };
        let (memory, store) = faulty(vec![fault]);
        store.put(&key(0), &[b"x"]).unwrap();
        let error = store.put(&key(1), &[b"x"]).unwrap_err();
        assert_eq!((error.kind, error.object), (StoreErrorKind::Temporary, Some(key(1))));
        store.put(&key(1), &[b"x"]).unwrap();
        assert_eq!((memory.objects().len(), store.mutating_calls()), (2, 3));
    }

    #[test]
    fn a_killed_process_does_nothing_more_and_its_last_call_has_effect_or_not() {
        for (fault, effect) in
            [(Fault::KillBefore { call: 1 }, 1), (Fault::KillAfter { call: 1 }, 2)]
        {
            let (memory, store) = faulty(vec![fault]);
            store.put(&key(0), &[b"x"]).unwrap();
            assert!(!store.is_dead());
            store.put(&key(1), &[b"x"]).unwrap_err();
            assert!(store.is_dead());
            store.put(&key(2), &[b"x"]).unwrap_err();
            store.size(&key(0)).unwrap_err();
            store.sync().unwrap_err();
            assert_eq!(memory.objects().len(), effect, "{fault:?}");
            store.reset(Vec::new());
            store.put(&key(2), &[b"x"]).unwrap();
        }
    }

    #[test]
    fn space_runs_out_and_smaller_objects_still_fit() {
        let (_, store) = faulty(vec![Fault::NoSpace { after_bytes: 10 }]);
        store.put(&key(0), &[&[0; 6]]).unwrap();
        let error = store.put(&key(1), &[&[0; 3], &[0; 2]]).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::NoSpace);
        store.put(&key(1), &[&[0; 4]]).unwrap();
    }

    #[test]
    fn what_is_read_is_damaged_where_planned() {
        let (memory, store) = faulty(vec![
            Fault::FlipBit { object: key(0), bit: 17 },
            Fault::Truncate { object: key(1), len: 2 },
        ]);
        memory.insert_raw(key(0), vec![0; 4]);
        memory.insert_raw(key(1), vec![7; 4]);
        let whole = ByteRange::Whole { limit: 4 };
        let exact = |offset, len| ByteRange::Exact { offset, len };
        assert_eq!(store.get(&key(0), whole).unwrap(), [0, 0, 2, 0]);
        assert_eq!(store.get(&key(0), exact(2, 1)).unwrap(), [2]);
        assert_eq!(store.get(&key(0), exact(0, 2)).unwrap(), [0, 0]);
        assert_eq!(store.get(&key(1), whole).unwrap(), [7, 7]);
        assert_eq!(store.get(&key(1), exact(1, 1)).unwrap(), [7]);
        let error = store.get(&key(1), exact(1, 2)).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::TooShort);
    }

    #[test]
    fn late_listings_show_an_object_only_after_some_more() {
        let (_, store) = faulty(vec![Fault::ListLate { listings: 2 }]);
        store.put(&key(0), &[b"x"]).unwrap();
        assert_eq!(store.size(&key(0)).unwrap(), 1);
        list_all(&store, ObjectKind::Pack).unwrap();
        assert_eq!([listed(&store), listed(&store), listed(&store)], [0, 0, 1]);
        store.put(&key(0), &[b"x"]).unwrap_err();
        assert_eq!(listed(&store), 1, "a refused put does not hide what was there");
    }

    #[test]
    fn threads_share_one_count() {
        let (memory, store) = faulty(vec![Fault::KillBefore { call: 20 }]);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    for number in 0..10 {
                        let _ = store.put(&key(thread * 10 + number), &[b"x"]);
                    }
                });
            }
        });
        assert_eq!(memory.objects().len(), 20);
        assert_eq!(store.mutating_calls(), 21);
    }
}
