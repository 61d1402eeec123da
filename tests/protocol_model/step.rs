//! Steps: what leads from one state to the next, and how a trace tells it.

use std::fmt;

use super::state::{Packs, State};

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    Writer(usize),
    Prune(usize),
    /// A prune that expires the session of a writer, whichever prune it is.
    Expiry(usize),
    /// Listings that come to show what was written by a writer.
    Listing(usize),
    /// Listings that come to show an object.
    Listings,
    /// Whoever forgets snapshots.
    Forget,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub actor: Actor,
    pub what: &'static str,
    /// The packs it is about.
    pub packs: Packs,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.actor {
            Actor::Writer(w) => write!(f, "W{} ", w + 1)?,
            Actor::Prune(p) => write!(f, "{} ", ["A", "B"][p])?,
            Actor::Expiry(w) => write!(f, "expiry of W{}: ", w + 1)?,
            Actor::Listing(w) => write!(f, "listings show W{}'s ", w + 1)?,
            Actor::Listings => write!(f, "listings show ")?,
            Actor::Forget => {}
        }
        f.write_str(self.what)?;
        let names = ["P", "N1", "N1'", "N2", "N2'"];
        for (bit, name) in names.iter().enumerate() {
            if self.packs & 1 << bit != 0 {
                write!(f, " {name}")?;
            }
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
