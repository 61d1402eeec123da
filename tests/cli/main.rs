//! The program as people and timers run it: exit codes, JSON lines, what it refuses and what it says.

mod basics;
mod browsing;
mod codes;
mod completing;
mod configured;
mod copies;
mod databases;
mod disaster;
mod doctor;
mod documented;
#[path = "../support/documents.rs"]
mod documents;
mod driver;
mod forgetting;
mod healing;
mod homes;
mod hostile;
mod interrupted;
mod json;
mod keys;
mod metrics;
mod migrating;
mod mounting;
mod nights;
mod page;
#[path = "../support/postgres.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod postgres;
mod progress;
mod restoring;
mod scheduler;
mod signals;
mod site;
mod standing;
mod telling;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mrs-backup");
const PASSWORD: &str = "correct horse battery";

/// A directory with a repository's password, state, and something to back up.
struct Place {
    dir: tempfile::TempDir,
}

/// What a run of the program left.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        place.write("password", PASSWORD.as_bytes());
        fs::create_dir_all(place.path("src/sub")).unwrap();
        place.write("src/a.txt", b"alpha\n");
        place.write("src/sub/b.txt", &vec![b'b'; 300_000]);
        place
    }

    /// With a repository.
    fn ready() -> Self {
        let place = Self::new();
        place.ok(&["init", "--kdf-memory", "8", "--label", "test"]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The program without any setting from around the test.
    fn bare(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env("MRS_BACKUP_STATE_DIR", self.path("state"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// The program with repository and password.
    fn command(&self) -> Command {
        let mut command = self.bare();
        command
            .env("MRS_BACKUP_REPOSITORY", self.path("repo"))
            .env("MRS_BACKUP_PASSWORD_FILE", self.path("password"));
        command
    }

    fn run(&self, args: &[impl AsRef<OsStr>]) -> Ran {
        Ran::of(self.command().args(args))
    }

    fn run_bare(&self, args: &[impl AsRef<OsStr>]) -> Ran {
        Ran::of(self.bare().args(args))
    }

    fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
        ran
    }

    /// Backs `src` up and gives the id.
    fn backup(&self) -> String {
        let ran = self.ok(&["backup", "src", "--json"]);
        ran.summary()["snapshot"].as_str().unwrap().to_owned()
    }

    /// Where `src/<name>` is in the tree.
    fn tree(&self, name: &str) -> String {
        self.text("src").trim_start_matches('/').to_owned() + name
    }

    /// Number of snapshots in the repository.
    fn snapshots(&self) -> Vec<serde_json::Value> {
        let lines = self.ok(&["snapshots", "--json"]).lines();
        lines.into_iter().filter(|line| line["type"] == "snapshot").collect()
    }
}

impl Ran {
    fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Every line of JSON; panics if one is none.
    fn lines(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The last line, which is the summary.
    fn summary(&self) -> serde_json::Value {
        let last = self.lines().pop().unwrap_or_else(|| panic!("no line: {self:?}"));
        assert_eq!(last["type"], "summary", "{self:?}");
        last
    }

    /// Fails with `code`, says `words` and, if that is not empty, hints at `hint`.
    fn fails(&self, code: i32, words: &str, hint: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains("error: "), "{self:?}");
        assert!(self.stderr.contains(words), "`{words}`: {self:?}");
        if !hint.is_empty() {
            let line = self.stderr.lines().find(|line| line.starts_with("  hint: "));
            assert!(line.is_some_and(|line| line.contains(hint)), "`{hint}`: {self:?}");
        }
    }
}

/// Names below `root`, for finding out whether anything changed.
fn names(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}
