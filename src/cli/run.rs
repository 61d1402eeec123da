//! `run`: the whole night of one or all instances.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::clock::{Clock, SystemClock};
use crate::event::counted;
use crate::instance::config::{Config, Instance, parse_duration};
use crate::instance::{Job, Step, lock};
use crate::schedule::{Ledger, due_at};

use super::after;
use super::context::Context;
use super::format::local_time;
use super::settings::{Sources, names};
use super::{CliError, Done, Exit};

pub mod child;
mod night;
mod noted;
mod replaced;
mod steps;

use noted::Notes;

/// Do what the configuration says for the night of an instance
///
/// Locks the instance, looks whether its disk is mounted, its repository opens and has room, makes a
/// snapshot, brings it to the copies, drops snapshots by the retention policy, prunes, and checks a part if that is configured. A step that fails is
/// told, steps that depend on it are left out, and the exit code is that of the worst. Meant for
/// timers: only what needs attention is told, and one line at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Copies, and forget and prune, are left out if `schedule.copy` and `schedule.prune` of the
configuration give them an hour of their own. The worst of several exit codes is, from the
best: 0, 3, 20, 11, 21, 12, 10, 2, 1, 130.

Examples:
  mrs-backup run                          the only instance of the configuration
  mrs-backup run mrs-production --lock-wait 15m
  mrs-backup run --all --json
  mrs-backup run --all --due              whatever is due; from cron, every quarter of an hour
  mrs-backup run mrs-production --only forget,prune
  mrs-backup run mrs-production --job check")]
pub struct Args {
    /// Instance of the configuration
    #[arg(value_name = "INSTANCE", conflicts_with = "all")]
    name: Option<String>,

    /// Every instance, one after the other; one that fails does not stop the others
    #[arg(long)]
    all: bool,

    /// Only jobs that are due by the schedule and were not run by anybody else
    #[arg(long)]
    due: bool,

    /// Another job than the night, or with --due this one only
    #[arg(long, value_name = "JOB", value_parser = job_parser())]
    job: Option<Job>,

    /// Only these steps, in their order
    #[arg(long, value_name = "STEP,...", value_delimiter = ',', value_parser = step_parser())]
    #[arg(conflicts_with_all = ["due", "job", "skip"])]
    only: Vec<Step>,

    /// Without these steps
    #[arg(long, value_name = "STEP,...", value_delimiter = ',', value_parser = step_parser())]
    skip: Vec<Step>,

    /// How long to wait for somebody else who works on the instance (`90s`, `15m`)
    /// [default: `lock_wait` of the configuration, or 0s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    lock_wait: Option<Duration>,

    /// Tag of the snapshot, besides those of the configuration (may be repeated)
    #[arg(long = "tag", value_name = "TAG", value_parser = super::args::tag)]
    tags: Vec<String>,

