//! The real program where things go wrong: strange repositories, full disks, kills, signals, and
//! files that change while they are read.
//!
//! Some of it needs root (mounts, devices, other users): without, these tests fail and say so.

#[path = "../support/mod.rs"]
mod support;

mod at_once;
mod disk_full;
mod flipped;
mod index_file;
mod killed;
mod limits;
mod metadata;
mod moving;
mod opening;
mod signals;
mod strange_names;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mrs_backup::store::{LocalStore, Store};
use rustix::process::{Pid, Signal};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mrs-backup");

/// A home with a repository, its password, a state directory and data.
pub struct Rig {
    home: tempfile::TempDir,
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    fn of(output: std::process::Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let ran =
            Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
        assert!(!ran.err.contains("panicked"), "{ran:#?}");
        ran
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// One line says `error:` with all these words.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        let lines: Vec<&str> =
            self.err.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(lines.len(), 1, "{self:#?}");
        for word in words {
            assert!(lines[0].contains(word), "no `{word}` in {self:#?}");
        }
        self
    }

    /// Somewhere in what was written.
    #[track_caller]
    pub fn mentions(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.out.contains(word) || self.err.contains(word), "no `{word}` in {self:#?}");
        }
        self
    }

    /// The last JSON line.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let last = self.out.lines().last().unwrap_or_default();
        let value: Value =
            serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        assert_eq!(value["type"], "summary", "{self:#?}");
        value
    }
}

impl Rig {
    /// Without a repository.
    pub fn bare() -> Self {
        let rig = Self { home: tempfile::tempdir().expect("a directory") };
        fs::write(rig.path("password"), "secret\n").expect("a password");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(rig.path("password"), mode).expect("a mode");
        fs::create_dir(rig.path("data")).expect("a directory");
        rig
    }

    /// With an empty repository of small packs.
    pub fn empty() -> Self {
        let rig = Self::bare();
        rig.init(&rig.path("repo"));
        rig
    }

    /// With a repository that has one snapshot of a small tree.
    pub fn filled() -> Self {
        let rig = Self::empty();
        support::fill_small(&rig.path("data"));
        rig.backup();
        rig
    }

    /// Makes a repository with packs of 1 MiB and a cheap password.
    pub fn init(&self, place: &Path) {
        let store: Arc<dyn Store> = Arc::new(LocalStore::new(place.to_owned()));
        support::init(&store, None).expect("a repository");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The program with repository, password and state directory, and nothing else from around.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("TMPDIR", std::env::temp_dir())
            .env("MRS_BACKUP_REPOSITORY", self.path("repo"))
            .env("MRS_BACKUP_PASSWORD_FILE", self.path("password"))
            .env("MRS_BACKUP_STATE_DIR", self.path("state"))
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .args(args);
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        Ran::of(self.command(args).output().expect("the program runs"))
    }

    /// Backs up `data`; gives the summary.
    #[track_caller]
    pub fn backup(&self) -> Value {
        let path = self.path("data");
        self.run(&[OsStr::new("backup"), path.as_os_str(), OsStr::new("--json")])
            .expect(0)
            .summary()
    }

    /// What `check --read-data` finds is nothing.
    #[track_caller]
    pub fn assert_clean(&self) {
        self.run(&["check", "--read-data"]).expect(0);
    }

    /// Restores `snapshot` into a new directory; gives where `data` is in it.
    #[track_caller]
    pub fn restore(&self, snapshot: &str) -> (tempfile::TempDir, PathBuf) {
        let target = tempfile::tempdir_in(self.home.path()).expect("a directory");
        let place = target.path().display().to_string();
        self.run(&["restore", snapshot, &place, "--verify"]).expect(0);
        let data = below(target.path(), &self.path("data"));
        (target, data)
    }

    /// Restores `snapshot`, which is `data` as it is now.
    #[track_caller]
    pub fn assert_restores(&self, snapshot: &str) {
        let (_target, restored) = self.restore(snapshot);
        support::assert_same_tree(&support::tree(&self.path("data")), &support::tree(&restored));
    }

    /// Ids of the snapshots and whether they are complete, as `snapshots` lists them.
    #[track_caller]
    pub fn snapshots(&self) -> Vec<(String, bool)> {
        let ran = self.run(&["snapshots", "--json"]).expect(0);
        ran.out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .filter(|value| value["type"] == "snapshot")
            .map(|value| {
                let id = value["id"].as_str().expect("an id").to_owned();
                (id, value["is_complete"].as_bool().expect("a bool"))
            })
            .collect()
    }

    /// The files of the repository below `kind`, by path.
    pub fn objects(&self, kind: &str) -> Vec<PathBuf> {
        files(&self.path("repo").join(kind))
    }
}

/// Where `path`, which was backed up, lies in a restored tree.
pub fn below(target: &Path, path: &Path) -> PathBuf {
    target.join(path.strip_prefix("/").expect("an absolute path"))
}

/// All files below a directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    support::tree(directory)
        .into_keys()
        .map(|path| directory.join(path))
        .filter(|path| path.is_file())
        .collect()
}

/// What a directory holds, to see that nothing was written. No times: reading is allowed.
pub fn contents(directory: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    if !directory.is_dir() {
        return BTreeMap::from([(directory.to_owned(), fs::read(directory).ok())]);
    }
    support::tree(directory)
        .into_keys()
        .map(|path| {
            let bytes = fs::read(directory.join(&path)).ok();
            (path, bytes)
        })
        .collect()
}

/// Flips a bit in the middle of a file.
pub fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("an object");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("an object");
}

/// Path of an object below the repository, as messages name it.
pub fn object_name(rig: &Rig, path: &Path) -> String {
    path.strip_prefix(rig.path("repo")).expect("below the repository").display().to_string()
}

/// A process that is killed, by its own id, should the test end before it.
pub struct Running(Child);

impl Running {
    pub fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("the program starts"))
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a process");
        rustix::process::kill_process(pid, signal).expect("a signal");
    }

    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("a status").is_none()
    }

    /// Waits; what it wrote must fit the pipes.
    pub fn end(mut self, within: Duration) -> (Option<i32>, Ran) {
        use std::io::Read;
        let start = Instant::now();
        while self.is_running() {
            assert!(start.elapsed() < within, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        let (mut out, mut err) = (String::new(), String::new());
        let pipes = (self.0.stdout.take(), self.0.stderr.take());
        pipes.0.expect("a pipe").read_to_string(&mut out).expect("text");
        pipes.1.expect("a pipe").read_to_string(&mut err).expect("text");
        let status = self.0.wait().expect("a status");
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert!(!err.contains("panicked"), "{err}");
        (signal, Ran { code: status.code(), out, err })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A file system in memory, unmounted at the end.
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    pub fn mount(place: PathBuf, size: &str) -> Self {
        assert!(rustix::process::geteuid().is_root(), "mounting needs root");
        fs::create_dir_all(&place).expect("a directory");
        tool("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", &text(&place)]);
        Self(place)
    }

    pub fn resize(&self, size: &str) {
        tool("mount", &["-o", &format!("remount,size={size}"), &text(&self.0)]);
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily, so that a file left open by a failed test does not keep it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub fn text(path: &Path) -> String {
    path.to_str().expect("a path that is text").to_owned()
}

/// Runs a tool that has to be there and has to succeed.
#[track_caller]
pub fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("this test needs `{program}`: {error}"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
