//! Databases in containers of a compose project: found, reached in every way, and left as they were.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mrs_backup::crypto::Secret;
use mrs_backup::event::StopFlag;
use mrs_backup::postgres::{ContainerSettings, ContainerWay, ServerSettings};
use mrs_backup::source::postgres::{PostgresSettings, PostgresSource};
use mrs_backup::source::{StreamEnd, StreamSink, StreamSource};
use support::docker::Docker;

fn settings(docker: &Docker, service: &str, home: &Path, way: ContainerWay) -> PostgresSettings {
    PostgresSettings {
        server: ServerSettings {
            container: Some(ContainerSettings {
                service: service.to_owned(),
                project: None,
                directory: home.to_owned(),
                way,
                docker: docker.client(),
            }),
            ..ServerSettings::default()
        },
        databases: vec!["mrs".to_owned()],
        stream_from: 0,
        globals: true,
        ..PostgresSettings::default()
    }
}

/// Keeps streams in memory and stops the source after `limit` bytes.
struct Sink {
    streams: Mutex<BTreeMap<String, Vec<u8>>>,
    failed: Mutex<Vec<String>>,
    limit: Option<(usize, Arc<StopFlag>)>,
}

impl StreamSink for Sink {
    fn store(&self, path: &[u8], reader: &mut dyn Read) -> StreamEnd {
        let path = String::from_utf8(path.to_vec()).unwrap();
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => bytes.extend_from_slice(&buffer[..len]),
                Err(error) => {
                    self.fail(&path, &error.to_string());
                    return StreamEnd::Broken;
                }
            }
            if let Some((limit, stop)) = &self.limit
                && bytes.len() > *limit
            {
                stop.stop();
            }
        }
        self.streams.lock().unwrap().insert(path, bytes);
        StreamEnd::Whole
    }

    fn fail(&self, item: &str, message: &str) {
        self.failed.lock().unwrap().push(format!("{item}: {message}"));
    }

    fn warn(&self, _: &str, _: &str) {}
}

/// Reads the database; gives its streams and where it was.
fn read(settings: PostgresSettings) -> (BTreeMap<String, Vec<u8>>, String) {
    let mut source = PostgresSource::new(settings, "test", Arc::new(StopFlag::new())).unwrap();
    let sink = Sink { streams: Mutex::default(), failed: Mutex::default(), limit: None };
    source.read_all(&sink).unwrap();
    assert_eq!(*sink.failed.lock().unwrap(), [""; 0]);
    let record = source.record();
    assert_eq!(record.incomplete, [""; 0]);
    assert!(record.details["image"].starts_with(support::docker::IMAGE), "{record:?}");
    (sink.streams.into_inner().unwrap(), record.details["place"].clone())
}

/// What runs in a container besides the server.
fn visitors(docker: &Docker, id: &str) -> Vec<String> {
    let listed = docker.run(&["exec", id, "ps", "-o", "args"]);
    let is_visitor = |line: &&str| {
        ["pg_dump", "pg_restore", "mrs-backup"].iter().any(|word| line.contains(word))
    };
    listed.lines().filter(is_visitor).map(str::to_owned).collect()
}

