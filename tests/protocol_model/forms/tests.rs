//! What holds with all rules, and what goes wrong without each.

use crate::explore::{Violation, Wrong, cover, explore};
use crate::walk::wander;

use super::rules::{
    BASE_ONLY, CHAIN, DANGLING, DELTA, KEPT_DELTA, MIXED, Rules, Setup, TWICE, TWICE_AND_LATE,
    TWICE_CONDEMNED, World,
};

/// All worlds whose states are few enough for every run of the tests.
const WORLDS: [World; 7] = [TWICE, TWICE_AND_LATE, DELTA, KEPT_DELTA, CHAIN, BASE_ONLY, DANGLING];

/// Explores everything, at most `limit` states, and expects nothing wrong. Tells what it covered.
fn holds(setup: &Setup, limit: usize) {
    let outcome = cover(setup, limit);
    let Setup { writers, prunes, world, .. } = setup;
    let with = [
        (setup.crashes, ", crashes"),
        (setup.sleepers, ", sleeping writers"),
        (setup.sleeping_prunes, ", sleeping prunes"),
        (setup.pages, ", pages"),
        (setup.again, ", second runs"),
        (setup.repacks, ", rewriting"),
        (setup.mishaps.is_some(), ", one mishap at most"),
    ];
    let with: String = with.iter().filter(|(is_on, _)| *is_on).map(|(_, name)| *name).collect();
    println!("{}: {writers} writers, {prunes} prunes{with}: {outcome}", world.name);
    assert!(outcome.violation.is_none(), "{}: {outcome}", world.name);
    assert!(outcome.is_whole, "{}: more than {limit} states", world.name);
    assert!(outcome.at_rest > 0, "{}: nobody ever came to rest", world.name);
}

/// Explores until something is wrong, and expects `wrong`, by a trace with `steps` in this order.
fn breaks(name: &str, setup: Setup, off: fn(&mut Rules), wrong: Wrong, steps: &[&str]) {
    let mut setup = setup;
    off(&mut setup.rules);
    let outcome = explore(&setup, 3_000_000);
    println!("{name}: {outcome}");
    let Some(Violation { wrong: found, trace }) = &outcome.violation else {
        panic!("{name}: the rule is off, and nothing is wrong: {outcome}");
    };
    assert_eq!(*found, wrong, "{name}: {outcome}");
    let mut trace = trace.iter().map(ToString::to_string);
    for step in steps {
        assert!(trace.any(|told| told == *step), "{name}: no (later) step `{step}` in: {outcome}");
    }
}

#[test]
#[cfg(not(debug_assertions))]
fn two_prunes_and_a_writer_lose_no_form() {
    for world in WORLDS {
        holds(&Setup::new(world, 0, 2), 100_000);
        holds(&Setup::new(world, 1, 2), 500_000);
    }
}

#[test]
#[cfg(not(debug_assertions))]
fn two_writers_and_a_prune_lose_no_form() {
    for world in [TWICE, DELTA, CHAIN, DANGLING] {
        holds(&Setup::new(world, 2, 1), 800_000);
    }
}

#[test]
fn a_writer_or_two_prunes_lose_no_form() {
    for world in WORLDS.into_iter().chain([MIXED, TWICE_CONDEMNED]) {
        holds(&Setup::new(world, 1, 1), 100_000);
    }
}

#[test]
#[cfg(not(debug_assertions))]
fn packs_with_several_parts_and_forms_condemned_twice() {
    for world in [MIXED, TWICE_CONDEMNED] {
        holds(&Setup::new(world, 0, 2), 100_000);
    }
    // Nothing is rewritten that is not condemned.
    for world in [KEPT_DELTA, CHAIN] {
        holds(&Setup { repacks: false, ..Setup::new(world, 1, 2) }, 500_000);
    }
}

#[test]
#[cfg(not(debug_assertions))]
fn prunes_that_run_again() {
    for world in WORLDS {
        let setup = Setup { again: true, crashes: false, ..Setup::new(world, 0, 2) };
        holds(&setup, 400_000);
    }
}

