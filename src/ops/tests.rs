//! Browsing, dumping, comparing, counting and checking small repositories.

use std::sync::Arc;

use crate::event::{Silent, StopFlag};
use crate::id::SnapshotId;
use crate::pack::PackClass;
use crate::repository::{Fetcher, Grouping, Ingest, Repository};
use crate::snapshot::{Extent, Node, NodeKind, ReceiptRecord, Snapshot, StreamRef};
use crate::store::{MemoryStore, ObjectKind, ObjectName, Recording, Store};

use super::browse::{BrowseError, FindOptions, TreeWalk, find, resolve, walk};
use super::check::{CheckOptions, CheckReport, ReadData, Severity, check};
use super::diff::{Change, Side, Tally, diff};
use super::dump::{DumpError, dump};
use super::rebuild::{RebuildOptions, rebuild_index};
use super::stats::{needed_only_by, repository_stats, snapshot_stats};
use super::testing::*;

static STOP: StopFlag = StopFlag::new();

fn new() -> (Arc<MemoryStore>, Repository) {
    let store = Arc::new(MemoryStore::new());
    let repository = init(&store);
    (store, repository)
}

fn run_check(repository: &Repository, read_data: ReadData) -> CheckReport {
    let options = CheckOptions { read_data, snapshots: None };
    check(repository, &options, &STOP, &Silent).unwrap()
}

fn link_to(target: &str) -> Tree {
    let link_target = Some(target.into());
    Tree::Node(Box::new(Node { link_target, ..Node::new("", NodeKind::Symlink) }))
}

/// A tree with something of everything that browsing cares about.
fn sample() -> Tree {
    let extents =
        Some(vec![Extent { offset: 100_000, len: 5 }, Extent { offset: 200_000, len: 3 }]);
    let sparse = Node { extents, sparse_size: Some(300_000), ..Node::new("", NodeKind::File) };
    let first = Node { hard_link: Some(1), ..Node::new("", NodeKind::File) };
    let further = Node { is_further_link: true, ..first.clone() };
    dir([
        ("a.txt", file("hello")),
        ("empty", dir([])),
        ("link", link_to("a.txt")),
        (
            "sub",
            dir([
                ("b.txt", file(noise(1, 200_000))),
                ("first", Tree::With(Box::new(first), b"linked".to_vec())),
                ("further", Tree::Node(Box::new(further))),
                ("sparse", Tree::With(Box::new(sparse), b"12345678".to_vec())),
            ]),
        ),
    ])
}

fn walked(fetcher: &Fetcher<'_>, snapshot: &Snapshot, path: &[u8], recursive: bool) -> Vec<String> {
    let mut paths = Vec::new();
    walk(fetcher, snapshot, path, recursive, &STOP, &mut |entry| {
        paths.push(String::from_utf8(entry.path.clone()).unwrap());
        Ok(())
    })
    .unwrap();
    paths
}

#[test]
fn paths_are_resolved_and_walked() {
    let (_, repository) = new();
    let id = backup(&repository, 1, &sample());
    let snapshot = repository.snapshot(&id).unwrap();
    let fetcher = Fetcher::new(&repository, 1 << 20);
    assert_eq!(resolve(&fetcher, &snapshot, b"").unwrap().content, Some(snapshot.root.clone()));
    assert_eq!(resolve(&fetcher, &snapshot, b"//sub//b.txt/").unwrap().size(), 200_000);
    for path in [b"nothing".as_slice(), b"sub/bb", b"zzz"] {
        let error = resolve(&fetcher, &snapshot, path).unwrap_err();
        assert!(matches!(error, BrowseError::NotFound { .. }), "{error}");
    }
    let error = resolve(&fetcher, &snapshot, b"a.txt/x").unwrap_err();
    assert!(matches!(error, BrowseError::NotADirectory { .. }), "{error}");
    let sub = ["sub/b.txt", "sub/first", "sub/further", "sub/sparse"];
    assert_eq!(walked(&fetcher, &snapshot, b"", false), ["a.txt", "empty", "link", "sub"]);
    assert_eq!(
        walked(&fetcher, &snapshot, b"", true),
        [&["a.txt", "empty", "link", "sub"][..], &sub].concat()
    );
    assert_eq!(walked(&fetcher, &snapshot, b"/sub/", false), sub);
    assert_eq!(walked(&fetcher, &snapshot, b"sub", true), [&["sub"][..], &sub].concat());
    assert_eq!(walked(&fetcher, &snapshot, b"a.txt", true), ["a.txt"]);
}

