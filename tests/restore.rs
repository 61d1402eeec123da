//! Restores into places that are not empty.

mod support;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mrs_backup::event::{Event, Observer, StopFlag};
use mrs_backup::ops::backup::backup;
use mrs_backup::ops::restore::{self, Overwrite, RestoreOptions, RestoreOutcome};
use mrs_backup::repository::Repository;
use mrs_backup::source::command::CommandSource;
use mrs_backup::store::{Call, MemoryStore, ObjectKind, Recording, Store, Verb};
use support::{init, plan_for, silent};

/// A snapshot with a directory `data` and a stream at `postgres/mrs.dump`.
fn snapshot_of(repository: &Repository, data: &Path) -> mrs_backup::id::SnapshotId {
    let mut plan = plan_for(data);
    let argv = ["echo", "a dump"].map(OsString::from).to_vec();
    let stop = Arc::new(StopFlag::new());
    let dump = CommandSource::new("postgres/mrs.dump", argv, Arc::clone(&stop)).expect("a source");
    plan.streams.push(Box::new(dump));
    backup(repository, plan, &stop, &silent()).expect("a backup").commit.id
}

fn restore_over(repository: &Repository, target: &Path, options: RestoreOptions) -> RestoreOutcome {
    let stop = StopFlag::new();
    let listed = repository.snapshots().expect("a listing");
    let (id, snapshot) = listed.snapshots.into_iter().next_back().expect("a snapshot");
    let plan = restore::plan(repository, id, snapshot, target, options, &stop).expect("a plan");
    restore::apply(repository, &plan, &stop, &silent()).expect("a restore")
}

#[test]
fn what_lies_beside_a_dump_is_left_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    support::fill_small(&data);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = init(&store, None).expect("a repository");
    snapshot_of(&repository, &data);
    // The live home: a running database's files, and a stray file in the directory that is backed up.
    let live = home.path().join("live");
    let cluster = live.join("postgres/data/base");
    fs::create_dir_all(&cluster).expect("directories");
    fs::write(cluster.join("16384"), "rows").expect("a file");
    fs::set_permissions(live.join("postgres"), fs::Permissions::from_mode(0o711)).expect("a mode");
    let modified = fs::metadata(live.join("postgres")).expect("metadata").mtime();
    fs::create_dir(live.join("data")).expect("a directory");
    fs::write(live.join("data/stray"), "stray").expect("a file");
    fs::write(live.join("elsewhere"), "mine").expect("a file");
    let options = RestoreOptions {
        delete: true,
        overwrite: Overwrite::Always,
        verify: true,
        ..RestoreOptions::default()
    };
    let outcome = restore_over(&repository, &live, options);
    assert_eq!(outcome.failed, []);
    assert_eq!(fs::read(cluster.join("16384")).expect("still there"), b"rows");
    assert_eq!(fs::read(live.join("elsewhere")).expect("still there"), b"mine");
    assert!(!live.join("data/stray").exists(), "what is not in a backed-up directory goes");
    let found = fs::metadata(live.join("postgres")).expect("metadata");
    assert_eq!(found.mode() & 0o7777, 0o711);
    assert!(found.mtime() >= modified);
    assert_eq!(fs::read(live.join("postgres/mrs.dump")).expect("restored"), b"a dump\n");
}

#[test]
fn a_missing_directory_on_the_way_to_a_source_is_made() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    support::fill_small(&data);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = init(&store, None).expect("a repository");
    snapshot_of(&repository, &data);
    let target = home.path().join("target");
    let outcome = restore_over(&repository, &target, RestoreOptions::default());
    assert_eq!(outcome.failed, []);
    let found = fs::metadata(target.join("postgres")).expect("metadata");
    assert_eq!(found.mode() & 0o7777, 0o755);
    let dump = fs::metadata(target.join("postgres/mrs.dump")).expect("metadata");
    assert_eq!(dump.mode() & 0o7777, 0o600);
}

