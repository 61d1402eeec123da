use std::collections::HashSet;

use rusqlite::StatementStatus;

use crate::id::SnapshotId;
use crate::index::find::{PLACES, USABLE};
use crate::index::{IndexCounts, Place};

use super::*;

#[test]
fn a_loaded_pack_counts_once_it_is_listed() {
    let index = index();
    index.add_object(object_id(1), &object(&[pack(1, &[&[1], &[2, 3]])])).unwrap();
    assert!(!usable(&index, 1, MINE));
    refresh(&index, &[1], &[]);
    assert!((1..=3).all(|n| usable(&index, n, MINE)));
    assert!(!usable(&index, 4, MINE));
    assert_eq!(index.objects().unwrap(), HashSet::from([object_id(1)]));
}

#[test]
fn loading_again_changes_nothing() {
    let index = index();
    for _ in 0..2 {
        index.add_object(object_id(1), &object(&[pack(1, &[&[1], &[2, 3]])])).unwrap();
    }
    let expected =
        IndexCounts { packs: 1, segments: 2, chunks: 3, raw_bytes: 30, pack_bytes: 1001 };
    assert_eq!(index.counts().unwrap(), expected);
}

#[test]
fn places_say_where_a_chunk_is_and_the_best_comes_first() {
    let index = index();
    let packs = [pack(1, &[&[1, 2, 3]]), pack(2, &[&[9], &[2]]), pack(3, &[&[2]])];
    index.add_object(object_id(1), &object(&packs)).unwrap();
    refresh(&index, &[1, 3], &[1]);
    let found = index.locate(&chunk(2), None).unwrap();
    assert_eq!(found.iter().map(|place| place.pack).collect::<Vec<_>>(), [3, 1, 2].map(pack_id));
    let bare = |n, chunks: &[u64]| SegmentEntry { chunks: vec![], ..segment(n, chunks) };
    let expected = Place {
        pack: pack_id(1),
        class: PackClass::Data,
        entry: bare(32, &[1, 2, 3]),
        chunk_offset: 10,
        chunk_len: 10,
        is_present: true,
        is_condemned: true,
    };
    assert_eq!(found[1], expected);
    assert_eq!(found[2].entry, bare(82, &[2]));
    let whole = index.locate_segment(&segment(0, &[1, 2, 3]).id, None).unwrap();
    assert_eq!(whole, [Place { chunk_offset: 0, chunk_len: 30, ..expected }]);
    assert_eq!(index.locate_segment(&SegmentId::from(chunk(2)), None).unwrap().len(), 2);
    assert_eq!(index.locate_segment(&SegmentId::from(chunk(1)), None).unwrap(), []);
}

#[test]
fn ids_alike_in_the_key_are_told_apart() {
    let index = index();
    let mut wrong = id(1);
    wrong[31] ^= 1;
    index.add_pending(MINE, &pack(1, &[&[1], &[2, 3]])).unwrap();
    assert!(!index.is_usable(&ChunkId::new(wrong), MINE).unwrap());
    assert_eq!(index.locate(&ChunkId::new(wrong), Some(MINE)).unwrap(), []);
    assert_eq!(index.locate_segment(&SegmentId::new(wrong), Some(MINE)).unwrap(), []);
}

