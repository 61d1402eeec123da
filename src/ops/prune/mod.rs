//! Prune: frees what no snapshot needs, beside any number of backups at work (docs/protocol.md).
//!
//! One run does two things. It deletes what an earlier run has condemned long enough ago (the second half of
//! that prune), and condemns what is not needed now (the first half of its own), after storing what is
//! needed of wasteful packs elsewhere. Everything is decided in a [`PrunePlan`] first. Killed
//! anywhere, the next run goes on.

mod keys;
mod mark;
mod merge;
mod plan;
mod repack;
mod summary;
mod sweep;
pub(super) mod trees;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::event::{Event, Observer, StopFlag};
use crate::repository::{IngestOptions, Repository, RepositoryError, Session};

pub use plan::PrunePlan;
pub use summary::{PruneStats, PruneSummary, Waiting, WaitsFor};

/// How long condemned packs stay: longer than any restore or listing of somebody takes.
pub const GRACE: Duration = Duration::from_hours(72);
/// A session without a beat for this long is dead.
pub const EXPIRY: Duration = Duration::from_hours(7 * 24);

/// How long the local index remembers the files of a source that no backup reads any more.
const IDLE_SOURCE: Duration = Duration::from_hours(90 * 24);

/// How many bytes that nobody needs may stay in packs that somebody needs.
///
/// Counted are the sealed bytes of segments in those packs. A segment of which only some chunks are needed
/// counts as unused by the share the others have of its raw bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// Of a hundred bytes in the packs that stay.
    Percent(f64),
    /// Bytes.
    Bytes(u64),
    /// Any number: no pack is rewritten.
    Unlimited,
}

impl Default for MaxUnused {
    fn default() -> Self {
        Self::Percent(5.0)
    }
}

/// Choices of a prune.
#[derive(Debug, Clone, Copy)]
pub struct PruneOptions {
    /// From where on packs are rewritten.
    pub max_unused: MaxUnused,
    /// Most bytes written again by one run.
    pub max_repack_bytes: Option<u64>,
    /// How long packs stay condemned, by the store's own time.
    pub grace: Duration,
    /// After how long without a beat a session is dead, by the store's own time.
    pub expiry: Duration,
    /// Fail if anybody else is at work.
    pub must_be_alone: bool,
    /// How what is rewritten is compressed.
    pub ingest: IngestOptions,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            max_unused: MaxUnused::default(),
            max_repack_bytes: None,
            grace: GRACE,
            expiry: EXPIRY,
            must_be_alone: false,
            ingest: IngestOptions::default(),
        }
    }
}

impl PruneOptions {
    /// Without the grace time, provided that nobody else is at work. No pack is rewritten: where the disk is
    /// full there is no room for it.
    #[must_use]
    pub fn without_grace(self) -> Self {
        let max_unused = MaxUnused::Unlimited;
        Self { grace: Duration::ZERO, must_be_alone: true, max_unused, ..self }
    }
}

/// How a prune ended.
#[derive(Debug)]
pub enum Pruned {
    /// Nothing is ever deleted in this store.
    AppendOnly,
    /// The plan was shown and not accepted.
    Planned(PruneSummary),
    /// Done.
    Done(PruneSummary, PruneStats),
}

/// Prunes once: the second half of earlier runs, the first half of this one. `accept` is shown
/// the plan; if it says no, nothing has been changed.
pub fn prune<E: From<RepositoryError>>(
    repository: &Repository,
    options: &PruneOptions,
    stop: &StopFlag,
    observer: &dyn Observer,
    accept: impl FnOnce(&PruneSummary) -> Result<bool, E>,
) -> Result<Pruned, E> {
    if repository.store().refuses_deletes().map_err(RepositoryError::from)? {
        return Ok(Pruned::AppendOnly);
    }
    let session = repository.begin_session("prune")?;
    let done = prune_in(&session, options, stop, observer, accept);
    // Nobody shall wait for a prune that failed.
    let ended = session.end();
    let done = done?;
    ended?;
    Ok(done)
}

fn prune_in<E: From<RepositoryError>>(
    session: &Session<'_>,
    options: &PruneOptions,
    stop: &StopFlag,
    observer: &dyn Observer,
    accept: impl FnOnce(&PruneSummary) -> Result<bool, E>,
) -> Result<Pruned, E> {
    observer.event(&Event::StepStarted { step: "mark", total_bytes: None });
    let mut plan = PrunePlan::compute(session, options, stop, observer)?;
    observer.event(&Event::StepFinished { step: "mark" });
    if !accept(&plan.summary)? {
        return Ok(Pruned::Planned(plan.summary));
    }
    let mut stats = PruneStats::default();
    if !plan.expired.is_empty() {
        // What a dead session had staged may have been published until now: look again.
        stats.expired_sessions = sweep::expire(session, &plan)?;
        let expired = std::mem::take(&mut plan.summary.expired_sessions);
        plan = PrunePlan::compute(session, options, stop, observer)?;
        plan.summary.expired_sessions = expired;
    }
    sweep::sweep(session, &plan, &mut stats, stop, observer)?;
    let summary = plan.summary.clone();
    repack::condemn(session, plan, options, &mut stats, stop, observer)?;
    let repository = session.repository();
    repository.refresh()?;
    let now = repository.environment().clock.now();
    repository.index().drop_idle_roots(now, IDLE_SOURCE).map_err(RepositoryError::from)?;
    Ok(Pruned::Done(summary, stats))
}

/// Prunes without the grace time, which frees space at once: condemns, and deletes what was condemned. Fails if anybody else
/// is at work.
pub fn prune_now<E: From<RepositoryError>>(
    repository: &Repository,
    options: &PruneOptions,
    stop: &StopFlag,
    observer: &dyn Observer,
    accept: impl FnOnce(&PruneSummary) -> Result<bool, E>,
) -> Result<Pruned, E> {
    let options = options.without_grace();
    let first = prune(repository, &options, stop, observer, accept)?;
    let Pruned::Done(summary, mut stats) = first else { return Ok(first) };
    let second = prune(repository, &options, stop, observer, |_| Ok::<_, E>(true))?;
    if let Pruned::Done(_, more) = second {
        stats.add(&more);
    }
    Ok(Pruned::Done(summary, stats))
}
