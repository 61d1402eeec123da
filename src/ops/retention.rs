//! Which snapshots a policy drops, and what speaks against dropping any tonight.
//!
//! Nothing is removed here: this is the plan. What is dropped without need is gone, so whatever looks odd
//! stops all of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::id::{ObjectId, SnapshotId};
use crate::snapshot::retention::{Candidate, RetentionPolicy, Verdict, judge};
use crate::snapshot::{ReceiptRecord, Selected, Suspicion, pins, suspicions};

/// Kind of the receipt a nightly run leaves.
const RUN: &str = "run";
/// Result of a run that made a complete snapshot.
const OK: &str = "ok";

/// Why nothing should be dropped tonight.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// A clock was wrong, or is.
    #[error("a clock looks wrong: {0}")]
    Clock(#[from] Suspicion),
    /// The last run made no complete snapshot.
    #[error("the last run on {host}, at {time}, ended `{result}`")]
    LastRun {
        /// Where.
        host: String,
        /// When.
        time: Timestamp,
        /// In the receipt's word.
        result: String,
    },
    /// What was made last lacks something.
    #[error("the newest snapshot, {}, is incomplete", .0.short())]
    NewestIncomplete(SnapshotId),
}

/// What becomes of the snapshots of one instance.
#[derive(Debug, Clone)]
pub struct RetentionPlan {
    /// Of which.
    pub instance: String,
    /// One verdict a snapshot, newest first.
    pub verdicts: Vec<Verdict>,
    /// What speaks against acting on them.
    pub objections: Vec<Objection>,
}

impl RetentionPlan {
    /// What goes, oldest first.
    pub fn going(&self) -> Vec<SnapshotId> {
        self.verdicts.iter().rev().filter(|one| !one.stays()).map(|one| one.id).collect()
    }
}

/// All that is known about a repository's snapshots.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// Its snapshots.
    pub snapshots: &'a [Selected],
    /// Its receipts: pins, and how runs ended.
    pub receipts: &'a [(ObjectId, ReceiptRecord)],
    /// The clock here.
    pub now: Timestamp,
}

impl History<'_> {
    /// The instances there are.
    pub fn instances(&self) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> =
            self.snapshots.iter().map(|(_, snapshot)| &snapshot.instance).collect();
        names.into_iter().cloned().collect()
    }

    /// What `policy` does to the snapshots of `instance`, whose days are those of `zone`.
    pub fn plan(&self, instance: &str, policy: &RetentionPolicy, zone: &TimeZone) -> RetentionPlan {
        let candidates = self.candidates(instance);
        let pins = pins::pins(self.receipts);
        RetentionPlan {
            instance: instance.to_owned(),
            verdicts: judge(&candidates, policy, &pins, zone, self.now),
            objections: self.objections(instance, &candidates),
        }
    }

    fn candidates(&self, instance: &str) -> Vec<Candidate> {
        let own = self.snapshots.iter().filter(|(_, snapshot)| snapshot.instance == instance);
        own.map(|(id, snapshot)| Candidate {
            id: *id,
            time: time(snapshot.start),
            counter: snapshot.counter,
            is_complete: snapshot.is_complete,
            tags: snapshot.tags.clone(),
        })
        .collect()
    }

    fn objections(&self, instance: &str, candidates: &[Candidate]) -> Vec<Objection> {
        let mut found: Vec<Objection> =
            suspicions(candidates, self.now).into_iter().map(Objection::Clock).collect();
        let runs = self.receipts.iter().map(|(_, told)| told);
        let last_run = runs
            .filter(|told| told.kind == RUN && told.instance == instance)
            .max_by_key(|told| told.time);
        let newest = candidates.iter().max_by_key(|one| (one.counter, one.time, one.id));
        // A snapshot made by hand after a bad night is as good as the night.
        let is_mended = |told: &ReceiptRecord| {
            newest.is_some_and(|newest| newest.is_complete && newest.time > time(told.time))
        };
        if let Some(told) = last_run.filter(|told| told.result != OK && !is_mended(told)) {
            found.push(Objection::LastRun {
                host: told.host.clone(),
                time: time(told.time),
                result: told.result.clone(),
            });
        }
        found.extend(
            newest.filter(|one| !one.is_complete).map(|one| Objection::NewestIncomplete(one.id)),
        );
        found
    }

    /// Why `ids` may not be dropped by name, if so: pins, and the last complete snapshot of an instance.
    pub fn refusal(&self, ids: &[SnapshotId]) -> Option<String> {
        let pins = pins::pins(self.receipts);
        for id in ids {
            let held = pins.get(id).into_iter().flatten().find(|pin| pin.holds(self.now));
            if let Some(pin) = held {
                return Some(format!("snapshot {} is pinned{pin}", id.short()));
            }
        }
        let mut left: BTreeMap<&str, (bool, Option<SnapshotId>)> = BTreeMap::new();
        for (id, snapshot) in self.snapshots.iter().filter(|(_, snapshot)| snapshot.is_complete) {
            let (is_any_left, named) = left.entry(&snapshot.instance).or_default();
            match ids.contains(id) {
                true => *named = Some(*id),
                false => *is_any_left = true,
            }
        }
        left.into_iter().find_map(|(instance, (is_any_left, named))| {
            let id = named.filter(|_| !is_any_left)?;
            let id = id.short();
            Some(format!("snapshot {id} is the last complete one of instance `{instance}`"))
        })
    }
}

fn time(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::UNIX_EPOCH)
}
