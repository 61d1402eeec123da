//! `clone`: an anonymized copy of one instance in the place of another's data.

mod rules;
mod shown;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use crate::anonymize::{Charset, Kept, Problem, Program, PseudonymKey, Rules, compile};
use crate::clock::{Clock as _, SystemClock};
use crate::clone::{
    CloneError, CloneWork, Commands, FilesPlan, Guard, Refusal, Surveyed, apply, check_target,
    choose_rows, clean_toc, preview, schema_of, survey,
};
use crate::compose::{Programs, base_environment};
use crate::crypto::SystemRandom;
use crate::event::{Event, counted};
use crate::instance::config::{CloneConfig, EventKind, Instance, KeyReader, process_environment};
use crate::instance::database_server;
use crate::ops::restore_database::{Contents, DatabaseOptions, DatabasePlan, choose, plan};
use crate::report::clean;
use crate::repository::{Fetcher, Repository};
use crate::snapshot::{DatabaseManifest, Selected, Snapshot};
use crate::target::postgres::Cluster;

use super::args::Filter;
use super::context::{Context, zone};
use super::restore_database::lock_instance;
use super::run::fresh_snapshot;
use super::settings::Settings;
use super::{CliError, Done, Exit, after, ask};
use shown::{Shown, show_preview, write_report};

/// Bytes of opened segments kept while rows are read.
const CONTENT_CACHE: usize = 48 << 20;
/// What to do where nobody can be asked.
const LOOK_FIRST: &str = "look at it with --plan, then add --yes to do it";

/// Put an anonymized copy of an instance in the place of another one's data
///
/// A stored snapshot of FROM is read here, its rows and files are rewritten by the rules that the configuration of TO names, and
/// only what is rewritten goes to TO's server. Everything that can be wrong is found before the first byte is written. The data that
/// is replaced is kept for `undo`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
Examples:
  mrs-backup clone mrs-production mrs-staging --plan    look at everything, write nothing
  mrs-backup clone mrs-production mrs-staging --preview 3    and show three rows of each table
  mrs-backup clone mrs-production mrs-staging --fresh --yes  of now, not of the last night
  mrs-backup clone rules init mrs-production > /etc/mrs-backup/clone.toml
  mrs-backup clone rules check mrs-production --rules /etc/mrs-backup/clone.toml
  mrs-backup undo -i mrs-staging --database mrs         back to what was there")]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Instance that is copied
    #[arg(required = true)]
    from: Option<String>,

    /// Instance whose data is replaced
    #[arg(required = true)]
    to: Option<String>,

    /// Which snapshot of FROM
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,

    /// Take a snapshot of FROM first, as `run` does
    #[arg(long, conflicts_with_all = ["snapshot", "plan", "preview"])]
    fresh: bool,

    /// Other rules than those the configuration names
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,

    /// The database of the snapshot, if there are several
    #[arg(long, value_name = "NAME")]
    database: Option<String>,

    /// The name of a protected target, typed
    #[arg(long, value_name = "TO")]
    confirm: Option<String>,

    /// Only look: rules, rows and target; nothing is written
    #[arg(short = 'n', long, visible_alias = "dry-run")]
    plan: bool,

    /// Only look, and show N rows of each table as they were (first letter and about how long) and as they will be
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    preview: Option<u16>,
}

impl Args {
    /// Nothing is written.
    const fn only_looks(&self) -> bool {
        self.plan || self.preview.is_some()
    }
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Rules: draft, check, compare with a schema
    #[command(
        subcommand,
        after_help = "\
Examples:
  mrs-backup clone rules init mrs-production > /etc/mrs-backup/clone.toml
  mrs-backup clone rules check mrs-production --rules /etc/mrs-backup/clone.toml"
    )]
    Rules(rules::Command),
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    match (&args.command, &args.from, &args.to) {
        (Some(Command::Rules(command)), _, _) => rules::run(context, command),
        (None, Some(from), Some(to)) => clone(context, &args, from, to),
        _ => Err(CliError::usage_hint(
            "name the instance that is copied and the one that is replaced",
            "mrs-backup clone FROM TO --plan looks at everything first",
        )),
    }
}

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

/// The encoding of rows, if they can be read here.
pub(super) fn charset(encoding: &str) -> Result<Charset, CliError> {
    Charset::of_postgres(encoding).ok_or_else(|| {
        let what = format!(
            "its encoding {encoding} is not read here; UTF8, LATIN1, LATIN9 and WIN1252 are"
        );
        CloneError::refused("database", what).into()
    })
}

