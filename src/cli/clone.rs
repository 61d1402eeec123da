//! `clone`: an anonymized copy of one instance in the place of another's data.

mod rules;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::anonymize::{Charset, Problem, Program, PseudonymKey, Rules, compile};
use crate::clock::{Clock as _, SystemClock};
use crate::clone::{
    Applied, CloneError, CloneReport, CloneWork, FilesPlan, Guard, Refusal, Surveyed, apply,
    check_target, clean_toc, html, schema_of, survey, tables,
};
use crate::crypto::SystemRandom;
use crate::event::{Event, counted};
use crate::instance::config::{CloneConfig, EventKind, Instance, KeyReader, process_environment};
use crate::instance::database_server;
use crate::ops::restore_database::{Contents, DatabaseOptions, DatabasePlan, choose, plan};
use crate::report::{clean, human_bytes};
use crate::repository::{Fetcher, Repository};
use crate::snapshot::{DatabaseManifest, Selected};
use crate::target::postgres::Cluster;

use super::args::Filter;
use super::context::{Context, zone};
use super::format::local_time;
use super::restore_database::{duration_text, lock_instance};
use super::settings::Settings;
use super::{CliError, Done, after, ask};

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
  mrs-backup clone mrs-production mrs-staging --yes
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
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Rules: draft, check, compare with a schema
    #[command(subcommand)]
    Rules(rules::Command),
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    match (&args.command, &args.from, &args.to) {
        (Some(Command::Rules(command)), _, _) => rules::run(context, command),
        (None, Some(from), Some(to)) => clone(context, &args, from, to),
        _ => Err(CliError::usage("name the instance that is copied and the one that is replaced")),
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
    let source = Source::open(context, from, &args.snapshot)?;
    let target = context.settle(&context.sources()?, Some(to))?;
    context.out.set_instance(Some(to));
    let unnamed = || CliError::usage("both instances have to be in the configuration");
    let to_instance = target.instance.as_ref().ok_or_else(unnamed)?;
    let config = clone_config(to_instance)?;
    let _lock = if args.plan { None } else { lock_instance(context, &target)? };
    let rules = Rules::load(args.rules.as_deref().unwrap_or(&config.rules));
    let rules = rules.map_err(CloneError::Rules)?;
    let key = pseudonym_key(context, config)?;
    let cluster = server(context, to_instance, "clone")?;
    let ready = ready(context, args, &source, to_instance, &rules, &key, &cluster)?;
    let Ready { manifest, plan, files, program, charset } = &ready;
    let fetcher = Fetcher::new(&source.repository, CONTENT_CACHE);
    let contents = Contents::find(&fetcher, &source.selected.1, manifest)?;
    let (workers, stop) = (plan.options.workers, &context.stop);
    let observer = context.observer.as_ref();
    let surveyed =
        survey(&contents, &plan.toc, program, *charset, &SystemRandom, workers, observer, stop);
    let surveyed = surveyed.map_err(|error| told(context, error))?;
    let shown = Shown { context, source: &source, to, rules: &rules, plan, files };
    shown.show(program, &surveyed)?;
    if args.plan {
        context.out.note("nothing was written")?;
        return Ok(Done::ok(json!({ "dry_run": true, "rows_surveyed": surveyed.rows })));
    }
    assent(context, args, to, config, plan)?;
    let work = CloneWork {
        contents: &contents,
        plan,
        files,
        rules: &rules,
        program,
        charset: *charset,
        surveyed: &surveyed,
        cluster: &cluster,
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
    let report = shown.report(&work, &applied, &key);
    let place = write_report(&report, config, &target.state_dir)?;
    shown.tell(&applied, &place)
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
    let unnamed = || CliError::usage("both instances have to be in the configuration");
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

/// Asks, and of a protected target asks for its name.
fn assent(
    context: &Context,
    args: &Args,
    to: &str,
    config: &CloneConfig,
    plan: &DatabasePlan,
) -> Result<(), CliError> {
    if config.is_protected && args.confirm.as_deref() != Some(to) {
        let hint = format!("add --confirm {to} if that is what you mean");
        if !context.out.can_ask() {
            return Err(CliError::usage_hint(
                format!("{to} is protected, and its name was not typed; nothing was changed"),
                hint,
            ));
        }
        let question = format!("{to} is protected. Type its name to replace its data: ");
        if ask::answer(context, &question)?.trim() != to {
            return Err(CliError::usage("that is not its name; nothing was changed"));
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

/// What is told of a copy, before and after.
struct Shown<'a> {
    context: &'a Context,
    source: &'a Source,
    to: &'a str,
    rules: &'a Rules,
    plan: &'a DatabasePlan,
    files: &'a FilesPlan,
}

impl Shown<'_> {
    fn show(&self, program: &Program, surveyed: &Surveyed) -> Result<(), CliError> {
        let out = &self.context.out;
        let (id, snapshot) = &self.source.selected;
        let emptied: Vec<&str> = program
            .tables
            .iter()
            .filter(|table| table.is_emptied)
            .map(|table| table.title.as_str())
            .collect();
        let made: Vec<String> = self.files.made.values().map(|p| p.display().to_string()).collect();
        out.record(
            "plan",
            &json!({
                "snapshot": id,
                "from": snapshot.instance,
                "to": self.to,
                "database": self.plan.target,
                "server": self.plan.server,
                "rules": self.rules.path.display().to_string(),
                "rules_fingerprint": self.rules.fingerprint,
                "tables": program.tables.len(),
                "emptied": emptied,
                "rows_surveyed": surveyed.rows,
                "identifiers": surveyed.originals.identifiers.len(),
                "full_names": surveyed.originals.pairs.len(),
                "fingerprint_bytes": surveyed.originals.bytes(),
                "replaces_bytes": self.plan.replaces,
                "sessions": self.plan.sessions,
                "directories": made,
            }),
        )?;
        let zone = zone(&self.source.settings);
        out.note(&format!(
            "copy snapshot {} of {} from {} into {}, database {} ({})",
            id.short(),
            clean(&snapshot.instance),
            local_time(snapshot.start, &zone),
            clean(self.to),
            clean(&self.plan.target),
            clean(&self.plan.server)
        ))?;
        out.note(&format!(
            "  rules {} ({}): {}, of these {} emptied; {} rows looked at",
            clean(&self.rules.path.display().to_string()),
            self.rules.fingerprint,
            counted(program.tables.len(), "table"),
            emptied.len(),
            surveyed.rows
        ))?;
        out.note(&format!(
            "  looked for in everything copied: {} identifiers, {} full names ({} of memory)",
            surveyed.originals.identifiers.len(),
            surveyed.originals.pairs.len() / 2,
            human_bytes(surveyed.originals.bytes() as u64)
        ))?;
        match self.plan.replaces {
            None => out.note("  there is no database of this name yet")?,
            Some(bytes) => out.note(&format!(
                "  REPLACES the database that is there ({}, {} sessions), which is kept for {}",
                human_bytes(bytes),
                self.plan.sessions,
                duration_text(self.plan.options.keep)
            ))?,
        }
        for place in self.files.made.values() {
            let place = clean(&place.display().to_string());
            out.note(&format!("  REPLACES {place} by placeholders of the files that rows name"))?;
        }
        out.flush()
    }

    fn report(&self, work: &CloneWork<'_>, applied: &Applied, key: &PseudonymKey) -> CloneReport {
        let (id, snapshot) = &self.source.selected;
        let zone = zone(&self.source.settings);
        CloneReport {
            from: snapshot.instance.clone(),
            to: self.to.to_owned(),
            snapshot: id.to_string(),
            snapshot_time: local_time(snapshot.start, &zone),
            time: work.time.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
            database: self.plan.target.clone(),
            rules: self.rules.path.display().to_string(),
            rules_fingerprint: self.rules.fingerprint.clone(),
            key_id: key.id(),
            program: format!("mrs-backup {}", env!("CARGO_PKG_VERSION")),
            tables: tables(work.program, &applied.counts),
            groups: applied.groups.clone(),
            identifiers_looked_for: work.surveyed.originals.identifiers.len(),
            names_looked_for: work.surveyed.originals.pairs.len() / 2,
            files_made: applied.files_made,
            files_dropped: self.files.dropped.clone().into_iter().collect(),
        }
    }

    fn tell(&self, applied: &Applied, report: &Path) -> Result<Done, CliError> {
        let out = &self.context.out;
        let target = clean(&self.plan.target);
        let rows: u64 = applied.counts.values().map(|counts| counts.rows).sum();
        out.note(&format!(
            "{} has an anonymized copy of snapshot {}: {rows} rows, {} objects checked, {}",
            clean(self.to),
            self.plan.id.short(),
            applied.outcome.objects,
            counted(applied.files_made, "placeholder")
        ))?;
        out.note(&format!("  report: {}", clean(&report.display().to_string())))?;
        if let Some(kept) = &applied.outcome.kept {
            out.note(&format!(
                "  what it was before is kept as {} for {}; back to it: mrs-backup undo -i {} --database {target}",
                clean(kept),
                duration_text(self.plan.options.keep),
                clean(self.to)
            ))?;
        }
        let kept = applied.directories.iter().filter_map(|directory| directory.kept.as_ref());
        let kept: Vec<String> = kept.map(|path| path.display().to_string()).collect();
        Ok(Done::ok(json!({
            "snapshot": self.plan.id,
            "database": self.plan.target,
            "rows": rows,
            "objects": applied.outcome.objects,
            "files_made": applied.files_made,
            "kept": applied.outcome.kept,
            "kept_directories": kept,
            "report": report.display().to_string(),
        })))
    }
}

/// Leaves the report, as a page and as JSON; gives the page.
fn write_report(
    report: &CloneReport,
    config: &CloneConfig,
    state_dir: &Path,
) -> Result<PathBuf, CliError> {
    let directory = config.reports.clone().unwrap_or_else(|| state_dir.join("clones"));
    let failed = |error: std::io::Error| {
        CliError::io(format!("write the report below {}", directory.display()), &error)
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
    let day = report.time.get(..19).unwrap_or_default().replace([' ', ':'], "-");
    let name = format!("{}-{day}", report.to);
    let json: Value = serde_json::to_value(report).unwrap_or_default();
    let json = serde_json::to_string_pretty(&json).unwrap_or_default();
    let page = directory.join(format!("{name}.html"));
    for (path, text) in
        [(directory.join(format!("{name}.json")), json), (page.clone(), html(report))]
    {
        let temporary = path.with_extension("tmp");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&temporary, &path).map_err(failed)?;
    }
    fs::File::open(&directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    Ok(page)
}
