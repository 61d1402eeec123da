//! What a good night gives.

use std::io;
use std::io::Write;
use std::process::Stdio;

use mrs_backup::source::StreamSource;
use mrs_backup::source::archive::ArchiveWalker;

use super::*;
use crate::support::nasty;
use crate::support::postgres::installations;

fn is_whole(bytes: &[u8]) -> Result<(), io::Error> {
    io::copy(&mut ArchiveWalker::new(bytes), &mut io::sink()).map(|_| ())
}

#[test]
fn the_nasty_database_is_read_row_by_row_on_every_version() {
    for bin_dir in nasty::installations() {
        let server = TestServer::start_from(&bin_dir);
        nasty::create(&server, "nasty", 30);
        let mut source = source(PostgresSettings { workers: 3, ..settings(&server, &["nasty"]) });
        let collected = read_whole(&mut source);
        let databases = source.databases();
        let [database] = &databases[..] else { panic!("{databases:?}") };
        let mut listed = Vec::new();
        for table in &database.tables {
            let path = String::from_utf8(table.path.clone().unwrap_or_default()).unwrap();
            if path.is_empty() {
                assert!(table.name.starts_with("nasty_config"), "{table:?}");
                assert_eq!((table.rows, table.hash), (1, None), "a part of an extension's table");
                continue;
            }
            let bytes = collected.stream(&path);
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            assert_eq!((table.rows, table.bytes), (lines, bytes.len() as u64), "{path}");
            let hash = blake3::hash(&bytes);
            assert_eq!(table.hash, Some(*hash.as_bytes()), "{path}");
            let name = server.psql(
                "nasty",
                &format!("SELECT format('%I.%I', $x${}$x$, $x${}$x$)", table.schema, table.name),
            );
            listed.push(format!("{name} {}", hash.to_hex()));
        }
        let mut expected = nasty::contents(&server, "nasty");
        // The extension's own tables are its own business.
        expected.retain(|line| !line.starts_with("public.nasty_"));
        expected.sort();
        listed.sort();
        assert_eq!(listed, expected);
        assert_eq!(database.properties.owner, "nasty_owner");
        assert_eq!(database.properties.ctype, "C");
        let columns = database.tables.iter().find(|table| table.name == "columns").unwrap();
        let names: Vec<&str> = columns.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["id", "other", "serial_one", "with_default", "big", "note", "late"]);
        expect_no_sessions(&server);
    }
}

#[test]
fn small_tables_stay_in_the_archive_and_are_counted_there() {
    for bin_dir in nasty::installations() {
        let server = TestServer::start_from(&bin_dir);
        nasty::create(&server, "nasty", 1000);
        let collect = |stream_from| {
            let mut source =
                source(PostgresSettings { stream_from, ..settings(&server, &["nasty"]) });
            let collected = read_whole(&mut source);
            (source.databases().remove(0).tables, collected.paths().len())
        };
        let (streamed, count) = collect(0);
        assert!(count > 1000, "{count}");
        let (archived, count) = collect(1 << 40);
        assert_eq!(count, 1, "only the archive");
        let (default, count) = collect(PostgresSettings::default().stream_from);
        assert!((2..10).contains(&count), "{count} streams");
        for other in [archived, default] {
            let without_path = |tables: &[mrs_backup::snapshot::TableManifest]| {
                let strip = |table: &mrs_backup::snapshot::TableManifest| {
                    mrs_backup::snapshot::TableManifest { path: None, ..table.clone() }
                };
                tables.iter().map(strip).collect::<Vec<_>>()
            };
            assert_eq!(without_path(&other), without_path(&streamed));
        }
    }
}

#[test]
fn several_databases_and_the_roles() {
    let server = TestServer::start();
    let odd = "odd/na me='1 host=nowhere";
    fill(&server, "mrs", 100);
    fill(&server, odd, 3);
    server.psql("postgres", "CREATE ROLE django LOGIN PASSWORD 'geheim'");
    let mut settings = settings(&server, &["mrs", odd]);
    settings.globals = true;
    let mut source = source(settings);
    assert_eq!(source.record().incomplete.len(), 3);
    let collected = read_whole(&mut source);
    let odd_path = "postgres/odd%2Fna me='1 host=nowhere";
    assert_eq!(
        collected.paths(),
        [
            "postgres/globals.sql",
            "postgres/mrs/rest.dump",
            "postgres/mrs/tables/public.claim.copy",
            &format!("{odd_path}/rest.dump"),
            &format!("{odd_path}/tables/public.claim.copy"),
        ]
    );
    let record = source.record();
    assert_eq!((record.kind.as_str(), &record.incomplete), ("postgresql", &Vec::new()));
    assert!(record.details["archive mrs"].ends_with("0 with data, all there"), "{record:?}");
    let roles = String::from_utf8(collected.stream("postgres/globals.sql")).unwrap();
    assert!(roles.contains("CREATE ROLE django") && roles.contains("SCRAM-SHA-256"));
    let manifests = source.databases();
    assert_eq!(manifests.len(), 2);
    assert_eq!((manifests[1].name.as_str(), manifests[1].encoding.as_str()), (odd, "UTF8"));
    assert_eq!(manifests[1].archive_path(), format!("{odd_path}/rest.dump").as_bytes());
    assert_eq!(manifests[0].collation, "C");
    assert!(manifests[0].system_identifier.parse::<u64>().is_ok());
    assert!(server.psql("mrs", "SHOW server_version").starts_with(&manifests[0].server_version));
}

