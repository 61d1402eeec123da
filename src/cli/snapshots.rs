//! `snapshots`: what there is.

use serde_json::{Value, json};

use crate::event::counted;
use crate::report::{clean, human_bytes};
use crate::snapshot::{Selected, Snapshot};

use super::args::Filter;
use super::context::{Context, zone};
use super::format::{json_time, local_time, table};
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
    let snapshots = selector.filter(context.snapshots(&repository)?);
    for selected in &snapshots {
        context.out.record("snapshot", &describe(selected))?;
    }
    if snapshots.is_empty() {
        context.out.note("there are no snapshots")?;
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
    Ok(Done::ok(json!({ "snapshots": snapshots.len() })))
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
