//! Writers, restorers, checkers, forgetters and two prunes on one repository, each a process of its own
//! (this program, started again with a role), while they are killed, stopped and woken up, and their
//! clocks are two days off either way. The grace time and the life of a session are a few seconds of
//! the store's own time.
//!
//! Whatever happens, a snapshot that is listed as complete restores, and in the end nothing is left but what
//! the snapshots need. The seed is printed; `STRESS_SEED` repeats a run, `STRESS_SECONDS` says how long it lasts.

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mrs_backup::clock::{Clock, SystemClock};
use mrs_backup::crypto::SystemRandom;
use mrs_backup::event::{Silent, StopFlag};
use mrs_backup::ops::check::{CheckOptions, ReadData, check};
use mrs_backup::ops::forget::{ForgetNote, forget_snapshots};
use mrs_backup::ops::prune::{PruneOptions, Pruned, prune};
use mrs_backup::repository::{Environment, IngestOptions, Repository, RepositoryError};
use mrs_backup::store::{
    ByteRange, LocalStore, Location, ObjectInfo, ObjectKind, ObjectName, Store, StoreError, Survey,
};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal};

const GRACE: Duration = Duration::from_millis(1500);
const EXPIRY: Duration = Duration::from_secs(4);
/// Longest sleep of a stopped process: past its session's life.
const NAP: Duration = Duration::from_secs(6);

/// The system's clock, so many seconds off.
#[derive(Debug)]
struct Skewed(i64);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        SystemClock.now() + jiff::SignedDuration::from_secs(self.0)
    }

    fn zone(&self) -> jiff::tz::TimeZone {
        jiff::tz::TimeZone::UTC
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed()
    }
}

/// Lists nothing younger than this, whoever wrote it.
#[derive(Debug)]
struct Late {
    inner: LocalStore,
    by: Duration,
}

impl Store for Late {
    fn location(&self) -> &Location {
        self.inner.location()
    }
    fn connections(&self) -> NonZeroUsize {
        self.inner.connections()
    }
    fn create(&self) -> Result<(), StoreError> {
        self.inner.create()
    }
    fn survey(&self) -> Result<Survey, StoreError> {
        self.inner.survey()
    }
    fn put(&self, name: &ObjectName, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.inner.put(name, parts)
    }
    fn get(&self, name: &ObjectName, range: ByteRange) -> Result<Vec<u8>, StoreError> {
        self.inner.get(name, range)
    }
    fn size(&self, name: &ObjectName) -> Result<u64, StoreError> {
        self.inner.size(name)
    }
    fn list(
        &self,
        kind: ObjectKind,
        visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        // The protocol needs late listings of sessions and snapshots; a rename keeps its file's time.
        let is_late = matches!(kind, ObjectKind::Session | ObjectKind::Snapshot);
        let now = SystemClock.now();
        self.inner.list(kind, &mut |info| {
            let age = info.modified.map(|written| now.duration_since(written));
            let is_young = age.is_some_and(|age| age.unsigned_abs() < self.by);
            if is_late && is_young { ControlFlow::Continue(()) } else { visit(info) }
        })
    }
    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.inner.delete(name)
    }
    fn publish(&self, staged: &ObjectName, target: &ObjectName) -> Result<(), StoreError> {
        self.inner.publish(staged, target)
    }
    fn sync(&self) -> Result<(), StoreError> {
        self.inner.sync()
    }
}

/// What a worker is told in its environment.
struct Place {
    home: PathBuf,
    late: Duration,
}

impl Place {
    fn open(&self, worker: &str, skew: i64) -> Repository {
        let root = self.home.join("repo");
        let inner = LocalStore::new(root);
        let store: Arc<dyn Store> = match self.late.is_zero() {
            true => Arc::new(inner),
            false => Arc::new(Late { inner, by: self.late }),
        };
        let environment = Environment {
            clock: Arc::new(Skewed(skew)),
            random: Arc::new(SystemRandom),
            host: worker.to_owned(),
            state_dir: Some(self.home.join("state").join(worker)),
        };
        Repository::open(store, &support::password("secret"), environment).expect("it opens")
    }
}

