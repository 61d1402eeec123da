//! Lines put together again: runs with their steps.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::instance::{Job, Step};

use super::{Begun, Ended, Happened, Measured, Record, StepDone};

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// It is at work.
    Running,
    /// It was begun and died.
    Killed,
    /// It came to an end.
    Ended,
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// How it began.
    pub begun: Begun,
    /// The steps that came to an end.
    pub steps: Vec<StepDone>,
    /// How it ended, if it did.
    pub ended: Option<Ended>,
}

impl Run {
    /// How far it came, as far as can be seen now.
    pub fn state(&self) -> RunState {
        match &self.ended {
            Some(_) => RunState::Ended,
            None if self.begun.process.is_alive() => RunState::Running,
            None => RunState::Killed,
        }
    }

    /// Whether it is of this job.
    pub fn is_of(&self, job: Job) -> bool {
        self.begun.jobs.contains(&job)
    }

    /// How a step went, if it came to an end.
    pub fn step(&self, step: Step) -> Option<&StepDone> {
        self.steps.iter().find(|done| done.step == step)
    }

    /// The step it is at, or was at when it died.
    pub fn at(&self) -> Option<Step> {
        self.begun.steps.iter().copied().find(|step| self.step(*step).is_none())
    }

    /// When it ended, or began if it did not.
    pub fn last_time(&self) -> Timestamp {
        self.ended.as_ref().map_or(self.begun.time, |ended| ended.time)
    }
}

/// All that a history tells.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Told {
    /// Runs, oldest first.
    pub runs: Vec<Run>,
    /// Sizes, oldest first.
    pub sizes: Vec<Measured>,
    /// What else was done, oldest first.
    pub happened: Vec<Happened>,
}

/// Puts lines together. Steps of a run whose beginning is not among them are passed over.
pub fn assemble(records: Vec<Record>) -> Told {
    let mut told = Told::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    for record in records {
        match record {
            Record::Begun(begun) => {
                places.insert(begun.run.clone(), told.runs.len());
                told.runs.push(Run { begun, steps: Vec::new(), ended: None });
            }
            Record::Step(done) => {
                if let Some(run) = places.get(&done.run).and_then(|at| told.runs.get_mut(*at)) {
                    run.steps.push(done);
                }
            }
            Record::Ended(ended) => {
                if let Some(run) = places.get(&ended.run).and_then(|at| told.runs.get_mut(*at)) {
                    run.ended = Some(ended);
                }
            }
            Record::Measured(measured) => told.sizes.push(measured),
            Record::Happened(happened) => told.happened.push(happened),
        }
    }
    told
}
