//! Steps of the model of forms, and how a trace tells them.

use std::fmt;

use super::state::{PACKS, Packs, State};

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    Writer(usize),
    Prune(usize),
    ExpiryOfWriter(usize),
    ExpiryOfPrune(usize),
    Forget,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub actor: Actor,
    pub what: &'static str,
    /// The packs it is about, numbered from 1 in the order in which they were made.
    pub packs: Packs,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.actor {
            Actor::Writer(w) => write!(f, "W{} ", w + 1)?,
            Actor::Prune(p) => write!(f, "{} ", ["A", "B"][p])?,
            Actor::ExpiryOfWriter(w) => write!(f, "expiry of W{}: ", w + 1)?,
            Actor::ExpiryOfPrune(p) => write!(f, "expiry of {}: ", ["A", "B"][p])?,
            Actor::Forget => {}
        }
        f.write_str(self.what)?;
        for pack in (0..PACKS).filter(|pack| self.packs & 1 << pack != 0) {
            write!(f, " {}", pack + 1)?;
        }
        Ok(())
    }
}

/// The states one step away.
#[derive(Debug, Default)]
pub struct Next(pub Vec<(Step, State)>);

impl Next {
    /// Adds `state`, reached by `actor` doing `what` with `packs`.
    pub fn add(&mut self, actor: Actor, what: &'static str, packs: Packs, state: State) {
        self.0.push((Step { actor, what, packs }, state));
    }
}
