//! Prunes beside writers: at work, dead, asleep.

use super::*;
use crate::id::ChunkId;
use crate::ops::testing::{open_in, snapshot, store_tree};
use crate::pack::ChunkEntry;
use crate::repository::{Fetcher, Session};
use crate::snapshot::{ChunkRef, StreamRef};
use crate::store::{Fault, Faulty, ObjectName, Recording, Verb};

/// Stores `tree` in `session`, without a snapshot.
fn store(session: &Session<'_>, tree: &Tree) -> StreamRef {
    let produce = |ingest: &mut crate::repository::Ingest<'_>| {
        Ok::<_, RepositoryError>(store_tree(ingest, "", tree).content.unwrap())
    };
    let stop = StopFlag::new();
    session.repository().ingest(session, options().ingest, &stop, produce).unwrap().0
}

fn commit(session: &Session<'_>, root: StreamRef) -> Result<u64, RepositoryError> {
    let commit = session.commit(&snapshot("app", 9, root), options().ingest, &StopFlag::new())?;
    Ok(commit.rescued_chunks)
}

#[test]
fn a_backup_on_another_machine_loses_nothing_and_is_waited_for() {
    let rig = Rig::new();
    let old = rig.backup(1, &tree(1));
    rig.clock.advance(HOUR);
    // The other machine has an index of its own. It uses what is there already.
    let other = open(&rig.store).unwrap();
    let session = other.begin_session("backup").unwrap();
    let root = store(&session, &tree(1));
    rig.forget(old);
    let (summary, _) = rig.prune();
    assert!(summary.condemn_packs > 0, "{summary:?}");
    // Long after the grace time: the session does not name what was condemned.
    rig.clock.advance(GRACE);
    let (summary, stats) = rig.prune();
    assert_eq!(stats.deleted_packs, 0);
    let WaitsFor::Sessions(sessions) = &summary.waiting[0].waits_for else { panic!("{summary:?}") };
    assert!(sessions[0].contains("backup on host"), "{sessions:?}");
    // The backup finds out before its commit, and stores it again.
    assert!(commit(&session, root).unwrap() > 0);
    session.end().unwrap();
    let (_, stats) = rig.prune();
    assert!(stats.deleted_packs > 0, "{stats:?}");
    rig.assert_clean();
    assert_eq!(rig.repository.snapshots().unwrap().snapshots.len(), 1);
}

#[test]
fn packs_of_somebody_at_work_are_too_young() {
    let rig = Rig::new();
    rig.backup(1, &tree(1));
    rig.clock.advance(HOUR);
    let other = open(&rig.store).unwrap();
    let session = other.begin_session("backup").unwrap();
    rig.clock.advance(HOUR);
    let root = store(&session, &tree(5));
    let (summary, stats) = rig.prune();
    assert!(summary.young_packs > 0, "{summary:?}");
    assert_eq!((summary.condemn_packs, stats.condemned_packs), (0, 0));
    commit(&session, root).unwrap();
    session.end().unwrap();
    rig.assert_clean();
}

#[test]
fn killed_runs_are_cleaned_up_in_time() {
    let rig = Rig::new();
    rig.backup(1, &tree(1));
    let packs = rig.count(ObjectKind::Pack);
    rig.clock.advance(HOUR);
    // Dies right after its first pack, before any index object.
    let plan = vec![Fault::KillAfter { call: 4 }];
    let faulty = Arc::new(Faulty::new(Arc::clone(&rig.store) as _, plan));
    let other = open_in(Arc::clone(&faulty) as _).unwrap();
    let session = other.begin_session("backup").unwrap();
    let produce = |ingest: &mut crate::repository::Ingest<'_>| {
        Ok::<_, RepositoryError>(store_tree(ingest, "", &tree(6)).content.unwrap())
    };
    other.ingest(&session, options().ingest, &StopFlag::new(), produce).unwrap_err();
    assert!(faulty.is_dead());
    drop(session);
    let left = rig.count(ObjectKind::Pack) - packs;
    assert!(left > 0);
    assert_eq!(rig.count(ObjectKind::Session), 1);
    let (summary, _) = rig.prune();
    assert_eq!((summary.young_packs, summary.expired_sessions.len()), (left as u64, 0));
    rig.clock.advance(EXPIRY);
    let (summary, stats) = rig.prune();
    assert_eq!((summary.expired_sessions.len(), stats.expired_sessions), (1, 1));
    assert_eq!(stats.condemned_packs, left as u64);
    rig.prune_later();
    assert_eq!((rig.count(ObjectKind::Pack), rig.count(ObjectKind::Session)), (packs, 0));
    rig.assert_clean();
}