#[test]
fn deltas_count_only_with_all_their_bases_and_come_last() {
    let index = index();
    let delta = |n: u64, base: u64| delta_pack(n, n, base);
    // 1 is a delta on 2, that on 3, that on 4, which is plain.
    let chain = [delta(1, 2), delta(2, 3), delta(3, 4), pack(4, &[&[4]])];
    index.add_object(object_id(1), &object(&chain)).unwrap();
    refresh(&index, &[1, 2, 3, 4], &[]);
    assert!(usable(&index, 1, MINE));
    let places = index.usable_chain(&SegmentId::new(id(1)), MINE).unwrap().unwrap();
    assert_eq!(
        places.iter().map(|place| place.pack).collect::<Vec<_>>(),
        [1, 2, 3, 4].map(pack_id)
    );
    for (present, condemned) in
        [(&[1, 2, 3][..], &[][..]), (&[1, 2, 3, 4], &[3]), (&[2, 3, 4], &[])]
    {
        refresh(&index, present, condemned);
        assert!(!usable(&index, 1, MINE), "{present:?} {condemned:?}");
        assert_eq!(index.usable_chain(&SegmentId::new(id(1)), MINE).unwrap(), None);
        assert!(index.locate(&chunk(1), None).unwrap().len() == 1, "it is still known");
    }
    // A plain form of one in the middle mends what hangs on it.
    index.add_object(object_id(2), &object(&[pack(5, &[&[2]])])).unwrap();
    refresh(&index, &[1, 5], &[]);
    assert!(usable(&index, 1, MINE));
    let places = index.usable_chain(&SegmentId::new(id(1)), MINE).unwrap().unwrap();
    assert_eq!(places.len(), 2);
    let found = index.locate(&chunk(2), None).unwrap();
    assert_eq!(found[0].pack, pack_id(5), "the plain one first");
    assert_eq!(found[1].entry.base, Some(SegmentId::new(id(3))));
}

#[test]
fn a_circle_of_deltas_is_nothing() {
    let index = index();
    let circle = [delta_pack(1, 1, 2), delta_pack(2, 2, 1)];
    index.add_object(object_id(1), &object(&circle)).unwrap();
    refresh(&index, &[1, 2], &[]);
    assert!(!usable(&index, 1, MINE));
    assert_eq!(index.usable_chain(&SegmentId::new(id(1)), MINE).unwrap(), None);
}

#[test]
fn deltas_are_found_by_their_base() {
    let index = index();
    let packs = [delta_pack(1, 1, 9), delta_pack(2, 2, 8), delta_pack(3, 3, 9), pack(4, &[&[9]])];
    index.add_object(object_id(1), &object(&packs)).unwrap();
    let mut found = index.deltas_on(&[SegmentId::new(id(9))].into()).unwrap();
    found.sort_by_key(|(pack, _)| *pack);
    let expected = [0, 2].map(|n: usize| (packs[n].id, packs[n].entries[0].clone()));
    assert_eq!(found, expected);
}

fn delta_pack(n: u64, segment: u64, base: u64) -> IndexedPack {
    let mut pack = pack(n, &[&[segment]]);
    pack.entries[0].kind = SegmentKind::ZstdWithBase;
    pack.entries[0].base = Some(SegmentId::new(id(base)));
    pack
}

#[test]
fn similar_segments_are_found_while_they_are_usable() {
    use crate::chunker::Features;
    let index = index();
    let features =
        |numbers: [u32; 3]| Features::from_bytes(&numbers.map(u32::to_le_bytes).concat()).unwrap();
    let with = |n: u64, numbers| {
        let mut pack = pack(n, &[&[n]]);
        pack.entries[0].features = Some(features(numbers));
        pack
    };
    let packs = [with(1, [1, 2, 3]), with(2, [1, 9, 9]), with(3, [1, 2, 8]), with(4, [2, 1, 7])];
    index.add_object(object_id(1), &object(&packs)).unwrap();
    let similar = |most| index.similar(features([1, 2, 3]), most).unwrap();
    assert_eq!(similar(9), [], "not listed yet");
    refresh(&index, &[1, 2, 3, 4], &[]);
    let segments = |numbers: &[u64]| -> Vec<SegmentId> {
        numbers.iter().map(|n| SegmentId::new(id(*n))).collect()
    };
    assert_eq!(similar(9), segments(&[1, 3, 2]));
    assert_eq!(similar(2), segments(&[1, 3]));
    refresh(&index, &[1, 2, 3, 4], &[1]);
    assert_eq!(similar(9), segments(&[3, 2]));
    // Gone with their packs.
    index.drop_objects(&[object_id(1)]).unwrap();
    index.add_object(object_id(2), &object(&[with(5, [4, 4, 4])])).unwrap();
    refresh(&index, &[5], &[]);
    assert_eq!(similar(9), []);
    assert_eq!(index.similar(features([4, 0, 0]), 9).unwrap(), segments(&[5]));
}

