//! `stats`: how much.

use serde_json::json;

use crate::event::counted;
use crate::ops::stats::{repository_stats, snapshot_stats};
use crate::report::human_bytes;
use crate::snapshot::Snapshot;

use super::args::{Filter, SNAPSHOT_HELP};
use super::context::Context;
use super::{CliError, Done};

/// Show sizes: what a snapshot restores to, what it takes, what the repository holds
#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
{SNAPSHOT_HELP}

Examples:
  mrs-backup stats
  mrs-backup stats latest
  mrs-backup stats --instance mrs-production"))]
pub struct Args {
    /// Only this snapshot [default: all that the filters let pass]
    snapshot: Option<String>,

    #[command(flatten)]
    filter: Filter,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let repository = context.open_to_read(&settings)?;
    let chosen = match &args.snapshot {
        Some(text) => vec![context.select(&repository, &settings, &args.filter, text)?],
        None => {
            let mut selector = context.selector(&settings, &args.filter);
            selector.instance.clone_from(&context.global.instance);
            selector.filter(context.snapshots(&repository)?)
        }
    };
    let snapshots: Vec<&Snapshot> = chosen.iter().map(|(_, snapshot)| snapshot).collect();
    let stats = snapshot_stats(&repository, snapshots, true, &context.stop)?;
    let whole = repository_stats(&repository)?;
    let out = &context.out;
    out.line(&format!("snapshots       {}", stats.snapshots))?;
    out.line(&format!(
        "restored        {} in {}, {}, {}",
        human_bytes(stats.trees.restore_bytes),
        counted(stats.trees.files, "file"),
        counted(stats.trees.directories, "directory"),
        counted(stats.trees.others, "other")
    ))?;
    if let Some(raw) = &stats.raw {
        out.line(&format!(
            "without doubles {} in {}",
            human_bytes(raw.raw_bytes),
            counted(raw.chunks, "chunk")
        ))?;
        let ratio = raw
            .ratio(stats.trees.restore_bytes)
            .map_or_else(String::new, |ratio| format!(" (1 : {ratio:.1})"));
        out.line(&format!("stored          {}{ratio}", human_bytes(raw.stored_bytes)))?;
        if raw.missing_chunks > 0 {
            out.line(&format!(
                "missing         {}; run check",
                counted(raw.missing_chunks, "chunk")
            ))?;
        }
    }
    out.line(&format!(
        "repository      {} in {}, {}, {} ({})",
        human_bytes(whole.pack_bytes),
        counted(whole.packs, "pack"),
        counted(whole.snapshots, "snapshot"),
        counted(whole.index_objects, "index object"),
        human_bytes(whole.index_bytes)
    ))?;
    super::snapshots::tell_copies(context, &settings, &repository, &chosen)?;
    Ok(Done::ok(json!({ "snapshots": stats, "repository": whole })))
}