fn clone_config(to: &Instance) -> Result<&CloneConfig, CliError> {
    to.clone.as_ref().ok_or_else(|| {
        let name = &to.name;
        CliError::from(CloneError::refused(
            format!("target {name}"),
            format!("its configuration does not allow copies; add [instance.{name}.clone]"),
        ))
    })
}

fn pseudonym_key(context: &Context, config: &CloneConfig) -> Result<PseudonymKey, CliError> {
    let reader = KeyReader { environment: &process_environment, stop: Arc::clone(&context.stop) };
    let read = reader.read(&config.key)?;
    for message in read.warnings {
        context.observer.event(&Event::Warning { item: "clone.key".to_owned(), message });
    }
    PseudonymKey::new(&read.secret).map_err(|error| {
        CliError::usage_hint(error.to_string(), "head -c 32 /dev/urandom | base64 > KEYFILE")
    })
}

fn server(context: &Context, instance: &Instance, work: &str) -> Result<Cluster, CliError> {
    let config = instance.postgres.as_ref();
    let server = database_server(config, work, &context.stop, &context.observer)?;
    Ok(Cluster::new(server, Arc::clone(&context.stop)))
}

/// Tells all problems, with what to write, and gives the error.
pub(super) fn refuse(context: &Context, problems: Vec<Problem>) -> Result<CliError, CliError> {
    for problem in &problems {
        context.out.record(
            "problem",
            &json!({
                "place": problem.place, "problem": problem.what, "suggestion": problem.suggestion,
            }),
        )?;
        context.out.line(&format!("{}: {}", clean(&problem.place), clean(&problem.what)))?;
        for line in problem.suggestion.iter().flat_map(|lines| lines.lines()) {
            context.out.line(&format!("    {}", clean(line)))?;
        }
    }
    Ok(CloneError::Refused(Refusal(problems)).into())
}

/// The same, of an error that lists problems.
pub(super) fn told(context: &Context, error: CloneError) -> CliError {
    match error {
        CloneError::Refused(Refusal(problems)) => {
            refuse(context, problems).unwrap_or_else(|error| error)
        }
        error => error.into(),
    }
}

fn clone(context: &Context, args: &Args, from: &str, to: &str) -> Result<Done, CliError> {
    let target = context.settle(&context.sources()?, Some(to))?;
    let to_instance = target.instance.as_ref().ok_or_else(unnamed)?;
    let config = clone_config(to_instance)?;
    let rules = Rules::load(args.rules.as_deref().unwrap_or(&config.rules));
    let rules = rules.map_err(CloneError::Rules)?;
    if args.fresh {
        assent_to_fresh(context, args, from, to, config)?;
        if fresh_snapshot(context, from)? != Exit::Ok {
            let what = "its fresh snapshot lacks something, as was told; without --fresh the last one is copied";
            return Err(CloneError::refused(format!("instance {from}"), what).into());
        }
    }
    let source = Source::open(context, from, &args.snapshot)?;
    context.out.set_instance(Some(to));
    let _lock = if args.only_looks() { None } else { lock_instance(context, &target)? };
    let key = pseudonym_key(context, config)?;
    let cluster = server(context, to_instance, "clone")?;
    let ready = ready(context, args, &source, to_instance, &rules, &key, &cluster)?;
    let Ready { manifest, plan, files, program, charset } = &ready;
    let fetcher = Fetcher::new(&source.repository, CONTENT_CACHE);
    let contents = Contents::find(&fetcher, &source.selected.1, manifest)?;
    let looked = look(context, &contents, &source.selected.1, &ready)?;
    let Looked { kept, surveyed } = &looked;
    let shown = Shown { context, source: &source, to, rules: &rules, plan, files, kept };
    shown.show(program, surveyed)?;
    if args.only_looks() {
        let count = args.preview.map_or(0, usize::from);
        let originals = &surveyed.originals;
        let rows = preview(&contents, program, *charset, originals, kept, count);
        show_preview(context, &rows?)?;
        context.out.note("nothing was written")?;
        return Ok(Done::ok(json!({ "dry_run": true, "rows_surveyed": surveyed.rows })));
    }
    assent(context, args, to, config, plan)?;
    let copying = Copying {
        context,
        shown: &shown,
        instance: to_instance,
        config,
        contents: &contents,
        ready: &ready,
        looked: &looked,
        cluster: &cluster,
        key: &key,
        state_dir: &target.state_dir,
    };
    copying.run()
}

