use super::*;

fn gather(flags: &Flags, set: &[(&str, &str)]) -> Result<Access, ConfigError> {
    let environment = |name: &str| {
        set.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    };
    Access::gather(flags, &environment)
}

#[test]
fn flags_come_before_ours_before_legacy() {
    let all = [
        ("RESTIC_REPOSITORY", "/legacy"),
        ("RESTIC_PASSWORD_FILE", "/legacy.pw"),
        ("MRS_BACKUP_REPOSITORY", "/ours"),
        ("MRS_BACKUP_PASSWORD", "geheim"),
    ];
    let flags = Flags {
        repository: Some("/flag".to_owned()),
        key: Some(KeySource::KeyFile("/flag.key".into())),
    };
    let access = gather(&flags, &all).unwrap();
    assert_eq!(access.repository, Some(Setting::new(Repository::new("/flag"), Origin::Flag)));
    assert_eq!(access.key.unwrap().origin, Origin::Flag);

    let access = gather(&Flags::default(), &all).unwrap();
    let origin = Origin::Environment("MRS_BACKUP_REPOSITORY");
    assert_eq!(access.repository, Some(Setting::new(Repository::new("/ours"), origin)));
    let key = KeySource::Env("MRS_BACKUP_PASSWORD".to_owned());
    let origin = Origin::Environment("MRS_BACKUP_PASSWORD");
    assert_eq!(access.key, Some(Setting::new(key, origin)));

    let access = gather(&Flags::default(), &all[..2]).unwrap();
    let origin = Origin::Legacy("RESTIC_REPOSITORY");
    assert_eq!(access.repository, Some(Setting::new(Repository::new("/legacy"), origin)));
    let origin = Origin::Legacy("RESTIC_PASSWORD_FILE");
    assert_eq!(access.key, Some(Setting::new(KeySource::File("/legacy.pw".into()), origin)));
}

#[test]
fn every_variable_leads_somewhere() {
    let command = KeySource::Command(["pass", "show", "a b"].map(str::to_owned).to_vec());
    for (name, value, wanted) in [
        ("MRS_BACKUP_PASSWORD_FILE", "/f", KeySource::File("/f".into())),
        ("MRS_BACKUP_PASSWORD_COMMAND", "pass show 'a b'", command.clone()),
        ("MRS_BACKUP_KEY_FILE", "/k", KeySource::KeyFile("/k".into())),
        ("RESTIC_PASSWORD", "x", KeySource::Env("RESTIC_PASSWORD".to_owned())),
        ("RESTIC_PASSWORD_COMMAND", "pass show \"a b\"", command),
    ] {
        let access = gather(&Flags::default(), &[(name, value)]).unwrap();
        assert_eq!(access.key.unwrap().value, wanted, "{name}");
        assert_eq!(gather(&Flags::default(), &[(name, "")]).unwrap().key, None, "{name} empty");
    }
}

#[test]
fn contradictions_are_refused() {
    let set = [("MRS_BACKUP_PASSWORD", "geheim"), ("MRS_BACKUP_KEY_FILE", "/k")];
    assert_eq!(
        gather(&Flags::default(), &set).unwrap_err().to_string(),
        "MRS_BACKUP_PASSWORD and MRS_BACKUP_KEY_FILE: only one of them may be set; unset the others"
    );
    let open = [("MRS_BACKUP_PASSWORD_COMMAND", "echo 'geheim")];
    assert_eq!(
        gather(&Flags::default(), &open).unwrap_err().to_string(),
        "MRS_BACKUP_PASSWORD_COMMAND: it is no command; write a program and its arguments, with \
         closed quotes"
    );
}

#[test]
fn a_nameless_setup_needs_a_repository() {
    let set = |name: &str| (name == "MRS_BACKUP_PASSWORD").then(|| OsString::from("x"));
    assert_eq!(Config::from_environment(&Flags::default(), &set), Ok(None));
    let set = |name: &str| (name == "RESTIC_REPOSITORY").then(|| OsString::from("/r"));
    let access = Config::from_environment(&Flags::default(), &set).unwrap().unwrap();
    assert_eq!(access.repository.unwrap().value.as_str(), "/r");
    assert_eq!(access.key, None);
}

