//! A home put back in place with its containers and its database: there and back, killed on the way, refused, and on
//! an empty machine.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::docker::{Docker, IMAGE};

/// What the database's container runs: as the official image it makes a cluster where there is none, with an empty
/// database, by a first server that only its socket leads to.
const SERVER: &str = r#"set -e
bin=$(echo /usr/lib/postgresql/*/bin)
data=/var/lib/postgresql/data
busybox chown -R 999:999 $data /var/run/postgresql
busybox chmod 700 $data
as() { busybox su postgres -s /bin/sh -c "$1"; }
if [ ! -f $data/PG_VERSION ]; then
  as "$bin/initdb --no-sync -U postgres -A trust -E UTF8 --locale=C -D $data" >/dev/null
  printf 'local all all trust\nhost all all 127.0.0.1/32 trust\n' >$data/pg_hba.conf
  as "$bin/pg_ctl -D $data -l /tmp/first -o \"-F -c listen_addresses='' -k /var/run/postgresql\" -w start" >/dev/null
  as "$bin/psql -h /var/run/postgresql -U postgres -d postgres -qc 'CREATE DATABASE mrs'"
  sleep 1
  as "$bin/pg_ctl -D $data -m fast -w stop" >/dev/null
fi
exec busybox su postgres -s /bin/sh -c "exec $bin/postgres -D $data -F -h '*' -k /var/run/postgresql"
"#;

/// A site: a home with a stack, its configuration, repository and copy.
struct Site<'d> {
    docker: &'d Docker,
    work: tempfile::TempDir,
    /// Where compose 2.x is, if that is used; otherwise it is 1.29.
    second: Option<PathBuf>,
    /// A file system that shares blocks, if the site is on one.
    sharing: Option<SharingDisk>,
}

/// A btrfs in a file, mounted for as long as this lives.
struct SharingDisk {
    place: PathBuf,
    #[expect(dead_code, reason = "removed with it")]
    file: tempfile::NamedTempFile,
}

impl SharingDisk {
    fn mount(place: &Path) -> Self {
        let file = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
        file.as_file().set_len(1 << 30).unwrap();
        support::postgres::run(Command::new("mkfs.btrfs").arg("-q").arg(file.path()));
        support::postgres::run(
            Command::new("mount").args(["-o", "loop"]).arg(file.path()).arg(place),
        );
        Self { place: place.to_owned(), file }
    }

    /// Bytes of `path` that another file has, too (btrfs filesystem du).
    fn shared(path: &Path) -> u64 {
        let mut command = Command::new("btrfs");
        command.args(["filesystem", "du", "--raw", "-s"]).arg(path);
        let said = support::postgres::run(&mut command);
        let line: Vec<&str> = said.lines().last().unwrap().split_whitespace().collect();
        // Total, exclusive, set shared.
        line[2].parse().unwrap()
    }
}

impl Drop for SharingDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.place).status();
    }
}

impl<'d> Site<'d> {
    fn new(docker: &'d Docker) -> Self {
        Self::with(docker, None, false)
    }

    /// The same with compose 2.x, on a disk that shares blocks.
    fn modern(docker: &'d Docker) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let second = std::env::var_os("MRS_BACKUP_TEST_COMPOSE2")
            .map_or_else(|| root.join("target/compose2/config"), PathBuf::from);
        assert!(second.exists(), "this test needs {}, which tests/run.sh makes", second.display());
        Self::with(docker, Some(second), true)
    }

    fn with(docker: &'d Docker, second: Option<PathBuf>, shares: bool) -> Self {
        let work = tempfile::Builder::new().prefix("mrs-home-").tempdir_in("/tmp").unwrap();
        let sharing = shares.then(|| SharingDisk::mount(work.path()));
        let site = Self { docker, work, second, sharing };
        let password = site.path("password");
        fs::write(&password, "secret").unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir_all(site.path("site/mrsattachments/2026")).unwrap();
        fs::create_dir_all(site.path("site/log")).unwrap();
        fs::write(site.path("site/mrsattachments/2026/bill.pdf"), "a bill").unwrap();
        fs::write(site.path("site/server.sh"), SERVER).unwrap();
        site.write_compose("");
        site.configure("");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn home(&self) -> String {
        self.path("site").display().to_string()
    }

    fn write_compose(&self, more: &str) {
        let text = format!(
            r#"version: "2.4"
services:
  django:
    image: {IMAGE}
    network_mode: none
    stop_grace_period: 2s
    command: ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do echo beat >>/log/beat; sleep 1 & wait; done"]
    labels: {{ traefik.enable: "true", traefik.http.routers.django.rule: "Host(`www.example.org`)" }}
    volumes: ["./log:/log"]
{more}
  postgres:
    image: {IMAGE}
    network_mode: none
    user: root
    command: ["/bin/sh", "/server.sh"]
    volumes: ["./server.sh:/server.sh:ro", "./postgres/data:/var/lib/postgresql/data"]
"#
        );
        fs::write(self.path("site/docker-compose.yml"), text).unwrap();
    }

    fn configure(&self, more: &str) {
        let root = self.work.path().display();
        let text = format!(
            "version = 1\nstate_dir = \"{root}/state\"\n[instance.mrs]\nhome = \"{root}/site\"\n\
             repository = \"{root}/repo\"\nkey = {{ file = \"{root}/password\" }}\n\
             paths = [\"docker-compose.yml\", \"server.sh\", \"mrsattachments\", \"log\"]\n{more}\n\
             [instance.mrs.postgres]\ndatabases = [\"mrs\"]\n\
             container = {{ service = \"postgres\", via = \"exec\" }}\n\
             [instance.mrs.copy.cellar]\nlocation = \"{root}/cellar\"\n",
        );
        fs::write(self.path("config.toml"), text).unwrap();
    }

    fn compose(&self, words: &[&str]) {
        let mut command = match &self.second {
            Some(config) => {
                let mut command = Command::new("docker");
                command.arg("compose").env("DOCKER_CONFIG", config);
                command
            }
            None => Command::new("docker-compose"),
        };
        command.env("DOCKER_HOST", self.docker.host()).current_dir(self.path("site"));
        support::postgres::run(command.args(words));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mrs-backup"));
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("HOME", self.work.path()).env("DOCKER_HOST", self.docker.host());
        if let Some(config) = &self.second {
            command.env("DOCKER_CONFIG", config);
        }
        command.arg("-c").arg(self.path("config.toml")).args(arguments).stdin(Stdio::null());
        command
    }

    fn ran(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the program, which must succeed; gives its last line of JSON.
    fn ok(&self, arguments: &[&str]) -> Value {
        let said = support::postgres::run(self.command(arguments).arg("--json"));
        serde_json::from_str(said.lines().last().unwrap()).unwrap()
    }

    /// Fails with `code` and says `words`.
    fn fails(&self, arguments: &[&str], code: i32, words: &str) {
        let output = self.ran(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{words}: {said}");
    }

    /// Kills the program as soon as it says `step`. Whether it came so far.
    fn killed_at(&self, step: &str, arguments: &[&str]) {
        let mut command = self.command(arguments);
        let mut child = command.arg("--json").stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = format!("\"step\":\"{step}\"");
        assert!(lines.map_while(Result::ok).any(|line| line.contains(&wanted)), "{step}");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The container of a service.
    fn container(&self, service: &str) -> String {
        let project = format!("label=com.docker.compose.project.working_dir={}", self.home());
        let service = format!("label=com.docker.compose.service={service}");
        self.docker.run(&["ps", "-aq", "--no-trunc", "--filter", &project, "--filter", &service])
    }

    fn running(&self) -> usize {
        let project = format!("label=com.docker.compose.project.working_dir={}", self.home());
        self.docker.run(&["ps", "-q", "--filter", &project]).lines().count()
    }

    fn sql(&self, sql: &str) -> String {
        self.docker.psql(&self.container("postgres"), "mrs", sql)
    }

    fn wait_for_server(&self) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let id = self.container("postgres");
        let ask = [
            "exec",
            &id,
            "psql",
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-d",
            "mrs",
            "-c",
            "SELECT 1",
        ];
        while !self.docker.command().args(ask).output().unwrap().status.success() {
            let log = || self.docker.run(&["logs", &id]);
            assert!(std::time::Instant::now() < deadline, "{}", log());
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }

    /// Brings the stack up, fills it and saves it; gives the snapshot.
    fn saved(&self) -> String {
        self.compose(&["up", "-d"]);
        self.wait_for_server();
        self.sql(
            "CREATE TABLE claim AS SELECT n, md5(n::text) AS v FROM generate_series(1, 20000) n; \
             ALTER TABLE claim ADD PRIMARY KEY (n); CREATE ROLE clerk LOGIN PASSWORD 'x'",
        );
        self.ok(&["init", "--kdf-memory", "8"]);
        self.ok(&["run"])["snapshot"].as_str().unwrap().to_owned()
    }

    /// Does to it what a bad day does.
    fn spoil(&self) {
        self.sql("DELETE FROM claim WHERE n > 7");
        fs::remove_file(self.path("site/mrsattachments/2026/bill.pdf")).unwrap();
        fs::write(self.path("site/mrsattachments/virus"), "x").unwrap();
    }

    fn rows(&self) -> String {
        self.sql("SELECT count(*) FROM claim")
    }

    /// It is as it was saved, and runs; nothing runs twice.
    fn expect_saved(&self) {
        assert_eq!(self.rows(), "20000");
        let bill = fs::read_to_string(self.path("site/mrsattachments/2026/bill.pdf"));
        assert_eq!(bill.unwrap(), "a bill");
        assert!(!self.path("site/mrsattachments/virus").exists());
        assert_eq!(self.running(), 2);
    }

    /// It is as it was spoiled, and runs.
    fn expect_spoiled(&self) {
        assert_eq!(self.rows(), "7");
        assert!(!self.path("site/mrsattachments/2026/bill.pdf").exists());
        assert!(self.path("site/mrsattachments/virus").exists());
        assert_eq!(self.running(), 2);
    }

    /// Databases besides the live one.
    fn others(&self) -> String {
        self.sql("SELECT coalesce(string_agg(datname, ','), '') FROM pg_database WHERE datname LIKE 'mrs\\_\\_%'")
    }

    fn kept(&self) -> PathBuf {
        self.path(".site.mrs-backup")
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn a_home_is_put_back_in_place_and_taken_back() {
    let docker = Docker::start();
    let site = Site::new(&docker);
    let snapshot = site.saved();
    let home = site.home();
    let (django, postgres) = (site.container("django"), site.container("postgres"));
    site.spoil();

    let restore = ["restore", "latest", home.as_str(), "--yes"];
    let plan = site.ok(&["restore", "latest", &home, "--dry-run"]);
    assert_eq!(plan["plan"]["mode"], "beside", "{plan}");
    assert_eq!(plan["plan"]["stops"].as_array().unwrap().len(), 1, "the server goes on: {plan}");
    site.fails(&["restore", "latest", &home], 2, "is to be replaced as shown");
    site.expect_spoiled();

    let done = site.ok(&restore);
    assert_eq!(done["containers"], 1, "{done}");
    site.expect_saved();
    let same = (site.container("django"), site.container("postgres"));
    assert_eq!(same, (django, postgres), "no container was made");
    assert!(site.others().starts_with("mrs__old_"), "{}", site.others());
    let listed = String::from_utf8(site.ran(&["undo", "--list"]).stdout).unwrap();
    assert!(listed.contains("home of mrs: replaced by snapshot"), "{listed}");
    // The application writes into the new log.
    let beats = || fs::read_to_string(site.path("site/log/beat")).unwrap().len();
    let before = beats();
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert!(beats() > before);

    site.ok(&["undo", "--yes"]);
    site.expect_spoiled();
    site.ok(&["undo", "--yes"]);
    site.expect_saved();

    newest(&site);
    killed(&site, &restore);
    refused(&site, &snapshot);
    // The night drops what was kept long enough.
    site.ok(&["undo", "--drop", "--yes"]);
    assert!(!site.kept().exists());
    site.ok(&["restore", &snapshot, &home, "--yes", "--keep-old", "0s"]);
    site.expect_saved();
    let done = site.ok(&["run"]);
    assert!(done.to_string().contains("dropped_homes"), "{done}");
    assert!(!site.kept().exists());
    assert_eq!(site.others(), "");
}

/// What was done last is taken back: a restore of the database alone, though one of the home is kept, too.
fn newest(site: &Site<'_>) {
    site.sql("DELETE FROM claim WHERE n > 9");
    site.ok(&["restore", "latest", "--database", "mrs", "--yes"]);
    site.expect_saved();
    let Output { stdout, stderr, .. } = site.ran(&["undo", "--dry-run"]);
    let told = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert!(told.contains("older, and not taken back now (--home does): home of mrs"), "{told}");
    site.ok(&["undo", "--yes"]);
    assert_eq!(site.rows(), "9");
    assert!(site.path("site/mrsattachments/2026/bill.pdf").exists(), "the home stays");
    site.ok(&["undo", "--home", "--yes"]);
    site.expect_spoiled();
}

/// Killed at each step: before the exchange nothing has happened, after it the next call goes on, or takes it back.
fn killed(site: &Site<'_>, restore: &[&str]) {
    for step in ["restore", "rows"] {
        site.killed_at(step, restore);
        site.expect_spoiled();
    }
    for step in ["stop", "exchange files", "health"] {
        site.killed_at(step, restore);
        if step != "stop" {
            site.fails(&["run", "--only", "snapshot"], 1, "half its way");
            let compose = format!("compose={}/docker-compose.yml", site.home());
            site.fails(&["deploy", "mrs", &compose], 1, "nothing to save and to replace");
        }
        let done = site.ok(restore);
        assert_eq!(done["gone_on"], true, "{done}");
        site.expect_saved();
        site.ok(&["undo", "--yes"]);
        site.expect_spoiled();
    }
    site.ok(&["undo", "--drop", "--yes"]);
    assert!(!site.kept().exists());
    // Or it is taken back.
    for step in ["exchange", "start"] {
        site.killed_at(step, restore);
        site.ok(&["undo", "--yes"]);
        site.expect_spoiled();
        assert_eq!(site.others(), "", "nothing is left of {step}");
    }
    // An undo that is killed, too.
    site.ok(restore);
    for step in ["exchange files", "start"] {
        site.killed_at(step, &["undo", "--yes"]);
        site.ok(&["undo", "--yes"]);
        site.expect_saved();
    }
    site.ok(&["undo", "--yes"]);
    site.expect_spoiled();
}

/// What nobody can mean, or needs a word more. Nothing changes.
fn refused(site: &Site<'_>, snapshot: &str) {
    let home = site.home();
    let restore = ["restore", "latest", home.as_str(), "--yes"];
    // Another PostgreSQL on the files of this one.
    let compose = fs::read_to_string(site.path("site/docker-compose.yml")).unwrap();
    site.ok(&["run", "--only", "snapshot"]);
    let postgres = site.container("postgres");
    docker_tag(site.docker);
    fs::write(
        site.path("site/docker-compose.yml"),
        compose.replacen(
            &format!("image: {IMAGE}\n    network_mode: none\n    user"),
            "image: other:13\n    network_mode: none\n    user",
            1,
        ),
    )
    .unwrap();
    site.ok(&["run", "--only", "snapshot"]);
    fs::write(site.path("site/docker-compose.yml"), &compose).unwrap();
    site.fails(&restore, 1, "has image `other:13`");
    // With the file that is there it is possible.
    site.ok(&[&restore[..], &["--keep-compose"]].concat());
    assert_eq!(fs::read_to_string(site.path("site/docker-compose.yml")).unwrap(), compose);
    assert_eq!(site.container("postgres"), postgres);
    site.ok(&["undo", "--yes"]);
    let restore = ["restore", snapshot, home.as_str(), "--yes"];
    // Its server does not run.
    site.docker.run(&["stop", &postgres]);
    site.fails(&restore, 1, "no container of service `postgres`");
    let hint = String::from_utf8(site.ran(&restore).stderr).unwrap();
    assert!(hint.contains("--new-server"), "{hint}");
    site.docker.run(&["start", &postgres]);
    site.wait_for_server();
    // Protected.
    site.configure("protected = true");
    site.fails(&restore, 2, "`mrs` is protected");
    site.fails(&[&restore[..], &["--confirm", "other"]].concat(), 2, "names another instance");
    site.fails(&["undo", "--yes"], 2, "`mrs` is protected");
    site.configure("");
    // Docker is away.
    let mut command = site.command(&restore);
    let output = command.env("DOCKER_HOST", "unix:///nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    site.expect_spoiled();
}

fn docker_tag(docker: &Docker) {
    docker.run(&["tag", IMAGE, "other:13"]);
}

#[test]
fn an_empty_machine_becomes_a_running_site() {
    let docker = Docker::start();
    let site = Site::modern(&docker);
    site.saved();
    // The machine burns down: home, repository and state are gone; what is left is the copy and the paper.
    site.compose(&["down", "-v"]);
    for gone in ["site", "repo", "state"] {
        fs::remove_dir_all(site.path(gone)).unwrap();
    }
    let home = site.home();
    let cellar = name(&site.path("cellar"));
    site.ok(&["init", "mrs", "--adopt", &cellar]);
    let plan = site.ok(&["restore", "latest", &home, "--dry-run"]);
    assert_eq!(plan["plan"]["mode"], "new-server", "{plan}");
    site.ok(&["restore", "latest", &home, "--yes"]);
    site.expect_saved();
    let role = "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'clerk'";
    assert_eq!(site.sql(role), "t", "roles are as they were");
    assert_eq!(site.others(), "", "the image's empty database is gone");
    // Life goes on.
    site.ok(&["run"]);

    // What did not change meanwhile shares its blocks with what is put aside.
    assert!(site.sharing.is_some());
    let video = site.path("site/mrsattachments/video");
    fs::write(&video, vec![7_u8; 4 << 20]).unwrap();
    site.ok(&["run", "--only", "snapshot"]);
    fs::write(site.path("site/mrsattachments/virus"), "x").unwrap();
    site.ok(&["restore", "latest", &home, "--yes"]);
    site.expect_saved();
    assert_eq!(fs::read(&video).unwrap(), vec![7_u8; 4 << 20]);
    assert!(SharingDisk::shared(&video) >= 4 << 20);
    site.ok(&["undo", "--yes"]);
    fs::remove_file(site.path("site/mrsattachments/virus")).unwrap();
    site.ok(&["undo", "--drop", "--yes"]);

    // The files of the server are lost, the rest is there: a new one beside, and back.
    site.spoil();
    let kept = site.rows();
    site.killed_at("server", &["restore", "latest", &home, "--yes", "--new-server"]);
    site.ok(&["undo", "--yes"]);
    site.wait_for_server();
    assert_eq!(site.rows(), kept, "taken back with the old cluster");
    site.killed_at("server", &["restore", "latest", &home, "--yes", "--new-server"]);
    site.ok(&["restore", "latest", &home, "--yes"]);
    site.expect_saved();
    site.ok(&["undo", "--yes"]);
    site.wait_for_server();
    site.expect_spoiled();
    site.ok(&["undo", "--yes"]);
    site.wait_for_server();
    site.expect_saved();
}
