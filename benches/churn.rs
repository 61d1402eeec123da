//! A month of small files that change, and what that leaves in shared segments.
//!
//!     cargo run --release --example churn -- [FILES [NIGHTS]]
//!
//! Every night 1% of the files change, 0.5% come and 0.5% go; four of five changes hit one file in five.
//! A month later the last snapshot is restored, and what that reads is counted beside the restore of
//! the same files from a new repository. Everything follows from seeds; nothing is timed.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use mrs_backup::clock::SystemClock;
use mrs_backup::crypto::slot::Credential;
use mrs_backup::crypto::{Secret, SystemRandom};
use mrs_backup::event::{Silent, StopFlag};
use mrs_backup::ops::backup::{BackupPlan, FilesInput, backup};
use mrs_backup::ops::restore::{self, RestoreOptions};
use mrs_backup::repository::{Environment, IngestOptions, InitOptions, Repository};
use mrs_backup::source::files::WalkOptions;
use mrs_backup::store::{MemoryStore, ObjectKind, ObjectName, Recording, Store, Verb, list_all};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The files, by number: what is at a number changes with its version.
struct Files {
    root: std::path::PathBuf,
    numbers: Vec<u64>,
    next: u64,
    random: ChaCha8Rng,
}

impl Files {
    fn new(root: &Path, count: u64) -> Outcome<Self> {
        let random = ChaCha8Rng::seed_from_u64(1);
        let mut files = Self { root: root.to_owned(), numbers: Vec::new(), next: 0, random };
        for _ in 0..count {
            files.add()?;
        }
        Ok(files)
    }

    fn write(&mut self, number: u64, version: u64) -> Outcome<()> {
        let directory = self.root.join(format!("{:03}", number / 200));
        fs::create_dir_all(&directory)?;
        let words: Vec<String> = (0..self.random.random_range(60..400_u64))
            .map(|at| {
                let word = blake3::hash(format!("{number} {version} {at}").as_bytes());
                format!("claim-{} ", &word.to_hex()[..6])
            })
            .collect();
        Ok(fs::write(directory.join(format!("{number:07}.html")), words.concat())?)
    }

    fn add(&mut self) -> Outcome<()> {
        let number = self.next;
        self.next += 1;
        self.numbers.push(number);
        self.write(number, 0)
    }

    fn pick(&mut self) -> usize {
        let is_busy = self.random.random_range(0..5) < 4;
        loop {
            let at = self.random.random_range(0..self.numbers.len());
            if self.numbers[at].is_multiple_of(5) == is_busy {
                return at;
            }
        }
    }

    fn night(&mut self, night: u64) -> Outcome<()> {
        let changes = self.numbers.len() / 100;
        for _ in 0..changes {
            let at = self.pick();
            self.write(self.numbers[at], night)?;
        }
        for _ in 0..changes / 2 {
            let at = self.pick();
            let gone = self.numbers.swap_remove(at);
            let name = format!("{:03}/{gone:07}.html", gone / 200);
            fs::remove_file(self.root.join(name))?;
            self.add()?;
        }
        Ok(())
    }
}

fn repository(store: &Arc<Recording>) -> Outcome<Repository> {
    let environment = Environment {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        host: "churn".to_owned(),
        state_dir: None,
    };
    let key = Credential::KeyFile(Secret::new(vec![7; 32]));
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    Ok(Repository::init(store, &key, &InitOptions::default(), environment)?)
}

fn back_up(repository: &Repository, root: &Path) -> Outcome<()> {
    let plan = BackupPlan {
        instance: "churn".to_owned(),
        tags: Vec::new(),
        files: vec![FilesInput {
            path: root.to_owned(),
            tree_path: b"data".to_vec(),
            options: Arc::new(WalkOptions::default()),
        }],
        streams: Vec::new(),
        ingest: IngestOptions::default(),
    };
    backup(repository, plan, &StopFlag::new(), &(Arc::new(Silent) as _))?;
    Ok(())
}

fn pack_bytes(store: &dyn Store) -> Outcome<u64> {
    Ok(list_all(store, ObjectKind::Pack)?.iter().map(|info| info.size).sum())
}

/// Restores the newest snapshot; gives how often packs were read, and how many bytes.
fn restore_reads(repository: &Repository, store: &Recording) -> Outcome<(usize, u64)> {
    let stop = StopFlag::new();
    let listed = repository.snapshots()?.snapshots;
    let (id, snapshot) = listed.into_iter().next_back().ok_or("no snapshot")?;
    let target = tempfile::tempdir()?;
    let options = RestoreOptions::default();
    let plan = restore::plan(repository, id, snapshot, target.path(), options, &stop)?;
    store.clear();
    restore::apply(repository, &plan, &stop, &(Arc::new(Silent) as _))?;
    let calls = store.calls();
    let reads: Vec<_> = calls
        .iter()
        .filter(|call| call.verb == Verb::Get && matches!(call.object, Some(ObjectName::Pack(_))))
        .collect();
    let packs: BTreeSet<_> = reads.iter().filter_map(|call| call.object).collect();
    println!("    read from {} packs", packs.len());
    Ok((reads.len(), reads.iter().map(|call| call.bytes).sum()))
}

fn tell(what: &str, repository: &Repository, store: &Recording) -> Outcome<()> {
    let stored = pack_bytes(store)?;
    let (reads, bytes) = restore_reads(repository, store)?;
    println!("{what}: packs {stored} bytes; restore of the newest: {reads} reads, {bytes} bytes");
    Ok(())
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().map_or(Ok(20_000), |text| text.parse())?;
    let nights: u64 = arguments.next().map_or(Ok(30), |text| text.parse())?;
    let home = tempfile::tempdir()?;
    let root = home.path().join("data");
    let mut files = Files::new(&root, count)?;
    let store = Arc::new(Recording::new(Arc::new(MemoryStore::new())));
    let month = repository(&store)?;
    back_up(&month, &root)?;
    tell("night 1", &month, &store)?;
    for night in 2..=nights {
        files.night(night)?;
        back_up(&month, &root)?;
    }
    tell(&format!("night {nights}, all snapshots kept"), &month, &store)?;
    let fresh_store = Arc::new(Recording::new(Arc::new(MemoryStore::new())));
    let fresh = repository(&fresh_store)?;
    back_up(&fresh, &root)?;
    tell("the same files in a new repository", &fresh, &fresh_store)
}
