//! An explicit-state model of the protocol by which writers and prunes share a repository without locks
//! (`docs/protocol.md` tells it in words). Every order of the steps that a store can tell apart is tried,
//! with crashes and long sleeps anywhere.
//!
//! One test a rule turns that rule off and expects the model to find out what it is there for; a rule
//! whose test fails to find anything is either not needed or not modelled. `cargo test --test
//! protocol_model -- --nocapture` prints the shortest trace of each, and the numbers of states.
//!
//! What takes long without optimization is there only with it (`not(debug_assertions)`): `tests/run.sh` has this
//! compiled by `rustc -O` by itself, since it needs nothing of the crate.

mod cleaning;
mod explore;
mod forms;
mod prune;
mod rules;
mod state;
mod step;
mod walk;
mod writer;

use explore::{Judged, Model, Violation, Wrong, cover, explore};
use rules::{Rules, Setup};
use state::{Snapshot, State};
use step::{Actor, Next, Step};
use walk::{Wanders, wander};

impl Model for Setup {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        State::start(self.condemned_before)
    }

    fn canonical(&self, state: &State) -> State {
        let names = [(true, false), (false, true), (true, true)].into_iter();
        let alike = names.filter(|(writers, prunes)| {
            (self.writers == 2 || !writers) && (self.prunes == 2 || !prunes)
        });
        let others = alike.map(|(writers, prunes)| state.renamed(writers, prunes));
        others.fold(*state, |least, other| if other.hash() < least.hash() { other } else { least })
    }

    fn hash(state: &State) -> u64 {
        state.hash()
    }

    fn successors(&self, state: &State, add: &mut Vec<(Step, State)>) {
        let mut next = Next(std::mem::take(add));
        for w in 0..self.writers {
            writer::steps(self, state, w, &mut next);
            writer::environment(self, state, w, &mut next);
        }
        for p in 0..self.prunes {
            prune::steps(self, state, p, p, &mut next);
        }
        prune::listings(state, &mut next);
        prune::forget_old(state, &mut next);
        *add = next.0;
    }

    fn judge(&self, state: &State) -> Judged {
        let published = state.writers.iter().filter(|w| w.snapshot != Snapshot::None);
        let needed = published.fold(state.needed(), |needed, writer| needed | writer.uses);
        let at_rest = cleaning::at_rest(state);
        let wrong = if needed & !state.packs != 0 {
            Some(Wrong::Lost)
        } else if state.starved && self.must_not_starve {
            Some(Wrong::Starved)
        } else if at_rest && needed & !state.rows() != 0 {
            Some(Wrong::Unplaced)
        } else if at_rest && !cleaning::comes_clean(self, state) {
            Some(Wrong::Garbage)
        } else {
            None
        };
        Judged { at_rest, wrong }
    }
}

impl Wanders for Setup {
    fn actor(step: &Step) -> usize {
        match step.actor {
            Actor::Writer(w) => w,
            Actor::Prune(p) => 2 + p,
            Actor::Expiry(w) => 4 + w,
            Actor::Listing(w) => 6 + w,
            Actor::Listings => 8,
            Actor::Forget => 9,
        }
    }

    fn is_somebody(actor: usize) -> bool {
        actor < 4
    }

    fn is_crash(step: &Step) -> bool {
        step.what == "crashes"
    }
}

/// Explores everything, at most `limit` states, and expects nothing wrong.
fn holds(name: &str, setup: &Setup, limit: usize) {
    let outcome = cover(setup, limit);
    println!("{name}: {outcome}");
    assert!(outcome.violation.is_none(), "{name}: {outcome}");
    assert!(outcome.is_whole, "{name}: more than {limit} states");
    assert!(outcome.at_rest > 0, "{name}: nobody ever came to rest");
}

