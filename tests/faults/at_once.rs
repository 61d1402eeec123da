//! Several runs at once: nobody waits for a lock in the repository, and nothing gets lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use mrs_backup::clock::{Clock, SystemClock};
use mrs_backup::event::{Event, Observer, StopFlag};
use mrs_backup::ops::backup::{FilesInput, backup};
use mrs_backup::repository::{Environment, Repository};
use mrs_backup::source::files::WalkOptions;
use mrs_backup::store::{Fault, Faulty, LocalStore, MemoryStore, Store};

use crate::{Rig, Running, below, support, text};

fn fill(directory: &Path, seed: u64) {
    fs::create_dir_all(directory).expect("a directory");
    for number in 0..8 {
        let name = directory.join(format!("{number}.bin"));
        fs::write(name, support::noise(seed + number, 300_000)).expect("a file");
    }
    // The same in both: whoever comes second need not store it.
    fs::write(directory.join("common"), support::noise(7, 2_000_000)).expect("a file");
}

fn two_directories(is_state_shared: bool) {
    let rig = Rig::empty();
    let (left, right) = (rig.path("left"), rig.path("right"));
    fill(&left, 1000);
    fill(&right, 2000);
    for round in 0..2 {
        fs::write(left.join("today"), support::noise(round, 400_000)).expect("a file");
        fs::write(right.join("today"), support::noise(90 + round, 400_000)).expect("a file");
        let start = |directory: &Path, state: &str| {
            let mut command = rig.command(&["backup", &text(directory), "--json"]);
            command.env("MRS_BACKUP_STATE_DIR", rig.path(state));
            Running::start(command)
        };
        let running = [
            start(&left, "state"),
            start(&right, if is_state_shared { "state" } else { "other-state" }),
        ];
        for (child, directory) in running.into_iter().zip([&left, &right]) {
            let (_, ran) = child.end(Duration::from_secs(60));
            let id = ran.expect(0).summary()["snapshot"].as_str().expect("an id").to_owned();
            let target = rig.path("restored");
            rig.run(&["restore", &id, &text(&target), "--verify"]).expect(0);
            let restored = below(&target, directory);
            support::assert_same_tree(&support::tree(directory), &support::tree(&restored));
            fs::remove_dir_all(&target).expect("removed");
        }
    }
    assert_eq!(rig.snapshots().len(), 4);
    assert!(rig.objects("sessions").is_empty());
    rig.assert_clean();
}

#[test]
fn two_directories_with_a_state_directory_each() {
    two_directories(false);
}

#[test]
fn two_directories_with_one_state_directory() {
    two_directories(true);
}

#[test]
fn one_instance_is_run_once_at_a_time() {
    let rig = Rig::empty();
    fs::create_dir(rig.path("home")).expect("a directory");
    support::fill_small(&rig.path("home/files"));
    let config = format!(
        "version = 1\nstate_dir = \"{}\"\n[instance.mrs]\nhome = \"{}\"\nrepository = \"{}\"\n\
         paths = [\"files\"]\n",
        text(&rig.path("state")),
        text(&rig.path("home")),
        text(&rig.path("repo"))
    );
    fs::write(rig.path("config.toml"), config).expect("a file");
    let config = text(&rig.path("config.toml"));
    // The password command holds the first run up with the lock in its hands.
    let script = rig.path("slow");
    fs::write(&script, "#!/bin/sh\ntouch \"$HOME/started\"\nsleep 2\necho secret\n").expect("file");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).expect("a mode");
    let mut slow = rig.command(&["run", "mrs", "-c", &config]);
    slow.env_remove("MRS_BACKUP_PASSWORD_FILE").env("MRS_BACKUP_PASSWORD_COMMAND", text(&script));
    let mut slow = Running::start(slow);
    while !rig.path("started").exists() {
        assert!(slow.is_running(), "{:?}", slow.end(Duration::ZERO));
        std::thread::sleep(Duration::from_millis(10));
    }
    rig.run(&["run", "mrs", "-c", &config]).expect(11).says(&["`mrs`", "process"]);
    rig.run(&["run", "mrs", "-c", &config, "--lock-wait", "60s"]).expect(0);
    slow.end(Duration::from_secs(60)).1.expect(0);
    assert_eq!(rig.snapshots().len(), 2);
    rig.assert_clean();
}

/// An hour later: then no file counts as changed just now, and all are remembered.
#[derive(Debug)]
struct Later;

impl Clock for Later {
    fn now(&self) -> Timestamp {
        SystemClock.now() + 1.hour()
    }

