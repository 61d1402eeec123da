use super::*;

fn nothing(_: &str) -> Option<OsString> {
    None
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/x.toml"), &nothing)
}

fn says(text: &str, wanted: &str) {
    let error = parse(text).map(|_| ()).expect_err(text).to_string();
    assert_eq!(error, format!("/etc/x.toml{wanted}"), "{text}");
}

/// A file whose instance `mrs` has this further line, its fourth.
fn with(line: &str) -> String {
    format!("version = 1\n[instance.mrs]\nhome = \"/home/mrs\"\n{line}\n")
}

const FULL: &str = r#"
version = 1
state_dir = "/srv/state"
[defaults]
timezone = "Europe/Paris"
compression = 7
tags = ["all"]
[defaults.postgres]
bin_dir = "/usr/lib/postgresql/15/bin"
port = 5433
[instance.mrs-production]
home = "/home/mrs-production"
repository = "/mnt/backup/mrs-production/repo"
require_mount = "/mnt/backup"
key = { file = "secrets/x.key" }
paths = ["docker-compose.yml", "mrsattachments", "/var/log/mrs"]
exclude = ["*.pyc"]
exclude_caches = true
one_file_system = false
tags = []
compression = 3
[instance.mrs-production.postgres]
host = "./postgres/run"
port = 5432
user = "django"
databases = ["mrs"]
password = { env = "MRS_PASSWORD" }
globals = false
standard_dump = "/var/backups/mrs"
[instance.other]
home = "/home/other"
"#;

#[test]
fn a_full_file_is_read() {
    let config = parse(FULL).unwrap();
    assert_eq!(config.state_dir, Setting::new("/srv/state".into(), Origin::File));
    let mrs = config.instance("mrs-production").unwrap();
    assert_eq!(mrs.repository.value.as_str(), "/mnt/backup/mrs-production/repo");
    assert_eq!(
        mrs.key.as_ref().unwrap().value,
        KeySource::File("/home/mrs-production/secrets/x.key".into())
    );
    assert_eq!(
        mrs.absolute_paths(),
        ["docker-compose.yml", "mrsattachments", "/var/log/mrs"]
            .map(|path| Path::new("/home/mrs-production").join(path))
    );
    assert_eq!(mrs.compression, Setting::new(3, Origin::File));
    assert_eq!(mrs.tags.value, Vec::<String>::new());
    assert_eq!(mrs.timezone.value.iana_name(), Some("Europe/Paris"));
    let postgres = mrs.postgres.as_ref().unwrap();
    let host = postgres.host.as_ref().unwrap();
    assert_eq!(host.value, "/home/mrs-production/postgres/run");
    assert_eq!(postgres.port, Some(Setting::new(5432, Origin::File)));
    assert_eq!(postgres.bin_dir.as_ref().unwrap().value, Path::new("/usr/lib/postgresql/15/bin"));
    assert_eq!(postgres.globals, Setting::new(false, Origin::File));
    let settings = postgres.settings(None);
    assert_eq!((settings.server.port, settings.databases), (Some(5432), vec!["mrs".to_owned()]));
}

#[test]
fn instances_inherit_and_defaults_are_known_as_such() {
    let config = parse(FULL).unwrap();
    let other = config.instance("other").unwrap();
    assert_eq!(other.compression, Setting::new(7, Origin::File));
    assert_eq!(other.tags.value, ["all"]);
    assert_eq!(
        other.repository,
        Setting::new(Repository::new("/home/other/repo"), Origin::Default)
    );
    assert_eq!(other.exclude_caches, Setting::new(false, Origin::Default));
    assert!(other.key.is_none());
    // Defaults that only say how to reach databases make none.
    assert!(other.postgres.is_none());
    let least = parse("version = 1").unwrap();
    assert_eq!(least.state_dir, Setting::new(DEFAULT_STATE_DIR.into(), Origin::Default));
    assert!(least.instances.is_empty());
}

