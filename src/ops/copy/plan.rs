//! What is missing at the copy, what is there in vain, and what is odd about it.

use std::collections::{HashMap, HashSet};

use crate::id::{PackId, SnapshotId};
use crate::index::Holding;
use crate::repository::Repository;
use crate::snapshot::ReceiptRecord;
use crate::store::{ObjectKind, ObjectName, list_kinds};

use super::Copying;
use super::error::CopyError;
use super::source::{View, sizes};
use super::summary::{CopyPlan, Finding, Problem};

/// What is listed at every run. They are few; of packs the record knows.
const LISTED: [ObjectKind; 4] =
    [ObjectKind::Key, ObjectKind::Index, ObjectKind::Snapshot, ObjectKind::Receipt];

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Packs to put, with their sizes.
    pub packs: Vec<(PackId, u64)>,
    /// Index objects, key slots and receipts to put.
    pub small: Vec<ObjectName>,
    /// Snapshots to put.
    pub snapshots: Vec<SnapshotId>,
    /// Objects that the copy has in another length than the source.
    pub wrong: Vec<ObjectName>,
    /// What the copy has.
    pub holds: HashSet<ObjectName>,
    /// Of what it has, what the source has no more, with since when, if that is known.
    pub gone: Vec<(ObjectName, Option<i64>)>,
    /// Of what it has, what was gone and is at the source again.
    pub back: Vec<ObjectName>,
    /// Snapshots of the copy that the source lost.
    pub lost_at_source: Vec<SnapshotId>,
    /// What is odd.
    pub findings: Vec<Finding>,
    /// Whether every object was listed.
    pub is_audit: bool,
    /// To be put into the record: what was found there, and what was not.
    found: Vec<(ObjectName, u64)>,
    missing: Vec<ObjectName>,
}

impl Work {
    pub fn compute(copying: &Copying<'_>, view: &View) -> Result<Self, CopyError> {
        let mut record = copying.holdings.all()?;
        let stamp = copying.holdings.stamp()?;
        let is_audit = copying.options.audit || stamp.listed.is_none();
        let mut work = Self { is_audit, ..Self::default() };
        let mut listed = HashMap::new();
        for list in list_kinds(copying.store(), LISTED)? {
            listed.extend(list.into_iter().map(|info| (info.name, info.size)));
        }
        work.compare(copying, &record, &listed, view, |name| name.kind() != ObjectKind::Pack);
        let is_odd = work.findings.iter().any(|finding| finding.problem == Problem::Dropped);
        // Where something was dropped, more may have been.
        if is_audit || is_odd {
            work.is_audit = true;
            let packs = sizes(copying.store(), ObjectKind::Pack)?;
            work.compare(copying, &record, &packs, view, |name| name.kind() == ObjectKind::Pack);
            listed.extend(packs);
        }
        for name in &work.missing {
            record.remove(name);
        }
        for (name, size) in &work.found {
            record.insert(*name, Holding { size: *size, gone: None, dropped: None });
        }
        record.retain(|_, holding| holding.is_there());
        work.sort(copying, view, &record)?;
        Ok(work)
    }

    /// The same once more, for another view of the source. What is odd was told already.
    pub fn again(copying: &Copying<'_>, view: &View) -> Result<Self, CopyError> {
        let record: HashMap<_, _> =
            copying.holdings.all()?.into_iter().filter(|(_, holding)| holding.is_there()).collect();
        let mut work = Self::default();
        work.sort(copying, view, &record)?;
        Ok(work)
    }

    /// Holds a listing against the record.
    fn compare(
        &mut self,
        copying: &Copying<'_>,
        record: &HashMap<ObjectName, Holding>,
        listed: &HashMap<ObjectName, u64>,
        view: &View,
        is_meant: impl Fn(&ObjectName) -> bool,
    ) {
        for (name, holding) in record.iter().filter(|(name, _)| is_meant(name)) {
            if holding.is_there() && !listed.contains_key(name) {
                self.missing.push(*name);
                if holding.gone.is_some_and(|since| copying.is_due(since)) {
                    // A run of ours that was cut had deleted it already.
                    continue;
                }
                let message = "the copy had it and lists it no more; nobody here deleted it";
                self.findings.push(Finding::new(name, Problem::Dropped, message));
            }
        }
        for (name, size) in listed {
            match record.get(name) {
                Some(holding) if !holding.is_there() => {
                    let message = "it was deleted from the copy, and is listed there again";
                    let finding = Finding::new(name, Problem::Returned, message);
                    // Nothing needs it: it is deleted again, or does no harm.
                    self.findings.push(Finding { mended: true, ..finding });
                    self.found.push((*name, *size));
                }
                Some(_) => {}
                None => self.found.push((*name, *size)),
            }
            if view.size_of(name).is_some_and(|expected| expected != *size) {
                self.wrong.push(*name);
            }
        }
    }

