//! One table beside the live one.

use std::sync::Arc;

use mrs_backup::event::StopFlag;
use mrs_backup::ops::backup::{BackupPlan, backup};
use mrs_backup::ops::restore_database::{apply_table, plan_table};
use mrs_backup::postgres::{Server, ServerSettings};
use mrs_backup::source::postgres::{PostgresSettings, PostgresSource};
use mrs_backup::store::{MemoryStore, ObjectKind, Recording, Store, Verb};
use mrs_backup::target::postgres::Cluster;

use crate::site::Site;
use crate::support::postgres::TestServer;
use crate::support::{init, plan_for, silent};

/// Rows that neither compress nor repeat, so that bytes tell who was read.
fn fill_with(server: &TestServer, table: &str, rows: u32) {
    let sql = format!(
        "CREATE TABLE {table} AS SELECT g, encode(sha256(('{table}' || g)::bytea), 'base64') AS a, \
         encode(sha256(('{table}' || -g)::bytea), 'base64') AS b FROM generate_series(1, {rows}) g"
    );
    server.psql("app", &sql);
}

#[test]
fn only_the_chunks_of_the_table_are_read() {
    let server = TestServer::start();
    server.psql("postgres", "CREATE DATABASE app");
    fill_with(&server, "wanted", 1_000);
    fill_with(&server, "before_it", 50_000);
    fill_with(&server, "zz_after_it", 50_000);
    let settings = ServerSettings {
        host: Some(server.socket_dir().display().to_string()),
        port: Some(server.port()),
        user: Some("postgres".to_owned()),
        bin_dir: Some(server.bin_dir().to_owned()),
        ..ServerSettings::default()
    };
    let stop = Arc::new(StopFlag::new());
    let source = PostgresSettings {
        server: settings.clone(),
        databases: vec!["app".to_owned()],
        ..PostgresSettings::default()
    };
    let source = PostgresSource::new(source, "test", Arc::clone(&stop)).unwrap();
    let recording = Arc::new(Recording::new(Arc::new(MemoryStore::new())));
    let store: Arc<dyn Store> = Arc::clone(&recording) as _;
    let repository = init(&store, None).unwrap();
    let plan = BackupPlan {
        files: Vec::new(),
        streams: vec![Box::new(source)],
        ..plan_for(std::path::Path::new("/"))
    };
    let outcome = backup(&repository, plan, &stop, &silent()).unwrap();
    let snapshot = &outcome.snapshot;
    let bytes = |name: &str| {
        let mut tables = snapshot.databases[0].tables.iter();
        tables.find(|table| table.name == name).unwrap().bytes
    };
    let all: u64 = snapshot.databases[0].tables.iter().map(|table| table.bytes).sum();
    assert!(all > 50 * bytes("wanted"), "{all}");

    recording.clear();
    let server = Server::find(&settings, "test", &|_| None).unwrap();
    let cluster = Cluster::new(server, Arc::clone(&stop));
    let id = outcome.commit.id;
    let plan = plan_table(id, snapshot, &cluster, None, "public.wanted", "mrs_restore").unwrap();
    assert_eq!(recording.calls(), [], "nothing is read to plan it");
    let (rows, difference) =
        apply_table(&repository, snapshot, &plan, &cluster, &silent()).unwrap();
    assert_eq!((rows, difference.unwrap().same), (1000, 1000));

    let of_packs = |call: &&mrs_backup::store::Call| {
        call.verb == Verb::Get && call.object.is_some_and(|name| name.kind() == ObjectKind::Pack)
    };
    let calls = recording.calls();
    let read: u64 = calls.iter().filter(of_packs).map(|call| call.bytes).sum();
    // Its own chunks, and of directories and lists what leads there.
    assert!(read > bytes("wanted") / 2, "{read} of {}", bytes("wanted"));
    assert!(read < bytes("wanted") + (64 << 10), "{read} for {} of {all}", bytes("wanted"));
    let gets = calls.iter().filter(of_packs).count();
    assert!(gets < 12, "{gets} reads: {calls:?}");
}

#[test]
fn a_table_comes_back_beside_the_live_one_and_is_compared() {
    let site = Site::new();
    site.backup();
    site.sql("DELETE FROM public.bill WHERE id <= 5; UPDATE public.bill SET cents = 1 WHERE id IN (6, 7)");
    site.sql("INSERT INTO public.bill VALUES (9001, NULL, 4)");
    let args = ["restore", "latest", "--database", "--table", "public.bill", "--json"];
    site.run(&args).fails(2, "is to be made in database app");
    let ran = site.ok(&[&args[..], &["--yes"]].concat());
    let difference = &ran.summary()["difference"];
    let number = |name: &str| difference[name].as_u64().unwrap();
    assert_eq!(
        (number("same"), number("changed"), number("only_snapshot"), number("only_live")),
        (2993, 2, 5, 1)
    );
    assert_eq!(site.sql("SELECT count(*), sum(cents) FROM mrs_restore.bill"), "3000|45015000");
    assert_eq!(site.sql("SELECT count(*) FROM public.bill"), "2996", "the live one is as it was");
    // Once more it is replaced; what somebody else made is not.
    site.ok(&[&args[..], &["--yes"]].concat());
    site.sql("COMMENT ON TABLE mrs_restore.bill IS 'mine now'");
    site.run(&[&args[..], &["--yes"]].concat()).fails(1, "table `mrs_restore.bill` is in the way");
    // Without a key rows are the same or not; a column that is gone is named.
    site.sql(
        "UPDATE public.log SET line = 'x' WHERE line IS NULL; ALTER TABLE public.log ADD more int",
    );
    let args =
        ["restore", "latest", "--database", "app", "--table", "public.log", "--yes", "--json"];
    let summary = site.ok(&args).summary();
    let difference = &summary["difference"];
    assert_eq!((&difference["same"], &difference["only_live"]), (&2.into(), &1.into()));
    assert_eq!(
        (&difference["changed"], &difference["columns"][0]),
        (&serde_json::Value::Null, &"more".into())
    );
    // Those in the archive as well.
    site.sql("DROP SCHEMA mrs_restore CASCADE");
    let site = site.streaming_from(1 << 20);
    let id = site.backup();
    for (table, rows) in [("person", 500), ("bill", 2996), ("log", 3)] {
        let name = format!("public.{table}");
        let args = [
            "restore",
            &id,
            "--database",
            "--table",
            &name,
            "--schema",
            "again",
            "--yes",
            "--json",
        ];
        let difference = &site.ok(&args).summary()["difference"];
        assert_eq!(
            (&difference["same"], &difference["only_live"]),
            (&rows.into(), &0.into()),
            "{table}"
        );
    }
    // A table that is gone is just restored.
    site.sql("DROP TABLE public.log");
    let ran = site.ok(&[&args[..7], &["--schema", "back", "--json"]].concat());
    assert_eq!(ran.summary()["difference"], serde_json::Value::Null);
    assert_eq!(site.sql("SELECT count(*) FROM back.log"), "3");
    site.run(&["restore", "latest", "--database", "--table", "bill", "--yes"])
        .fails(2, "did you mean `public.bill`");
}
