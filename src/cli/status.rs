//! `status`: how everything stands, from local state.

use std::path::PathBuf;

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::instance::config::parse_duration;
use crate::status::{Concern, InstanceStatus, Language, Overview, Severity, concern, sentence};

use super::context::Context;
use super::{CliError, Done, Exit};

pub mod read;
mod records;
mod text;

/// Show how every instance stands
///
/// One sentence an instance, its last 30 nights, copies, tested restores, sizes and trends, what comes next, and
/// the last error with the command to run. All of it comes from what the runs noted down on this machine: no
/// repository is opened and no password needed. `mrs-backup` without a command does the same.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "\
With --check the exit codes are those of Nagios: 0 all is well, 1 somebody should look,
2 there is no good snapshot, it is too old, or the last test of a restore failed, 3 it cannot
be told.

Examples:
  mrs-backup status
  mrs-backup status --instance mrs-production
  mrs-backup status --check                     for Nagios and its kin
  mrs-backup status --check --max-age 26h
  mrs-backup status --html /var/www/status.html
  mrs-backup status --metrics | promtool check metrics
  mrs-backup status --json | jq 'select(.type == \"status\")'")]
pub struct Args {
    /// One line and an exit code for Nagios, Icinga and their kin
    #[arg(long)]
    check: bool,

    /// Write a page of HTML that needs nothing else; `-` is standard output
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check", "metrics"])]
    html: Option<PathBuf>,

    /// What Prometheus would see, in the form of OpenMetrics
    #[arg(long, conflicts_with = "check")]
    metrics: bool,

    /// How old the last good snapshot may be [default: `max_age` of the configuration, or the time
    /// between two nights of the schedule and 2h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_age: Option<std::time::Duration>,
}

/// Codes of Nagios are other ones than ours, but the same numbers. `misused` knows the last one, too.
const CHECK_OK: Exit = Exit::Ok;
const CHECK_WARNING: Exit = Exit::Failed;
const CHECK_CRITICAL: Exit = Exit::Usage;
pub const CHECK_UNKNOWN: Exit = Exit::Incomplete;

pub fn run(context: &Context, args: &Args) -> Result<Done, CliError> {
    if args.metrics {
        let named = context.global.instance.as_deref();
        let text = super::after::metrics(&context.sources()?, named)?;
        context.out.raw(text.as_bytes())?;
        return Ok(Done::ok(json!({})));
    }
    if let Some(path) = &args.html {
        let named = context.global.instance.as_deref();
        let text = super::after::page(&context.sources()?, named, None, false)?;
        if path.as_os_str() == "-" {
            context.out.raw(text.as_bytes())?;
        } else {
            crate::page::write_page(path, &text)?;
            context.out.note(&format!("{} is written", path.display()))?;
        }
        return Ok(Done::ok(json!({ "bytes": text.len() })));
    }
    let limit = args.max_age.and_then(|age| SignedDuration::try_from(age).ok());
    let overview = read::overview(context, limit);
    if args.check {
        return match overview {
            Ok(overview) => check(context, &overview),
            Err(error) => {
                context.out.line(&format!("UNKNOWN - {}", error.message()))?;
                let fields = json!({ "state": "unknown", "message": error.message() });
                Ok(Done::with(CHECK_UNKNOWN, fields))
            }
        };
    }
    let overview = overview?;
    for one in &overview.instances {
        context.out.record("status", &records::status(one, overview.now))?;
    }
    text::show(context, &overview)?;
    Ok(Done::ok(json!({ "instances": overview.instances.len(), "severity": overview.severity() })))
}

/// One line of text, the numbers behind a bar, and the code.
fn check(context: &Context, overview: &Overview) -> Result<Done, CliError> {
    let (word, exit) = match overview.severity() {
        Severity::Ok => ("OK", CHECK_OK),
        Severity::Warning => ("WARNING", CHECK_WARNING),
        Severity::Critical => ("CRITICAL", CHECK_CRITICAL),
    };
    let worried: Vec<&InstanceStatus> =
        overview.instances.iter().filter(|one| !one.concerns.is_empty()).collect();
    let text = match (&worried[..], &overview.instances[..]) {
        ([], [one]) => format!("{}: {}", one.name, sentence(one, overview.now, Language::En)),
        ([], all) => format!("{} instances are safe", all.len()),
        (worried, _) => {
            let one = |one: &&InstanceStatus| {
                let all = one.concerns.iter().map(|one| concern(one, Language::En));
                format!("{}: {}", one.name, all.collect::<Vec<_>>().join("; "))
            };
            worried.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    };
    // A bar begins the numbers.
    let text = crate::report::clean(&text).replace('|', "/");
    let numbers: Vec<String> =
        overview.instances.iter().filter_map(|one| number(one, overview)).collect();
    let numbers =
        if numbers.is_empty() { String::new() } else { format!(" | {}", numbers.join(" ")) };
    context.out.line(&format!("{word} - {text}{numbers}"))?;
    for one in &overview.instances {
        context.out.record("status", &records::status(one, overview.now))?;
    }
    let concerns: Vec<Value> = overview
        .instances
        .iter()
        .flat_map(|one| one.concerns.iter().map(Concern::word))
        .map(Value::from)
        .collect();
    Ok(Done::with(exit, json!({ "state": word.to_lowercase(), "concerns": concerns })))
}

/// How old the last good snapshot of an instance is, with the age from which that is critical.
fn number(status: &InstanceStatus, overview: &Overview) -> Option<String> {
    let age = overview.now.duration_since(status.last_good?).as_secs().max(0);
    Some(format!("'{}_age'={age}s;;{}", status.name, status.limit.as_secs()))
}
