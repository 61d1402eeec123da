//! How every instance stands, out of configuration, ledger, history and what was noted down.

use jiff::{SignedDuration, Timestamp};

use crate::history::{Happened, Measured, Run, RunState, StepDone, Told};
use crate::instance::config::Instance;
use crate::instance::{Job, Step};
use crate::schedule::Entry;

use super::concern::{Concern, Severity, concerns};
use super::error::{ErrorTold, last_error};
use super::known::{Known, KnownCopy, KnownProof};
use super::nights::Night;
use super::strips::Strips;
use super::trend::{Anomaly, anomalies, days_until_full};

/// How much later than it is due the last good snapshot may be before it is called stale.
pub(super) const TOLERANCE: SignedDuration = SignedDuration::from_hours(2);
/// How old it may be where no schedule says anything.
const USUAL_AGE: SignedDuration = SignedDuration::from_hours(26);

/// A scheduled job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextRun {
    /// Which.
    pub job: Job,
    /// When; `None`: never.
    pub due: Option<Timestamp>,
    /// What the ledger says of it: how it went last, however long ago.
    pub last: Entry,
}

/// A copy and its nights.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyState {
    /// How far it is.
    pub known: KnownCopy,
    /// Its strip.
    pub nights: Vec<Night>,
}

/// One night in numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When.
    pub time: Timestamp,
    /// Bytes in its snapshot.
    pub total: u64,
    /// Bytes it added.
    pub added: u64,
    /// What stands out.
    pub anomaly: Option<Anomaly>,
}

/// How one instance stands.
#[derive(Debug, Clone)]
pub struct InstanceStatus {
    /// Its name.
    pub name: String,
    /// Whose days.
    pub zone: jiff::tz::TimeZone,
    /// What there is to worry about, the worst first.
    pub concerns: Vec<Concern>,
    /// When the last complete snapshot was done.
    pub last_good: Option<Timestamp>,
    /// How old that may be.
    pub limit: SignedDuration,
    /// Its strip of snapshots.
    pub nights: Vec<Night>,
    /// Its copies.
    pub copies: Vec<CopyState>,
    /// Its strip of tested restores; `None` if it has no databases and no such job.
    pub tests: Option<Vec<Night>>,
    /// The last restore that was proven.
    pub proof: Option<KnownProof>,
    /// What is at work now: the step, and since when.
    pub running: Option<(Option<Step>, Timestamp)>,
    /// Jobs to come, in the order of their times.
    pub next: Vec<NextRun>,
    /// Nights in numbers, oldest first.
    pub points: Vec<Point>,
    /// Sizes of the repository, oldest first.
    pub sizes: Vec<Measured>,
    /// What was noted down of the repository.
    pub known: Option<Known>,
    /// Days until its disk is full.
    pub days_until_full: Option<f64>,
    /// What went wrong last.
    pub last_error: Option<ErrorTold>,
    /// The last run of each step, with when it began.
    pub last_steps: Vec<(StepDone, Timestamp)>,
    /// Runs, oldest first.
    pub runs: Vec<Run>,
    /// What else was done.
    pub happened: Vec<Happened>,
}

impl InstanceStatus {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.concerns.first().map_or(Severity::Ok, Concern::severity)
    }
}

/// How everything stands.
#[derive(Debug, Clone)]
pub struct Overview {
    /// When that is.
    pub now: Timestamp,
    /// This machine.
    pub host: String,
    /// Instances in the order of their names.
    pub instances: Vec<InstanceStatus>,
}

impl Overview {
    /// The worst of all.
    pub fn severity(&self) -> Severity {
        self.instances.iter().map(InstanceStatus::severity).max().unwrap_or(Severity::Ok)
    }
}

/// What is read for one instance.
#[derive(Debug)]
pub struct Reading<'a> {
    /// Its configuration.
    pub instance: &'a Instance,
    /// Its history.
    pub told: Told,
    /// What was noted down.
    pub known: Option<Known>,
    /// Its jobs with their next times, and since when the ledger knows each.
    pub jobs: Vec<(NextRun, Option<Timestamp>)>,
    /// How old its last good snapshot may be, if somebody asked for something else than usual.
    pub limit: Option<SignedDuration>,
}