/// `data/a` and `data/b/c` are one file, `data/b/d` another with a name before it.
fn linked(home: &Path) -> Repository {
    let data = home.join("data");
    fs::create_dir_all(data.join("b")).expect("directories");
    fs::write(data.join("a"), support::text(1, 40_000)).expect("a file");
    fs::hard_link(data.join("a"), data.join("b/c")).expect("a link");
    fs::hard_link(data.join("a"), data.join("b/d")).expect("a link");
    fs::write(data.join("b/other"), "other").expect("a file");
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    let directory = fs::File::open(data.join("b")).expect("a directory");
    directory.set_modified(long_ago).expect("a time");
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = init(&store, None).expect("a repository");
    support::backup_of(&repository, &data).expect("a backup");
    repository
}

#[test]
fn a_link_restored_without_its_first_name_is_planned_and_verified_with_its_content() {
    let home = tempfile::tempdir().expect("a directory");
    let repository = linked(home.path());
    let stop = StopFlag::new();
    let snapshots = repository.snapshots().expect("a listing").snapshots;
    let (id, snapshot) = snapshots.into_iter().next_back().expect("a snapshot");
    let options =
        RestoreOptions { subpath: b"data/b".to_vec(), verify: true, ..RestoreOptions::default() };
    let target = home.path().join("target");
    let plan = restore::plan(&repository, id, snapshot, &target, options, &stop).expect("a plan");
    assert_eq!((plan.files, plan.others, plan.bytes), (2, 1, 40_005));
    let outcome = restore::apply(&repository, &plan, &stop, &silent()).expect("a restore");
    assert_eq!(outcome.failed, []);
    assert_eq!((outcome.files, outcome.bytes, outcome.verified_bytes), (2, 40_005, 40_005));
    assert_eq!(fs::read(target.join("c")).expect("restored"), support::text(1, 40_000));
    let inode = |name: &str| fs::metadata(target.join(name)).expect("metadata").ino();
    assert_eq!(inode("c"), inode("d"));
}

#[test]
fn links_made_last_leave_their_directory_its_time() {
    let home = tempfile::tempdir().expect("a directory");
    let repository = linked(home.path());
    let target = home.path().join("target");
    let outcome = restore_over(&repository, &target, RestoreOptions::default());
    assert_eq!(outcome.failed, []);
    assert_eq!(fs::metadata(target.join("data/b")).expect("metadata").mtime(), 1_000_000);
}

#[test]
fn directories_on_the_way_to_what_is_chosen_look_as_they_did() {
    let home = tempfile::tempdir().expect("a directory");
    let repository = linked(home.path());
    let target = home.path().join("target");
    let include = vec!["other".to_owned()];
    let options = RestoreOptions { include, ..RestoreOptions::default() };
    let outcome = restore_over(&repository, &target, options.clone());
    assert_eq!((outcome.failed, outcome.files), (vec![], 1));
    let found = fs::metadata(target.join("data/b")).expect("metadata");
    let source = fs::metadata(home.path().join("data/b")).expect("metadata");
    assert_eq!((found.mtime(), found.mode()), (1_000_000, source.mode()));
    // One that is there already is none of this restore's business.
    fs::set_permissions(target.join("data"), fs::Permissions::from_mode(0o711)).expect("a mode");
    restore_over(&repository, &target, options);
    let found = fs::metadata(target.join("data")).expect("metadata");
    assert_eq!(found.mode() & 0o7777, 0o711);
}

/// Counts, each time a file is done, the directories that still have the mode they are made with.
struct Unfinished {
    target: PathBuf,
    most: AtomicUsize,
}