#[test]
fn an_expired_writer_that_wakes_up_publishes_nothing() {
    let rig = Rig::new();
    let old = rig.backup(1, &tree(1));
    rig.clock.advance(HOUR);
    let other = open(&rig.store).unwrap();
    let session = other.begin_session("backup").unwrap();
    let root = store(&session, &tree(1));
    rig.forget(old);
    rig.clock.advance(EXPIRY);
    rig.prune();
    rig.prune_later();
    assert_eq!(rig.count(ObjectKind::Pack), 0);
    let error = commit(&session, root).unwrap_err();
    assert!(matches!(error, RepositoryError::SessionExpired), "{error}");
    drop(session);
    assert_eq!(rig.repository.snapshots().unwrap().snapshots.len(), 0);
    // What it left (a staged snapshot, nothing, or a beat) goes in its turn.
    rig.clock.advance(EXPIRY);
    rig.prune();
    assert_eq!(rig.count(ObjectKind::Session), 0);
    rig.assert_clean();
}

#[test]
fn a_session_of_which_only_a_staged_snapshot_is_left_holds_up_and_expires() {
    let rig = Rig::new();
    let old = rig.backup(1, &tree(1));
    let bytes = rig.store.objects()[&ObjectName::Snapshot(old)].clone();
    rig.forget(old);
    rig.prune();
    let session = crate::id::SessionId::new([7; 16]);
    rig.store.insert_raw(ObjectName::Staged { session, snapshot: old }, bytes);
    let (summary, stats) = rig.prune_later();
    assert_eq!(stats.deleted_packs, 0);
    assert!(matches!(summary.waiting[0].waits_for, WaitsFor::Sessions(_)));
    rig.clock.advance(EXPIRY);
    let (_, stats) = rig.prune();
    assert_eq!((stats.expired_sessions, rig.count(ObjectKind::Session)), (1, 0));
    assert!(stats.deleted_packs > 0);
}

#[test]
fn a_reader_looks_again_for_what_a_prune_has_stored_elsewhere() {
    let rig = Rig::new();
    let old = shared_segments(&rig, 1, 1);
    shared_segments(&rig, 2, 2);
    let recording = Arc::new(Recording::new(Arc::clone(&rig.store) as _));
    let reader = open_in(Arc::clone(&recording) as _).unwrap();
    reader.refresh().unwrap();
    rig.forget(old);
    rig.clock.advance(HOUR);
    rig.prune();
    let (_, stats) = rig.prune_later();
    assert!(stats.deleted_packs > 0);
    recording.clear();
    let fetcher = Fetcher::new(&reader, 1 << 20);
    let mut chunks = 0;
    for pack in rig.repository.index().packs().unwrap() {
        for segment in rig.repository.index().segments_of(&pack.id).unwrap() {
            for chunk in segment.chunks {
                let ChunkEntry { id, len } = chunk;
                fetcher.chunk(&ChunkRef { id, len }).unwrap();
                chunks += 1;
            }
        }
    }
    assert!(chunks > 90, "{chunks}");
    // Condemned, index, packs: once.
    assert_eq!(recording.count(Verb::List), 3);
    // What is nowhere is told, and asks the store no more often.
    for n in 0..5 {
        let missing = ChunkId::new([n; 32]);
        let error = fetcher.chunk(&ChunkRef { id: missing, len: 1 }).unwrap_err();
        assert!(matches!(error, RepositoryError::MissingChunk { .. }), "{error}");
    }
    assert_eq!(recording.count(Verb::List), 3);
}

