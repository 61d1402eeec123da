//! Directories of more files than are kept in memory: what is remembered of them is read and written in
//! parts, and every night must find all that the night before remembered. And files of a few bytes, millions of them.

mod support;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mrs_backup::clock::{Clock, SystemClock};
use mrs_backup::event::StopFlag;
use mrs_backup::pack::PackClass;
use mrs_backup::repository::{
    Content, Environment, Grouping, IngestOptions, InitOptions, Repository, RepositoryError,
};
use mrs_backup::store::{MemoryStore, ObjectKind, list_all};
use support::{CHEAP, assert_same_tree, backup_of, environment, password, restore_into, tree};

/// A minute ahead: files just written are old enough to be remembered.
#[derive(Debug)]
struct Ahead;

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + Duration::from_mins(1)
    }

    fn zone(&self) -> TimeZone {
        TimeZone::UTC
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed()
    }
}

/// More than three rows of remembered files.
const FILES: usize = 3500;

#[test]
fn every_night_knows_what_the_night_before_remembered() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    let directory = data.join("spooler");
    fs::create_dir_all(&directory).expect("a directory");
    let name = |number: usize| directory.join(format!("{number:06}"));
    for number in 0..FILES {
        fs::write(name(number * 10), format!("mail {number}")).expect("a file");
    }
    let state = home.path().join("state");
    let environment = Environment { clock: Arc::new(Ahead), ..environment(Some(&state)) };
    let options = InitOptions { cost: CHEAP, ..InitOptions::default() };
    let store = Arc::new(MemoryStore::new());
    let repository = Repository::init(store, &password("secret"), &options, environment);
    let repository = repository.expect("a repository");
    // What a night does, and how many files it leaves as they were and has to read.
    type Night<'n> = (&'n str, Box<dyn Fn() + 'n>, usize, usize);
    let write = |number: usize| fs::write(name(number), "changed").expect("a file");
    let remove = |number: usize| fs::remove_file(name(number)).expect("removed");
    let nights: [Night<'_>; 9] = [
        ("all are new", Box::new(|| {}), 0, FILES),
        ("nothing", Box::new(|| {}), FILES, 0),
        ("one in the last part is changed", Box::new(|| write(34_000)), FILES - 1, 1),
        ("the first is removed", Box::new(|| remove(0)), FILES - 1, 0),
        ("one comes in the middle", Box::new(|| write(15_005)), FILES - 1, 1),
        ("the last is removed", Box::new(|| remove(34_990)), FILES - 1, 0),
        ("nothing again", Box::new(|| {}), FILES - 1, 0),
        ("a whole part is removed", Box::new(|| (200..1500).for_each(|n| remove(n * 10))), 2199, 0),
        ("and nothing", Box::new(|| {}), 2199, 0),
    ];
    for (what, edit, unchanged, read) in &nights {
        edit();
        let outcome = backup_of(&repository, &data).expect("a backup");
        let counts = outcome.counts;
        let found = (counts.unchanged_files, counts.files - counts.unchanged_files);
        assert_eq!(found, (*unchanged as u64, *read as u64), "{what}");
        assert!(outcome.incomplete().is_empty());
    }
    // Directories that are gone are remembered no more; if they come back they are read.
    let moved = home.path().join("moved");
    fs::rename(&directory, &moved).expect("moved");
    backup_of(&repository, &data).expect("a backup");
    fs::rename(&moved, &directory).expect("moved back");
    let outcome = backup_of(&repository, &data).expect("a backup");
    assert_eq!((outcome.counts.unchanged_files, outcome.counts.files), (0, 2199));
    let target = home.path().join("target");
    restore_into(&repository, outcome.commit.id, &target);
    assert_same_tree(&tree(&data), &tree(&target.join("data")));
}

/// A pack of 16 MiB would hold 400,000 chunks of seven bytes, and an index object 64 of those: half a gigabyte, in memory
/// several times.
#[test]
fn of_tiny_files_no_object_names_too_many() {
    const TINY: u32 = 210_000;
    let store = Arc::new(MemoryStore::new());
    let options = InitOptions { cost: CHEAP, ..InitOptions::default() };
    let place = Arc::clone(&store) as _;
    let repository = Repository::init(place, &password("secret"), &options, environment(None));
    let repository = repository.expect("a repository");
    let session = repository.begin_session("test").expect("a session");
    let (options, stop) = (IngestOptions { level: 1, ..IngestOptions::default() }, StopFlag::new());
    let ((), stats) = repository
        .ingest(&session, options, &stop, |ingest| {
            for number in 0..TINY {
                let bytes = format!("{number:07}");
                ingest.store_chunk(PackClass::Data, bytes.as_bytes(), Grouping::Shared)?;
            }
            Ok::<_, RepositoryError>(())
        })
        .expect("stored");
    assert_eq!(stats.new_chunks, u64::from(TINY));
    let (mut all, mut objects) = (0, 0);
    for info in list_all(store.as_ref(), ObjectKind::Index).expect("a listing") {
        let Ok(Content::Index(object)) = repository.read_object(&info.name) else {
            panic!("{}", info.name);
        };
        let chunks: Vec<usize> = object
            .packs
            .iter()
            .map(|pack| pack.entries.iter().map(|entry| entry.chunks.len()).sum())
            .collect();
        assert!(chunks.iter().all(|chunks| *chunks <= 65_536), "chunks of packs: {chunks:?}");
        let named: usize = chunks.iter().sum();
        assert!(named < 131_072 + 65_536, "{named} chunks in one index object");
        (all, objects) = (all + named, objects + 1);
    }
    assert_eq!((all, objects), (TINY as usize, 2));
}
