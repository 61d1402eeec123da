//! `run`: the nightly run of one or all instances.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::clock::SystemClock;
use crate::event::counted;
use crate::instance::{PlanOptions, lock, run as run_instance};

use super::context::Context;
use super::settings::{Sources, names};
use super::{CliError, Done, Exit};

/// Back up an instance as the configuration says
///
/// Locks the instance, dumps its databases, saves its files and leaves a receipt. Meant for timers:
/// only what needs attention is told, and one line at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup run                          the only instance of the configuration
  mrs-backup run mrs-production --lock-wait 15m
  mrs-backup run --all --json")]
pub struct Args {
    /// Instance of the configuration
    #[arg(value_name = "INSTANCE", conflicts_with = "all")]
    name: Option<String>,

    /// Every instance, one after the other; one that fails does not stop the others
    #[arg(long)]
    all: bool,

    /// How long to wait for somebody else who works on the instance (`90s`, `15m`)
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_wait)]
    lock_wait: Duration,

    /// Tag of the snapshot, besides those of the configuration (may be repeated)
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,

    /// Say what would be backed up; nothing is read or written
    #[arg(short = 'n', long)]
    dry_run: bool,
}

fn parse_wait(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration =
        text.parse().map_err(|_| "write it like `90s`, `15m` or `1h`".to_owned())?;
    Duration::try_from(duration).map_err(|_| "it cannot be negative".to_owned())
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let sources = context.sources()?;
    let Some(config) = &sources.config else {
        return Err(CliError::usage_hint(
            "there is no configuration, and `run` needs one",
            "name it with --config FILE, or use `mrs-backup backup PATH...`",
        ));
    };
    let name = args.name.as_deref().or(context.global.instance.as_deref());
    let chosen: Vec<&str> = match (name, args.all) {
        (Some(name), false) => vec![config.instance(name)?.name.as_str()],
        (_, true) => config.instances.keys().map(String::as_str).collect(),
        (None, false) if config.instances.len() == 1 => {
            config.instances.keys().map(String::as_str).collect()
        }
        (None, false) => {
            return Err(CliError::usage_hint(
                format!("there are {} instances, and none is named", config.instances.len()),
                format!("name one of {}; or use --all", names(config)),
            ));
        }
    };
    if chosen.is_empty() {
        return Err(CliError::usage("the configuration has no instance"));
    }
    if args.all && sources.access.repository.is_some() {
        return Err(CliError::usage_hint(
            "--all and a repository named by an option or the environment contradict each other",
            "unset --repo, MRS_BACKUP_REPOSITORY and RESTIC_REPOSITORY",
        ));
    }
    match chosen[..] {
        [one] => run_one(context, &sources, one, &args),
        _ => run_all(context, &sources, &chosen, &args),
    }
}

fn run_one(
    context: &Context,
    sources: &Sources,
    name: &str,
    args: &Args,
) -> Result<Done, CliError> {
    context.out.set_instance(Some(name));
    let settings = sources.settle(Some(name))?;
    let Some(instance) = &settings.instance else {
        return Err(CliError::usage(format!("there is no instance `{name}`")));
    };
    if args.dry_run {
        return show(context, instance);
    }
    // The place is looked at first: where there is no repository nobody needs to wait.
    let store = context.store(&settings)?;
    if store.survey()? != crate::store::Survey::Repository {
        return Err(context.open(&settings).err().unwrap_or(CliError::Interrupted));
    }
    let _lock = lock(&settings.state_dir, name, args.lock_wait, &SystemClock, &context.stop)?;
    let repository = context.open(&settings)?;
    let options = PlanOptions { tags: args.tags.clone() };
    let outcome = run_instance(&repository, instance, &options, &context.stop, &context.observer)?;
    let mut fields = super::backup::report(context, &outcome.backup)?;
    let is_whole = outcome.backup.snapshot.is_complete;
    let mut exit = if is_whole { Exit::Ok } else { Exit::Incomplete };
    if !outcome.failed.is_empty() {
        exit = exit.and(Exit::Failed);
        if let Value::Object(fields) = &mut fields {
            fields.insert("failed".to_owned(), json!(outcome.failed));
        }
    }
    Ok(Done::with(exit, fields))
}

fn show(context: &Context, instance: &crate::instance::config::Instance) -> Result<Done, CliError> {
    context.out.line(&format!(
        "would back up {} from {} to {}:",
        instance.name,
        instance.home.value.display(),
        instance.repository.value
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
        "paths": instance.absolute_paths(),
        "databases": databases.unwrap_or_default(),
    })))
}

fn run_all(
    context: &Context,
    sources: &Sources,
    names: &[&str],
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
    let good = results.iter().filter(|result| result["exit_code"] == 0).count();
    context.out.note(&format!("{good} of {} backed up whole", counted(names.len(), "instance")))?;
    Ok(Done::with(exit, json!({ "instances": results })))
}
