//! `index rebuild`: the local index made anew.

use clap::Subcommand;
use serde_json::json;

use crate::event::{Event, counted};
use crate::ops::rebuild::{RebuildOptions, rebuild_index};

use super::context::{Context, tell_set_aside};
use super::{CliError, Done, Exit};

/// The local index: a cache of which chunk is where
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup index rebuild
  mrs-backup index rebuild --from-packs")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the index anew
    ///
    /// Deleting the local index loses nothing: this makes it again from the repository's index
    /// objects, or, if those are lost, from the packs.
    #[command(after_help = "\
Examples:
  mrs-backup index rebuild
  mrs-backup index rebuild --from-packs")]
    Rebuild {
        /// Read the packs that no index object names, and write index objects for them
        #[arg(long)]
        from_packs: bool,

        /// Then remove index objects that are damaged
        #[arg(long, requires = "from_packs")]
        delete_damaged: bool,
    },
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let Command::Rebuild { from_packs, delete_damaged } = args.command;
    rebuild(context, from_packs, delete_damaged)
}

/// Makes the index anew; also what `repair index` does.
pub fn rebuild(
    context: &Context,
    from_packs: bool,
    delete_damaged: bool,
) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let mut repository = context.open(&settings)?;
    if let Some(path) = repository.replace_damaged_index()? {
        tell_set_aside(context, &path);
    }
    let options = RebuildOptions { from_packs, delete_damaged };
    let report = rebuild_index(&repository, options, &context.stop, context.observer.as_ref())?;
    for unusable in report.damaged.iter().chain(&report.unreadable_packs) {
        let (item, message) = (unusable.object.clone(), unusable.reason.clone());
        context.observer.event(&Event::ItemFailed { item, message });
    }
    context.out.note(&format!(
        "the index knows {}: {} loaded, {} indexed anew",
        counted(report.packs, "pack"),
        counted(report.loaded, "index object"),
        counted(report.indexed_packs, "pack")
    ))?;
    let is_whole = report.damaged.is_empty() && report.unreadable_packs.is_empty();
    if !is_whole && !from_packs {
        context.out.line("  hint: mrs-backup index rebuild --from-packs")?;
    }
    let exit = if is_whole { Exit::Ok } else { Exit::Failed };
    Ok(Done::with(exit, json!({ "index": report })))
}
