//! `copy --re-encrypt`: snapshots into another repository, with its keys.

use std::path::PathBuf;

use serde_json::json;

use crate::event::counted;
use crate::instance::config::{Instance, KeySource, Origin, Repository as Place, Setting};
use crate::ops::reencrypt::{missing, reencrypt};
use crate::report::{clean, human_bytes};
use crate::repository::Repository;
use crate::snapshot::Selector;

use super::context::{Context, zone};
use super::copy::open_place;
use super::format::local_time;
use super::settings::Settings;
use super::{CliError, Done, Exit, password};

/// Options about the other repository.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Copy into another repository, with its own password and keys: snapshots are read, and stored there anew
    #[arg(long, requires = "to", conflicts_with_all = ["audit", "sample", "append_only", "start_over"])]
    pub re_encrypt: bool,

    /// File with the other repository's password
    #[arg(long, value_name = "FILE", requires = "re_encrypt", group = "to_credential")]
    to_password_file: Option<PathBuf>,

    /// The other repository's key file
    #[arg(long, value_name = "FILE", requires = "re_encrypt", group = "to_credential")]
    to_key_file: Option<PathBuf>,
}

/// Copies the snapshots of `source` to the repository at `location`.
pub fn run(
    context: &Context,
    settings: &Settings,
    source: &Repository,
    location: &Setting<Place>,
    options: &Options,
    dry_run: bool,
) -> Result<Done, CliError> {
    let target = open(context, settings, source, location, options)?;
    source.refresh()?;
    // A repository may hold several instances; one that is named is meant alone.
    let selector = Selector { instance: context.global.instance.clone(), ..Selector::default() };
    let snapshots = selector.filter(context.snapshots(source)?);
    let (from, to) = (source.store().location(), target.store().location());
    if dry_run {
        let missing = missing(&snapshots, &target)?;
        context
            .out
            .note(&format!("copy {} from {from} to {to}:", counted(missing.len(), "snapshot")))?;
        for (id, snapshot) in &missing {
            let time = local_time(snapshot.start, &zone(settings));
            context.out.note(&format!("  {} {time} {}", id.short(), clean(&snapshot.instance)))?;
        }
        context.out.note("nothing was changed")?;
        let ids: Vec<_> = missing.iter().map(|(id, _)| id).collect();
        return Ok(Done::ok(json!({ "dry_run": true, "snapshots": ids })));
    }
    let ingest = settings.instance.as_ref().map(Instance::ingest).unwrap_or_default();
    let watchers = (&*context.stop, context.observer.as_ref());
    let report = reencrypt(source, &snapshots, &target, ingest, watchers)?;
    let failed = match report.failed.len() {
        0 => String::new(),
        count => format!(", {} NOT copied", counted(count, "snapshot")),
    };
    let text = format!(
        "{} copied to {to}, {} there already{failed}, {} read, {} stored",
        counted(report.copied.len(), "snapshot"),
        report.known,
        human_bytes(report.read_bytes),
        human_bytes(report.stored_bytes)
    );
    let exit = if report.failed.is_empty() { Exit::Ok } else { Exit::CopyFailed };
    if exit == Exit::Ok {
        context.out.note(&text)?
    } else {
        context.out.line(&text)?
    }
    Ok(Done::with(exit, json!({ "location": to.to_string(), "report": report })))
}

/// The other repository. It has to be there, made with the password and the options somebody wants it to have.
fn open(
    context: &Context,
    settings: &Settings,
    source: &Repository,
    location: &Setting<Place>,
    options: &Options,
) -> Result<Repository, CliError> {
    let key = match (&options.to_password_file, &options.to_key_file) {
        (Some(file), _) => Some(KeySource::File(file.clone())),
        (None, Some(file)) => Some(KeySource::KeyFile(file.clone())),
        (None, None) => None,
    };
    let key = key.map(|key| Setting::new(key, Origin::Flag));
    let store = open_place(location, context.watch())?;
    let place = store.location().to_string();
    if key.is_none() && !context.out.can_ask() {
        return Err(CliError::usage_hint(
            format!("no password is given for {place}"),
            "use --to-password-file FILE or --to-key-file FILE",
        ));
    }
    if store.survey()? != crate::store::Survey::Repository {
        return Err(CliError::usage_hint(
            format!("there is no repository at {place} to copy into"),
            format!(
                "make one first, with its own password: mrs-backup init --repo {place} --password-file FILE"
            ),
        ));
    }
    let credential = password::existing(context, key.as_ref(), &place)?;
    let target = Repository::open(store, &credential, context.environment(settings)?)
        .map_err(|error| CliError::opening(error, key.as_ref()))?;
    if target.config().id == source.config().id {
        return Err(CliError::usage_hint(
            format!("{place} is a copy of the same repository"),
            "leave out --re-encrypt",
        ));
    }
    Ok(target)
}
