//! Copy: brings another store of the same repository up to date.
//!
//! Objects are copied as they are, in the order of the protocol: key slots, packs, index objects, receipts,
//! snapshots. So whatever is cut, every snapshot that is listed has all it needs, and the next run goes on. What the copy
//! holds is remembered in [`Holdings`], so that an unchanged night costs a handful of calls, not a listing
//! of every pack.
//!
//! What the source has no more stays for a while, or for ever. A snapshot counts as forgotten only if a
//! receipt says so; while the copy has one that the source lacks without such a receipt, nothing is
//! deleted at all: the source was put back to an older state.

mod delete;
mod error;
mod plan;
mod reach;
mod record;
mod sample;
mod source;
mod summary;
mod target;
mod transfer;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Event, Observer, StopFlag};
use crate::id::{PackId, SnapshotId};
use crate::index::Holdings;
use crate::repository::{Repository, RepositoryError, Session};
use crate::store::{ObjectName, Store, StoreErrorKind};

pub use error::CopyError;
pub use record::{Lag, holdings, lag};
pub use summary::{CopyPlan, CopyReport, Finding, Problem};

use plan::Work;
use source::View;
use target::Target;

/// How long a copy keeps what the source has no more.
pub const DELAY: Duration = Duration::from_hours(30 * 24);
/// How often what a prune of the source took away is looked for elsewhere.
const ROUNDS: usize = 8;

/// How much of the copy is read back after each run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Share of its objects, in hundredths of a percent.
    pub share: u32,
    /// Most objects. Each costs one round trip and one transfer.
    pub most: u64,
}

impl Sample {
    /// Nothing.
    pub const NONE: Self = Self { share: 0, most: 0 };
    /// All of it.
    pub const ALL: Self = Self { share: 10_000, most: u64::MAX };
}

impl Default for Sample {
    fn default() -> Self {
        Self { share: 200, most: 32 }
    }
}

/// Choices of a copy.
#[derive(Debug, Clone, Copy)]
pub struct CopyOptions {
    /// How long what the source has no more stays; `None`: for ever.
    pub delay: Option<Duration>,
    /// Nothing is ever deleted there, not even sessions: none is opened.
    pub append_only: bool,
    /// How much is read back.
    pub sample: Sample,
    /// List every object of the copy, instead of relying on the record.
    pub audit: bool,
    /// Begin anew where a copy was before and nothing is now.
    pub start_over: bool,
    /// Only make the plan: nothing is written anywhere.
    pub dry_run: bool,
    /// After how long without a beat a session at the copy is dead.
    pub expiry: Duration,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            delay: Some(DELAY),
            append_only: false,
            sample: Sample::default(),
            audit: false,
            start_over: false,
            dry_run: false,
            expiry: super::prune::EXPIRY,
        }
    }
}

/// How a copy ended.
#[derive(Debug)]
pub enum Copied {
    /// The plan was shown, and nothing done.
    Planned(CopyPlan),
    /// Done, perhaps not all of it: the report says so.
    Done(CopyPlan, CopyReport),
}

/// What all parts of a copy work with.
struct Copying<'a> {
    source: &'a Repository,
    target: &'a Repository,
    holdings: &'a Holdings,
    options: &'a CopyOptions,
    stop: &'a StopFlag,
    observer: &'a dyn Observer,
    /// At the target; none where nothing can be deleted.
    session: Option<&'a Session<'a>>,
    /// The time of this run, nanoseconds since 1970.
    now: i64,
}

impl Copying<'_> {
    fn keep_going(&self) -> Result<(), RepositoryError> {
        if self.stop.is_stopped() {
            return Err(RepositoryError::Interrupted);
        }
        self.session.map_or(Ok(()), Session::keep_alive)
    }

    fn store(&self) -> &dyn Store {
        self.target.store().as_ref()
    }
}

/// Copies what `target` lacks of `source`. `accept` is shown the plan; if it says no, nothing was changed.
pub fn copy<E: From<CopyError>>(
    source: &Repository,
    target: &Arc<dyn Store>,
    holdings: &Holdings,
    options: &CopyOptions,
    (stop, observer): (&StopFlag, &dyn Observer),
    accept: impl FnOnce(&CopyPlan) -> Result<bool, E>,
) -> Result<Copied, E> {
    let twin = match target::look(source, target, holdings, options)? {
        Target::Copy(twin) => *twin,
        Target::Empty => {
            let view = View::of(source)?;
            let plan = CopyPlan::of_everything(source, target.location(), &view);
            if !accept(&plan)? || options.dry_run {
                return Ok(Copied::Planned(plan));
            }
            holdings.clear().map_err(CopyError::from)?;
            let twin = target::begin(source, target)?;
            let options = CopyOptions { audit: true, ..*options };
            let mut copied =
                copy_to(source, &twin, holdings, &options, (stop, observer), |_| Ok::<_, E>(true))?;
            if let Copied::Done(shown, _) = &mut copied {
                *shown = plan;
            }
            return Ok(copied);
        }
    };
    copy_to(source, &twin, holdings, options, (stop, observer), accept)
}

