//! How every instance stands, out of configuration, ledger, history and what was noted down.

use jiff::{SignedDuration, Timestamp};

use crate::calendar::CronLine;
use crate::history::{Happened, Measured, Run, RunState, StepDone, Told};
use crate::instance::config::Instance;
use crate::instance::{Job, Step};

use super::known::{Known, KnownCopy, KnownProof};
use super::nights::{Night, NightState, NightlyRow, nights};
use super::trend::{Anomaly, anomalies, days_until_full};

/// Nights in a strip.
pub const DAYS: usize = 30;
/// How much later than it is due the last good snapshot may be before it is called stale.
const TOLERANCE: SignedDuration = SignedDuration::from_hours(2);
/// How old it may be where no schedule says anything.
const USUAL_AGE: SignedDuration = SignedDuration::from_hours(26);
/// Days until the disk is full that are worth a word, and an alarm.
const FEW_DAYS: f64 = 14.0;
const VERY_FEW_DAYS: f64 = 3.0;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// All is well.
    Ok,
    /// Somebody should look.
    Warning,
    /// Data would be lost if the server died now.
    Critical,
}

/// What there is to worry about.
#[derive(Debug, Clone, PartialEq)]
pub enum Concern {
    /// There is no complete snapshot that anybody here knows of.
    Never,
    /// The last good one is too old.
    Stale {
        /// How old.
        age: SignedDuration,
        /// How old it may be.
        limit: SignedDuration,
    },
    /// The last run did not do all it should.
    LastRun {
        /// The job or step.
        what: String,
        /// `failed`, `incomplete`, `interrupted`, `killed`.
        result: String,
    },
    /// A copy lacks snapshots.
    CopyBehind {
        /// Its name.
        name: String,
        /// Snapshots it lacks.
        behind: u64,
        /// When it was up to date last.
        copied: Option<Timestamp>,
    },
    /// A restore of the databases was never proven.
    NeverProven,
    /// The last test of a restore failed.
    ProofFailed(String),
    /// The last proof is older than the schedule has it.
    ProofOld(SignedDuration),
    /// The disk is nearly full.
    DiskFull(f64),
    /// The last night stands out.
    Odd(Anomaly),
    /// Retention drops nothing.
    Objection(String),
}

impl Concern {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Never | Self::Stale { .. } | Self::ProofFailed(_) => Severity::Critical,
            Self::DiskFull(days) if *days < VERY_FEW_DAYS => Severity::Critical,
            Self::LastRun { .. }
            | Self::CopyBehind { .. }
            | Self::NeverProven
            | Self::ProofOld(_)
            | Self::DiskFull(_)
            | Self::Odd(_)
            | Self::Objection(_) => Severity::Warning,
        }
    }

    /// A word for programs.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Stale { .. } => "stale",
            Self::LastRun { .. } => "last-run",
            Self::CopyBehind { .. } => "copy-behind",
            Self::NeverProven => "never-proven",
            Self::ProofFailed(_) => "proof-failed",
            Self::ProofOld(_) => "proof-old",
            Self::DiskFull(_) => "disk-full",
            Self::Odd(Anomaly::Spike) => "spike",
            Self::Odd(Anomaly::Shrunk) => "shrunk",
            Self::Objection(_) => "objection",
        }
    }
}

/// A scheduled job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextRun {
    /// Which.
    pub job: Job,
    /// When; `None`: never.
    pub due: Option<Timestamp>,
}

/// The last thing that went wrong and was not made good since.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorTold {
    /// When its run began.
    pub time: Timestamp,
    /// The step, if it was one.
    pub step: Option<Step>,
    /// What was said.
    pub message: String,
    /// The command to run next.
    pub next: String,
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

/// How a step of a run went.
fn state_of(run: &Run, step: Step, copy: Option<&str>) -> Option<NightState> {
    if !run.begun.steps.contains(&step) {
        return None;
    }
    let Some(done) = run.step(step) else {
        return Some(match run.state() {
            RunState::Running => NightState::Running,
            RunState::Killed | RunState::Ended => NightState::Failed,
        });
    };
    if let Some(name) = copy {
        let is_bad = match done.failed.is_empty() {
            true => done.result != "ok",
            false => done.failed.iter().any(|failed| failed == name),
        };
        return Some(if is_bad { NightState::Failed } else { NightState::Ok });
    }
    Some(match done.result.as_str() {
        "ok" => NightState::Ok,
        "incomplete" => NightState::Incomplete,
        _ => NightState::Failed,
    })
}