/// Explores until something is wrong, and expects `wrong`, by a trace with `steps` in this order.
fn breaks(name: &str, setup: &Setup, wrong: Wrong, steps: &[&str]) {
    let outcome = explore(setup, 3_000_000);
    println!("{name}: {outcome}");
    let Some(Violation { wrong: found, trace }) = &outcome.violation else {
        panic!("{name}: the rule is off, and nothing is wrong: {outcome}");
    };
    assert_eq!(*found, wrong, "{name}");
    let mut trace = trace.iter().map(ToString::to_string);
    for step in steps {
        assert!(trace.any(|told| told == *step), "{name}: no (later) step `{step}` in: {outcome}");
    }
}

/// All rules but what `change` turns off.
fn without(mut setup: Setup, change: impl FnOnce(&mut Rules)) -> Setup {
    change(&mut setup.rules);
    setup
}

const ONE_PRUNE: Setup = Setup::new(1, 1);
const TWO_PRUNES: Setup = Setup::new(1, 2);
const TWO_WRITERS: Setup = Setup::new(2, 1);

/// Packs, index objects and condemned objects come late as well. A writer that does not find its own pack listed fails, and is
/// let go; nothing is lost.
const fn late_objects(setup: Setup) -> Setup {
    Setup { late_objects: true, must_not_starve: false, ..setup }
}

/// Snapshots are published by a fence that only one can create.
const fn in_object_store(setup: Setup) -> Setup {
    Setup { object_store: true, forgets_early: true, ..setup }
}

const fn calm(setup: Setup) -> Setup {
    Setup { sleepers: false, ..setup }
}

#[test]
fn a_writer_and_a_prune() {
    holds("1 writer, 1 prune", &ONE_PRUNE, 5_000);
    holds("1 writer, 1 prune, late objects", &late_objects(ONE_PRUNE), 5_000);
    let late = late_objects(calm(Setup { late_listings: true, ..ONE_PRUNE }));
    holds("1 writer, 1 prune, everything late", &late, 5_000);
    holds("1 writer, 1 prune, object store", &in_object_store(ONE_PRUNE), 20_000);
}

#[test]
fn a_writer_and_two_prunes() {
    holds("1 writer, 2 prunes", &TWO_PRUNES, 300_000);
}

#[test]
#[cfg(not(debug_assertions))]
fn two_writers_and_a_prune() {
    holds("2 writers, 1 prune", &TWO_WRITERS, 300_000);
}

#[test]
#[cfg(not(debug_assertions))]
fn a_writer_and_two_prunes_after_an_earlier_one() {
    let setup = Setup { condemned_before: true, ..TWO_PRUNES };
    holds("1 writer, 2 prunes, condemned before", &setup, 1_500_000);
}

#[test]
#[cfg(not(debug_assertions))]
fn late_listings() {
    let late = |setup| Setup { late_listings: true, ..calm(setup) };
    holds("2 writers, 1 prune, late listings", &late(TWO_WRITERS), 300_000);
    holds("1 writer, 2 prunes, late listings", &late(TWO_PRUNES), 300_000);
    holds("2 writers, 1 prune, late objects", &late_objects(TWO_WRITERS), 1_300_000);
    holds("1 writer, 2 prunes, late objects", &late_objects(TWO_PRUNES), 700_000);
    holds("2 writers, 1 prune, everything late", &late_objects(late(TWO_WRITERS)), 2_000_000);
    holds("1 writer, 2 prunes, everything late", &late_objects(late(TWO_PRUNES)), 2_000_000);
}

#[test]
#[cfg(not(debug_assertions))]
fn without_a_rename() {
    holds("2 writers, 1 prune, object store", &in_object_store(TWO_WRITERS), 3_000_000);
    holds("1 writer, 2 prunes, object store", &in_object_store(TWO_PRUNES), 2_000_000);
}

#[test]
#[cfg(not(debug_assertions))]
fn two_writers_and_two_prunes_without_mishap() {
    let setup = Setup { crashes: false, ..calm(Setup::new(2, 2)) };
    holds("2 writers, 2 prunes, no crashes, no sleepers", &setup, 1_500_000);
}

