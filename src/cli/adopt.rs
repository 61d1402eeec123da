//! `init --adopt`: after the loss of a repository, a copy of it becomes the repository again.
//!
//! Either everything is copied to a new place (and the copy stays a copy), or the copy itself is used
//! from now on. Nothing but the place and the password is needed; a configuration is proposed from what the
//! snapshots say.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::event::counted;
use crate::index::Holdings;
use crate::instance::config::{
    Config, KeySource, Origin, Repository as Place, Setting, process_environment,
};
use crate::ops::copy::{Copied, CopyError, CopyOptions, CopyPlan, Sample, copy};
use crate::report::human_bytes;
use crate::repository::Repository;
use crate::snapshot::{Selected, Snapshot};
use crate::store::Store;

use super::context::{Context, zone};
use super::copy::{absolute, open_elsewhere};
use super::format::local_time;
use super::settings::Settings;
use super::{CliError, Done, Exit};

/// Name of the copy that was adopted, in a configuration that is proposed.
const ADOPTED: &str = "adopted";

/// What is asked for.
pub struct Adoption<'a> {
    /// Where the copy is.
    pub location: &'a str,
    /// Use it as it is.
    pub in_place: bool,
    /// Where a configuration is written.
    pub config: Option<&'a Path>,
}

pub fn run(context: &Context, name: Option<&str>, wanted: &Adoption<'_>) -> Result<Done, CliError> {
    let mut sources = context.sources()?;
    let location = absolute(wanted.location)?;
    if wanted.in_place {
        let here = Setting::new(Place::new(&location), Origin::Flag);
        if sources.access.repository.as_ref().is_some_and(|named| named.value != here.value) {
            return Err(CliError::usage_hint(
                "--in-place uses the copy where it is: --repo, or MRS_BACKUP_REPOSITORY, names another place",
                "leave --in-place out to copy it there, or leave the other place out",
            ));
        }
        sources.access.repository = Some(here);
    }
    let settings = context.settle(&sources, name)?;
    wanted.config.map_or(Ok(()), must_be_new)?;
    let at = Setting::new(Place::new(&location), Origin::Flag);
    let source = open_elsewhere(context, &settings, &at)?;
    let mut summary = json!({ "repository": source.config().id, "location": settings.location });
    let primary = match wanted.in_place {
        true => location.clone(),
        false => {
            let report = bring_back(context, &settings, &source)?;
            summary["report"] = report;
            absolute(&settings.location)?
        }
    };
    let snapshots = context.snapshots(&source)?;
    let newest = newest(&snapshots);
    let out = &context.out;
    out.note(&format!(
        "repository {} is at {}: {}",
        source.config().id,
        Place::new(&primary),
        counted(snapshots.len(), "snapshot")
    ))?;
    for (instance, (id, snapshot)) in &newest {
        let time = local_time(snapshot.start, &zone(&settings));
        out.note(&format!("  the newest of {instance} is {} from {time}", id.short()))?;
    }
    let copy_at = (!wanted.in_place).then_some(location.as_str());
    let text = proposal(&newest, &primary, copy_at, settings.key.as_ref());
    summary["snapshots"] = snapshots.len().into();
    if let Some(path) = wanted.config {
        Config::parse(&text, path, &process_environment)?;
        new_private_file(path, text.as_bytes())?;
        out.note(&format!("{} is written: look through it, then mrs-backup run", path.display()))?;
        summary["config"] = path.display().to_string().into();
    } else if sources.config.is_none() {
        out.note(&format!(
            "\nA configuration to begin with (or use --write-config FILE):\n\n{text}"
        ))?;
    }
    Ok(Done::with(Exit::Ok, summary))
}

/// Told before anything is done.
pub fn must_be_new(path: &Path) -> Result<(), CliError> {
    match path.symlink_metadata() {
        Ok(_) => Err(CliError::usage_hint(
            format!("{} is there already, and is not overwritten", path.display()),
            "name another file",
        )),
        Err(_) => Ok(()),
    }
}

/// A file for its owner alone, which was not there.
pub fn new_private_file(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| CliError::io(format!("write {}", path.display()), &error))
}