struct Strips {
    snapshots: Vec<Night>,
    copies: Vec<CopyState>,
    tests: Option<Vec<Night>>,
}

impl Strips {
    fn of(reading: &Reading<'_>, now: Timestamp) -> Self {
        let schedule = &reading.instance.schedule.value;
        let line = |job: Job| schedule.jobs.get(&job);
        let strip = |line: Option<&CronLine>, tries, since| {
            let delay = SignedDuration::try_from(schedule.random_delay).unwrap_or_default();
            let zone = &reading.instance.timezone.value;
            nights(&NightlyRow { line, zone, delay, tries, since }, DAYS, now)
        };
        let tries = |step: Step, copy: Option<&str>| -> Vec<(Timestamp, NightState)> {
            let runs = reading.told.runs.iter();
            runs.filter_map(|run| Some((run.begun.time, state_of(run, step, copy)?))).collect()
        };
        let first_run = reading.told.runs.first().map(|run| run.begun.time);
        let since = |job: Job| {
            let of_job = reading.jobs.iter().find(|(next, _)| next.job == job);
            earliest(of_job.and_then(|(_, since)| *since), first_run)
        };
        let mut snapshots = tries(Step::Snapshot, None);
        // Those that were made by hand, or before anything was noted down here.
        for (time, is_complete) in reading.known.iter().flat_map(|known| &known.recent) {
            let state = if *is_complete { NightState::Ok } else { NightState::Incomplete };
            snapshots.push((*time, state));
        }
        let copy_job = if line(Job::Copy).is_some() { Job::Copy } else { Job::Run };
        let copies = reading.instance.copies.values().map(|copy| {
            let known = reading.known.iter().flat_map(|known| &known.copies);
            let known = known.into_iter().find(|known| known.name == copy.name).cloned();
            CopyState {
                nights: strip(line(copy_job), tries(Step::Copy, Some(&copy.name)), since(copy_job)),
                known: known.unwrap_or_else(|| KnownCopy {
                    name: copy.name.clone(),
                    location: copy.location.value.to_string(),
                    behind: reading.known.as_ref().map_or(0, |known| known.snapshots),
                    copied: None,
                }),
            }
        });
        let tested = tries(Step::TestRestore, None);
        let is_tested = reading.instance.postgres.is_some()
            || line(Job::TestRestore).is_some()
            || !tested.is_empty();
        let tests = is_tested.then(|| match line(Job::TestRestore) {
            Some(line) => strip(Some(line), tested, since(Job::TestRestore)),
            // Nobody waits for it on any day.
            None => without_missing(strip(None, tested, since(Job::Run))),
        });
        Self {
            snapshots: strip(line(Job::Run), snapshots, since(Job::Run)),
            copies: copies.collect(),
            tests,
        }
    }
}

