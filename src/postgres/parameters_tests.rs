use std::fs;

use super::*;

fn pairs(parameters: &Parameters) -> Vec<(&str, &str)> {
    parameters.iter().map(|(keyword, value)| (keyword.as_str(), value.as_str())).collect()
}

fn none(_: &str) -> Option<OsString> {
    None
}

#[test]
fn uris_and_words_are_read_as_libpq_does() {
    let parsed =
        parse("postgresql://dj%40ngo:p%3Aw@db.example:5433/mrs?sslmode=verify-full").unwrap();
    assert_eq!(
        pairs(&parsed),
        [
            ("dbname", "mrs"),
            ("host", "db.example"),
            ("password", "p:w"),
            ("port", "5433"),
            ("sslmode", "verify-full"),
            ("user", "dj@ngo"),
        ]
    );
    let parsed = parse("postgres://[::1]:5/?host=/run/x").unwrap();
    assert_eq!(pairs(&parsed), [("host", "/run/x"), ("port", "5")]);
    assert_eq!(pairs(&parse("postgres:///").unwrap()), []);
    let parsed = parse(r"host = 'a b\'c'  user=x\ y port=1").unwrap();
    assert_eq!(pairs(&parsed), [("host", "a b'c"), ("port", "1"), ("user", "x y")]);
}

#[test]
fn bad_strings_are_refused_without_telling_them() {
    for (text, told) in [
        ("secret", "a keyword without `=`"),
        ("host='secret", "a quote is not closed"),
        ("postgres://u:secret%zz@h/", "`%` without digits"),
        ("postgres://[::1", "`[` without `]`"),
        ("postgres://h/d?secret", "a parameter without `=`"),
        ("sslcrl=x password=secret", "`sslcrl`, which is not known here"),
        ("host=a,b password=secret", "`host` in the connection string names several servers"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(told) && !error.contains("secret"), "{text}: {error}");
    }
}

#[test]
fn words_come_before_the_service_before_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("services");
    fs::write(&file, "# mine\n[other]\nhost=elsewhere\n[mrs]\nhost=db\nuser = django\nport=5440\n")
        .unwrap();
    let environment = |name: &str| match name {
        "PGSERVICEFILE" => Some(file.clone().into_os_string()),
        "PGHOST" | "PGHOSTADDR" => Some("wrong".into()),
        "PGUSER" => Some("wrong".into()),
        "PGSSLMODE" => Some("require".into()),
        "PGPORT" => Some(OsString::new()),
        _ => None,
    };
    let parameters = complete(parse("service=mrs port=1").unwrap(), &environment).unwrap();
    assert_eq!(
        pairs(&parameters),
        [
            ("host", "db"),
            ("port", "1"),
            ("service", "mrs"),
            ("sslmode", "require"),
            ("user", "django")
        ]
    );
    let error = complete(parse("service=nobody").unwrap(), &environment).unwrap_err().to_string();
    assert!(error.contains("no service `nobody`"), "{error}");
    fs::write(&file, "[mrs]\nhost\n").unwrap();
    let error = complete(parse("service=mrs").unwrap(), &environment).unwrap_err().to_string();
    assert!(error.contains("line 2 of") && error.contains("has no `=`"), "{error}");
    assert_eq!(pairs(&complete(Parameters::new(), &none).unwrap()), []);
}

#[test]
fn password_files_are_read_as_libpq_does() {
    let text =
        "# comment\n*:*:mrs:nobody:a\nlocalhost:5432:mrs:django:s\\:e\\\\c\n*:*:*:*:last:one\n";
    let find = |host: &str, port, user: &str| passfile_entry(text, host, port, "mrs", user);
    assert_eq!(find("localhost", 5432, "django").as_deref(), Some("s:e\\c"));
    assert_eq!(find("x", 1, "nobody").as_deref(), Some("a"));
    assert_eq!(find("localhost", 5433, "django").as_deref(), Some("last:one"));
    assert_eq!(passfile_entry("a:1:b:c\n", "a", 1, "b", "c"), None);
}
