//! The second half: removes what an earlier run condemned.

use std::collections::HashSet;

use crate::event::{Event, Observer, StopFlag};
use crate::id::PackId;
use crate::repository::{RepositoryError, Session};
use crate::store::ObjectName;

use super::merge;
use super::plan::PrunePlan;
use super::summary::PruneStats;

/// Removes the sessions the plan takes for dead.
pub(super) fn expire(session: &Session<'_>, plan: &PrunePlan) -> Result<u64, RepositoryError> {
    for dead in &plan.expired {
        session.repository().expire_session(dead)?;
    }
    Ok(plan.expired.len() as u64)
}

/// Writes the index without the doomed packs, deletes them, and then the condemned objects of which nothing
/// is left.
pub(super) fn sweep(
    session: &Session<'_>,
    plan: &PrunePlan,
    stats: &mut PruneStats,
    stop: &StopFlag,
    observer: &dyn Observer,
) -> Result<(), RepositoryError> {
    let repository = session.repository();
    let doomed: HashSet<PackId> = plan.doomed.iter().map(|(id, _)| *id).collect();
    merge::rewrite(session, &doomed, &plan.merge, stats, stop)?;
    let bytes = plan.summary.delete_bytes;
    observer.event(&Event::StepStarted { step: "delete", total_bytes: Some(bytes) });
    let store = repository.store();
    for (id, size) in &plan.doomed {
        if stop.is_stopped() {
            return Err(RepositoryError::Interrupted);
        }
        // Before, not after: one that slept must find out that it was expired.
        session.keep_alive()?;
        store.delete(&ObjectName::Pack(*id))?;
        stats.deleted_packs += 1;
        stats.deleted_bytes += size;
        observer.event(&Event::Progress { bytes: *size, items: 1 });
    }
    // Durably gone before the object that named them: a pack that came back after a power cut would be
    // one that nobody condemns.
    store.sync()?;
    for id in &plan.ripe {
        let packs = session.opening().condemned.get(id).map(Vec::as_slice).unwrap_or_default();
        let is_done =
            packs.iter().all(|pack| doomed.contains(pack) || !plan.listed.contains_key(pack));
        if is_done {
            store.delete(&ObjectName::Condemned(*id))?;
            stats.finished_condemned += 1;
        }
    }
    for name in &plan.unreadable {
        store.delete(name)?;
        stats.finished_condemned += 1;
    }
    store.sync()?;
    observer.event(&Event::StepFinished { step: "delete" });
    Ok(())
}
