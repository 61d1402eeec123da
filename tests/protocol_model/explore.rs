//! The exploration: every state that can be reached, breadth first, so that traces are shortest.

use std::fmt;
use std::time::{Duration, Instant};

/// What can be explored.
pub trait Model {
    /// The store as everybody could list it, and what each actor remembers.
    type State: Copy + Eq;
    /// What leads from one state to the next.
    type Step: Copy + fmt::Debug + fmt::Display;

    /// The first state.
    fn start(&self) -> Self::State;
    /// One state for all those that differ only in which of two like actors is called what.
    fn canonical(&self, state: &Self::State) -> Self::State;
    /// Spreads a state over 64 bits.
    fn hash(state: &Self::State) -> u64;
    /// Adds all states one step away.
    fn successors(&self, state: &Self::State, next: &mut Vec<(Self::Step, Self::State)>);
    /// Looks at a state.
    fn judge(&self, state: &Self::State) -> Judged;
}

/// What a look at a state found.
#[derive(Debug, Clone, Copy)]
pub struct Judged {
    /// Nobody is in the middle of anything: it was cleaned.
    pub at_rest: bool,
    pub wrong: Option<Wrong>,
}

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
pub struct Violation<S> {
    pub wrong: Wrong,
    pub trace: Vec<S>,
}

impl<S: fmt::Display> fmt::Display for Violation<S> {
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
pub struct Outcome<S> {
    /// How many states were reached (until something wrong was).
    pub states: usize,
    /// Whether these are all.
    pub is_whole: bool,
    /// How many of them had nobody in the middle of anything, and were cleaned.
    pub at_rest: usize,
    pub took: Duration,
    pub violation: Option<Violation<S>>,
}

impl<S: fmt::Display> fmt::Display for Outcome<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, is_whole, at_rest, took, .. } = self;
        let which = if *is_whole { "" } else { "the first " };
        write!(f, "{which}{states} states, {at_rest} at rest, {:.1} s", took.as_secs_f64())?;
        match &self.violation {
            Some(violation) => write!(f, ": {violation}"),
            None => f.write_str(": nothing wrong"),
        }
    }
}

/// Reaches every state, of those that differ only in names one, or about the first `limit`. Only a fingerprint of 64 bits
/// is remembered of each: among ten million states two are taken for one with a chance of three in a million.
pub fn cover<M: Model>(model: &M, limit: usize) -> Outcome<M::Step> {
    let started = Instant::now();
    let mut seen = Fingerprints::default();
    let first = model.canonical(&model.start());
    seen.insert(M::hash(&first));
    let (mut front, mut behind, mut next) = (vec![first], Vec::new(), Vec::new());
    let mut at_rest = 0;
    while !front.is_empty() && seen.count < limit {
        for state in front.drain(..) {
            let judged = model.judge(&state);
            at_rest += usize::from(judged.at_rest);
            if judged.wrong.is_some() {
                // Once more with names, for the way to it.
                return explore(model, usize::MAX);
            }
            next.clear();
            model.successors(&state, &mut next);
            for (_, after) in &next {
                let after = model.canonical(after);
                if seen.insert(M::hash(&after)) {
                    behind.push(after);
                }
            }
        }
        std::mem::swap(&mut front, &mut behind);
    }
    let is_whole = front.is_empty();
    Outcome { states: seen.count, is_whole, at_rest, took: started.elapsed(), violation: None }
}

/// A set of hashes.
#[derive(Default)]
pub struct Fingerprints {
    table: Vec<u64>,
    count: usize,
}

impl Fingerprints {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether `hash` is new.
    pub fn insert(&mut self, hash: u64) -> bool {
        if self.count * 3 >= self.table.len() * 2 {
            let size = (self.table.len() * 2).max(1 << 16);
            let old = std::mem::replace(&mut self.table, vec![0; size]);
            for entry in old.into_iter().filter(|entry| *entry != 0) {
                let slot = self.slot(entry);
                self.table[slot] = entry;
            }
        }
        // The hash of a model mixes upwards only.
        let mut hash = (hash ^ hash >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        hash = (hash ^ hash >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        hash = (hash ^ hash >> 32).max(1);
        let slot = self.slot(hash);
        let is_new = self.table[slot] == 0;
        if is_new {
            self.table[slot] = hash;
            self.count += 1;
        }
        is_new
    }

    /// Where `hash` is, or belongs.
    fn slot(&self, hash: u64) -> usize {
        let mask = self.table.len() - 1;
        let mut slot = hash as usize & mask;
        while self.table[slot] != 0 && self.table[slot] != hash {
            slot = (slot + 1) & mask;
        }
        slot
    }
}

/// Reaches every state, or the first that is wrong; gives up in a panic beyond `limit` states.
pub fn explore<M: Model>(model: &M, limit: usize) -> Outcome<M::Step> {
    let started = Instant::now();
    let mut reached = Reached::<M>::default();
    reached.insert(&model.start(), 0);
    let (mut next, mut at, mut at_rest) = (Vec::new(), 0, 0);
    let mut wrong = None;
    while at < reached.states.len() && wrong.is_none() {
        let state = reached.states[at];
        let judged = model.judge(&state);
        at_rest += usize::from(judged.at_rest);
        wrong = judged.wrong;
        next.clear();
        model.successors(&state, &mut next);
        for (_, after) in &next {
            reached.insert(after, at as u32);
        }
        assert!(reached.states.len() <= limit, "more than {limit} states");
        at += 1;
    }
    let violation =
        wrong.map(|wrong| Violation { wrong, trace: reached.trace(model, at as u32 - 1) });
    let states = reached.states.len();
    let is_whole = violation.is_none();
    Outcome { states, is_whole, at_rest, took: started.elapsed(), violation }
}

/// The states reached so far, in order, with a table to find them. (The table of `std` is several times
/// slower without optimization.)
struct Reached<M: Model> {
    states: Vec<M::State>,
    /// From which state each was reached first.
    parents: Vec<u32>,
    /// Half of the state's hash, then its number plus one; nought where free.
    table: Vec<u64>,
}

impl<M: Model> Default for Reached<M> {
    fn default() -> Self {
        Self { states: Vec::new(), parents: Vec::new(), table: Vec::new() }
    }
}

impl<M: Model> Reached<M> {
    fn insert(&mut self, state: &M::State, parent: u32) {
        if self.states.len() * 2 >= self.table.len() {
            self.grow();
        }
        let hash = M::hash(state);
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
            let hash = M::hash(&self.states[number]);
            let mut slot = (hash >> 20) as usize & (size - 1);
            while self.table[slot] != 0 {
                slot = (slot + 1) & (size - 1);
            }
            self.table[slot] = hash & 0xffff_ffff_0000_0000 | (number as u64 + 1);
        }
    }

    /// The steps that lead from the start to state `number`.
    fn trace(&self, model: &M, mut number: u32) -> Vec<M::Step> {
        let mut trace = Vec::new();
        let mut next = Vec::new();
        while number != 0 {
            let parent = self.parents[number as usize];
            next.clear();
            model.successors(&self.states[parent as usize], &mut next);
            let after = &self.states[number as usize];
            let found = next.iter().find(|(_, state)| state == after);
            trace.extend(found.map(|(step, _)| *step));
            number = parent;
        }
        trace.reverse();
        trace
    }
}