impl Observer for Unfinished {
    fn event(&self, event: &Event) {
        if !matches!(event, Event::Progress { items: 1, .. }) {
            return;
        }
        let Ok(entries) = fs::read_dir(self.target.join("data")) else { return };
        let is_unfinished = |entry: &fs::DirEntry| {
            entry.metadata().is_ok_and(|found| found.mode() & 0o7777 == 0o700)
        };
        let count = entries.flatten().filter(is_unfinished).count();
        self.most.fetch_max(count, Ordering::SeqCst);
    }
}

#[test]
fn directories_are_finished_while_others_are_still_to_come() {
    let home = tempfile::tempdir().expect("a directory");
    let data = home.path().join("data");
    for number in 0..400_u64 {
        let directory = data.join(format!("d{number:03}"));
        fs::create_dir_all(&directory).expect("a directory");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("a mode");
        fs::write(directory.join("file"), support::text(number, 100)).expect("a file");
    }
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = init(&store, None).expect("a repository");
    let id = support::backup_of(&repository, &data).expect("a backup").commit.id;
    let snapshot = repository.snapshot(&id).expect("the snapshot");
    let (stop, target) = (StopFlag::new(), home.path().join("target"));
    let options = RestoreOptions::default();
    let plan = restore::plan(&repository, id, snapshot, &target, options, &stop).expect("a plan");
    let observer = Arc::new(Unfinished { target, most: AtomicUsize::new(0) });
    let listener: Arc<dyn Observer> = Arc::clone(&observer) as _;
    let outcome = restore::apply(&repository, &plan, &stop, &listener).expect("a restore");
    assert_eq!((outcome.failed, outcome.files), (vec![], 400));
    // What is handed out ahead of the writers, and not a directory for each that was restored.
    let most = observer.most.load(Ordering::SeqCst);
    assert!((1..150).contains(&most), "{most} directories were unfinished at a time");
}

/// Bytes read of packs and number of reads, in the order of what was read first of each kind.
fn reads(recording: &Recording) -> (u64, usize, Vec<ObjectKind>) {
    let calls = recording.calls();
    let gets: Vec<_> = calls.iter().filter(|call| call.verb == Verb::Get).collect();
    let is_pack = |call: &&&Call| call.object.is_some_and(|name| name.kind() == ObjectKind::Pack);
    let bytes = gets.iter().filter(is_pack).map(|call| call.bytes).sum();
    let mut kinds: Vec<ObjectKind> = Vec::new();
    for kind in gets.iter().filter_map(|call| call.object).map(|name| name.kind()) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    (bytes, gets.iter().filter(is_pack).count(), kinds)
}

#[test]
fn a_machine_without_any_state_fetches_only_what_it_needs() {
    let home = tempfile::tempdir().expect("a directory");
    let (large, small) = (home.path().join("large"), home.path().join("small"));
    fs::create_dir_all(&large).expect("a directory");
    fs::create_dir_all(&small).expect("a directory");
    fs::write(large.join("photo"), support::noise(1, 12 << 20)).expect("a file");
    fs::write(small.join("note"), support::noise(2, 300 << 10)).expect("a file");
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = init(&store, None).expect("a repository");
    let wanted = support::backup_of(&repository, &small).expect("a backup").commit.id;
    support::backup_of(&repository, &large).expect("a backup");
    drop(repository);
    let recording = Arc::new(Recording::new(store));
    let store: Arc<dyn Store> = recording.clone();
    let fresh = support::open(&store, None).expect("opened");
    fresh.refresh().expect("an index");
    support::restore_into(&fresh, wanted, &home.path().join("back"));
    let (bytes, count, kinds) = reads(&recording);
    assert!(bytes < 350 << 10, "{bytes} bytes of packs for a file of 300 KiB");
    assert!(count < 20, "{count} reads of packs");
    let last = kinds.iter().position(|kind| *kind == ObjectKind::Pack);
    let index = kinds.iter().position(|kind| *kind == ObjectKind::Index);
    assert!(index < last, "the index first: {kinds:?}");
    let listed = recording.count(Verb::List);
    assert!(listed < 10, "{listed} listings");
}
