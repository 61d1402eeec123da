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
use crate::snapshot::{DatabaseManifest, Node, NodeKind};
use crate::source::foreign::{ForeignContent, ForeignNode, TreeName};
use crate::source::{SourceError, StreamSink, StreamSource};
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
    run_with(memory, target, None)
}

fn run_with(
    memory: &Memory,
    target: &Repository,
    dumps: Option<&dyn DumpServer>,
) -> Result<ImportReport, ImportError> {
    let ingest = IngestOptions { level: 1, ..IngestOptions::default() };
    let options = ImportOptions { instance: "mrs".to_owned(), ingest, verify: true, dumps };
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

/// Makes a database `mrs` of every dump but of those that say `broken`; its only stream is the dump, read aloud.
struct Loader;

struct Shouting(Vec<u8>);

impl DumpServer for Loader {
    fn load(
        &self,
        dump: &mut dyn Read,
        store: &mut dyn FnMut(&mut dyn StreamSource),
    ) -> Result<(), String> {
        let mut text = Vec::new();
        dump.read_to_end(&mut text).map_err(|error| error.to_string())?;
        if text.starts_with(b"broken") {
            return Err("syntax error".to_owned());
        }
        store(&mut Shouting(text.to_ascii_uppercase()));
        Ok(())
    }
}

impl StreamSource for Shouting {
    fn read_all(&mut self, sink: &dyn StreamSink) -> Result<(), SourceError> {
        if self.0.starts_with(b"TORN") {
            sink.fail("mrs", "its end was not reached");
        }
        sink.store(b"postgres/globals.sql", &mut &b"CREATE ROLE x;"[..]);
        sink.store(b"postgres/mrs/rest.dump", &mut self.0.as_slice());
        Ok(())
    }

    fn record(&self) -> SourceRecord {
        SourceRecord { kind: "postgresql".to_owned(), ..SourceRecord::default() }
    }

    fn databases(&self) -> Vec<DatabaseManifest> {
        vec![DatabaseManifest {
            name: "mrs".to_owned(),
            path: b"postgres/mrs".to_vec(),
            ..DatabaseManifest::default()
        }]
    }
}

/// A night with this dump, below `above`.
fn dumped(memory: &mut Memory, day: i64, text: &str, above: Option<&str>) {
    let dump = memory.file("data.dump", text.as_bytes().to_vec(), None);
    let other = memory.file("postgresql.log", b"log".to_vec(), None);
    let dump = memory.folder("dump", vec![dump]);
    let postgres = memory.folder("postgres", vec![dump, other]);
    let log = memory.file("zz.log", noise(3, 1000), None);
    let nodes = match above {
        None => vec![postgres, log],
        Some(name) => vec![memory.folder(name, vec![postgres]), log],
    };
    memory.snapshot(day, nodes);
    let paths = &mut memory.snapshots.last_mut().unwrap().paths;
    *paths = match above {
        None => vec!["/srv/app/postgres/dump/data.dump".to_owned()],
        Some(name) => vec![format!("/{name}")],
    };
}

#[test]
fn a_dump_becomes_databases_and_stays_a_file() {
    let mut memory = Memory::default();
    dumped(&mut memory, 1, "one row", None);
    dumped(&mut memory, 2, "two rows", None);
    // What was saved with an absolute path has no directory of databases of its own.
    dumped(&mut memory, 3, "three rows", Some("home"));
    dumped(&mut memory, 4, "broken", None);
    dumped(&mut memory, 5, "torn", None);
    let target = init(&Arc::default());
    let report = run_with(&memory, &target, Some(&Loader)).unwrap();
    assert_eq!((report.imported.len(), report.with_databases), (5, 3), "{report:?}");
    assert_eq!(report.differences, [], "what was made is no difference");
    let reasons: Vec<&str> = report.not_loaded.iter().map(|(_, why)| why.as_str()).collect();
    assert_eq!(reasons, ["syntax error", "mrs: its end was not reached"]);
    assert!(report.incomplete.is_empty(), "{report:?}");
    assert_clean(&target);
    let snapshots = target.snapshots().unwrap().snapshots;
    let texts = ["one row", "two rows", "three rows"];
    for ((_, snapshot), text) in snapshots.iter().zip(texts) {
        assert_eq!(snapshot.databases.len(), 1);
        let whole = read(&target, snapshot, "postgres/mrs/rest.dump");
        assert_eq!(String::from_utf8(whole).unwrap(), text.to_uppercase());
        assert!(snapshot.sources.iter().any(|source| source.kind == "postgresql"));
    }
    assert_eq!(read(&target, &snapshots[0].1, "postgres/dump/data.dump"), b"one row");
    assert_eq!(read(&target, &snapshots[2].1, "home/postgres/dump/data.dump"), b"three rows");
    for (_, snapshot) in &snapshots[3..] {
        assert!(snapshot.databases.is_empty() && snapshot.is_complete, "{snapshot:?}");
        assert_eq!(read(&target, snapshot, "zz.log"), noise(3, 1000));
    }
}

#[test]
fn a_dump_without_a_place_for_its_databases_stays_a_file() {
    let mut memory = Memory::default();
    let dump = memory.file("data.dump", b"rows".to_vec(), None);
    let dump = memory.folder("dump", vec![dump]);
    let taken = memory.file("mrs", b"something else".to_vec(), None);
    let postgres = memory.folder("postgres", vec![dump, taken]);
    memory.snapshot(1, vec![postgres]);
    let target = init(&Arc::default());
    let report = run_with(&memory, &target, Some(&Loader)).unwrap();
    assert_eq!((report.with_databases, report.differences.len()), (0, 0), "{report:?}");
    assert_eq!(report.not_loaded[0].1, "postgres/mrs is something else there");
    let (_, snapshot) = &target.snapshots().unwrap().snapshots[0];
    assert_eq!(read(&target, snapshot, "postgres/mrs"), b"something else");
    assert_clean(&target);
}
