//! `doctor`: what a night would stumble over, said before.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{Place, Ran};
use crate::postgres::TestServer;

/// An instance with a copy, a schedule and a second way in, which was run once.
fn well() -> Place {
    let place = Place::new();
    write_config(&place, "");
    place.write("src/docker-compose.yml", b"services: {}\n");
    let ok = |args: &[&str]| {
        let ran = with_config(&place, args);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    };
    ok(&["init", "--kdf-memory", "8"]);
    place.write("envelope", b"another password");
    let more = ["--new-password-file", "envelope", "--label", "envelope", "--kdf-memory", "8"];
    ok(&[&["key", "add"], &more[..]].concat());
    ok(&["run"]);
    place
}

fn write_config(place: &Place, more: &str) {
    let root = place.dir.path().display();
    let config = format!(
        r#"version = 1
[instance.mrs]
home = "{root}/src"
repository = "{root}/repo"
key = {{ file = "{root}/password" }}
paths = ["a.txt", "sub", "docker-compose.yml"]
schedule = {{ run = "0 23 * * *" }}
{more}
[instance.mrs.copy.cellar]
location = "{root}/cellar"
"#
    );
    place.write("config.toml", config.as_bytes());
}

fn with_config(place: &Place, args: &[&str]) -> Ran {
    place.run_bare(&[&["-c", "config.toml"], args].concat())
}

/// What `doctor` finds, without what depends on the machine of the test.
fn findings(place: &Place, only: &str) -> (Option<i32>, Vec<Value>) {
    let ran = with_config(place, &["doctor", "mrs", "--json", "--only", only]);
    let found = ran.lines().into_iter().filter(|line| line["type"] == "check");
    (ran.code, found.collect())
}

/// The one finding of `check` at `level`, which says `words` and how to mend it.
fn expect(place: &Place, check: &str, level: &str, words: &str, mend: &str) {
    let (code, found) = findings(place, check);
    let is_it =
        |one: &&Value| one["level"] == level && one["message"].as_str().unwrap().contains(words);
    let one = found.iter().find(is_it).unwrap_or_else(|| panic!("{check}: {found:#?}"));
    assert!(one["mend"].as_str().unwrap().contains(mend), "{one}");
    assert_eq!(code, Some(i32::from(level == "error")), "{found:#?}");
}

const WHOLE: &str = "repository,space,clock,paths,secrets,key,copies,past";

#[test]
fn a_healthy_instance_is_told_to_be() {
    let place = well();
    let (code, found) = findings(&place, WHOLE);
    assert_eq!(code, Some(0), "{found:#?}");
    // Nobody keeps the clock of a test's machine right, perhaps.
    let bad: Vec<&Value> =
        found.iter().filter(|one| one["level"] != "ok" && one["check"] != "clock").collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let told: Vec<&str> = found.iter().map(|one| one["check"].as_str().unwrap()).collect();
    for check in WHOLE.split(',') {
        assert!(told.contains(&check), "{check}: {told:?}");
    }
    let sessions = fs::read_dir(place.path("repo/sessions")).unwrap().count();
    assert_eq!(sessions, 0, "its session is gone");
    let ran = with_config(&place, &["doctor", "--only", "repository,key"]);
    assert!(ran.stdout.contains("ok       repository  the repository at "), "{ran:?}");
    assert!(ran.stdout.contains("0 errors, 0 warnings"), "{ran:?}");
}

