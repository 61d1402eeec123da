//! The exploration: every state that can be reached, breadth first, so that traces are shortest.

use std::fmt;
use std::time::{Duration, Instant};

use super::cleaning;
use super::prune;
use super::rules::Setup;
use super::state::{Snapshot, State};
use super::step::{Next, Step};
use super::writer;

/// What must never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// A snapshot needs a pack that is not there.
    Lost,
    /// A snapshot needs a pack that no index object has, and nobody is at work.
    Unplaced,
    /// A writer failed that was never expired.
    Starved,
    /// Packs that nobody needs stay for ever.
    Garbage,
}

/// Something wrong, and the shortest way to it.
#[derive(Debug)]
pub struct Violation {
    pub wrong: Wrong,
    pub trace: Vec<Step>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?} after {} steps", self.wrong, self.trace.len())?;
        for step in &self.trace {
            writeln!(f, "    {step}")?;
        }
        Ok(())
    }
}

/// What an exploration found.
#[derive(Debug)]
pub struct Outcome {
    /// How many states were reached (until something wrong was).
    pub states: usize,
    /// How many of them had nobody in the middle of anything, and were cleaned.
    pub at_rest: usize,
    pub took: Duration,
    pub violation: Option<Violation>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, at_rest, took, .. } = self;
        write!(f, "{states} states, {at_rest} at rest, {:.1} s", took.as_secs_f64())?;
        match &self.violation {
            Some(violation) => write!(f, ": {violation}"),
            None => f.write_str(": nothing wrong"),
        }
    }
}

/// Reaches every state, or the first that is wrong; gives up in a panic beyond `limit` states.
pub fn explore(setup: &Setup, limit: usize) -> Outcome {
    let started = Instant::now();
    let mut reached = Reached::default();
    reached.insert(&State::start(setup.condemned_before), 0);
    let (mut next, mut at, mut at_rest) = (Next::default(), 0, 0);
    let mut wrong = None;
    while at < reached.states.len() && wrong.is_none() {
        let state = reached.states[at];
        wrong = judge(setup, &state, &mut at_rest);
        next.0.clear();
        successors(setup, &state, &mut next);
        for (_, after) in &next.0 {
            reached.insert(after, at as u32);
        }
        assert!(reached.states.len() <= limit, "more than {limit} states");
        at += 1;
    }
    let violation =
        wrong.map(|wrong| Violation { wrong, trace: reached.trace(setup, at as u32 - 1) });
    Outcome { states: reached.states.len(), at_rest, took: started.elapsed(), violation }
}

fn judge(setup: &Setup, state: &State, at_rest: &mut usize) -> Option<Wrong> {
    let mut needed = state.needed();
    for writer in &state.writers {
        if writer.snapshot != Snapshot::None {
            needed |= writer.uses;
        }
    }
    if needed & !state.packs != 0 {
        return Some(Wrong::Lost);
    }
    if state.starved && setup.must_not_starve {
        return Some(Wrong::Starved);
    }
    if cleaning::at_rest(state) {
        *at_rest += 1;
        if needed & !state.rows() != 0 {
            return Some(Wrong::Unplaced);
        }
        if !cleaning::comes_clean(setup, state) {
            return Some(Wrong::Garbage);
        }
    }
    None
}

fn successors(setup: &Setup, state: &State, next: &mut Next) {
    for w in 0..setup.writers {
        writer::steps(setup, state, w, next);
        writer::environment(setup, state, w, next);
    }
    for p in 0..setup.prunes {
        prune::steps(setup, state, p, p, next);
    }
    prune::forget_old(state, next);
}

/// The states reached so far, in order, with a table to find them. (The table of `std` is several times
/// slower without optimization.)
#[derive(Default)]
struct Reached {
    states: Vec<State>,
    /// From which state each was reached first.
    parents: Vec<u32>,
    /// Half of the state's hash, then its number plus one; nought where free.
    table: Vec<u64>,
}

impl Reached {
    fn insert(&mut self, state: &State, parent: u32) {
        if self.states.len() * 2 >= self.table.len() {
            self.grow();
        }
        let hash = state.hash();
        let high = hash & 0xffff_ffff_0000_0000;
        let mask = self.table.len() - 1;
        let mut slot = (hash >> 20) as usize & mask;
        loop {
            let entry = self.table[slot];
            if entry == 0 {
                break;
            }
            let number = entry as u32 as usize - 1;
            if entry & 0xffff_ffff_0000_0000 == high && self.states[number] == *state {
                return;
            }
            slot = (slot + 1) & mask;
        }
        self.states.push(*state);
        self.parents.push(parent);
        self.table[slot] = high | self.states.len() as u64;
    }

    fn grow(&mut self) {
        let size = (self.table.len() * 4).max(1 << 16);
        self.table = vec![0; size];
        for number in 0..self.states.len() {
            let hash = self.states[number].hash();
            let mut slot = (hash >> 20) as usize & (size - 1);
            while self.table[slot] != 0 {
                slot = (slot + 1) & (size - 1);
            }
            self.table[slot] = hash & 0xffff_ffff_0000_0000 | (number as u64 + 1);
        }
    }

    /// The steps that lead from the start to state `number`.
    fn trace(&self, setup: &Setup, mut number: u32) -> Vec<Step> {
        let mut trace = Vec::new();
        let mut next = Next::default();
        while number != 0 {
            let parent = self.parents[number as usize];
            next.0.clear();
            successors(setup, &self.states[parent as usize], &mut next);
            let after = &self.states[number as usize];
            let found = next.0.iter().find(|(_, state)| state == after);
            trace.extend(found.map(|(step, _)| *step));
            number = parent;
        }
        trace.reverse();
        trace
    }
}
