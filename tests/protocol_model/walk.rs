//! Random walks, where there are more states than there is room for.
//!
//! Choices that are all alike would hardly ever let one sleep while another does all it has to do. So each walk ranks everybody at
//! random; who ranks highest goes on as long as it can, and at random moments, rare in some walks and frequent in others, somebody
//! gets another rank, much as in the schedules of PCT (Burckhardt, Kothari, Musuvathi, Nagarakatte: "A Randomized Scheduler with Probabilistic Guarantees of
//! Finding Bugs", ASPLOS 2010). What walks are worth is found out by turning rules off: they must find what goes wrong.

use std::fmt;
use std::time::{Duration, Instant};

use super::explore::{Fingerprints, Model, Violation};

/// Most of those who act: writers, prunes, whoever expires them, forgets, or shows something in a listing.
pub const ACTORS: usize = 10;

/// What walks need to know of a step.
pub trait Wanders: Model {
    /// Whose it is, below [`ACTORS`].
    fn actor(step: &Self::Step) -> usize;
    /// Whether that one acts on its own account: nobody expires, forgets or lists unless something is there.
    fn is_somebody(actor: usize) -> bool;
    /// Whether somebody crashes by it.
    fn is_crash(step: &Self::Step) -> bool;
}

/// What walks found.
pub struct Wandered<S> {
    pub walks: u64,
    pub steps: u64,
    /// Different states among those met.
    pub states: usize,
    pub took: Duration,
    pub violation: Option<Violation<S>>,
}

impl<S: fmt::Display> fmt::Display for Wandered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { walks, steps, states, took, .. } = self;
        let seconds = took.as_secs_f64();
        write!(f, "{walks} walks, {steps} steps, {states} states, {seconds:.1} s")?;
        match &self.violation {
            Some(violation) => write!(f, ": {violation}"),
            None => f.write_str(": nothing wrong"),
        }
    }
}

/// Walks from the start until nobody can do anything, again and again, at least `steps` steps in all, or until something
/// is wrong. The same `seed` walks the same ways.
pub fn wander<M: Wanders>(model: &M, seed: u64, steps: u64) -> Wandered<M::Step> {
    let started = Instant::now();
    let mut dice = Dice(seed);
    let mut seen = Fingerprints::default();
    let (mut next, mut trace) = (Vec::new(), Vec::new());
    let mut wandered =
        Wandered { walks: 0, steps: 0, states: 0, took: started.elapsed(), violation: None };
    while wandered.steps < steps && wandered.violation.is_none() {
        let mut ranks = Ranks::new::<M>(&mut dice);
        let mut state = model.start();
        trace.clear();
        wandered.walks += 1;
        loop {
            next.clear();
            model.successors(&state, &mut next);
            let Some(chosen) = ranks.choose::<M>(&next, &mut dice) else { break };
            let step;
            (step, state) = next[chosen];
            trace.push(step);
            // Where it has been before it need not look again.
            if seen.insert(M::hash(&state))
                && let Some(wrong) = model.judge(&state).wrong
            {
                wandered.violation = Some(Violation { wrong, trace: trace.clone() });
                break;
            }
        }
        wandered.steps += trace.len() as u64;
    }
    wandered.states = seen.count();
    wandered.took = started.elapsed();
    wandered
}

/// Who goes before whom in a walk.
struct Ranks {
    ranks: [u64; ACTORS],
    /// Before one step of so many somebody gets another rank.
    changes_one_in: u64,
    /// One step of so many that somebody can take is a crash.
    crashes_one_in: u64,
}

impl Ranks {
    fn new<M: Wanders>(dice: &mut Dice) -> Self {
        // Half of the walks leave sleep, forgetting and listings for later, unless a change brings them forward.
        let later = dice.below(2) == 0;
        let mut ranks = [0; ACTORS];
        for (actor, rank) in ranks.iter_mut().enumerate() {
            let half = if later && !M::is_somebody(actor) { 0 } else { 1 << 32 };
            *rank = half + dice.below(1 << 32);
        }
        let changes_one_in = 1 << dice.below(6);
        let crashes_one_in = 16 << (2 * dice.below(4));
        Self { ranks, changes_one_in, crashes_one_in }
    }

    /// Which of `next` it goes on with.
    fn choose<M: Wanders>(
        &mut self,
        next: &[(M::Step, M::State)],
        dice: &mut Dice,
    ) -> Option<usize> {
        if next.is_empty() {
            return None;
        }
        if dice.below(self.changes_one_in) == 0 {
            let one = M::actor(&next[dice.below(next.len() as u64) as usize].0);
            self.ranks[one] = dice.below(1 << 33);
        }
        let rank = |at: usize| self.ranks[M::actor(&next[at].0)];
        let first = (0..next.len()).max_by_key(|at| rank(*at))?;
        let actor = M::actor(&next[first].0);
        let crashes = dice.below(self.crashes_one_in) == 0;
        let may = |at: &usize| M::actor(&next[*at].0) == actor;
        let wanted = |at: &usize| may(at) && M::is_crash(&next[*at].0) == crashes;
        let count = (0..next.len()).filter(wanted).count() as u64;
        if count == 0 {
            return Some(first);
        }
        (0..next.len()).filter(wanted).nth(dice.below(count) as usize)
    }
}

/// Random numbers (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % limit
    }
}