/// A copy that somebody said yes to.
struct Copying<'a> {
    context: &'a Context,
    shown: &'a Shown<'a>,
    instance: &'a Instance,
    config: &'a CloneConfig,
    contents: &'a Contents<'a, 'a>,
    ready: &'a Ready,
    looked: &'a Looked,
    cluster: &'a Cluster,
    key: &'a PseudonymKey,
    state_dir: &'a Path,
}

impl Copying<'_> {
    /// Makes it, tells of it, and runs what the target's owner wants to be run after it.
    fn run(&self) -> Result<Done, CliError> {
        let Self { context, shown, config, .. } = self;
        let (from, to) = (&shown.source.selected.1.instance, shown.to);
        let runner = Programs { stop: Arc::clone(&context.stop) };
        let environment = base_environment(std::env::vars_os());
        let before_swap = Commands {
            commands: &config.before_swap,
            directory: &self.instance.home.value,
            limit: config.command_limit,
            runner: &runner,
            environment: &environment,
            observer: context.observer.as_ref(),
        };
        let work = CloneWork {
            contents: self.contents,
            plan: &self.ready.plan,
            files: &self.ready.files,
            rules: shown.rules,
            program: &self.ready.program,
            charset: self.ready.charset,
            kept: &self.looked.kept,
            surveyed: &self.looked.surveyed,
            cluster: self.cluster,
            before_swap: &before_swap,
            time: SystemClock.now(),
            observer: &context.observer,
        };
        let applied = apply(&work);
        let text = match &applied {
            Ok(_) => format!("an anonymized copy of {from} is in its place"),
            Err(error) => format!("no anonymized copy of {from}: {error}"),
        };
        after::happened(context, to, EventKind::Clone, applied.is_ok(), &text);
        let applied = applied?;
        let report = shown.report(&work, &applied, self.key);
        let place = write_report(&report, config, self.state_dir)?;
        let done = shown.tell(&applied, &place)?;
        let ran = Commands { commands: &config.after, ..before_swap }.run(&self.ready.plan.target);
        ran.map_err(|error| CloneError::After { to: to.to_owned(), error })?;
        Ok(done)
    }
}

/// A snapshot takes its time: who has to say yes, or a name, does it before.
fn assent_to_fresh(
    context: &Context,
    args: &Args,
    from: &str,
    to: &str,
    config: &CloneConfig,
) -> Result<(), CliError> {
    let unallowed = !config.from.iter().any(|name| name == from);
    if unallowed {
        let what = format!(
            "its configuration does not let {from} be copied into it; name it in `clone.from`"
        );
        return Err(CloneError::refused(format!("target {to}"), what).into());
    }
    match config.is_protected && !context.out.can_ask() && args.confirm.as_deref() != Some(to) {
        true => Err(unconfirmed(to)),
        false => Ok(()),
    }
}

/// What all rows told.
struct Looked {
    kept: Kept,
    surveyed: Surveyed,
}

/// Looks at all rows: which are copied, and whether they can be rewritten.
fn look(
    context: &Context,
    contents: &Contents<'_, '_>,
    snapshot: &Snapshot,
    ready: &Ready,
) -> Result<Looked, CliError> {
    let Ready { plan, program, charset, .. } = ready;
    let (observer, stop) = (context.observer.as_ref(), &context.stop);
    let time = snapshot_time(snapshot)?;
    let kept = choose_rows(contents, program, *charset, time, observer, stop);
    let kept = kept.map_err(|error| told(context, error))?;
    let (toc, workers) = (&plan.toc, plan.options.workers);
    let surveyed =
        survey(contents, toc, program, *charset, &kept, &SystemRandom, workers, observer, stop);
    let surveyed = surveyed.map_err(|error| told(context, error))?;
    Ok(Looked { kept, surveyed })
}

/// One of the two is not in the configuration.
fn unnamed() -> CliError {
    CliError::usage_hint(
        "both instances have to be in the configuration",
        "mrs-backup config show lists those that are; name the file with --config FILE",
    )
}

/// When a snapshot was begun.
fn snapshot_time(snapshot: &Snapshot) -> Result<Timestamp, CliError> {
    Timestamp::from_nanosecond(i128::from(snapshot.start))
        .map_err(|error| CliError::usage(format!("the time of the snapshot is none: {error}")))
}