#[test]
fn versions_are_checked_before_anything_else() {
    says("", ":1:1: `version` is missing; begin the file with `version = 1`");
    says(
        "from = \"the future\"\nversion = 2\n",
        ":2:11: version 2 is not known here, only version 1; install a newer mrs-backup, or correct it",
    );
    says("version = \"1\"", ":1:11: invalid type: string \"1\", expected i64");
}

#[test]
fn unknown_keys_name_the_nearest() {
    says(&with("repositry = \"/x\""), ":4:1: unknown key `repositry`; did you mean `repository`?");
    says(
        &with("  exclude_cache = true"),
        ":4:3: unknown key `exclude_cache`; did you mean `exclude_caches`?",
    );
    says("version = 1\ninstances = 3", ":2:1: unknown key `instances`; did you mean `instance`?");
    says(
        &with("postgres = { databases = [\"mrs\"], sock = \"x\" }"),
        ":4:35: unknown key `sock`; known keys: url, container, host, port, user, databases, bin_dir, password, \
         globals, workers, stream_from_kib, lock_wait, shrink_warning, standard_dump",
    );
    says(
        "version = 1\n[defaults]\nhome = \"/x\"",
        ":3:1: unknown key `home`; known keys: repository, require_mount, key, paths, exclude, \
         exclude_caches, one_file_system, tags, compression, deltas, timezone, postgres, \
         restore, retention, schedule, check, prune, lock_wait, max_age, protected, min_free",
    );
    let umlauts = "version = 1\n[instance.a]\nhome = \"/é\"\npostgres = { user = \"é\", prot = 1 }";
    says(umlauts, ":4:26: unknown key `prot`; did you mean `port`?");
}

#[test]
fn what_toml_itself_refuses_has_a_line() {
    says("version = 1\nversion = 1", ":2:1: duplicate key");
    says("version = 1\n[instance.a]\nhome = \"/a\"\n[instance.a]", ":4:11: duplicate key");
    let broken = parse("version = 1\nx = [").unwrap_err().to_string();
    assert!(broken.starts_with("/etc/x.toml:2:"), "{broken}");
}

#[test]
fn wrong_types_are_refused_where_they_stand() {
    says(&with("paths = \"log\""), ":4:9: invalid type: string \"log\", expected a sequence");
    says(&with("exclude_caches = 1"), ":4:18: invalid type: integer `1`, expected a boolean");
    says("version = 1\n[instance.mrs]\ntags = []", ":2:1: the key `home` is missing; add it");
    says(
        &with("postgres = { databases = [\"a\"], port = 0 }"),
        ":4:40: invalid value: integer `0`, expected a nonzero u16",
    );
}

#[test]
fn values_are_checked_where_they_stand() {
    says(
        &with("timezone = \"Europe/Pari\""),
        ":4:12: `Europe/Pari` is no time zone; write a name like `Europe/Paris` or `UTC`",
    );
    for level in ["0", "20", "-1"] {
        says(
            &with(&format!("compression = {level}")),
            &format!(":4:15: {level} is no compression level; choose 1 (fast) to 19 (small)"),
        );
    }
    says(
        &with("paths = [\"log\", \"a/../../etc\"]"),
        ":4:9: `a/../../etc` leads upwards with `..`; write the path without it",
    );
    says(&with("paths = [\"\"]"), ":4:9: an empty path stands here; write one or remove it");
    says(&with("tags = [\"\"]"), ":4:8: an empty text stands here; write a value or remove it");
    says(&with("tags = [\"a\\nb\"]"), ":4:8: \"a\\nb\" holds a control character; remove it");
    says(
        "version = 1\n[instance.mrs]\nhome = \"home/mrs\"",
        ":3:8: `home/mrs` is not an absolute path; begin it with `/`",
    );
}

#[test]
fn names_of_instances_are_checked() {
    let long = "a".repeat(64);
    for name in ["Mrs", "-a", "a b", "é", "a/b", "", ".a", &long] {
        says(
            &format!("version = 1\n[instance.\"{name}\"]\nhome = \"/x\""),
            &format!(
                ":2:11: `{name}` cannot be the name of an instance: use up to 63 of a-z, 0-9, \
                 `.`, `_` and `-`, first a letter or a digit"
            ),
        );
    }
    let good = format!("version = 1\n[instance.\"0a.b_c-{}\"]\nhome = \"/x\"", "d".repeat(56));
    assert_eq!(parse(&good).unwrap().instances.len(), 1);
}

