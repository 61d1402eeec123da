//! `restore`: the plan first, then assent where something may be lost, then the writing.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::event::counted;
use crate::instance::config::Instance;
use crate::ops::restore::{
    Overwrite, RestoreError, RestoreOptions, RestoreOutcome, RestorePlan, apply, plan,
};
use crate::report::{clean, human_bytes};

use crate::repository::Repository;

use super::args::{Filter, SNAPSHOT_HELP};
use super::context::{Context, zone};
use super::format::local_time;
use super::settings::Settings;
use super::{CliError, Done, Exit, ask, heal, home, restore_database};

/// What to do where nobody can be asked.
const LOOK_FIRST: &str = "look at it with --dry-run, then add --yes to do it";
/// How many of the entries to be removed are shown.
const SHOWN: usize = 20;

/// Restore a snapshot, or a part of it, into a directory, or a database into its server
///
/// What will be done is shown first. The home of an instance is put back as a whole: files and databases are loaded
/// beside what is there and looked at, the application is stopped, both change places, it starts again, and what
/// was there before is kept for `undo`. With --path, --include, --exclude, --delete or --overwrite a home is a
/// directory like others. A missing or empty target needs no assent; where files are
/// already, and for --delete, it is asked for, or given with --yes.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
{SNAPSHOT_HELP}

Examples:
  mrs-backup restore latest /srv/restored
  mrs-backup restore latest:mrs-production /srv/r --path mrsattachments --verify
  mrs-backup restore 2026-11-20 /srv/app --overwrite always --dry-run
  mrs-backup restore latest /home/mrs-production            everything back in its place
  mrs-backup undo -i mrs-production                         and back to what was there before
  mrs-backup restore latest --database mrs                  in place of the live one
  mrs-backup restore latest --database mrs --as mrs_copy    beside it
  mrs-backup restore latest --database mrs --table public.person"))]
pub struct Args {
    /// Snapshot
    snapshot: String,

    /// Directory to restore into; it is made if it is not there
    #[arg(required_unless_present = "database", conflicts_with = "database")]
    target: Option<PathBuf>,

    /// Only this file, into TARGET, or what is in this directory, without the path above it
    #[arg(long, value_name = "SUBPATH", default_value = "")]
    path: OsString,

    /// Only what fits (may be repeated)
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,

    /// Not what fits (may be repeated)
    #[arg(short = 'e', long, value_name = "PATTERN")]
    exclude: Vec<String>,

    /// What happens to files that are there already
    #[arg(long, value_enum, default_value = "if-changed")]
    overwrite: Choice,

    /// Remove what is in the restored directories but not in the snapshot. Directories that are only the
    /// way to what was backed up are left alone
    #[arg(long)]
    delete: bool,

    /// Read everything back and compare
    #[arg(long)]
    verify: bool,

    /// Leave runs of zeros as holes
    #[arg(long)]
    sparse: bool,

    /// Owners by number, not by name
    #[arg(long)]
    numeric_owner: bool,

    /// Only show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,

    #[command(flatten)]
    filter: Filter,

    #[command(flatten)]
    home: home::Args,

    #[command(flatten)]
    databases: restore_database::Args,
}

/// What happens to files that are there already.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Choice {
    /// They are replaced
    Always,
    /// Those of other size or time are replaced
    IfChanged,
    /// They are kept
    Never,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let sources = context.sources()?;
    let target = args.target.as_deref().filter(|_| !args.is_partial());
    let target = target.and_then(|target| home::instance_at(&sources, target));
    let name = context.global.instance.as_deref().or(target.as_deref());
    let settings = context.settle(&sources, name)?;
    context.out.set_instance(settings.instance.as_ref().map(|instance| instance.name.as_str()));
    let repository = context.open_to_read(&settings)?;
    let target = match (&target, &sources.config) {
        (Some(name), Some(config)) => Some(config.instance(name)?),
        _ => None,
    };
    let mut done = restore(context, &settings, &repository, target, args)?;
    let healed = heal::wounds(context, &repository, settings.instance.as_ref());
    if !healed.is_null() {
        done.summary.insert("healed".to_owned(), healed);
    }
    Ok(done)
}

impl Args {
    /// Whether only a part is meant, or it is said how to write it: then it goes into the directory as it is.
    fn is_partial(&self) -> bool {
        !self.path.is_empty()
            || !self.include.is_empty()
            || !self.exclude.is_empty()
            || self.delete
            || self.sparse
            || self.numeric_owner
            || !matches!(self.overwrite, Choice::IfChanged)
    }
}

