//! Dumps of real servers, whole and broken.

mod support;

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use mrs_backup::crypto::Secret;
use mrs_backup::event::StopFlag;
use mrs_backup::source::archive::ArchiveWalker;
use mrs_backup::source::postgres::{PostgresSettings, PostgresSource};
use mrs_backup::source::{SourceError, StreamError, StreamSource};
use support::postgres::{TestServer, installations};

fn settings(server: &TestServer, databases: &[&str]) -> PostgresSettings {
    PostgresSettings {
        host: Some(server.socket_dir().display().to_string()),
        port: Some(server.port()),
        user: Some("postgres".to_owned()),
        databases: databases.iter().map(|name| (*name).to_owned()).collect(),
        bin_dir: Some(server.bin_dir().to_owned()),
        password: None,
        globals: false,
    }
}

fn source(settings: PostgresSettings) -> PostgresSource {
    PostgresSource::new(settings, "test", Arc::new(StopFlag::new())).unwrap()
}

fn read_all(source: &mut PostgresSource) -> Vec<(String, Vec<u8>)> {
    let mut streams = Vec::new();
    while let Some(mut stream) = source.next_stream().unwrap() {
        let mut bytes = Vec::new();
        stream.reader.read_to_end(&mut bytes).unwrap();
        streams.push((String::from_utf8(stream.path).unwrap(), bytes));
    }
    streams
}

fn first_error(settings: PostgresSettings) -> SourceError {
    match source(settings).next_stream() {
        Err(error) => error,
        Ok(stream) => panic!("no error but {stream:?}"),
    }
}

/// A directory with the server's programs, one of them replaced by a shell script.
fn with_script(server: &TestServer, script: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    symlink(server.bin_dir().join("psql"), directory.path().join("psql")).unwrap();
    let program = directory.path().join("pg_dump");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().to_owned();
    (directory, path)
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

fn is_whole(bytes: &[u8]) -> Result<(), io::Error> {
    io::copy(&mut ArchiveWalker::new(bytes), &mut io::sink()).map(|_| ())
}

#[test]
fn databases_and_roles_are_dumped_whole() {
    let server = TestServer::start();
    let odd = "odd/na me='1 host=nowhere";
    fill(&server, "mrs", 100);
    fill(&server, odd, 3);
    server.psql("postgres", "CREATE ROLE django LOGIN PASSWORD 'geheim'");
    let mut settings = settings(&server, &["mrs", odd]);
    settings.globals = true;
    let mut source = source(settings);
    assert_eq!(source.record().incomplete.len(), 3);
    let streams = read_all(&mut source);

    let paths: Vec<&str> = streams.iter().map(|(path, _)| path.as_str()).collect();
    let odd_path = "postgres/odd%2Fna me='1 host=nowhere/rest.dump";
    assert_eq!(paths, ["postgres/mrs/rest.dump", odd_path, "postgres/globals.sql"]);
    let record = source.record();
    assert_eq!((record.kind.as_str(), &record.incomplete), ("postgresql", &Vec::new()));
    assert!(record.details["archive mrs"].ends_with("1 with data, all there"), "{record:?}");
    let roles = String::from_utf8_lossy(&streams[2].1).into_owned();
    assert!(roles.contains("CREATE ROLE django") && roles.contains("SCRAM-SHA-256"));

    let manifests = source.databases();
    assert_eq!(manifests.len(), 2);
    assert_eq!((manifests[1].name.as_str(), manifests[1].encoding.as_str()), (odd, "UTF8"));
    assert_eq!(manifests[1].archive_path(), odd_path.as_bytes());
    assert_eq!(manifests[0].collation, "C");
    assert!(manifests[0].system_identifier.parse::<u64>().is_ok());
    assert!(server.psql("mrs", "SHOW server_version").starts_with(&manifests[0].server_version));

    // PostgreSQL's own program takes it.
    let mut restore = server.command("pg_restore");
    restore.args(["-C", "-d", "postgres"]).stdin(Stdio::piped());
    server.psql("postgres", "DROP DATABASE mrs");
    let mut child = restore.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&streams[0].1).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(server.psql("mrs", "SELECT count(*) FROM claim"), "100");
}

