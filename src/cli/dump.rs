//! `dump`: one file of a snapshot, as it was.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{BufWriter, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::ops::browse::{display_path, resolve};
use crate::ops::dump::{DumpError, dump};
use crate::repository::Fetcher;
use crate::snapshot::Snapshot;

use super::args::{Filter, SNAPSHOT_HELP};
use super::context::Context;
use super::ls::CACHE;
use super::{CliError, Done, Exit};

/// Write one file of a snapshot to standard output or to a file
#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
{SNAPSHOT_HELP}

Examples:
  mrs-backup dump latest docker-compose.yml
  mrs-backup dump latest postgres/mrs/rest.dump | pg_restore -d scratch
  mrs-backup dump 2026-11-22 log/admin/django.log -o /tmp/django.log"))]
pub struct Args {
    /// Snapshot
    snapshot: String,

    /// Path of the file in it
    path: OsString,

    /// Where to; a file that is there is not overwritten. `-`: standard output
    #[arg(short = 'o', long, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    #[command(flatten)]
    filter: Filter,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let is_stdout = args.output.as_os_str() == "-";
    if is_stdout && context.out.is_json() {
        return Err(CliError::usage_hint(
            "with --json standard output is for JSON",
            "write the content to a file with -o FILE",
        ));
    }
    let settings = context.settings()?;
    let repository = context.open_to_read(&settings)?;
    let (id, snapshot) = context.select(&repository, &settings, &args.filter, &args.snapshot)?;
    let fetcher = Fetcher::new(&repository, CACHE);
    let path = args.path.as_bytes();
    let bytes = if is_stdout {
        to_stdout(context, &fetcher, &snapshot, path)?
    } else {
        to_file(context, &fetcher, &snapshot, path, &args.output)?
    };
    let fields = json!({ "snapshot": id, "bytes": bytes });
    if resolve(&fetcher, &snapshot, path)?.is_torn {
        // Half a dump must not be taken for a whole one.
        context.observer.event(&crate::event::Event::ItemFailed {
            item: display_path(path),
            message: "it was not stored whole: the snapshot is incomplete".to_owned(),
        });
        return Ok(Done::with(Exit::Incomplete, fields));
    }
    Ok(Done::ok(fields))
}

fn to_stdout(
    context: &Context,
    fetcher: &Fetcher<'_>,
    snapshot: &Snapshot,
    path: &[u8],
) -> Result<u64, CliError> {
    let stdout = std::io::stdout();
    if stdout.is_terminal() {
        context.observer.event(&crate::event::Event::Notice {
            item: "dump".to_owned(),
            message: "writing to a terminal; -o FILE writes to a file".to_owned(),
        });
    }
    let mut out = BufWriter::with_capacity(1 << 16, stdout.lock());
    let result = dump(fetcher, snapshot, path, &mut out, &context.stop);
    if let Err(DumpError::Output { error, .. }) = &result
        && error.kind() == std::io::ErrorKind::BrokenPipe
    {
        return Err(CliError::ClosedPipe);
    }
    let bytes = result?;
    out.flush().map_err(CliError::output)?;
    Ok(bytes)
}

fn to_file(
    context: &Context,
    fetcher: &Fetcher<'_>,
    snapshot: &Snapshot,
    path: &[u8],
    target: &Path,
) -> Result<u64, CliError> {
    let failed = |error| CliError::io(format!("write {}", target.display()), &error);
    let file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(target).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 16, &file);
    let written = dump(fetcher, snapshot, path, &mut out, &context.stop)
        .map_err(CliError::from)
        .and_then(|bytes| {
            out.flush().map_err(failed)?;
            file.sync_all().map_err(failed)?;
            Ok(bytes)
        });
    if written.is_err() {
        // Half a file must not be taken for a whole one. It was made here, just now.
        let _ = fs::remove_file(target);
    }
    written
}