#[test]
#[cfg(all(feature = "long-tests", not(debug_assertions)))]
fn two_writers_and_a_prune_after_an_earlier_one() {
    let setup = Setup { condemned_before: true, ..TWO_WRITERS };
    holds("2 writers, 1 prune, condemned before", &setup, 3_000_000);
}

#[test]
#[cfg(all(feature = "long-tests", not(debug_assertions)))] // minutes
fn two_writers_and_two_prunes_that_crash() {
    holds("2 writers, 2 prunes, crashes", &calm(Setup::new(2, 2)), 10_000_000);
}

#[test]
#[cfg(all(feature = "long-tests", not(debug_assertions)))] // minutes
fn two_writers_that_sleep_and_two_prunes() {
    let setup = Setup { crashes: false, ..Setup::new(2, 2) };
    holds("2 writers, 2 prunes, sleepers", &setup, 35_000_000);
}

#[test]
#[cfg(all(feature = "long-tests", not(debug_assertions)))] // more than there is room for: only the nearest
fn two_writers_and_two_prunes_with_everything() {
    let setup = Setup::new(2, 2);
    let outcome = cover(&setup, 30_000_000);
    println!("2 writers, 2 prunes, crashes, sleepers: {outcome}");
    assert!(outcome.violation.is_none(), "{outcome}");
}

#[test]
fn sessions_must_name_the_condemned() {
    // Neither a crash nor an expired session is needed: a writer opened after the prune had listed the
    // sessions, and took longer than the grace time.
    let setup = Setup { crashes: false, sleepers: false, must_not_starve: false, ..ONE_PRUNE };
    let setup = without(setup, |rules| rules.sessions_name_condemned = false);
    let steps =
        ["A lists sessions, may condemn P", "W1 deduplicates on P", "A condemns P", "A deletes P"];
    breaks("sessions name nothing", &setup, Wrong::Lost, &steps);
}

#[test]
fn packs_must_be_listed_after_the_index() {
    // A writer that slept past its session writes the index object of a pack already deleted.
    let setup = Setup { condemned_before: true, crashes: false, ..TWO_WRITERS };
    let setup = without(setup, |rules| rules.packs_listed_after_index = false);
    let steps = ["A deletes N1", "W2 deduplicates on N1", "W2 fails: there is no more N1"];
    breaks("packs not listed after the index", &setup, Wrong::Starved, &steps);
}

#[test]
fn only_older_packs_must_be_condemned() {
    let setup = without(TWO_PRUNES, |rules| rules.condemn_only_older = false);
    let steps =
        ["A condemns P", "W1 uploads N1'", "B condemns P N1'", "W1 fails: condemned again is N1'"];
    breaks("young packs condemned", &setup, Wrong::Starved, &steps);
    // The rule keeps writers from working in vain. It is not what keeps snapshots whole.
    let setup = Setup { must_not_starve: false, ..setup };
    holds("young packs condemned, writers let go", &setup, 700_000);
}

#[test]
fn writers_must_revalidate() {
    let setup = without(ONE_PRUNE, |rules| rules.revalidate = false);
    let steps = [
        "expiry of W1: the session is removed",
        "A lists sessions, none holds up the condemned P",
        "W1 stages a snapshot that needs P",
        "W1 publishes a snapshot that needs P",
        "A deletes P",
    ];
    breaks("no revalidation", &setup, Wrong::Lost, &steps);
}

#[test]
fn the_rename_must_be_fenced() {
    let setup = without(ONE_PRUNE, |rules| rules.fenced_rename = false);
    let steps = [
        "W1 lists the packs again, finds P",
        "expiry of W1: the session is removed",
        "A condemns P",
        "W1 publishes a snapshot that needs P",
        "A deletes P",
    ];
    breaks("no fence", &setup, Wrong::Lost, &steps);
}

#[test]
fn staging_must_come_before_revalidating() {
    let setup = without(ONE_PRUNE, |rules| rules.stage_before_revalidating = false);
    let steps = [
        "W1 lists the packs again, finds P",
        "expiry of W1: the session is removed",
        "A lists sessions, none holds up the condemned P",
        "W1 stages a snapshot that needs P",
        "A deletes P",
    ];
    breaks("staged after revalidating", &setup, Wrong::Lost, &steps);
}