    /// What to put, and what is there in vain.
    fn sort(
        &mut self,
        copying: &Copying<'_>,
        view: &View,
        record: &HashMap<ObjectName, Holding>,
    ) -> Result<(), CopyError> {
        self.holds = record.keys().copied().collect();
        let is_missing = |name: &ObjectName| !record.contains_key(name);
        self.packs = view
            .packs
            .iter()
            .filter(|(id, _)| is_missing(&ObjectName::Pack(**id)))
            .map(|(id, size)| (*id, *size))
            .collect();
        self.packs.sort_unstable();
        self.small = view.small.keys().copied().filter(is_missing).collect();
        self.small.sort_unstable();
        self.gone = record
            .iter()
            .filter(|(name, _)| name.kind() != ObjectKind::Receipt && !view.has(name))
            .map(|(name, holding)| (*name, holding.gone))
            .collect();
        self.gone.sort_unstable();
        self.back = record
            .iter()
            .filter(|(name, holding)| holding.gone.is_some() && view.has(name))
            .map(|(name, _)| *name)
            .collect();
        self.sort_snapshots(copying, view, record)
    }

    fn sort_snapshots(
        &mut self,
        copying: &Copying<'_>,
        view: &View,
        record: &HashMap<ObjectName, Holding>,
    ) -> Result<(), CopyError> {
        let mut forgotten = HashSet::new();
        // Receipts that only the copy has: somebody forgot snapshots there.
        for name in record.keys().filter(|name| name.kind() == ObjectKind::Receipt) {
            if !view.has(name) {
                forgotten.extend(forgotten_by(copying.target, name));
            }
        }
        let is_missing = |id: &&SnapshotId| !record.contains_key(&ObjectName::Snapshot(**id));
        let missing = view.snapshots.keys().filter(is_missing);
        self.snapshots = missing.filter(|id| !forgotten.contains(*id)).copied().collect();
        self.snapshots.sort_unstable();
        let gone: Vec<SnapshotId> = self
            .gone
            .iter()
            .filter_map(|(name, since)| match (name, since) {
                (ObjectName::Snapshot(id), None) => Some(*id),
                _ => None,
            })
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let receipts = copying.source.receipts()?;
        forgotten.extend(receipts.into_iter().flat_map(|(_, receipt)| receipt.forgotten));
        self.lost_at_source = gone.into_iter().filter(|id| !forgotten.contains(id)).collect();
        let snapshots = record.keys().filter(|name| name.kind() == ObjectKind::Snapshot).count();
        if view.listed.is_empty() && !self.lost_at_source.is_empty() {
            return Err(CopyError::Emptied {
                location: copying.source.store().location().clone(),
                copy: copying.store().location().clone(),
                snapshots,
            });
        }
        for id in &self.lost_at_source {
            let message = "the copy has it, the source lacks it, and no receipt says that it was \
                           forgotten: nothing is deleted from the copy";
            let name = ObjectName::Snapshot(*id);
            self.findings.push(Finding::new(&name, Problem::LostAtSource, message));
        }
        Ok(())
    }

    /// Writes down what was found at the copy.
    pub fn record(&self, copying: &Copying<'_>) -> Result<(), CopyError> {
        for finding in &self.findings {
            finding.tell(copying.observer);
        }
        copying.holdings.remove(&self.missing)?;
        copying.holdings.add(&self.found)?;
        if self.is_audit {
            copying.holdings.set_listed(copying.now)?;
        }
        Ok(())
    }

    /// Bytes of packs to put.
    pub fn bytes(&self) -> u64 {
        self.packs.iter().map(|(_, size)| size).sum()
    }

    /// Of what the source has no more, what may be deleted now.
    pub fn due(&self, copying: &Copying<'_>) -> Vec<ObjectName> {
        if !self.lost_at_source.is_empty() {
            return Vec::new();
        }
        let is_due =
            |(_, since): &&(ObjectName, Option<i64>)| copying.is_due(since.unwrap_or(copying.now));
        self.gone.iter().filter(is_due).map(|(name, _)| *name).collect()
    }

    /// For people.
    pub fn plan(&self, copying: &Copying<'_>, view: &View) -> CopyPlan {
        let due = self.due(copying).len();
        let mut findings = self.findings.clone();
        for name in &self.wrong {
            let message = "the copy has it in another length than the source";
            findings.push(Finding::new(name, Problem::WrongSize, message));
        }
        for (name, reason) in &view.unreadable {
            findings.push(Finding::new(name, Problem::DamagedAtSource, reason));
        }
        CopyPlan {
            source: copying.source.store().location().to_string(),
            target: copying.store().location().to_string(),
            begins: false,
            audited: self.is_audit,
            packs: self.packs.len() as u64,
            pack_bytes: self.bytes(),
            small_objects: self.small.len() as u64,
            snapshots: self.snapshots.clone(),
            deletions: due as u64,
            kept: (self.gone.len() - due) as u64,
            findings,
        }
    }
}

impl Copying<'_> {
    /// Whether what has been gone from the source since then may leave the copy.
    fn is_due(&self, since: i64) -> bool {
        let delay = self.options.delay.filter(|_| !self.options.append_only);
        let delay = delay.map(|delay| i64::try_from(delay.as_nanos()).unwrap_or(i64::MAX));
        delay.is_some_and(|delay| self.now.saturating_sub(since) >= delay)
    }
}

/// The snapshots that a receipt says were forgotten. One that cannot be read says nothing.
fn forgotten_by(repository: &Repository, name: &ObjectName) -> Vec<SnapshotId> {
    match repository.read_object(name) {
        Ok(crate::repository::Content::Receipt(ReceiptRecord { forgotten, .. })) => forgotten,
        _ => Vec::new(),
    }
}