#[test]
fn roles_come_without_passwords_if_the_role_may_not_read_them() {
    let server = TestServer::start();
    server.psql("postgres", "CREATE ROLE django LOGIN PASSWORD 'geheim'");
    server.psql("postgres", "CREATE DATABASE mrs OWNER django");
    let mut settings = settings(&server, &["mrs"]);
    settings.user = Some("django".to_owned());
    settings.globals = true;
    let mut source = source(settings);
    let streams = read_all(&mut source);
    let roles = String::from_utf8_lossy(&streams[1].1).into_owned();
    assert!(roles.contains("CREATE ROLE django") && !roles.contains("SCRAM-SHA-256"));
    assert_eq!(
        source.record().details["globals"],
        "roles are without their passwords: only a superuser may read them"
    );
    assert!(source.record().incomplete.is_empty());
}

#[test]
fn a_truncated_dump_is_noticed_with_every_installed_version() {
    for bin_dir in installations() {
        let server = TestServer::start_from(&bin_dir);
        server.psql("postgres", "CREATE DATABASE empty");
        fill(&server, "small", 20);
        fill(&server, "large", 20_000);
        server
            .psql("small", "CREATE MATERIALIZED VIEW v AS SELECT * FROM claim; CREATE SEQUENCE s");
        server.psql(
            "large",
            "SELECT count(lo_from_bytea(0, decode(repeat(md5(n::text), 500), 'hex'))) \
             FROM generate_series(1, 50) n; SELECT lo_from_bytea(3000000000, 'big oid')",
        );
        let mut source = source(settings(&server, &["small", "large", "empty"]));
        let streams = read_all(&mut source);
        println!("{}: {:#?}", bin_dir.display(), source.record().details);
        for (path, bytes) in &streams[..] {
            is_whole(bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
            is_whole(&[bytes, &b"\0"[..]].concat()).unwrap_err();
        }
        for bytes in [&streams[0].1, &streams[2].1] {
            for len in 0..bytes.len() {
                assert!(is_whole(&bytes[..len]).is_err(), "cut to {len} of {}", bytes.len());
            }
        }
        let large = &streams[1].1;
        assert!(large.len() > 2_000_000);
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..300 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let len = usize::try_from(random >> 16).unwrap() % large.len();
            assert!(is_whole(&large[..len]).is_err(), "cut to {len} of {}", large.len());
        }
    }
}

#[test]
fn a_dump_that_breaks_off_is_an_error_at_its_end() {
    let server = TestServer::start();
    fill(&server, "mrs", 200_000);
    let mut buffer = vec![0; 1 << 20];

    // The server ends the session.
    let mut terminated = source(settings(&server, &["mrs"]));
    let mut stream = terminated.next_stream().unwrap().unwrap();
    stream.reader.read_exact(&mut buffer).unwrap();
    let ended = server.psql(
        "postgres",
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE application_name = 'mrs-backup/test'",
    );
    assert_eq!(ended, "1");
    let error = io::copy(&mut stream.reader, &mut io::sink()).unwrap_err();
    // How the server's farewell reads depends on how far it came.
    assert!(matches!(StreamError::of(&error), Some(StreamError::Failed { .. })), "{error}");
    assert!(error.to_string().contains("failed (exit status 1): pg_dump: error"), "{error}");
    drop(stream);
    assert_eq!(
        terminated.record().incomplete,
        ["postgres/mrs/rest.dump: its end was not reached or is not verified"]
    );

    // pg_dump is killed.
    let scripts = tempfile::tempdir().unwrap();
    let pid_file = scripts.path().join("pid");
    let real = server.bin_dir().join("pg_dump");
    let script = format!("echo $$ >{}; exec {} \"$@\"", pid_file.display(), real.display());
    let (_directory, bin_dir) = with_script(&server, &script);
    let mut killed =
        source(PostgresSettings { bin_dir: Some(bin_dir), ..settings(&server, &["mrs"]) });
    let mut stream = killed.next_stream().unwrap().unwrap();
    stream.reader.read_exact(&mut buffer).unwrap();
    let pid = fs::read_to_string(&pid_file).unwrap();
    support::postgres::run(std::process::Command::new("kill").args(["-9", pid.trim()]));
    let error = io::copy(&mut stream.reader, &mut io::sink()).unwrap_err();
    assert!(error.to_string().contains("killed by signal 9"), "{error}");
    drop(stream);

    // A wrapper swallows the failure: only the archive tells.
    let script = format!(
        "[ \"$1\" = --version ] && exec {real} --version; {real} \"$@\" | head -c 3000000; exit 0",
        real = real.display()
    );
    let (_directory, bin_dir) = with_script(&server, &script);
    let mut lying =
        source(PostgresSettings { bin_dir: Some(bin_dir), ..settings(&server, &["mrs"]) });
    let mut stream = lying.next_stream().unwrap().unwrap();
    let error = io::copy(&mut stream.reader, &mut io::sink()).unwrap_err();
    assert!(matches!(StreamError::of(&error), Some(StreamError::Archive(_))), "{error}");
    assert!(error.to_string().contains("it ends after 3000000 bytes"), "{error}");
    drop(stream);
    assert_eq!(lying.record().incomplete.len(), 1);
}

