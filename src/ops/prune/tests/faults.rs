//! Prunes that die, run out of space, or meet a repository that is not whole.

use super::*;
use crate::ops::testing::open_in;
use crate::store::{Fault, Faulty, ObjectName, StoreErrorKind};

/// A repository of which much is to be condemned and rewritten, and what it looks like when that is done.
fn wasteful() -> Rig {
    let rig = Rig::new();
    let first = shared_segments(&rig, 1, 1);
    let second = rig.backup(2, &tree(1));
    shared_segments(&rig, 3, 2);
    rig.backup(4, &tree(2));
    rig.forget(first);
    rig.forget(second);
    rig
}

/// Prunes until nothing is left to do; the snapshots must be whole.
#[track_caller]
fn prune_to_the_end(rig: &Rig, repository: &Repository) {
    for _ in 0..4 {
        rig.clock.advance(GRACE + EXPIRY);
        done(try_prune(repository, &options()).unwrap());
    }
    assert_clean(repository);
    rig.clock.advance(HOUR);
    let (summary, _) = done(try_prune(repository, &options()).unwrap());
    assert!(summary.is_nothing(), "{summary:?}");
    assert!(summary.unused_bytes * 20 <= summary.used_bytes, "{summary:?}");
    let left = |kind| list_all(repository.store().as_ref(), kind).unwrap().len();
    assert_eq!((left(ObjectKind::Condemned), left(ObjectKind::Session)), (0, 0));
    assert_eq!(left(ObjectKind::Snapshot), 2);
    assert_eq!(repository.index().packs().unwrap().len(), left(ObjectKind::Pack));
}

/// Runs `prepare` and then a prune that dies at each of its calls in turn.
fn killed_everywhere(prepare: impl Fn(&Rig)) {
    let original = wasteful();
    prepare(&original);
    let calls = {
        let rig = original.fork();
        rig.clock.advance(HOUR);
        let faulty = Arc::new(Faulty::new(Arc::clone(&rig.store) as _, Vec::new()));
        let repository = open_in(Arc::clone(&faulty) as _).unwrap();
        done(try_prune(&repository, &options()).unwrap());
        faulty.mutating_calls()
    };
    assert!(calls > 8, "{calls}");
    for call in 0..calls {
        for fault in [Fault::KillBefore { call }, Fault::KillAfter { call }] {
            let rig = original.fork();
            rig.clock.advance(HOUR);
            let faulty = Arc::new(Faulty::new(Arc::clone(&rig.store) as _, vec![fault]));
            let repository = open_in(Arc::clone(&faulty) as _).unwrap();
            try_prune(&repository, &options()).unwrap_err();
            assert!(faulty.is_dead(), "{fault:?}");
            assert_clean(&rig.repository);
            // The same machine goes on, with the local index the dead process left.
            faulty.reset(Vec::new());
            prune_to_the_end(&rig, &repository);
        }
    }
}

#[test]
fn killed_in_the_first_half_nothing_is_lost_and_the_next_goes_on() {
    killed_everywhere(|_| {});
}

#[test]
fn killed_in_the_second_half_nothing_is_lost_and_the_next_goes_on() {
    killed_everywhere(|rig| {
        rig.prune();
        rig.clock.advance(GRACE);
    });
}

#[test]
fn a_full_disk_stops_a_prune_and_loses_nothing() {
    for after_bytes in [0, 600, 50_000, 150_000, 200_000] {
        let rig = wasteful();
        rig.clock.advance(HOUR);
        let plan = vec![Fault::NoSpace { after_bytes }];
        let faulty = Arc::new(Faulty::new(Arc::clone(&rig.store) as _, plan));
        let repository = open_in(Arc::clone(&faulty) as _).unwrap();
        let error = try_prune(&repository, &options()).unwrap_err();
        let RepositoryError::Store(error) = error else { panic!("{error}") };
        assert_eq!(error.kind, StoreErrorKind::NoSpace, "{after_bytes}");
        rig.assert_clean();
        faulty.reset(Vec::new());
        prune_to_the_end(&rig, &repository);
    }
}

#[test]
fn an_append_only_store_is_left_alone() {
    let rig = wasteful();
    rig.clock.advance(HOUR);
    let before = rig.store.objects();
    let faulty = Arc::new(Faulty::new(Arc::clone(&rig.store) as _, vec![Fault::NoDeletes]));
    let repository = open_in(faulty).unwrap();
    assert!(matches!(try_prune(&repository, &options()), Ok(Pruned::AppendOnly)));
    assert_eq!(rig.store.objects(), before);
}