/// Copies everything to the place that is to be the repository.
fn bring_back(
    context: &Context,
    settings: &Settings,
    source: &Repository,
) -> Result<serde_json::Value, CliError> {
    let store: Arc<dyn Store> = context.store(settings)?;
    if store.location() == source.store().location() {
        return Err(CliError::usage_hint(
            format!("{} is the copy itself", settings.location),
            "use it where it is with --in-place, or name another place with --repo",
        ));
    }
    // It is read whole and held against its names on the way.
    let options = CopyOptions { delay: None, sample: Sample::NONE, ..CopyOptions::default() };
    let holdings = Holdings::in_memory(source.config().id)?;
    let accept = |plan: &CopyPlan| -> Result<bool, CopyError> {
        let _ = context.out.note(&format!(
            "bringing back {} ({}) and {} from {}",
            counted(plan.packs, "pack"),
            human_bytes(plan.pack_bytes),
            counted(plan.snapshots.len(), "snapshot"),
            plan.source
        ));
        Ok(true)
    };
    let watchers = (&*context.stop, context.observer.as_ref());
    match copy(source, &store, &holdings, &options, watchers, accept)? {
        Copied::Done(_, report) if report.is_complete() => Ok(json!(report)),
        Copied::Done(_, report) => Err(CliError::Objected {
            message: format!(
                "not everything could be brought back: {}",
                counted(report.findings.len(), "problem")
            ),
            hint: "what was told above is damaged in the copy, too; whatever is whole is there: mrs-backup check"
                .to_owned(),
        }),
        Copied::Planned(_) => Ok(json!(null)),
    }
}

/// The newest snapshot of each instance; complete ones first.
fn newest(snapshots: &[Selected]) -> BTreeMap<&str, &Selected> {
    let mut newest: BTreeMap<&str, &Selected> = BTreeMap::new();
    for selected in snapshots {
        let rank = |snapshot: &Snapshot| (snapshot.is_complete, snapshot.start);
        let known = newest.entry(&selected.1.instance).or_insert(selected);
        if rank(&selected.1) > rank(&known.1) {
            *known = selected;
        }
    }
    newest
}

/// A configuration made of what the newest snapshots say.
fn proposal(
    newest: &BTreeMap<&str, &Selected>,
    repository: &str,
    copy: Option<&str>,
    key: Option<&Setting<KeySource>>,
) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut text = String::from("version = 1\n");
    for (name, (_, snapshot)) in newest {
        let (home, paths) = home_and_paths(snapshot);
        text.push_str(&format!("\n[instance.{}]\n", quoted(name)));
        text.push_str(&format!("home = {}\n", quoted(&home.to_string_lossy())));
        text.push_str(&format!("repository = {}\n", quoted(repository)));
        text.push_str(&match key.map(|key| &key.value) {
            Some(KeySource::File(path)) => {
                format!("key = {{ file = {} }}\n", quoted(&path.to_string_lossy()))
            }
            Some(KeySource::KeyFile(path)) => {
                format!("key = {{ key_file = {} }}\n", quoted(&path.to_string_lossy()))
            }
            _ => "# key = { file = \"/etc/mrs-backup/PASSWORD\" }\n".to_owned(),
        });
        let paths: Vec<String> = paths.iter().map(|path| quoted(path)).collect();
        text.push_str(&format!("paths = [{}]\n", paths.join(", ")));
        if let Some(copy) = copy {
            text.push_str(&format!("\n[instance.{}.copy.{ADOPTED}]\n", quoted(name)));
            text.push_str(&format!("location = {}\n", quoted(copy)));
        }
        if !snapshot.databases.is_empty() {
            let names: Vec<String> =
                snapshot.databases.iter().map(|database| quoted(&database.name)).collect();
            text.push_str(&format!("\n[instance.{}.postgres]\n", quoted(name)));
            text.push_str(&format!("databases = [{}]\n", names.join(", ")));
            text.push_str("# host = \"postgres/run\"\n# user = \"django\"\n");
        }
    }
    text
}

/// Where an instance was: sources know their path on the disk and that in the tree, which is relative to the home.
fn home_and_paths(snapshot: &Snapshot) -> (PathBuf, Vec<String>) {
    let files = snapshot.sources.iter().filter(|source| source.kind == "files");
    let known: Vec<(PathBuf, String)> = files
        .map(|source| {
            (PathBuf::from(&source.name), String::from_utf8_lossy(&source.path).into_owned())
        })
        .collect();
    let home_of = |(disk, tree): &(PathBuf, String)| {
        let depth = Path::new(tree).components().count();
        let home = disk.ancestors().nth(depth)?;
        (home.join(tree) == *disk && home.is_absolute()).then(|| home.to_owned())
    };
    let home = known.iter().filter_map(home_of).max_by_key(|home| home.components().count());
    let home = home.unwrap_or_else(|| PathBuf::from("/"));
    let relative = |(disk, _): &(PathBuf, String)| {
        disk.strip_prefix(&home).unwrap_or(disk).to_string_lossy().into_owned()
    };
    (home.clone(), known.iter().map(relative).filter(|path| !path.is_empty()).collect())
}