fn restore(
    context: &Context,
    settings: &Settings,
    repository: &Repository,
    instance: Option<&Instance>,
    args: Args,
) -> Result<Done, CliError> {
    let selected = context.select(repository, settings, &args.filter, &args.snapshot)?;
    if let Some(instance) = instance {
        let how = (args.databases.other_cluster, args.dry_run);
        return home::restore(context, settings, repository, selected, instance, &args.home, how);
    }
    let Some(target) = args.target else {
        let (databases, is_dry_run) = (&args.databases, args.dry_run);
        return restore_database::run(
            context, settings, repository, &selected, databases, is_dry_run,
        );
    };
    let (id, snapshot) = selected;
    let options = RestoreOptions {
        subpath: args.path.into_vec(),
        include: args.include,
        exclude: args.exclude,
        overwrite: match args.overwrite {
            Choice::Always => Overwrite::Always,
            Choice::IfChanged => Overwrite::IfChanged,
            Choice::Never => Overwrite::Never,
        },
        sparse: args.sparse,
        numeric_owner: args.numeric_owner,
        delete: args.delete,
        verify: args.verify,
        metadata_of_kept: false,
    };
    let plan = plan(repository, id, snapshot, &target, options, &context.stop)?;
    if plan.is_empty() && !plan.options.include.is_empty() {
        return Err(RestoreError::NothingFits(quoted(&plan.options.include)).into());
    }
    show(context, &plan, &local_time(plan.snapshot.start, &zone(settings)))?;
    if args.dry_run {
        context.out.note("nothing was written")?;
        return Ok(Done::ok(json!({ "dry_run": true, "plan": describe(&plan) })));
    }
    let target = clean(&plan.target.display().to_string());
    if plan.options.delete {
        let what = format!("to be removed from {target}: {}", counted(plan.removed_count, "entry"));
        ask::assent(context, &what, LOOK_FIRST)?;
    } else if !is_free(&plan.target) {
        ask::assent(context, &format!("{target} is not empty"), LOOK_FIRST)?;
    }
    let outcome = apply(repository, &plan, &context.stop, &context.observer)?;
    report(context, &plan, &target, &outcome)
}

fn quoted(patterns: &[String]) -> String {
    let quoted: Vec<String> = patterns.iter().map(|pattern| format!("`{pattern}`")).collect();
    quoted.join(", ")
}

fn report(
    context: &Context,
    plan: &RestorePlan,
    target: &str,
    outcome: &RestoreOutcome,
) -> Result<Done, CliError> {
    let verified = match plan.options.verify {
        true => format!(", {} read back and equal", human_bytes(outcome.verified_bytes)),
        false => String::new(),
    };
    context.out.note(&format!(
        "{} restored ({}), {} kept, {} failed{verified}",
        counted(outcome.files, "file"),
        human_bytes(outcome.bytes),
        outcome.kept,
        outcome.failed_count
    ))?;
    let exit = if outcome.failed.is_empty() { Exit::Ok } else { Exit::Incomplete };
    let failed: Vec<Value> = outcome
        .failed
        .iter()
        .map(|(path, reason)| json!({ "item": path, "message": reason }))
        .collect();
    let fields = json!({
        "snapshot": plan.id,
        "target": target,
        "files": outcome.files,
        "kept": outcome.kept,
        "bytes": outcome.bytes,
        "verified_bytes": outcome.verified_bytes,
        "failed": failed,
        "failed_count": outcome.failed_count,
    });
    Ok(Done::with(exit, fields))
}

/// Whether nothing can be lost there. What cannot be looked at may hold anything.
fn is_free(target: &std::path::Path) -> bool {
    match fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn describe(plan: &RestorePlan) -> Value {
    json!({
        "snapshot": plan.id,
        "target": plan.target.display().to_string(),
        "files": plan.files,
        "directories": plan.directories,
        "others": plan.others,
        "bytes": plan.bytes,
        "kept": plan.kept,
        "replaced": plan.replaced,
        "removed": plan.removed_count,
        "free_bytes": plan.free_bytes,
    })
}

fn show(context: &Context, plan: &RestorePlan, time: &str) -> Result<(), CliError> {
    let out = &context.out;
    out.record("plan", &describe(plan))?;
    let snapshot = &plan.snapshot;
    out.note(&format!(
        "restore snapshot {} of {} from {time} into {}",
        plan.id.short(),
        clean(&snapshot.instance),
        clean(&plan.target.display().to_string()),
    ))?;
    if !snapshot.is_complete {
        out.note("  this snapshot is INCOMPLETE: something was missing when it was made")?;
    }
    out.note(&format!(
        "  {} ({}), {}, {}",
        counted(plan.files, "file"),
        human_bytes(plan.bytes),
        counted(plan.directories, "directory"),
        counted(plan.others, "other")
    ))?;
    if plan.kept + plan.replaced > 0 {
        let (kept, replaced) = (plan.kept, plan.replaced);
        out.note(&format!("  files already there: {kept} kept, {replaced} replaced"))?;
    }
    if let Some(free) = plan.free_bytes {
        out.note(&format!("  {} free there", human_bytes(free)))?;
    }
    if plan.options.delete {
        out.note(&format!("  {} REMOVED:", counted(plan.removed_count, "entry")))?;
        for path in plan.removed.iter().take(SHOWN) {
            out.note(&format!("    {}", clean(&path.display().to_string())))?;
        }
        if plan.removed_count > SHOWN as u64 {
            out.note("    ...")?;
        }
    }
    out.flush()
}
