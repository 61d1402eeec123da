//! Files that change while they are read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use mrs_backup::event::{Event, Observer, StopFlag};
use mrs_backup::ops::backup::{BackupOutcome, backup};
use mrs_backup::store::{MemoryStore, Store};

use crate::{Rig, support, text};

/// Does something once, when the first bytes were read, and remembers what was told.
struct WhileReading<F> {
    act: Mutex<Option<F>>,
    told: Mutex<Vec<Event>>,
}

impl<F: FnOnce() + Send> Observer for WhileReading<F> {
    fn event(&self, event: &Event) {
        if matches!(event, Event::Progress { bytes, .. } if *bytes > 0) {
            let act = self.act.lock().expect("a lock").take();
            if let Some(act) = act {
                act();
            }
        }
        self.told.lock().expect("a lock").push(event.clone());
    }
}

const BIG: usize = 16 << 20;

/// Backs up `big` and what `prepare` adds, doing `act` while `big` is read; gives what was told, too,
/// and restores into `restored`.
fn backup_while(home: &Path, act: impl FnOnce() + Send + 'static) -> (BackupOutcome, Vec<Event>) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = support::init(&store, None).expect("a repository");
    let observer = Arc::new(WhileReading { act: Mutex::new(Some(act)), told: Mutex::default() });
    let as_observer: Arc<dyn Observer> = observer.clone();
    let plan = support::plan_for(&home.join("data"));
    let outcome = backup(&repository, plan, &StopFlag::new(), &as_observer).expect("a backup");
    assert!(observer.act.lock().expect("a lock").is_none(), "it was never done");
    support::restore_into(&repository, outcome.commit.id, &home.join("restored"));
    let told = observer.told.lock().expect("a lock").clone();
    (outcome, told)
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a directory");
    fs::create_dir(home.path().join("data")).expect("a directory");
    fs::write(home.path().join("data/big"), support::noise(1, BIG)).expect("a file");
    fs::write(home.path().join("data/other"), "other").expect("a file");
    home
}

fn append(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::options().append(true).open(path).expect("a file");
    file.write_all(&support::noise(2, 5 << 20)).expect("written");
}

#[test]
fn a_file_that_grows_is_stored_as_it_was() {
    let home = home();
    let big = home.path().join("data/big");
    let (outcome, _) = backup_while(home.path(), move || append(&big));
    assert!(outcome.snapshot.is_complete, "{:?}", outcome.incomplete());
    let restored = fs::read(home.path().join("restored/data/big")).expect("a file");
    assert!(restored == support::noise(1, BIG));
}

#[test]
fn a_file_that_shrinks_is_named_and_the_snapshot_incomplete() {
    let home = home();
    let big = home.path().join("data/big");
    let (outcome, _) = backup_while(home.path(), move || {
        let file = fs::File::options().write(true).open(&big).expect("a file");
        file.set_len(1 << 20).expect("a size");
    });
    assert!(!outcome.snapshot.is_complete);
    let why = outcome.incomplete();
    assert!(why.len() == 1 && why[0].contains("data/big") && why[0].contains("shorter"), "{why:?}");
    assert_eq!(fs::read(home.path().join("restored/data/other")).expect("a file"), b"other");
}

#[test]
fn a_file_that_is_rewritten_is_named_and_the_snapshot_incomplete() {
    let home = home();
    let big = home.path().join("data/big");
    let (outcome, _) = backup_while(home.path(), move || {
        use std::os::unix::fs::FileExt;
        let file = fs::File::options().write(true).open(&big).expect("a file");
        file.write_all_at(b"changed", 15 << 20).expect("written");
    });
    let why = outcome.incomplete();
    assert!(why.len() == 1 && why[0].contains("data/big") && why[0].contains("changed"), "{why:?}");
}

