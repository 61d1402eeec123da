//! Objects on their way: read from the source, held against their names, put, confirmed, recorded.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::event::Event;
use crate::id::{PackId, SnapshotId};
use crate::store::{ObjectKind, ObjectName};

use super::Copying;
use super::error::CopyError;
use super::plan::Work;
use super::source::{Read, read_whole};
use super::summary::{CopyReport, Problem};
use super::target::put_new;

/// Said of a snapshot that cannot be published at the copy for now.
const BARRED: &str =
    "a copy that was taken for dead was about to publish it there; 30 days after that it is copied";

/// Objects after which what was put is made durable and recorded, so that a cut run loses little.
const RECORDED_AT_ONCE: usize = 64;
/// Snapshots published together.
const PUBLISHED_AT_ONCE: usize = 64;

/// What became of objects that were to be put.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// They are not at the source any more.
    pub vanished: Vec<ObjectName>,
    /// They are damaged at the source, how.
    pub damaged: HashMap<ObjectName, String>,
    /// The copy has them in another length.
    wrong: Vec<ObjectName>,
    /// Put and not recorded yet.
    waiting: Vec<(ObjectName, u64)>,
    put: u64,
    bytes: u64,
}

struct Pool<'a> {
    objects: &'a [ObjectName],
    next: AtomicUsize,
    outcome: Mutex<Outcome>,
    failure: Mutex<Option<CopyError>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Copying<'_> {
    /// Copies packs; gives whether some are not at the source any more. Damaged ones are added to `damaged`.
    pub(super) fn transfer_packs(
        &self,
        packs: &[(PackId, u64)],
        damaged: &mut HashMap<PackId, String>,
        report: &mut CopyReport,
    ) -> Result<bool, CopyError> {
        let names: Vec<ObjectName> = packs
            .iter()
            .filter(|(id, _)| !damaged.contains_key(id))
            .map(|(id, _)| ObjectName::Pack(*id))
            .collect();
        let outcome = self.transfer(&names, report)?;
        report.packs += outcome.put;
        for (name, reason) in outcome.damaged {
            if let ObjectName::Pack(id) = name {
                damaged.insert(id, reason);
            }
        }
        Ok(!outcome.vanished.is_empty())
    }

    /// Copies key slots, index objects and receipts; gives whether an index object was not there any more.
    pub(super) fn transfer_small(
        &self,
        names: &[ObjectName],
        report: &mut CopyReport,
    ) -> Result<bool, CopyError> {
        let outcome = self.transfer(names, report)?;
        report.small_objects += outcome.put;
        for (name, reason) in &outcome.damaged {
            report.find(self.observer, *name, Problem::DamagedAtSource, reason);
        }
        Ok(outcome.vanished.iter().any(|name| name.kind() == ObjectKind::Index))
    }

    fn transfer(
        &self,
        objects: &[ObjectName],
        report: &mut CopyReport,
    ) -> Result<Outcome, CopyError> {
        let pool = Pool {
            objects,
            next: AtomicUsize::new(0),
            outcome: Mutex::default(),
            failure: Mutex::new(None),
        };
        let workers = self.store().connections().get().min(objects.len());
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| self.work(&pool));
            }
        });
        let mut outcome = pool.outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        let waiting = std::mem::take(&mut outcome.waiting);
        let settled = if waiting.is_empty() { Ok(()) } else { self.settle(&waiting) };
        if let Some(error) = pool.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        settled?;
        report.bytes += outcome.bytes;
        for name in objects {
            report.mended(name);
        }
        for name in &outcome.wrong {
            self.mend(name, Problem::WrongSize, report)?;
        }
        for name in outcome.vanished.iter().chain(outcome.damaged.keys()) {
            report.unmended(name);
        }
        Ok(outcome)
    }

    fn work(&self, pool: &Pool<'_>) {
        loop {
            let Some(name) = pool.objects.get(pool.next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            if lock(&pool.failure).is_some() {
                return;
            }
            if let Err(error) = self.one(pool, name) {
                lock(&pool.failure).get_or_insert(error);
                return;
            }
        }
    }

    fn one(&self, pool: &Pool<'_>, name: &ObjectName) -> Result<(), CopyError> {
        self.keep_going()?;
        self.observer.event(&Event::Working { item: name.to_string() });
        let bytes = match read_whole(self.source.store().as_ref(), name)? {
            Read::Good(bytes) => bytes,
            Read::Missing => {
                lock(&pool.outcome).vanished.push(*name);
                return Ok(());
            }
            Read::Damaged(reason) => {
                lock(&pool.outcome).damaged.insert(*name, reason);
                return Ok(());
            }
        };
        let is_right = put_new(self.store(), name, &bytes)?;
        let len = bytes.len() as u64;
        self.observer.event(&Event::Progress { bytes: len, items: 1 });
        let full = {
            let mut outcome = lock(&pool.outcome);
            outcome.put += 1;
            outcome.bytes += len;
            if is_right {
                outcome.waiting.push((*name, len));
            } else {
                outcome.wrong.push(*name);
            }
            let is_full = outcome.waiting.len() >= RECORDED_AT_ONCE;
            if is_full { std::mem::take(&mut outcome.waiting) } else { Vec::new() }
        };
        if full.is_empty() { Ok(()) } else { self.settle(&full) }
    }

    /// What was put is made durable, then recorded.
    fn settle(&self, objects: &[(ObjectName, u64)]) -> Result<(), CopyError> {
        self.store().sync()?;
        Ok(self.holdings.add(objects)?)
    }

    /// Copies snapshots, but for the `blocked` ones. All they need is at the target.
    pub(super) fn snapshots(
        &self,
        work: &Work,
        blocked: &HashSet<SnapshotId>,
        report: &mut CopyReport,
    ) -> Result<(), CopyError> {
        let store = self.source.store().as_ref();
        for ids in work.snapshots.chunks(PUBLISHED_AT_ONCE) {
            let mut ready = Vec::new();
            for id in ids {
                self.keep_going()?;
                let name = ObjectName::Snapshot(*id);
                if blocked.contains(id) {
                    let message = "it needs what is damaged or missing at the source, and waits";
                    report.find(self.observer, name, Problem::HeldBack, message);
                    continue;
                }
                match read_whole(store, &name)? {
                    Read::Good(bytes) => ready.push((*id, bytes)),
                    // Forgotten meanwhile.
                    Read::Missing => {}
                    Read::Damaged(reason) => {
                        report.find(self.observer, name, Problem::DamagedAtSource, &reason);
                    }
                }
            }
            self.publish(&ready, report)?;
        }
        Ok(())
    }

    fn publish(
        &self,
        ready: &[(SnapshotId, Vec<u8>)],
        report: &mut CopyReport,
    ) -> Result<(), CopyError> {
        if ready.is_empty() {
            return Ok(());
        }
        let barred = match self.session {
            Some(session) => session.publish_copies(ready)?,
            None => {
                for (id, bytes) in ready {
                    put_new(self.store(), &ObjectName::Snapshot(*id), bytes)?;
                }
                self.store().sync()?;
                Vec::new()
            }
        };
        let mut put = Vec::new();
        for (id, bytes) in ready {
            let (name, len) = (ObjectName::Snapshot(*id), bytes.len() as u64);
            if barred.contains(id) {
                report.find(self.observer, name, Problem::HeldBack, BARRED);
                continue;
            }
            self.observer.event(&Event::Progress { bytes: len, items: 1 });
            report.mended(&name);
            report.snapshots += 1;
            report.bytes += len;
            put.push((name, len));
        }
        Ok(self.holdings.add(&put)?)
    }
}
