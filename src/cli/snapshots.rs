//! `snapshots`: what there is.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::event::counted;
use crate::id::SnapshotId;
use crate::ops::copy::{Lag, lag};
use crate::ops::test_restore::last_proven;
use crate::report::{clean, human_bytes};
use crate::repository::Repository;
use crate::snapshot::{Selected, Snapshot};
use crate::store::{Place, Written};

use super::args::Filter;
use super::context::{Context, zone};
use super::format::{json_time, local_time, table};
use super::settings::Settings;
use super::{CliError, Done};

/// List snapshots, oldest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup snapshots
  mrs-backup snapshots --instance mrs-production --tag before-upgrade
  mrs-backup snapshots --json | jq 'select(.type == \"snapshot\")'")]
pub struct Args {
    #[command(flatten)]
    filter: Filter,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let repository = context.open(&settings)?;
    let mut selector = context.selector(&settings, &args.filter);
    // A list is for finding out what there is: without a name, of every instance.
    selector.instance.clone_from(&context.global.instance);
    let all = context.snapshots(&repository)?;
    let all_count = all.len();
    let snapshots = selector.filter(all);
    for selected in &snapshots {
        context.out.record("snapshot", &describe(selected))?;
    }
    if all_count == 0 {
        context.out.note("there are no snapshots")?;
    } else if snapshots.is_empty() {
        let all = counted(all_count, "snapshot");
        context.out.note(&format!("none of {all} has the instance, host and tags asked for"))?;
    } else {
        let zone = zone(&settings);
        let rows = snapshots
            .iter()
            .map(|(id, snapshot)| {
                vec![
                    id.short(),
                    local_time(snapshot.start, &zone),
                    clean(&snapshot.instance),
                    clean(&snapshot.host),
                    clean(&snapshot.tags.join(",")),
                    human_bytes(bytes(snapshot)),
                    if snapshot.is_complete { "complete" } else { "INCOMPLETE" }.to_owned(),
                ]
            })
            .collect();
        let header = ["ID", "TIME", "INSTANCE", "HOST", "TAGS", "SIZE", "STATE"];
        context.out.line(&table(&header, &[5], rows))?;
        context.out.note(&counted(snapshots.len(), "snapshot"))?;
    }
    tell_copies(context, &settings, &repository, &snapshots)?;
    tell_proofs(context, &repository, &snapshots)?;
    Ok(Done::ok(json!({ "snapshots": snapshots.len() })))
}

/// For each copy of the configuration: how far it is behind, as far as this machine knows.
pub(super) fn tell_copies(
    context: &Context,
    settings: &Settings,
    repository: &Repository,
    snapshots: &[Selected],
) -> Result<(), CliError> {
    let ids: Vec<SnapshotId> = snapshots.iter().map(|(id, _)| *id).collect();
    let now = repository.environment().clock.now();
    for copy in settings.instance.iter().flat_map(|instance| instance.copies.values()) {
        let location = copy.location.value.to_string();
        let place = Place::parse(copy.location.value.as_str(), Written::Privately);
        let lag = match place {
            Ok(place) => lag(repository, &place.location().to_string(), &ids)?,
            // Its credential is not at hand; whoever copies is told.
            Err(_) => None,
        };
        let copied = lag.and_then(|lag| lag.copied);
        context.out.record(
            "copy",
            &json!({
                "copy": copy.name,
                "location": location,
                "behind": lag.map_or(ids.len() as u64, |lag| lag.behind),
                "time": copied.and_then(json_time),
            }),
        )?;
        let text = match (lag, copied) {
            (None, _) => "nothing was copied there yet: mrs-backup copy".to_owned(),
            (Some(lag), None) => {
                format!("{} behind, never completed", counted(lag.behind, "snapshot"))
            }
            (Some(Lag { behind: 0, .. }), Some(time)) => {
                format!("up to date, {} ago", age(now, time))
            }
            (Some(lag), Some(time)) => {
                format!(
                    "{} behind, last complete {} ago",
                    counted(lag.behind, "snapshot"),
                    age(now, time)
                )
            }
        };
        context.out.note(&format!("copy {} ({location}): {text}", copy.name))?;
    }
    Ok(())
}

/// For each instance with databases: when a restore of them was proven last.
fn tell_proofs(
    context: &Context,
    repository: &Repository,
    snapshots: &[Selected],
) -> Result<(), CliError> {
    let with_databases = snapshots.iter().filter(|(_, snapshot)| !snapshot.databases.is_empty());
    let instances: BTreeSet<&str> =
        with_databases.map(|(_, snapshot)| snapshot.instance.as_str()).collect();
    if instances.is_empty() {
        return Ok(());
    }
    let receipts = repository.receipts()?;
    let now = repository.environment().clock.now();
    for instance in instances {
        let found = last_proven(receipts.iter().map(|(_, record)| record), Some(instance));
        let name = clean(instance);
        let time = found.and_then(|record| json_time(record.time));
        let snapshot = found.and_then(|record| record.snapshot);
        context.out.record(
            "proof",
            &json!({ "snapshot_instance": instance, "time": time, "snapshot": snapshot }),
        )?;
        let text = match found {
            None => format!("{name}: no restore was proven yet: mrs-backup test-restore"),
            Some(record) => {
                let took = record.details.get("duration_ms").and_then(|text| text.parse().ok());
                format!(
                    "{name}: last proven restore: {} ago (snapshot {}, took {:.1} s)",
                    age(now, record.time),
                    snapshot.map(|id| id.short()).unwrap_or_default(),
                    Duration::from_millis(took.unwrap_or(0)).as_secs_f64()
                )
            }
        };
        context.out.note(&text)?;
    }
    Ok(())
}

/// The time since a moment in nanoseconds since 1970, in its largest unit.
fn age(now: Timestamp, then: i64) -> String {
    let then = Timestamp::from_nanosecond(i128::from(then)).unwrap_or(now);
    let minutes = now.duration_since(then).as_mins().max(0);
    match minutes {
        0..120 => format!("{minutes} min"),
        120..2880 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

/// Bytes of the files and streams of a snapshot.
fn bytes(snapshot: &Snapshot) -> u64 {
    snapshot.statistics.get("bytes").copied().unwrap_or(0)
}

/// A snapshot for programs.
pub fn describe((id, snapshot): &Selected) -> Value {
    let sources: Vec<Value> = snapshot
        .sources
        .iter()
        .map(|source| {
            json!({
                "kind": source.kind,
                "name": source.name,
                "path": crate::ops::browse::display_path(&source.path),
                "incomplete": source.incomplete,
            })
        })
        .collect();
    json!({
        "id": id,
        "short_id": id.short(),
        "time": json_time(snapshot.start),
        "end": json_time(snapshot.end),
        "time_zone": snapshot.time_zone,
        // The line's own `instance` is the one of the configuration.
        "snapshot_instance": snapshot.instance,
        "host": snapshot.host,
        "tags": snapshot.tags,
        "bytes": bytes(snapshot),
        "is_complete": snapshot.is_complete,
        "counter": snapshot.counter,
        "parent": snapshot.parent,
        "program": snapshot.program,
        "statistics": snapshot.statistics,
        "sources": sources,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let before =
            |minutes: i64| i64::try_from(now.as_nanosecond()).unwrap() - minutes * 60_000_000_000;
        for (minutes, text) in
            [(-5, "0 min"), (119, "119 min"), (120, "2 h"), (2879, "47 h"), (2880, "2 days")]
        {
            assert_eq!(age(now, before(minutes)), text);
        }
    }
}