/// What the doctor says of a service that writes where nothing is saved.
fn doctor_names_what_is_not_saved(docker: &Docker, home: &Path) {
    let instance = Instance::new(docker, home, "auto");
    for name in ["uploads", "log"] {
        fs::create_dir(home.join(name)).unwrap();
    }
    let config = instance.work.path().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let home_line = format!("home = \"{}\"\n", home.display());
    fs::write(&config, text.replace(&home_line, &format!("{home_line}paths = [\"log\"]\n")))
        .unwrap();
    let mount = |name: &str| format!("{}:/{name}", home.join(name).display());
    let (uploads, log) = (mount("uploads"), mount("log"));
    let options = ["-v", &uploads, "-v", &log, "-v", "queue:/queue", "-v", "/etc:/host-etc"];
    let id = docker.postgres("django", home, &[&["--network", "none"], &options[..]].concat());
    let mut command = instance.command(&["doctor", "--json", "--only", "docker,mounts"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let has = |level: &str, words: &str| {
        messages.iter().any(|one| {
            one["level"] == level
                && one["message"].as_str().is_some_and(|text| text.contains(words))
        })
    };
    assert!(has("ok", "docker "), "{said}");
    assert!(has("warning", "uploads (/uploads of service django) is saved by no path"), "{said}");
    assert!(has("warning", "volume queue (/queue of service django)"), "{said}");
    assert!(!said.contains("/log of service") && !said.contains("host-etc"), "{said}");
    docker.run(&["rm", "-f", "-v", &id]);
}

fn expect_nobody(docker: &Docker, id: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'mrs-backup/%'";
    loop {
        let (left, sessions) = (visitors(docker, id), docker.psql(id, "postgres", sessions));
        if left.is_empty() && sessions == "0" {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {left:?}, {sessions} sessions");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// An orphan of ours that ends by a signal would be a crashed session to the server.
fn expect_no_crash(docker: &Docker, id: &str) {
    let log = docker.command().args(["logs", id]).output().unwrap();
    let log = String::from_utf8_lossy(&[log.stdout, log.stderr].concat()).into_owned();
    for word in ["was terminated by signal", "all server processes terminated", "untracked"] {
        assert!(!log.contains(word), "{log}");
    }
}

fn fill(docker: &Docker, id: &str) {
    docker.psql(id, "postgres", "CREATE DATABASE mrs");
    docker.psql(
        id,
        "mrs",
        "CREATE TABLE claim AS SELECT n, md5(n::text) AS v, E'\\t\\r\\\\' || chr(4) || chr(26) AS odd FROM generate_series(1, 300000) n; \
         SELECT lo_from_bytea(1, decode(repeat('00ff0a0d', 3000000), 'hex'))",
    );
}

#[test]
fn a_container_is_found_by_its_labels_and_reached_in_every_way() {
    let docker = Docker::start();
    let home = tempfile::tempdir().unwrap();
    let sockets = home.path().join("run");
    fs::create_dir(&sockets).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&sockets, open).unwrap();
    // Another process may run this test, too.
    let subnet = format!("10.213.{}", std::process::id() % 250);
    docker.run(&["network", "create", "--subnet", &format!("{subnet}.0/28"), "private"]);
    let mount = format!("{}:/var/run/postgresql", sockets.display());
    let id =
        docker.postgres("postgres", home.path(), &["--network", "private", "--volume", &mount]);
    fill(&docker, &id);
    docker.psql(&id, "postgres", "ALTER ROLE postgres PASSWORD 'ge:heim'");
    let settings = |way| settings(&docker, "postgres", home.path(), way);

    let (by_socket, place) = read(settings(ContainerWay::Auto));
    assert!(place.starts_with(&format!("socket in {}", sockets.display())), "{place}");
    let mut by_address = settings(ContainerWay::Address);
    by_address.server.password = Some(Secret::new(b"ge:heim".to_vec()));
    let (by_address, place) = read(by_address);
    assert!(place.starts_with(&subnet), "{place}");
    let claim = "postgres/mrs/tables/public.claim.copy";
    assert_eq!(by_socket[claim].iter().filter(|byte| **byte == b'\n').count(), 300_000);
    // Neither of both: each connection is carried by a program in the container.
    let (by_exec, place) = read(settings(ContainerWay::Exec));
    assert!(place.starts_with("docker exec"), "{place}");
    expect_nobody(&docker, &id);
    for other in [by_address, by_exec] {
        assert_eq!(other.keys().collect::<Vec<_>>(), by_socket.keys().collect::<Vec<_>>());
        assert!(other[claim] == by_socket[claim], "bytes are changed on the way");
        assert_eq!(
            other["postgres/mrs/rest.dump"].len(),
            by_socket["postgres/mrs/rest.dump"].len()
        );
    }

    stopped_run_leaves_nothing(&docker, &id, &settings);
    // Killed in the middle.
    killed_run_leaves_nothing(&docker, &id, home.path(), "auto");
    killed_run_leaves_nothing(&docker, &id, home.path(), "exec");

    expect_no_crash(&docker, &id);

    let fails = |service: &str, directory: &Path, told: &str| {
        let settings = self::settings(&docker, service, directory, ContainerWay::Auto);
        let mut source = PostgresSource::new(settings, "test", Arc::new(StopFlag::new())).unwrap();
        let sink = Sink { streams: Mutex::default(), failed: Mutex::default(), limit: None };
        let error = source.read_all(&sink).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    };
    fails("redis", home.path(), "no container of service `redis`");
    fails("postgres", Path::new("/elsewhere"), "docker compose up -d");
    docker.postgres("postgres", home.path(), &["--network", "none"]);
    fails("postgres", home.path(), "2 containers of service `postgres`");
}

/// Stopped in the middle, on every way.
fn stopped_run_leaves_nothing(
    docker: &Docker,
    id: &str,
    settings: &dyn Fn(ContainerWay) -> PostgresSettings,
) {
    for (way, limit) in [
        (ContainerWay::Auto, 1 << 20),
        (ContainerWay::Socket, 4 << 20),
        (ContainerWay::Exec, 1 << 20),
        (ContainerWay::Exec, 4 << 20),
    ] {
        let stop = Arc::new(StopFlag::new());
        let mut source = PostgresSource::new(settings(way), "test", Arc::clone(&stop)).unwrap();
        let limit = Some((limit, stop));
        let sink = Sink { streams: Mutex::default(), failed: Mutex::default(), limit };
        source.read_all(&sink).unwrap();
        assert!(!source.record().incomplete.is_empty());
        expect_nobody(docker, id);
    }
}

/// An instance whose database is in a container, and nothing of PostgreSQL on the search path.
struct Instance<'d> {
    docker: &'d Docker,
    work: tempfile::TempDir,
}

impl<'d> Instance<'d> {
    fn new(docker: &'d Docker, home: &Path, via: &str) -> Self {
        // Near the root: the path of a socket must be short.
        let work = tempfile::Builder::new().prefix("mrs-ct-").tempdir_in("/tmp").unwrap();
        let path = work.path().display();
        let password = work.path().join("password");
        fs::write(&password, "secret").unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        let config = format!(
            "version = 1\nstate_dir = \"{path}/state\"\n[instance.mrs]\nhome = \"{home}\"\n\
             repository = \"{path}/repo\"\nkey = {{ file = \"{path}/password\" }}\n\
             [instance.mrs.postgres]\ndatabases = [\"mrs\"]\nstream_from_kib = 0\n\
             container = {{ service = \"postgres\", via = \"{via}\" }}\n\
             [instance.mrs.restore]\nscratch_directory = \"{path}/s\"\n",
            home = home.display(),
        );
        fs::write(work.path().join("config.toml"), config).unwrap();
        let instance = Self { docker, work };
        support::postgres::run(&mut instance.command(&["init", "--kdf-memory", "8"]));
        instance
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mrs-backup"));
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("HOME", self.work.path()).env("DOCKER_HOST", self.docker.host());
        command.arg("-c").arg(self.work.path().join("config.toml")).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    /// Runs the program, which must succeed; gives its last line of JSON.
    fn ok(&self, arguments: &[&str]) -> serde_json::Value {
        let said = support::postgres::run(self.command(arguments).arg("--json"));
        serde_json::from_str(said.lines().last().unwrap()).unwrap()
    }

    /// Kills the program as soon as it says `step`.
    fn killed_at(&self, step: &str, arguments: &[&str]) {
        let mut command = self.command(arguments);
        let mut child = command.arg("--json").stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = format!("\"step\":\"{step}\"");
        assert!(lines.map_while(Result::ok).any(|line| line.contains(&wanted)), "{step}");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Containers of test restores.
    fn scratch_containers(&self) -> String {
        self.docker.run(&["ps", "-aq", "--filter", "label=mrs-backup.test-restore"])
    }
}

/// The program itself, killed while `pg_dump` runs in the container.
fn killed_run_leaves_nothing(docker: &Docker, id: &str, home: &Path, via: &str) {
    let instance = Instance::new(docker, home, via);
    let mut command = instance.command(&["run"]);
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !visitors(docker, id).iter().any(|line| line.contains("pg_dump -Fc")) {
        assert!(running.try_wait().unwrap().is_none(), "it ended too soon");
        assert!(Instant::now() < deadline, "pg_dump does not start");
    }
    running.kill().unwrap();
    running.wait().unwrap();
    expect_nobody(docker, id);
    instance.ok(&["run"]);
    expect_nobody(docker, id);
}

#[test]
fn a_database_is_restored_and_proven_with_the_programs_of_its_container() {
    let docker = Docker::start();
    let home = tempfile::tempdir().unwrap();
    // No socket outside, no address: only `docker exec` leads there.
    let id = docker.postgres("postgres", home.path(), &["--network", "none"]);
    fill(&docker, &id);
    docker.psql(&id, "mrs", "ALTER TABLE claim ADD PRIMARY KEY (n); CREATE INDEX ON claim (v)");
    doctor_names_what_is_not_saved(&docker, home.path());
    let instance = Instance::new(&docker, home.path(), "auto");
    let sums = "SELECT count(*), sum(n), md5(string_agg(odd, v ORDER BY n)) FROM claim";
    let saved = docker.psql(&id, "mrs", sums);
    instance.ok(&["run"]);
    expect_nobody(&docker, &id);

    let proof = instance.ok(&["test-restore"]);
    assert_eq!(proof["is_proven"], true, "{proof}");
    let one = &proof["databases"][0];
    assert_eq!(
        (&one["schema"], &one["amcheck"]),
        (&"definitions are the same".into(), &"no damage".into())
    );
    let scratch = || {
        let entries = fs::read_dir(instance.work.path().join("s")).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
    };
    assert_eq!((scratch().len(), instance.scratch_containers()), (0, String::new()));

    // Killed: the container goes by itself, what it left on the disk with the next.
    instance.killed_at("rows", &["test-restore"]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !instance.scratch_containers().is_empty() {
        assert!(Instant::now() < deadline, "its container stays");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(scratch().len(), 2);
    instance.ok(&["test-restore"]);
    assert_eq!((scratch().len(), instance.scratch_containers()), (0, String::new()));

    docker.psql(&id, "mrs", "DELETE FROM claim WHERE n > 10; DROP INDEX claim_v_idx");
    let changed = docker.psql(&id, "mrs", sums);
    let restore = ["restore", "latest", "--database", "mrs", "--yes"];
    for step in ["definitions", "rows", "indexes"] {
        instance.killed_at(step, &restore);
        expect_nobody(&docker, &id);
        assert_eq!(docker.psql(&id, "mrs", sums), changed);
    }
    instance.ok(&restore);
    assert_eq!(docker.psql(&id, "mrs", sums), saved);
    assert_eq!(
        docker.psql(&id, "mrs", "SELECT count(*) FROM pg_index WHERE indrelid = 'claim'::regclass"),
        "2"
    );
    instance.ok(&["undo", "--yes"]);
    assert_eq!(docker.psql(&id, "mrs", sums), changed);
    instance.ok(&["restore", "latest", "--database", "mrs", "--table", "public.claim", "--yes"]);
    assert_eq!(docker.psql(&id, "mrs", &sums.replace("claim", "mrs_restore.claim")), saved);
    expect_nobody(&docker, &id);
    expect_no_crash(&docker, &id);
}