fn found(repository: &Repository, id: SnapshotId, options: &FindOptions) -> Vec<String> {
    let fetcher = Fetcher::new(repository, 1 << 20);
    let snapshot = repository.snapshot(&id).unwrap();
    let mut paths = Vec::new();
    find(&fetcher, &snapshot, b"", options, &STOP, &mut |entry| {
        paths.push(String::from_utf8(entry.path.clone()).unwrap());
        Ok(())
    })
    .unwrap();
    paths
}

#[test]
fn entries_are_found_by_name_path_kind_and_age() {
    let (_, repository) = new();
    let id = backup(&repository, 1, &sample());
    let with = |patterns: &[&str]| FindOptions {
        patterns: patterns.iter().map(|text| (*text).to_owned()).collect(),
        ..FindOptions::default()
    };
    assert_eq!(found(&repository, id, &with(&["*.txt"])), ["a.txt", "sub/b.txt"]);
    assert_eq!(found(&repository, id, &with(&["/*.txt"])), ["a.txt"]);
    assert_eq!(found(&repository, id, &with(&["sub/*s*", "LINK"])).len(), 2);
    assert_eq!(found(&repository, id, &with(&["**/b.txt"])), ["sub/b.txt"]);
    let ignoring = FindOptions { ignore_case: true, ..with(&["LINK"]) };
    assert_eq!(found(&repository, id, &ignoring), ["link"]);
    let links = FindOptions { kind: Some(NodeKind::Symlink), ..with(&[]) };
    assert_eq!(found(&repository, id, &links), ["link"]);
    let time = jiff::Timestamp::from_second(1_700_000_000).unwrap();
    let newer = FindOptions { newer: Some(time), ..with(&["*.txt", "link"]) };
    assert_eq!(found(&repository, id, &newer), ["a.txt", "sub/b.txt"]);
    let older = FindOptions { older: Some(time), ..with(&["*.txt", "link"]) };
    assert_eq!(found(&repository, id, &older), ["link"]);
    let fetcher = Fetcher::new(&repository, 0);
    let snapshot = repository.snapshot(&id).unwrap();
    let error = find(&fetcher, &snapshot, b"", &with(&["a[b"]), &STOP, &mut |_| Ok(()));
    assert!(matches!(error, Err(BrowseError::Pattern { .. })));
}

