//! Two instances with a server each: production with the application of `fixtures/anonymize`, staging.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::postgres::{TestServer, run};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mrs-backup");
/// The rules that fit the application.
pub const RULES: &str = include_str!("../../fixtures/anonymize/rules.toml");

/// What a run of the program gave.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The last line of JSON.
    pub fn summary(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_else(|| panic!("no line: {self:?}"));
        serde_json::from_str(last).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Fails with `code`, and says all of `words` on either way out.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for words in words {
            let is_said = self.stderr.contains(words) || self.stdout.contains(words);
            assert!(is_said, "`{words}`: {self:?}");
        }
    }
}

/// Both instances.
pub struct Stage {
    pub production: TestServer,
    pub staging: TestServer,
    dir: TempDir,
}

impl Stage {
    /// With so many persons in production.
    pub fn with_persons(persons: u32) -> Self {
        Self::on(TestServer::start(), TestServer::start(), persons, "UTF8")
    }

    /// On these servers; the database of production is in `encoding`.
    pub fn on(production: TestServer, staging: TestServer, persons: u32, encoding: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("mrs-cl-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let stage = Self { production, staging, dir };
        for (name, text) in
            [("password", "secret"), ("clone.key", "0123456789abcdef0123456789abcdef")]
        {
            stage.write(name, text);
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(stage.path(name), private).unwrap();
        }
        stage.write("rules.toml", RULES);
        stage.write("production/log/app.log", "GET /?nir=1850578006084\n");
        stage.write("production/mrsattachments/first.pdf", "a scan of somebody");
        stage.write("staging/mrsattachments/old.pdf", "what staging had");
        stage.write("staging/.env", "EMAIL_HOST=mailpit\n");
        stage.configure("");
        let sql = format!(
            "CREATE DATABASE app ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        );
        stage.production.psql("postgres", &sql);
        stage.generate(persons);
        stage.staging.psql("postgres", "CREATE DATABASE app");
        stage.staging.psql("app", "CREATE TABLE of_staging AS SELECT 1 AS n");
        stage.ok(&["-i", "production", "init", "--kdf-memory", "8"]);
        stage.backup();
        stage
    }

    fn generate(&self, persons: u32) {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/anonymize");
        let mut command = self.production.command("psql");
        command.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-v", &format!("persons={persons}")]);
        command.arg("-f").arg(fixtures.join("schema.sql"));
        command.arg("-f").arg(fixtures.join("generate.sql")).args(["-d", "app"]);
        command.env("PGCLIENTENCODING", "UTF8");
        run(&mut command);
    }

    /// Writes the configuration, with these lines for `[instance.staging.clone]`.
    pub fn configure(&self, extra: &str) {
        let root = self.dir.path().display();
        let (production, staging) = self.instances();
        let config = format!(
            r#"version = 1
state_dir = "{root}/state"
{production}
{staging}
rules = "{root}/rules.toml"
key = {{ file = "{root}/clone.key" }}
{extra}
"#
        );
        self.write("config.toml", &config);
    }

    /// A configuration for each, as if they were on two machines; `extra` as above.
    pub fn configure_apart(&self, extra: &str) {
        let root = self.dir.path().display();
        let (production, staging) = self.instances();
        let one = format!("version = 1\nstate_dir = \"{root}/state\"\n{production}");
        self.write("production.toml", &one);
        let other =
            format!("version = 1\nstate_dir = \"{root}/staging-state\"\n{staging}\n{extra}\n");
        self.write("staging.toml", &other);
    }

    /// What configurations say of production, and of staging, whose last table is that of copies.
    fn instances(&self) -> (String, String) {
        let root = self.dir.path().display();
        let server = |server: &TestServer| {
            format!(
                "host = \"{}\"\nport = {}\nuser = \"postgres\"\ndatabases = [\"app\"]\nbin_dir = \"{}\"\n",
                server.socket_dir().display(),
                server.port(),
                server.bin_dir().display()
            )
        };
        let production = format!(
            r#"[instance.production]
home = "{root}/production"
repository = "{root}/repo"
key = {{ file = "{root}/password" }}
paths = ["log", "mrsattachments"]
[instance.production.postgres]
{}"#,
            server(&self.production)
        );
        let staging = format!(
            r#"[instance.staging]
home = "{root}/staging"
repository = "{root}/staging-repo"
key = {{ file = "{root}/password" }}
[instance.staging.postgres]
{}
[instance.staging.clone]
from = ["production"]
reports = "{root}/reports""#,
            server(&self.staging)
        );
        (production, staging)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file; directories above it are made.
    pub fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// Replaces a part of the rules, which has to be there.
    #[track_caller]
    pub fn edit_rules(&self, from: &str, to: &str) {
        let rules = fs::read_to_string(self.path("rules.toml")).unwrap();
        assert!(rules.contains(from), "{from}");
        self.write("rules.toml", &rules.replacen(from, to, 1));
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command
            .env("HOME", self.path("production"))
            .env("MRS_BACKUP_CONFIG", self.path("config.toml"));
        command.args(args).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        let output = self.command(args).output().expect("the program starts");
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
        ran
    }

    #[track_caller]
    pub fn backup(&self) {
        self.ok(&["run", "production", "--only", "snapshot"]);
    }

    /// Copies, with assent.
    pub fn copy(&self, args: &[&str]) -> Ran {
        self.run(&[&["clone", "production", "staging", "--yes", "--json"], args].concat())
    }

    pub fn spawn_copy(&self) -> Child {
        let mut command = self.command(&["clone", "production", "staging", "--yes", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn production(&self, sql: &str) -> String {
        self.production.psql("app", sql)
    }

    pub fn staging(&self, sql: &str) -> String {
        self.staging.psql("app", sql)
    }

    /// Names of the databases of staging but the server's own.
    pub fn databases(&self) -> Vec<String> {
        let query = "SELECT datname FROM pg_database WHERE datname NOT IN \
                     ('postgres', 'template0', 'template1') ORDER BY 1";
        self.staging.psql("postgres", query).lines().map(str::to_owned).collect()
    }

    /// Staging is as it was before any copy.
    #[track_caller]
    pub fn is_untouched(&self) {
        assert_eq!(self.databases(), ["app"]);
        assert_eq!(self.staging("SELECT n FROM of_staging"), "1");
        assert_eq!(names(&self.path("staging")), [".env", "mrsattachments"]);
        assert_eq!(names(&self.path("staging/mrsattachments")), ["old.pdf"]);
    }

    /// The whole of a database as text.
    pub fn dump(&self, server: &TestServer) -> String {
        run(server.command("pg_dump").args(["--inserts", "--rows-per-insert=1000", "-d", "app"]))
    }
}

/// Names in a directory, sorted.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