#[test]
fn what_is_staged_must_count_as_a_session() {
    let setup = without(ONE_PRUNE, |rules| rules.staged_counts_as_session = false);
    let steps = [
        "W1 stages a snapshot that needs P",
        "expiry of W1: the session is removed",
        "A lists sessions, none holds up the condemned P",
        "W1 publishes a snapshot that needs P",
        "A deletes P",
    ];
    breaks("staged snapshots overlooked", &setup, Wrong::Lost, &steps);
}

#[test]
fn condemned_objects_must_go_last() {
    let setup = Setup { crashes: false, sleepers: false, must_not_starve: false, ..ONE_PRUNE };
    let setup = without(setup, |rules| rules.delete_condemned_last = false);
    let steps =
        ["A deletes the condemned object that named P", "W1 deduplicates on P", "A deletes P"];
    breaks("condemned object deleted first", &setup, Wrong::Lost, &steps);
}

#[test]
fn spared_packs_must_stay_condemned() {
    let setup = Setup { crashes: false, sleepers: false, must_not_starve: false, ..TWO_PRUNES };
    let setup = Setup { condemned_before: true, ..setup };
    let setup = without(setup, |rules| rules.spared_stay_condemned = false);
    let steps = [
        "B marks again, will delete P",
        "A deletes the condemned object that named P",
        "W1 deduplicates on P",
        "W1 publishes a snapshot that needs P",
        "B deletes P",
    ];
    breaks("spared packs count again", &setup, Wrong::Lost, &steps);
}

#[test]
fn names_must_never_be_reused() {
    let setup = without(ONE_PRUNE, |rules| rules.names_never_reused = false);
    let steps = ["A condemns P", "W1 uploads P", "A deletes P", "W1 fails: there is no more P"];
    breaks("names reused", &setup, Wrong::Starved, &steps);
    let setup = Setup { must_not_starve: false, ..TWO_PRUNES };
    let setup = without(setup, |rules| rules.names_never_reused = false);
    let steps =
        ["A deletes P", "W1 uploads P", "W1 publishes a snapshot that needs P", "B deletes P"];
    breaks("names reused, two prunes", &setup, Wrong::Lost, &steps);
}

#[test]
fn sessions_must_be_seen_listed() {
    let setup = Setup { late_listings: true, sleepers: false, must_not_starve: false, ..ONE_PRUNE };
    let setup = without(setup, |rules| rules.session_seen_listed = false);
    let steps = ["W1 deduplicates on P", "A condemns P", "A deletes P"];
    breaks("session not seen listed", &setup, Wrong::Lost, &steps);
}

#[test]
fn snapshots_must_be_seen_listed() {
    let setup = Setup { late_listings: true, sleepers: false, ..ONE_PRUNE };
    let setup = without(setup, |rules| rules.snapshot_seen_listed = false);
    let steps = ["W1 publishes a snapshot that needs P", "W1 ends its session", "A deletes P"];
    breaks("snapshot not seen listed", &setup, Wrong::Lost, &steps);
}

#[test]
fn dead_sessions_must_expire() {
    let setup = without(ONE_PRUNE, |rules| rules.sessions_expire = false);
    breaks("sessions never expire", &setup, Wrong::Garbage, &["W1 crashes"]);
}

/// A writer falls asleep between creating the fence and putting its snapshot. If whoever expires its session published the
/// snapshot for it, the snapshot could be forgotten, and what only it needed deleted, before the writer wakes up and puts it again.
#[test]
fn who_expires_a_writer_must_bar_its_snapshot() {
    let setup = without(in_object_store(ONE_PRUNE), |rules| rules.expiry_bars_the_snapshot = false);
    let steps = [
        "W1 creates the fence, publishes P",
        "expiry of W1: the snapshot is put that needs P",
        "forgotten: the new snapshot that needs P",
        "A condemns P",
        "W1 puts a snapshot that needs P",
        "A deletes P",
    ];
    breaks("a late put", &setup, Wrong::Lost, &steps);
}

