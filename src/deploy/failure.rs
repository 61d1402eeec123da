//! What follows when a deployment fails after something was replaced.
//!
//! The earlier code comes back by itself only if it is known that no migration ran: on a newer schema it may
//! fail, or write what the newer code cannot read. Data is never thrown away unasked.

use jiff::Timestamp;
use serde::Serialize;

use crate::instance::config::OnFailure;

use super::migrations::{Applied, applied};
use super::sequence::{Deployment, Means, Replacing};
use super::{DeployError, Record, State, health};

/// Lines of each container's log that are kept.
const LINES: u32 = 30;

/// How a deployment ended after it replaced something.
#[derive(Debug)]
pub enum Ending {
    /// It is what it should be.
    Good(Record),
    /// It failed, and the earlier one is back.
    RolledBack(Failure),
    /// It failed and was left as it is: somebody has to decide.
    Stuck(Failure),
}

/// A failed deployment.
#[derive(Debug)]
pub struct Failure {
    /// Its record.
    pub record: Record,
    /// What failed.
    pub reason: String,
    /// Service and last lines of its log, without secrets.
    pub logs: Vec<(String, String)>,
    /// Why it was not rolled back.
    pub why_not: Option<String>,
    /// Migrations that ran since the good one.
    pub migrations: Vec<String>,
    /// The deployment that is, or would be, put back.
    pub to: Option<u32>,
    /// What putting the data back would lose.
    pub loss: Option<Loss>,
}

/// What putting the data back would lose: all that was written since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The snapshot that would be put back.
    pub snapshot: String,
    /// When it was made.
    pub since: Option<Timestamp>,
}

/// Whether the earlier code may come back by itself.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    PutBack(u32),
    Leave { why: String, migrations: Vec<String> },
}

/// Collects what is known, and puts the earlier code back if that is safe.
pub fn follow(
    mut deployment: Deployment<'_, Replacing>,
    error: &DeployError,
    means: &Means<'_>,
) -> Result<Ending, DeployError> {
    let (tools, settings) = (deployment.tools, deployment.settings);
    let reason = tools.redactor.hide(&error.to_string());
    let logs = health::last_lines(tools, &settings.project.name, LINES);
    let good = deployment.history.good().cloned();
    let now = applied(tools, &settings.project, &settings.migrations, means.postgres);
    let verdict = judge(&deployment.record, good.as_ref(), &now, settings.on_failure);
    let first = deployment.history.open_ends().first().map(|record| (*record).clone());
    let before = first.unwrap_or_else(|| deployment.record.clone());
    let loss = before.snapshot.map(|snapshot| Loss { snapshot, since: before.saved });
    deployment.record.reason = Some(reason.clone());
    let (mut why_not, mut migrations, to) = (None, Vec::new(), good.map(|record| record.number));
    match verdict {
        Verdict::PutBack(number) => match deployment.put_back(number, means) {
            Ok(()) => {}
            Err(error) if error.is_stop() => return Err(error),
            Err(error) => {
                why_not = Some(format!(
                    "putting deployment {number} back failed: {}",
                    tools.redactor.hide(&error.to_string())
                ));
            }
        },
        Verdict::Leave { why, migrations: ran } => {
            why_not = Some(why);
            migrations = ran;
        }
    }
    let is_back = why_not.is_none();
    if !is_back {
        deployment.put(State::Stuck)?;
    }
    let record = deployment.record;
    let failure = Failure { record, reason, logs, why_not, migrations, to, loss };
    Ok(if is_back { Ending::RolledBack(failure) } else { Ending::Stuck(failure) })
}

fn judge(record: &Record, good: Option<&Record>, now: &Applied, on_failure: OnFailure) -> Verdict {
    let leave = |why: &str| Verdict::Leave { why: why.to_owned(), migrations: Vec::new() };
    let Some(good) = good else { return leave("there is no earlier deployment to go back to") };
    if matches!(record.kind, super::Kind::Rollback { .. }) {
        return leave("it was a way back already");
    }
    match (now, &record.migrations) {
        (Applied::None, _) => {}
        (Applied::Unknown(reason), _) => {
            return leave(&format!("it is not known whether a migration ran: {reason}"));
        }
        (Applied::Known(_), None) => {
            return leave(
                "it is not known whether a migration ran: before the deployment the database was not there to be asked",
            );
        }
        (Applied::Known(now), Some(before)) if now != before => {
            let ran: Vec<String> =
                now.iter().filter(|name| !before.contains(name)).cloned().collect();
            let why = match ran.len() {
                0 => "migrations were taken back".to_owned(),
                1 => "a migration ran".to_owned(),
                count => format!("{count} migrations ran"),
            };
            return Verdict::Leave { why, migrations: ran };
        }
        (Applied::Known(_), Some(_)) => {}
    }
    match on_failure {
        OnFailure::Stop => leave("the configuration says `on_failure = \"stop\"`"),
        OnFailure::Rollback => Verdict::PutBack(good.number),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::deploy::Kind;

    fn record(number: u32, migrations: Option<&[&str]>) -> Record {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Record {
            v: 1,
            number,
            kind: Kind::Deploy,
            state: State::Good,
            begun: Timestamp::UNIX_EPOCH,
            ended: None,
            commit: None,
            images: BTreeMap::new(),
            snapshot: None,
            saved: None,
            migrations: migrations.map(names),
            since: 0,
            reason: None,
        }
    }

    #[test]
    fn code_goes_back_only_where_no_migration_ran() {
        let known =
            |names: &[&str]| Applied::Known(names.iter().map(|name| (*name).to_owned()).collect());
        let good = record(1, None);
        let judge =
            |failed: &Record, now: &Applied| judge(failed, Some(&good), now, OnFailure::Rollback);
        let before = record(2, Some(&["a.1"]));
        assert_eq!(judge(&before, &known(&["a.1"])), Verdict::PutBack(1));
        assert_eq!(judge(&before, &Applied::None), Verdict::PutBack(1));
        for (failed, now, told) in [
            (&before, known(&["a.1", "a.2"]), "a migration ran"),
            (&before, known(&["a.1", "a.2", "a.3"]), "2 migrations ran"),
            (&before, known(&[]), "taken back"),
            (&before, Applied::Unknown("it sleeps".to_owned()), "it sleeps"),
            (&record(2, None), known(&["a.1"]), "before the deployment"),
            (
                &Record { kind: Kind::Rollback { to: 1, with_data: false }, ..before.clone() },
                known(&["a.1"]),
                "way back",
            ),
        ] {
            let Verdict::Leave { why, .. } = judge(failed, &now) else { panic!("{now:?}") };
            assert!(why.contains(told), "{why}");
        }
        let Verdict::Leave { migrations, .. } = judge(&before, &known(&["a.1", "a.2"])) else {
            panic!()
        };
        assert_eq!(migrations, ["a.2"]);
        let stop = super::judge(&before, Some(&good), &Applied::None, OnFailure::Stop);
        assert!(matches!(stop, Verdict::Leave { .. }));
        assert!(matches!(
            super::judge(&before, None, &Applied::None, OnFailure::Rollback),
            Verdict::Leave { .. }
        ));
    }
}
