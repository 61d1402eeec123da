//! `ls`: what is in a snapshot.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::event::StopFlag;
use crate::ops::browse::{BrowseError, Located, display_path, walk};
use crate::repository::{Fetcher, RepositoryError};
use crate::snapshot::{Node, NodeKind};

use super::args::{Filter, SNAPSHOT_HELP};
use super::context::{Context, zone};
use super::format::{kind_word, local_seconds, mode_text};
use super::{CliError, Done};

/// Bytes of opened segments kept while trees are read.
pub const CACHE: usize = 32 << 20;

/// List what is in a snapshot
///
/// Names are shown with control characters escaped (`\x0a`).
#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
{SNAPSHOT_HELP}

Examples:
  mrs-backup ls latest
  mrs-backup ls latest:mrs-production mrsattachments -r
  mrs-backup ls 1a2b3c4d -l log"))]
pub struct Args {
    /// Snapshot
    snapshot: String,

    /// Path in it [default: its root]
    #[arg(default_value = "")]
    path: OsString,

    /// What is in directories, too
    #[arg(short = 'r', long)]
    recursive: bool,

    /// Modes, owners, sizes and times
    #[arg(short = 'l', long)]
    long: bool,

    #[command(flatten)]
    filter: Filter,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let repository = context.open_to_read(&settings)?;
    let (id, snapshot) = context.select(&repository, &settings, &args.filter, &args.snapshot)?;
    let fetcher = Fetcher::new(&repository, CACHE);
    let zone = zone(&settings);
    let mut printer = Printer::new(context);
    let mut entries = 0_u64;
    let path = args.path.as_bytes();
    let result = walk(&fetcher, &snapshot, path, args.recursive, &StopFlag::new(), &mut |entry| {
        entries += 1;
        printer.try_to(|| {
            let name = display_path(&entry.path);
            context.out.record("node", &describe(entry, &name))?;
            let text = if args.long { long_line(&entry.node, &name, &zone) } else { name };
            context.out.line(&text)
        })
    });
    printer.end(result)?;
    Ok(Done::ok(json!({ "snapshot": id, "entries": entries })))
}

/// Carries a failure of the output through a walk that only knows its own errors.
pub struct Printer<'c> {
    context: &'c Context,
    failure: Option<CliError>,
}

impl<'c> Printer<'c> {
    pub const fn new(context: &'c Context) -> Self {
        Self { context, failure: None }
    }

    /// Does `print`; if it fails, or somebody asked to stop, the walk ends.
    pub fn try_to(
        &mut self,
        print: impl FnOnce() -> Result<(), CliError>,
    ) -> Result<(), BrowseError> {
        let result =
            if self.context.stop.is_stopped() { Err(CliError::Interrupted) } else { print() };
        result.map_err(|error| {
            self.failure = Some(error);
            RepositoryError::Interrupted.into()
        })
    }

    /// What became of the walk.
    pub fn end<T>(self, result: Result<T, BrowseError>) -> Result<T, CliError> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(result?),
        }
    }
}

/// An entry for programs. `path` is escaped; where that loses bytes, `path_hex` has them.
pub fn describe(entry: &Located, path: &str) -> Value {
    let node = &entry.node;
    let mut fields = json!({
        "path": path,
        "kind": kind_word(node.kind),
        "mode": format!("{:o}", node.mode),
        "uid": node.uid,
        "gid": node.gid,
        "user": node.user,
        "group": node.group,
        "size": node.size(),
        "mtime": jiff::Timestamp::new(node.mtime, i32::try_from(node.mtime_nanos).unwrap_or(0))
            .ok()
            .map(|time| time.to_string()),
        "is_torn": node.is_torn,
    });
    if let Value::Object(map) = &mut fields {
        if path.as_bytes() != entry.path {
            map.insert("path_hex".to_owned(), crate::id::to_hex(&entry.path).into());
        }
        if let Some(target) = &node.link_target {
            map.insert("link_target".to_owned(), display_path(target).into());
        }
    }
    fields
}

fn long_line(node: &Node, name: &str, zone: &TimeZone) -> String {
    let owner = |name: &Option<String>, id: u32| match name {
        Some(name) => crate::report::clean(name),
        None => id.to_string(),
    };
    let size = match &node.device {
        Some(device) => format!("{}, {}", device.major, device.minor),
        None => node.size().to_string(),
    };
    let mut text = format!(
        "{} {:<8} {:<8} {size:>12} {} {name}",
        mode_text(node),
        owner(&node.user, node.uid),
        owner(&node.group, node.gid),
        local_seconds(node.mtime, zone),
    );
    if let (NodeKind::Symlink, Some(target)) = (node.kind, &node.link_target) {
        text.push_str(" -> ");
        text.push_str(&display_path(target));
    }
    if node.is_torn {
        text.push_str("  (changed or failed while it was read)");
    }
    text
}
