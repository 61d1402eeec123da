use super::*;

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
fn a_name_is_never_a_connection_string() {
    assert_eq!(conninfo("mrs"), "dbname='mrs'");
    assert_eq!(conninfo("host=evil"), "dbname='host=evil'");
    assert_eq!(conninfo(r"a' host='evil\"), r"dbname='a\' host=\'evil\\'");
    assert_eq!(conninfo("postgres://evil/x"), "dbname='postgres://evil/x'");
}

#[test]
fn versions_are_read() {
    let debian = b"pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
    let client = |text: &str, major| Some(probe::Client { text: text.to_owned(), major });
    assert_eq!(probe::parse_client(debian), client("15.18", 15));
    assert_eq!(probe::parse_client(b"pg_dump (PostgreSQL) 18beta1\n"), client("18beta1", 18));
    assert_eq!(probe::parse_client(b"pg_dump (PostgreSQL) x\n"), None);
    assert_eq!(probe::parse_client(b"usage\n"), None);
    let answer = b"15.18 (Debian)\x1f150018\x1fUTF8\x1ffr_FR.UTF-8\n";
    assert_eq!(probe::parse_versions(answer).map(|versions| versions.major), Some(15));
    assert_eq!(probe::parse_versions(b""), None);
    assert_eq!(probe::parse_versions(b"15\x1f150018\x1fUTF8\x1fC\x1fmore\n"), None);
}

#[test]
fn the_password_is_in_the_environment_and_nowhere_else() {
    let mut settings = settings(&["mrs"]);
    settings.password = Some(Secret::new(b"s3cret".to_vec()));
    settings.host = Some("/run/pg".to_owned());
    settings.port = Some(5433);
    settings.user = Some("django".to_owned());
    assert!(!format!("{settings:?}").contains("s3cret"));
    let source = source(settings).unwrap();
    let command = source.connection.command("pg_dump");
    let environment: Vec<(String, String)> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.to_str()?.to_owned())))
        .collect();
    for (name, value) in [
        ("PGHOST", "/run/pg"),
        ("PGPORT", "5433"),
        ("PGUSER", "django"),
        ("PGPASSWORD", "s3cret"),
        ("PGAPPNAME", "mrs-backup/run1"),
    ] {
        assert!(environment.contains(&(name.to_owned(), value.to_owned())), "{name}");
    }
    assert_eq!(command.get_args().count(), 0);
    assert_eq!(source.connection.place(), "socket in /run/pg, port 5433, user django");
    assert!(!format!("{source:?}").contains("s3cret"));
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
    nul.password = Some(Secret::new(b"s3\0cret".to_vec()));
    let text = source(nul).unwrap_err().to_string();
    assert!(text.contains("NUL") && !text.contains("cret"), "{text}");
}

#[test]
fn a_database_listed_twice_is_dumped_once() {
    let source = source(settings(&["a", "b", "a"])).unwrap();
    assert_eq!(source.databases, ["a", "b"]);
    assert_eq!(source.record().incomplete.len(), 2);
}
