//! What several integration tests share: small repositories, trees of files, comparisons.
#![allow(dead_code, reason = "each test uses a part of it")]

pub mod docker;
pub mod nasty;
pub mod odd;
pub mod postgres;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mrs_backup::clock::SystemClock;
use mrs_backup::crypto::random::SeededRandom;
use mrs_backup::crypto::slot::{Credential, KdfCost};
use mrs_backup::crypto::{Secret, SystemRandom};
use mrs_backup::event::{Observer, Silent, StopFlag};
use mrs_backup::id::SnapshotId;
use mrs_backup::ops::backup::{BackupError, BackupOutcome, BackupPlan, FilesInput, backup};
use mrs_backup::ops::check::{CheckOptions, check};
use mrs_backup::ops::restore::{self, RestoreOptions};
use mrs_backup::repository::{
    Environment, IngestOptions, InitOptions, Repository, RepositoryError,
};
use mrs_backup::source::files::WalkOptions;
use mrs_backup::store::Store;

/// A cost that keeps tests quick.
pub const CHEAP: KdfCost = KdfCost { memory_kib: 8192, passes: 1, lanes: 1 };

pub fn password(text: &str) -> Credential {
    Credential::Password(Secret::new(text.as_bytes().to_vec()))
}

/// The machine's time and randomness, and `state` for the index (`None`: in memory).
pub fn environment(state: Option<&Path>) -> Environment {
    Environment {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        host: "test".to_owned(),
        state_dir: state.map(Path::to_owned),
    }
}

pub fn init(store: &Arc<dyn Store>, state: Option<&Path>) -> Result<Repository, RepositoryError> {
    init_in(store, environment(state))
}

/// A repository whose keys follow from `seed`, so that content is cut where it was cut the last time.
pub fn init_seeded(store: &Arc<dyn Store>, seed: u64) -> Result<Repository, RepositoryError> {
    let random = Arc::new(SeededRandom::new(seed));
    init_in(store, Environment { random, ..environment(None) })
}

fn init_in(
    store: &Arc<dyn Store>,
    environment: Environment,
) -> Result<Repository, RepositoryError> {
    let options = InitOptions {
        cost: CHEAP,
        label: "test".to_owned(),
        pack_len: Some(1 << 20),
        ..InitOptions::default()
    };
    Repository::init(Arc::clone(store), &password("secret"), &options, environment)
}

pub fn open(store: &Arc<dyn Store>, state: Option<&Path>) -> Result<Repository, RepositoryError> {
    Repository::open(Arc::clone(store), &password("secret"), environment(state))
}

pub fn silent() -> Arc<dyn Observer> {
    Arc::new(Silent)
}

/// A plan for one directory, which appears as `data` in the tree.
pub fn plan_for(directory: &Path) -> BackupPlan {
    BackupPlan {
        instance: "test".to_owned(),
        tags: Vec::new(),
        files: vec![FilesInput {
            path: directory.to_owned(),
            tree_path: b"data".to_vec(),
            options: Arc::new(WalkOptions::default()),
        }],
        streams: Vec::new(),
        ingest: IngestOptions::default(),
    }
}

pub fn backup_of(repository: &Repository, directory: &Path) -> Result<BackupOutcome, BackupError> {
    backup(repository, plan_for(directory), &StopFlag::new(), &silent())
}

/// Restores a snapshot into `target` and expects that nothing fails.
pub fn restore_into(repository: &Repository, id: SnapshotId, target: &Path) {
    repository.refresh().expect("the index is brought up to date");
    let snapshot = repository.snapshot(&id).expect("the snapshot is read");
    let options = RestoreOptions { verify: true, ..RestoreOptions::default() };
    let stop = StopFlag::new();
    let plan = restore::plan(repository, id, snapshot, target, options, &stop).expect("a plan");
    let outcome = restore::apply(repository, &plan, &stop, &silent()).expect("a restore");
    assert_eq!(outcome.failed, [], "restoring {id}");
}