/// What is known before a row was read.
struct Ready {
    manifest: DatabaseManifest,
    plan: DatabasePlan,
    files: FilesPlan,
    program: Program,
    charset: Charset,
}

/// Looks at the target, and holds the rules against the snapshot; everything that is wrong is told.
fn ready(
    context: &Context,
    args: &Args,
    source: &Source,
    to: &Instance,
    rules: &Rules,
    key: &PseudonymKey,
    cluster: &Cluster,
) -> Result<Ready, CliError> {
    let from = source.settings.instance.as_ref().ok_or_else(unnamed)?;
    let config = clone_config(to)?;
    let (id, snapshot) = &source.selected;
    let manifest = choose(id, snapshot, args.database.as_deref())?.clone();
    let origin = server(context, from, "clone").ok();
    let guard = Guard { from, to, config, rules, manifest: &manifest };
    let mut problems = check_target(&guard, origin.as_ref(), cluster);
    if !problems.is_empty() {
        return Err(refuse(context, problems)?);
    }
    let files = FilesPlan::new(rules, snapshot, &to.home.value).unwrap_or_else(|found| {
        problems.extend(found);
        FilesPlan::default()
    });
    let plan = database_plan(context, source, to, &manifest.name, rules, cluster)?;
    let charset = charset(&manifest.encoding)?;
    let program = match compile(rules, &schema_of(&manifest, &plan.toc), key) {
        Ok(program) if problems.is_empty() => program,
        Ok(_) => return Err(refuse(context, problems)?),
        Err(found) => {
            problems.extend(found);
            return Err(refuse(context, problems)?);
        }
    };
    Ok(Ready { manifest, plan, files, program, charset })
}

fn database_plan(
    context: &Context,
    source: &Source,
    to: &Instance,
    database: &str,
    rules: &Rules,
    cluster: &Cluster,
) -> Result<DatabasePlan, CliError> {
    let (id, snapshot) = &source.selected;
    let names = to.postgres.as_ref().map(|postgres| postgres.databases.value.clone());
    let rename = match names.unwrap_or_default().as_slice() {
        [one] => one.clone(),
        several if several.iter().any(|name| name == database) => database.to_owned(),
        _ => {
            let what =
                format!("its configuration has no single database, and none called {database}");
            return Err(CloneError::refused(format!("target {}", to.name), what).into());
        }
    };
    let options = DatabaseOptions {
        database: Some(database.to_owned()),
        rename: Some(rename),
        is_named: true,
        // That it is another cluster is what was made sure of.
        other_cluster: true,
        workers: usize::from(to.restore.jobs.value),
        keep: to.restore.keep_replaced.value,
        assertions: rules.assertions.clone(),
    };
    let mut plan = plan(&source.repository, *id, snapshot, cluster, options, &context.stop)?;
    let has_objects =
        plan.toc.entries.iter().any(|entry| ["BLOBS", "BLOB"].contains(&entry.kind.as_str()));
    if has_objects && !rules.empties_large_objects {
        return Err(CloneError::refused(
            format!("database {database}"),
            "it has large objects, whose bytes no rule can rewrite; add large_objects = \"empty\"",
        )
        .into());
    }
    plan.toc = clean_toc(&plan.toc);
    Ok(plan)
}

fn unconfirmed(to: &str) -> CliError {
    CliError::usage_hint(
        format!("{to} is protected, and its name was not typed; nothing was changed"),
        format!("add --confirm {to} if that is what you mean"),
    )
}

/// Asks, and of a protected target asks for its name.
fn assent(
    context: &Context,
    args: &Args,
    to: &str,
    config: &CloneConfig,
    plan: &DatabasePlan,
) -> Result<(), CliError> {
    if config.is_protected && args.confirm.as_deref() != Some(to) {
        if !context.out.can_ask() {
            return Err(unconfirmed(to));
        }
        let question = format!("{to} is protected. Type its name to replace its data: ");
        if ask::answer(context, &question)?.trim() != to {
            return Err(CliError::usage_hint(
                "that is not its name; nothing was changed",
                format!("run it again and type {to}, or add --confirm {to}"),
            ));
        }
        return Ok(());
    }
    if plan.replaces.is_none() {
        return Ok(());
    }
    let needs = format!(
        "database {} of {to} is to be replaced, and {} ended",
        clean(&plan.target),
        counted(plan.sessions, "session")
    );
    ask::assent(context, &needs, LOOK_FIRST)
}
