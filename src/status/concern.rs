//! What there is to worry about, and how bad that is.

use jiff::{SignedDuration, Timestamp};

use crate::history::RunState;
use crate::instance::config::Instance;
use crate::instance::{Job, Step};

use super::overview::{InstanceStatus, TOLERANCE};
use super::trend::Anomaly;

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

/// What there is to worry about, the worst first.
pub(super) fn concerns(
    status: &InstanceStatus,
    instance: &Instance,
    now: Timestamp,
) -> Vec<Concern> {
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
