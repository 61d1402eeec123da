//! Imports from a repository that exists only in memory.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::event::Silent;
use crate::ops::check::{CheckOptions, ReadData, check};
use crate::ops::dump::dump;
use crate::ops::testing::{init, noise, open};
use crate::snapshot::{Node, NodeKind};
use crate::source::foreign::{ForeignContent, ForeignNode, TreeName};
use crate::store::{Fault, Faulty, MemoryStore};

/// Pieces of files and listings by name.
#[derive(Default)]
struct Memory {
    snapshots: Vec<ForeignSnapshot>,
    pieces: HashMap<[u8; 32], Vec<u8>>,
    trees: HashMap<TreeName, Vec<ForeignNode>>,
    /// A piece that cannot be read.
    bad: Option<[u8; 32]>,
    read: AtomicU64,
}

impl Memory {
    fn file(&mut self, name: &str, bytes: Vec<u8>, link: Option<(u64, u64)>) -> ForeignNode {
        let mut node = Node::new(name, NodeKind::File);
        node.mode = 0o640;
        let size = bytes.len() as u64;
        let pieces = bytes.chunks(100_000).map(|piece| {
            let id = *blake3::hash(piece).as_bytes();
            self.pieces.insert(id, piece.to_vec());
            id
        });
        let content = ForeignContent::File { pieces: pieces.collect(), size };
        ForeignNode { node, content, link }
    }

    fn tree(&mut self, mut nodes: Vec<ForeignNode>) -> TreeName {
        nodes.sort_by(|one, other| one.node.name.cmp(&other.node.name));
        let name = *blake3::hash(format!("{nodes:?}").as_bytes()).as_bytes();
        self.trees.insert(name, nodes);
        name
    }

    fn folder(&mut self, name: &str, nodes: Vec<ForeignNode>) -> ForeignNode {
        let content = ForeignContent::Directory(self.tree(nodes));
        let mut node = Node::new(name, NodeKind::Directory);
        node.mode = 0o750;
        ForeignNode { node, content, link: None }
    }

    fn snapshot(&mut self, day: i64, nodes: Vec<ForeignNode>) {
        let root = self.tree(nodes);
        self.snapshots.push(ForeignSnapshot {
            id: format!("{day:064x}"),
            time: day * 86_400_000_000_000,
            duration: 5,
            time_zone: None,
            host: "prod".to_owned(),
            user: "root".to_owned(),
            tags: vec![format!("day{day}")],
            paths: vec!["/home/mrs/log".to_owned(), "/elsewhere/x".to_owned()],
            program: "other 1".to_owned(),
            root,
        });
    }

    /// Three nights: a log that grows, and a directory that stays.
    fn nights() -> Self {
        let mut memory = Self::default();
        for day in 1..=3 {
            let log =
                memory.file("app.log", noise(1, 150_000 * usize::try_from(day).unwrap()), None);
            let (one, two) = (
                memory.file("one", noise(7, 5000), Some((1, 42))),
                memory.file("two", noise(7, 5000), Some((1, 42))),
            );
            let linked = memory.folder("linked", vec![one, two]);
            let photo = memory.file("photo", noise(9, 300_000), None);
            let same = memory.folder("same", vec![photo]);
            let log = memory.folder("log", vec![log]);
            memory.snapshot(day, vec![log, same, linked]);
        }
        memory
    }
}

struct Pieces<'a>(&'a Memory, std::slice::Iter<'a, [u8; 32]>, &'a [u8]);

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.2.is_empty() {
            let Some(piece) = self.1.next() else { return Ok(0) };
            if self.0.bad == Some(*piece) {
                return Err(io::Error::other("bad piece"));
            }
            self.2 = &self.0.pieces[piece];
            self.0.read.fetch_add(self.2.len() as u64, Ordering::Relaxed);
        }
        self.2.read(out)
    }
}

impl ForeignRepository for Memory {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn id(&self) -> String {
        "1".to_owned()
    }

    fn snapshots(&self) -> Result<Vec<ForeignSnapshot>, ForeignError> {
        Ok(self.snapshots.clone())
    }

    fn directory(
        &self,
        tree: &TreeName,
        _: &mut dyn FnMut(&[u8], &str),
    ) -> Result<Vec<ForeignNode>, ForeignError> {
        let missing = || ForeignError::Unreadable {
            location: "memory".to_owned(),
            reason: "a listing is missing".to_owned(),
        };
        self.trees.get(tree).cloned().ok_or_else(missing)
    }

    fn read(&self, content: &ForeignContent, take: &mut dyn FnMut(&mut dyn Read)) {
        if let ForeignContent::File { pieces, .. } = content {
            take(&mut Pieces(self, pieces.iter(), &[]));
        }
    }
}

