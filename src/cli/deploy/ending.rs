//! How a deployment ended, for people, programs and the repository.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::deploy::Kind;
use crate::deploy::Record;
use crate::deploy::failure::{Ending, Failure};
use crate::event::{Event, counted};
use crate::id::SnapshotId;
use crate::instance::config::EventKind;
use crate::report::clean;
use crate::snapshot::ReceiptRecord;

use super::super::context::Context;
use super::super::format::local_time;
use super::super::{CliError, Done, Exit, after};
use super::target::{Safe, Target};

/// Tells it, and leaves a receipt.
pub fn tell(
    context: &Context,
    target: &Target,
    safe: Option<&Safe>,
    ending: &Ending,
) -> Result<Done, CliError> {
    let (exit, record, word) = match ending {
        Ending::Good(record) => (Exit::Ok, record, "good"),
        Ending::RolledBack(failure) => (Exit::RolledBack, &failure.record, "rolled-back"),
        Ending::Stuck(failure) => (Exit::HandsNeeded, &failure.record, "failed"),
    };
    if let Some(safe) = safe {
        receipt(context, safe, record, word);
    }
    note(context, target, record, word);
    let mut fields = describe(record);
    fields["ending"] = word.into();
    match ending {
        Ending::Good(record) => good(context, target, record)?,
        Ending::RolledBack(failure) => {
            logs(context, failure)?;
            let to = failure.to.unwrap_or_default();
            let message = format!(
                "deployment {} failed ({}); deployment {to} is back, and no migration ran",
                record.number, failure.reason
            );
            context.out.complain(
                &clean(&message),
                Some("look at the log lines above; mrs-backup deployments"),
            );
        }
        Ending::Stuck(failure) => stuck(context, target, failure)?,
    }
    if let Ending::RolledBack(failure) | Ending::Stuck(failure) = ending {
        fields["reason"] = failure.reason.clone().into();
        fields["why_not_rolled_back"] = failure.why_not.clone().into();
        fields["migrations"] = json!(failure.migrations);
        fields["back_to"] = failure.to.into();
        fields["loss"] = json!(failure.loss);
        fields["logs"] = json!(failure.logs.iter().cloned().collect::<BTreeMap<_, _>>());
    }
    Ok(Done::with(exit, fields))
}

fn good(context: &Context, target: &Target, record: &Record) -> Result<(), CliError> {
    let commit = record
        .commit
        .as_ref()
        .map_or_else(String::new, |commit| format!(" at commit {}", clean(commit)));
    let seconds = record.ended.map_or(0, |ended| ended.duration_since(record.begun).as_secs());
    let what = match record.kind {
        Kind::Deploy => format!("deployment {} of {} is good{commit}", record.number, target.name),
        Kind::Rollback { to, .. } => {
            format!(
                "deployment {to} of {} is back{commit} (as number {})",
                target.name, record.number
            )
        }
    };
    context.out.note(&format!("{what}: {}, {seconds} s", counted(record.images.len(), "service")))
}

fn logs(context: &Context, failure: &Failure) -> Result<(), CliError> {
    for (service, text) in &failure.logs {
        context.out.line(&format!("last lines of {}:", clean(service)))?;
        for line in text.lines() {
            context.out.line(&format!("  {}", clean(line)))?;
        }
    }
    context.out.flush()
}

fn stuck(context: &Context, target: &Target, failure: &Failure) -> Result<(), CliError> {
    logs(context, failure)?;
    let number = failure.record.number;
    let why = failure.why_not.clone().unwrap_or_default();
    for name in &failure.migrations {
        context.out.line(&format!("  ran: {}", clean(name)))?;
    }
    let message =
        format!("deployment {number} failed ({}) and was left as it is: {why}", failure.reason);
    let name = &target.name;
    let zone = target.instance.as_ref().map_or(TimeZone::UTC, |one| one.timezone.value.clone());
    let hint = match (failure.to, &failure.loss) {
        (None, _) => {
            format!("correct it and deploy again, or take it down: mrs-backup down {name}")
        }
        (Some(to), Some(loss)) => {
            let since = loss.since.map_or_else(
                || "then".to_owned(),
                |since| local_time(i64::try_from(since.as_nanosecond()).unwrap_or(i64::MAX), &zone),
            );
            let short: String = loss.snapshot.chars().take(8).collect();
            format!(
                "back to deployment {to} with its data (snapshot {short}): everything written to the databases since {since} is lost: mrs-backup rollback {name} {to} --with-data"
            )
        }
        (Some(to), None) => {
            format!("back to deployment {to}, code only: mrs-backup rollback {name} {to}")
        }
    };
    context.out.complain(&clean(&message), Some(&clean(&hint)));
    Ok(())
}

/// A record for programs.
pub fn describe(record: &Record) -> Value {
    let mut fields = serde_json::to_value(record).unwrap_or_default();
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("v");
    }
    fields
}

/// A line in the history of the machine, for `status`. Review stacks are nobody's night.
fn note(context: &Context, target: &Target, record: &Record, word: &str) {
    if target.settings.is_none() {
        return;
    }
    let what = match record.kind {
        Kind::Deploy => format!("deployment {}", record.number),
        Kind::Rollback { to, .. } => format!("back to deployment {to}"),
    };
    let commit =
        record.commit.as_ref().map_or_else(String::new, |commit| format!(", commit {commit}"));
    let reason = record.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let text = clean(&format!("{what} {word}{commit}{reason}"));
    after::happened(context, &target.name, EventKind::Deploy, word == "good", &text);
}

/// What was deployed stands in the repository, too. That it cannot be written is a warning: the deployment is done.
fn receipt(context: &Context, safe: &Safe, record: &Record, word: &str) {
    let environment = safe.repository.environment();
    let mut details = BTreeMap::from([("deploy".to_owned(), record.number.to_string())]);
    details.extend(record.commit.clone().map(|commit| ("commit".to_owned(), commit)));
    details.extend(record.reason.clone().map(|reason| ("reason".to_owned(), reason)));
    for (service, image) in &record.images {
        details.insert(format!("image.{service}"), image.reference.clone());
    }
    let told = ReceiptRecord {
        kind: "deploy".to_owned(),
        time: i64::try_from(environment.clock.now().as_nanosecond()).unwrap_or(i64::MAX),
        instance: safe.instance.name.clone(),
        host: environment.host.clone(),
        result: if word == "good" { "ok".to_owned() } else { "failed".to_owned() },
        snapshot: record.snapshot.as_ref().and_then(|text| text.parse::<SnapshotId>().ok()),
        details,
        forgotten: Vec::new(),
    };
    if let Err(error) = safe.repository.put_receipt(&told) {
        let (item, message) = ("receipt".to_owned(), error.to_string());
        context.observer.event(&Event::Warning { item, message });
    }
}
