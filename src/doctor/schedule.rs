//! Whether anybody starts the jobs of the schedule.

use std::path::Path;

use jiff::SignedDuration;

use crate::instance::Job;
use crate::schedule::units::{SCHEDULER, unit_name};
use crate::status::{Language, long_duration};

use super::ask::ask_named;
use super::{Finding, Patient};

/// A job that is late by more than this was not started by anybody.
const LATE: SignedDuration = SignedDuration::from_hours(2);

/// Asks systemd, and the ledger.
pub(super) fn schedule(patient: &Patient<'_>) -> Vec<Finding> {
    let (name, jobs) = (&patient.instance.name, &patient.instance.schedule.value.jobs);
    if jobs.is_empty() {
        return vec![Finding::warning(
            "nothing is scheduled: a backup is made only when somebody types it",
            "write into the configuration: schedule = { run = \"0 23 * * *\" }, then mrs-backup units install",
        )];
    }
    let mut found = Vec::new();
    let now = patient.clock.now();
    for next in &patient.status.next {
        let late = next.due.map(|due| now.duration_since(due)).filter(|late| *late > LATE);
        if let Some(late) = late {
            let job = next.job.name();
            found.push(Finding::error(
                format!("job {job} is late by {}", long_duration(late, Language::En)),
                format!("mrs-backup run {name} --job {job}; mrs-backup units install {name}"),
            ));
        }
    }
    found.extend(starters(patient));
    found
}

/// Who starts them.
fn starters(patient: &Patient<'_>) -> Option<Finding> {
    let (name, jobs) = (&patient.instance.name, &patient.instance.schedule.value.jobs);
    // Where systemd does not run, or is not ours to ask, cron may be at work.
    if !Path::new("/run/systemd/system").is_dir() {
        let is_known = !patient.status.runs.is_empty();
        return Some(match is_known {
            true => Finding::hint(
                "there is no systemd here: the jobs are started by cron, by the scheduler or by hand",
                "mrs-backup schedule --list",
            ),
            false => Finding::warning(
                "there is no systemd here, and nobody ever started a job",
                "start `mrs-backup schedule`, or run --all --due from cron",
            ),
        });
    }
    if is_enabled(patient, SCHEDULER) {
        return Some(Finding::ok("the scheduler starts the jobs"));
    }
    let timer = |job: &Job| format!("{}.timer", unit_name(name, *job));
    let off: Vec<String> =
        jobs.keys().map(timer).filter(|unit| !is_enabled(patient, unit)).collect();
    Some(match off.is_empty() {
        true => Finding::ok(format!("timers of systemd start {} jobs", jobs.len())),
        false => Finding::warning(
            format!("nothing of systemd starts {}", off.join(", ")),
            format!("mrs-backup units install {name}"),
        ),
    })
}

fn is_enabled(patient: &Patient<'_>, unit: &str) -> bool {
    ask_named(patient, "systemctl", &["is-enabled", unit])
        .is_ok_and(|text| text.trim() == "enabled")
}
