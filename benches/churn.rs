//! A month of small files that change, and what that leaves in shared segments.
//!
//!     cargo run --release --example churn -- [FILES [NIGHTS [PERCENT]]]
//!
//! Every night PERCENT (1) of a hundred files change, and half as many come and go; four of five changes
//! hit one file in five.
//! A month later the last snapshot is restored, and what that reads is counted beside the restore of
//! the same files from a new repository. Everything follows from seeds; nothing is timed.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use mrs_backup::clock::SystemClock;
use mrs_backup::ops::browse::TreeWalk;
use mrs_backup::pack::PackClass;
use mrs_backup::repository::{Fetcher, IngestOptions, Repository};
use mrs_backup::snapshot::NodeKind;
use mrs_backup::store::{ObjectKind, Recording, Store, list_all};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng};

use nightly::{Outcome, Reads, back_up, forget_and_prune, repository, restore_reads};

mod nightly;

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

    fn night(&mut self, night: u64, percent: usize) -> Outcome<()> {
        let changes = self.numbers.len() * percent / 100;
        for _ in 0..changes {
            let at = self.pick();
            self.write(self.numbers[at], night)?;
        }
        for _ in 0..changes / 2 {
            let at = self.random.random_range(0..self.numbers.len());
            let gone = self.numbers.swap_remove(at);
            let name = format!("{:03}/{gone:07}.html", gone / 200);
            fs::remove_file(self.root.join(name))?;
            self.add()?;
        }
        Ok(())
    }
}

fn pack_bytes(store: &dyn Store) -> Outcome<u64> {
    Ok(list_all(store, ObjectKind::Pack)?.iter().map(|info| info.size).sum())
}

/// How much of the shared segments of files the newest snapshot uses: segments below a quarter, a half,
/// three quarters and the rest, and the bytes it uses of those below a quarter and of all.
fn shares(repository: &Repository) -> Outcome<([usize; 4], u64, u64)> {
    let listed = repository.snapshots()?.snapshots;
    let (_, newest) = listed.into_iter().next_back().ok_or("no snapshot")?;
    let fetcher = Fetcher::new(repository, 16 << 20);
    let mut used = HashSet::new();
    let mut walk = TreeWalk::new(&fetcher, b"", &newest.root);
    while let Some(entry) = walk.next_entry()? {
        walk.enter(&entry);
        if let (NodeKind::File, Some(content)) = (entry.node.kind, &entry.node.content) {
            used.extend(content.chunks.iter().map(|chunk| chunk.id));
        }
    }
    let (mut classes, mut little, mut all) = ([0; 4], 0, 0);
    for pack in repository.index().packs()?.iter().filter(|pack| pack.is_present) {
        for segment in repository.index().segments_of(&pack.id)? {
            if pack.class != PackClass::Data || segment.chunks.len() < 2 {
                continue;
            }
            let needed = segment.chunks.iter().filter(|chunk| used.contains(&chunk.id));
            let bytes: u64 = needed.map(|chunk| u64::from(chunk.len)).sum();
            if bytes == 0 {
                continue;
            }
            let class = usize::try_from(bytes * 4 / u64::from(segment.raw_len))?.min(3);
            classes[class] += 1;
            little += if class == 0 { bytes } else { 0 };
            all += bytes;
        }
    }
    Ok((classes, little, all))
}

fn tell(what: &str, repository: &Repository, store: &Recording) -> Outcome<()> {
    let stored = pack_bytes(store)?;
    let Reads { reads, packs, bytes } = restore_reads(repository, store)?;
    println!(
        "{what}: packs {stored} bytes; restore of the newest: {reads} reads of {packs} packs, {bytes} bytes"
    );
    let (classes, little, all) = shares(repository)?;
    println!(
        "    segments used up to 25, 50, 75, 100%: {classes:?}; of {all} bytes {little} lie in the first"
    );
    Ok(())
}

/// Keeps the last `keep` snapshots and prunes; gives the bytes that were written again.
fn prune_to(repository: &Repository, keep: usize) -> Outcome<u64> {
    let listed = repository.snapshots()?.snapshots;
    let gone = &listed[..listed.len().saturating_sub(keep)];
    let ids: Vec<_> = gone.iter().map(|(id, _)| *id).collect();
    forget_and_prune(repository, &ids)
}

/// What became of the files.
enum Policy {
    /// All snapshots stay.
    All,
    /// The last seven stay; pruned every night.
    Week,
}

fn month(policy: &Policy, count: u64, nights: u64, percent: usize) -> Outcome<()> {
    let home = tempfile::tempdir()?;
    let root = home.path().join("data");
    let mut files = Files::new(&root, count)?;
    let (store, month) = repository(Arc::new(SystemClock))?;
    back_up(&month, &root, IngestOptions::default())?;
    tell("night 1", &month, &store)?;
    let mut repacked = 0;
    for night in 2..=nights {
        files.night(night, percent)?;
        back_up(&month, &root, IngestOptions::default())?;
        if matches!(policy, Policy::Week) {
            repacked += prune_to(&month, 7)?;
        }
    }
    match policy {
        Policy::All => tell(&format!("night {nights}, all snapshots kept"), &month, &store)?,
        Policy::Week => {
            let what =
                format!("night {nights}, seven kept, pruned nightly ({repacked} bytes moved)");
            tell(&what, &month, &store)?;
        }
    }
    if matches!(policy, Policy::All) {
        let repacked = prune_to(&month, 7)?;
        let what = format!("then seven kept and pruned once ({repacked} bytes moved)");
        tell(&what, &month, &store)?;
        let repacked = prune_to(&month, 1)?;
        tell(&format!("then one kept and pruned once ({repacked} bytes moved)"), &month, &store)?;
        let (fresh_store, fresh) = repository(Arc::new(SystemClock))?;
        back_up(&fresh, &root, IngestOptions::default())?;
        tell("the same files in a new repository", &fresh, &fresh_store)?;
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().map_or(Ok(20_000), |text| text.parse())?;
    let nights = arguments.next().map_or(Ok(30), |text| text.parse())?;
    let percent = arguments.next().map_or(Ok(1), |text| text.parse())?;
    month(&Policy::All, count, nights, percent)?;
    month(&Policy::Week, count, nights, percent)
}
