//! Strips of nights: of snapshots, of each copy, of tested restores.

use jiff::{SignedDuration, Timestamp};

use crate::calendar::CronLine;
use crate::history::{Run, RunState};
use crate::instance::{Job, Step};

use super::known::KnownCopy;
use super::nights::{Night, NightState, NightlyRow, nights};
use super::overview::{CopyState, Reading};

/// Nights in a strip.
pub const DAYS: usize = 30;

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

/// The strips of an instance.
pub(super) struct Strips {
    pub snapshots: Vec<Night>,
    pub copies: Vec<CopyState>,
    pub tests: Option<Vec<Night>>,
}

impl Strips {
    /// Out of what was read.
    pub fn of(reading: &Reading<'_>, now: Timestamp) -> Self {
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
