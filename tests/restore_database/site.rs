//! An instance whose database is on a server of its own, and the program run on it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::postgres::TestServer;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mrs-backup");

/// The schema and rows of a small application.
const APPLICATION: &str = r#"
CREATE TABLE public.person (id serial PRIMARY KEY, name text NOT NULL, photo bytea,
    born date, big text GENERATED ALWAYS AS (upper(name)) STORED);
INSERT INTO public.person (name, photo, born) SELECT 'person ' || g, decode(md5(g::text), 'hex'),
    date '1970-01-01' + g FROM generate_series(1, 500) g;
CREATE TABLE public.bill (id int PRIMARY KEY, person int REFERENCES public.person, cents bigint CHECK (cents >= 0));
INSERT INTO public.bill SELECT g, 1 + g % 500, g * 10 FROM generate_series(1, 3000) g;
CREATE INDEX bill_person ON public.bill (person);
CREATE VIEW public.total AS SELECT person, sum(cents) FROM public.bill GROUP BY person;
CREATE TABLE public.log (at timestamptz, line text);
INSERT INTO public.log VALUES ('2026-01-01 00:00+01', E'tab\there'), ('2026-01-02 00:00+01', E'back\\slash'), (NULL, NULL);
CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touched BEFORE UPDATE ON public.bill FOR EACH ROW EXECUTE FUNCTION public.touch();
"#;

/// What a run of the program gave.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().expect("the program starts");
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The last line of JSON.
    pub fn summary(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_else(|| panic!("no line: {self:?}"));
        serde_json::from_str(last).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Fails with `code` and says `words`.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(words), "`{words}`: {self:?}");
    }
}

/// An instance `app` with the database `app`.
pub struct Site {
    pub server: TestServer,
    dir: TempDir,
    extra: String,
    stream_from_kib: u32,
    bin_dir: PathBuf,
}

impl Site {
    /// On a server of the host's first installation, with the small application in it.
    pub fn new() -> Self {
        let site = Self::on(TestServer::start());
        site.server.psql("postgres", "CREATE DATABASE app");
        fill(&site);
        site
    }

    /// On this server, in which there is nothing yet.
    pub fn on(server: TestServer) -> Self {
        // Near the root: the path of a socket must be short. And the server's user has to get through.
        let dir = tempfile::Builder::new().prefix("mrs-rd-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let password = dir.path().join("password");
        fs::write(&password, "secret").unwrap();
        fs::set_permissions(password, fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        let bin_dir = server.bin_dir().to_owned();
        let site = Self { server, dir, extra: String::new(), stream_from_kib: 0, bin_dir };
        site.configure();
        let ran = site.run(&["init", "--kdf-memory", "8"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        site
    }

    /// With these lines for `[instance.app.restore]`.
    #[must_use]
    pub fn with(mut self, extra: &str) -> Self {
        self.extra = extra.to_owned();
        self.configure();
        self
    }

    /// With smaller tables than this, in KiB, in the archive; otherwise all are streams.
    #[must_use]
    pub fn streaming_from(mut self, kib: u32) -> Self {
        self.stream_from_kib = kib;
        self.configure();
        self
    }

    /// With PostgreSQL's programs from here.
    #[must_use]
    pub fn with_programs(mut self, bin_dir: PathBuf) -> Self {
        self.bin_dir = bin_dir;
        self.configure();
        self
    }

    /// Points the same repository at another server.
    #[must_use]
    pub fn moved_to(mut self, server: TestServer) -> Self {
        self.bin_dir = server.bin_dir().to_owned();
        self.server = server;
        self.configure();
        self
    }

    fn configure(&self) {
        let root = self.dir.path().display();
        let config = format!(
            r#"version = 1
state_dir = "{root}/state"
[instance.app]
home = "{root}/home"
repository = "{root}/repo"
key = {{ file = "{root}/password" }}
[instance.app.postgres]
host = "{}"
port = {}
user = "postgres"
databases = ["app"]
bin_dir = "{}"
stream_from_kib = {}
[instance.app.restore]
scratch_directory = "{root}/s"
{}
"#,
            self.server.socket_dir().display(),
            self.server.port(),
            self.bin_dir.display(),
            self.stream_from_kib,
            self.extra
        );
        fs::write(self.path("config.toml"), config).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", self.path("home")).env("MRS_BACKUP_CONFIG", self.path("config.toml"));
        command.args(args).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&mut self.command(args))
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
        ran
    }

    /// Backs up; gives the snapshot's id.
    #[track_caller]
    pub fn backup(&self) -> String {
        self.ok(&["run", "--json"]).summary()["snapshot"].as_str().unwrap().to_owned()
    }

    /// Restores the database in place of the live one.
    pub fn restore(&self, args: &[&str]) -> Ran {
        self.run(&[&["restore", "latest", "--database", "app", "--yes", "--json"], args].concat())
    }

    /// Starts the program with its standard output as a pipe of JSON lines.
    pub fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn sql(&self, sql: &str) -> String {
        self.server.psql("app", sql)
    }

    /// Names of all databases but the server's own.
    pub fn databases(&self) -> Vec<String> {
        let query = "SELECT datname FROM pg_database WHERE datname NOT IN \
                     ('postgres', 'template0', 'template1') ORDER BY 1";
        self.server.psql("postgres", query).lines().map(str::to_owned).collect()
    }

    /// Everything `pg_dump` says about a database, without what is new in every dump, and the rows of every
    /// table as COPY gives them.
    pub fn contents(&self, database: &str) -> String {
        contents(&self.server, database)
    }

    pub fn repository(&self) -> PathBuf {
        self.path("repo")
    }

    pub fn scratch(&self) -> PathBuf {
        self.path("s")
    }
}

/// Puts the small application into the database.
pub fn fill(site: &Site) {
    site.sql(APPLICATION);
}

/// See [`Site::contents`].
pub fn contents(server: &TestServer, database: &str) -> String {
    let mut command = server.command("pg_dump");
    let name = database.replace('\\', "\\\\").replace('\'', "\\'");
    command.args(["--create", "--dbname"]).arg(format!("dbname='{name}'"));
    let dump = crate::support::postgres::run(&mut command);
    let is_kept =
        |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
    dump.lines().filter(is_kept).collect::<Vec<_>>().join("\n")
}

/// Panics with the first line that differs.
#[track_caller]
pub fn assert_same(left: &str, right: &str) {
    for (number, (one, two)) in left.lines().zip(right.lines()).enumerate() {
        assert_eq!(one, two, "line {}", number + 1);
    }
    assert_eq!(left.lines().count(), right.lines().count(), "one of both is longer");
}

/// All files below a directory.
pub fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { pending.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}