/// A known limit: a writer that wakes up just when it is expired publishes in the same moment, and the
/// expiring prune does not see the snapshot listed. Stores that can rename list at once.
#[test]
fn a_rename_is_no_fence_where_listings_are_late() {
    let setup = Setup { late_listings: true, ..ONE_PRUNE };
    let steps = [
        "expiry of W1: no beat for too long",
        "W1 publishes a snapshot that needs P",
        "expiry of W1: the session is removed",
        "A deletes P",
    ];
    breaks("sleepers and late listings", &setup, Wrong::Lost, &steps);
}

/// What may happen to two writers and two prunes at once, in all the ways a store can be.
fn everything_at_once() -> [(&'static str, Setup); 4] {
    let everything = Setup::new(2, 2);
    let late = late_objects(calm(Setup { late_listings: true, ..everything }));
    [
        ("a rename", Setup { condemned_before: true, ..everything }),
        ("late objects", late_objects(everything)),
        ("everything late, nobody sleeps", late),
        ("an object store", in_object_store(everything)),
    ]
}

#[test]
fn walks_of_two_writers_and_two_prunes_with_everything() {
    let steps = match (cfg!(debug_assertions), cfg!(feature = "long-tests")) {
        (true, _) => 20_000,
        (false, false) => 10_000_000,
        (false, true) => 300_000_000,
    };
    for (name, setup) in everything_at_once() {
        let found = wander(&setup, 4, steps);
        println!("2 writers, 2 prunes, {name}, everything: {found}");
        assert!(found.violation.is_none(), "{name}: {found}");
    }
}

/// Without it, walks that find nothing would mean nothing.
#[test]
#[cfg(not(debug_assertions))]
fn walks_find_what_is_wrong_without_a_rule() {
    let [(_, rename), _, (_, late), (_, bucket)] = everything_at_once();
    type Off = fn(&mut Rules);
    let off: [(&str, Setup, Wrong, Off); 14] = [
        ("sessions name", rename, Wrong::Lost, |rules| rules.sessions_name_condemned = false),
        ("after index", rename, Wrong::Starved, |rules| rules.packs_listed_after_index = false),
        ("only older", rename, Wrong::Starved, |rules| rules.condemn_only_older = false),
        ("revalidate", rename, Wrong::Lost, |rules| rules.revalidate = false),
        ("fenced rename", rename, Wrong::Lost, |rules| rules.fenced_rename = false),
        ("staging first", rename, Wrong::Lost, |rules| rules.stage_before_revalidating = false),
        ("staged counts", rename, Wrong::Lost, |rules| rules.staged_counts_as_session = false),
        ("condemned last", rename, Wrong::Lost, |rules| rules.delete_condemned_last = false),
        ("spared stay", rename, Wrong::Lost, |rules| rules.spared_stay_condemned = false),
        ("names", rename, Wrong::Lost, |rules| rules.names_never_reused = false),
        ("session listed", late, Wrong::Lost, |rules| rules.session_seen_listed = false),
        ("snapshot listed", late, Wrong::Lost, |rules| rules.snapshot_seen_listed = false),
        ("expiry", rename, Wrong::Garbage, |rules| rules.sessions_expire = false),
        ("barred", bucket, Wrong::Lost, |rules| rules.expiry_bars_the_snapshot = false),
    ];
    for (name, setup, wrong, off) in off {
        let setup = Setup { must_not_starve: wrong == Wrong::Starved, ..setup };
        let found = wander(&without(setup, off), 4, 40_000_000);
        println!("walks without a rule ({name}): {found}");
        let is_it = found.violation.as_ref().is_some_and(|it| it.wrong == wrong);
        assert!(
            is_it,
            "{name}: the rule is off, and walks find something else or nothing: {found}"
        );
    }
}