#[test]
fn the_local_index_may_be_lost_between_the_halves() {
    let rig = wasteful();
    rig.prune();
    rig.clock.advance(GRACE + HOUR);
    let fresh = crate::ops::testing::open(&rig.store).unwrap();
    let (_, stats) = done(try_prune(&fresh, &options()).unwrap());
    assert!(stats.deleted_packs > 0);
    prune_to_the_end(&rig, &fresh);
}

#[test]
fn a_store_put_back_to_an_older_state_is_pruned_as_it_is() {
    let rig = wasteful();
    rig.prune();
    let older = rig.store.objects();
    rig.prune_later();
    rig.clock.advance(HOUR);
    // Condemned packs and index objects are back, and everything has new times.
    for name in rig.store.objects().into_keys() {
        rig.store.delete(&name).unwrap();
    }
    for (name, bytes) in older {
        rig.store.insert_raw(name, bytes);
    }
    rig.assert_clean();
    prune_to_the_end(&rig, &rig.repository);
}

#[test]
fn nothing_is_pruned_while_something_is_missing() {
    let rig = wasteful();
    rig.clock.advance(HOUR);
    let index: Vec<ObjectName> = list_all(rig.store.as_ref(), ObjectKind::Index)
        .unwrap()
        .into_iter()
        .map(|info| info.name)
        .collect();
    let all = rig.store.objects();
    // Each index object in turn is lost: either everything needed is elsewhere, or nothing is done.
    let mut refused = 0;
    for name in index {
        rig.store.delete(&name).unwrap();
        let before = rig.store.objects();
        let repository = crate::ops::testing::open(&rig.store).unwrap();
        match prune(&repository, &options(), &StopFlag::new(), &Silent, |_| Ok(false)) {
            Err(RepositoryError::Unprunable { reason, .. }) => {
                refused += 1;
                assert!(reason.contains("no pack"), "{reason}");
            }
            other => assert!(matches!(other, Ok(Pruned::Planned(_))), "{other:?}"),
        }
        assert_eq!(rig.store.objects(), before);
        rig.store.insert_raw(name, all[&name].clone());
    }
    assert!(refused > 0);
    let (name, mut bytes) =
        all.into_iter().find(|(name, _)| matches!(name, ObjectName::Snapshot(_))).unwrap();
    bytes[40] ^= 1;
    rig.store.insert_raw(name, bytes);
    let error = try_prune(&rig.repository, &options()).unwrap_err();
    assert!(error.to_string().contains("snapshot"), "{error}");
}

#[test]
fn a_damaged_pack_is_not_rewritten_and_stays() {
    let rig = wasteful();
    rig.clock.advance(HOUR);
    let plan = PrunePlan::compute(
        &rig.repository.begin_session("test").unwrap(),
        &options(),
        &StopFlag::new(),
        &Silent,
    )
    .unwrap();
    let pack = plan.mark.packs[plan.repack[0]].row.id;
    let name = ObjectName::Pack(pack);
    let mut bytes = rig.store.objects()[&name].clone();
    bytes[2000] ^= 1;
    rig.store.insert_raw(name, bytes);
    let before = rig.store.objects().len();
    // The session above is dead.
    rig.clock.advance(EXPIRY);
    let (_, stats) = rig.prune();
    assert_eq!(stats.damaged_packs, [name.to_string()]);
    assert!(rig.store.objects().len() > before - 2);
    rig.prune_later();
    assert!(rig.store.objects().contains_key(&name));
}

#[test]
fn a_condemned_object_nobody_can_read_goes_in_the_end() {
    let rig = wasteful();
    rig.prune();
    let is_condemned = |name: &ObjectName| matches!(name, ObjectName::Condemned(_));
    let (name, mut bytes) =
        rig.store.objects().into_iter().find(|(name, _)| is_condemned(name)).unwrap();
    bytes[50] ^= 1;
    rig.store.insert_raw(name, bytes);
    // Somebody is at work, and may have read it before.
    let other = crate::ops::testing::open(&rig.store).unwrap();
    let session = other.begin_session("backup").unwrap();
    rig.clock.advance(GRACE + HOUR);
    // By somebody who has not read it before.
    let prune = || {
        rig.clock.advance(HOUR);
        let repository = crate::ops::testing::open(&rig.store).unwrap();
        done(try_prune(&repository, &options()).unwrap())
    };
    prune();
    assert!(rig.store.objects().contains_key(&name));
    session.end().unwrap();
    let (summary, _) = prune();
    assert_eq!(summary.unreadable_condemned, 1);
    assert!(!rig.store.objects().contains_key(&name));
    rig.assert_clean();
    prune_to_the_end(&rig, &rig.repository);
}
