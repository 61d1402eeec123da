//! A whole database: in place of the live one, beside it, into other servers, and back.

use crate::site::{Site, assert_same};
use crate::support::postgres::{TestServer, installations};

#[test]
fn a_restored_database_is_what_was_saved_and_undo_brings_back_what_was_there() {
    for installation in installations() {
        let site = Site::on(TestServer::start_from(&installation));
        site.server.psql("postgres", "CREATE ROLE \"App Owner\"; CREATE ROLE reader");
        site.server.psql("postgres", "CREATE DATABASE app OWNER \"App Owner\"");
        crate::site::fill(&site);
        site.sql("COMMENT ON DATABASE app IS 'on database app it''s'");
        site.sql("ALTER DATABASE app SET statement_timeout = '1h'");
        site.sql("ALTER ROLE reader IN DATABASE app SET work_mem = '5MB'");
        site.sql(
            "REVOKE CONNECT ON DATABASE app FROM PUBLIC; GRANT CONNECT ON DATABASE app TO reader",
        );
        let saved = site.contents("app");
        site.backup();
        site.sql("DELETE FROM public.bill; DROP TABLE public.log; CREATE TABLE newer ()");
        site.sql("ALTER DATABASE app RESET ALL; COMMENT ON DATABASE app IS 'newer'");
        let newer = site.contents("app");

        let ran = site.restore(&[]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_same(&site.contents("app"), &saved);
        let kept = ran.summary()["kept"].as_str().unwrap().to_owned();
        assert_eq!(site.databases(), ["app", kept.as_str()]);
        assert!(site.ok(&["undo", "--list"]).stdout.contains(&kept));

        // Back, and forth again.
        site.ok(&["undo", "--yes"]);
        assert_same(&site.contents("app"), &newer);
        site.ok(&["undo", "--database", "app", "--yes"]);
        assert_same(&site.contents("app"), &saved);
        site.ok(&["undo", "--drop", "--yes"]);
        assert_eq!(site.databases(), ["app"]);
        site.run(&["undo", "--yes"]).fails(1, "no database of `app` is kept");
    }
}

#[test]
fn nothing_is_changed_without_assent() {
    let site = Site::new();
    site.backup();
    let before = site.contents("app");
    let ran = site.run(&["restore", "latest", "--database", "app"]);
    ran.fails(2, "database app is to be replaced");
    assert!(ran.stdout.contains("REPLACES the database that is there"), "{ran:?}");
    let ran = site.ok(&["restore", "latest", "--database", "app", "--dry-run"]);
    assert!(ran.stdout.contains("nothing was changed"), "{ran:?}");
    // The cluster it came from, and nobody named the database.
    let ran = site.run(&["restore", "latest", "--database", "--yes"]);
    ran.fails(2, "was not named");
    assert!(ran.stderr.contains("hint: name it: --database app"), "{ran:?}");
    site.run(&["restore", "latest", "--database", "nope", "--yes"])
        .fails(2, "has no database `nope`");
    assert_eq!(site.databases(), ["app"]);
    assert_same(&site.contents("app"), &before);
}

#[test]
fn beside_the_live_one_under_another_name() {
    let site = Site::new();
    site.sql("COMMENT ON DATABASE app IS 'ours'");
    site.sql("ALTER DATABASE app SET search_path = 'app', 'public'");
    site.backup();
    site.sql("DELETE FROM public.bill");
    site.ok(&["restore", "latest", "--database", "--as", "a \"copy\"", "--yes"]);
    assert_eq!(site.databases(), ["a \"copy\"", "app"]);
    assert_eq!(site.server.psql("a \"copy\"", "SELECT count(*) FROM public.bill"), "3000");
    assert_eq!(site.server.psql("a \"copy\"", "SHOW search_path"), "app, public");
    let query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname <> 'app' \
                 AND datname LIKE 'a %'";
    assert_eq!(site.server.psql("postgres", query), "ours");
    assert_eq!(site.sql("SELECT count(*) FROM public.bill"), "0", "the live one is as it was");
}

/// A database without statistics answers its first questions by guesses.
#[test]
fn the_statistics_of_all_tables_are_there_and_computed_once() {
    let site = Site::new();
    site.sql(
        "CREATE INDEX ON public.bill ((cents % 7)); \
         CREATE TABLE plain AS SELECT g AS a, g % 10 AS b FROM generate_series(1, 500) g; \
         CREATE STATISTICS both_columns (dependencies) ON a, b FROM plain; \
         CREATE TABLE alone AS SELECT g AS a FROM generate_series(1, 500) g; \
         CREATE TABLE parent (a int); CREATE TABLE child () INHERITS (parent); \
         INSERT INTO child SELECT g FROM generate_series(1, 500) g; \
         INSERT INTO parent VALUES (1); \
         CREATE TABLE parted (a int) PARTITION BY RANGE (a); \
         CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (1000); \
         INSERT INTO parted SELECT g FROM generate_series(1, 500) g; \
         CREATE MATERIALIZED VIEW seen AS SELECT a FROM alone",
    );
    site.backup();
    let ran = site.restore(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let known = |table: &str, inherited: bool| {
        site.sql(&format!(
            "SELECT count(*) > 0 FROM pg_stats WHERE tablename = '{table}' AND inherited = {inherited}"
        ))
    };
    for table in ["bill", "bill_expr_idx", "plain", "alone", "parent", "child", "part", "seen"] {
        assert_eq!(known(table, false), "t", "{table}");
    }
    for family in ["parent", "parted"] {
        assert_eq!(known(family, true), "t", "{family} with its children");
    }
    let of_two = "SELECT count(*) FROM pg_statistic_ext_data";
    assert_eq!(site.sql(of_two), "1", "what two columns say together");
    let once = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_stat_user_tables \
                WHERE analyze_count = 1 AND relname IN ('alone', 'person', 'log', 'parent', 'child', 'part')";
    assert_eq!(site.sql(once), "alone child log parent part person");
}

#[test]
fn roles_that_are_missing_are_made_without_the_right_to_log_in() {
    let site = Site::new();
    site.server
        .psql("postgres", "CREATE ROLE owner LOGIN SUPERUSER; CREATE ROLE \"Grant \"\"ee\"\"\"");
    site.sql("ALTER TABLE public.bill OWNER TO owner; GRANT SELECT ON public.log TO \"Grant \"\"ee\"\"\"");
    site.sql("ALTER DATABASE app OWNER TO owner");
    let saved = site.contents("app");
    site.backup();
    let site = site.moved_to(TestServer::start());
    let ran = site.restore(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.summary()["kept"], serde_json::Value::Null, "there was nothing to keep");
    assert_same(&site.contents("app"), &saved);
    let roles = "SELECT string_agg(rolname || rolcanlogin::text || rolsuper::text, ',' ORDER BY 1) \
                 FROM pg_roles WHERE rolname IN ('owner', 'Grant \"ee\"')";
    let roles = site.server.psql("postgres", &roles.replace("ORDER BY 1", "ORDER BY rolname"));
    assert_eq!(roles, "Grant \"ee\"falsefalse,ownerfalsefalse");
}

#[test]
fn into_a_newer_server_but_not_into_an_older_one() {
    let all = installations();
    assert!(all.len() >= 2, "this needs two versions of PostgreSQL, there is {all:?}");
    let (old, new) = (&all[0], &all[all.len() - 1]);
    let site = Site::on(TestServer::start_from(old));
    site.server.psql("postgres", "CREATE DATABASE app");
    crate::site::fill(&site);
    let counts = "SELECT (SELECT count(*) FROM public.bill), (SELECT sum(cents) FROM public.bill), \
                  (SELECT count(*) FROM public.person)";
    let saved = site.sql(counts);
    site.backup();
    let site = site.moved_to(TestServer::start_from(new));
    let ran = site.restore(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(site.sql(counts), saved);
    site.backup();
    let site = site.moved_to(TestServer::start_from(old));
    let ran = site.restore(&[]);
    ran.fails(1, "what a newer server dumped does not load into an older one");
    assert_eq!(site.databases(), [""; 0]);
}

#[test]
fn a_database_of_another_cluster_is_not_replaced_by_mistake() {
    let site = Site::new();
    site.backup();
    let site = site.moved_to(TestServer::start());
    site.server.psql("postgres", "CREATE DATABASE app");
    site.sql("CREATE TABLE precious AS SELECT 1");
    let ran = site.restore(&[]);
    ran.fails(2, "this is not the cluster the snapshot was taken from");
    assert!(ran.stderr.contains("--other-cluster"), "{ran:?}");
    assert_eq!(
        (site.databases(), site.sql("SELECT * FROM precious")),
        (vec!["app".to_owned()], "1".to_owned())
    );
    let ran = site.restore(&["--other-cluster"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(site.sql("SELECT count(*) FROM public.bill"), "3000");
}

#[test]
fn the_night_drops_what_was_kept_long_enough() {
    let site = Site::new();
    site.backup();
    let kept = |keep: &str| {
        let summary = site.restore(&["--keep-replaced", keep]).summary();
        summary["kept"].as_str().unwrap().to_owned()
    };
    let (long, short) = (kept("7d"), kept("1s"));
    // What looks the same but is of a database that is not this instance's.
    site.server.psql("postgres", "CREATE DATABASE other__old");
    site.server.psql(
        "postgres",
        "ALTER DATABASE other__old SET mrs_backup.kept = '{\"of\":\"other\",\"snapshot\":\"ab\",\
         \"time\":\"2026-01-01T00:00:00Z\",\"until\":\"2026-01-02T00:00:00Z\",\"reason\":\"restore\"}'",
    );
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let ran = site.ok(&["run", "--json", "--only", "forget"]);
    assert_eq!(
        ran.summary()["steps"][0]["dropped_databases"],
        serde_json::json!([short]),
        "{ran:?}"
    );
    assert_eq!(site.databases(), ["app", long.as_str(), "other__old"]);
    assert!(site.ok(&["undo", "--list"]).stdout.contains(&long));
}
