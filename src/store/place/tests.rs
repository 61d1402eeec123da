use super::*;

fn parse(text: &str) -> Place {
    Place::parse(text, Written::Privately).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    let error = Place::parse(text, Written::Privately).expect_err(text);
    assert!(!error.hint().is_empty());
    error.to_string()
}

fn ftp(text: &str) -> (Server, FtpTls) {
    match parse(text).address {
        Address::Ftp(server, tls) => (server, tls),
        other => panic!("{other:?}"),
    }
}

#[test]
fn paths_stay_paths() {
    for text in ["/srv/backup", "backup", "./like:this", "/with?mark", "file:///srv/x", "a/b:c"] {
        let place = parse(text);
        assert!(!place.is_remote(), "{text}");
    }
    assert_eq!(parse("file:///srv/x").as_directory().unwrap(), std::path::Path::new("/srv/x"));
}

#[test]
fn every_form_of_ftp_that_lftp_knows() {
    let (server, tls) = ftp("ftp://bob:p%40ss%2Fword@backup.example:2121/mrs/repo");
    assert_eq!(server.host, "backup.example");
    assert_eq!((server.port, server.user.as_deref()), (Some(2121), Some("bob")));
    assert_eq!((server.path.as_str(), tls), ("mrs/repo", FtpTls::Explicit));
    let place = parse("ftp://bob:p%40ss%2Fword@backup.example/mrs");
    assert_eq!(place.password.as_ref().unwrap().expose(), b"p@ss/word");
    assert_eq!(ftp("ftp://h/%2Fsrv/x").0.path, "/srv/x");
    assert_eq!(ftp("ftp://h//srv/x/").0.path, "/srv/x");
    assert_eq!(ftp("ftp://us%40er%3Aname@h").0.user.as_deref(), Some("us@er:name"));
    assert_eq!(ftp("ftps://h/x").1, FtpTls::Implicit);
    assert_eq!(ftp("ftps://h:990/x").1, FtpTls::Implicit);
    assert_eq!(ftp("ftps://h:21/x").1, FtpTls::Explicit);
    assert_eq!(ftp("ftpes://h/x").1, FtpTls::Explicit);
    assert_eq!(ftp("ftp://127.0.0.1:2121/x").1, FtpTls::Off);
    assert_eq!(ftp("ftp://localhost/x").1, FtpTls::Off);
    assert_eq!(ftp("ftp://[::1]:21/x").0.host, "::1");
}

