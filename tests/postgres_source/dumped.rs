//! What a snapshot gives back for PostgreSQL's own programs.

use std::io::{ErrorKind, Write};
use std::process::Stdio;

use mrs_backup::ops::backup::{BackupPlan, backup};
use mrs_backup::ops::dump_database::{DatabaseDump, DumpFormat};
use mrs_backup::repository::Fetcher;
use mrs_backup::snapshot::Snapshot;
use mrs_backup::store::{MemoryStore, Store};

use super::*;
use crate::support::postgres::run;
use crate::support::{init, nasty, plan_for, silent};

/// Runs a program with `input` at its standard input.
fn feed(command: &mut std::process::Command, input: &[u8]) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    // Who has what was asked for reads no further.
    let fed = child.stdin.take().unwrap().write_all(input);
    assert!(fed.is_ok() || fed.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe));
    assert!(child.wait().unwrap().success(), "{command:?}");
}

#[test]
fn archives_and_sql_load_without_an_error_and_are_the_same_database() {
    for bin_dir in nasty::installations() {
        let server = TestServer::start_from(&bin_dir);
        nasty::create(&server, "nasty", 30);
        let (expected, contents) =
            (nasty::dump(&server, "nasty"), nasty::contents(&server, "nasty"));
        let objects = nasty::dump_objects(&server, "nasty");
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let repository = init(&store, None).unwrap();
        // Half of the tables as streams, half in the archive.
        let settings = PostgresSettings { stream_from: 16 << 10, ..settings(&server, &["nasty"]) };
        let plan = BackupPlan {
            files: Vec::new(),
            streams: vec![Box::new(source(settings))],
            ..plan_for(std::path::Path::new("/"))
        };
        let outcome = backup(&repository, plan, &StopFlag::new(), &silent()).unwrap();
        assert!(outcome.snapshot.is_complete);
        let dumped = |snapshot: &Snapshot, format| {
            let (fetcher, stop) = (Fetcher::new(&repository, 1 << 20), StopFlag::new());
            let found = DatabaseDump::find(&fetcher, snapshot, "nasty", &stop).unwrap();
            let mut bytes = Vec::new();
            let count = found.write(format, Some(&bin_dir), &mut bytes).unwrap();
            assert_eq!(count, bytes.len() as u64);
            bytes
        };
        server.psql("postgres", "ALTER DATABASE nasty RENAME TO original");

        // With the database itself and its properties.
        let custom = dumped(&outcome.snapshot, DumpFormat::Custom);
        feed(server.command("pg_restore").args(["-C", "-e", "-d", "postgres"]), &custom);
        nasty::assert_same_lines(&nasty::dump(&server, "nasty"), &expected);
        assert_eq!(nasty::contents(&server, "nasty"), contents);
        server.psql("postgres", "DROP DATABASE nasty");

        // From a file, in parallel, and one table alone.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &custom).unwrap();
        let mut restore = server.command("pg_restore");
        run(restore.args(["-C", "-e", "-j2", "-d", "postgres"]).arg(file.path()));
        assert_eq!(nasty::contents(&server, "nasty"), contents);
        server.psql("postgres", "DROP DATABASE nasty; ");
        server.psql("postgres", "CREATE DATABASE one TEMPLATE template0");
        feed(server.command("pg_restore").args(["-e", "-t", "texts", "-d", "one"]), &custom);
        assert_eq!(server.psql("one", "SELECT count(*) FROM texts"), "413");

        // The same as SQL.
        let plain = dumped(&outcome.snapshot, DumpFormat::Plain);
        server.psql("postgres", "CREATE DATABASE nasty TEMPLATE template0");
        feed(server.command("psql").args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", "nasty"]), &plain);
        assert_eq!(nasty::contents(&server, "nasty"), contents);
        nasty::assert_same_lines(&nasty::dump_objects(&server, "nasty"), &objects);
    }
}

#[test]
fn what_is_missing_or_wrong_is_told() {
    let server = TestServer::start();
    fill(&server, "mrs", 100);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = init(&store, None).unwrap();
    let plan = BackupPlan {
        files: Vec::new(),
        streams: vec![Box::new(source(settings(&server, &["mrs"])))],
        ..plan_for(std::path::Path::new("/"))
    };
    let mut snapshot = backup(&repository, plan, &StopFlag::new(), &silent()).unwrap().snapshot;
    let (fetcher, stop) = (Fetcher::new(&repository, 1 << 20), StopFlag::new());
    let find = |snapshot: &Snapshot, name: &str| -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        DatabaseDump::find(&fetcher, snapshot, name, &stop)
            .and_then(|found| found.write(DumpFormat::Custom, None, &mut bytes))
            .map(|_| bytes)
            .map_err(|error| error.to_string())
    };
    assert!(find(&snapshot, "mrs").is_ok());
    assert_eq!(find(&snapshot, "x").unwrap_err(), "the snapshot has no database `x`; it has `mrs`");
    let missing = "/nonexistent";
    let found = DatabaseDump::find(&fetcher, &snapshot, "mrs", &stop).unwrap();
    let error = found.write(DumpFormat::Plain, Some(missing.as_ref()), &mut std::io::sink());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("`/nonexistent/pg_restore` failed: No such file"), "{error}");
    snapshot.databases[0].tables[0].hash = Some([7; 32]);
    let error = find(&snapshot, "mrs").unwrap_err();
    assert!(error.contains("table public.claim: its rows are not those"), "{error}");
}