#[test]
fn what_vanishes_is_told_and_the_snapshot_complete() {
    let home = home();
    let other = home.path().join("data/other");
    fs::create_dir(home.path().join("data/sub")).expect("a directory");
    let sub = home.path().join("data/sub");
    let (outcome, told) = backup_while(home.path(), move || {
        fs::remove_file(&other).expect("removed");
        fs::remove_dir(&sub).expect("removed");
    });
    assert!(outcome.snapshot.is_complete, "{:?}", outcome.incomplete());
    for item in ["data/other", "data/sub"] {
        let is_told = told.iter().any(
            |event| matches!(event, Event::Warning { item: told, message } if told == item && message.contains("gone")),
        );
        assert!(is_told, "{item}: {told:?}");
    }
}

/// What was a file when the directory was listed is a link, a fifo, a directory when it is opened.
#[test]
fn what_turns_into_something_else_is_stored_as_that() {
    let home = home();
    let data = home.path().join("data");
    fs::write(data.join("to-fifo"), "x").expect("a file");
    fs::write(data.join("to-link"), "x").expect("a file");
    let (outcome, _) = backup_while(home.path(), move || {
        for name in ["to-fifo", "to-link", "other"] {
            fs::remove_file(data.join(name)).expect("removed");
        }
        crate::tool("mkfifo", &[&text(&data.join("to-fifo"))]);
        std::os::unix::fs::symlink("/etc/passwd", data.join("to-link")).expect("a link");
        fs::create_dir(data.join("other")).expect("a directory");
        fs::write(data.join("other/inside"), "inside").expect("a file");
    });
    assert!(outcome.snapshot.is_complete, "{:?}", outcome.incomplete());
    let (mut expected, mut restored) = (
        support::tree(&home.path().join("data")),
        support::tree(&home.path().join("restored/data")),
    );
    // The directory itself was looked at before.
    assert!(expected.remove(Path::new("")).is_some() && restored.remove(Path::new("")).is_some());
    support::assert_same_tree(&expected, &restored);
}

/// As somebody who may not read everything: the rest is stored, and what is missing is named.
#[test]
fn what_may_not_be_read_is_named_and_the_rest_stored() {
    assert!(rustix::process::geteuid().is_root(), "becoming another user needs root");
    let rig = Rig::bare();
    let data = rig.path("data");
    fs::write(data.join("open"), "open").expect("a file");
    fs::write(data.join("secret"), "secret").expect("a file");
    fs::create_dir(data.join("closed")).expect("a directory");
    for name in ["secret", "closed"] {
        fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o000)).expect("a mode");
    }
    // The program itself may lie where nobody else can look.
    let program = rig.path("mrs-backup");
    fs::copy(crate::PROGRAM, &program).expect("copied");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
    fs::set_permissions(rig.path("."), fs::Permissions::from_mode(0o777)).expect("a mode");
    fs::set_permissions(rig.path("password"), fs::Permissions::from_mode(0o644)).expect("a mode");
    let run = |args: &[&str]| {
        let mut command = rig.command::<&str>(&[]);
        let mut as_nobody = std::process::Command::new("setpriv");
        as_nobody
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
            .arg(&program)
            .args(args)
            .env_clear()
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(rig.path("."));
        command.stdin(std::process::Stdio::null());
        crate::Ran::of(as_nobody.output().expect("this test needs `setpriv`"))
    };
    run(&["init", "--kdf-memory", "8"]).expect(0);
    let ran = run(&["backup", &text(&data), "--json"]).expect(3);
    let summary = ran.summary();
    assert_eq!(summary["is_complete"], false);
    let why = summary["incomplete"].to_string();
    assert!(why.contains("data/secret") && why.contains("data/closed"), "{why}");
    assert!(why.contains("Permission denied") && !why.contains("data/open"), "{why}");
    run(&["snapshots"]).expect(0).mentions(&["INCOMPLETE"]);
    let target = rig.path("restored");
    run(&["restore", "latest", &text(&target)]).expect(0);
    let restored = crate::below(&target, &data);
    assert_eq!(fs::read(restored.join("open")).expect("a file"), b"open");
    assert!(!restored.join("secret").exists());
    run(&["check", "--read-data"]).expect(0);
}