#[test]
fn files_are_dumped_with_their_holes() {
    let (_, repository) = new();
    let id = backup(&repository, 1, &sample());
    let snapshot = repository.snapshot(&id).unwrap();
    let fetcher = Fetcher::new(&repository, 1 << 20);
    let dumped = |path: &str| {
        let mut out = Vec::new();
        let count = dump(&fetcher, &snapshot, path.as_bytes(), &mut out, &STOP)?;
        assert_eq!(count, out.len() as u64);
        Ok::<_, DumpError>(out)
    };
    assert_eq!(dumped("a.txt").unwrap(), b"hello");
    assert_eq!(dumped("sub/b.txt").unwrap(), noise(1, 200_000));
    assert_eq!(dumped("sub/further").unwrap(), b"linked");
    let mut sparse = vec![0; 300_000];
    sparse[100_000..100_005].copy_from_slice(b"12345");
    sparse[200_000..200_003].copy_from_slice(b"678");
    assert_eq!(dumped("sub/sparse").unwrap(), sparse);
    for (path, word) in [("sub", "a directory"), ("link", "a symbolic link"), ("x", "not in")] {
        let error = dumped(path).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn differences_are_told_in_order() {
    let (_, repository) = new();
    let old = dir([
        ("both", file("same")),
        ("changed", file("one")),
        ("gone", dir([("x", file("12"))])),
        ("mode", file("m")),
        ("same", dir([("y", file("3"))])),
        ("type", dir([("z", file("4"))])),
    ]);
    let node = Node { mode: 0o600, mtime: 1_700_000_000, ..Node::new("", NodeKind::File) };
    let new = dir([
        ("both", file("same")),
        ("changed", file("three")),
        ("mode", Tree::With(Box::new(node), b"m".to_vec())),
        ("new", file("1234")),
        ("same", dir([("y", file("3"))])),
        ("type", file("5")),
    ]);
    let ids = [backup(&repository, 1, &old), backup(&repository, 2, &new)];
    let snapshots = ids.map(|id| repository.snapshot(&id).unwrap());
    let fetcher = Fetcher::new(&repository, 1 << 20);
    let compare = |old: (usize, &[u8]), new: (usize, &[u8])| {
        let side = |(which, path)| Side { snapshot: &snapshots[which], path };
        let mut entries = Vec::new();
        let summary = diff(&fetcher, side(old), side(new), &STOP, &mut |entry| {
            entries.push((String::from_utf8(entry.path).unwrap(), entry.change));
            Ok(())
        });
        (entries, summary.unwrap())
    };
    let (entries, summary) = compare((0, b""), (1, b""));
    let expected = [
        ("changed", Change::Content),
        ("gone", Change::Removed),
        ("gone/x", Change::Removed),
        ("mode", Change::Metadata),
        ("new", Change::Added),
        ("type", Change::Type),
        ("type/z", Change::Removed),
    ];
    assert_eq!(entries, expected.map(|(path, change)| (path.to_owned(), change)));
    assert_eq!(summary.added, Tally { files: 1, bytes: 4, others: 0 });
    assert_eq!(summary.removed, Tally { files: 2, bytes: 3, others: 1 });
    assert_eq!(summary.changed, Tally { files: 1, bytes: 5, others: 0 });
    assert_eq!((summary.metadata, summary.types), (1, 1));
    assert_eq!(compare((0, b""), (0, b"")).0, []);
    assert_eq!(compare((0, b"changed"), (1, b"changed")).0, [("changed".into(), Change::Content)]);
    assert_eq!(compare((0, b"gone"), (0, b"same")).0.len(), 2);
}

#[test]
fn what_is_shared_is_counted_once_where_it_is_stored() {
    let (_, repository) = new();
    let tree = |seed| dir([("big", file(noise(1, 200_000))), ("small", file(noise(seed, 1000)))]);
    let ids = [backup(&repository, 1, &tree(2)), backup(&repository, 2, &tree(3))];
    repository.refresh().unwrap();
    let snapshots = ids.map(|id| repository.snapshot(&id).unwrap());
    let stats = snapshot_stats(&repository, &snapshots, true, &STOP).unwrap();
    assert_eq!((stats.snapshots, stats.trees.files, stats.trees.restore_bytes), (2, 4, 402_000));
    let raw = stats.raw.unwrap();
    assert_eq!((raw.chunks, raw.missing_chunks), (4 + 2 + 2, 0));
    assert!((202_000..203_500).contains(&raw.raw_bytes), "{raw:?}");
    assert!((202_000..203_500).contains(&raw.stored_bytes), "{raw:?}");
    assert!(raw.ratio(402_000).unwrap() > 1.9);
    let all = repository_stats(&repository).unwrap();
    assert_eq!((all.packs, all.index_objects, all.snapshots, all.chunks), (4, 2, 2, 8));
}

#[test]
fn what_only_some_need_is_what_all_need_without_what_the_others_do() {
    let (_, repository) = new();
    let shared = || dir([("common", file(noise(1, 300_000)))]);
    // The third has the file of the first elsewhere, the fourth all that the second has.
    let nights = [
        dir([("a", file(noise(2, 70_000))), ("shared", shared())]),
        dir([("b", file(noise(3, 90_000))), ("shared", shared())]),
        dir([("moved", dir([("a", file(noise(2, 70_000)))])), ("shared", shared())]),
        dir([("b", file(noise(3, 90_000))), ("c", file(noise(4, 10))), ("shared", shared())]),
    ];
    let ids: Vec<SnapshotId> =
        (1..).zip(&nights).map(|(counter, tree)| backup(&repository, counter, tree)).collect();
    repository.refresh().unwrap();
    let snapshots: Vec<Snapshot> = ids.iter().map(|id| repository.snapshot(id).unwrap()).collect();
    let stored = |of: &[&Snapshot]| {
        let stats = snapshot_stats(&repository, of.iter().copied(), true, &STOP).unwrap();
        stats.raw.unwrap().stored_bytes
    };
    let all: Vec<&Snapshot> = snapshots.iter().collect();
    for chosen in 0_u32..1 << nights.len() {
        let goes = |at: &usize| chosen & 1 << at != 0;
        let of = |wanted: bool| -> Vec<&Snapshot> {
            (0..all.len()).filter(|at| goes(at) == wanted).map(|at| all[at]).collect()
        };
        let (going, staying) = (of(true), of(false));
        let found =
            needed_only_by(&repository, going.iter().copied(), staying.iter().copied(), &STOP);
        assert_eq!(found.unwrap(), stored(&all) - stored(&staying), "{chosen:04b}");
    }
}

/// A directory around `inner` that holds it under each of these names.
fn around(ingest: &mut Ingest<'_>, names: &[&str], inner: &StreamRef) -> StreamRef {
    let node = Node { content: Some(inner.clone()), ..Node::new("", NodeKind::Directory) };
    let names: Vec<_> = names.iter().map(|name| (*name, node.clone())).collect();
    let mut directory = crate::repository::DirectoryBuilder::new();
    for (name, node) in names {
        directory.push(ingest, &Node { name: name.into(), ..node }).unwrap();
    }
    directory.finish(ingest).unwrap()
}

#[test]
fn no_tree_is_too_deep() {
    let (_, repository) = new();
    let id = backup_with(&repository, 1, |ingest| {
        let mut root = store_tree(ingest, "", &dir([("f", file("x"))])).content.unwrap();
        for _ in 0..3000 {
            root = around(ingest, &["d"], &root);
        }
        root
    });
    let snapshot = repository.snapshot(&id).unwrap();
    let fetcher = Fetcher::new(&repository, 8 << 20);
    let mut walk = TreeWalk::new(&fetcher, b"", &snapshot.root);
    let mut count = 0;
    while let Some(entry) = walk.next_entry().unwrap() {
        count += 1;
        walk.enter(&entry);
    }
    assert_eq!(count, 3001);
    assert!(run_check(&repository, ReadData::None).is_clean());
}

#[test]
fn a_tree_that_unfolds_without_end_is_looked_at_once() {
    let (store, repository) = new();
    let id = backup_with(&repository, 1, |ingest| {
        let mut root = store_tree(ingest, "", &dir([("f", file("x"))])).content.unwrap();
        for _ in 0..64 {
            root = around(ingest, &["a", "b"], &root);
        }
        root
    });
    let report = run_check(&repository, ReadData::All);
    assert!(report.is_clean(), "{:?}", report.problems);
    assert_eq!((report.counts.directories, report.counts.files), (65, 1));
    let snapshot = repository.snapshot(&id).unwrap();
    let stats = snapshot_stats(&repository, [&snapshot], true, &STOP).unwrap();
    assert_eq!(stats.trees.files, u64::MAX);
    let rows = repository.index().packs().unwrap();
    let data = rows.iter().find(|row| row.class == PackClass::Data).unwrap();
    store.delete(&ObjectName::Pack(data.id)).unwrap();
    let report = run_check(&repository, ReadData::None);
    assert_eq!((report.affected[0].total, report.affected[0].paths.len()), (u64::MAX, 1000));
}

#[test]
fn a_good_repository_has_no_problems_and_is_read_as_asked() {
    let (_, repository) = new();
    for n in 1..5 {
        backup(&repository, n, &dir([("f", file(noise(n, 100_000)))]));
    }
    let quick = run_check(&repository, ReadData::None);
    assert_eq!(quick.problems, []);
    assert_eq!((quick.counts.packs, quick.counts.packs_read), (8, 4));
    let half = run_check(&repository, ReadData::Subset { percent: 50.0, seed: 3 });
    assert_eq!(half.counts.packs_read, 6);
    let whole = run_check(&repository, ReadData::All);
    assert_eq!(whole.counts.packs_read, 8);
    assert_eq!(whole.problems, []);
    assert!(serde_json::to_string(&whole).unwrap().contains("\"packs_read\":8"));
}

#[test]
fn snapshots_taken_back_are_missed_unless_a_receipt_tells() {
    let (store, repository) = new();
    let first = backup(&repository, 1, &dir([("f", file("1"))]));
    backup(&repository, 2, &dir([("f", file("2"))]));
    store.delete(&ObjectName::Snapshot(first)).unwrap();
    let report = run_check(&repository, ReadData::None);
    let problem = &report.problems[0];
    assert_eq!((report.errors, problem.severity), (1, Severity::Error));
    assert_eq!(problem.object, ObjectName::Snapshot(first).path());
    let receipt = ReceiptRecord {
        kind: "forget".to_owned(),
        time: 0,
        instance: "app".to_owned(),
        host: "host".to_owned(),
        result: "ok".to_owned(),
        snapshot: None,
        details: Default::default(),
        forgotten: vec![first],
    };
    repository.put_receipt(&receipt).unwrap();
    assert_eq!(run_check(&repository, ReadData::None).problems, []);
}

#[test]
fn lost_index_objects_are_made_anew_from_the_packs() {
    let (store, repository) = new();
    backup(&repository, 1, &sample());
    backup(&repository, 2, &dir([("f", file(noise(9, 100_000)))]));
    let indexes: Vec<_> =
        store.objects().into_iter().filter(|(name, _)| name.kind() == ObjectKind::Index).collect();
    store.delete(&indexes[0].0).unwrap();
    store.insert_raw(indexes[1].0, b"garbage".to_vec());
    let fresh = open(&store).unwrap();
    let report = run_check(&fresh, ReadData::None);
    assert!(report.errors > 0);
    assert!(report.problems.iter().any(|problem| problem.hint.contains("rebuild --from-packs")));
    let rebuild = |options| rebuild_index(&fresh, options, &STOP, &Silent).unwrap();
    let options = RebuildOptions { from_packs: true, delete_damaged: false };
    let rebuilt = rebuild(options);
    assert_eq!((rebuilt.indexed_packs, rebuilt.written, rebuilt.deleted), (4, 1, 0));
    assert_eq!((rebuilt.damaged.len(), rebuilt.packs), (1, 4));
    let report = run_check(&fresh, ReadData::All);
    let objects: Vec<_> = report.problems.iter().map(|problem| &problem.object).collect();
    assert_eq!(objects, [&indexes[1].0.path()]);
    let rebuilt = rebuild(RebuildOptions { delete_damaged: true, ..options });
    assert_eq!((rebuilt.indexed_packs, rebuilt.deleted), (0, 1));
    for repository in [&fresh, &repository, &open(&store).unwrap()] {
        let report = run_check(repository, ReadData::All);
        assert_eq!(report.problems, []);
    }
}

#[test]
fn a_rebuild_names_packs_it_cannot_read_and_keeps_what_might_help() {
    let (store, repository) = new();
    backup(&repository, 1, &dir([("f", file(noise(9, 100_000)))]));
    let objects = store.objects();
    let index = objects.keys().find(|name| name.kind() == ObjectKind::Index).unwrap();
    let (pack, bytes) = objects.iter().find(|(name, _)| name.kind() == ObjectKind::Pack).unwrap();
    store.insert_raw(*index, b"garbage".to_vec());
    store.insert_raw(*pack, bytes[..bytes.len() - 1].to_vec());
    let options = RebuildOptions { from_packs: true, delete_damaged: true };
    let rebuilt = rebuild_index(&open(&store).unwrap(), options, &STOP, &Silent).unwrap();
    assert_eq!((rebuilt.indexed_packs, rebuilt.deleted), (1, 0));
    assert_eq!(rebuilt.unreadable_packs[0].object, pack.path());
}

#[test]
fn packs_of_a_run_that_died_are_no_error() {
    let (_, repository) = new();
    backup(&repository, 1, &dir([("f", file("1"))]));
    let fresh_store = Arc::new(MemoryStore::new());
    let other = init(&fresh_store);
    let session = other.begin_session("test").unwrap();
    let ran = other.ingest(&session, Default::default(), &STOP, |ingest| {
        ingest.store_chunk(PackClass::Data, b"x", Grouping::Alone)?;
        Ok::<_, crate::repository::RepositoryError>(())
    });
    ran.unwrap();
    for (name, _) in fresh_store.objects() {
        if name.kind() == ObjectKind::Index {
            fresh_store.delete(&name).unwrap();
        }
    }
    let report = run_check(&open(&fresh_store).unwrap(), ReadData::All);
    assert!(report.is_clean());
    assert_eq!(report.problems[0].severity, Severity::Notice);
}

/// Many small files lie in one segment, and several threads restore them.
#[test]
fn a_segment_that_several_threads_want_is_read_once() {
    let (store, repository) = new();
    let wanted = std::sync::Mutex::new(Vec::new());
    backup_with(&repository, 1, |ingest| {
        let mut stream = crate::repository::StreamBuilder::new();
        for n in 0..200 {
            let piece = noise(n, 500);
            let chunk = ingest.store_chunk(PackClass::Data, &piece, Grouping::Shared).unwrap();
            wanted.lock().unwrap().push(chunk);
            stream.push(ingest, chunk).unwrap();
        }
        stream.finish(ingest).unwrap()
    });
    let wanted = wanted.into_inner().unwrap();
    for round in 0..20 {
        let counted = Arc::new(Recording::new(Arc::clone(&store) as _));
        let repository = open_in(Arc::clone(&counted) as _).unwrap();
        repository.refresh().unwrap();
        let fetcher = Fetcher::new(&repository, 1 << 20);
        counted.clear();
        std::thread::scope(|scope| {
            for part in wanted.chunks(25) {
                let fetcher = &fetcher;
                scope.spawn(move || {
                    part.iter().for_each(|chunk| drop(fetcher.chunk(chunk).unwrap()))
                });
            }
        });
        assert_eq!(counted.calls().len(), 1, "round {round}");
    }
}
