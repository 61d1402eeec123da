//! The series, out of an overview.

use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::history::{Run, RunState};
use crate::instance::Job;
use crate::status::{InstanceStatus, NightState, Overview, Severity};

type Labels = Vec<(&'static str, String)>;
type Series = Family<Labels, Gauge<f64, AtomicU64>>;

/// The status of a job that was never run.
const NEVER: f64 = -1.0;
/// The status of a job that was killed.
const KILLED: f64 = 137.0;

/// All series, as text. `version` is that of the program.
pub fn render(overview: &Overview, version: &str) -> String {
    let mut all = All(Registry::default());
    let info = all.series("mrs_backup_info", "Version of the program");
    set(&info, vec![("version", version.to_owned())], 1.0);
    jobs(&mut all, overview);
    steps(&mut all, overview);
    instances(&mut all, overview);
    copies(&mut all, overview);
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = encode(&mut text, &all.0);
    text
}

struct All(Registry);

impl All {
    /// A new series of this name.
    fn series(&mut self, name: &str, help: &str) -> Series {
        let series = Series::default();
        self.0.register(name, help, series.clone());
        series
    }
}

fn set(series: &Series, labels: Labels, value: f64) {
    series.get_or_create(&labels).set(value);
}

fn seconds(time: Option<Timestamp>) -> f64 {
    // A millisecond is more than anybody asks for.
    time.map_or(0.0, |time| time.as_millisecond() as f64 / 1000.0)
}

fn jobs(all: &mut All, overview: &Overview) {
    let success = all.series(
        "mrs_backup_last_success_timestamp_seconds",
        "When the job last did everything it should; 0 if never",
    );
    let began = all
        .series("mrs_backup_last_run_timestamp_seconds", "When the job was begun last; 0 if never");
    let status = all.series(
        "mrs_backup_last_run_status",
        "Exit code of the last run of the job; 137 if it was killed, -1 if it was never run",
    );
    let duration =
        all.series("mrs_backup_duration_seconds", "How long the last run of the job took");
    let next = all.series(
        "mrs_backup_next_run_timestamp_seconds",
        "When the job is due; 0 if it is not scheduled",
    );
    for instance in &overview.instances {
        for job in Job::ALL {
            let due = instance.next.iter().find(|next| next.job == job);
            let mut runs = instance.runs.iter().filter(|run| run.is_of(job)).peekable();
            // The night is expected of everybody, other jobs where they are scheduled or were run.
            if job != Job::Run && due.is_none() && runs.peek().is_none() {
                continue;
            }
            let labels =
                || vec![("instance", instance.name.clone()), ("job", job.name().to_owned())];
            let runs: Vec<&Run> = runs.collect();
            let ended = runs.iter().rfind(|run| run.state() != RunState::Running);
            let is_good = |run: &&&Run| run.ended.as_ref().is_some_and(|end| end.exit_code == 0);
            // The history is read a month back: of a job that is done once a quarter the ledger knows more.
            let ledger = due.map(|next| next.last).unwrap_or_default();
            let ended_well = ledger.finished.filter(|_| ledger.exit_code == Some(0));
            let good = runs.iter().rfind(is_good).map(|run| run.last_time());
            set(&success, labels(), seconds(good.or(ended_well)));
            set(
                &began,
                labels(),
                seconds(runs.last().map(|run| run.begun.time).or(ledger.started)),
            );
            set(&next, labels(), seconds(due.and_then(|next| next.due)));
            let code = || ledger.exit_code.map_or(NEVER, f64::from);
            set(&status, labels(), ended.map_or_else(code, |run| status_of(run)));
            let span = |begin: Timestamp, end: Timestamp| end.duration_since(begin).as_secs_f64();
            let took = match (ended, ledger.started, ledger.finished) {
                (Some(run), ..) => span(run.begun.time, run.last_time()),
                (None, Some(begin), Some(end)) => span(begin, end),
                _ => 0.0,
            };
            set(&duration, labels(), took);
        }
    }
}

fn status_of(run: &Run) -> f64 {
    run.ended.as_ref().map_or(KILLED, |ended| f64::from(ended.exit_code))
}

fn steps(all: &mut All, overview: &Overview) {
    let status = all.series(
        "mrs_backup_step_status",
        "Exit code of the step when it was done last; -1 if it was left out",
    );
    let duration = all
        .series("mrs_backup_step_duration_seconds", "How long the step took when it was done last");
    let time = all.series(
        "mrs_backup_step_timestamp_seconds",
        "When the run began in which the step was done last",
    );
    for instance in &overview.instances {
        for (done, began) in &instance.last_steps {
            let labels =
                || vec![("instance", instance.name.clone()), ("step", done.step.name().to_owned())];
            set(&status, labels(), done.exit_code.map_or(NEVER, f64::from));
            set(&duration, labels(), done.seconds);
            set(&time, labels(), seconds(Some(*began)));
        }
    }
}

/// A value of an instance.
type Value = fn(&InstanceStatus, Timestamp) -> f64;

const OF_INSTANCE: &[(&str, &str, Value)] = &[
    (
        "mrs_backup_status",
        "How the instance stands: 0 safe, 1 somebody should look, 2 at risk",
        |one, _| match one.severity() {
            Severity::Ok => 0.0,
            Severity::Warning => 1.0,
            Severity::Critical => 2.0,
        },
    ),
    (
        "mrs_backup_last_good_timestamp_seconds",
        "When the last complete snapshot was made, by whatever job or by hand; 0 if never",
        |one, _| seconds(one.last_good),
    ),
    ("mrs_backup_max_age_seconds", "How old the last complete snapshot may be", |one, _| {
        one.limit.as_secs_f64()
    }),
    (
        "mrs_backup_bytes_added",
        "Bytes that the last snapshot added to the repository, compressed",
        |one, _| one.points.last().map_or(0.0, |point| point.added as f64),
    ),
    ("mrs_backup_snapshot_bytes", "Bytes in the last snapshot", |one, _| {
        one.points.last().map_or(0.0, |point| point.total as f64)
    }),
    ("mrs_backup_repository_bytes", "Bytes of all packs of the repository", |one, _| {
        one.known.as_ref().map_or(0.0, |known| known.repository_bytes as f64)
    }),
    ("mrs_backup_snapshots", "Number of snapshots of the instance", |one, _| {
        one.known.as_ref().map_or(0.0, |known| known.snapshots as f64)
    }),
    (
        "mrs_backup_nights_missing",
        "Nights of the last 30 in which nothing ran although it should have",
        |one, _| {
            let is_missing = |night: &&crate::status::Night| night.state == NightState::Missing;
            one.nights.iter().filter(is_missing).count() as f64
        },
    ),
    ("mrs_backup_running", "Whether something is at work on the instance", |one, _| {
        f64::from(u8::from(one.running.is_some()))
    }),
    (
        "mrs_backup_anomaly",
        "Whether the last snapshot stands out: far more was new, or half of the usual is gone",
        |one, _| {
            f64::from(u8::from(one.points.last().is_some_and(|point| point.anomaly.is_some())))
        },
    ),
];

fn instances(all: &mut All, overview: &Overview) {
    for (name, help, value) in OF_INSTANCE {
        let series = all.series(name, help);
        for instance in &overview.instances {
            let labels = vec![("instance", instance.name.clone())];
            set(&series, labels, value(instance, overview.now));
        }
    }
    let tests = all.series(
        "mrs_backup_test_restore_timestamp_seconds",
        "When a restore of the databases was proven last; 0 if never",
    );
    let free = all
        .series("mrs_backup_disk_free_bytes", "Bytes free at the repository, where it can be told");
    let full = all.series(
        "mrs_backup_disk_full_seconds",
        "Seconds until nothing is free there, by a line through the last month, where it becomes less",
    );
    for instance in &overview.instances {
        let labels = || vec![("instance", instance.name.clone())];
        if instance.tests.is_some() {
            set(&tests, labels(), seconds(instance.proof.as_ref().map(|proof| proof.time)));
        }
        if let Some(bytes) = instance.known.as_ref().and_then(|known| known.free_bytes) {
            set(&free, labels(), bytes as f64);
        }
        if let Some(days) = instance.days_until_full {
            set(&full, labels(), days * 86_400.0);
        }
    }
}

fn copies(all: &mut All, overview: &Overview) {
    let time = all.series(
        "mrs_backup_offsite_timestamp_seconds",
        "When the copy was brought up to date last; 0 if never",
    );
    let lag = all.series(
        "mrs_backup_offsite_lag_seconds",
        "How much older the copy is than the last complete snapshot",
    );
    let behind = all.series("mrs_backup_offsite_behind_snapshots", "Snapshots that the copy lacks");
    for instance in &overview.instances {
        for copy in &instance.copies {
            let labels =
                || vec![("instance", instance.name.clone()), ("copy", copy.known.name.clone())];
            set(&time, labels(), seconds(copy.known.copied));
            set(&behind, labels(), copy.known.behind as f64);
            let late = match (copy.known.behind, copy.known.copied, instance.last_good) {
                (0, Some(_), _) | (_, _, None) => 0.0,
                (_, copied, Some(good)) => (seconds(Some(good)) - seconds(copied)).max(0.0),
            };
            set(&lag, labels(), late);
        }
    }
}
