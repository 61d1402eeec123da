//! Deltas: a changed stream costs what changed, through many nights, through damage and lost indexes.

mod support;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mrs_backup::event::StopFlag;
use mrs_backup::ops::backup::{BackupOutcome, backup};
use mrs_backup::ops::check::{CheckOptions, ReadData, check};
use mrs_backup::ops::rebuild::{RebuildOptions, rebuild_index};
use mrs_backup::pack::{SegmentEntry, SegmentKind};
use mrs_backup::repository::{DeltaOptions, InitOptions, Repository};
use mrs_backup::store::{Call, LocalStore, MemoryStore, ObjectName, Recording, Store, Verb};
use support::{changed_rows, init_seeded, open, plan_for, restore_into, silent, text};

struct Site {
    home: tempfile::TempDir,
    repository: Repository,
}

impl Site {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let store = store_at(home.path());
        fs::create_dir(home.path().join("data")).expect("a directory");
        Self { repository: new_repository(&store), home }
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Backs `content` up as a dump.
    fn night(&self, content: &[u8], deltas: DeltaOptions) -> BackupOutcome {
        fs::write(self.data().join("dump.sql"), content).expect("a file");
        let mut plan = plan_for(&self.data());
        plan.ingest.deltas = deltas;
        backup(&self.repository, plan, &StopFlag::new(), &silent()).expect("a backup")
    }

    fn segments(&self) -> Vec<SegmentEntry> {
        let index = self.repository.index();
        let packs = index.packs().expect("packs");
        packs.iter().flat_map(|pack| index.segments_of(&pack.id).expect("segments")).collect()
    }

    fn restored(&self, repository: &Repository, outcome: &BackupOutcome, name: &str) -> Vec<u8> {
        let target = self.home.path().join(name);
        restore_into(repository, outcome.commit.id, &target);
        fs::read(target.join("data/dump.sql")).expect("the dump")
    }
}

/// With the same key each time: where content is cut decides which chunks have a base.
fn new_repository(store: &Arc<dyn Store>) -> Repository {
    init_seeded(store, 1).expect("a repository")
}

fn store_at(home: &Path) -> Arc<dyn Store> {
    Arc::new(LocalStore::new(home.join("repo")))
}

/// The content of night `n`: each night changes one row in a hundred, evenly.
fn nights(count: usize) -> Vec<Vec<u8>> {
    let mut nights = vec![text(7, 8_000_000)];
    for night in 1..count {
        nights.push(changed_rows(&nights[night - 1], 97 + night));
    }
    nights
}

fn depths(segments: &[SegmentEntry]) -> Vec<usize> {
    let base = |id| segments.iter().find(|entry| entry.id == id).and_then(|entry| entry.base);
    let depth = |entry: &SegmentEntry| {
        let mut depth = 0;
        let mut next = entry.base;
        while let Some(id) = next {
            depth += 1;
            next = base(id);
        }
        depth
    };
    segments.iter().map(depth).collect()
}

#[test]
fn a_night_costs_what_changed_and_every_night_restores() {
    let site = Site::new();
    let nights = nights(14);
    let first = site.night(&nights[0], DeltaOptions::default());
    let mut outcomes = vec![first];
    for content in &nights[1..] {
        let outcome = site.night(content, DeltaOptions::default());
        outcomes.push(outcome);
    }
    // There are two dozen chunks: in some nights a few have no good base.
    let stored: Vec<u64> = outcomes.iter().map(|outcome| outcome.stats.stored_bytes).collect();
    let (all, later) = (stored[0], &stored[1..]);
    assert!(later.iter().all(|night| night * 2 < all), "{stored:?}");
    assert!(later.iter().sum::<u64>() * 8 < all * later.len() as u64, "{stored:?}");
    let depths = depths(&site.segments());
    let deepest = depths.iter().max().copied().expect("segments");
    assert_eq!(deepest, DeltaOptions::default().depth, "chains are used, and bounded");
    for (night, outcome) in outcomes.iter().enumerate() {
        let restored = site.restored(&site.repository, outcome, &format!("out-{night}"));
        assert!(restored == nights[night], "night {night} came back otherwise");
    }
    let options = CheckOptions { read_data: ReadData::All, snapshots: None };
    let report = check(&site.repository, &options, &StopFlag::new(), &*silent()).expect("a check");
    assert_eq!(report.errors, 0, "{:?}", report.problems);
}

#[test]
fn a_rebuilt_index_still_finds_bases() {
    let site = Site::new();
    let nights = nights(3);
    let first = site.night(&nights[0], DeltaOptions::default());
    site.night(&nights[1], DeltaOptions::default());
    // Another machine, which knows nothing but the packs: features alone lead to the bases.
    fs::remove_dir_all(site.home.path().join("repo/index")).expect("the index objects are lost");
    fs::create_dir(site.home.path().join("repo/index")).expect("a directory");
    let repository = open(&store_at(site.home.path()), None).expect("opened");
    let options = RebuildOptions { from_packs: true, delete_damaged: false };
    rebuild_index(&repository, options, &StopFlag::new(), &*silent()).expect("rebuilt");
    let site = Site { repository, ..site };
    let outcome = site.night(&nights[2], DeltaOptions::default());
    let (stored, all) = (outcome.stats.stored_bytes, first.stats.stored_bytes);
    assert!(stored * 2 < all, "{stored} bytes of {all}");
    assert!(site.restored(&site.repository, &outcome, "out") == nights[2]);
}