#[test]
fn each_fault_is_named_with_the_command_that_mends_it() {
    let place = well();
    let root = place.dir.path().display().to_string();
    let mode = |name: &str, mode: u32| {
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };

    mode("password", 0o644);
    let chmod = format!("chmod 600 {root}/password");
    expect(&place, "secrets", "error", "can be read by others (mode 644)", &chmod);
    mode("password", 0o600);
    mode("src/docker-compose.yml", 0o644);
    expect(&place, "secrets", "warning", "docker-compose.yml", "chmod o= ");
    assert_eq!(with_config(&place, &["doctor", "--only", "secrets", "--strict"]).code, Some(1));
    mode("src/docker-compose.yml", 0o600);
    mode("config.toml", 0o666);
    expect(&place, "secrets", "error", "can be changed by others", "chmod go-w");
    mode("config.toml", 0o600);

    fs::rename(place.path("src/sub"), place.path("src/gone")).unwrap();
    expect(&place, "paths", "error", "src/sub is not there", "mkdir -p");
    fs::rename(place.path("src/gone"), place.path("src/sub")).unwrap();
    let text = fs::read_to_string(place.path("config.toml")).unwrap();
    let without = text.replace(", \"docker-compose.yml\"", "");
    place.write("config.toml", without.as_bytes());
    expect(
        &place,
        "paths",
        "warning",
        "is saved by no path",
        "add \"docker-compose.yml\" to `paths`",
    );

    write_config(&place, "min_free = \"8000000GiB\"");
    expect(&place, "space", "error", "less than `min_free`", "mrs-backup prune -i mrs");
    write_config(&place, &format!("require_mount = \"{root}\""));
    expect(&place, "mount", "error", "is not mounted", &format!("mount {root}"));
    let (_, found) = findings(&place, "repository");
    assert_eq!(found[0]["level"], "error", "it is opened as a run opens it: {found:?}");
    write_config(&place, "");

    fs::rename(place.path("cellar"), place.path("elsewhere")).unwrap();
    expect(&place, "copies", "error", "holds nothing yet", "mrs-backup copy mrs --to cellar");
    fs::create_dir(place.path("cellar")).unwrap();
    fs::write(place.path("cellar/config"), "something else").unwrap();
    let (code, found) = findings(&place, "copies");
    assert_eq!((code, found[0]["level"].as_str()), (Some(1), Some("error")), "{found:?}");
    fs::remove_dir_all(place.path("cellar")).unwrap();
    fs::rename(place.path("elsewhere"), place.path("cellar")).unwrap();

    // A server that is away is told at once: somebody waits.
    let (here, text) =
        (format!("{root}/cellar"), fs::read_to_string(place.path("config.toml")).unwrap());
    let away = text.replace(&here, "ftp://user:secret@127.0.0.1:1/mrs");
    place.write("config.toml", away.as_bytes());
    let begun = std::time::Instant::now();
    expect(&place, "copies", "error", "(tried 2 times)", "mrs-backup copy mrs --to cellar");
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    place.write("config.toml", text.as_bytes());

    place.write("wrong", b"not the password");
    fs::rename(place.path("password"), place.path("kept")).unwrap();
    fs::rename(place.path("wrong"), place.path("password")).unwrap();
    expect(&place, "repository", "error", "wrong password", "--password-file");
    fs::rename(place.path("kept"), place.path("password")).unwrap();
    assert_eq!(findings(&place, WHOLE).0, Some(0), "all is as it was");
}

#[test]
fn clocks_and_late_jobs_are_seen() {
    let place = well();
    // A job that nobody started for days.
    let ledger = place.path("state/ledger/mrs/run.json");
    fs::write(&ledger, r#"{"since":"2020-01-01T00:00:00Z"}"#).unwrap();
    expect(&place, "schedule", "error", "job run is late by", "mrs-backup run mrs --job run");
    // A snapshot that a clock of the future made.
    let known = place.path("state/known/mrs.catalogue.json");
    let mut catalogue: Value = serde_json::from_slice(&fs::read(&known).unwrap()).unwrap();
    catalogue["snapshots"][0]["time"] = "2090-01-01T00:00:00Z".into();
    fs::write(&known, catalogue.to_string()).unwrap();
    expect(&place, "clock", "error", "in the future", "timedatectl");
    // A night that stored more than there is room for.
    catalogue["snapshots"][0]["stored_bytes"] = (1_u64 << 60).into();
    fs::write(&known, catalogue.to_string()).unwrap();
    expect(&place, "space", "error", "the largest stored", "mrs-backup prune");
    // The only way in.
    let keys = with_config(&place, &["key", "list", "--json"]);
    let other = keys.lines().into_iter().find(|line| line["label"] == "envelope").unwrap();
    let removed = with_config(&place, &["key", "remove", other["id"].as_str().unwrap()]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    expect(&place, "key", "warning", "the only way in", "mrs-backup key sheet - --recovery-key");
}

#[test]
fn what_a_role_may_not_read_is_named() {
    let server = TestServer::start();
    server.psql("postgres", "CREATE DATABASE mrs; ");
    let role = "CREATE ROLE watcher LOGIN; CREATE TABLE open (n int); CREATE TABLE closed (n int); \
                CREATE TABLE filtered (n int); ALTER TABLE filtered ENABLE ROW LEVEL SECURITY; \
                GRANT SELECT ON open, filtered TO watcher";
    server.psql("mrs", role);
    let place = Place::new();
    let config = |user: &str| {
        let postgres = format!(
            "[instance.mrs.postgres]\nhost = \"{}\"\nport = {}\nuser = \"{user}\"\n\
             databases = [\"mrs\"]\nbin_dir = \"{}\"\n",
            server.socket_dir().display(),
            server.port(),
            server.bin_dir().display(),
        );
        write_config(&place, &postgres);
    };
    config("watcher");
    let (code, found) = findings(&place, "database");
    assert_eq!(code, Some(1), "{found:#?}");
    let told = |words: &str| {
        found
            .iter()
            .any(|one| one["level"] == "error" && one["message"].as_str().unwrap().contains(words))
    };
    assert!(told("may not read public.closed in database mrs"), "{found:#?}");
    assert!(told("policies hide rows of public.filtered"), "{found:#?}");
    assert!(found.iter().any(|one| one["level"] == "hint"), "no superuser: {found:#?}");
    config("postgres");
    let (code, found) = findings(&place, "database");
    assert_eq!(code, Some(0), "{found:#?}");
    assert!(found[1]["message"].as_str().unwrap().contains("all 3 tables"), "{found:#?}");
    config("nobody-there");
    expect(&place, "database", "error", "nobody-there", "mrs-backup run mrs --dry-run");
}