#[test]
fn segments_of_a_pack_come_back_as_they_were() {
    let index = index();
    let (one, two) = (pack(1, &[&[1], &[2, 3], &[4]]), pack(2, &[&[5]]));
    index.add_object(object_id(1), &object(&[one.clone(), two])).unwrap();
    assert_eq!(index.segments_of(&one.id).unwrap(), one.entries);
    assert_eq!(index.segments_of(&pack_id(3)).unwrap(), []);
}

#[test]
fn a_pack_goes_with_the_last_object_that_names_it() {
    let index = index();
    index.add_object(object_id(1), &object(&[pack(1, &[&[1, 2]]), pack(2, &[&[3]])])).unwrap();
    index.add_object(object_id(2), &object(&[pack(2, &[&[3]])])).unwrap();
    refresh(&index, &[1, 2], &[]);
    let before = losses(&index);
    index.drop_objects(&[object_id(1), object_id(77)]).unwrap();
    assert_eq!(losses(&index), before + 1);
    assert!(!usable(&index, 1, MINE) && usable(&index, 3, MINE));
    assert_eq!(index.locate(&chunk(1), None).unwrap(), []);
    assert_eq!(index.counts().unwrap().segments, 1);
    refresh(&index, &[], &[]);
    let before = losses(&index);
    index.drop_objects(&[object_id(2)]).unwrap();
    assert_eq!(losses(&index), before, "it was not usable any more");
    assert_eq!(index.counts().unwrap(), IndexCounts::default());
}

#[test]
fn a_refresh_counts_losses_and_nothing_else() {
    let index = index();
    index.add_object(object_id(1), &object(&[pack(1, &[&[1]]), pack(2, &[&[2]])])).unwrap();
    let before = losses(&index);
    refresh(&index, &[1, 2], &[]);
    refresh(&index, &[1, 2], &[]);
    assert_eq!(losses(&index), before);
    refresh(&index, &[1, 2], &[2]);
    assert_eq!(losses(&index), before + 1, "condemned");
    refresh(&index, &[1], &[2]);
    assert_eq!(losses(&index), before + 1, "was not usable before");
    refresh(&index, &[1, 2], &[]);
    refresh(&index, &[2], &[]);
    assert_eq!(losses(&index), before + 2, "gone");
    let sizes = HashMap::from([(pack_id(1), 1001), (pack_id(2), 1)]);
    index.refresh_packs(&sizes, &HashSet::new()).unwrap();
    assert_eq!(losses(&index), before + 3, "of another size");
    assert!(usable(&index, 1, MINE) && !usable(&index, 2, MINE));
}

#[test]
fn pending_packs_serve_their_session_until_confirmed() {
    let index = index();
    index.add_pending(MINE, &pack(1, &[&[1]])).unwrap();
    assert!(usable(&index, 1, MINE) && !usable(&index, 1, OTHER));
    assert_eq!(index.locate(&chunk(1), Some(MINE)).unwrap().len(), 1);
    assert_eq!(index.locate(&chunk(1), Some(OTHER)).unwrap(), []);
    assert_eq!(index.locate(&chunk(1), None).unwrap(), []);
    assert!(index.packs().unwrap()[0].is_pending);
    index.confirm(MINE, object_id(1), &[pack_id(1)]).unwrap();
    assert!(usable(&index, 1, OTHER));
    assert_eq!(index.objects().unwrap(), HashSet::from([object_id(1)]));
    assert_eq!(index.pending_sessions().unwrap(), HashSet::new());
    index.drop_pending(&HashSet::from([MINE, OTHER])).unwrap();
    assert!(usable(&index, 1, OTHER));
    assert!(!index.packs().unwrap()[0].is_pending);
}

#[test]
fn what_is_not_pending_here_is_not_confirmed() {
    let index = index();
    index.add_pending(MINE, &pack(1, &[&[1]])).unwrap();
    index.confirm(MINE, object_id(1), &[pack_id(1), pack_id(2)]).unwrap();
    index.confirm(OTHER, object_id(2), &[pack_id(1)]).unwrap();
    assert_eq!(index.objects().unwrap(), HashSet::new());
    assert!(index.packs().unwrap()[0].is_pending);
}

