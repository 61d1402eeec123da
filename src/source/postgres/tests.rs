use super::*;
use crate::crypto::Secret;

fn settings(databases: &[&str]) -> PostgresSettings {
    PostgresSettings {
        databases: databases.iter().map(|name| (*name).to_owned()).collect(),
        ..PostgresSettings::default()
    }
}

fn source(settings: PostgresSettings) -> Result<PostgresSource, SourceError> {
    PostgresSource::new(settings, "run 1", Arc::new(StopFlag::new()))
}

#[test]
fn versions_are_read() {
    let debian = b"pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
    let client = |text: &str, major| Some(probe::Client { text: text.to_owned(), major });
    assert_eq!(probe::parse_client(debian), client("15.18", 15));
    assert_eq!(probe::parse_client(b"pg_dump (PostgreSQL) 18beta1\n"), client("18beta1", 18));
    assert_eq!(probe::parse_client(b"pg_dump (PostgreSQL) x\n"), None);
    assert_eq!(probe::parse_client(b"usage\n"), None);
}

#[test]
fn useless_settings_are_refused() {
    assert_eq!(
        source(settings(&[])).unwrap_err().to_string(),
        "PostgreSQL settings: no database is listed; list at least one in `databases`"
    );
    assert_eq!(
        source(settings(&["a\0"])).unwrap_err().to_string(),
        "PostgreSQL settings: `a\\0` is no name of a database; list the names `psql -l` shows"
    );
    let mut nul = settings(&["mrs"]);
    nul.server.password = Some(Secret::new(b"s3\0cret".to_vec()));
    let text = source(nul).unwrap().probe().unwrap_err().to_string();
    assert!(text.contains("NUL") && !text.contains("cret"), "{text}");
}

#[test]
fn a_database_listed_twice_is_dumped_once() {
    let source = source(settings(&["a", "b", "a"])).unwrap();
    assert_eq!(source.settings.databases, ["a", "b"]);
    assert_eq!(source.record().incomplete.len(), 2);
}

#[test]
fn tables_are_shared_out_evenly() {
    let table = |name: &str, size| discover::Table {
        oid: 1,
        schema: "s".to_owned(),
        name: name.to_owned(),
        columns: Vec::new(),
        is_plain: true,
        has_rows: true,
        size,
        hides_rows: false,
        is_forbidden: false,
    };
    let all = vec![table("a", 50_000), table("b", 10), table("c", 40_000), table("d", 30_000)];
    let shares = tables::share_out(all.clone(), 2);
    let names: Vec<Vec<&str>> = shares
        .iter()
        .map(|share| share.iter().map(|table| table.name.as_str()).collect())
        .collect();
    assert_eq!(names, [vec!["a", "b"], vec!["c", "d"]]);
    assert_eq!(tables::share_out(all, 9).len(), 4);
    assert_eq!(tables::share_out(Vec::new(), 3).len(), 0);
    assert_eq!(
        table("t", 1).copy_statement("UTF8"),
        r#"COPY "s"."t" TO STDOUT (FORMAT text, ENCODING 'UTF8')"#
    );
}