#[test]
fn what_is_printed_holds_no_secret() {
    for text in [
        "ftp://bob:hunter2@h/x",
        "ftps://bob:hunter2@[::1]:990/x?pin=sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "webdavs://bob:hunter2@h/x",
        "rclone::ftp,user=bob,pass=hunter2:x",
    ] {
        let place = parse(text);
        for shown in [place.location().to_string(), format!("{place:?}"), without_secrets(text)] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
    assert_eq!(parse("ftp://bob:x@h:2121/a/b").location().to_string(), "ftp://bob@h:2121/a/b");
    for text in [
        "ftp:bob:hunter2",
        "nonsense://bob:hunter2@h",
        "ftp://bob:hunter2@",
        "ftp://b:hunter2@h/%ff",
    ] {
        assert!(!refused(text).contains("hunter2"), "{text}");
        assert!(!without_secrets(text).contains("hunter2"), "{text}");
    }
}

#[test]
fn a_password_in_the_arguments_is_refused_with_the_way_out() {
    let error = Place::parse("ftp://bob:hunter2@h/x", Written::InArguments).unwrap_err();
    assert!(error.to_string().contains("arguments"), "{error}");
    assert!(error.hint().contains("password-file") && !error.hint().contains("hunter2"));
    Place::parse("ftp://bob@h/x?password-file=/etc/x", Written::InArguments).unwrap();
}

#[test]
fn sftp_in_both_forms() {
    let of = |text: &str| match parse(text).address {
        Address::Sftp(server) => server,
        other => panic!("{other:?}"),
    };
    assert_eq!(of("sftp://bob@h:2222/srv/x").path, "/srv/x");
    assert_eq!(of("sftp://bob@h/~/x").path, "x");
    assert_eq!(of("sftp:bob@h:x/y").path, "x/y");
    assert_eq!(of("sftp:bob@h:/srv/x").path, "/srv/x");
    assert_eq!(parse("sftp:bob@h:x/y").location().to_string(), "sftp://bob@h/~/x/y");
    for text in ["sftp://-oProxyCommand=x/y", "sftp:-x@h:y", "sftp://bob:pw@h/x", "sftp:host"] {
        refused(text);
    }
}

#[test]
fn buckets_in_both_forms() {
    let of = |text: &str| match parse(text).address {
        Address::Bucket { endpoint, bucket, prefix, .. } => (endpoint, bucket, prefix),
        other => panic!("{other:?}"),
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(of("s3://b/p/q/"), (None, "b".to_owned(), "p/q".to_owned()));
    assert_eq!(of("s3:http://h:9/b/p"), (some("http://h:9"), "b".to_owned(), "p".to_owned()));
    assert_eq!(of("s3:s3.example/b"), (some("s3.example"), "b".to_owned(), String::new()));
    assert_eq!(of("gs:b:/p"), (None, "b".to_owned(), "p".to_owned()));
    assert_eq!(of("azure://c/p"), (None, "c".to_owned(), "p".to_owned()));
    for text in ["s3:x", "s3://", "s3://k:s@b/p", "s3:ftp://h/b", "s3://b/../c"] {
        refused(text);
    }
}

#[test]
fn options_are_checked() {
    let place = parse(
        "ftps://h/x?connections=8&timeout=2m&limit-upload=500KiB&tls=explicit&tls-version=1.2",
    );
    assert_eq!(place.options.connections.unwrap().get(), 8);
    assert_eq!(place.options.limit_upload, Some("500KiB".parse().unwrap()));
    assert!(place.options.is_tls12 && place.options.tls == Some(FtpTls::Explicit));
    let place = parse("ftps://h/x?limit-upload=08:00,512KiB%2019:00,off");
    assert!(place.options.limit_upload.is_some());
    let retention = |text: &str| {
        let found = parse(&format!("s3://b/x?retention={text}")).options.retention.unwrap();
        (found.days, found.is_compliance)
    };
    assert_eq!(retention("30d"), (30, true));
    assert_eq!(retention("1d,governance"), (1, false));
    for text in [
        "ftp://h/x?conections=8",
        "ftp://h/x?connections=0",
        "ftp://h/x?connections=99",
        "ftp://h/x?timeout=never",
        "s3://b/x?storage-class=GLACIER",
        "s3://b/x?retention=30",
        "s3://b/x?retention=0d",
        "s3://b/x?retention=30d,maybe",
        "gs://b/x?retention=30d",
        "ftp://h/x?pin=abc",
        "ftp://h/x?tls=maybe",
        "sftp://h/x?password-file=/x",
        "s3://b/p?virtual-host=maybe",
        "webdav://h/x?tls=off",
    ] {
        refused(text);
    }
}

#[test]
fn nothing_in_a_location_can_become_a_command() {
    for text in
        ["ftp://a%0d%0aDELE@h/x", "ftp://h/a%0aDELE%20b", "ftp://u:p%0a@h/x", "ftp://h/../x"]
    {
        refused(text);
    }
}

#[test]
fn a_location_may_stand_in_a_variable() {
    // A variable every test process has.
    let error = refused("env:MRS_BACKUP_TEST_NOT_SET_ANYWHERE");
    assert!(error.contains("not set"), "{error}");
    assert_eq!(without_secrets("env:LFTP_DSN"), "env:LFTP_DSN");
    assert!(!parse("env:HOME").is_remote());
}

#[test]
fn secrets_are_read_without_the_end_of_their_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, "hunter2\n").unwrap();
    assert_eq!(SecretFrom::File(file.clone()).read().unwrap().expose(), b"hunter2");
    std::fs::write(&file, "").unwrap();
    SecretFrom::File(file.clone()).read().unwrap_err();
    std::fs::write(&file, vec![b'x'; 70_000]).unwrap();
    SecretFrom::File(file).read().unwrap_err();
    let echo = SecretFrom::Command("echo hunter2".to_owned());
    assert_eq!(echo.read().unwrap().expose(), b"hunter2");
    let error = SecretFrom::Command("false hunter2".to_owned()).read().unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
    SecretFrom::Credential("../x".to_owned()).read().unwrap_err();
}