#[test]
fn they_can_be_switched_off() {
    let nights = nights(2);
    let off = |deltas| {
        let site = Site::new();
        site.night(&nights[0], deltas);
        site.night(&nights[1], deltas);
        site.segments()
    };
    let is_delta = |entry: &SegmentEntry| entry.kind == SegmentKind::ZstdWithBase;
    assert!(off(DeltaOptions::default()).iter().any(is_delta));
    for deltas in [DeltaOptions::OFF, DeltaOptions { files: false, ..DeltaOptions::default() }] {
        assert!(!off(deltas).iter().any(|entry| is_delta(entry) || entry.features.is_some()));
    }
    let mut site = Site::new();
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(site.home.path().join("without")));
    let options = InitOptions { no_deltas: true, cost: support::CHEAP, ..InitOptions::default() };
    Repository::init(
        Arc::clone(&store),
        &support::password("secret"),
        &options,
        support::environment(None),
    )
    .expect("a repository");
    site.repository = open(&store, None).expect("it remembers");
    site.night(&nights[0], DeltaOptions::default());
    site.night(&nights[1], DeltaOptions::default());
    assert!(!site.segments().iter().any(is_delta));
}

#[test]
fn a_far_repository_is_not_read_for_them_unless_asked() {
    let nights = nights(2);
    let reads = |deltas| {
        let store = Arc::new(Recording::new(Arc::new(MemoryStore::far())));
        let repository = new_repository(&(Arc::clone(&store) as _));
        let site = Site { repository, ..Site::new() };
        site.night(&nights[0], deltas);
        store.clear();
        site.night(&nights[1], deltas);
        let is_read = |call: &&Call| {
            call.verb == Verb::Get && matches!(call.object, Some(ObjectName::Pack(_)))
        };
        store.calls().iter().filter(is_read).count()
    };
    assert_eq!(reads(DeltaOptions::default()), 0);
    assert!(reads(DeltaOptions { far: true, ..DeltaOptions::default() }) > 10);
}

#[test]
fn a_check_opens_each_delta_once() {
    let store = Arc::new(Recording::new(Arc::new(MemoryStore::new())));
    let repository = new_repository(&(Arc::clone(&store) as _));
    let site = Site { repository, ..Site::new() };
    for content in nights(9) {
        site.night(&content, DeltaOptions::default());
    }
    let segments = site.segments();
    let deltas = segments.iter().filter(|entry| entry.base.is_some()).count();
    let plain = segments.len() - deltas;
    assert!(deltas > 3 * plain, "{deltas} deltas, {plain} plain segments");
    store.clear();
    let options = CheckOptions { read_data: ReadData::All, snapshots: None };
    let report = check(&site.repository, &options, &StopFlag::new(), &*silent()).expect("a check");
    assert_eq!(report.errors, 0, "{:?}", report.problems);
    let is_read =
        |call: &&Call| call.verb == Verb::Get && matches!(call.object, Some(ObjectName::Pack(_)));
    let (reads, packs) = (store.calls().iter().filter(is_read).count(), report.counts.packs);
    // Each pack, and once more what all the deltas of a family hang on; tree lists, too.
    assert!(reads <= packs as usize + plain, "{reads} reads of {packs} packs, {deltas} deltas");
}

#[test]
fn a_damaged_base_is_told_with_all_that_hangs_on_it_and_is_no_base_any_more() {
    let site = Site::new();
    let nights = nights(3);
    let first = site.night(&nights[0], DeltaOptions::default());
    let second = site.night(&nights[1], DeltaOptions::default());
    let index = site.repository.index();
    let bases: HashSet<_> = site.segments().iter().filter_map(|entry| entry.base).collect();
    let damaged = index.packs().expect("packs").into_iter().find(|pack| {
        let segments = index.segments_of(&pack.id).expect("segments");
        segments.iter().any(|entry| bases.contains(&entry.id))
    });
    let name = ObjectName::Pack(damaged.expect("a pack with bases").id);
    let path = site.home.path().join("repo").join(name.to_string());
    let mut bytes = fs::read(&path).expect("the pack");
    for byte in bytes.iter_mut().skip(100).step_by(1000) {
        *byte ^= 1;
    }
    fs::write(&path, bytes).expect("damaged");
    let options = CheckOptions { read_data: ReadData::All, snapshots: None };
    let report = check(&site.repository, &options, &StopFlag::new(), &*silent()).expect("a check");
    assert!(report.errors > 0);
    for outcome in [&first, &second] {
        let affected = report.affected.iter().find(|one| one.id == outcome.commit.id);
        assert_eq!(affected.expect("it is affected").paths, ["data/dump.sql"]);
    }
    // What cannot be read is not built upon: the next night stands.
    let third = site.night(&nights[2], DeltaOptions::default());
    assert!(site.restored(&site.repository, &third, "out") == nights[2]);
}
