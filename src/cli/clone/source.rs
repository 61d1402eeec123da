//! The side of a copy that has the originals: a snapshot, rules, and what all rows told.

use std::path::Path;

use jiff::Timestamp;

use crate::anonymize::{Kept, Program, PseudonymKey, Rules, compile};
use crate::clone::{
    CloneError, CloneWork, FilesPlan, Outgoing, Surveyed, check_name, choose_rows, clean_toc,
    schema_of, survey,
};
use crate::crypto::SystemRandom;
use crate::instance::config::KeySource;
use crate::ops::restore_database::{Contents, choose};
use crate::repository::{Fetcher, Repository};
use crate::snapshot::{DatabaseManifest, Selected, Snapshot};
use crate::source::archive::Toc;

use super::super::CliError;
use super::super::args::Filter;
use super::super::context::{Context, zone};
use super::super::settings::Settings;
use super::{CONTENT_CACHE, charset, pseudonym_key, refuse, told};

/// Rows looked at at once where no target says how many.
const WORKERS: usize = 2;

/// The instance that is copied: where it is kept, and a snapshot of it.
pub(super) struct Source {
    pub settings: Settings,
    pub repository: Repository,
    pub selected: Selected,
}

impl Source {
    /// Opens the repository of instance `name` and chooses a snapshot.
    pub fn open(context: &Context, name: &str, snapshot: &str) -> Result<Self, CliError> {
        let settings = context.settle(&context.sources()?, Some(name))?;
        let repository = context.open_to_read(&settings)?;
        let filter = Filter { tags: Vec::new(), host: None };
        let snapshots = context.snapshots(&repository)?;
        let mut selector = context.selector(&settings, &filter);
        selector.instance = Some(name.to_owned());
        let selected = selector.find(snapshot, &snapshots, &zone(&settings))?.clone();
        Ok(Self { settings, repository, selected })
    }
}

/// What the originals' side is told to copy.
pub(super) struct Wanted<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub snapshot: &'a str,
    pub database: Option<&'a str>,
    pub rules: &'a Path,
    pub key: &'a KeySource,
}

/// Looks at everything here, and gives what can be sent to `then`.
pub(super) fn outgoing<T>(
    context: &Context,
    wanted: &Wanted<'_>,
    then: impl FnOnce(&Outgoing<'_>, &Source) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let rules = Rules::load(wanted.rules).map_err(CloneError::Rules)?;
    if let Some(problem) = check_name(&rules, wanted.to) {
        return Err(refuse(context, vec![problem])?);
    }
    let key = pseudonym_key(context, wanted.key)?;
    let source = Source::open(context, wanted.from, wanted.snapshot)?;
    let (id, snapshot) = &source.selected;
    let manifest = choose(id, snapshot, wanted.database)?.clone();
    let fetcher = Fetcher::new(&source.repository, CONTENT_CACHE);
    let contents = Contents::find(&fetcher, snapshot, &manifest)?;
    let toc = definitions(&contents, &rules)?;
    // Where they lie in the target is the other side's business.
    let files = FilesPlan::new(&rules, snapshot, Path::new("/"));
    let (program, files) = fit(context, &rules, &manifest, &toc, &key, files)?;
    let looking = Looking { contents: &contents, snapshot, toc: &toc, program: &program };
    let looked = looking.look(context, WORKERS)?;
    let charset = charset(&manifest.encoding)?;
    let (kept, surveyed) = (&looked.kept, &looked.surveyed);
    let work = CloneWork { contents: &contents, program: &program, charset, kept, surveyed };
    let outgoing = Outgoing {
        work: &work,
        toc: &toc,
        rules: &rules,
        files: &files,
        key: &key,
        snapshot: (id, snapshot),
        to: wanted.to,
        observer: context.observer.as_ref(),
        stop: &context.stop,
    };
    then(&outgoing, &source)
}

/// What is in the archive, without what must not leave.
pub(super) fn definitions(contents: &Contents<'_, '_>, rules: &Rules) -> Result<Toc, CliError> {
    let toc = contents.toc()?;
    let has_objects =
        toc.entries.iter().any(|entry| ["BLOBS", "BLOB"].contains(&entry.kind.as_str()));
    if has_objects && !rules.empties_large_objects {
        return Err(CloneError::refused(
            format!("database {}", contents.manifest.name),
            "it has large objects, whose bytes no rule can rewrite; add large_objects = \"empty\"",
        )
        .into());
    }
    Ok(clean_toc(&toc))
}

/// Holds the rules against the schema and the directories; all that does not fit is told.
pub(super) fn fit(
    context: &Context,
    rules: &Rules,
    manifest: &DatabaseManifest,
    toc: &Toc,
    key: &PseudonymKey,
    files: Result<FilesPlan, Vec<crate::anonymize::Problem>>,
) -> Result<(Program, FilesPlan), CliError> {
    match (compile(rules, &schema_of(manifest, toc), key), files) {
        (Ok(program), Ok(files)) => Ok((program, files)),
        (program, files) => {
            let mut problems = files.err().unwrap_or_default();
            problems.extend(program.err().unwrap_or_default());
            Err(refuse(context, problems)?)
        }
    }
}

/// What all rows told.
pub(super) struct Looked {
    pub kept: Kept,
    pub surveyed: Surveyed,
}

/// What rows are looked at.
pub(super) struct Looking<'a> {
    pub contents: &'a Contents<'a, 'a>,
    pub snapshot: &'a Snapshot,
    pub toc: &'a Toc,
    pub program: &'a Program,
}

impl Looking<'_> {
    /// Looks at all rows: which are copied, and whether they can be rewritten.
    pub fn look(&self, context: &Context, workers: usize) -> Result<Looked, CliError> {
        let Self { contents, snapshot, toc, program } = self;
        let charset = charset(&contents.manifest.encoding)?;
        let (observer, stop) = (context.observer.as_ref(), &context.stop);
        let time = snapshot_time(snapshot)?;
        let kept = choose_rows(contents, program, charset, time, observer, stop);
        let kept = kept.map_err(|error| told(context, error))?;
        let surveyed =
            survey(contents, toc, program, charset, &kept, &SystemRandom, workers, observer, stop);
        let surveyed = surveyed.map_err(|error| told(context, error))?;
        Ok(Looked { kept, surveyed })
    }
}

/// When a snapshot was begun.
fn snapshot_time(snapshot: &Snapshot) -> Result<Timestamp, CliError> {
    Timestamp::from_nanosecond(i128::from(snapshot.start))
        .map_err(|error| CliError::usage(format!("the time of the snapshot is none: {error}")))
}
