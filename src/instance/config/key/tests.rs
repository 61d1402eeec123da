use std::time::Instant;

use super::*;

fn read_with(
    source: &KeySource,
    environment: Environment<'_>,
) -> Result<(Vec<u8>, Vec<String>), String> {
    let reader = KeyReader { environment, stop: Arc::new(StopFlag::new()) };
    let read = reader.read(source).map_err(|error| error.to_string())?;
    Ok((read.secret.expose().to_vec(), read.warnings))
}

fn read(source: &KeySource) -> Result<(Vec<u8>, Vec<String>), String> {
    read_with(source, &|_| None)
}

fn file(content: &[u8], mode: u32) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).unwrap();
    file
}

fn command(argv: &[&str]) -> KeySource {
    KeySource::Command(argv.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn one_end_of_line_is_no_part_of_a_password() {
    let cases: [(&[u8], &[u8]); 5] = [
        (b"pw", b"pw"),
        (b"pw\n", b"pw"),
        (b"pw\r\n", b"pw"),
        (b"pw\n\n", b"pw\n"),
        (b" p\xff w ", b" p\xff w "),
    ];
    for (content, wanted) in cases {
        let file = file(content, 0o600);
        let (password, warnings) = read(&KeySource::File(file.path().into())).unwrap();
        assert_eq!((password.as_slice(), warnings), (wanted, vec![]));
    }
}

#[test]
fn a_file_others_can_read_is_warned_about() {
    let file = file(b"pw", 0o640);
    let (_, warnings) = read(&KeySource::File(file.path().into())).unwrap();
    let path = file.path().display();
    assert_eq!(
        warnings,
        [format!("{path} can be read or changed by others (mode 640); run: chmod 600 {path}")]
    );
}

#[test]
fn useless_files_are_refused() {
    for content in [&b""[..], b"\n", b"\r\n"] {
        let file = file(content, 0o600);
        assert_eq!(
            read(&KeySource::File(file.path().into())).unwrap_err(),
            format!(
                "cannot get the password or key from file {}: it is empty; put a password there",
                file.path().display()
            )
        );
    }
    let long = file(&[b'x'; 70_000], 0o600);
    let error = read(&KeySource::File(long.path().into())).unwrap_err();
    assert!(error.contains("it is longer than 65536 bytes; check the path"), "{error}");
    assert_eq!(
        read(&KeySource::File("/nonexistent/pw".into())).unwrap_err(),
        "cannot get the password or key from file /nonexistent/pw: No such file or directory (os error 2); \
         check the path and who may read it"
    );
}

#[test]
fn key_files_are_taken_as_they_are() {
    let key = [b'\n'; 32];
    let long = file(&key, 0o600);
    let source = KeySource::KeyFile(long.path().into());
    assert_eq!(read(&source).unwrap().0, key);
    let reader = KeyReader { environment: &|_| None, stop: Arc::new(StopFlag::new()) };
    assert!(matches!(reader.credential(&source).unwrap().0, Credential::KeyFile(_)));
    let file_of_password = file(b"x", 0o600);
    let password = KeySource::File(file_of_password.path().into());
    assert!(matches!(reader.credential(&password).unwrap().0, Credential::Password(_)));
    let short = file(&key[..31], 0o600);
    let error = read(&KeySource::KeyFile(short.path().into())).unwrap_err();
    assert!(
        error.ends_with("it has 31 bytes, less than 32; make one with 32 random bytes or more")
    );
}

#[test]
fn commands_run_without_a_shell_and_stay_silent_about_secrets() {
    assert_eq!(read(&command(&["printf", "%s\n", "$(id)"])).unwrap().0, b"$(id)");
    assert_eq!(
        read(&command(&["sh", "-c", "echo geheim; echo locked >&2; exit 4"])).unwrap_err(),
        "cannot get the password or key from command sh ***: `sh` failed (exit status 4): locked; \
         run it by hand to see what is wrong"
    );
    let missing = read(&command(&["no-such-program-here"])).unwrap_err();
    assert!(missing.contains("No such file or directory"), "{missing}");
    assert!(read(&command(&["true"])).unwrap_err().contains("it is empty"));
    let begin = Instant::now();
    let endless = read(&command(&["yes", "geheim"])).unwrap_err();
    assert!(endless.contains("more than 65536 bytes") && !endless.contains("geheim"), "{endless}");
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_stop_ends_a_waiting_command() {
    let stop = Arc::new(StopFlag::new());
    stop.stop();
    let reader = KeyReader { environment: &|_| None, stop };
    let error = reader.read(&command(&["sleep", "1000"])).unwrap_err();
    assert!(error.to_string().contains("stopped as asked"), "{error}");
}

#[test]
fn variables_and_credentials_come_from_the_environment_given() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("mrs"), "from systemd\n").unwrap();
    let path = directory.path().as_os_str().to_owned();
    let environment = move |name: &str| match name {
        "MRS_PASSWORD" => Some(OsString::from("from env\n")),
        "EMPTY" => Some(OsString::new()),
        "CREDENTIALS_DIRECTORY" => Some(path.clone()),
        _ => None,
    };
    let get = |source: KeySource| read_with(&source, &environment);
    assert_eq!(get(KeySource::Env("MRS_PASSWORD".into())).unwrap().0, b"from env");
    assert_eq!(get(KeySource::Credential("mrs".into())).unwrap().0, b"from systemd");
    assert_eq!(
        get(KeySource::Env("OTHER".into())).unwrap_err(),
        "cannot get the password or key from environment variable OTHER: it is not set; set it"
    );
    assert!(get(KeySource::Env("EMPTY".into())).unwrap_err().contains("it is empty"));
    assert_eq!(
        read(&KeySource::Credential("mrs".into())).unwrap_err(),
        "cannot get the password or key from credential mrs: CREDENTIALS_DIRECTORY is not set; \
         run it as a systemd service with LoadCredential="
    );
}
