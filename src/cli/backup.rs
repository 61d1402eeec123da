//! `backup`: one snapshot of what is named on the command line.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::event::counted;
use crate::instance::{distinct, tree_path};
use crate::ops::backup::{BackupOutcome, BackupPlan, FilesInput, backup};
use crate::report::human_bytes;
use crate::repository::IngestOptions;
use crate::source::StreamSource;
use crate::source::command::{CommandSource, StdinSource};
use crate::source::files::{Excludes, WalkOptions};

use super::context::{Context, host_name};
use super::format::human_duration;
use super::settings::Settings;
use super::{CliError, Done, Exit};

/// Where `/` itself appears in the tree: the tree's own root has no metadata.
const ROOT_NAME: &[u8] = b"rootfs";

/// See [`nothing_there`].
const NOTHING_THERE: &str = "look whether it is written right and its disk mounted; with --dry-run the command lists what it would read";

/// Back up files, the output of a command, or standard input
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup backup /srv/app --exclude '*.pyc' --tag before-upgrade
  mrs-backup backup --command dump.sql -- pg_dump -d mrs
  pg_dump -d mrs | mrs-backup backup --stdin dump.sql

With --command the exit status of the command decides: if it fails, nothing is stored.
Standard input cannot tell whether what feeds it failed.

In the snapshot a path appears without its leading slash. Patterns: `*.pyc` any entry of
that name, `/srv/app/cache` one place, `logs/` directories only, `!keep` takes in again.")]
pub struct Args {
    /// Files and directories
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Leave out what fits (may be repeated)
    #[arg(short = 'e', long, value_name = "PATTERN")]
    exclude: Vec<String>,

    /// Leave out what fits a pattern of this file, one a line (may be repeated)
    #[arg(long, value_name = "FILE")]
    exclude_file: Vec<PathBuf>,

    /// Leave out directories marked with CACHEDIR.TAG
    #[arg(long)]
    exclude_caches: bool,

    /// Do not enter other file systems
    #[arg(short = 'x', long)]
    one_file_system: bool,

    /// Tag of the snapshot (may be repeated)
    #[arg(long = "tag", value_name = "TAG", value_parser = super::args::tag)]
    tags: Vec<String>,

    /// Store the output of the command after `--` as the file NAME
    #[arg(long, value_name = "NAME", conflicts_with = "stdin", requires = "argv")]
    command: Option<String>,

    /// Store standard input as the file NAME
    #[arg(long, value_name = "NAME", conflicts_with = "argv")]
    stdin: Option<String>,

    /// Level of zstd, 1 (fast) to 19 (small); 2, or what the configuration says, if it is not given
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(i32).range(1..=19))]
    compression: Option<i32>,

    /// List what would be backed up; nothing is read or written
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// The command and its arguments; no shell is involved
    #[arg(last = true, value_name = "CMD", requires = "command")]
    argv: Vec<OsString>,
}

impl Args {
    /// Whether what it reads cannot be read again.
    pub fn reads_stdin(&self) -> bool {
        self.stdin.is_some()
    }
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let dry_run = args.dry_run;
    let plan = plan(context, &settings, args)?;
    if dry_run {
        return show(context, &plan);
    }
    let repository = context.open(&settings)?;
    let outcome = backup(&repository, plan, &context.stop, &context.observer)?;
    let fields = report(context, &outcome)?;
    let exit = if outcome.snapshot.is_complete { Exit::Ok } else { Exit::Incomplete };
    Ok(Done::with(exit, fields))
}

