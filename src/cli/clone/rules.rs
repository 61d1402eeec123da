//! `clone rules`: drafts rules, checks them, says what a changed schema needs.

use std::path::PathBuf;

use serde_json::json;

use crate::anonymize::{Problem, PseudonymKey, Rules, Schema, compile};
use crate::clone::{CloneError, FilesPlan, SubsetHeader, clean_toc, draft, schema_of};
use crate::crypto::Secret;
use crate::event::counted;
use crate::ops::restore_database::{Contents, choose};
use crate::report::clean;
use crate::repository::Fetcher;
use crate::source::archive::Toc;

use super::super::context::Context;
use super::super::{CliError, Done};
use super::shown::{subset_of, tell_subset};
use super::source::{Looked, Looking, Source};
use super::{CONTENT_CACHE, charset, refuse};

/// What is done with rules.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Draft rules from a snapshot
    ///
    /// Names, types and some values tell what columns hold. What they do not tell is marked `todo` and still refuses.
    #[command(after_help = "\
Examples:
  mrs-backup clone rules init mrs-production > /etc/mrs-backup/clone.toml")]
    Init(Which),
    /// Hold rules against a snapshot: schema, and every row
    #[command(after_help = "\
Examples:
  mrs-backup clone rules check mrs-production --rules /etc/mrs-backup/clone.toml")]
    Check(Held),
    /// Show what rules need for the schema of a snapshot, without reading rows
    #[command(after_help = "\
Examples:
  mrs-backup clone rules diff mrs-production --rules /etc/mrs-backup/clone.toml")]
    Diff(Held),
}

/// Which snapshot.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Instance
    from: String,

    /// Which of its snapshots
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,

    /// The database of the snapshot, if there are several
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
}

/// Which rules, and against what.
#[derive(Debug, clap::Args)]
pub struct Held {
    #[command(flatten)]
    which: Which,

    /// File of rules
    #[arg(long, value_name = "FILE")]
    rules: PathBuf,
}

pub fn run(context: &Context, command: &Command) -> Result<Done, CliError> {
    let which = match command {
        Command::Init(which) => which,
        Command::Check(held) | Command::Diff(held) => &held.which,
    };
    let source = Source::open(context, &which.from, &which.snapshot)?;
    let (id, snapshot) = &source.selected;
    let manifest = choose(id, snapshot, which.database.as_deref())?.clone();
    let fetcher = Fetcher::new(&source.repository, CONTENT_CACHE);
    let contents = Contents::find(&fetcher, snapshot, &manifest)?;
    let toc = clean_toc(&contents.toc()?);
    let schema = schema_of(&manifest, &toc);
    match command {
        Command::Init(_) => {
            let text = draft(&contents, &schema, snapshot, charset(&manifest.encoding)?)?;
            context.out.line(text.trim_end())?;
            context.out.record("rules", &json!({ "rules": text }))?;
            Ok(Done::ok(json!({ "tables": schema.tables.len() })))
        }
        Command::Check(held) => check(context, held, &source, &contents, &toc, &schema),
        Command::Diff(held) => diff(context, held, &source, &schema),
    }
}

/// A key for looking only: what is made with it is thrown away.
fn any_key() -> Result<PseudonymKey, CliError> {
    PseudonymKey::new(&Secret::new(vec![0; 32])).map_err(|error| CliError::usage(error.to_string()))
}

/// All that keeps the rules from fitting the snapshot's schema and directories.
fn misfits(
    rules: &Rules,
    source: &Source,
    schema: &Schema,
) -> Result<Result<crate::anonymize::Program, Vec<Problem>>, CliError> {
    let (_, snapshot) = &source.selected;
    let home = source.settings.instance.as_ref().map(|instance| instance.home.value.clone());
    let files = FilesPlan::new(rules, snapshot, &home.unwrap_or_default()).err();
    Ok(match (compile(rules, schema, &any_key()?), files) {
        (Ok(program), None) => Ok(program),
        (Ok(_), Some(problems)) => Err(problems),
        (Err(problems), files) => Err([problems, files.unwrap_or_default()].concat()),
    })
}

fn check(
    context: &Context,
    held: &Held,
    source: &Source,
    contents: &Contents<'_, '_>,
    toc: &Toc,
    schema: &Schema,
) -> Result<Done, CliError> {
    let rules = Rules::load(&held.rules).map_err(CloneError::Rules)?;
    let program = match misfits(&rules, source, schema)? {
        Ok(program) => program,
        Err(problems) => return Err(refuse(context, problems)?),
    };
    let (snapshot, program) = (&source.selected.1, &program);
    let looking = Looking { contents, snapshot, toc, program };
    let Looked { kept, surveyed } = looking.look(context, 2)?;
    let subset = SubsetHeader::of(&kept);
    context.out.note(&format!(
        "the rules fit snapshot {} of {}: {}, {} rows looked at",
        source.selected.0.short(),
        clean(&source.selected.1.instance),
        counted(program.tables.len(), "table"),
        surveyed.rows
    ))?;
    tell_subset(context, &subset)?;
    Ok(Done::ok(json!({
        "snapshot": source.selected.0,
        "subset": subset_of(&subset),
        "tables": program.tables.len(),
        "rows": surveyed.rows,
        "identifiers": surveyed.originals.identifiers.len(),
    })))
}

fn diff(
    context: &Context,
    held: &Held,
    source: &Source,
    schema: &Schema,
) -> Result<Done, CliError> {
    let rules = Rules::load(&held.rules).map_err(CloneError::Rules)?;
    match misfits(&rules, source, schema)? {
        Ok(program) => {
            context.out.note("the rules name everything in the snapshot, and nothing else")?;
            Ok(Done::ok(json!({ "tables": program.tables.len() })))
        }
        Err(problems) => Err(refuse(context, problems)?),
    }
}