/// All listed snapshots restore, and `check` finds nothing wrong.
pub fn assert_sound(repository: &Repository, scratch: &Path, told: &str) {
    let listed = repository.snapshots().expect("snapshots are listed");
    assert!(listed.damaged.is_empty(), "{told}: damaged snapshots");
    for (id, snapshot) in &listed.snapshots {
        assert!(snapshot.is_complete, "{told}: an incomplete snapshot");
        let target = scratch.join(id.to_hex());
        restore_into(repository, *id, &target);
        fs::remove_dir_all(&target).expect("removed");
    }
    let options = CheckOptions::default();
    let report = check(repository, &options, &StopFlag::new(), silent().as_ref()).expect("a check");
    assert!(report.is_clean(), "{told}: {:?}", report.problems);
}

/// What is compared of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    device: u64,
    content: Vec<u8>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 65_536];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut found: Vec<_> = names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65_536];
            let name_text = std::ffi::OsStr::from_bytes(name);
            let len = rustix::fs::lgetxattr(path, name_text, &mut value[..]).unwrap_or(0);
            value.truncate(len);
            (name.to_vec(), value)
        })
        .collect();
    found.sort();
    found
}

fn describe(path: &Path) -> Entry {
    let meta = fs::symlink_metadata(path).expect("metadata");
    let kind = meta.file_type();
    let (kind, content) = if kind.is_dir() {
        ("directory", Vec::new())
    } else if kind.is_symlink() {
        ("symlink", fs::read_link(path).expect("a link").as_os_str().as_bytes().to_vec())
    } else if kind.is_fifo() {
        ("fifo", Vec::new())
    } else if kind.is_file() {
        ("file", fs::read(path).expect("content"))
    } else {
        ("other", Vec::new())
    };
    Entry {
        kind,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        modified: (meta.mtime(), meta.mtime_nsec()),
        device: meta.rdev(),
        content,
        xattrs: xattrs(path),
    }
}

/// Everything below `root`, by relative path; the root's own metadata too.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let entry = describe(&path);
        if entry.kind == "directory" {
            for child in fs::read_dir(&path).expect("a directory") {
                pending.push(child.expect("an entry").path());
            }
        }
        found.insert(path.strip_prefix(root).expect("below the root").to_owned(), entry);
    }
    found
}

/// Panics at the first difference between two trees, naming it.
pub fn assert_same_tree(left: &BTreeMap<PathBuf, Entry>, right: &BTreeMap<PathBuf, Entry>) {
    for (path, entry) in left {
        let other = right.get(path).unwrap_or_else(|| panic!("{} is missing", path.display()));
        assert!(
            entry == other,
            "{} differs: {:?} / {:?}",
            path.display(),
            Entry { content: Vec::new(), ..entry.clone() },
            Entry { content: Vec::new(), ..other.clone() }
        );
    }
    for path in right.keys() {
        assert!(left.contains_key(path), "{} should not be there", path.display());
    }
}

/// Bytes that look like text and follow from `seed`.
pub fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 32);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(format!("{} row {state:x} of some table\n", state % 97).into_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// `rows` with one line in `every` replaced by another: what a night does to a dump.
pub fn changed_rows(rows: &[u8], every: usize) -> Vec<u8> {
    let mut changed = Vec::with_capacity(rows.len() + rows.len() / every);
    for (number, row) in rows.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if number % every == every / 2 {
            changed.extend(format!("{number} changed to {every}\n").into_bytes());
        } else {
            changed.extend_from_slice(row);
        }
    }
    changed
}

/// Bytes that do not compress and follow from `seed`.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A small tree with a bit of everything.
pub fn fill_small(root: &Path) {
    fs::create_dir_all(root.join("log/old")).expect("directories");
    fs::create_dir_all(root.join("empty")).expect("directories");
    fs::write(root.join("compose.yml"), b"services: {}\n").expect("a file");
    fs::write(root.join("log/app.log"), text(1, 300_000)).expect("a file");
    fs::write(root.join("log/old/app.log.1"), text(2, 90_000)).expect("a file");
    fs::write(root.join("upload.bin"), noise(3, 700_000)).expect("a file");
    fs::write(root.join("nothing"), b"").expect("a file");
    for number in 0..20 {
        fs::write(root.join(format!("log/old/{number}.txt")), text(number, 500)).expect("a file");
    }
    std::os::unix::fs::symlink("../compose.yml", root.join("log/link")).expect("a link");
}