fn plan(context: &Context, settings: &Settings, args: Args) -> Result<BackupPlan, CliError> {
    let mut patterns = args.exclude;
    for file in &args.exclude_file {
        patterns.extend(Excludes::patterns_in(file)?);
    }
    let options = Arc::new(WalkOptions {
        excludes: Excludes::new(&patterns)?,
        exclude_caches: args.exclude_caches,
        one_file_system: args.one_file_system,
        own: Vec::new(),
    });
    let mut wanted = Vec::new();
    for path in &args.paths {
        let path = absolute(path)?;
        let tree_path = match tree_path(&path) {
            tree_path if tree_path.is_empty() => ROOT_NAME.to_vec(),
            tree_path => tree_path,
        };
        wanted.push((path, tree_path));
    }
    let files: Vec<FilesInput> = distinct(wanted, &options)
        .into_iter()
        .map(|(path, tree_path)| FilesInput { path, tree_path, options: Arc::clone(&options) })
        .collect();
    let mut streams: Vec<Box<dyn StreamSource>> = Vec::new();
    if let Some(name) = &args.command {
        streams.push(Box::new(CommandSource::new(name, args.argv, Arc::clone(&context.stop))?));
    }
    if let Some(name) = &args.stdin {
        streams.push(Box::new(StdinSource::new(name, Arc::clone(&context.stop))?));
    }
    if streams.is_empty() && files.is_empty() {
        return Err(CliError::usage_hint(
            "there is nothing to back up",
            "name files or directories, or use --command or --stdin",
        ));
    }
    // One missing path makes the snapshot incomplete; but a snapshot of nothing helps nobody.
    if streams.is_empty() && !files.iter().any(|input| input.path.symlink_metadata().is_ok()) {
        return Err(CliError::usage_hint(nothing_there(&files), NOTHING_THERE));
    }
    let of_config = settings.instance.as_ref().map(|instance| instance.name.clone());
    let instance = context.global.instance.clone().or(of_config).unwrap_or_else(host_name);
    let mut ingest = match &settings.instance {
        Some(instance) => instance.ingest(),
        None => IngestOptions::default(),
    };
    ingest.level = args.compression.unwrap_or(ingest.level);
    Ok(BackupPlan { instance, tags: args.tags, files, streams, ingest })
}

fn nothing_there(files: &[FilesInput]) -> String {
    let paths: Vec<String> = files.iter().map(|input| input.path.display().to_string()).collect();
    match &paths[..] {
        [one] => format!("{one} is not there; nothing was stored"),
        all => format!("none of these paths is there: {}; nothing was stored", all.join(", ")),
    }
}

/// The path from the root on, without `.` and `..`.
fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    let failed = |error| CliError::io(format!("find {}", path.display()), &error);
    let absolute = std::path::absolute(path).map_err(failed)?;
    // Only the system knows where `..` leads to behind a symbolic link.
    if absolute.components().any(|component| component == Component::ParentDir) {
        return absolute.canonicalize().map_err(failed);
    }
    Ok(absolute)
}

fn show(context: &Context, plan: &BackupPlan) -> Result<Done, CliError> {
    context.out.line(&format!("would back up as instance {}:", plan.instance))?;
    for input in &plan.files {
        let found = input.path.symlink_metadata().is_ok();
        let missing = if found { "" } else { "  (missing)" };
        context.out.line(&format!(
            "  {}{missing}",
            crate::report::clean(&input.path.display().to_string())
        ))?;
    }
    for stream in &plan.streams {
        let record = stream.record();
        context.out.line(&format!("  {} {}", record.kind, record.name))?;
    }
    let files: Vec<String> =
        plan.files.iter().map(|input| input.path.display().to_string()).collect();
    Ok(Done::ok(json!({ "dry_run": true, "instance": plan.instance, "paths": files })))
}

/// Tells people and programs what was stored.
pub fn report(context: &Context, outcome: &BackupOutcome) -> Result<Value, CliError> {
    let (counts, stats, snapshot) = (&outcome.counts, &outcome.stats, &outcome.snapshot);
    let incomplete = outcome.incomplete();
    let nanos = u64::try_from(snapshot.end.saturating_sub(snapshot.start)).unwrap_or(0);
    let state = if snapshot.is_complete { "complete" } else { "INCOMPLETE" };
    context.out.note(&format!(
        "snapshot {} of {} is {state}: {}, {} ({} unchanged), {} new, {} stored, {}",
        outcome.commit.id.short(),
        crate::report::clean(&snapshot.instance),
        counted(counts.files, "file"),
        human_bytes(counts.bytes),
        counts.unchanged_files,
        human_bytes(stats.new_bytes),
        human_bytes(stats.stored_bytes),
        human_duration(std::time::Duration::from_nanos(nanos)),
    ))?;
    Ok(json!({
        "snapshot": outcome.commit.id,
        "is_complete": snapshot.is_complete,
        "incomplete": incomplete,
        "tags": snapshot.tags,
        "files": counts.files,
        "unchanged_files": counts.unchanged_files,
        "directories": counts.directories,
        "bytes": counts.bytes,
        "new_chunks": stats.new_chunks,
        "new_bytes": stats.new_bytes,
        "stored_bytes": stats.stored_bytes,
        "seconds": nanos as f64 / 1e9,
    }))
}
