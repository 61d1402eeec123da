//! `migrate restic`: snapshots of a repository of restic become snapshots of ours.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::context::{Context, zone};
use crate::cli::format::local_time;
use crate::cli::settings::Settings;
use crate::cli::{CliError, Done, Exit};
use crate::crypto::Secret;
use crate::event::counted;
use crate::instance::config::{Instance, KeyReader, KeySource, process_environment};
use crate::ops::import::{DumpServer, ImportOptions, ImportReport, import, missing, short};
use crate::report::{clean, human_bytes};
use crate::source::foreign::{ForeignRepository, ForeignSnapshot};

use super::dumps::Scratch;

/// Import the snapshots of a repository of restic
///
/// Times, hosts, tags and paths stay; what is here already is not stored again. A call that was stopped goes on where it was, and a
/// further one imports what is new. restic's repository is only read. It has to be in a directory: mount or copy it, if it is elsewhere.
/// A dump of databases in it (postgres/dump/data.dump) stays the file it is; with --load-dumps it is also loaded, and its databases are
/// stored as `run` stores them, so that restore --database and test-restore know them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup migrate restic /mnt/backup/mrs-production/restic --dry-run
  mrs-backup migrate restic /mnt/backup/mrs-production/restic --verify
  mrs-backup migrate restic /mnt/backup/mrs-production/restic --last 30 --load-dumps
  mrs-backup migrate restic /srv/restic -i mrs-staging --from-password-file /root/password

Without --from-password-file the password of this repository is tried, too.")]
pub struct Args {
    /// Directory of restic's repository
    repository: PathBuf,

    /// File with restic's password
    #[arg(long, value_name = "FILE")]
    from_password_file: Option<PathBuf>,

    /// Only snapshots made on this host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,

    /// Only snapshots with this tag (may be repeated: with all of them)
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,

    /// Only the newest so many
    #[arg(long, value_name = "N")]
    last: Option<usize>,

    /// Read each snapshot back and compare it with restic's, byte by byte
    #[arg(long)]
    verify: bool,

    /// Load the dump of each snapshot into a throw-away PostgreSQL server, made as for test-restore, and store its databases,
    /// too; one that cannot be loaded stays a file, and is told
    #[arg(long)]
    load_dumps: bool,

    /// Show what would be imported, and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let instance = settings.instance.as_ref().map(|instance| instance.name.clone());
    let Some(instance) = instance.or_else(|| context.global.instance.clone()) else {
        return Err(CliError::usage_hint(
            "whose snapshots they are has to be known",
            "name the instance with --instance NAME",
        ));
    };
    let password = password(context, &settings, args.from_password_file.as_deref())?;
    let foreign = open(&args.repository, &password)?;
    drop(password);
    let foreign: &dyn ForeignRepository = foreign.as_ref();
    let wanted = chosen(foreign.snapshots()?, &args);
    let target = context.open(&settings)?;
    target.refresh()?;
    if args.dry_run {
        let missing = missing(foreign, wanted, &target)?;
        for one in &missing {
            let time = local_time(one.time, &zone(&settings));
            let tags = clean(&one.tags.join(","));
            context.out.line(&format!(
                "{}  {time}  {}  {tags}",
                short(&one.id),
                clean(&one.host)
            ))?;
        }
        let count = counted(missing.len(), "snapshot");
        context.out.note(&format!("would import {count} as {instance}; nothing was changed"))?;
        let ids: Vec<&String> = missing.iter().map(|one| &one.id).collect();
        return Ok(Done::ok(json!({ "dry_run": true, "snapshots": ids })));
    }
    let ingest = settings.instance.as_ref().map(Instance::ingest).unwrap_or_default();
    // That there is no PostgreSQL is told before anything is done.
    let scratch = args.load_dumps.then(|| Scratch::new(context, &settings)).transpose()?;
    let dumps = scratch.as_ref().map(|scratch| scratch as &dyn DumpServer);
    let options = ImportOptions { instance, ingest, verify: args.verify, dumps };
    let watchers = (&*context.stop, context.observer.as_ref());
    let report = import(foreign, wanted, &target, &options, watchers)?;
    tell(context, &report, args.verify)?;
    Ok(Done::with(exit(&report), json!({ "from": foreign.location(), "report": report })))
}

fn exit(report: &ImportReport) -> Exit {
    if !report.failed.is_empty() || !report.differences.is_empty() {
        Exit::Failed
    } else if report.incomplete.is_empty() {
        Exit::Ok
    } else {
        Exit::Incomplete
    }
}

fn tell(context: &Context, report: &ImportReport, is_verified: bool) -> Result<(), CliError> {
    let mut text = format!("{} imported", counted(report.imported.len(), "snapshot"));
    for (count, words) in [
        (report.with_databases, "with databases"),
        (report.not_loaded.len() as u64, "whose dump stays a file"),
        (report.known, "here already"),
        (report.incomplete.len() as u64, "INCOMPLETE"),
        (report.failed.len() as u64, "NOT imported"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {words}"));
        }
    }
    text.push_str(&format!(
        ", {} read, {} stored",
        human_bytes(report.read_bytes),
        human_bytes(report.stored_bytes)
    ));
    if is_verified {
        text.push_str(&match report.differences.len() {
            0 => ", read back and equal".to_owned(),
            count => format!(", {} FOUND", counted(count, "difference").to_uppercase()),
        });
    }
    if exit(report) == Exit::Ok { context.out.note(&text) } else { context.out.line(&text) }
}

/// Those that were asked for, oldest first.
fn chosen(mut all: Vec<ForeignSnapshot>, args: &Args) -> Vec<ForeignSnapshot> {
    all.retain(|one| {
        args.host.as_ref().is_none_or(|host| *host == one.host)
            && args.tags.iter().all(|tag| one.tags.contains(tag))
    });
    all.sort_by_key(|one| one.time);
    let first = all.len().saturating_sub(args.last.unwrap_or(usize::MAX));
    all.split_off(first)
}

/// restic's password: that of the file, or the one of our own repository, or one that is asked for.
fn password(
    context: &Context,
    settings: &Settings,
    file: Option<&Path>,
) -> Result<Secret, CliError> {
    let reader =
        KeyReader { environment: &process_environment, stop: std::sync::Arc::clone(&context.stop) };
    if let Some(file) = file {
        return Ok(reader.read(&KeySource::File(file.to_owned()))?.secret);
    }
    match settings.key.as_ref().map(|key| &key.value) {
        Some(KeySource::KeyFile(_)) | None if context.out.can_ask() => {
            super::super::ask::password("password of restic's repository: ")
        }
        Some(KeySource::KeyFile(_)) | None => Err(CliError::usage_hint(
            "restic's password is not given",
            "name its file: --from-password-file FILE",
        )),
        Some(key) => Ok(reader.read(key)?.secret),
    }
}

#[cfg(feature = "restic")]
fn open(path: &Path, password: &Secret) -> Result<Box<dyn ForeignRepository>, CliError> {
    Ok(Box::new(crate::source::restic::ResticRepository::open(path, password)?))
}

#[cfg(not(feature = "restic"))]
fn open(path: &Path, _: &Secret) -> Result<Box<dyn ForeignRepository>, CliError> {
    Err(CliError::usage_hint(
        format!("this build cannot read restic's repository {}", path.display()),
        "take the package, or build with: cargo build --release --features restic",
    ))
}