fn run(memory: &Memory, target: &Repository) -> Result<ImportReport, ImportError> {
    let ingest = IngestOptions { level: 1, ..IngestOptions::default() };
    let options = ImportOptions { instance: "mrs".to_owned(), ingest, verify: true };
    import(memory, memory.snapshots.clone(), target, &options, (&StopFlag::new(), &Silent))
}

fn read(target: &Repository, snapshot: &Snapshot, path: &str) -> Vec<u8> {
    let fetcher = Fetcher::new(target, CACHE);
    let mut bytes = Vec::new();
    dump(&fetcher, snapshot, path.as_bytes(), &mut bytes, &StopFlag::new()).unwrap();
    bytes
}

#[track_caller]
fn assert_clean(target: &Repository) {
    target.refresh().unwrap();
    let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
    let report = check(target, &options, &StopFlag::new(), &Silent).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn times_hosts_tags_and_content_arrive_and_a_second_call_does_nothing() {
    let memory = Memory::nights();
    let target = init(&Arc::default());
    let report = run(&memory, &target).unwrap();
    assert_eq!((report.imported.len(), report.known, report.differences.len()), (3, 0, 0));
    // The log of each night, and what stays once.
    assert_eq!(report.read_bytes, 150_000 * 6 + 300_000 + 5000);
    assert_clean(&target);
    let snapshots = target.snapshots().unwrap().snapshots;
    for (day, (_, snapshot)) in (1..).zip(&snapshots) {
        assert_eq!(snapshot.start, day * 86_400_000_000_000);
        assert_eq!((snapshot.end, snapshot.host.as_str()), (snapshot.start + 5, "prod"));
        assert_eq!((&snapshot.tags, snapshot.is_complete), (&vec![format!("day{day}")], true));
        let log = noise(1, 150_000 * usize::try_from(day).unwrap());
        assert_eq!(read(&target, snapshot, "log/app.log"), log);
        assert_eq!(read(&target, snapshot, "linked/two"), noise(7, 5000));
        let files: Vec<_> =
            snapshot.sources.iter().filter(|source| source.kind == "files").collect();
        assert_eq!(files.len(), 1, "{files:?}");
        assert_eq!((files[0].name.as_str(), &files[0].path[..]), ("/home/mrs/log", &b"log"[..]));
    }
    let again = run(&memory, &target).unwrap();
    assert_eq!((again.imported.len(), again.known, again.stored_bytes), (0, 3, 0));
}

#[test]
fn killed_anywhere_it_goes_on() {
    let memory = Memory::nights();
    for call in (0..).step_by(5) {
        let store = Arc::new(MemoryStore::new());
        drop(init(&store));
        let faulty =
            Arc::new(Faulty::new(Arc::clone(&store) as _, vec![Fault::KillAfter { call }]));
        let dying = crate::ops::testing::open_in(Arc::clone(&faulty) as _);
        let done = dying.map(|dying| run(&memory, &dying));
        if !faulty.is_dead() {
            assert_eq!(done.unwrap().unwrap().imported.len(), 3);
            assert!(call > 15, "only {call} calls were tried");
            break;
        }
        let target = open(&store).unwrap();
        let report = run(&memory, &target).unwrap();
        assert_eq!(report.imported.len() as u64 + report.known, 3, "killed at {call}");
        assert_eq!(target.snapshots().unwrap().snapshots.len(), 3, "killed at {call}");
        assert_clean(&target);
    }
}

#[test]
fn what_cannot_be_read_is_incomplete_or_left_out() {
    let mut memory = Memory::nights();
    // The end of the last night's log.
    let last = noise(1, 450_000);
    memory.bad = Some(*blake3::hash(&last[400_000..]).as_bytes());
    let target = init(&Arc::default());
    let report = run(&memory, &target).unwrap();
    assert_eq!((report.imported.len(), report.incomplete.len()), (3, 1), "{report:?}");
    assert_eq!(report.differences, []);
    let (_, newest) = target.snapshots().unwrap().snapshots.pop().unwrap();
    assert!(!newest.is_complete);
    assert!(newest.sources[0].incomplete[0].contains("log/app.log: bad piece"), "{newest:?}");
    assert_clean(&target);

    let mut memory = Memory::nights();
    let root = memory.snapshots[1].root;
    memory.trees.remove(&root);
    let target = init(&Arc::default());
    let report = run(&memory, &target).unwrap();
    assert_eq!((report.imported.len(), report.failed.len()), (2, 1), "{report:?}");
    assert_clean(&target);
}

#[test]
fn reading_back_finds_what_differs() {
    let memory = Memory::nights();
    let target = init(&Arc::default());
    run(&memory, &target).unwrap();
    let (_, imported) = target.snapshots().unwrap().snapshots.remove(0);
    // The second night is not the first.
    let stop = StopFlag::new();
    let found =
        verify(&memory, &memory.snapshots[1], &target, &imported, (&stop, &|_| {})).unwrap();
    assert_eq!(found, [Difference { path: "log/app.log".to_owned(), what: "its size" }]);
}
