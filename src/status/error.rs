//! The last error that nothing made good, and the command to run next.

use jiff::Timestamp;

use crate::history::{RunState, Told};
use crate::instance::Step;

/// The last thing that went wrong and was not made good since.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorTold {
    /// When its run began.
    pub time: Timestamp,
    /// The step, if it was one.
    pub step: Option<Step>,
    /// What was said.
    pub message: String,
    /// The command to run next.
    pub next: String,
}

/// The newest failure that no later success of the same step made good.
pub(super) fn last_error(told: &Told, instance: &str) -> Option<ErrorTold> {
    let mut good: Vec<Step> = Vec::new();
    for run in told.runs.iter().rev() {
        let next = |step: Option<Step>| match step {
            Some(step) => format!("mrs-backup run {instance} --only {}", step.name()),
            None => format!("mrs-backup run {instance}"),
        };
        for done in run.steps.iter().rev() {
            match done.result.as_str() {
                "ok" => good.push(done.step),
                "not-tried" => {}
                _ if good.contains(&done.step) => {}
                result => {
                    return Some(ErrorTold {
                        time: run.begun.time,
                        step: Some(done.step),
                        message: done.message.clone().unwrap_or_else(|| result.to_owned()),
                        next: done.hint.clone().unwrap_or_else(|| next(Some(done.step))),
                    });
                }
            }
        }
        let is_good = |step: &Step| good.contains(step);
        let failed_whole = run.ended.as_ref().filter(|ended| ended.message.is_some());
        if let Some(ended) = failed_whole.filter(|_| !run.begun.steps.iter().all(is_good)) {
            return Some(ErrorTold {
                time: run.begun.time,
                step: None,
                message: ended.message.clone().unwrap_or_default(),
                next: ended.hint.clone().unwrap_or_else(|| next(None)),
            });
        }
        if run.state() == RunState::Killed && run.at().is_some_and(|step| !is_good(&step)) {
            return Some(ErrorTold {
                time: run.begun.time,
                step: run.at(),
                message: "it was killed, or the machine went down".to_owned(),
                next: next(None),
            });
        }
    }
    None
}
