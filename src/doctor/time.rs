//! The clock: against the store's, against what was written before, and whether anybody keeps it right.

use jiff::{SignedDuration, Timestamp};

use crate::repository::{Repository, RepositoryError};
use crate::status::{Language, long_duration};
use crate::store::{ObjectKind, ObjectName, list_all};

use super::ask::ask_named;
use super::{Finding, Patient};

/// Differences that do not matter: stores tell whole seconds, some of them minutes.
const SMALL: SignedDuration = SignedDuration::from_mins(2);
/// From this on sessions and grace times are no longer what they should be.
const LARGE: SignedDuration = SignedDuration::from_mins(30);

/// Looks at the clock.
pub(super) fn clock(patient: &Patient<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let now = patient.clock.now();
    if let Ok(repository) = &patient.repository {
        found.push(against_store(patient, repository));
    }
    let newest = patient.catalogue.snapshots.iter().map(|one| one.time).max();
    if let Some(ahead) = newest.map(|time| time.duration_since(now)).filter(|by| *by > SMALL) {
        found.push(Finding::error(
            format!(
                "the newest snapshot is {} in the future: this clock was wrong, or is now",
                long_duration(ahead, Language::En)
            ),
            "timedatectl status",
        ));
    }
    // Where nobody can be asked, nothing is told.
    let question = ["show", "--property=NTPSynchronized", "--value"];
    if ask_named(patient, "timedatectl", &question).is_ok_and(|text| text.trim() == "no") {
        found.push(Finding::warning(
            "nobody keeps this machine's clock right",
            "timedatectl set-ntp true",
        ));
    }
    found
}

fn against_store(patient: &Patient<'_>, repository: &Repository) -> Finding {
    let place = repository.store().location().to_string();
    match store_time(repository) {
        Err(error) => Finding::error(
            format!("nothing can be written at {place}: {error}"),
            format!("mrs-backup check -i {}", patient.instance.name),
        ),
        Ok(None) => Finding::ok(format!("{place} can be written; it does not tell its time")),
        Ok(Some(there)) => {
            let by = there.duration_since(patient.clock.now());
            let text = format!(
                "the clock of {place} is {} s {} this machine's",
                by.as_secs().abs(),
                if by.is_negative() { "behind" } else { "ahead of" }
            );
            match by.abs() {
                by if by > LARGE => Finding::error(text, "timedatectl status"),
                by if by > SMALL => Finding::warning(text, "timedatectl status"),
                _ => Finding::ok(format!("{place} can be written, and its clock agrees")),
            }
        }
    }
}

/// Writes a session, looks when the store says that was, and takes it away again.
fn store_time(repository: &Repository) -> Result<Option<Timestamp>, RepositoryError> {
    let session = repository.hold("doctor")?;
    let own = session.id();
    let is_own =
        |name: &ObjectName| matches!(name, ObjectName::Session { session, .. } if *session == own);
    let listed = list_all(repository.store().as_ref(), ObjectKind::Session);
    session.end()?;
    Ok(listed?.into_iter().find(|info| is_own(&info.name)).and_then(|info| info.modified))
}