/// How one instance stands.
pub fn overview(reading: Reading<'_>, now: Timestamp) -> InstanceStatus {
    let limit = reading
        .limit
        .or_else(|| {
            let limit = reading.instance.max_age.as_ref()?;
            SignedDuration::try_from(limit.value).ok()
        })
        .unwrap_or_else(|| usual_age(&reading, now));
    let strips = Strips::of(&reading, now);
    let points = points(&reading.told);
    let last_good = last_good(&reading);
    let free: Vec<(Timestamp, u64)> = reading
        .told
        .sizes
        .iter()
        .filter(|size| now.duration_since(size.time) < SignedDuration::from_hours(24 * 31))
        .filter_map(|size| Some((size.time, size.free_bytes?)))
        .collect();
    let Reading { instance, told, known, jobs, .. } = reading;
    let mut next: Vec<NextRun> = jobs.into_iter().map(|(next, _)| next).collect();
    next.sort_by_key(|next| (next.due.is_none(), next.due, next.job));
    let running = told.runs.last().filter(|run| run.state() == RunState::Running);
    let mut status = InstanceStatus {
        name: instance.name.clone(),
        zone: instance.timezone.value.clone(),
        concerns: Vec::new(),
        last_good,
        limit,
        nights: strips.snapshots,
        copies: strips.copies,
        tests: strips.tests,
        proof: known.as_ref().and_then(|known| known.proof.clone()),
        running: running.map(|run| (run.at(), run.begun.time)),
        next,
        points,
        days_until_full: days_until_full(&free),
        last_error: last_error(&told, &instance.name),
        last_steps: last_steps(&told),
        runs: told.runs,
        sizes: told.sizes,
        happened: told.happened,
        known,
    };
    status.concerns = concerns(&status, instance, now);
    status
}

/// The longest time between two nights, and a little.
fn usual_age(reading: &Reading<'_>, now: Timestamp) -> SignedDuration {
    let schedule = &reading.instance.schedule.value;
    let Some(line) = schedule.jobs.get(&Job::Run) else { return USUAL_AGE };
    let zone = &reading.instance.timezone.value;
    let mut longest = SignedDuration::ZERO;
    let mut at = now;
    for _ in 0..8 {
        let Some(next) = line.next_after(at, zone) else { break };
        // The first wait begins anywhere.
        if at != now {
            longest = longest.max(next.duration_since(at));
        }
        at = next;
    }
    let delay = SignedDuration::try_from(schedule.random_delay).unwrap_or(SignedDuration::ZERO);
    match longest.is_zero() {
        true => USUAL_AGE,
        false => longest.saturating_add(delay).saturating_add(TOLERANCE),
    }
}

fn last_good(reading: &Reading<'_>) -> Option<Timestamp> {
    let is_good = |run: &&Run| run.step(Step::Snapshot).is_some_and(|done| done.result == "ok");
    let of_history = reading.told.runs.iter().rfind(is_good).map(Run::last_time);
    let newest = reading.known.as_ref().and_then(|known| known.newest_complete.as_ref());
    of_history.max(newest.map(|newest| newest.end))
}

fn points(told: &Told) -> Vec<Point> {
    let mut points: Vec<Point> = told
        .runs
        .iter()
        .filter_map(|run| {
            let done = run.step(Step::Snapshot)?;
            let (total, added) = (done.total_bytes?, done.bytes?);
            Some(Point { time: run.begun.time, total, added, anomaly: None })
        })
        .collect();
    let numbers: Vec<(u64, u64)> = points.iter().map(|point| (point.total, point.added)).collect();
    for (point, anomaly) in points.iter_mut().zip(anomalies(&numbers)) {
        point.anomaly = anomaly;
    }
    points
}

fn last_steps(told: &Told) -> Vec<(StepDone, Timestamp)> {
    let last = |step: Step| {
        told.runs.iter().rev().find_map(|run| Some((run.step(step)?.clone(), run.begun.time)))
    };
    Step::ALL.into_iter().filter_map(last).collect()
}
