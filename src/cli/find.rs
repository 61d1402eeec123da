//! `find`: in which snapshots something is.

use serde_json::{Value, json};

use crate::ops::browse::{FindOptions, display_path, find};
use crate::repository::Fetcher;
use crate::snapshot::Selected;

use super::args::{Filter, SNAPSHOT_HELP};
use super::context::{Context, zone};
use super::format::local_time;
use super::ls::{CACHE, Printer, describe};
use super::{CliError, Done, Exit};

/// Find entries by name or path, in all snapshots or in one
#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
A pattern with a `/` must fit the whole path, any other the name.

{SNAPSHOT_HELP}

Examples:
  mrs-backup find '*.pdf' --snapshot latest
  mrs-backup find 'mrsattachments/**/bill-2026-*' -I

It exits with 1 if nothing is found."))]
pub struct Args {
    /// Patterns, of which one must fit
    #[arg(required = true, value_name = "PATTERN")]
    patterns: Vec<String>,

    /// Only in this snapshot
    #[arg(short = 's', long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,

    /// `a` is `A`
    #[arg(short = 'I', long)]
    ignore_case: bool,

    #[command(flatten)]
    filter: Filter,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let repository = context.open_to_read(&settings)?;
    let snapshots: Vec<Selected> = match &args.snapshot {
        Some(text) => vec![context.select(&repository, &settings, &args.filter, text)?],
        None => {
            let selector = context.selector(&settings, &args.filter);
            selector.filter(context.snapshots(&repository)?)
        }
    };
    let options = FindOptions {
        patterns: args.patterns,
        ignore_case: args.ignore_case,
        ..FindOptions::default()
    };
    let fetcher = Fetcher::new(&repository, CACHE);
    let zone = zone(&settings);
    let mut found = 0_u64;
    // Newest first: mostly the last good version is looked for.
    for (id, snapshot) in snapshots.iter().rev() {
        let mut printer = Printer::new(context);
        let mut is_first = true;
        let result = find(&fetcher, snapshot, b"", &options, &context.stop, &mut |entry| {
            found += 1;
            let is_first = std::mem::take(&mut is_first);
            printer.try_to(|| {
                if is_first {
                    let time = local_time(snapshot.start, &zone);
                    let instance = crate::report::clean(&snapshot.instance);
                    context.out.line(&format!("snapshot {} of {instance}, {time}:", id.short()))?;
                }
                let name = display_path(&entry.path);
                let mut fields = describe(entry, &name);
                if let Value::Object(map) = &mut fields {
                    map.insert("snapshot".to_owned(), json!(id));
                }
                context.out.record("node", &fields)?;
                context.out.line(&format!("  {name}"))
            })
        });
        printer.end(result)?;
    }
    let exit = if found == 0 { Exit::Failed } else { Exit::Ok };
    if found == 0 {
        context.out.note("nothing fits")?;
    }
    Ok(Done::with(exit, json!({ "found": found, "snapshots": snapshots.len() })))
}
