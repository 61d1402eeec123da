//! A nightly run with a real database.

use std::fs;

use super::browsing::{get, link, page, unchunked};
use super::metrics::Serving;
use super::{Place, Ran};
use crate::postgres::TestServer;

#[test]
fn a_run_dumps_databases_and_keeps_the_last_whole_standard_dump() {
    let server = TestServer::start();
    server.psql("postgres", "CREATE DATABASE mrs");
    server.psql("mrs", "CREATE TABLE bills AS SELECT generate_series(1, 500) AS id");
    let place = Place::new();
    let root = place.dir.path().display();
    let config = format!(
        r#"version = 1
[instance.mrs]
home = "{root}/src"
repository = "{root}/repo"
key = {{ file = "{root}/password" }}
paths = ["a.txt"]
[instance.mrs.postgres]
host = "{}"
port = {}
user = "postgres"
databases = ["mrs"]
bin_dir = "{}"
standard_dump = "{root}/standard"
"#,
        server.socket_dir().display(),
        server.port(),
        server.bin_dir().display(),
    );
    place.write("config.toml", config.as_bytes());
    let run = |args: &[&str]| place.run_bare(&[&["-c", "config.toml"], args].concat());
    assert_eq!(run(&["init", "--kdf-memory", "8"]).code, Some(0));
    let ran = run(&["run", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let dump = fs::read(place.path("standard/mrs.dump")).unwrap();
    let mut command = place.bare();
    command.args(["-c", "config.toml", "dump", "latest", "postgres/mrs/rest.dump", "-o", "copy"]);
    assert_eq!(Ran::of(&mut command).code, Some(0));
    assert_eq!(fs::read(place.path("copy")).unwrap(), dump);
    let listing = Ran::of(server.command("pg_restore").arg("-l").arg(place.path("copy")));
    assert!(listing.stdout.contains("TABLE DATA public bills"), "{listing:?}");

    // A browser that is let in takes the whole dump, rows and all.
    let before = fs::read_to_string(place.path("config.toml")).unwrap();
    let lines = "[serve]\nlisten = [\"127.0.0.1:0\"]\nbrowse = true\ntoken = { env = \"TOKEN\" }\n";
    place.write("config.toml", format!("{before}{lines}").as_bytes());
    let serving = Serving::start(&place, &["serve"]);
    let list = page(&serving, "/browse/mrs");
    let snapshot = page(&serving, &link(&list, "20"));
    let (status, _, taken) = get(&serving, &link(&snapshot, "mrs.dump"));
    assert_eq!(status, 200);
    serving.stop();
    assert_eq!(run(&["dump", "latest", "--database", "mrs", "-o", "whole"]).code, Some(0));
    // Of a length nobody knew before it comes in pieces, each with its own.
    let whole = fs::read(place.path("whole")).unwrap();
    assert!(!whole.is_empty() && unchunked(&taken) == whole);

    // Dropped between two nights: the snapshot lacks it and says so, the last whole dump stays.
    server.psql("postgres", "DROP DATABASE mrs");
    let ran = run(&["run", "--json"]);
    assert_eq!((ran.code, ran.summary()["result"].as_str()), (Some(3), Some("incomplete")));
    assert_eq!(fs::read(place.path("standard/mrs.dump")).unwrap(), dump);
    let ran = run(&["restore", "latest", "out"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(place.path("out/postgres/mrs/rest.dump").exists(), "latest is the newest complete one");
}
