//! Chains of bases and several stored forms of one segment. The entries are made by hand: what is sealed
//! in them does not matter to a mark.

use super::mark::{Mark, Need};
use super::*;
use crate::id::{ChunkId, PackId, SegmentId};
use crate::index::{IndexObject, IndexedPack, PackRow, ShortId};
use crate::pack::{ChunkEntry, PackBuilder, PackClass, SealedSegment, SegmentEntry, SegmentKind};
use crate::store::ObjectName;

fn id(n: u8) -> [u8; 32] {
    [n; 32]
}

/// Segment `n` of one chunk, against `base` if there is one.
fn segment(rig: &Rig, n: u8, base: Option<u8>) -> SealedSegment {
    let kind = if base.is_some() { SegmentKind::ZstdWithBase } else { SegmentKind::Zstd };
    let bytes = noise(u64::from(n), 1000);
    let template = template(rig);
    let entry = SegmentEntry {
        id: SegmentId::new(id(n)),
        offset: 0,
        sealed_len: 1000,
        raw_len: 5000,
        kind,
        base: base.map(|base| SegmentId::new(id(base))),
        chunks: vec![ChunkEntry { id: ChunkId::new(id(n)), len: 5000 }],
        ..template
    };
    SealedSegment { class: PackClass::Data, entry, bytes }
}

/// An entry of this repository, for what does not matter here.
fn template(rig: &Rig) -> SegmentEntry {
    let packs = rig.repository.index().packs().unwrap();
    rig.repository.index().segments_of(&packs[0].id).unwrap()[0].clone()
}

/// Puts and indexes a pack of these segments.
fn pack(rig: &Rig, segments: &[(u8, Option<u8>)]) -> PackId {
    rig.clock.advance(HOUR);
    let repository = &rig.repository;
    let random = Arc::clone(&repository.environment().random);
    let keyring = Arc::clone(repository.keyring());
    let mut builder = PackBuilder::new(PackClass::Data, 1 << 20, keyring, random);
    for (n, base) in segments {
        assert!(builder.push(segment(rig, *n, *base)).unwrap().is_none());
    }
    let pack = builder.finish().unwrap().remove(0);
    let size = pack.size();
    rig.store.put(&ObjectName::Pack(pack.id), &[&pack.bytes()]).unwrap();
    let indexed =
        IndexedPack { id: pack.id, class: pack.class, size, key: pack.key, entries: pack.entries };
    let object = IndexObject { packs: vec![indexed], replaces: Vec::new() };
    repository.write_index_object(&object).unwrap();
    repository.refresh().unwrap();
    pack.id
}

fn rig() -> Rig {
    let rig = Rig::new();
    rig.backup(1, &dir([]));
    rig.backup(2, &dir([("f", file(noise(1, 10)))]));
    rig
}

/// Marks what these chunks need.
fn mark(rig: &Rig, reached: &[u8]) -> Mark {
    let reached = reached.iter().map(|n| ShortId::of(&id(*n))).collect();
    Mark::compute(rig.repository.index(), reached, written(rig), |_| false).unwrap()
}

/// When packs were written.
fn written(rig: &Rig) -> impl Fn(&PackId) -> Option<Timestamp> {
    let listed = list_all(rig.store.as_ref(), ObjectKind::Pack).unwrap();
    move |pack| {
        listed
            .iter()
            .find(|info| info.name == ObjectName::Pack(*pack))
            .and_then(|info| info.modified)
    }
}

fn needed(mark: &Mark) -> Vec<PackId> {
    mark.packs.iter().filter(|pack| pack.is_needed).map(|pack| pack.row.id).collect()
}

#[track_caller]
fn assert_needed(mark: &Mark, packs: &[PackId]) {
    let mut expected = packs.to_vec();
    let mut found = needed(mark);
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!((found, mark.missing), (expected, 0));
}

#[test]
fn a_delta_keeps_its_whole_chain() {
    let rig = rig();
    let plain = pack(&rig, &[(1, None)]);
    let second = pack(&rig, &[(2, Some(1))]);
    let third = pack(&rig, &[(3, Some(2))]);
    let other = pack(&rig, &[(4, None)]);
    assert_needed(&mark(&rig, &[3]), &[plain, second, third]);
    assert_needed(&mark(&rig, &[2]), &[plain, second]);
    assert_needed(&mark(&rig, &[1, 4]), &[plain, other]);
}

#[test]
fn a_delta_in_a_pack_that_stays_keeps_its_base_needed_or_not() {
    let rig = rig();
    let base = pack(&rig, &[(1, None), (9, None)]);
    let mixed = pack(&rig, &[(2, Some(1)), (5, None)]);
    let marked = mark(&rig, &[5]);
    assert_needed(&marked, &[base, mixed]);
    // Of the base's pack only the base is needed: the rest is waste.
    let pack_of_base = marked.packs.iter().find(|pack| pack.row.id == base).unwrap();
    assert_eq!((pack_of_base.used_bytes, pack_of_base.sealed_bytes), (1000, 2000));
    let at = marked.packs.iter().position(|pack| pack.row.id == base).unwrap();
    let entries = rig.repository.index().segments_of(&base).unwrap();
    let needs: Vec<Need> = entries.iter().map(|entry| marked.need(at, entry)).collect();
    assert_eq!(needs, [Need::Whole, Need::Nothing]);
    // In one that is too young to be condemned, too.
    let stays = |row: &PackRow| row.id == mixed;
    let index = rig.repository.index();
    let all = Mark::compute(index, Vec::new(), written(&rig), stays).unwrap();
    assert_needed(&all, &[base]);
}

