//! Round trips, counted: what a bad line costs.

use sha2::{Digest, Sha256};

use super::*;
use crate::crypto::random::SeededRandom;
use crate::id::PackId;
use crate::index::{IndexObject, IndexedPack};
use crate::pack::PackClass;
use crate::store::{Recording, Verb};

const PACKS: u64 = 100_000;

/// Packs that are no packs, but have right names; and index objects that name them.
fn many_packs(repository: &Repository, store: &MemoryStore) {
    let key = repository.keyring().current();
    for first in (0..PACKS).step_by(2_000) {
        let mut packs = Vec::new();
        for number in first..first + 2_000 {
            let bytes = number.to_le_bytes().repeat(32);
            let id = PackId::new(Sha256::digest(&bytes).into());
            let (class, size) = (PackClass::Data, bytes.len() as u64);
            packs.push(IndexedPack { id, class, size, key, entries: Vec::new() });
            store.insert_raw(ObjectName::Pack(id), bytes);
        }
        let object = IndexObject { packs, replaces: Vec::new() };
        repository.write_index_object(&object).unwrap();
    }
}

#[test]
fn an_unchanged_night_with_100_000_packs_costs_fewer_than_50_round_trips() {
    let mut rig = Rig::new();
    rig.night();
    many_packs(&rig.repository, &rig.source);
    rig.target = Arc::new(rig.source.clone_store());
    // Both ends are counted.
    let source = Arc::new(Recording::new(Arc::clone(&rig.source) as _));
    let target = Arc::new(Recording::new(Arc::clone(&rig.target) as _));
    let environment = Environment {
        random: Arc::new(SeededRandom::new(1)),
        ..rig.repository.environment().clone()
    };
    rig.repository =
        Repository::open(Arc::clone(&source) as _, &credential(), environment).unwrap();
    let place: Arc<dyn Store> = Arc::clone(&target) as _;
    rig.try_copy_to(&place, &CopyOptions::default()).unwrap();
    source.clear();
    target.clear();
    let Copied::Done(_, report) = rig.try_copy_to(&place, &CopyOptions::default()).unwrap() else {
        panic!("only planned")
    };
    assert!(report.is_complete() && report.bytes == 0, "{report:?}");
    assert_eq!(report.sampled, Sample::default().most);
    let count = |store: &Recording| store.calls().len() - store.count(Verb::Sync);
    let (here, there) = (count(&source), count(&target));
    assert!(here + there < 60, "{here} at the source, {there} at the copy");
    assert!(there < 50, "{there} at the copy");
    // docs/operations.md says so.
    assert_eq!(there - 32, 8, "beside the sample");
    let packs_listed = target.calls().iter().any(|call| call.bytes > 1 << 20);
    assert!(!packs_listed);
}

#[test]
fn a_night_with_one_snapshot_costs_a_handful_more() {
    let mut rig = Rig::copied(3);
    rig.night();
    let target = Arc::new(Recording::new(Arc::clone(&rig.target) as _));
    let place: Arc<dyn Store> = Arc::clone(&target) as _;
    let options = CopyOptions { sample: Sample::NONE, ..CopyOptions::default() };
    let Copied::Done(_, report) = rig.try_copy_to(&place, &options).unwrap() else {
        panic!("only planned")
    };
    let trips = target.calls().len() - target.count(Verb::Sync);
    // Put and size of each object; staged, looked after and published; and what any night costs.
    let objects = usize::try_from(report.packs + report.small_objects).unwrap();
    assert!(trips <= 2 * objects + 3 + 10, "{trips} for {objects} objects");
}