#[test]
fn listings_in_pages() {
    for world in WORLDS {
        holds(&Setup { pages: true, ..Setup::new(world, 1, 1) }, 200_000);
        holds(&Setup { pages: true, ..Setup::new(world, 0, 2) }, 200_000);
    }
}

#[test]
#[cfg(all(feature = "long-tests", not(debug_assertions)))] // some ten million states, minutes
fn everything_there_is_room_for() {
    for world in [MIXED, TWICE_CONDEMNED, BASE_ONLY, KEPT_DELTA] {
        holds(&Setup::new(world, 1, 2), 30_000_000);
        holds(&Setup::new(world, 2, 1), 30_000_000);
    }
    for world in WORLDS {
        holds(&Setup { pages: true, ..Setup::new(world, 1, 2) }, 60_000_000);
        holds(&Setup::new(world, 2, 2).without_mishap(), 60_000_000);
    }
}

#[test]
#[cfg(not(debug_assertions))]
fn two_writers_and_two_prunes_of_which_one_has_a_mishap() {
    let all = cfg!(feature = "long-tests");
    let worlds = if all { &WORLDS[..] } else { &[TWICE_AND_LATE, CHAIN, DANGLING] };
    for world in worlds {
        holds(&Setup { mishaps: Some(1), ..Setup::new(*world, 2, 2) }, 20_000_000);
    }
}

#[test]
#[cfg(all(feature = "long-tests", not(debug_assertions)))] // minutes
fn two_writers_and_two_prunes_with_everything() {
    for world in [TWICE, TWICE_AND_LATE, DELTA, CHAIN, DANGLING] {
        holds(&Setup::new(world, 2, 2), 60_000_000);
    }
}

#[test]
fn bases_must_be_revalidated() {
    let steps = [
        "W1 will upload its part as a delta on 1",
        "A condemns 1",
        "W1 lists the condemned again, finds 1",
        "B marks, will delete 1",
        "B deletes 1",
    ];
    let off: fn(&mut Rules) = |rules| rules.bases_are_revalidated = false;
    breaks("bases not revalidated", Setup::new(BASE_ONLY, 1, 2), off, Wrong::Lost, &steps);
}

#[test]
fn a_chunk_must_count_only_with_its_chain() {
    let steps = ["W1 deduplicates on 1", "W1 fails: its part is nowhere"];
    let off: fn(&mut Rules) = |rules| rules.dedup_needs_the_chain = false;
    breaks("chains not looked at", Setup::new(DANGLING, 1, 1), off, Wrong::Starved, &steps);
}

#[test]
fn prunes_must_choose_alike() {
    // Both forms are condemned: each prune keeps another one.
    let steps = ["A marks, will delete 1", "B marks, will delete 2"];
    let off: fn(&mut Rules) = |rules| rules.choices_agree = false;
    breaks("choices differ", Setup::new(TWICE_CONDEMNED, 0, 2), off, Wrong::Lost, &steps);
}

#[test]
fn prunes_must_have_sessions() {
    // A marked before the newer form was condemned, and condemns the older one when B has just chosen it.
    let setup = Setup { again: true, ..Setup::new(TWICE_AND_LATE, 0, 2) }.without_mishap();
    let steps = ["B marks, will delete 2", "A condemns 1", "A marks, will delete 1"];
    let off: fn(&mut Rules) = |rules| rules.prunes_have_sessions = false;
    breaks("prunes without sessions", setup, off, Wrong::Lost, &steps);
}

#[test]
fn condemning_must_be_fenced() {
    // The same of a prune that slept until it was expired.
    let setup = Setup { again: true, crashes: false, ..Setup::new(TWICE_AND_LATE, 0, 2) };
    let steps = [
        "expiry of A: the session is removed",
        "B marks, will delete 2",
        "A condemns 1",
        "A marks, will delete 1",
    ];
    let off: fn(&mut Rules) = |rules| rules.condemning_is_fenced = false;
    breaks("condemning not fenced", setup, off, Wrong::Lost, &steps);
}

