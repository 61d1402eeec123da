//! Archives of snapshots, unpacked by the system's tar.

mod support;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use mrs_backup::event::StopFlag;
use mrs_backup::ops::archive::archive;
use mrs_backup::ops::dump::DumpError;
use mrs_backup::repository::{Fetcher, Repository};
use mrs_backup::store::{MemoryStore, Store};
use support::odd::fill_odd;
use support::{assert_same_tree, backup_of, init, silent, tree};

fn archived(repository: &Repository, path: &str) -> Vec<u8> {
    let (_, snapshot) = repository.snapshots().unwrap().snapshots.pop().unwrap();
    let fetcher = Fetcher::new(repository, 32 << 20);
    let mut bytes = Vec::new();
    let stop = StopFlag::new();
    let watchers = (&stop, &*silent());
    let report = archive(&fetcher, &snapshot, path.as_bytes(), &mut bytes, watchers).unwrap();
    assert_eq!(report.bytes, bytes.len() as u64);
    assert_eq!(bytes.len() % 10_240, 0);
    assert_eq!(report.torn, 0);
    bytes
}

fn unpack(bytes: &[u8], target: &Path) {
    fs::create_dir_all(target).unwrap();
    let mut tar = Command::new("tar")
        .args(["-x", "--numeric-owner", "-p", "--xattrs", "--xattrs-include=*", "-C"])
        .arg(target)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tar");
    tar.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = tar.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // It has no need of the one, and finds the other odd, but does what it should.
    let is_known = |line: &str| line.contains("'hdrcharset'") || line.contains("implausibly old");
    assert!(output.status.success() && said.lines().all(is_known), "{said}");
}

#[test]
fn the_systems_tar_gives_back_what_was_saved() {
    let work = tempfile::tempdir().unwrap();
    let data = work.path().join("data");
    fill_odd(&data);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = init(&store, None).unwrap();
    backup_of(&repository, &data).unwrap();
    let bytes = archived(&repository, "");
    let target = work.path().join("out");
    unpack(&bytes, &target);
    assert_same_tree(&tree(&data), &tree(&target.join("data")));
    let found = |name: &str| fs::symlink_metadata(target.join("data").join(name)).unwrap();
    assert_eq!(found("first").ino(), found("log/second").ino());
    assert_eq!(found("link-a").ino(), found("link-b").ino());
    assert!(found("sparse").blocks() * 512 < 400_000, "holes are holes");
    assert_eq!(archived(&repository, ""), bytes, "the same snapshot is the same archive");
}

#[test]
fn a_part_has_the_content_of_links_that_lead_out_of_it() {
    let work = tempfile::tempdir().unwrap();
    let data = work.path().join("data");
    fill_odd(&data);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = init(&store, None).unwrap();
    backup_of(&repository, &data).unwrap();
    let target = work.path().join("out");
    unpack(&archived(&repository, "data/log"), &target);
    assert_same_tree(&tree(&data.join("log")), &tree(&target.join("data/log")));
    let one = work.path().join("one");
    unpack(&archived(&repository, "data/compose.yml"), &one);
    assert_eq!(fs::read(one.join("data/compose.yml")).unwrap(), b"services: {}\n");
}

#[test]
fn python_reads_it_too() {
    let python = std::env::var_os("MRS_BACKUP_TEST_PYTHON").expect("MRS_BACKUP_TEST_PYTHON");
    let work = tempfile::tempdir().unwrap();
    let data = work.path().join("data");
    fill_odd(&data);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = init(&store, None).unwrap();
    backup_of(&repository, &data).unwrap();
    let file = work.path().join("a.tar");
    fs::write(&file, archived(&repository, "")).unwrap();
    let script = "import sys, tarfile\n\
        t = tarfile.open(sys.argv[1])\n\
        m = {x.name: x for x in t.getmembers()}\n\
        assert m['data/sparse'].size == 9000000, m['data/sparse'].size\n\
        assert m['data/log/second'].islnk() or m['data/first'].islnk()\n\
        assert m['data/upload.bin'].uid == 3000000\n\
        print(len(t.extractfile('data/sparse').read()))\n";
    let output = Command::new(python).arg("-c").arg(script).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"9000000\n");
}

#[test]
fn a_full_disk_is_an_error() {
    let work = tempfile::tempdir().unwrap();
    let data = work.path().join("data");
    support::fill_small(&data);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = init(&store, None).unwrap();
    backup_of(&repository, &data).unwrap();
    let (_, snapshot) = repository.snapshots().unwrap().snapshots.pop().unwrap();
    let fetcher = Fetcher::new(&repository, 1 << 20);
    let mut full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let stop = StopFlag::new();
    let done = archive(&fetcher, &snapshot, b"", &mut full, (&stop, &*silent()));
    assert!(matches!(done, Err(DumpError::Output { .. })), "{done:?}");
    stop.stop();
    let done = archive(&fetcher, &snapshot, b"", &mut std::io::sink(), (&stop, &*silent()));
    assert!(done.is_err());
    let path = OsString::from("data/missing");
    let stop = StopFlag::new();
    let done = archive(&fetcher, &snapshot, path.as_bytes(), &mut full, (&stop, &*silent()));
    assert!(matches!(done, Err(DumpError::Browse(_))), "{done:?}");
}