#[test]
fn a_key_has_one_form_and_is_never_repeated() {
    let one_of = "write exactly one of file, command, env, credential, key_file";
    says(
        &with("key = { file = \"a\", env = \"B\" }"),
        &format!(":4:7: both `env` and `file` stand here; {one_of}"),
    );
    says(&with("key = {}"), &format!(":4:7: nothing says where the password or key is; {one_of}"));
    says(
        &with("key = { vault = \"geheim\" }"),
        &format!(":4:7: `vault` is not known here; {one_of}"),
    );
    let itself = ":4:7: a password or key cannot stand here itself; write where it is, like \
                  { file = \"/etc/mrs-backup/x.key\" }";
    for value in ["\"geheim\"", "271828", "1.5", "true", "[\"geheim\"]"] {
        says(&with(&format!("key = {value}")), itself);
    }
    says(
        &with("postgres = { databases = [\"a\"], password = { key_file = \"x\" } }"),
        ":4:44: `key_file` is not known here; write exactly one of file, command, env, credential",
    );
    says(
        &with("key = { command = [] }"),
        ":4:7: `command` is empty; write [\"program\", \"argument\"]",
    );
    says(
        &with("key = { env = \"geheim!\" }"),
        ":4:7: `env` is no name of an environment variable; write one like `MRS_PASSWORD`",
    );
    says(
        &with("key = { credential = \"../x\" }"),
        ":4:7: `credential` is a name without `/`, as in LoadCredential=",
    );
    for (text, source) in [
        (
            "{ command = [\"pass\", \"mrs\"] }",
            KeySource::Command(vec!["pass".into(), "mrs".into()]),
        ),
        ("{ key_file = \"/k\" }", KeySource::KeyFile("/k".into())),
        ("{ credential = \"mrs\" }", KeySource::Credential("mrs".into())),
    ] {
        let config = parse(&with(&format!("key = {text}"))).unwrap();
        assert_eq!(config.instances["mrs"].key.as_ref().unwrap().value, source);
    }
}

#[test]
fn postgres_without_databases_is_refused() {
    for table in ["{}", "{ databases = [] }"] {
        says(
            &with(&format!("postgres = {table}")),
            ": [instance.mrs]: `postgres.databases` is missing or empty; list the databases, or \
             remove the `postgres` table",
        );
    }
}

#[test]
fn hosts_with_a_slash_are_directories() {
    for (host, wanted) in
        [("db.example", "db.example"), ("./run", "/home/mrs/run"), ("/run/pg/", "/run/pg")]
    {
        let table = format!("postgres = {{ databases = [\"a\"], host = \"{host}\" }}");
        let config = parse(&with(&table)).unwrap();
        let postgres = config.instances["mrs"].postgres.as_ref().unwrap();
        assert_eq!(postgres.host.as_ref().unwrap().value, wanted);
    }
}

#[test]
fn an_unknown_instance_is_explained() {
    let error = |name: &str| parse(FULL).unwrap().instance(name).unwrap_err().to_string();
    assert_eq!(
        error("mrs-produktion"),
        "/etc/x.toml: there is no instance `mrs-produktion`; did you mean `mrs-production`?"
    );
    assert_eq!(
        error("x"),
        "/etc/x.toml: there is no instance `x`; known instances: mrs-production, other"
    );
    assert_eq!(
        parse("version = 1").unwrap().instance("x").unwrap_err().to_string(),
        "/etc/x.toml: there is no instance `x`; there are no instances"
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nonexistent/c.toml"), &nothing).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the configuration /nonexistent/c.toml: No such file or directory (os error 2)"
    );
}

