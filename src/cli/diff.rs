//! `diff`: what differs between two snapshots.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use serde_json::json;

use crate::event::counted;
use crate::ops::browse::display_path;
use crate::ops::diff::{Change, Side, diff};
use crate::report::human_bytes;
use crate::repository::Fetcher;

use super::args::{Filter, SNAPSHOT_HELP};
use super::context::Context;
use super::ls::{CACHE, Printer};
use super::{CliError, Done};

/// Show what differs between two snapshots
#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
Marks: + added, - removed, M content changed, U only owner, mode, time or attributes
changed, T is something else now.

{SNAPSHOT_HELP}

Examples:
  mrs-backup diff 2026-11-20 latest
  mrs-backup diff 1a2b3c4d 5e6f7a8b --path mrsattachments"))]
pub struct Args {
    /// The older snapshot
    old: String,

    /// The newer snapshot
    new: String,

    /// Only below this path of both
    #[arg(long, value_name = "PATH", default_value = "")]
    path: OsString,

    #[command(flatten)]
    filter: Filter,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let repository = context.open_to_read(&settings)?;
    let (old_id, old) = context.select(&repository, &settings, &args.filter, &args.old)?;
    let (new_id, new) = context.select(&repository, &settings, &args.filter, &args.new)?;
    let fetcher = Fetcher::new(&repository, CACHE);
    let path = args.path.as_bytes();
    let (old, new) = (Side { snapshot: &old, path }, Side { snapshot: &new, path });
    let mut printer = Printer::new(context);
    let result = diff(&fetcher, old, new, &context.stop, &mut |entry| {
        printer.try_to(|| {
            let name = display_path(&entry.path);
            let mark = match entry.change {
                Change::Added => '+',
                Change::Removed => '-',
                Change::Content => 'M',
                Change::Metadata => 'U',
                Change::Type => 'T',
            };
            let fields = json!({
                "path": name,
                "change": entry.change,
                "old_size": entry.old.as_ref().map(|node| node.size()),
                "new_size": entry.new.as_ref().map(|node| node.size()),
            });
            context.out.record("difference", &fields)?;
            context.out.line(&format!("{mark} {name}"))
        })
    });
    let summary = printer.end(result)?;
    let tally = |tally: &crate::ops::diff::Tally| {
        let (files, others) = (counted(tally.files, "file"), counted(tally.others, "other"));
        format!("{files} ({}), {others}", human_bytes(tally.bytes))
    };
    context.out.note(&format!(
        "\nadded: {}\nremoved: {}\nchanged: {}\nmetadata only: {}, other kind: {}",
        tally(&summary.added),
        tally(&summary.removed),
        tally(&summary.changed),
        summary.metadata,
        summary.types
    ))?;
    Ok(Done::ok(json!({ "old": old_id, "new": new_id, "differences": summary })))
}
