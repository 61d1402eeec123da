//! A PostgreSQL server to throw away: made of the host's programs or of an image, reached by a socket only
//! we can enter, and destroyed with everything in it.
//!
//! Beside each server's directory lies a file that its maker holds locked, and the kernel frees that
//! lock when the maker dies. So whoever comes next knows what is dead, and destroys that and nothing
//! else: a directory without such a file, or whose file somebody holds, is left alone.

mod container;
mod programs;
mod remains;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock::Clock;
use crate::event::StopFlag;
use crate::postgres::{Image, Server, ServerError, ServerSettings};

pub use programs::{Programs, find_programs};
pub use remains::destroy_dead;

/// Longest path of a socket on Linux, its end included.
const SOCKET_PATH_LIMIT: usize = 108;
/// How long a server may take to start.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long a server may take to end when asked.
const END_LIMIT: Duration = Duration::from_secs(20);
/// What its socket is called.
const SOCKET: &str = ".s.PGSQL.5432";
/// Who owns everything in it.
pub const SUPERUSER: &str = "postgres";
/// How its cluster is made.
const INITDB: [&str; 6] =
    ["--no-sync", "--username", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C"];
/// Nothing in it has to survive anything, and nobody but us comes in: the directory of its socket is ours.
const SETTINGS: [&str; 11] = [
    "listen_addresses=",
    "port=5432",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum=off",
    "max_connections=40",
    "max_locks_per_transaction=256",
    "log_min_messages=error",
];

/// Why there is no server to throw away.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// A file or directory.
    #[error("cannot {doing} {}: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The directory is not ours alone.
    #[error("{} {reason}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No programs.
    #[error("there is no PostgreSQL server of version {major} or newer on this host: {looked}")]
    NoPrograms {
        /// Wanted.
        major: u32,
        /// Where was looked.
        looked: String,
    },
    /// As root, without another user to run it as.
    #[error("there is neither a user `postgres` nor `nobody` to run a server as: root must not")]
    NoUser,
    /// A program failed.
    #[error("`{program}` failed: {reason}")]
    Program {
        /// Which.
        program: String,
        /// What it said.
        reason: String,
    },
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Interrupted,
}

/// A user and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    uid: u32,
    gid: u32,
}

/// Whom the server runs as: not root, it refuses that. `None`: ourselves.
fn server_owner() -> Result<Option<Owner>, ScratchError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let path = PathBuf::from("/etc/passwd");
    let text = fs::read_to_string(&path).map_err(|error| ScratchError::Io {
        doing: "read",
        path,
        error,
    })?;
    let owner = |name: &str| {
        text.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let is_it = fields.len() > 3 && fields[0] == name;
            let (uid, gid) = is_it.then(|| (fields[2].parse().ok(), fields[3].parse().ok()))?;
            Some(Owner { uid: uid?, gid: gid? })
        })
    };
    owner("postgres").or_else(|| owner("nobody")).map(Some).ok_or(ScratchError::NoUser)
}

/// What a server is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maker {
    /// Programs of this host.
    Host(Programs),
    /// An image: in a container without a network.
    Image(Image),
}

/// A running server. Dropping it destroys it.
#[derive(Debug)]
pub struct ScratchServer {
    /// The server, or the client of docker that holds its container.
    child: Child,
    /// What ends a container when it is closed, also by the kernel when we are killed.
    lifeline: Option<ChildStdin>,
    /// Its directory, and the file whose lock says that we live.
    place: Place,
    maker: Maker,
    /// As the server says.
    version: String,
}

/// A server's directory with the lock beside it. Dropping it removes both.
#[derive(Debug)]
struct Place {
    directory: PathBuf,
    lock_path: PathBuf,
    lock: File,
}

impl Place {
    /// The container of this place, if it has one.
    fn container(&self) -> String {
        let name = self.directory.file_name().unwrap_or_default().to_string_lossy();
        format!("mrs-backup-{name}")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The lock's file last: without it nobody would know that the directory is ours. If something
        // stays, the next one comes back to it.
        if remains::remove(&self.directory).is_ok() {
            let _ = fs::remove_file(&self.lock_path);
        }
    }
}

