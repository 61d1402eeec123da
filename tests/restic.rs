//! Repositories made by restic itself become ours: with what is in them, again and again, and after being stopped.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use support::odd::fill_odd;
use support::postgres::TestServer;
use support::{assert_same_tree, noise, text, tree};

struct Site {
    root: tempfile::TempDir,
}

fn said(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{:?}\n{out}{err}", output.status)
}

impl Site {
    /// A home, an empty repository of restic, an empty one of ours.
    fn new(version: &str) -> Self {
        let site = Self { root: tempfile::tempdir().unwrap() };
        fs::create_dir(site.path("home")).unwrap();
        for name in ["password", "restic.password"] {
            fs::write(site.path(name), format!("{name} of a test\n")).unwrap();
            fs::set_permissions(site.path(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let root = site.root.path().display();
        let config = format!(
            "version = 1\n[instance.mrs]\nhome = \"{root}/home\"\nrepository = \"{root}/repo\"\n\
             key = {{ file = \"{root}/password\" }}\npaths = [\"log\"]\ntimezone = \"Europe/Paris\"\n"
        );
        fs::write(site.path("config.toml"), config).unwrap();
        site.restic(&["init", "--repository-version", version]);
        assert_eq!(site.run(&["init", "--kdf-memory", "8"]).status.code(), Some(0));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn restic(&self, arguments: &[&str]) -> String {
        let output = Command::new("restic")
            .args(arguments)
            .current_dir(self.path("home"))
            .env("RESTIC_REPOSITORY", self.path("restic"))
            .env("RESTIC_PASSWORD_FILE", self.path("restic.password"))
            .env("RESTIC_CACHE_DIR", self.path("cache"))
            .output()
            .expect("restic; apt-get install restic");
        assert!(output.status.success(), "restic {arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mrs-backup"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("MRS_BACKUP_CONFIG", self.path("config.toml"))
            .env("MRS_BACKUP_STATE_DIR", self.path("state"))
            .stdin(Stdio::null())
            .args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn import(&self, more: &[&str]) -> Output {
        let repository = self.path("restic").display().to_string();
        let password = self.path("restic.password").display().to_string();
        let first = ["migrate", "restic", &repository, "--from-password-file", &password];
        self.run(&[&first[..], more].concat())
    }

    #[track_caller]
    fn imported(&self, more: &[&str]) -> serde_json::Value {
        let output = self.import(&[&["--json"], more].concat());
        assert!(output.status.success(), "{}", said(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    }

    fn snapshots(&self) -> Vec<serde_json::Value> {
        let lines = self.ok(&["snapshots", "--json"]);
        let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &serde_json::Value| line["type"] == "snapshot").collect()
    }

    /// Both restored, ours and restic's, and compared.
    fn assert_same(&self, ours: &str, original: &str) {
        let (left, right) = (self.path("left"), self.path("right"));
        for directory in [&left, &right] {
            let _ = fs::remove_dir_all(directory);
        }
        self.restic(&["restore", original, "--target", &left.display().to_string()]);
        self.ok(&["restore", ours, &right.display().to_string(), "--verify"]);
        for entry in fs::read_dir(&left).unwrap() {
            let name = entry.unwrap().file_name();
            assert_same_tree(&tree(&left.join(&name)), &tree(&right.join(&name)));
        }
        let count = |directory: &Path| fs::read_dir(directory).unwrap().count();
        assert_eq!(count(&left), count(&right));
    }
}

/// Lengths of all files below a directory, holes among them.
fn file_bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let bytes = |entry: fs::DirEntry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => file_bytes(&entry.path()),
        kind if kind.is_file() => entry.metadata().unwrap().len(),
        _ => 0,
    };
    entries.map(bytes).sum()
}

/// What the old script saved: relative paths, a dump among them.
fn nights(site: &Site) {
    let home = site.path("home");
    fill_odd(&home.join("log"));
    fs::create_dir_all(home.join("postgres/dump")).unwrap();
    for (night, time) in
        ["2024-01-05 23:00:01", "2024-02-05 23:00:02", "2024-07-05 23:00:03"].iter().enumerate()
    {
        let dump = support::changed_rows(&text(40, 3_000_000), 500 + night);
        fs::write(home.join("postgres/dump/data.dump"), dump).unwrap();
        fs::write(home.join("docker-compose.yml"), format!("# {night}\n")).unwrap();
        let tag = format!("commit{night}");
        let paths = ["docker-compose.yml", "log", "postgres/dump/data.dump"];
        let first = ["backup", "--host", "prod", "--tag", &tag, "--tag", "nightly", "--time", time];
        site.restic(&[&first[..], &paths].concat());
    }
}

#[test]
fn everything_arrives_and_a_second_call_changes_nothing() {
    for version in ["1", "2"] {
        let site = Site::new(version);
        nights(&site);
        let planned = site.ok(&[
            "migrate",
            "restic",
            &site.path("restic").display().to_string(),
            "--from-password-file",
            &site.path("restic.password").display().to_string(),
            "--dry-run",
        ]);
        assert!(planned.contains("would import 3 snapshots as mrs"), "{planned}");
        let done = site.imported(&["--verify"]);
        assert_eq!(done["report"]["imported"].as_array().unwrap().len(), 3, "{done}");
        assert_eq!(done["report"]["differences"].as_array().unwrap().len(), 0, "{done}");
        let snapshots = site.snapshots();
        let originals: Vec<serde_json::Value> =
            serde_json::from_str(&site.restic(&["snapshots", "--json"])).unwrap();
        assert_eq!((snapshots.len(), originals.len()), (3, 3));
        for (ours, original) in snapshots.iter().zip(&originals) {
            assert_eq!(ours["instance"], "mrs");
            assert_eq!(ours["host"], "prod");
            assert_eq!(ours["tags"], original["tags"]);
            let time = |value: &serde_json::Value| {
                let text = value.as_str().unwrap();
                text.parse::<jiff::Timestamp>().unwrap()
            };
            assert_eq!(time(&ours["time"]), time(&original["time"]), "{ours}");
            let id = ours["id"].as_str().unwrap();
            site.assert_same(id, original["id"].as_str().unwrap());
        }
        // Of the dump only what changed was stored again; what did not change was read once.
        let stored = done["report"]["stored_bytes"].as_u64().unwrap();
        assert!(stored < 4_000_000, "{stored}");
        let read = done["report"]["read_bytes"].as_u64().unwrap();
        let once = file_bytes(&site.path("home/log"));
        let dump = file_bytes(&site.path("home/postgres"));
        assert!(read > 2 * dump && read < once + 3 * dump + 100_000, "{read}: {once}, {dump}");
        let again = site.imported(&[]);
        assert_eq!(again["report"]["known"], 3);
        assert_eq!(again["report"]["imported"].as_array().unwrap().len(), 0);
        site.ok(&["check", "--read-data"]);
        site.restic(&["check", "--read-data"]);
    }
}

#[test]
fn nights_of_both_kinds_stand_in_one_history() {
    let site = Site::new("2");
    nights(&site);
    // Ours began before restic's ended.
    site.ok(&["run", "mrs"]);
    fs::write(site.path("home/log/new"), "new").unwrap();
    site.restic(&["backup", "--host", "other", "log"]);
    site.ok(&["run", "mrs"]);
    let filtered = site.imported(&["--host", "prod", "--last", "2"]);
    assert_eq!(filtered["report"]["imported"].as_array().unwrap().len(), 2);
    let rest = site.imported(&[]);
    assert_eq!(rest["report"]["known"], 2);
    assert_eq!(site.snapshots().len(), 6);
    // No clock is called wrong, and the next night goes on from the newest.
    let forgotten = site.ok(&["forget"]);
    assert!(forgotten.contains("mrs: keeps"), "{forgotten}");
    site.ok(&["run", "mrs"]);
    site.ok(&["find", "data.dump"]);
    site.ok(&["restore", "2024-02-06", &site.path("out").display().to_string()]);
    assert!(site.path("out/postgres/dump/data.dump").is_file());
}

#[test]
fn absolute_paths_keep_their_place() {
    let site = Site::new("2");
    support::fill_small(&site.path("home/log"));
    let home = site.path("home").display().to_string();
    site.restic(&["backup", &home]);
    site.imported(&["--verify"]);
    let listed = site.ok(&["ls", "latest", "-r"]);
    let inside = format!("{}/log/compose.yml", home.trim_start_matches('/'));
    assert!(listed.contains(&inside), "{listed}");
}

#[test]
fn killed_at_any_time_it_goes_on() {
    let site = Site::new("2");
    let home = site.path("home");
    fs::create_dir_all(home.join("log")).unwrap();
    for night in 0..4 {
        fs::write(home.join(format!("log/{night}")), noise(night, 6_000_000)).unwrap();
        site.restic(&["backup", "log"]);
    }
    let repository = site.path("restic").display().to_string();
    let password = site.path("restic.password").display().to_string();
    let arguments = ["migrate", "restic", &repository, "--from-password-file", &password];
    for pause in [50, 200, 350, 500, 650] {
        let mut child = site.command(&arguments).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        // It may be done already.
        let _ = child.kill();
        child.wait().unwrap();
    }
    site.imported(&["--verify"]);
    assert_eq!(site.snapshots().len(), 4);
    site.ok(&["check", "--read-data"]);
}

#[test]
fn what_cannot_be_read_is_told() {
    let site = Site::new("1");
    nights(&site);
    let none = site.root.path().join("home").display().to_string();
    let password = site.path("restic.password").display().to_string();
    let output = site.run(&["migrate", "restic", &none, "--from-password-file", &password]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("no repository of restic"), "{}", said(&output));
    let repository = site.path("restic").display().to_string();
    let wrong = site.run(&["migrate", "restic", &repository]);
    assert_eq!(wrong.status.code(), Some(12), "{}", said(&wrong));
    assert!(said(&wrong).contains("--from-password-file"), "{}", said(&wrong));

    // The largest pack holds pieces of files: one that is damaged makes snapshots incomplete, not all of it fail.
    let packs = Command::new("find")
        .args([&repository, "-path", "*/data/*", "-type", "f", "-size", "+1M"])
        .output()
        .unwrap();
    let packs = String::from_utf8(packs.stdout).unwrap();
    let pack = packs.lines().next().expect("a pack of more than 1 MiB");
    let mut bytes = fs::read(pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(pack, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(pack, bytes).unwrap();
    let output = site.import(&[]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("INCOMPLETE"), "{}", said(&output));
    let damaged = site.snapshots().iter().filter(|one| one["is_complete"] == false).count();
    assert!(damaged > 0, "{:?}", site.snapshots());
    site.ok(&["check", "--read-data"]);
}

/// The dump as the old script made it.
fn dump_all(server: &TestServer, home: &Path) {
    let mut command = server.command("pg_dumpall");
    let output = command.args(["--clean", "--username=postgres"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    fs::create_dir_all(home.join("postgres/dump")).unwrap();
    fs::write(home.join("postgres/dump/data.dump"), output.stdout).unwrap();
}

/// Its database restores, and has so many rows.
fn assert_proven(site: &Site, server: &TestServer, id: &str, rows: usize) {
    site.ok(&["test-restore", id]);
    let dump = site.path(&format!("{rows}.dump")).display().to_string();
    site.ok(&["dump", id, "--database", "mrs", "-o", &dump]);
    let mut restore = server.command("pg_restore");
    let listed = restore.args(["--data-only", "--table=bills", "--file=-", &dump]).output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    assert_eq!(listed.matches("DROP ROLE django;").count(), rows, "{id}");
    let globals = site.ok(&["dump", id, "postgres/globals.sql"]);
    assert!(globals.contains("CREATE ROLE django"), "{globals}");
    // What restic had is there as well.
    let text = site.ok(&["dump", id, "postgres/dump/data.dump"]);
    assert!(text.contains("PostgreSQL database cluster dump"));
}

#[test]
fn dumps_of_the_old_script_become_databases() {
    let site = Site::new("2");
    let server = TestServer::start();
    server.psql("postgres", "CREATE ROLE django SUPERUSER LOGIN");
    server.psql("postgres", "CREATE DATABASE mrs OWNER django");
    // The rows look like what is passed over elsewhere.
    server.psql("mrs", "CREATE TABLE bills AS SELECT id, 'DROP ROLE django;' AS text FROM generate_series(1, 3000) AS id");
    let home = site.path("home");
    dump_all(&server, &home);
    site.restic(&[
        "backup",
        "--host",
        "prod",
        "--time",
        "2024-01-05 23:00:01",
        "postgres/dump/data.dump",
    ]);
    server.psql("mrs", "DELETE FROM bills WHERE id > 2000");
    dump_all(&server, &home);
    site.restic(&[
        "backup",
        "--host",
        "prod",
        "--time",
        "2024-01-06 23:00:01",
        "postgres/dump/data.dump",
    ]);
    fs::write(home.join("postgres/dump/data.dump"), "SELECT 1;\nSELECT nonsense;\n").unwrap();
    site.restic(&[
        "backup",
        "--host",
        "prod",
        "--time",
        "2024-01-07 23:00:01",
        "postgres/dump/data.dump",
    ]);
    let config = fs::read_to_string(site.path("config.toml")).unwrap();
    let lines = format!(
        "[instance.mrs.restore]\nscratch_directory = \"{}\"\nscratch_bin_dir = \"{}\"\n",
        server.socket_dir().join("scratch").display(),
        server.bin_dir().display()
    );
    fs::write(site.path("config.toml"), config + &lines).unwrap();
    let output = site.import(&["--json", "--load-dumps", "--verify"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let done: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let report = &done["report"];
    assert_eq!(report["with_databases"], 2, "{done}");
    assert_eq!(report["differences"], serde_json::json!([]), "{done}");
    let why = report["not_loaded"][0][1].as_str().unwrap();
    assert!(why.contains("nonsense"), "{why}");
    let snapshots = site.snapshots();
    for (snapshot, rows) in snapshots.iter().zip([3000, 2000]) {
        assert_proven(&site, &server, snapshot["id"].as_str().unwrap(), rows);
    }
    site.ok(&["check", "--read-data"]);
    let left = fs::read_dir(server.socket_dir().join("scratch")).unwrap().count();
    assert_eq!(left, 0, "nothing of the throw-away servers stays");
}