#[test]
fn a_loaded_object_confirms_pending_packs_and_they_stay_present() {
    let index = index();
    index.add_pending(MINE, &pack(1, &[&[1]])).unwrap();
    index.add_object(object_id(1), &object(&[pack(1, &[&[1]])])).unwrap();
    assert!(usable(&index, 1, OTHER));
    index.add_pending(MINE, &pack(1, &[&[1]])).unwrap();
    assert!(usable(&index, 1, OTHER), "confirmed ones do not become pending");
    assert_eq!(index.counts().unwrap().chunks, 1);
}

#[test]
fn pending_packs_of_dead_sessions_are_dropped() {
    let index = index();
    index.add_pending(MINE, &pack(1, &[&[1, 2]])).unwrap();
    index.add_pending(OTHER, &pack(2, &[&[2]])).unwrap();
    let before = losses(&index);
    index.drop_objects(&[]).unwrap();
    assert_eq!(index.counts().unwrap().packs, 2);
    assert_eq!(index.pending_sessions().unwrap(), HashSet::from([MINE, OTHER]));
    index.drop_pending(&HashSet::from([MINE])).unwrap();
    assert!(!usable(&index, 2, MINE) && usable(&index, 2, OTHER));
    assert_eq!(index.counts().unwrap().chunks, 1);
    assert_eq!(losses(&index), before + 1);
}

#[test]
fn many_chunks_are_merged_and_removed_without_a_trace() {
    let index = index();
    let segments: Vec<Vec<u64>> =
        (0..1000).map(|n| (n * 300..(n + 1) * 300).collect::<Vec<_>>()).collect();
    let segments: Vec<&[u64]> = segments.iter().map(Vec::as_slice).collect();
    index.add_object(object_id(1), &object(&[pack(1, &segments)])).unwrap();
    index.add_object(object_id(2), &object(&[pack(2, &[&[1_000_000], &[7]])])).unwrap();
    refresh(&index, &[1, 2], &[]);
    assert!([0, 123_456, 299_999, 1_000_000].into_iter().all(|n| usable(&index, n, MINE)));
    assert_eq!(index.locate(&chunk(7), None).unwrap().len(), 2);
    let rows = |table| {
        let sql = format!("SELECT (SELECT count(*) FROM {table}), {table}_rows FROM meta");
        let get = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        index.read("counting", |connection| Ok(connection.query_row(&sql, [], get)?)).unwrap()
    };
    assert_eq!((rows("lookup"), rows("recent")), ((301_000, 301_000), (2, 2)));
    index.drop_objects(&[object_id(1)]).unwrap();
    assert_eq!((rows("lookup"), rows("recent")), ((0, 0), (2, 2)));
    assert!(usable(&index, 7, MINE) && !usable(&index, 8, MINE));
}

#[test]
fn snapshots_seen_are_remembered() {
    let index = index();
    let snapshot = |n| SnapshotId::new([n; 32]);
    let seen = [(snapshot(1), "a".to_owned(), 1), (snapshot(2), "b".to_owned(), 7)];
    index.remember_snapshots(&seen).unwrap();
    index.remember_snapshots(&seen[1..]).unwrap();
    assert_eq!(index.seen_snapshots().unwrap(), seen);
    index.unremember_snapshots(&[snapshot(1), snapshot(3)]).unwrap();
    assert_eq!(index.seen_snapshots().unwrap(), seen[1..]);
    assert!(index.remember_snapshots(&[(snapshot(4), String::new(), u64::MAX)]).is_err());
}

/// SQLite would prepare them again for each value if it were let, which costs ten times the lookup.
#[test]
fn lookups_are_prepared_once() {
    let index = index();
    index.add_pending(MINE, &pack(1, &[&[1], &[2, 3]])).unwrap();
    for n in 0..20 {
        index.locate(&chunk(n), Some(MINE)).unwrap();
        index.is_usable(&chunk(n), MINE).unwrap();
    }
    let prepared_again = |sql: &str| {
        index
            .read("looking", |connection| {
                let statement = connection.prepare_cached(sql)?;
                assert!(statement.get_status(StatementStatus::Run) >= 20);
                Ok(statement.get_status(StatementStatus::RePrepare))
            })
            .unwrap()
    };
    assert_eq!([PLACES, USABLE].map(prepared_again), [0, 0]);
}