#[test]
fn what_is_no_text_is_told_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.toml");
    std::fs::write(&path, b"version = 1\n# caf\xe9\n").unwrap();
    let error = Config::load(&path, &nothing).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{}:2:6: this is no text (UTF-8); is it the right file?", path.display())
    );
    let endless = Config::load(Path::new("/dev/zero"), &nothing).unwrap_err().to_string();
    assert!(endless.contains("/dev/zero: it is longer than 16777216 bytes"), "{endless}");
}

#[test]
fn the_file_is_found_in_order() {
    let set = |name: &str| (name == "MRS_BACKUP_CONFIG").then(|| OsString::from("/env.toml"));
    let found = |flag: Option<&str>| Config::find(flag.map(Path::new), &set);
    assert_eq!(found(Some("/flag.toml")), Some(Setting::new("/flag.toml".into(), Origin::Flag)));
    let origin = Origin::Environment("MRS_BACKUP_CONFIG");
    assert_eq!(found(None), Some(Setting::new("/env.toml".into(), origin)));
    let usual = Config::find(None, &nothing);
    assert_eq!(usual.is_some(), Path::new(DEFAULT_PATH).exists());
}

#[test]
fn show_tells_origins_and_no_secrets() {
    let text = with(
        "repository = \"ftp://me:geheim@host/x\"\nkey = { command = [\"echo\", \"geheim\"] }\n\
         timezone = \"UTC\"",
    );
    let config = parse(&text).unwrap();
    let shown: Vec<String> = config
        .show()
        .into_iter()
        .map(|line| format!("{} = {} ({})", line.key, line.value, line.origin))
        .collect();
    assert_eq!(
        shown,
        [
            "state_dir = \"/var/lib/mrs-backup\" (default)",
            "scheduler.parallel = 2 (default)",
            "instance.mrs.home = \"/home/mrs\" (file)",
            "instance.mrs.repository = \"ftp://me@host/x\" (file)",
            "instance.mrs.key = command echo *** (file)",
            "instance.mrs.paths = [] (default)",
            "instance.mrs.exclude = [] (default)",
            "instance.mrs.exclude_caches = false (default)",
            "instance.mrs.one_file_system = false (default)",
            "instance.mrs.tags = [] (default)",
            "instance.mrs.compression = 2 (default)",
            "instance.mrs.deltas = [\"files\", \"databases\"] (default)",
            "instance.mrs.timezone = \"UTC\" (file)",
            "instance.mrs.retention = { last = 7, daily = 7, weekly = 5, monthly = 12, yearly = 75 } (default)",
            "instance.mrs.schedule = {} (default)",
            "instance.mrs.check.scheduled_read_data_subset = \"100%\" (default)",
            "instance.mrs.prune.max_unused = \"5%\" (default)",
            "instance.mrs.lock_wait = \"0s\" (default)",
            "instance.mrs.protected = false (default)",
            "instance.mrs.min_free = \"256MiB\" (default)",
        ]
    );
    assert!(!format!("{config:?}").contains("geheim"));
}

#[test]
fn the_schema_knows_every_key() {
    let schema: serde_json::Value = serde_json::from_str(&Config::schema()).unwrap();
    let instance = &schema["$defs"]["InstanceFile"];
    assert_eq!(instance["required"], serde_json::json!(["home"]));
    assert_eq!(instance["additionalProperties"], serde_json::json!(false));
    assert!(instance["properties"]["standard_dump"].is_null());
    assert!(schema["$defs"]["PostgresFile"]["properties"]["standard_dump"].is_object());
    assert!(schema["$defs"]["DefaultsFile"]["properties"]["home"].is_null());
    assert_eq!(schema["properties"]["version"]["const"], 1);
    assert_eq!(schema["$defs"]["KeySource"]["oneOf"].as_array().unwrap().len(), 5);
    assert_eq!(schema["$defs"]["Level"]["maximum"], 19);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(version = 1\n)?\\PC*", at in 0_usize..900, piece: String) {
        let _ = parse(&text);
        let mut full = FULL.to_owned();
        full.insert_str(at.min(full.len()), &piece);
        let _ = parse(&full);
    }
}