/// Makes the directory below which servers live, or checks the one that is there.
fn make_base(base: &Path) -> Result<(), ScratchError> {
    let io = |doing| {
        let path = base.to_owned();
        move |error| ScratchError::Io { doing, path, error }
    };
    match base.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The server's user has to get through, but needs to see nothing.
            DirBuilder::new().recursive(true).mode(0o711).create(base).map_err(io("make"))?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
            fs::set_permissions(base, mode).map_err(io("set the mode of"))
        }
        Err(error) => Err(io("look at")(error)),
        Ok(found) => {
            let wrong = |reason: &str| ScratchError::Directory {
                path: base.to_owned(),
                reason: reason.to_owned(),
            };
            if !found.is_dir() {
                return Err(wrong("is no directory"));
            }
            if found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o022 != 0 {
                return Err(wrong("belongs to somebody else, or others may write to it"));
            }
            Ok(())
        }
    }
}

impl Place {
    /// A new place below `base`, called after `name`.
    fn make(base: &Path, name: &str, owner: Option<Owner>) -> Result<Self, ScratchError> {
        make_base(base)?;
        let directory = base.join(format!("{}{name}", remains::PREFIX));
        if directory.join("s").join(SOCKET).as_os_str().len() >= SOCKET_PATH_LIMIT {
            return Err(ScratchError::Directory {
                path: base.to_owned(),
                reason: "is too long a path for a socket in it; choose a shorter one".to_owned(),
            });
        }
        let lock_path = directory.with_extension(remains::LOCK_EXTENSION);
        let failed =
            |doing, path: &Path, error| ScratchError::Io { doing, path: path.to_owned(), error };
        let mut options = OpenOptions::new();
        let lock = options.read(true).write(true).create_new(true).mode(0o600).open(&lock_path);
        let lock = lock.map_err(|error| failed("make", &lock_path, error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| failed("lock", &lock_path, error.into()))?;
        let place = Self { directory, lock_path, lock };
        for (name, mode) in [("", 0o711), ("data", 0o700), ("s", 0o700)] {
            let path = place.directory.join(name);
            let made = DirBuilder::new().mode(mode).create(&path).and_then(|()| {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
                fs::set_permissions(&path, mode)?;
                match owner.filter(|_| !name.is_empty()) {
                    Some(owner) => chown(&path, Some(owner.uid), Some(owner.gid)),
                    None => Ok(()),
                }
            });
            made.map_err(|error| failed("make", &path, error))?;
        }
        Ok(place)
    }
}

impl ScratchServer {
    /// Starts a server below the directory `base`; `name` is a random word. What dead ones left there is
    /// destroyed first.
    pub fn start(
        base: &Path,
        name: &str,
        maker: Maker,
        clock: &dyn Clock,
        stop: &Arc<StopFlag>,
    ) -> Result<Self, ScratchError> {
        make_base(base)?;
        destroy_dead(base)?;
        let owner = match &maker {
            Maker::Host(_) => server_owner()?,
            Maker::Image(_) => None,
        };
        let place = Place::make(base, name, owner)?;
        let log_path = place.directory.join("log");
        let mut log = File::create(&log_path).map_err(|error| ScratchError::Io {
            doing: "make",
            path: log_path,
            error,
        })?;
        let (child, lifeline) = match &maker {
            Maker::Host(programs) => (start_programs(&place, programs, owner, &mut log)?, None),
            Maker::Image(image) => container::start(&place, image, &log)?,
        };
        let mut started = Self { child, lifeline, place, maker, version: String::new() };
        started.wait_until_ready(&mut log, clock, stop)?;
        Ok(started)
    }

