//! Databases of real servers read into streams: whole ones, busy ones, and ones that break.

#[path = "../support/mod.rs"]
mod support;

mod broken;
mod busy;
mod connecting;
mod dumped;
mod whole;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mrs_backup::event::StopFlag;
use mrs_backup::postgres::ServerSettings;
use mrs_backup::source::postgres::{PostgresSettings, PostgresSource};
use mrs_backup::source::{SourceError, StreamEnd, StreamSink, StreamSource};
use support::postgres::TestServer;

/// Settings that reach `server` over its socket, with every table a stream.
fn settings(server: &TestServer, databases: &[&str]) -> PostgresSettings {
    PostgresSettings {
        server: ServerSettings {
            host: Some(server.socket_dir().display().to_string()),
            port: Some(server.port()),
            user: Some("postgres".to_owned()),
            bin_dir: Some(server.bin_dir().to_owned()),
            ..ServerSettings::default()
        },
        databases: databases.iter().map(|name| (*name).to_owned()).collect(),
        stream_from: 0,
        ..PostgresSettings::default()
    }
}

fn source(settings: PostgresSettings) -> PostgresSource {
    PostgresSource::new(settings, "test", Arc::new(StopFlag::new())).unwrap()
}

/// What is called while a stream is read: its path and the bytes read so far.
type Watcher = Box<dyn Fn(&str, usize) + Sync>;

/// Keeps streams in memory.
#[derive(Default)]
struct Collected {
    streams: Mutex<BTreeMap<String, Vec<u8>>>,
    failed: Mutex<Vec<String>>,
    warnings: Mutex<Vec<String>>,
    watcher: Option<Watcher>,
}

impl Collected {
    fn watched(watcher: impl Fn(&str, usize) + Sync + 'static) -> Self {
        Self { watcher: Some(Box::new(watcher)), ..Self::default() }
    }

    fn paths(&self) -> Vec<String> {
        self.streams.lock().unwrap().keys().cloned().collect()
    }

    fn stream(&self, path: &str) -> Vec<u8> {
        let streams = self.streams.lock().unwrap();
        streams.get(path).unwrap_or_else(|| panic!("no {path} in {:?}", streams.keys())).clone()
    }

    fn failed(&self) -> Vec<String> {
        self.failed.lock().unwrap().clone()
    }
}

impl StreamSink for Collected {
    fn store(&self, path: &[u8], reader: &mut dyn Read) -> StreamEnd {
        let path = String::from_utf8(path.to_vec()).unwrap();
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        let end = loop {
            if let Some(watcher) = &self.watcher {
                watcher(&path, bytes.len());
            }
            match reader.read(&mut buffer) {
                Ok(0) => break StreamEnd::Whole,
                Ok(len) => bytes.extend_from_slice(&buffer[..len]),
                Err(error) => {
                    self.fail(&path, &error.to_string());
                    break StreamEnd::Broken;
                }
            }
        };
        if end == StreamEnd::Whole {
            assert!(self.streams.lock().unwrap().insert(path, bytes).is_none(), "twice");
        }
        end
    }

    fn fail(&self, item: &str, message: &str) {
        self.failed.lock().unwrap().push(format!("{item}: {message}"));
    }

    fn warn(&self, item: &str, message: &str) {
        self.warnings.lock().unwrap().push(format!("{item}: {message}"));
    }
}

/// Reads everything and expects that nothing fails.
fn read_whole(source: &mut PostgresSource) -> Collected {
    let collected = Collected::default();
    source.read_all(&collected).unwrap();
    assert_eq!(collected.failed(), [""; 0]);
    assert_eq!(source.record().incomplete, [""; 0]);
    collected
}

/// The error that keeps anything from starting.
fn first_error(settings: PostgresSettings) -> SourceError {
    let collected = Collected::default();
    let error = source(settings).read_all(&collected).expect_err("it cannot be read");
    assert_eq!(collected.paths(), [""; 0]);
    error
}

fn fill(server: &TestServer, database: &str, rows: u32) {
    server.psql("postgres", &format!("CREATE DATABASE \"{database}\""));
    server.psql(
        database,
        &format!(
            "CREATE TABLE claim AS SELECT n, md5(n::text) AS name, repeat('x', 200) AS note \
             FROM generate_series(1, {rows}) n; CREATE INDEX ON claim (n); ANALYZE claim"
        ),
    );
}

/// Sessions of ours that are at the server.
fn sessions(server: &TestServer) -> String {
    server.psql(
        "postgres",
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'mrs-backup/%'",
    )
}

/// Waits until all our sessions are gone.
fn expect_no_sessions(server: &TestServer) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while sessions(server) != "0" {
        let who = "SELECT application_name, state, query FROM pg_stat_activity WHERE application_name LIKE 'mrs-backup/%'";
        assert!(Instant::now() < deadline, "left behind: {}", server.psql("postgres", who));
        std::thread::sleep(Duration::from_millis(50));
    }
}