    fn zone(&self) -> jiff::tz::TimeZone {
        jiff::tz::TimeZone::UTC
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed()
    }
}

fn environment(state: &Path) -> Environment {
    Environment { clock: Arc::new(Later), ..support::environment(Some(state)) }
}

fn open(store: &Arc<dyn Store>, state: &Path) -> Repository {
    let password = support::password("secret");
    Repository::open(Arc::clone(store), &password, environment(state)).expect("a repository")
}

/// Does something once, when the second source of files begins.
struct AtSecondSource<F>(Mutex<Option<F>>, AtomicBool);

impl<F: FnOnce() + Send> Observer for AtSecondSource<F> {
    fn event(&self, event: &Event) {
        if matches!(event, Event::Working { .. }) && self.1.swap(true, Ordering::SeqCst) {
            let act = self.0.lock().expect("a lock").take();
            if let Some(act) = act {
                act();
            }
        }
    }
}

/// Two runs over the same files with the same state. The second one stages what it saw and is killed
/// before it stored it; then the first one ends. What the dead one staged must not count.
#[test]
fn what_a_killed_run_remembered_is_not_believed_because_another_run_ended() {
    let home = tempfile::tempdir().expect("a directory");
    let (data, state) = (home.path().join("data"), home.path().join("state"));
    let extra = home.path().join("extra");
    fs::create_dir(&extra).expect("a directory");
    // So many directories that they are written to the database before the end.
    for number in 0..600 {
        fs::create_dir_all(data.join(number.to_string())).expect("a directory");
        fs::write(data.join(format!("{number}/file")), support::noise(number, 100)).expect("file");
    }
    let inner = Arc::new(MemoryStore::new());
    let store: Arc<dyn Store> = inner.clone();
    drop(support::init(&store, None).expect("a repository"));
    let repository = open(&store, &state);
    support::backup_of(&repository, &data).expect("the first night");

    let mut plan = support::plan_for(&data);
    plan.files.push(FilesInput {
        path: extra,
        tree_path: b"extra".to_vec(),
        options: Arc::new(WalkOptions::default()),
    });
    let (in_observer, state_of_other) = (data.clone(), state.clone());
    let killed = move || {
        for number in 0..600 {
            let bytes = support::noise(10_000 + number, 120);
            fs::write(in_observer.join(format!("{number}/file")), bytes).expect("a file");
        }
        // Its session is written (put and sync), then the first pack is not.
        let faulty: Arc<dyn Store> =
            Arc::new(Faulty::new(inner, vec![Fault::KillBefore { call: 2 }]));
        let other = open(&faulty, &state_of_other);
        support::backup_of(&other, &in_observer).expect_err("it is killed");
    };
    let observer: Arc<dyn Observer> =
        Arc::new(AtSecondSource(Mutex::new(Some(killed)), AtomicBool::new(false)));
    backup(&repository, plan, &StopFlag::new(), &observer).expect("the run that lives on");
    drop(repository);

    let repository = open(&store, &state);
    let last = support::backup_of(&repository, &data).expect("the next run");
    assert_eq!(last.counts.unchanged_files, 0, "all files changed since they were stored");
    let target = home.path().join("restored");
    support::restore_into(&repository, last.commit.id, &target);
    support::assert_same_tree(&support::tree(&data), &support::tree(&target.join("data")));
}

/// A temporary file older than a day is of a writer that is dead; a younger one may be written to.
#[test]
fn old_temporary_files_are_removed_by_the_next_backup() {
    let rig = Rig::filled();
    let pack = rig.objects("packs").pop().expect("a pack");
    let stray = |nonce: &str, hours: u64| {
        let path = format!("{}.{nonce}.tmp", text(&pack));
        let file = fs::File::create(&path).expect("a file");
        file.set_len(5000).expect("a size");
        let time = std::time::SystemTime::now() - Duration::from_secs(hours * 3600);
        file.set_modified(time).expect("a time");
        std::path::PathBuf::from(path)
    };
    let (old, young) = (stray("0123456789abcdef", 25), stray("1123456789abcdef", 23));
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(rig.path("repo")));
    let listed = mrs_backup::store::list_all(store.as_ref(), mrs_backup::store::ObjectKind::Pack);
    assert_eq!(listed.expect("a listing").len() + 2, rig.objects("packs").len());
    rig.assert_clean();
    rig.backup();
    assert!(!old.exists() && young.exists());
    rig.assert_clean();
}
