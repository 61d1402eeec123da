//! `schedule`: does by itself what the configuration says, at its hours.

use serde_json::{Value, json};

use crate::clock::{Clock, SystemClock};
use crate::instance::Job;
use crate::instance::config::Config;
use crate::schedule::REVIEWS;

use super::context::Context;
use super::format::{json_time, local_time, table};
use super::run::job_parser;
use super::{CliError, Done};

mod board;
mod daemon;
mod tell;
mod tell_people;

use board::Board;

/// Run jobs at the hours of the configuration
///
/// A daemon, in place of timers; both may be there, for a ledger below the state directory tells each what
/// the other did. Jobs of one instance come one by one, and those missed while the machine was off are
/// caught up once. Where the configuration has [review], review stacks are looked at every quarter of an hour. Under systemd it says when it is ready, what it does, and that it lives. SIGHUP makes
/// it read the configuration again, SIGTERM stop: what is at work stops at the next safe place, and is begun
/// again later.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup schedule --list          what comes when
  mrs-backup schedule                 until it is stopped
  mrs-backup schedule --once          what is due now, then end")]
pub struct Args {
    /// Only say what comes when
    #[arg(long, conflicts_with = "once")]
    list: bool,

    /// Do what is due, and end; the exit code is that of the worst
    #[arg(long)]
    once: bool,

    /// Only this job of every instance
    #[arg(long, value_name = "JOB", value_parser = job_parser())]
    job: Option<Job>,
}

/// What is scheduled: instances and jobs by option.
#[derive(Debug, Clone, Default)]
struct Scope {
    instance: Option<String>,
    job: Option<Job>,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let scope = Scope { instance: context.global.instance.clone(), job: args.job };
    let board = load(context, &scope)?;
    if args.list {
        return list(context, board);
    }
    daemon::run(context, &scope, board, args.once)
}

/// The jobs of the configuration as it is now.
fn load(context: &Context, scope: &Scope) -> Result<Board, CliError> {
    let sources = context.sources()?;
    let Some(config) = &sources.config else {
        return Err(CliError::usage_hint(
            "there is no configuration, and `schedule` needs one",
            "name it with --config FILE",
        ));
    };
    if sources.access.repository.is_some() {
        return Err(CliError::usage_hint(
            "a schedule and a repository named by an option or the environment contradict each other",
            "unset --repo, MRS_BACKUP_REPOSITORY and RESTIC_REPOSITORY",
        ));
    }
    if let Some(name) = &scope.instance {
        config.instance(name)?;
    }
    let board = Board::new(config, &sources.state_dir()?, scope);
    if board.is_empty() {
        return Err(nothing(config));
    }
    Ok(board)
}

/// As people read it.
fn instance_name(instance: &str) -> &str {
    if instance == REVIEWS { "review stacks" } else { instance }
}

fn nothing(config: &Config) -> CliError {
    CliError::usage_hint(
        format!("nothing is scheduled in {}", config.path.display()),
        "write into it, for an instance or in [defaults]: schedule = { run = \"0 23 * * *\" }",
    )
}

fn list(context: &Context, mut board: Board) -> Result<Done, CliError> {
    let now = SystemClock.now();
    board.look(now)?;
    let mut rows = Vec::new();
    for planned in board.planned() {
        let nanos = |time: jiff::Timestamp| i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
        let entry = planned.entry;
        let next = match planned.due {
            None => "never".to_owned(),
            Some(due) if due <= now => "due".to_owned(),
            Some(due) => local_time(nanos(due), planned.zone),
        };
        let last = entry
            .started
            .map_or_else(|| "never".to_owned(), |at| local_time(nanos(at), planned.zone));
        let result = match (entry.started, entry.exit_code) {
            (None, _) => String::new(),
            (Some(_), None) => "not ended".to_owned(),
            (Some(_), Some(code)) => format!("exit {code}"),
        };
        let time = |time: Option<jiff::Timestamp>| time.and_then(|time| json_time(nanos(time)));
        context.out.record(
            "scheduled",
            &json!({
                "scheduled_instance": planned.instance,
                "job": planned.task,
                "line": planned.line.to_string(),
                "next": time(planned.due),
                "is_due": planned.due.is_some_and(|due| due <= now),
                "last_started": time(entry.started),
                "last_finished": time(entry.finished),
                "last_exit_code": entry.exit_code,
            }),
        )?;
        rows.push((
            planned.due,
            vec![
                instance_name(planned.instance).to_owned(),
                planned.task.name().to_owned(),
                next,
                planned.line.to_string(),
                last,
                result,
            ],
        ));
    }
    rows.sort_by_key(|(due, _)| (due.is_none(), *due));
    let count = rows.len();
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    let header = ["INSTANCE", "JOB", "NEXT", "LINE", "LAST", "RESULT"];
    context.out.line(&table(&header, &[], rows))?;
    Ok(Done::ok(Value::Object([("jobs".to_owned(), json!(count))].into_iter().collect())))
}