#[test]
fn the_plain_form_counts_first() {
    let rig = rig();
    let plain = pack(&rig, &[(2, None)]);
    let base = pack(&rig, &[(1, None)]);
    let delta = pack(&rig, &[(2, Some(1))]);
    assert_needed(&mark(&rig, &[2]), &[plain]);
    assert_needed(&mark(&rig, &[1, 2]), &[plain, base]);
    let _ = delta;
}

#[test]
fn a_delta_without_its_base_is_not_there() {
    let rig = rig();
    pack(&rig, &[(2, Some(1))]);
    let marked = mark(&rig, &[2]);
    assert_eq!((marked.missing, marked.first_missing.as_deref()), (1, Some("02020202")));
    // Another form that is whole makes up for it.
    let plain = pack(&rig, &[(2, None)]);
    assert_needed(&mark(&rig, &[2]), &[plain]);
}

#[test]
fn circles_are_no_places() {
    let rig = rig();
    let circle = pack(&rig, &[(1, Some(2)), (2, Some(1)), (3, Some(3))]);
    assert_eq!(mark(&rig, &[1, 2, 3]).missing, 3);
    // With one plain form there is a beginning, and no need for the other direction.
    let plain = pack(&rig, &[(1, None)]);
    assert_needed(&mark(&rig, &[2]), &[circle, plain]);
    assert_needed(&mark(&rig, &[1]), &[plain]);
}

#[test]
fn a_chain_is_as_good_as_its_weakest_link() {
    let rig = rig();
    let base = pack(&rig, &[(1, None)]);
    let delta = pack(&rig, &[(2, Some(1))]);
    rig.repository.condemn(vec![base]).unwrap();
    rig.repository.refresh().unwrap();
    assert_needed(&mark(&rig, &[2]), &[base, delta]);
    let again = pack(&rig, &[(1, None)]);
    assert_needed(&mark(&rig, &[2]), &[again, delta]);
    // A plain form in a condemned pack comes after a delta in a usable one.
    let condemned = pack(&rig, &[(2, None)]);
    rig.repository.condemn(vec![condemned]).unwrap();
    rig.repository.refresh().unwrap();
    assert_needed(&mark(&rig, &[2]), &[again, delta]);
}

#[test]
fn of_two_forms_alike_one_counts() {
    let rig = rig();
    let first = pack(&rig, &[(1, None), (2, None)]);
    let second = pack(&rig, &[(1, None)]);
    assert_needed(&mark(&rig, &[1]), &[second]);
    let marked = mark(&rig, &[1, 2]);
    assert_needed(&marked, &[first, second]);
    let waste: u64 = marked.packs.iter().map(|pack| pack.sealed_bytes - pack.used_bytes).sum();
    assert_eq!(waste, 1000);
}

#[test]
fn long_chains_and_wide_ones_are_followed_to_their_ends() {
    let rig = rig();
    let mut packs = vec![pack(&rig, &[(1, None)])];
    for n in 2..40 {
        packs.push(pack(&rig, &[(n, Some(n - 1)), (n + 100, Some(1))]));
    }
    assert_needed(&mark(&rig, &[39]), &packs);
    assert_needed(&mark(&rig, &[102]), &packs[..2]);
}

/// Text of which a little changes each night.
fn night(n: u64) -> Vec<u8> {
    let mut text = Vec::new();
    for line in 0..6000_u64 {
        let version = if line % 400 == n * 7 % 400 { n } else { 0 };
        let word = line.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ version;
        text.extend(format!("{line}\t{word:x}\tsome text of a row\n").into_bytes());
    }
    text
}

#[test]
fn deltas_of_many_nights_survive_the_loss_of_their_neighbours() {
    let rig = Rig::new();
    let nights: Vec<_> = (1..10).map(|n| rig.backup(n, &dir([("t", file(night(n)))]))).collect();
    let mut deltas = 0;
    rig.repository.index().each_delta(|_, _| deltas += 1).unwrap();
    assert!(deltas > 10, "{deltas}");
    // The first night, on which the others are based, goes first; at last only one is left.
    for gone in nights.iter().take(8) {
        rig.forget(*gone);
        let strict = PruneOptions { max_unused: MaxUnused::Bytes(0), ..options() };
        rig.prune_with(&strict);
        rig.assert_clean();
        rig.clock.advance(GRACE);
        rig.prune_with(&strict);
        rig.assert_clean();
    }
    assert_eq!(rig.count(ObjectKind::Snapshot), 1);
}

/// Three forms of each of sixteen segments, none of which can be read: forty million ways to try.
#[test]
fn a_reader_tries_no_segment_twice() {
    let rig = rig();
    for n in 1..=16 {
        for _ in 0..3 {
            pack(&rig, &[(n, (n > 1).then(|| n - 1))]);
        }
    }
    let counted = Arc::new(crate::store::Recording::new(Arc::clone(&rig.store) as _));
    let repository = crate::ops::testing::open_in(Arc::clone(&counted) as _).unwrap();
    repository.refresh().unwrap();
    counted.clear();
    let fetcher = crate::repository::Fetcher::new(&repository, 1 << 20);
    fetcher.chunk_by_id(&ChunkId::new(id(16))).map(drop).unwrap_err();
    // A delta is not read before its base, so only the plain forms are.
    let reads = |call: &&crate::store::Call| matches!(call.object, Some(ObjectName::Pack(_)));
    assert_eq!(counted.calls().iter().filter(reads).count(), 3);
}
