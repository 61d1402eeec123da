//! `dump`: one file of a snapshot, as it was.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{BufWriter, ErrorKind, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::event::Event;
use crate::ops::archive::{ArchiveReport, archive};
use crate::ops::browse::{display_path, resolve};
use crate::ops::dump::{DumpError, dump};
use crate::ops::dump_database::{DatabaseDump, DumpDatabaseError, DumpFormat};
use crate::repository::{Fetcher, Repository};

use super::args::{Filter, SNAPSHOT_HELP};
use super::context::Context;
use super::ls::CACHE;
use super::settings::Settings;
use super::{CliError, Done, Exit, heal};

/// Write one file, one database or an archive of a snapshot to standard output or to a file
///
/// With --archive tar a directory, or all of the snapshot, becomes a tar archive that any tar unpacks; owners, times,
/// attributes, hard links and holes are in it, and the paths are those `ls` shows. A database is written for PostgreSQL's own programs: `custom` for pg_restore, `plain` for psql. Nothing but
/// them is needed to load it; roles are in the file postgres/globals.sql.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
{SNAPSHOT_HELP}

Examples:
  mrs-backup dump latest docker-compose.yml
  mrs-backup dump latest --database mrs | pg_restore -d scratch
  mrs-backup dump latest --database mrs --format plain | psql -v ON_ERROR_STOP=1 -d scratch
  mrs-backup dump latest --archive tar | tar -x --xattrs --xattrs-include='*' -C /srv/out
  mrs-backup dump latest mrsattachments --archive tar -o attachments.tar
  mrs-backup dump 2026-11-22 log/admin/django.log -o /tmp/django.log"))]
pub struct Args {
    /// Snapshot
    snapshot: String,

    /// Path of the file in it, or with --archive of a directory [default with --archive: everything]
    #[arg(required_unless_present_any = ["database", "archive"], conflicts_with = "database")]
    path: Option<OsString>,

    /// Database, instead of a path
    #[arg(short = 'd', long, value_name = "NAME")]
    database: Option<String>,

    /// Form of the database: `custom` for pg_restore, `plain` for psql
    #[arg(long, value_name = "FORMAT", default_value = "custom", requires = "database")]
    format: Format,

    /// Directory of pg_restore, which `plain` needs. Default: the instance's `bin_dir`, or the search path
    #[arg(long, value_name = "DIR", requires = "database")]
    bin_dir: Option<PathBuf>,

    /// A directory with all that is in it, as an archive: `tar`
    #[arg(short = 'a', long, value_name = "FORMAT", conflicts_with = "database")]
    archive: Option<Archive>,

    /// Where to; a file that is there is not overwritten. `-`: standard output
    #[arg(short = 'o', long, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    #[command(flatten)]
    filter: Filter,
}

/// As `--format` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Plain,
    Custom,
}

/// As `--archive` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Archive {
    Tar,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    if args.output.as_os_str() == "-" && context.out.is_json() {
        return Err(CliError::usage_hint(
            "with --json standard output is for JSON",
            "write the content to a file with -o FILE",
        ));
    }
    let settings = context.settings()?;
    let repository = context.open_to_read(&settings)?;
    let mut done = dump_one(context, &settings, &repository, args)?;
    let healed = heal::wounds(context, &repository, settings.instance.as_ref());
    if !healed.is_null() {
        done.summary.insert("healed".to_owned(), healed);
    }
    Ok(done)
}

fn dump_one(
    context: &Context,
    settings: &Settings,
    repository: &Repository,
    args: Args,
) -> Result<Done, CliError> {
    let (id, snapshot) = context.select(repository, settings, &args.filter, &args.snapshot)?;
    let fetcher = Fetcher::new(repository, CACHE);
    if let Some(database) = &args.database {
        let of_config = settings.instance.as_ref().and_then(|instance| instance.postgres.as_ref());
        let of_config = of_config.and_then(|postgres| postgres.bin_dir.as_ref());
        let bin_dir = args.bin_dir.as_deref().or(of_config.map(|dir| dir.value.as_path()));
        let found = DatabaseDump::find(&fetcher, &snapshot, database, &context.stop)?;
        let format = match args.format {
            Format::Plain => DumpFormat::Plain,
            Format::Custom => DumpFormat::Custom,
        };
        let bytes = write(context, &args.output, |out| {
            found.write(format, bin_dir, out).map_err(|error| match error {
                DumpDatabaseError::Output(error) if error.kind() == ErrorKind::BrokenPipe => {
                    CliError::ClosedPipe
                }
                error => error.into(),
            })
        })?;
        return Ok(Done::ok(json!({ "snapshot": id, "database": database, "bytes": bytes })));
    }
    let path = args.path.unwrap_or_default();
    let path = path.as_bytes();
    if let Some(Archive::Tar) = args.archive {
        let mut report = ArchiveReport::default();
        let watchers = (&*context.stop, context.observer.as_ref());
        context.observer.event(&Event::StepStarted { step: "archive", total_bytes: None });
        write(context, &args.output, |out| {
            report = archive(&fetcher, &snapshot, path, out, watchers).map_err(failed)?;
            Ok(report.bytes)
        })?;
        context.observer.event(&Event::StepFinished { step: "archive" });
        let exit = if report.torn == 0 { Exit::Ok } else { Exit::Incomplete };
        return Ok(Done::with(exit, json!({ "snapshot": id, "archive": report })));
    }
    let bytes = write(context, &args.output, |out| {
        dump(&fetcher, &snapshot, path, out, &context.stop).map_err(failed)
    })?;
    let fields = json!({ "snapshot": id, "bytes": bytes });
    if resolve(&fetcher, &snapshot, path)?.is_torn {
        // Half a dump must not be taken for a whole one.
        context.observer.event(&Event::ItemFailed {
            item: display_path(path),
            message: "it was not stored whole: the snapshot is incomplete".to_owned(),
        });
        return Ok(Done::with(Exit::Incomplete, fields));
    }
    Ok(Done::ok(fields))
}

/// Whoever reads may have read enough.
fn failed(error: DumpError) -> CliError {
    match error {
        DumpError::Output { error, .. } if error.kind() == ErrorKind::BrokenPipe => {
            CliError::ClosedPipe
        }
        error => error.into(),
    }
}

/// Gives what `fill` writes to standard output or to a new file.
fn write(
    context: &Context,
    output: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<u64, CliError>,
) -> Result<u64, CliError> {
    if output.as_os_str() == "-" { to_stdout(context, fill) } else { to_file(output, fill) }
}

fn to_stdout(
    context: &Context,
    fill: impl FnOnce(&mut dyn Write) -> Result<u64, CliError>,
) -> Result<u64, CliError> {
    let stdout = std::io::stdout();
    if stdout.is_terminal() {
        context.observer.event(&Event::Notice {
            item: "dump".to_owned(),
            message: "writing to a terminal; -o FILE writes to a file".to_owned(),
        });
    }
    let mut out = BufWriter::with_capacity(1 << 16, stdout.lock());
    let bytes = fill(&mut out)?;
    out.flush().map_err(CliError::output)?;
    Ok(bytes)
}

fn to_file(
    target: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<u64, CliError>,
) -> Result<u64, CliError> {
    let failed = |error| CliError::io(format!("write {}", target.display()), &error);
    let file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(target).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 16, &file);
    let written = fill(&mut out).and_then(|bytes| {
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
