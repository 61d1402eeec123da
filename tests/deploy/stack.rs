//! A home, a checkout and an engine: the stack of the operations chapter in small, with busybox in django's place.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::docker::Docker;

/// Which compose is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    First,
    Second,
}

/// Secret of every deployment: must never be seen anywhere.
pub const SECRET: &str = "s3cret-key-of-tests$x";

/// The application: applies its migrations to the "database", says so, and serves pages.
const APPLICATION: &str = "#!/bin/sh
echo \"starting with $SECRET_KEY\"
for name in $(cat /migrations); do
    grep -qx \"$name\" /data/migrations 2>/dev/null || echo \"$name\" >>/data/migrations
done
[ \"$(cat /mode)\" = crash ] && exit 7
echo ready
exec httpd -f -p 8000 -h /www
";

const BASE: &str = "version: '3.7'
services:
  django:
    build: ./
    image: app:v1
    stop_signal: SIGKILL
    depends_on: [database]
    environment:
    - SECRET_KEY=notsecret
    - DB_HOST=database
    volumes: [data:/data]
  database:
    image: app:v1
    command: [sleep, '86400']
    stop_signal: SIGKILL
    volumes: [data:/data]
volumes:
  data: {}
";

const PERSIST: &str = "version: '3.7'
services:
  django:
    restart: always
    environment:
    - SECRET_KEY
    - UNSET_ONE
    volumes:
    - ./data:/data
    - ./log:/log
    labels:
    - io.yourlabs.compose.mkdir=./log/admin,data:1000:1000:0750
  database:
    restart: always
    volumes: [./data:/data]
";

const TRAEFIK: &str = "version: '3.7'
services:
  django:
    environment:
    - HOST
    - ALLOWED_HOSTS=www.${HOST},${NOT_SET}
    labels:
    - traefik.enable=true
    - 'traefik.frontend.rule=Host: ${HOST}'
    networks: [default, web]
networks:
  web: {external: true}
";

const MAILDEV: &str = "version: '3.7'
services:
  django:
    environment: [EMAIL_HOST=mail, EMAIL_PORT=1025]
  mail:
    image: app:v1
    command: [sleep, '86400']
    stop_signal: SIGKILL
";

/// All of it, removed when it is dropped.
pub struct Stack {
    pub docker: Docker,
    pub work: tempfile::TempDir,
    generation: Generation,
    pub port: u16,
}

impl Stack {
    pub fn start(generation: Generation) -> Self {
        Self::with(Docker::engine(), generation)
    }

    pub fn with(docker: Docker, generation: Generation) -> Self {
        let work = tempfile::Builder::new().prefix("mrs-dp-").tempdir_in("/tmp").unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let stack = Self { docker, work, generation, port };
        for (name, migrations, mode, page) in [
            ("app:v1", "0001_first\n", "good", "health"),
            ("app:v2", "0001_first\n", "good", "health"),
            ("app:crash", "0001_first\n", "crash", "health"),
            ("app:sick", "0001_first\n", "good", "other"),
            ("app:migrates", "0001_first\n0002_second\n", "good", "health"),
            ("app:migrates-sick", "0001_first\n0002_second\n0003_third\n", "good", "other"),
        ] {
            let page = format!("www/{page}");
            let files = [
                ("bin/app", APPLICATION),
                ("migrations", migrations),
                ("mode", mode),
                (&page, name),
            ];
            let commit = format!("ENV GIT_COMMIT=c0ffee{}", name.len());
            stack.docker.busybox_image(name, &files, &["CMD [\"/bin/app\"]", &commit]);
        }
        for (name, text) in [
            ("docker-compose.yml", BASE),
            ("docker-compose.persist.yml", PERSIST),
            ("docker-compose.traefik.yml", TRAEFIK),
            ("docker-compose.maildev.yml", MAILDEV),
        ] {
            stack.write(&format!("checkout/{name}"), text);
        }
        stack.write("password", "secret");
        stack.configure("");
        stack
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    pub fn home(&self) -> PathBuf {
        self.path("home/mrs")
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Writes the configuration, with more lines for `[instance.mrs.deploy]` and what follows it.
    pub fn configure(&self, more: &str) {
        let (path, port) = (self.work.path().display(), self.port);
        let text = format!(
            r#"version = 1
state_dir = "{path}/state"
[instance.mrs]
home = "{path}/home/mrs"
repository = "{path}/repo"
key = {{ file = "{path}/password" }}
paths = ["docker-compose.yml", "data", "log"]
[instance.mrs.deploy]
compose = ["docker-compose.yml", "docker-compose.persist.yml", "docker-compose.traefik.yml"]
env = ["SECRET_KEY", "HOST"]
require_env = ["SECRET_KEY"]
overrides = {{ compose_django_build = "", compose_django_ports = '["127.0.0.1:{port}:8000"]' }}
wait_grep = "^ready"
timeout = "20s"
migrations = {{ service = "database", command = ["sh", "-c", "cat /data/migrations 2>/dev/null || true"] }}
check = {{ url = "http://127.0.0.1:{port}/health", retries = 3, delay = "200ms" }}
{more}"#
        );
        self.write("config.toml", &text);
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let second = std::env::var_os("MRS_BACKUP_TEST_COMPOSE2")
            .map_or_else(|| root.join("target/compose2/config"), PathBuf::from);
        assert!(second.exists(), "this test needs {}, which tests/run.sh makes", second.display());
        let docker_config =
            if self.generation == Generation::Second { second } else { self.path("none") };
        let mut command = Command::new(env!("CARGO_BIN_EXE_mrs-backup"));
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin");
        command.env("HOME", self.work.path()).env("DOCKER_HOST", self.docker.host());
        command
            .env("DOCKER_CONFIG", docker_config)
            .env("SECRET_KEY", SECRET)
            .env("HOST", "mrs.example");
        // What leads astray must not be seen.
        command.env("COMPOSE_PROJECT_NAME", "wrong").env("COMPOSE_FILE", "/nonexistent.yml");
        command.env("UNSET_ONE", "not to be seen");
        command.arg("-c").arg(self.path("config.toml")).args(arguments);
        command.current_dir(self.path("checkout")).stdin(Stdio::null());
        command
    }

    /// Runs it; gives its exit code, its last JSON line, and all it said. Secrets are never said.
    pub fn run(&self, arguments: &[&str]) -> (i32, Value, String) {
        self.run_command(self.command(arguments).arg("--json"))
    }

    pub fn run_command(&self, command: &mut Command) -> (i32, Value, String) {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(!said.contains(SECRET), "a secret is told: {said}");
        let text = String::from_utf8_lossy(&stdout);
        let last = text.lines().last().unwrap_or("null");
        (status.code().unwrap_or(-1), serde_json::from_str(last).unwrap_or(Value::Null), said)
    }

    /// Runs it, and expects the exit code.
    pub fn expect(&self, code: i32, arguments: &[&str]) -> Value {
        let (found, last, said) = self.run(arguments);
        assert_eq!(found, code, "{arguments:?}: {said}");
        last
    }

    /// What the stack serves.
    pub fn page(&self) -> Option<String> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.starts_with("HTTP/1.1 200").then(|| text.lines().last().unwrap_or_default().to_owned())
    }

    pub fn deployed(&self) -> String {
        fs::read_to_string(self.home().join("docker-compose.yml")).unwrap()
    }

    pub fn containers(&self, project: &str) -> Vec<String> {
        let filter = format!("label=com.docker.compose.project={project}");
        let listed = self.docker.run(&["ps", "-aq", "--filter", &filter]);
        listed.split_whitespace().map(str::to_owned).collect()
    }
}