    /// Say what would be backed up; nothing is read or written
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub fn job_parser() -> impl clap::builder::TypedValueParser<Value = Job> {
    let parser = PossibleValuesParser::new(Job::ALL.map(Job::name));
    parser.try_map(|name| Job::named(&name).ok_or("there is no such job"))
}

fn step_parser() -> impl clap::builder::TypedValueParser<Value = Step> {
    let parser = PossibleValuesParser::new(Step::ALL.map(Step::name));
    parser.try_map(|name| Step::named(&name).ok_or("there is no such step"))
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let sources = context.sources()?;
    let Some(config) = &sources.config else {
        return Err(CliError::usage_hint(
            "there is no configuration, and `run` needs one",
            "name it with --config FILE, or use `mrs-backup backup PATH...`",
        ));
    };
    let chosen = chosen(context, config, &args)?;
    if args.all && sources.access.repository.is_some() {
        return Err(CliError::usage_hint(
            "--all and a repository named by an option or the environment contradict each other",
            "unset --repo, MRS_BACKUP_REPOSITORY and RESTIC_REPOSITORY",
        ));
    }
    match &chosen[..] {
        [one] => run_one(context, &sources, one, &args),
        _ => run_all(context, &sources, &chosen, &args),
    }
}

/// Takes a snapshot of an instance as the night does.
pub fn fresh_snapshot(context: &Context, name: &str) -> Result<Exit, CliError> {
    let args = Args {
        name: Some(name.to_owned()),
        all: false,
        due: false,
        job: None,
        only: vec![Step::Snapshot],
        skip: Vec::new(),
        lock_wait: None,
        tags: Vec::new(),
        dry_run: false,
    };
    run_one(context, &context.sources()?, name, &args).map(|done| done.exit)
}

/// The instances meant.
fn chosen(context: &Context, config: &Config, args: &Args) -> Result<Vec<String>, CliError> {
    let has_schedule = |instance: &&Instance| !instance.schedule.value.jobs.is_empty();
    let all = || config.instances.keys().cloned().collect::<Vec<_>>();
    let name = args.name.as_deref().or(context.global.instance.as_deref());
    let chosen = match (name, args.all) {
        (Some(name), false) => vec![config.instance(name)?.name.clone()],
        (_, true) if args.due => {
            let due = config.instances.values().filter(has_schedule);
            due.map(|instance| instance.name.clone()).collect()
        }
        (_, true) => all(),
        (None, false) if config.instances.len() == 1 => all(),
        (None, false) => {
            return Err(CliError::usage_hint(
                format!(
                    "there are {}, and none is named",
                    counted(config.instances.len(), "instance")
                ),
                format!("name one of {}; or use --all", names(config)),
            ));
        }
    };
    match chosen.is_empty() {
        true if config.instances.is_empty() => Err(CliError::usage_hint(
            "the configuration has no instance",
            "add [instance.NAME]: mrs-backup config validate --help shows one",
        )),
        true => Err(no_schedule("no instance")),
        false => Ok(chosen),
    }
}

fn no_schedule(who: &str) -> CliError {
    CliError::usage_hint(
        format!("{who} has a schedule, so nothing is ever due"),
        "write one into the configuration: schedule = { run = \"0 23 * * *\" }",
    )
}

/// What is to be done to an instance.
struct Work {
    /// Jobs this is a run of, for the ledger.
    jobs: Vec<Job>,
    steps: Vec<Step>,
}

impl Work {
    fn new(instance: &Instance, args: &Args, due: &[Job]) -> Self {
        if !args.only.is_empty() {
            let steps = Step::ALL.into_iter().filter(|step| args.only.contains(step)).collect();
            return Self { jobs: Vec::new(), steps };
        }
        let jobs = if args.due { due.to_vec() } else { vec![args.job.unwrap_or(Job::Run)] };
        let wanted: Vec<Step> = jobs.iter().flat_map(|job| job.steps(instance)).collect();
        let is_wanted = |step: &Step| wanted.contains(step) && !args.skip.contains(step);
        let steps: Vec<Step> = Step::ALL.into_iter().filter(is_wanted).collect();
        // A job of which somebody left out the point is still to be done.
        let is_whole =
            |job: &Job| job.steps(instance).first().is_none_or(|step| steps.contains(step));
        Self { jobs: jobs.into_iter().filter(is_whole).collect(), steps }
    }
}

/// The next job and its time.
type Next = (Timestamp, Job);

/// The jobs of an instance that are due, and when the next one is.
fn due_jobs(
    ledger: &Ledger,
    instance: &Instance,
    only: Option<Job>,
    now: Timestamp,
) -> Result<(Vec<Job>, Option<Next>), CliError> {
    let (mut due, mut next) = (Vec::new(), None);
    for (job, line) in &instance.schedule.value.jobs {
        if only.is_some_and(|only| only != *job) {
            continue;
        }
        let entry = ledger.read(&instance.name, *job)?;
        let zone = &instance.timezone.value;
        match due_at(line, zone, &entry, Duration::ZERO, now) {
            Some(time) if time <= now => due.push(*job),
            Some(time) if next.is_none_or(|(earliest, _)| time < earliest) => {
                next = Some((time, *job));
            }
            _ => {}
        }
    }
    Ok((due, next))
}

fn run_one(
    context: &Context,
    sources: &Sources,
    name: &str,
    args: &Args,
) -> Result<Done, CliError> {
    context.out.set_instance(Some(name));
    let settings = context.settle(sources, Some(name))?;
    let Some(instance) = &settings.instance else {
        return Err(CliError::usage_hint(
            format!("there is no instance `{name}`"),
            "mrs-backup config show lists those of the configuration",
        ));
    };
    let ledger = Ledger::new(&settings.state_dir);
    if args.due && instance.schedule.value.jobs.is_empty() {
        return Err(no_schedule(&format!("instance `{name}` is named, but not one of its jobs")));
    }
    let due = |now| due_jobs(&ledger, instance, args.job, now);
    let (now_due, next) = due(SystemClock.now())?;
    if args.due && now_due.is_empty() {
        return not_due(context, instance, next);
    }
    if args.dry_run {
        return show(context, instance, &Work::new(instance, args, &now_due).steps);
    }
    let wait = args.lock_wait.unwrap_or(instance.lock_wait.value);
    let lock = lock(&settings.state_dir, name, wait, &SystemClock, &context.stop)?;
    // Whoever had the lock may have done it.
    let (now_due, next) = due(SystemClock.now())?;
    if args.due && now_due.is_empty() {
        return not_due(context, instance, next);
    }
    let work = Work::new(instance, args, &now_due);
    for job in &work.jobs {
        ledger.begin(name, *job, SystemClock.now())?;
    }
    let notes = Notes::begin(context, &settings, instance, &work.jobs, &work.steps);
    let began = after::began(context, sources, name);
    let result = night::night(context, &settings, instance, &work.steps, &args.tags, &notes);
    notes.end(&result);
    // Others may work on the instance while people are told.
    drop(lock);
    // It ends within its own bound; whatever became of it, the run goes on.
    let _ = began.map(std::thread::JoinHandle::join);
    after::ended(context, sources, name);
    let exit = result.as_ref().map_or_else(CliError::exit, |done| done.exit);
    for job in &work.jobs {
        ledger.finish(name, *job, SystemClock.now(), exit.code())?;
    }
    result
}

fn not_due(context: &Context, instance: &Instance, next: Option<Next>) -> Result<Done, CliError> {
    let zone = &instance.timezone.value;
    let text = next.map_or_else(String::new, |(time, job)| {
        let nanos = i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
        format!("; next is {} at {}", job.name(), local_time(nanos, zone))
    });
    let name = &instance.name;
    context
        .out
        .note(&format!("nothing is due for {name}{text}; `mrs-backup run {name}` runs now"))?;
    let next = next.map(|(time, job)| json!({ "job": job, "time": time.to_string() }));
    Ok(Done::ok(json!({ "due": [], "next": next })))
}

fn show(context: &Context, instance: &Instance, steps: &[Step]) -> Result<Done, CliError> {
    let names: Vec<&str> = steps.iter().map(|step| step.name()).collect();
    context.out.line(&format!(
        "would back up {} from {} to {} ({}):",
        instance.name,
        instance.home.value.display(),
        instance.repository.value,
        names.join(", ")
    ))?;
    for path in instance.absolute_paths() {
        let missing = if path.symlink_metadata().is_ok() { "" } else { "  (missing)" };
        context.out.line(&format!("  {}{missing}", path.display()))?;
    }
    let databases = instance.postgres.as_ref().map(|postgres| postgres.databases.value.clone());
    for database in databases.iter().flatten() {
        context.out.line(&format!("  database {database}"))?;
    }
    Ok(Done::ok(json!({
        "dry_run": true,
        "steps": names,
        "paths": instance.absolute_paths(),
        "databases": databases.unwrap_or_default(),
    })))
}

fn run_all(
    context: &Context,
    sources: &Sources,
    names: &[String],
    args: &Args,
) -> Result<Done, CliError> {
    let mut exit = Exit::Ok;
    let mut results = Vec::new();
    for name in names {
        if context.stop.is_stopped() {
            exit = exit.and(Exit::Interrupted);
            break;
        }
        let one = match run_one(context, sources, name, args) {
            Ok(done) => {
                context
                    .out
                    .record("run", &json!({ "result": done.exit.word(), "run": done.summary }))?;
                done.exit
            }
            Err(error) => {
                let (message, hint) = (error.message(), error.hint());
                context.out.complain(&format!("{name}: {message}"), hint.as_deref());
                let fields =
                    json!({ "result": error.exit().word(), "message": message, "hint": hint });
                context.out.record("run", &fields)?;
                error.exit()
            }
        };
        results.push(json!({ "instance": name, "result": one.word(), "exit_code": one.code() }));
        exit = exit.and(one);
    }
    context.out.set_instance(None);
    let good = results.iter().filter(|result: &&Value| result["exit_code"] == 0).count();
    let done = if args.due { "done or not due" } else { "backed up whole" };
    context.out.note(&format!("{good} of {} {done}", counted(names.len(), "instance")))?;
    Ok(Done::with(exit, json!({ "instances": results })))
}
