//! The steps of a night, one after the other: what fails is told, and what depends on it left out.

use serde_json::{Map, Value, json};

use crate::clock::{Clock, SystemClock};
use crate::instance::config::Instance;
use crate::instance::{Step, Went};
use crate::repository::Repository;

use crate::cli::context::Context;
use crate::cli::settings::Settings;
use crate::cli::{CliError, Done, Exit};

use super::noted::Notes;
use super::steps::{Night, perform};

/// How the steps went so far.
#[derive(Default)]
struct Report {
    went: Vec<(Step, Went)>,
    steps: Vec<Value>,
    /// What the snapshot's own summary says comes first in that of the night.
    summary: Map<String, Value>,
    exit: Option<Exit>,
}

impl Report {
    fn add(&mut self, step: Step, exit: Exit, mut fields: Map<String, Value>) {
        let went = match exit {
            Exit::Ok => Went::Well,
            Exit::Incomplete => Went::Incomplete,
            _ => Went::Badly,
        };
        self.went.push((step, went));
        if step == Step::Snapshot {
            self.summary = fields.clone();
        }
        fields.insert("step".to_owned(), step.name().into());
        fields.insert("result".to_owned(), exit.word().into());
        fields.insert("exit_code".to_owned(), exit.code().into());
        self.steps.push(Value::Object(fields));
        self.exit = Some(self.exit.map_or(exit, |before| before.and(exit)));
    }

    /// What was added last.
    fn last(&self) -> &Value {
        self.steps.last().unwrap_or(&Value::Null)
    }

    fn leave_out(&mut self, step: Step, reason: &str) {
        self.went.push((step, Went::NotTried));
        self.steps.push(json!({ "step": step.name(), "result": "not-tried", "reason": reason }));
    }
}

/// Does `steps` to an instance whose lock the caller has.
///
/// Before the first one, its disk has to be mounted and its password to open the repository; otherwise
/// that is the error, and nothing is tried.
pub fn night(
    context: &Context,
    settings: &Settings,
    instance: &Instance,
    steps: &[Step],
    tags: &[String],
    notes: &Notes<'_>,
) -> Result<Done, CliError> {
    let mut repository = context.open(settings)?;
    let is_night = steps.contains(&Step::Snapshot);
    let mut report = Report::default();
    for step in steps {
        if context.stop.is_stopped() {
            report.leave_out(*step, "stopped on request");
            notes.step(*step, report.last());
            report.exit = Some(report.exit.unwrap_or(Exit::Ok).and(Exit::Interrupted));
            continue;
        }
        if let Some(reason) = step.blocked_by(&report.went) {
            let (name, instance) = (step.name(), &instance.name);
            context.out.note(&format!("{name} of {instance} was left out: {reason}"))?;
            report.leave_out(*step, reason);
            notes.step(*step, report.last());
            continue;
        }
        let begun = SystemClock.elapsed();
        let attempt = |repository: &Repository| {
            perform(&Night { context, settings, instance, repository, tags, is_night }, *step)
        };
        let mut went = attempt(&repository);
        if went.as_ref().is_err_and(CliError::is_damaged_index) {
            // Closed first: only who has it alone may put the damaged file aside.
            drop(repository);
            repository = context.open(settings)?;
            went = attempt(&repository);
        }
        let (exit, mut fields) = match went {
            Ok(done) => (done.exit, done.summary),
            // Nothing more can be told to anybody.
            Err(error @ CliError::ClosedPipe) => return Err(error),
            Err(error) => (error.exit(), tell(context, *step, &error)),
        };
        let seconds = SystemClock.elapsed().saturating_sub(begun).as_secs_f64();
        fields.insert("step_seconds".to_owned(), seconds.into());
        report.add(*step, exit, fields);
        notes.step(*step, report.last());
        context.out.record("step", report.last())?;
    }
    notes.look(&repository);
    let Report { mut summary, steps, exit, .. } = report;
    summary.insert("steps".to_owned(), steps.into());
    Ok(Done { exit: exit.unwrap_or(Exit::Ok), summary })
}

/// Tells why a step failed.
fn tell(context: &Context, step: Step, error: &CliError) -> Map<String, Value> {
    let (message, hint) = (error.message(), error.hint());
    context.out.complain(&format!("{}: {message}", step.name()), hint.as_deref());
    let mut fields = Map::new();
    fields.insert("message".to_owned(), message.into());
    fields.insert("hint".to_owned(), hint.into());
    fields
}