#[test]
fn places_in_condemned_packs_must_count_less() {
    // The condemned plain form is needed for ever, and the delta that could take its place is condemned too.
    let off: fn(&mut Rules) = |rules| rules.condemned_count_less = false;
    breaks("condemned places count", Setup::new(DELTA, 1, 1), off, Wrong::Garbage, &[]);
}

#[test]
fn what_is_stored_again_must_rest_on_nothing_that_goes() {
    let off: fn(&mut Rules) = |rules| rules.repacked_without_bases = false;
    breaks("deltas by prune", Setup::new(KEPT_DELTA, 1, 1), off, Wrong::Garbage, &[]);
}

#[test]
fn what_only_condemned_packs_have_must_be_rescued() {
    let off: fn(&mut Rules) = |rules| rules.condemned_are_rescued = false;
    breaks("no rescue", Setup::new(DELTA, 1, 1), off, Wrong::Garbage, &[]);
}

/// What prunes do beyond need. Bases of deltas that stay keep those deltas of use to writers; and what is stored again
/// is indexed first so that readers find it.
#[test]
#[cfg(not(debug_assertions))]
fn what_keeps_no_snapshot_whole() {
    let off: [fn(&mut Rules); 3] = [
        |rules| rules.kept_deltas_keep_bases = false,
        |rules| rules.repacked_before_condemned = false,
        |rules| rules.only_known_condemned = false,
    ];
    for change in off {
        for world in [TWICE_AND_LATE, KEPT_DELTA, CHAIN] {
            let mut setup = Setup { repacks: false, ..Setup::new(world, 1, 2) };
            change(&mut setup.rules);
            holds(&setup, 500_000);
        }
    }
}

/// Two writers and two prunes that crash, sleep past their sessions, run again, and list in pages or not.
#[test]
fn walks_of_two_writers_and_two_prunes_with_everything() {
    let steps = match (cfg!(debug_assertions), cfg!(feature = "long-tests")) {
        (true, _) => 10_000,
        (false, false) => 1_000_000,
        (false, true) => 100_000_000,
    };
    for world in WORLDS.into_iter().chain([MIXED, TWICE_CONDEMNED]) {
        for pages in [false, true] {
            let setup = Setup { pages, again: true, ..Setup::new(world, 2, 2) };
            let found = wander(&setup, 4, steps);
            let how = if pages { "everything, in pages" } else { "everything" };
            println!("{}: 2 writers, 2 prunes, {how}: {found}", world.name);
            assert!(found.violation.is_none(), "{}: {found}", world.name);
        }
    }
}

/// Without it, walks that find nothing would mean nothing.
#[test]
#[cfg(not(debug_assertions))]
fn walks_find_what_is_wrong_without_a_rule() {
    type Off = fn(&mut Rules);
    let off: [(&str, World, Off); 8] = [
        ("chains not looked at", DANGLING, |rules| rules.dedup_needs_the_chain = false),
        ("bases not revalidated", BASE_ONLY, |rules| rules.bases_are_revalidated = false),
        ("choices differ", TWICE_CONDEMNED, |rules| rules.choices_agree = false),
        ("prunes without sessions", TWICE_AND_LATE, |rules| rules.prunes_have_sessions = false),
        ("condemning not fenced", TWICE_AND_LATE, |rules| rules.condemning_is_fenced = false),
        ("condemned places count", DELTA, |rules| rules.condemned_count_less = false),
        ("deltas by prune", KEPT_DELTA, |rules| rules.repacked_without_bases = false),
        ("no rescue", DELTA, |rules| rules.condemned_are_rescued = false),
    ];
    for (name, world, off) in off {
        let mut setup = Setup { again: true, ..Setup::new(world, 2, 2) };
        off(&mut setup.rules);
        let found = wander(&setup, 4, 20_000_000);
        println!("walks without a rule ({name}): {found}");
        assert!(
            found.violation.is_some(),
            "{name}: the rule is off, and walks find nothing: {found}"
        );
    }
}
