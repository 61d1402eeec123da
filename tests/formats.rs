//! Old repositories restore for ever: every folder of `fixtures/repositories/` holds one, with what
//! its snapshots contain. A later version must never need these files changed.
//!
//! `MRS_BACKUP_BLESS=1 cargo test --test formats` writes the listings of a new fixture, once.

mod support;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mrs_backup::crypto::Secret;
use mrs_backup::crypto::slot::Credential;
use mrs_backup::event::StopFlag;
use mrs_backup::ops::check::{CheckOptions, ReadData, check};
use mrs_backup::repository::Repository;
use mrs_backup::store::open_store;
use support::{environment, password, restore_into, silent};

/// Every fixture that must be there.
const FIXTURES: &[&str] = &["v1/basic", "v1/deltas"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/repositories")
}

/// Attributes that nobody needs to be root for, as `name=value`.
fn attributes(path: &Path) -> String {
    let mut names = vec![0; 4096];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut found: Vec<String> = names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| name.starts_with(b"user."))
        .map(|name| {
            let mut value = vec![0; 4096];
            let len = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..])
                .expect("an attribute");
            format!("{}={}", name.escape_ascii(), value[..len].escape_ascii())
        })
        .collect();
    found.sort();
    found.join(",")
}

/// One line an entry: path, kind, mode, time, names it has, content's BLAKE3 or link target, attributes.
fn listing(root: &Path) -> String {
    let mut paths = vec![root.to_owned()];
    let mut lines = Vec::new();
    while let Some(path) = paths.pop() {
        let meta = fs::symlink_metadata(&path).expect("metadata");
        let (kind, detail) = if meta.is_dir() {
            paths.extend(
                fs::read_dir(&path).expect("a directory").map(|e| e.expect("entry").path()),
            );
            ("directory", "-".to_owned())
        } else if meta.is_symlink() {
            let target = fs::read_link(&path).expect("a link");
            ("symlink", target.as_os_str().as_bytes().escape_ascii().to_string())
        } else if meta.is_file() {
            let hash = blake3::hash(&fs::read(&path).expect("content"));
            ("file", format!("{}:{hash}", meta.len()))
        } else {
            ("other", meta.rdev().to_string())
        };
        let name = path.strip_prefix(root).expect("below the root").as_os_str().as_bytes();
        if name.is_empty() {
            continue;
        }
        let name = name.escape_ascii();
        let (mode, time, nanos) = (meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec());
        // How often a directory is linked is the file system's affair.
        let links = if meta.is_dir() { 1 } else { meta.nlink() };
        let attributes = attributes(&path);
        lines.push(format!(
            "{name}\t{kind}\t{mode:04o}\t{time}.{nanos:09}\t{links}\t{detail}\t{attributes}"
        ));
    }
    lines.sort();
    lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    })
}

#[test]
fn the_list_of_fixtures_is_the_folder() {
    let mut found = Vec::new();
    for version in fs::read_dir(folder()).expect("the folder of fixtures") {
        let version = version.expect("an entry");
        if !version.path().is_dir() {
            continue;
        }
        for fixture in fs::read_dir(version.path()).expect("a folder") {
            let (version, fixture) = (version.file_name(), fixture.expect("an entry").file_name());
            found.push(format!("{}/{}", version.to_string_lossy(), fixture.to_string_lossy()));
        }
    }
    found.sort();
    assert_eq!(found, FIXTURES);
}

#[test]
fn every_fixture_restores_as_it_was() {
    for fixture in FIXTURES {
        let folder = folder().join(fixture);
        let text = fs::read_to_string(folder.join("password")).expect("a password");
        // A copy: opening writes sessions for backups only, but a test must not touch a fixture at all.
        let scratch = tempfile::tempdir().expect("a directory");
        let store = open_store(&folder.join("repo").display().to_string()).expect("a store");
        let repository =
            Repository::open(store, &password(text.trim()), environment(None)).expect(fixture);
        repository.refresh().expect("an index");
        let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
        let report =
            check(&repository, &options, &StopFlag::new(), silent().as_ref()).expect("a check");
        assert!(report.is_clean(), "{fixture}: {:?}", report.problems);
        let listed = repository.snapshots().expect("snapshots");
        assert!(!listed.snapshots.is_empty(), "{fixture} has no snapshots");
        for (id, _) in &listed.snapshots {
            let target = scratch.path().join(id.to_hex());
            restore_into(&repository, *id, &target);
            let expected = folder.join("expected").join(format!("{}.txt", id.to_hex()));
            let found = listing(&target);
            if std::env::var_os("MRS_BACKUP_BLESS").is_some() && !expected.exists() {
                fs::create_dir_all(folder.join("expected")).expect("a folder");
                fs::write(&expected, &found).expect("a listing");
            }
            let expected = fs::read_to_string(&expected).expect("a listing of the snapshot");
            assert_eq!(found, expected, "{fixture}, snapshot {id}");
        }
        let known = fs::read_dir(folder.join("expected")).expect("listings").count();
        assert_eq!(known, listed.snapshots.len(), "{fixture}: a snapshot has vanished");
    }
}

#[test]
fn every_key_file_still_opens_its_fixture() {
    for fixture in FIXTURES {
        let folder = folder().join(fixture);
        let key = fs::read(folder.join("key")).expect("a key file");
        let store = open_store(&folder.join("repo").display().to_string()).expect("a store");
        let key = Credential::KeyFile(Secret::new(key));
        let repository = Repository::open(store, &key, environment(None)).expect(fixture);
        assert!(!repository.snapshots().expect("snapshots").snapshots.is_empty(), "{fixture}");
    }
}
