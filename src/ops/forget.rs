//! Takes snapshots out of the repository. What only they needed is freed by a later prune.
//!
//! The receipt comes first: a check finds every snapshot either listed or named by a receipt, wherever a run
//! was killed. Forgetting the same ones again is harmless and finishes what was begun.

use std::collections::BTreeMap;

use crate::event::{Event, Observer};
use crate::id::{ObjectId, SnapshotId};
use crate::repository::{Repository, RepositoryError};
use crate::snapshot::ReceiptRecord;
use crate::store::ObjectName;

/// What the receipt says beside the snapshots themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForgetNote {
    /// The instance they are of; empty if they are of several.
    pub instance: String,
    /// Anything worth remembering (`reason`, `policy`).
    pub details: BTreeMap<String, String>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// The receipt that names the snapshots; `None` if none were given.
    pub receipt: Option<ObjectId>,
    /// Snapshots that are gone now.
    pub snapshots: Vec<SnapshotId>,
}

/// Removes the snapshots `ids`, without asking and without looking whether they are the last.
///
/// One that is not there counts as removed. Killed or failed anywhere, it can be repeated.
pub fn forget_snapshots(
    repository: &Repository,
    ids: &[SnapshotId],
    note: &ForgetNote,
    observer: &dyn Observer,
) -> Result<Forgotten, RepositoryError> {
    let mut snapshots = ids.to_vec();
    snapshots.sort_unstable();
    snapshots.dedup();
    if snapshots.is_empty() {
        return Ok(Forgotten { receipt: None, snapshots });
    }
    let environment = repository.environment();
    let receipt = repository.put_receipt(&ReceiptRecord {
        kind: "forget".to_owned(),
        time: i64::try_from(environment.clock.now().as_nanosecond()).unwrap_or(i64::MAX),
        instance: note.instance.clone(),
        host: environment.host.clone(),
        result: "ok".to_owned(),
        snapshot: None,
        details: note.details.clone(),
        forgotten: snapshots.clone(),
    })?;
    let store = repository.store();
    for id in &snapshots {
        store.delete(&ObjectName::Snapshot(*id))?;
        observer.event(&Event::Progress { bytes: 0, items: 1 });
    }
    store.sync()?;
    repository.index().unremember_snapshots(&snapshots)?;
    Ok(Forgotten { receipt: Some(receipt), snapshots })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Silent, StopFlag};
    use crate::ops::check::{CheckOptions, check};
    use crate::ops::testing::{backup, dir, file, init, noise, open, open_in};
    use crate::store::{Fault, Faulty, MemoryStore, ObjectKind, list_all};

    #[test]
    fn what_was_forgotten_is_gone_and_no_check_alarms() {
        let store = Arc::new(MemoryStore::new());
        let repository = init(&store);
        let first = backup(&repository, 1, &dir([("a", file(noise(1, 1000)))]));
        let second = backup(&repository, 2, &dir([("a", file(noise(2, 1000)))]));
        let note = ForgetNote { instance: "app".to_owned(), ..ForgetNote::default() };
        let done = forget_snapshots(&repository, &[first, first], &note, &Silent).unwrap();
        assert_eq!(done.snapshots, [first]);
        let receipts = repository.receipts().unwrap();
        assert_eq!(receipts[0].1.forgotten, [first]);
        let left: Vec<_> =
            repository.snapshots().unwrap().snapshots.into_iter().map(|(id, _)| id).collect();
        assert_eq!(left, [second]);
        let report =
            check(&repository, &CheckOptions::default(), &StopFlag::new(), &Silent).unwrap();
        assert!(report.is_clean(), "{report:?}");
        let nothing = forget_snapshots(&repository, &[], &note, &Silent).unwrap();
        assert_eq!(nothing.receipt, None);
    }

    #[test]
    fn killed_anywhere_nothing_alarms_and_it_can_be_repeated() {
        for call in 0..6 {
            let memory = Arc::new(MemoryStore::new());
            let repository = init(&memory);
            let ids: Vec<_> = (1..4)
                .map(|n| backup(&repository, n, &dir([("a", file(noise(n, 1000)))])))
                .collect();
            let clean = |repository: &Repository| {
                let options = CheckOptions::default();
                let report = check(repository, &options, &StopFlag::new(), &Silent).unwrap();
                assert!(report.is_clean(), "killed at {call}: {report:?}");
            };
            clean(&repository);
            for fault in [Fault::KillBefore { call }, Fault::KillAfter { call }] {
                let faulty = Arc::new(Faulty::new(Arc::new(memory.clone_store()), vec![fault]));
                let killed = open_in(Arc::clone(&faulty) as _).unwrap();
                clean(&killed);
                let note = ForgetNote::default();
                let died = forget_snapshots(&killed, &ids[..2], &note, &Silent);
                assert_eq!(died.is_err(), faulty.is_dead());
                faulty.reset(Vec::new());
                clean(&killed);
                forget_snapshots(&killed, &ids[..2], &note, &Silent).unwrap();
                clean(&killed);
                let left = list_all(faulty.as_ref(), ObjectKind::Snapshot).unwrap();
                assert_eq!(left.len(), 1);
            }
            assert_eq!(open(&memory).unwrap().snapshots().unwrap().snapshots.len(), 3);
        }
    }
}
