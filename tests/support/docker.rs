//! A docker engine of our own to throw away, with an image of PostgreSQL made of the host's programs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::postgres::{installations, run};

/// Name of the image.
pub const IMAGE: &str = "mrs-backup-test-postgres";
/// The container's first process: makes a cluster as the official image does, and runs it.
const ENTRY: &str = r#"#!/bin/sh
set -e
bin=$(echo /usr/lib/postgresql/*/bin)
"$bin/initdb" --no-sync -U postgres -A trust -E UTF8 --locale=C -D /tmp/data >/dev/null
printf 'local all all trust\nhost all all 127.0.0.1/32 trust\nhost all all all scram-sha-256\n' >/tmp/data/pg_hba.conf
exec "$bin/postgres" -D /tmp/data -F -h '*' -k /var/run/postgresql
"#;

/// A running engine; it and all its containers end when it is dropped.
pub struct Docker {
    daemon: Child,
    directory: TempDir,
}

impl Docker {
    /// Starts an engine and imports the image of PostgreSQL. Fails where that is not possible.
    pub fn start() -> Self {
        let started = Self::engine();
        started.import();
        started
    }

    /// Starts an engine that has nothing yet.
    pub fn engine() -> Self {
        let directory = tempfile::Builder::new().prefix("mrs-docker-").tempdir_in("/tmp").unwrap();
        let at = |name: &str| directory.path().join(name);
        let log = fs::File::create(at("log")).unwrap();
        let mut command = Command::new("dockerd");
        // No rules of the host's firewall, no bridge that another engine might share.
        command.args(["--iptables=false", "--ip-forward=false", "--bridge=none"]);
        // Several engines may run at once, and networks are the machine's.
        static ENGINES: AtomicU32 = AtomicU32::new(0);
        let number = ENGINES.fetch_add(64, Ordering::Relaxed) % 256;
        let pool = format!("base=10.214.{}.{number}/26,size=29", std::process::id() % 250);
        command.arg("--default-address-pool").arg(pool);
        command.arg("--data-root").arg(at("data")).arg("--exec-root").arg(at("exec"));
        command.arg("--pidfile").arg(at("pid")).arg("-H").arg(socket(directory.path()));
        let daemon =
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        let daemon = daemon.expect("this test needs dockerd: apt-get install docker.io, and root");
        let started = Self { daemon, directory };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !started.command().args(["info"]).output().is_ok_and(|output| output.status.success())
        {
            let log =
                || fs::read_to_string(started.directory.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the docker engine does not get ready\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        started
    }

    /// Where the engine listens, as `DOCKER_HOST` has it.
    pub fn host(&self) -> String {
        socket(self.directory.path())
    }

    /// Docker's client, talking to this engine.
    pub fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.host()).env_remove("DOCKER_CONTEXT");
        command
    }

    /// A program that is docker's client talking to this engine.
    pub fn client(&self) -> PathBuf {
        let path = self.directory.path().join("client");
        if !path.exists() {
            let script = format!("#!/bin/sh\nDOCKER_HOST='{}' exec docker \"$@\"\n", self.host());
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        path
    }

    /// Runs docker's client and gives what it says.
    pub fn run(&self, arguments: &[&str]) -> String {
        run(self.command().args(arguments)).trim().to_owned()
    }

    /// Starts a container of the compose service `service`, which was started in `home`, with further
    /// `options`; gives its id once the server in it answers.
    pub fn postgres(&self, service: &str, home: &Path, options: &[&str]) -> String {
        let labels = [
            format!("com.docker.compose.service={service}"),
            format!("com.docker.compose.project.working_dir={}", home.display()),
            format!("com.docker.compose.project={service}-project"),
            "com.docker.compose.oneoff=False".to_owned(),
        ];
        let mut command = self.command();
        command.args(["run", "--detach", "--user", "postgres"]);
        for label in labels {
            command.arg("--label").arg(label);
        }
        let id = run(command.args(options).arg(IMAGE)).trim().to_owned();
        let deadline = Instant::now() + Duration::from_secs(60);
        let ready = || {
            let mut question = self.psql_command(&id, "postgres", "SELECT 1");
            question.output().is_ok_and(|output| output.status.success())
        };
        while !ready() {
            let log = || self.run(&["logs", &id]);
            assert!(Instant::now() < deadline, "the server in the container: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        id
    }

    fn psql_command(&self, id: &str, database: &str, sql: &str) -> Command {
        let mut command = self.command();
        command.args(["exec", id, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres"]);
        command.args(["-d", database, "-c", sql]);
        command
    }

    /// Runs SQL in a container.
    pub fn psql(&self, id: &str, database: &str, sql: &str) -> String {
        run(&mut self.psql_command(id, database, sql)).trim_end().to_owned()
    }

    /// Makes an image `name` of busybox and `files` (path, content; those below `bin` can be run).
    pub fn busybox_image(&self, name: &str, files: &[(&str, &str)], changes: &[&str]) {
        let tree =
            tempfile::Builder::new().prefix("tree-").tempdir_in(self.directory.path()).unwrap();
        let busybox = Path::new("/bin/busybox");
        assert!(busybox.exists(), "this test needs apt-get install busybox-static");
        for directory in ["bin", "etc", "tmp", "dev", "proc", "sys", "data"] {
            fs::create_dir_all(tree.path().join(directory)).unwrap();
        }
        fs::copy(busybox, tree.path().join("bin/busybox")).unwrap();
        for applet in ["sh", "cat", "sleep", "echo", "grep", "httpd", "true", "mkdir", "date", "ls"]
        {
            symlink("busybox", tree.path().join("bin").join(applet)).unwrap();
        }
        for (path, content) in files {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).unwrap();
            fs::write(&path, content).unwrap();
            let mode = if path.starts_with(tree.path().join("bin")) { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let archive = tree.path().with_extension("tar");
        run(Command::new("tar").arg("-C").arg(tree.path()).arg("-cf").arg(&archive).arg("."));
        let mut import = self.command();
        import.arg("import");
        for change in changes.iter().chain(&["ENV PATH=/bin"]) {
            import.args(["--change", change]);
        }
        run(import.arg(&archive).arg(name));
        fs::remove_file(&archive).unwrap();
    }

    /// An image of the host's PostgreSQL, a shell and what they need, which is made in seconds.
    fn import(&self) {
        let tree = self.directory.path().join("tree");
        for directory in
            ["bin", "usr/bin", "etc", "tmp", "var/run/postgresql", "dev", "proc", "sys"]
        {
            fs::create_dir_all(tree.join(directory)).unwrap();
        }
        for directory in ["tmp", "var/run/postgresql"] {
            fs::set_permissions(tree.join(directory), fs::Permissions::from_mode(0o777)).unwrap();
        }
        let passwd = "root:x:0:0::/:/bin/sh\npostgres:x:999:999::/tmp:/bin/sh\n";
        fs::write(tree.join("etc/passwd"), passwd).unwrap();
        fs::write(tree.join("etc/group"), "root:x:0:\npostgres:x:999:\n").unwrap();
        let busybox = Path::new("/bin/busybox");
        assert!(busybox.exists(), "this test needs apt-get install busybox-static");
        fs::copy(busybox, tree.join("bin/busybox")).unwrap();
        for name in
            ["sh", "cat", "kill", "sleep", "printf", "echo", "ps", "rm", "head", "mktemp", "dd"]
        {
            symlink("busybox", tree.join("bin").join(name)).unwrap();
        }
        let bin = &installations()[0];
        let lib = bin.parent().expect("a parent").to_owned();
        let version = lib.file_name().expect("a version").to_owned();
        let share = Path::new("/usr/share/postgresql").join(&version);
        for directory in [lib.as_path(), &share] {
            let target = tree.join(directory.strip_prefix("/").expect("absolute"));
            fs::create_dir_all(target.parent().expect("a parent")).unwrap();
            run(Command::new("cp").arg("-a").arg(directory).arg(&target));
        }
        let mut programs: Vec<PathBuf> = vec!["/bin/bash".into()];
        programs.extend(fs::read_dir(bin).unwrap().map(|entry| entry.unwrap().path()));
        programs.extend(fs::read_dir(lib.join("lib")).unwrap().map(|entry| entry.unwrap().path()));
        let mut needed = BTreeSet::from(["/bin/bash".to_owned()]);
        for program in programs.iter().filter(|program| program.is_file()) {
            let output = Command::new("ldd").arg(program).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            needed
                .extend(text.split_whitespace().filter(|w| w.starts_with('/')).map(str::to_owned));
        }
        for file in needed {
            let target = tree.join(file.trim_start_matches('/'));
            fs::create_dir_all(target.parent().expect("a parent")).unwrap();
            fs::copy(&file, target).unwrap();
        }
        for program in fs::read_dir(bin).unwrap().map(|entry| entry.unwrap().path()) {
            let name = program.file_name().expect("a name");
            symlink(&program, tree.join("usr/bin").join(name)).unwrap();
        }
        let entry = tree.join("bin/entry");
        fs::write(&entry, ENTRY).unwrap();
        fs::set_permissions(&entry, fs::Permissions::from_mode(0o755)).unwrap();
        let archive = self.directory.path().join("image.tar");
        run(Command::new("tar").arg("-C").arg(&tree).args(["-cf"]).arg(&archive).arg("."));
        let change = "CMD [\"/bin/entry\"]";
        let path = "ENV PATH=/usr/bin:/bin";
        let mut import = self.command();
        import.args(["import", "--change", change, "--change", path]);
        run(import.arg(&archive).arg(IMAGE));
        fs::remove_dir_all(&tree).unwrap();
    }
}

fn socket(directory: &Path) -> String {
    format!("unix://{}/socket", directory.display())
}

impl Drop for Docker {
    fn drop(&mut self) {
        let ids = self.command().args(["ps", "-q"]).output().map(|output| output.stdout);
        let ids = String::from_utf8_lossy(&ids.unwrap_or_default()).into_owned();
        for id in ids.split_whitespace() {
            let _ = self.command().args(["rm", "-f", id]).output();
        }
        // A bridge outlives its engine.
        let _ = self.command().args(["network", "prune", "--force"]).output();
        if let Some(pid) = i32::try_from(self.daemon.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.daemon.wait();
    }
}
