//! `doctor`: everything a night needs, looked at now.

use clap::builder::PossibleValuesParser;
use serde_json::json;

use crate::clock::SystemClock;
use crate::doctor::{Finding, Level, Patient, Trouble, examine, names};
use crate::event::counted;
use crate::instance::config::process_environment;
use crate::report::clean;
use crate::status::{InstanceStatus, Store};

use super::context::Context;
use super::settings::Sources;
use super::status::read;
use super::{CliError, Done, Exit};

/// Look at everything the next night needs
///
/// Is the disk mounted and large enough, do repository, databases, docker and copies answer, does a path save
/// everything the containers write to, who else can read secrets, who starts the jobs, how old are the last
/// snapshot and the last proof? Each in one sentence, with the command that mends it. Changes nothing; at the repository a session is opened and ended.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Ends with 1 if there is an error; warnings are errors with --strict.

Examples:
  mrs-backup doctor                       every instance of the configuration
  mrs-backup doctor mrs-production
  mrs-backup doctor --only space,copies
  mrs-backup doctor -q                    only what is not well
  mrs-backup doctor --json | jq 'select(.level == \"error\")'")]
pub struct Args {
    /// Instance of the configuration [default: all]
    #[arg(value_name = "INSTANCE", conflicts_with = "all")]
    name: Option<String>,

    /// Every instance
    #[arg(long)]
    all: bool,

    /// Only these checks
    #[arg(long, value_name = "CHECK,...", value_delimiter = ',')]
    #[arg(value_parser = PossibleValuesParser::new(names()))]
    only: Vec<String>,

    /// End with 1 also where there is only a warning
    #[arg(long)]
    strict: bool,
}

/// How often each level was found.
#[derive(Default)]
struct Count {
    ok: usize,
    hints: usize,
    warnings: usize,
    errors: usize,
}

impl Count {
    fn add(&mut self, level: Level) {
        match level {
            Level::Ok => self.ok += 1,
            Level::Hint => self.hints += 1,
            Level::Warning => self.warnings += 1,
            Level::Error => self.errors += 1,
        }
    }
}

pub fn run(context: &Context, args: &Args) -> Result<Done, CliError> {
    let sources = context.sources()?;
    let Some(config) = &sources.config else {
        return Err(CliError::usage_hint(
            "there is no configuration, and `doctor` looks at its instances",
            "name it with --config FILE; of a repository without one, mrs-backup check --repo LOCATION tells",
        ));
    };
    let name = args.name.as_deref().or(context.global.instance.as_deref());
    let chosen: Vec<&String> = match name {
        Some(name) => vec![&config.instance(name)?.name],
        None => config.instances.keys().collect(),
    };
    let overview =
        read::of_sources(&sources, context.global.instance.as_deref(), None, read::BACK)?;
    let mut count = Count::default();
    for name in &chosen {
        if context.stop.is_stopped() {
            return Err(CliError::Interrupted);
        }
        let Some(status) = overview.instances.iter().find(|one| one.name == **name) else {
            continue;
        };
        one(context, &sources, status, args, chosen.len() > 1, &mut count)?;
    }
    context.out.set_instance(None);
    let Count { ok, hints, warnings, errors } = count;
    let found = [(errors, "error"), (warnings, "warning"), (hints, "hint")];
    let found = found.map(|(count, word)| counted(count, word)).join(", ");
    context.out.note(&format!("{found}, {ok} well"))?;
    let is_bad = errors > 0 || (args.strict && warnings > 0);
    let exit = if is_bad { Exit::Failed } else { Exit::Ok };
    let fields = json!({ "errors": errors, "warnings": warnings, "hints": hints, "well": ok });
    Ok(Done::with(exit, fields))
}

fn one(
    context: &Context,
    sources: &Sources,
    status: &InstanceStatus,
    args: &Args,
    is_titled: bool,
    count: &mut Count,
) -> Result<(), CliError> {
    let name = &status.name;
    context.out.set_instance(Some(name));
    let settings = context.settle(sources, Some(name))?;
    let (Some(instance), Some(config)) = (&settings.instance, &sources.config) else {
        return Ok(());
    };
    if is_titled {
        context.out.note(&format!("{name}:"))?;
    }
    let opened = context.open_soon(&settings);
    let catalogue = Store::new(&settings.state_dir).catalogue(name).unwrap_or_default();
    let patient = Patient {
        instance,
        config: &config.path,
        state_dir: &settings.state_dir,
        repository: opened
            .as_ref()
            .map_err(|error| Trouble { message: error.message(), hint: error.hint() }),
        status,
        catalogue: &catalogue,
        clock: &SystemClock,
        environment: &process_environment,
        stop: context.stop.clone(),
        observer: context.observer.clone(),
    };
    let is_wanted = |check: &str| args.only.is_empty() || args.only.iter().any(|one| one == check);
    let mut written = Ok(());
    examine(&patient, is_wanted, |check, finding| {
        count.add(finding.level);
        if written.is_ok() {
            written = tell(context, check, &finding);
        }
    });
    written
}

fn tell(context: &Context, check: &str, finding: &Finding) -> Result<(), CliError> {
    let (level, text) = (finding.level, clean(&finding.text));
    let mend = finding.mend.as_deref().map(clean);
    context.out.record(
        "check",
        &json!({ "check": check, "level": level, "message": text, "mend": mend }),
    )?;
    if level <= Level::Hint && context.out.is_quiet() {
        return Ok(());
    }
    context.out.line(&format!("{:<8} {check:<11} {text}", level.word()))?;
    if let Some(mend) = mend {
        context.out.line(&format!("{:<20} {mend}", ""))?;
    }
    context.out.flush()
}
