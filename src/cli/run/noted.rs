//! What a run does is written into the history: when it begins, after each step, when it ends.
//!
//! A history that cannot be written is told, and fails nothing.

use serde_json::{Map, Value};

use crate::clock::{Clock, SystemClock};
use crate::event::Event;
use crate::history::{Begun, Ended, History, Measured, Process, Record, StepDone};
use crate::instance::config::Instance;
use crate::instance::{Job, Step};
use crate::repository::Repository;
use crate::status;

use crate::cli::context::Context;
use crate::cli::settings::Settings;
use crate::cli::{CliError, Done};

/// Reasons that are kept of a snapshot that is incomplete.
const REASONS: usize = 3;
/// Longest message that is kept.
const LONGEST: usize = 1000;

/// Writes down one run of one instance.
pub struct Notes<'a> {
    context: &'a Context,
    settings: &'a Settings,
    history: History,
    instance: &'a Instance,
    run: String,
}

impl<'a> Notes<'a> {
    /// The run begins.
    pub fn begin(
        context: &'a Context,
        settings: &'a Settings,
        instance: &'a Instance,
        jobs: &[Job],
        steps: &[Step],
    ) -> Self {
        let history = History::new(&settings.state_dir);
        let notes = Self { context, settings, history, instance, run: context.run_id.clone() };
        notes.add(&Record::Begun(Begun {
            run: notes.run.clone(),
            time: SystemClock.now(),
            jobs: jobs.to_vec(),
            steps: steps.to_vec(),
            process: Process::this(),
        }));
        notes
    }

    fn add(&self, record: &Record) {
        if let Err(error) = self.history.add(&self.instance.name, record) {
            self.warn(&error.to_string());
        }
    }

    fn warn(&self, message: &str) {
        let (item, message) = ("history".to_owned(), message.to_owned());
        self.context.observer.event(&Event::Warning { item, message });
    }

    /// A step ended; `fields` are those of its JSON line.
    pub fn step(&self, step: Step, fields: &Value) {
        self.add(&Record::Step(step_done(&self.run, step, fields)));
    }

    /// All steps ended and the repository is still open: how it stands now is noted down for `status`.
    pub fn look(&self, repository: &Repository) {
        match status::gather(repository, self.instance, &self.settings.state_dir) {
            Ok(known) => self.add(&Record::Measured(Measured {
                time: known.time,
                repository_bytes: known.repository_bytes,
                free_bytes: known.free_bytes,
            })),
            Err(error) => self.warn(&format!("nothing new is noted down for `status`: {error}")),
        }
    }

    /// The run ended.
    pub fn end(&self, result: &Result<Done, CliError>) {
        let exit = result.as_ref().map_or_else(CliError::exit, |done| done.exit);
        let error = result.as_ref().err();
        self.add(&Record::Ended(Ended {
            run: self.run.clone(),
            time: SystemClock.now(),
            result: exit.word().to_owned(),
            exit_code: exit.code(),
            message: error.map(|error| cut(&error.message())),
            hint: error.and_then(CliError::hint),
        }));
    }
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

fn step_done(run: &str, step: Step, fields: &Value) -> StepDone {
    let none = Map::new();
    let fields = fields.as_object().unwrap_or(&none);
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let number = |name: &str| fields.get(name).and_then(Value::as_u64);
    let copies = || fields.get("copies").and_then(Value::as_array).into_iter().flatten();
    let failed_copies: Vec<&Value> = copies().filter(|copy| copy["exit_code"] != 0).collect();
    let bytes = match step {
        Step::Snapshot => number("stored_bytes"),
        Step::Copy => Some(copies().filter_map(|copy| copy["report"]["bytes"].as_u64()).sum()),
        Step::Prune => fields.get("stats").and_then(|stats| stats["deleted_bytes"].as_u64()),
        Step::Forget | Step::Check | Step::TestRestore => None,
    };
    let reasons = |name: &str| {
        let list = fields.get(name).and_then(Value::as_array).into_iter().flatten();
        let told = list.take(REASONS).map(|reason| match reason {
            Value::String(text) => text.clone(),
            other => other["reason"].as_str().map_or_else(|| other.to_string(), str::to_owned),
        });
        Some(told.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty())
    };
    let of_copies = || {
        let told = failed_copies.iter().map(|copy| {
            let why = copy["message"].as_str().unwrap_or("not everything is there, or not whole");
            format!("copy {}: {why}", copy["copy"].as_str().unwrap_or_default())
        });
        Some(told.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty())
    };
    let message = text("message")
        .or_else(|| text("reason"))
        .or_else(|| reasons("failed"))
        .or_else(|| reasons("incomplete"))
        .or_else(of_copies);
    let hint = text("hint").or_else(|| failed_copies.first()?["hint"].as_str().map(str::to_owned));
    StepDone {
        run: run.to_owned(),
        step,
        result: text("result").unwrap_or_default(),
        exit_code: number("exit_code").and_then(|code| u8::try_from(code).ok()),
        seconds: fields.get("step_seconds").and_then(Value::as_f64).unwrap_or(0.0),
        bytes,
        total_bytes: (step == Step::Snapshot).then(|| number("bytes")).flatten(),
        snapshot: text("snapshot"),
        failed: failed_copies
            .iter()
            .filter_map(|copy| copy["copy"].as_str().map(str::to_owned))
            .collect(),
        message: message.map(|message| cut(&message)),
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_matters_of_a_step_is_kept() {
        let fields = json!({
            "result": "incomplete", "exit_code": 3, "step_seconds": 2.5, "stored_bytes": 10, "bytes": 100,
            "snapshot": "ab12", "incomplete": ["a: gone", "b: gone", "c: gone", "d: gone"],
        });
        let done = step_done("r", Step::Snapshot, &fields);
        assert_eq!((done.bytes, done.total_bytes), (Some(10), Some(100)));
        assert_eq!(done.message.as_deref(), Some("a: gone; b: gone; c: gone"));
        assert_eq!((done.snapshot.as_deref(), done.exit_code), (Some("ab12"), Some(3)));
        let fields = json!({ "result": "failed", "exit_code": 20, "copies": [
            { "copy": "near", "exit_code": 0, "report": { "bytes": 5 } },
            { "copy": "far", "exit_code": 20, "message": "no route", "hint": "try again" },
        ] });
        let done = step_done("r", Step::Copy, &fields);
        assert_eq!((done.bytes, &done.failed[..]), (Some(5), &["far".to_owned()][..]));
        assert_eq!(done.message.as_deref(), Some("copy far: no route"));
        assert_eq!(done.hint.as_deref(), Some("try again"));
        let fields = json!({ "step": "forget", "result": "not-tried", "reason": "because" });
        let done = step_done("r", Step::Forget, &fields);
        assert_eq!((done.exit_code, done.message.as_deref()), (None, Some("because")));
        let done = step_done("r", Step::Check, &Value::Null);
        assert_eq!((done.result.as_str(), done.bytes), ("", None));
    }
}