#[test]
fn access_comes_before_the_file() {
    let text = "version = 1\n[instance.a]\nhome = \"/a\"\nkey = { file = \"k\" }";
    let config = Config::parse(text, "/c".as_ref(), &|_| None).unwrap();
    let instance = config.instance("a").unwrap().clone();
    assert_eq!(instance.clone().with(&Access::default()).access(), instance.access());
    let ours = gather(&Flags::default(), &[("MRS_BACKUP_REPOSITORY", "/ours")]).unwrap();
    let access = instance.with(&ours).access();
    assert_eq!(access.repository, ours.repository);
    assert_eq!(access.key, Some(Setting::new(KeySource::File("/a/k".into()), Origin::File)));
}

#[test]
fn variables_that_win_over_the_file_are_told() {
    let text =
        "version = 1\n[instance.a]\nhome = \"/a\"\nrepository = \"/r\"\nkey = { file = \"k\" }";
    let config = Config::parse(text, "/c".as_ref(), &|_| None).unwrap();
    let instance = config.instance("a").unwrap();
    let told =
        |flags: &Flags, set: &[(&str, &str)]| instance.overridden_by(&gather(flags, set).unwrap());
    let set = [("RESTIC_REPOSITORY", "ftp://me:geheim@host/x"), ("RESTIC_PASSWORD", "geheim")];
    let both = told(&Flags::default(), &set);
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(both[0].starts_with("RESTIC_REPOSITORY is set: the repository is ftp://"), "{both:?}");
    assert!(both[0].contains("not /r as the configuration says"), "{both:?}");
    assert!(both[1].contains("what opens it is environment variable RESTIC_PASSWORD"), "{both:?}");
    assert!(both[1].contains("not file /a/k as the configuration says"), "{both:?}");
    assert!(!both.concat().contains("geheim"), "{both:?}");
    let same = [("MRS_BACKUP_REPOSITORY", "/r"), ("MRS_BACKUP_PASSWORD_FILE", "/a/k")];
    assert_eq!(told(&Flags::default(), &same), [""; 0]);
    // Who says it on the command line knows.
    let flags = Flags {
        repository: Some("/flag".to_owned()),
        key: Some(KeySource::KeyFile("/flag.key".into())),
    };
    assert_eq!(told(&flags, &set), [""; 0]);
}

#[test]
fn words_are_split_like_a_shell_does() {
    let split = |text: &str| split_words(text).map(|words| words.join("|"));
    assert_eq!(split("a  b\tc"), Some("a|b|c".to_owned()));
    assert_eq!(split(r#"a 'b "c' "d 'e" f\ g"#), Some("a|b \"c|d 'e|f g".to_owned()));
    assert_eq!(split(r"a'b'c '\' ''"), Some(r"abc|\|".to_owned()));
    assert_eq!(split("$HOME *; x"), Some("$HOME|*;|x".to_owned()));
    assert_eq!(split(""), Some(String::new()));
    assert_eq!(split("'a"), None);
    assert_eq!(split("a\\"), None);
}

#[test]
fn the_old_dump_variable_alone_does_nothing() {
    let warnings = |dump: &str, value: &str| {
        let text = format!(
            "version = 1\n[instance.a]\nhome = \"/a\"\n[instance.a.postgres]\ndatabases = [\"d\"]\n{dump}"
        );
        let set = |name: &str| (name == "POSTGRES_BACKUP").then(|| OsString::from(value));
        Config::parse(&text, "/c.toml".as_ref(), &set).unwrap().warnings
    };
    assert_eq!(
        warnings("", "/dumps"),
        ["POSTGRES_BACKUP=/dumps is ignored: an unencrypted dump is only left where \
          `postgres.standard_dump` in /c.toml says so"]
    );
    assert_eq!(
        warnings("standard_dump = \"/dumps\"", "/dumps"),
        [
            "POSTGRES_BACKUP is an old name and no longer needed: `standard_dump` in /c.toml says the \
          same; unset it"
        ]
    );
    assert!(warnings("standard_dump = \"/dumps\"", "/else")[0].contains("is ignored"));
    assert!(warnings("", "").is_empty());
}
