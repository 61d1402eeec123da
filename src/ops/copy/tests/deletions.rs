//! What the source has no more leaves the copy late, or never.

use super::*;

fn packs(store: &MemoryStore) -> usize {
    list_all(store, ObjectKind::Pack).unwrap().len()
}

#[test]
fn deletions_arrive_after_the_delay_and_the_copy_is_whole_all_along() {
    let mut rig = Rig::new();
    let first = rig.night();
    rig.night();
    rig.copy();
    let before = packs(&rig.target);
    rig.forget(first);
    rig.prune();
    assert!(packs(&rig.source) < before, "nothing was pruned");
    let report = rig.copy();
    assert!(report.kept > 1 && report.deleted == 0, "{report:?}");
    assert_eq!(rig.snapshots_of_copy().len(), 2);
    rig.assert_copy_is_whole();
    rig.clock.advance(29 * DAY);
    assert_eq!(rig.copy().deleted, 0);
    rig.clock.advance(2 * DAY);
    let report = rig.copy();
    assert!(report.deleted > 1 && report.kept == 0, "{report:?}");
    assert_eq!(rig.snapshots_of_copy().len(), 1);
    assert_eq!(packs(&rig.target), packs(&rig.source));
    rig.assert_copy_is_whole();
    assert_eq!(rig.copy().deleted, 0);
}

#[test]
fn without_a_delay_they_arrive_at_once_and_with_never_not_at_all() {
    let (rig, _) = Rig::with_forgotten();
    rig.clock.advance(100 * DAY);
    let never = CopyOptions { delay: None, ..CopyOptions::default() };
    assert_eq!(rig.copy_with(&never).deleted, 0);
    rig.clock.advance(100 * DAY);
    assert_eq!(rig.copy_with(&never).deleted, 0);
    let at_once = CopyOptions { delay: Some(Duration::ZERO), ..CopyOptions::default() };
    assert!(rig.copy_with(&at_once).deleted > 1);
    rig.assert_copy_is_whole();
}

#[test]
fn an_append_only_copy_gets_everything_and_loses_nothing() {
    use crate::store::{Fault, Faulty, Recording, Verb};
    let mut rig = Rig::new();
    let first = rig.night();
    rig.night();
    let faulty = Faulty::new(Arc::clone(&rig.target) as _, vec![Fault::NoDeletes]);
    let recording = Arc::new(Recording::new(Arc::new(faulty)));
    let target: Arc<dyn Store> = Arc::clone(&recording) as _;
    rig.try_copy_to(&target, &CopyOptions::default()).unwrap();
    rig.forget(first);
    rig.prune();
    rig.try_copy_to(&target, &CopyOptions::default()).unwrap();
    rig.clock.advance(100 * DAY);
    rig.try_copy_to(&target, &CopyOptions::default()).unwrap();
    assert_eq!(recording.count(Verb::Delete), 0);
    assert_eq!(rig.snapshots_of_copy().len(), 2);
    rig.assert_copy_is_whole();
}

#[test]
fn a_source_put_back_to_an_older_state_deletes_nothing() {
    let mut rig = Rig::new();
    let first = rig.night();
    let old = rig.source.clone_store();
    let lost = rig.night();
    rig.night();
    rig.copy();
    // The disk is put back to the state after the first night, and life goes on.
    rig.source = Arc::new(old);
    rig.repository = open_with(Arc::clone(&rig.source) as _, &rig.clock);
    rig.nights = 10;
    rig.night();
    let report = rig.copy_with(&CopyOptions::default());
    let of = |problem| report.findings.iter().filter(|found| found.problem == problem).count();
    assert_eq!(of(Problem::LostAtSource), 2, "{report:?}");
    assert!(!report.is_complete());
    assert_eq!(report.snapshots, 1, "what is new is copied all the same");
    for _ in 0..3 {
        rig.clock.advance(100 * DAY);
        let report = rig.copy_with(&CopyOptions::default());
        assert_eq!(report.deleted, 0);
    }
    assert_eq!(rig.snapshots_of_copy().len(), 4);
    rig.assert_copy_is_whole();
    // Forgotten by hand, they leave like all others.
    rig.forget(first);
    let others: Vec<_> = rig.snapshots_of_copy();
    assert!(others.contains(&lost));
}

#[test]
fn while_somebody_else_is_at_work_there_nothing_is_deleted() {
    let (rig, _) = Rig::with_forgotten();
    rig.copy();
    rig.clock.advance(31 * DAY);
    let other = open_with(Arc::clone(&rig.target) as _, &rig.clock);
    let session = other.begin_session("test").unwrap();
    let report = rig.copy();
    assert_eq!(report.deleted, 0);
    assert!(report.undeleted.as_ref().is_some_and(|why| why.contains("at work")), "{report:?}");
    session.end().unwrap();
    assert!(rig.copy().deleted > 0);
}

#[test]
fn a_prune_of_the_copy_waits_for_a_copy_at_work() {
    let mut rig = Rig::copied(1);
    rig.night();
    let other = open_with(Arc::clone(&rig.target) as _, &rig.clock);
    let held = other.hold("copy").unwrap();
    let unneeded = {
        // A pack that nothing needs, condemned before.
        let id = crate::id::PackId::new([9; 32]);
        rig.target.insert_raw(ObjectName::Pack(id), vec![1; 100]);
        other.condemn(vec![id]).unwrap();
        id
    };
    let prune_copy = || {
        rig.clock.advance(4 * DAY);
        let pruning = open_with(Arc::clone(&rig.target) as _, &rig.clock);
        prune(&pruning, &PruneOptions::default(), &StopFlag::new(), &Silent, |_| {
            Ok::<_, RepositoryError>(true)
        })
        .unwrap();
        rig.target.objects().contains_key(&ObjectName::Pack(unneeded))
    };
    assert!(prune_copy(), "deleted while a copy was at work");
    held.end().unwrap();
    assert!(!prune_copy());
}