#[test]
fn other_encodings_come_as_they_are() {
    let server = TestServer::start();
    let create =
        "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    server.psql("postgres", create);
    server.psql(
        "latin",
        "CREATE TABLE plain AS SELECT chr(233) AS v; \
         DO $$ BEGIN EXECUTE format('CREATE TABLE %I AS SELECT chr(224) AS v', chr(233)); END $$",
    );
    let mut source = source(settings(&server, &["latin"]));
    let collected = read_whole(&mut source);
    assert_eq!(collected.stream("postgres/latin/tables/public.plain.copy"), b"\xe9\n");
    assert_eq!(collected.paths().len(), 2, "a name that is not ASCII stays in the archive");
    let tables = source.databases().remove(0).tables;
    let hash = |bytes: &[u8]| Some(*blake3::hash(bytes).as_bytes());
    let found: Vec<_> = tables.iter().map(|t| (t.name.as_str(), t.rows, t.hash)).collect();
    assert_eq!(found, [("plain", 1, hash(b"\xe9\n")), ("é", 1, hash(b"\xe0\n"))]);
}

#[test]
fn roles_come_without_passwords_if_the_role_may_not_read_them() {
    let server = TestServer::start();
    server.psql("postgres", "CREATE ROLE django LOGIN PASSWORD 'geheim'");
    server.psql("postgres", "CREATE DATABASE mrs OWNER django");
    let mut settings = settings(&server, &["mrs"]);
    settings.server.user = Some("django".to_owned());
    settings.globals = true;
    let mut source = source(settings);
    let collected = read_whole(&mut source);
    let roles = String::from_utf8(collected.stream("postgres/globals.sql")).unwrap();
    assert!(roles.contains("CREATE ROLE django") && !roles.contains("SCRAM-SHA-256"));
    assert_eq!(
        source.record().details["globals"],
        "roles are without their passwords: only a superuser may read them"
    );
}

#[test]
fn a_role_that_may_only_read_is_enough() {
    let server = TestServer::start();
    nasty::create(&server, "nasty", 3);
    // Large objects belong to their owners, and user mappings to theirs.
    server.psql(
        "nasty",
        "SELECT lo_unlink(oid) FROM pg_largeobject_metadata; DROP SERVER elsewhere CASCADE",
    );
    let mut settings = settings(&server, &["nasty"]);
    settings.server.user = Some(nasty::BACKUP_ROLE.to_owned());
    let guarded =
        read_whole(&mut source(settings)).stream("postgres/nasty/tables/public.guarded.copy");
    assert_eq!(guarded.iter().filter(|byte| **byte == b'\n').count(), 30, "no policy hides a row");
}

#[test]
fn a_truncated_archive_is_noticed_with_every_installed_version() {
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
        let names = ["small", "large", "empty"];
        let all = PostgresSettings { stream_from: 1 << 40, ..settings(&server, &names) };
        let collected = read_whole(&mut source(all));
        let dumps = names.map(|name| collected.stream(&format!("postgres/{name}/rest.dump")));
        for bytes in &dumps {
            is_whole(bytes).unwrap();
            is_whole(&[bytes, &b"\0"[..]].concat()).unwrap_err();
        }
        for bytes in [&dumps[0], &dumps[2]] {
            for len in 0..bytes.len() {
                assert!(is_whole(&bytes[..len]).is_err(), "cut to {len} of {}", bytes.len());
            }
        }
        let large = &dumps[1];
        assert!(large.len() > 2_000_000);
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..300 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let len = usize::try_from(random >> 16).unwrap() % large.len();
            assert!(is_whole(&large[..len]).is_err(), "cut to {len} of {}", large.len());
        }
        // PostgreSQL's own program takes it.
        server.psql("postgres", "CREATE DATABASE again");
        let mut restore = server.command("pg_restore");
        let mut child = restore.args(["-e", "-d", "again"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(large).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(server.psql("again", "SELECT count(*) FROM claim"), "20000");
    }
}
