//! The last nights, and the last proof, as `status` tells them.

use crate::status::{Concern, Language, Severity, age, concern};

use super::{Finding, Level, Patient};

/// Every concern with the command that mends it.
pub(super) fn past(patient: &Patient<'_>) -> Vec<Finding> {
    let (name, status) = (&patient.instance.name, patient.status);
    let mut found: Vec<Finding> = Vec::new();
    for one in &status.concerns {
        let level = match one.severity() {
            Severity::Ok => Level::Ok,
            Severity::Warning => Level::Warning,
            Severity::Critical => Level::Error,
        };
        let mend = match one {
            Concern::Never | Concern::Stale { .. } | Concern::LastRun { .. } => {
                let next = status.last_error.as_ref().map(|error| error.next.clone());
                next.filter(|next| !next.is_empty())
                    .unwrap_or_else(|| format!("mrs-backup run {name}"))
            }
            Concern::CopyBehind { name: copy, .. } => format!("mrs-backup copy {name} --to {copy}"),
            Concern::NeverProven | Concern::ProofFailed(_) | Concern::ProofOld(_) => {
                format!("mrs-backup test-restore -i {name}")
            }
            // Told with the room that is left.
            Concern::DiskFull(_) => continue,
            Concern::Odd(_) => format!("mrs-backup snapshots -i {name}, then mrs-backup diff"),
            Concern::Objection(_) => format!("mrs-backup forget -i {name} --dry-run"),
        };
        found.push(Finding::new(level, concern(one, Language::En), mend));
    }
    let now = patient.clock.now();
    if let Some(time) =
        status.last_good.filter(|_| found.iter().all(|one| one.level < Level::Error))
    {
        found.push(Finding::ok(format!(
            "the last good snapshot is {} old",
            age(now, time, Language::En)
        )));
    }
    if let Some(proof) = &status.proof {
        let age = age(now, proof.time, Language::En);
        found.push(Finding::ok(format!("a restore of its databases was proven {age} ago")));
    }
    found
}