fn prune_options() -> PruneOptions {
    let ingest = IngestOptions { sealers: NonZeroUsize::MIN, ..IngestOptions::default() };
    PruneOptions { grace: GRACE, expiry: EXPIRY, ingest, ..PruneOptions::default() }
}

/// What may go wrong with somebody who was stopped for too long, or met somebody else's deletion.
fn is_excusable(error: &RepositoryError) -> bool {
    use mrs_backup::store::StoreErrorKind::NotFound;
    match error {
        RepositoryError::SessionExpired | RepositoryError::ChunksLost { .. } => true,
        RepositoryError::Store(error) => error.kind == NotFound,
        // A reader that was stopped while packs went: it reads the index again the next time.
        RepositoryError::MissingChunk { .. } | RepositoryError::UnreadableChunk { .. } => true,
        RepositoryError::Unprunable { .. } => true,
        RepositoryError::Internal(reason) => reason.contains("does not list"),
        _ => false,
    }
}

/// A worker's life: runs until it is killed, or the file `stop` appears.
fn work(role: &str, number: u64, seed: u64, place: &Place) {
    let name = format!("{role}{number}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let skew = [-2 * 86_400, 0, 2 * 86_400][random.random_range(0..3)];
    let repository = place.open(&name, skew);
    let data = place.home.join(format!("data-{name}"));
    let stop = StopFlag::new();
    while !place.home.join("stop").exists() {
        let done = match role {
            "write" => write(&repository, &data, &mut random, &stop),
            "forget" => forget(&repository, &mut random),
            "prune" => prune(&repository, &prune_options(), &stop, &Silent, |_| Ok(true)).map(drop),
            "restore" => restore(&repository, &place.home, &name, &mut random),
            _ => look(&repository, &stop),
        };
        if let Err(error) = done {
            assert!(is_excusable(&error), "{name}: {error}");
        }
        let pause = random.random_range(0..200);
        std::thread::sleep(Duration::from_millis(pause));
    }
}

fn write(
    repository: &Repository,
    data: &Path,
    random: &mut ChaCha8Rng,
    stop: &StopFlag,
) -> Result<(), RepositoryError> {
    fs::create_dir_all(data).expect("a directory");
    // Few different contents, so that writers meet each other's and the pruned ones come back.
    for _ in 0..random.random_range(1..4) {
        let content = random.random_range(0..12_u64);
        let file = data.join(format!("f{}", random.random_range(0..5)));
        let len = 3000 + 20_000 * (content as usize % 4);
        let bytes = if content % 2 == 0 {
            support::noise(content, len)
        } else {
            support::text(content, len)
        };
        fs::write(file, bytes).expect("a file");
    }
    let mut plan = support::plan_for(data);
    plan.ingest = prune_options().ingest;
    match mrs_backup::ops::backup::backup(repository, plan, stop, &support::silent()) {
        Ok(_) => Ok(()),
        Err(mrs_backup::ops::backup::BackupError::Repository(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

fn forget(repository: &Repository, random: &mut ChaCha8Rng) -> Result<(), RepositoryError> {
    std::thread::sleep(Duration::from_millis(300));
    let snapshots = repository.snapshots()?.snapshots;
    if snapshots.len() > 6 {
        let (id, _) = snapshots[random.random_range(0..snapshots.len() - 1)];
        forget_snapshots(repository, &[id], &ForgetNote::default(), &Silent)?;
    }
    Ok(())
}

/// Restores one snapshot. If it is still listed afterwards, it must have been whole.
fn restore(
    repository: &Repository,
    home: &Path,
    name: &str,
    random: &mut ChaCha8Rng,
) -> Result<(), RepositoryError> {
    use mrs_backup::ops::restore::{RestoreOptions, apply, plan};
    repository.refresh()?;
    let mut snapshots = repository.snapshots()?.snapshots;
    if snapshots.is_empty() {
        return Ok(());
    }
    let (id, snapshot) = snapshots.swap_remove(random.random_range(0..snapshots.len()));
    let target = home.join(format!("restored-{name}"));
    let _ = fs::remove_dir_all(&target);
    let options = RestoreOptions { verify: true, ..RestoreOptions::default() };
    let stop = StopFlag::new();
    let started = Instant::now();
    let outcome = plan(repository, id, snapshot, &target, options, &stop)
        .and_then(|plan| apply(repository, &plan, &stop, &support::silent()));
    let is_whole = outcome.as_ref().is_ok_and(|outcome| outcome.failed.is_empty());
    // Whoever takes longer than the grace time may lose what was stored elsewhere meanwhile.
    if !is_whole && started.elapsed() < GRACE / 2 {
        let still_there = repository.snapshots()?.snapshots.iter().any(|(other, _)| *other == id);
        assert!(!still_there, "{id} does not restore: {outcome:?}");
    }
    Ok(())
}

fn look(repository: &Repository, stop: &StopFlag) -> Result<(), RepositoryError> {
    let options = CheckOptions::default();
    check(repository, &options, stop, &Silent).map(drop)
}

/// One process.
struct Worker {
    role: &'static str,
    number: u64,
    child: Child,
    wakes: Option<Instant>,
}

impl Worker {
    fn start(role: &'static str, number: u64, seed: u64, home: &Path, late: Duration) -> Self {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(home.join(format!("log-{role}{number}")))
            .expect("a log");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "a_worker_of_the_stress_test", "--nocapture"])
            .env("STRESS_ROLE", role)
            .env("STRESS_NUMBER", number.to_string())
            .env("STRESS_WORKER_SEED", seed.to_string())
            .env("STRESS_HOME", home)
            .env("STRESS_LATE_MS", late.as_millis().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("a process");
        Self { role, number, child, wakes: None }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process");
        let _ = rustix::process::kill_process(pid, signal);
    }

    fn log(&self, home: &Path) -> String {
        fs::read_to_string(home.join(format!("log-{}{}", self.role, self.number)))
            .unwrap_or_default()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test by itself: what the processes of the others run. Without a role it has nothing to do.
#[test]
fn a_worker_of_the_stress_test() {
    let Ok(role) = std::env::var("STRESS_ROLE") else { return };
    let number = |name| std::env::var(name).expect("a value").parse().expect("a number");
    let home = PathBuf::from(std::env::var_os("STRESS_HOME").expect("a home"));
    let place = Place { home, late: Duration::from_millis(number("STRESS_LATE_MS")) };
    work(&role, number("STRESS_NUMBER"), number("STRESS_WORKER_SEED"), &place);
}

const ROLES: [(&str, u64); 10] = [
    ("write", 0),
    ("write", 1),
    ("write", 2),
    ("prune", 0),
    ("prune", 1),
    ("forget", 0),
    ("restore", 0),
    ("restore", 1),
    ("check", 0),
    ("check", 1),
];

/// How long the long tests take where there are some; the short ones where not.
fn seconds(default: u64) -> Duration {
    let given = std::env::var("STRESS_SECONDS").ok().map(|text| text.parse().expect("a number"));
    Duration::from_secs(given.unwrap_or(default))
}

/// Two of them, at once: two minutes of stress in one.
fn a_minute() -> Duration {
    if cfg!(feature = "long-tests") { Duration::from_secs(60) } else { seconds(60) }
}

/// Lets everybody work for a while, kills some, stops some, and looks at what is left.
fn stress(name: &str, length: Duration, late: Duration, naps: bool) {
    let seed = std::env::var("STRESS_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| SystemClock.now().as_nanosecond() as u64);
    println!("{name}: STRESS_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let home = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(home.path().join("repo")));
    drop(support::init(&store, None).expect("a repository"));
    let start = |role, number, random: &mut ChaCha8Rng| {
        Worker::start(role, number, random.random(), home.path(), late)
    };
    let mut workers: Vec<Worker> =
        ROLES.iter().map(|(role, number)| start(*role, *number, &mut random)).collect();
    let (mut kills, mut stops) = (0, 0);
    let end = Instant::now() + length;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(random.random_range(50..400)));
        for worker in &mut workers {
            if worker.wakes.is_some_and(|time| Instant::now() >= time) {
                worker.signal(Signal::CONT);
                worker.wakes = None;
            }
            if let Some(status) = worker.child.try_wait().expect("a status") {
                let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
                assert!(killed, "seed {seed}: {status}: {}", worker.log(home.path()));
                *worker = start(worker.role, worker.number, &mut random);
            }
        }
        let chosen = random.random_range(0..workers.len());
        let worker = &mut workers[chosen];
        if worker.wakes.is_some() {
            continue;
        }
        if naps && random.random_range(0..4) == 0 {
            let nap = NAP.mul_f64(random.random_range(0.1..1.0));
            worker.signal(Signal::STOP);
            worker.wakes = Some(Instant::now() + nap);
            stops += 1;
        } else if random.random_range(0..3) == 0 {
            worker.signal(Signal::KILL);
            kills += 1;
        }
    }
    for worker in &workers {
        worker.signal(Signal::CONT);
    }
    fs::write(home.path().join("stop"), b"").expect("a file");
    let last = Instant::now() + Duration::from_secs(60);
    for worker in &mut workers {
        while worker.child.try_wait().expect("a status").is_none() {
            assert!(Instant::now() < last, "seed {seed}: {} does not end", worker.role);
            std::thread::sleep(Duration::from_millis(20));
        }
        let status = worker.child.wait().expect("a status");
        let is_killed = std::os::unix::process::ExitStatusExt::signal(&status).is_some();
        let log = worker.log(home.path());
        assert!(status.success() || is_killed, "seed {seed}: {}: {log}", worker.role);
    }
    judge(seed, &Place { home: home.path().to_owned(), late: Duration::ZERO });
    println!("{name}: {kills} killed, {stops} stopped");
    assert!(kills > 0 && (stops > 0 || !naps));
}

/// Everything listed is whole, before and after the garbage is freed; and then nothing but it is left.
fn judge(seed: u64, place: &Place) {
    let repository = place.open("judge", 0);
    let whole = |when: &str| {
        let options = CheckOptions { read_data: ReadData::All, ..CheckOptions::default() };
        let report =
            check(&repository, &options, &StopFlag::new(), &Silent).expect("a check goes on");
        assert!(report.affected.is_empty(), "seed {seed}, {when}: {report:#?}");
        assert_eq!(report.errors, 0, "seed {seed}, {when}: {report:#?}");
        report.counts.snapshots
    };
    let snapshots = whole("when all had stopped");
    assert!(snapshots > 0, "seed {seed}: nobody ever finished a backup");
    let mut summary = None;
    for _ in 0..6 {
        std::thread::sleep(EXPIRY.max(GRACE) + Duration::from_millis(100));
        let pruned = prune(&repository, &prune_options(), &StopFlag::new(), &Silent, |_| {
            Ok::<_, RepositoryError>(true)
        });
        let Ok(Pruned::Done(done, _)) = pruned else { panic!("seed {seed}: {pruned:?}") };
        let is_done = done.is_nothing() && done.waiting.is_empty() && done.spared_packs == 0;
        summary = Some(done);
        if is_done {
            break;
        }
    }
    let summary = summary.expect("a prune ran");
    assert!(summary.is_nothing() && summary.young_packs == 0, "seed {seed}: {summary:#?}");
    assert_eq!(whole("after the prunes"), snapshots, "seed {seed}");
    let left = |kind| {
        let mut count = 0;
        let visit = &mut |_| {
            count += 1;
            ControlFlow::Continue(())
        };
        repository.store().list(kind, visit).expect("a listing");
        count
    };
    assert_eq!((left(ObjectKind::Condemned), left(ObjectKind::Session)), (0, 0), "seed {seed}");
    let unused = summary.unused_bytes;
    assert!(unused * 19 <= summary.used_bytes.max(19), "seed {seed}: {summary:#?}");
}

#[test]
fn killed_stopped_and_with_wrong_clocks_nobody_loses_a_snapshot() {
    stress("stress", a_minute(), Duration::ZERO, true);
}

/// Without sleepers: where listings are late a rename is no fence (docs/protocol.md).
#[test]
fn late_listings_lose_no_snapshot() {
    stress("late listings", a_minute(), Duration::from_millis(120), false);
}

#[test]
#[cfg(feature = "long-tests")] // two hours, or STRESS_SECONDS
fn hours_of_it_lose_no_snapshot() {
    stress("long stress", seconds(7200), Duration::ZERO, true);
}

#[test]
#[cfg(feature = "long-tests")] // at the same time
fn hours_of_late_listings_lose_no_snapshot() {
    stress("long late listings", seconds(7200), Duration::from_millis(120), false);
}