#[test]
fn a_prune_that_slept_past_its_session_condemns_nothing() {
    let rig = Rig::new();
    let old = rig.backup(1, &tree(1));
    rig.backup(2, &tree(2));
    rig.prune();
    rig.forget(old);
    rig.clock.advance(HOUR);
    // It has decided what to condemn, and is stopped.
    let session = rig.repository.begin_session("prune").unwrap();
    let plan = PrunePlan::compute(&session, &options(), &StopFlag::new(), &Silent).unwrap();
    let packs: Vec<_> = plan.condemn.iter().map(|(id, _)| *id).collect();
    assert!(!packs.is_empty());
    rig.clock.advance(EXPIRY);
    let other = open(&rig.store).unwrap();
    done(try_prune(&other, &options()).unwrap());
    assert_eq!(rig.count(ObjectKind::Condemned), 1);
    let before = rig.store.objects();
    let error = session.condemn(packs).unwrap_err();
    assert!(matches!(error, RepositoryError::SessionExpired), "{error}");
    assert_eq!(rig.store.objects(), before);
    rig.assert_clean();
}

#[test]
fn what_a_killed_prune_was_about_to_condemn_is_no_damage() {
    let rig = Rig::new();
    let old = rig.backup(1, &tree(1));
    rig.forget(old);
    rig.clock.advance(HOUR);
    let faulty = Arc::new(Faulty::new(Arc::clone(&rig.store) as _, Vec::new()));
    let repository = crate::ops::testing::open_in(Arc::clone(&faulty) as _).unwrap();
    // Dies with what it condemns written aside.
    let is_staged = |name: &ObjectName| matches!(name, ObjectName::Staged { .. });
    let mut call = 0;
    while !rig.store.objects().keys().any(is_staged) {
        faulty.reset(vec![Fault::KillBefore { call }]);
        try_prune(&repository, &options()).unwrap_err();
        call += 1;
    }
    rig.assert_clean();
    rig.clock.advance(EXPIRY);
    rig.prune();
    rig.prune_later();
    assert_eq!((rig.count(ObjectKind::Pack), rig.count(ObjectKind::Session)), (0, 0));
    rig.assert_clean();
}

#[test]
fn two_prunes_at_once_end_with_one_good_repository() {
    let rig = Rig::new();
    let old = rig.backup(1, &tree(1));
    rig.backup(2, &tree(2));
    rig.forget(old);
    rig.clock.advance(HOUR);
    let other = open(&rig.store).unwrap();
    // The other one runs from its first to its last step while the plan of the first is shown.
    let pruned = prune(&rig.repository, &options(), &StopFlag::new(), &Silent, |_| {
        rig.clock.advance(HOUR);
        done(try_prune(&other, &options())?);
        Ok::<_, RepositoryError>(true)
    });
    done(pruned.unwrap());
    assert_eq!(rig.count(ObjectKind::Condemned), 2);
    rig.assert_clean();
    rig.clock.advance(GRACE + HOUR);
    let pruned = prune(&rig.repository, &options(), &StopFlag::new(), &Silent, |_| {
        rig.clock.advance(HOUR);
        done(try_prune(&other, &options())?);
        Ok::<_, RepositoryError>(true)
    });
    done(pruned.unwrap());
    rig.prune_later();
    assert_eq!((rig.count(ObjectKind::Condemned), rig.count(ObjectKind::Session)), (0, 0));
    rig.assert_clean();
    assert!(rig.pack_bytes() < 500_000);
}