fn without_missing(mut nights: Vec<Night>) -> Vec<Night> {
    for night in &mut nights {
        if matches!(night.state, NightState::Missing | NightState::Pending) {
            night.state = NightState::NotDue;
        }
    }
    nights
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
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

/// The newest failure that no later success of the same step made good.
fn last_error(told: &Told, instance: &str) -> Option<ErrorTold> {
    let mut good: Vec<Step> = Vec::new();
    for run in told.runs.iter().rev() {
        let next = |step: Option<Step>| match step {
            Some(step) => format!("mrs-backup run {instance} --only {}", step.name()),
            None => format!("mrs-backup run {instance}"),
        };
        for done in run.steps.iter().rev() {
            match done.result.as_str() {
                "ok" => good.push(done.step),
                "not-tried" => {}
                _ if good.contains(&done.step) => {}
                result => {
                    return Some(ErrorTold {
                        time: run.begun.time,
                        step: Some(done.step),
                        message: done.message.clone().unwrap_or_else(|| result.to_owned()),
                        next: done.hint.clone().unwrap_or_else(|| next(Some(done.step))),
                    });
                }
            }
        }
        let is_good = |step: &Step| good.contains(step);
        let failed_whole = run.ended.as_ref().filter(|ended| ended.message.is_some());
        if let Some(ended) = failed_whole.filter(|_| !run.begun.steps.iter().all(is_good)) {
            return Some(ErrorTold {
                time: run.begun.time,
                step: None,
                message: ended.message.clone().unwrap_or_default(),
                next: ended.hint.clone().unwrap_or_else(|| next(None)),
            });
        }
        if run.state() == RunState::Killed && run.at().is_some_and(|step| !is_good(&step)) {
            return Some(ErrorTold {
                time: run.begun.time,
                step: run.at(),
                message: "it was killed, or the machine went down".to_owned(),
                next: next(None),
            });
        }
    }
    None
}

fn concerns(status: &InstanceStatus, instance: &Instance, now: Timestamp) -> Vec<Concern> {
    let mut found = Vec::new();
    match status.last_good {
        None => found.push(Concern::Never),
        Some(time) if now.duration_since(time) > status.limit => {
            found.push(Concern::Stale { age: now.duration_since(time), limit: status.limit });
        }
        Some(_) => {}
    }
    found.extend(run_concern(status));
    for copy in &status.copies {
        let known = &copy.known;
        let is_late = known
            .copied
            .is_none_or(|copied| now.duration_since(copied) > status.limit.saturating_mul(2));
        // What was made a moment ago is on its way.
        let is_known = status.known.is_some();
        let is_new = status.running.is_some();
        if is_known && known.behind > 0 && (is_late || !is_new) {
            let (name, behind, copied) = (known.name.clone(), known.behind, known.copied);
            found.push(Concern::CopyBehind { name, behind, copied });
        }
    }
    found.extend(proof_concern(status, instance, now));
    found.extend(status.days_until_full.filter(|days| *days < FEW_DAYS).map(Concern::DiskFull));
    found.extend(status.points.last().and_then(|point| point.anomaly).map(Concern::Odd));
    let objections = status.known.iter().flat_map(|known| &known.objections);
    found.extend(objections.cloned().map(Concern::Objection));
    found.sort_by_key(|concern| std::cmp::Reverse(concern.severity()));
    found
}

fn run_concern(status: &InstanceStatus) -> Option<Concern> {
    let run = status.runs.last()?;
    let result = match (run.state(), &run.ended) {
        (RunState::Killed, _) => "killed",
        (_, Some(ended)) if ended.exit_code != 0 => ended.result.as_str(),
        _ => return None,
    };
    let bad = run.steps.iter().find(|done| !matches!(done.result.as_str(), "ok" | "not-tried"));
    let what = bad.map(|done| done.step).or_else(|| run.at());
    // The copy and the proof have words of their own.
    if matches!(what, Some(Step::Copy | Step::TestRestore)) && result == "failed" {
        return None;
    }
    let what = what.map_or("run", Step::name).to_owned();
    Some(Concern::LastRun { what, result: result.to_owned() })
}

fn proof_concern(status: &InstanceStatus, instance: &Instance, now: Timestamp) -> Option<Concern> {
    let known = status.known.as_ref()?;
    if let Some((_, reason)) = &known.failed_proof {
        return Some(Concern::ProofFailed(reason.clone()));
    }
    let line = instance.schedule.value.jobs.get(&Job::TestRestore);
    match (&known.proof, line) {
        (None, _) if known.has_databases && known.newest_complete.is_some() => {
            Some(Concern::NeverProven)
        }
        (Some(proof), Some(line)) => {
            let zone = &instance.timezone.value;
            let next = line.next_after(proof.time, zone)?;
            let after = line.next_after(next, zone)?;
            // One that was missed may be made good; two are too many.
            (now > after.checked_add(TOLERANCE).ok()?)
                .then(|| Concern::ProofOld(now.duration_since(proof.time)))
        }
        _ => None,
    }
}