    fn wait_until_ready(
        &mut self,
        log: &mut File,
        clock: &dyn Clock,
        stop: &Arc<StopFlag>,
    ) -> Result<(), ScratchError> {
        let begin = clock.elapsed();
        loop {
            if stop.is_stopped() {
                return Err(ScratchError::Interrupted);
            }
            let failed =
                |reason: String| ScratchError::Program { program: self.maker.name(), reason };
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(failed(format!("{status}: {}", tail(log))));
            }
            let server = self.server("start").map_err(|error| failed(error.to_string()))?;
            if let Ok(mut session) = server.connect("template1", stop) {
                let version = session.value("ask the version", "SHOW server_version");
                self.version = version.map_err(|error| failed(error.to_string()))?;
                return Ok(());
            }
            if clock.elapsed().saturating_sub(begin) > START_LIMIT {
                return Err(failed(format!("it does not get ready: {}", tail(log))));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The way to it; `run` is a name for its sessions.
    pub fn server(&self, run: &str) -> Result<Server, ServerError> {
        let programs = match &self.maker {
            Maker::Host(programs) => programs,
            Maker::Image(image) => {
                let sockets = self.place.directory.join("s");
                let container = self.place.container();
                return Server::started(image, &container, &sockets, SUPERUSER, run);
            }
        };
        let settings = ServerSettings {
            host: Some(self.place.directory.join("s").display().to_string()),
            port: Some(5432),
            user: Some(SUPERUSER.to_owned()),
            bin_dir: Some(programs.directory.clone()),
            ..ServerSettings::default()
        };
        // Nothing of the environment is meant for it.
        Server::find(&settings, run, &|_| None)
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.place.directory
    }
}

impl Drop for ScratchServer {
    fn drop(&mut self) {
        // Once it is reaped its number may be somebody else's.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        if let Maker::Image(image) = self.maker.clone() {
            drop(self.lifeline.take());
            if !self.has_ended() {
                container::remove(&image.docker, &self.place.container());
            }
        } else if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // At once, without a checkpoint: the data is thrown away.
            let _ = kill_process(pid, Signal::QUIT);
            self.has_ended();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl ScratchServer {
    /// Waits for it to end; not for ever.
    fn has_ended(&mut self) -> bool {
        for _ in 0..END_LIMIT.as_millis() / 50 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

impl Maker {
    /// What is started, for errors.
    fn name(&self) -> String {
        match self {
            Self::Host(programs) => programs.directory.join("postgres").display().to_string(),
            Self::Image(image) => format!("{} run {}", image.docker.display(), image.name),
        }
    }
}

/// Makes a cluster at `place` and starts the host's server on it.
fn start_programs(
    place: &Place,
    programs: &Programs,
    owner: Option<Owner>,
    log: &mut File,
) -> Result<Child, ScratchError> {
    let command = |program: &str| {
        let mut command = Command::new(programs.directory.join(program));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        command.current_dir("/").process_group(0).stdin(Stdio::null());
        if let Some(owner) = owner {
            command.uid(owner.uid).gid(owner.gid);
        }
        command
    };
    let mut initdb = command("initdb");
    initdb.args(INITDB).arg("--pgdata").arg(place.directory.join("data"));
    run_logged(&mut initdb, log)?;
    let mut postgres = command("postgres");
    postgres.arg("-D").arg(place.directory.join("data"));
    postgres.arg("-k").arg(place.directory.join("s"));
    for setting in SETTINGS {
        postgres.args(["-c", setting]);
    }
    let program = || programs.directory.join("postgres").display().to_string();
    start_logged(&mut postgres, log, program)
}

/// Starts a program that writes to `log`.
fn start_logged(
    command: &mut Command,
    log: &File,
    program: impl Fn() -> String,
) -> Result<Child, ScratchError> {
    let failed =
        |error: io::Error| ScratchError::Program { program: program(), reason: error.to_string() };
    let (out, err) = log.try_clone().and_then(|out| Ok((out, log.try_clone()?))).map_err(failed)?;
    command.stdout(out).stderr(err).spawn().map_err(failed)
}

fn run_logged(command: &mut Command, log: &mut File) -> Result<(), ScratchError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |reason: String| ScratchError::Program { program: program.clone(), reason };
    let out = log.try_clone().and_then(|out| Ok((out, log.try_clone()?)));
    let (out, err) = out.map_err(|error| failed(error.to_string()))?;
    let status = command.stdout(out).stderr(err).status();
    match status.map_err(|error| failed(error.to_string()))? {
        status if status.success() => Ok(()),
        status => Err(failed(format!("{status}: {}", tail(log)))),
    }
}

/// The last words of a log, on one line.
fn tail(log: &mut File) -> String {
    let mut text = Vec::new();
    let len = log.metadata().map_or(0, |found| found.len());
    let read = log
        .seek(SeekFrom::Start(len.saturating_sub(1500)))
        .and_then(|_| log.take(1500).read_to_end(&mut text));
    match read {
        Ok(0) | Err(_) => "it gave no reason".to_owned(),
        Ok(_) => {
            let text = String::from_utf8_lossy(&text);
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let text = lines.collect::<Vec<_>>().join(" / ");
            text.chars().filter(|c| !c.is_control()).collect()
        }
    }
}

#[cfg(test)]
#[path = "scratch/tests.rs"]
mod tests;