fn copy_to<E: From<CopyError>>(
    source: &Repository,
    target: &Repository,
    holdings: &Holdings,
    options: &CopyOptions,
    (stop, observer): (&StopFlag, &dyn Observer),
    accept: impl FnOnce(&CopyPlan) -> Result<bool, E>,
) -> Result<Copied, E> {
    let append_only = options.append_only || !options.dry_run && refuses_deletes(target)?;
    let options = CopyOptions { append_only, ..*options };
    let session = match append_only || options.dry_run {
        true => None,
        false => Some(target.hold("copy").map_err(CopyError::from)?),
    };
    let now = source.environment().clock.now().as_nanosecond();
    let copying = Copying {
        source,
        target,
        holdings,
        options: &options,
        stop,
        observer,
        session: session.as_ref(),
        now: i64::try_from(now).unwrap_or(i64::MAX),
    };
    let done = copying.run(accept);
    // Nobody shall wait for a copy that failed.
    let ended = session.map_or(Ok(()), Session::end);
    let done = done?;
    ended.map_err(CopyError::from)?;
    Ok(done)
}

fn refuses_deletes(target: &Repository) -> Result<bool, CopyError> {
    match target.store().refuses_deletes() {
        Ok(answer) => Ok(answer),
        // A full disk has no room for a trial; what is to be copied will tell.
        Err(error) if error.kind == StoreErrorKind::NoSpace => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Copying<'_> {
    fn run<E: From<CopyError>>(
        &self,
        accept: impl FnOnce(&CopyPlan) -> Result<bool, E>,
    ) -> Result<Copied, E> {
        let view = View::of(self.source)?;
        let work = Work::compute(self, &view)?;
        let plan = work.plan(self, &view);
        if !accept(&plan)? || self.options.dry_run {
            return Ok(Copied::Planned(plan));
        }
        let report = self.apply(view, work)?;
        Ok(Copied::Done(plan, report))
    }

    fn apply(&self, view: View, work: Work) -> Result<CopyReport, CopyError> {
        self.observer.event(&Event::StepStarted { step: "copy", total_bytes: Some(work.bytes()) });
        let mut report = CopyReport { findings: work.findings.clone(), ..CopyReport::default() };
        work.record(self)?;
        for name in &work.wrong {
            self.mend(name, Problem::WrongSize, &mut report)?;
        }
        let mut damaged = HashMap::new();
        let (view, work) = self.objects(view, work, &mut damaged, &mut report)?;
        let holes = self.holes(&view, &work, damaged, &mut report)?;
        let blocked = self.blocked(&view, &work, &holes)?;
        self.snapshots(&work, &blocked, &mut report)?;
        self.observer.event(&Event::StepFinished { step: "copy" });
        // Only a view that was copied whole tells what the copy does not need any more.
        if holes.is_empty() && view.unreadable.is_empty() {
            self.note_gone(&work)?;
            self.delete_due(&work, &mut report)?;
        }
        self.sample(&view, &mut report)?;
        if report.is_complete() {
            self.holdings.set_copied(self.now)?;
        }
        Ok(report)
    }

    /// Copies packs and small objects, until all of one view of the source was copied.
    fn objects(
        &self,
        mut view: View,
        mut work: Work,
        damaged: &mut HashMap<PackId, String>,
        report: &mut CopyReport,
    ) -> Result<(View, Work), CopyError> {
        for _ in 0..ROUNDS {
            let has_vanished = self.transfer_packs(&work.packs, damaged, report)?
                || self.transfer_small(&work.small, report)?;
            if !has_vanished {
                return Ok((view, work));
            }
            // A prune of the source deleted them meanwhile; what was in them and is needed is elsewhere now.
            view = View::of(self.source)?;
            work = Work::again(self, &view)?;
        }
        Err(CopyError::Restless { location: self.source.store().location().clone() })
    }

    /// Packs that are not at the target and cannot be copied: they are lost or damaged at the source.
    fn holes(
        &self,
        view: &View,
        work: &Work,
        damaged: HashMap<PackId, String>,
        report: &mut CopyReport,
    ) -> Result<Vec<PackId>, CopyError> {
        for (name, reason) in &view.unreadable {
            report.find(self.observer, *name, Problem::DamagedAtSource, reason);
        }
        for (id, reason) in &damaged {
            report.find(self.observer, ObjectName::Pack(*id), Problem::DamagedAtSource, reason);
        }
        if !damaged.is_empty() {
            // What was found out here, the next backup and `repair` shall know.
            let mut suspects = self.source.index().suspects()?;
            suspects.extend(damaged.keys());
            self.source.index().set_suspects(&suspects)?;
            self.source.refresh()?;
        }
        let is_hole = |id: &&PackId| !work.holds.contains(&ObjectName::Pack(**id));
        let absent = view.absent.iter().filter(is_hole).copied();
        Ok(absent.chain(damaged.into_keys()).collect())
    }

    /// Snapshots that must not be published at the target, because they need what is not there.
    fn blocked(
        &self,
        view: &View,
        work: &Work,
        holes: &[PackId],
    ) -> Result<HashSet<SnapshotId>, CopyError> {
        if !view.unreadable.is_empty() {
            // Nobody knows what such an index object names: all new snapshots wait.
            return Ok(work.snapshots.iter().copied().collect());
        }
        if holes.is_empty() || work.snapshots.is_empty() {
            return Ok(HashSet::new());
        }
        let needing = reach::needing(self.source, holes, &work.snapshots, self.stop)?;
        Ok(needing.into_iter().collect())
    }
}