#[test]
fn a_dropped_dump_leaves_no_session_behind() {
    let server = TestServer::start();
    fill(&server, "mrs", 200_000);
    let mut source = source(settings(&server, &["mrs"]));
    let mut stream = source.next_stream().unwrap().unwrap();
    stream.reader.read_exact(&mut [0; 1000]).unwrap();
    let sessions = || {
        server.psql(
            "postgres",
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mrs-backup/test'",
        )
    };
    assert_eq!(sessions(), "1");
    drop(stream);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while sessions() != "0" {
        assert!(std::time::Instant::now() < deadline, "the session lives on");
    }
}

#[test]
fn what_cannot_be_dumped_is_said_before_anything_starts() {
    let server = TestServer::start();
    server.psql("postgres", "CREATE ROLE django LOGIN PASSWORD 'geheim'");
    fill(&server, "mrs", 3);
    let says = |settings: PostgresSettings, texts: &[&str]| {
        let error = first_error(settings).to_string();
        for text in texts {
            assert!(error.contains(text), "{error}");
        }
        assert!(!error.contains("falsch"), "{error}");
    };

    says(
        settings(&server, &["mrs", "nodb"]),
        &["cannot reach database `nodb`", "database \"nodb\" does not exist", "check `host`"],
    );
    let wrong_port = PostgresSettings { port: Some(1), ..settings(&server, &["mrs"]) };
    says(wrong_port, &["cannot reach database `mrs`", "port 1", "No such file or directory"]);

    let by_tcp = |password: &str| PostgresSettings {
        host: Some("127.0.0.1".to_owned()),
        user: Some("django".to_owned()),
        password: Some(Secret::new(password.into())),
        ..settings(&server, &["mrs"])
    };
    says(by_tcp("falsch"), &["127.0.0.1", "user django", "password authentication failed"]);
    server.psql("mrs", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO django");
    assert_eq!(read_all(&mut source(by_tcp("geheim"))).len(), 1);
    let without = PostgresSettings { password: None, ..by_tcp("") };
    says(without, &["no password supplied"]);

    let nowhere = Some(PathBuf::from("/nonexistent/bin"));
    says(
        PostgresSettings { bin_dir: nowhere, ..settings(&server, &["mrs"]) },
        &["cannot start `/nonexistent/bin/pg_dump`: No such file", "set `bin_dir`"],
    );
    let (_directory, bin_dir) = with_script(
        &server,
        "[ \"$1\" = --version ] && echo 'pg_dump (PostgreSQL) 9.6.24' && exit; touch \"$0.ran\"",
    );
    let ran = bin_dir.join("pg_dump.ran");
    says(
        PostgresSettings { bin_dir: Some(bin_dir), ..settings(&server, &["mrs"]) },
        &["is version 9.6.24, but the server", "install postgresql-client-"],
    );
    assert!(!Path::exists(&ran));
}
