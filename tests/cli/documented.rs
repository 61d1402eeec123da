//! What documents tell people to type is typed: each command of theirs runs here, in their order, or is named in [`elsewhere`] with
//! the test that runs it where it needs more than this program.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use mrs_backup::instance::config::split_words;

mod elsewhere;
mod tries;

use elsewhere::{ELSEWHERE, Elsewhere};
use tries::{
    CHANGED, KEPT, KEYS, KEYS_ROTATED, LOST, LOST_AGAIN, NIGHTS, OK, PRODUCTION, PRODUCTION_BACK,
    QUICK, TOUR, Try,
};

use super::documents::{documents, read, refused, root, typed};
use super::{Place, Ran};
use crate::postgres::TestServer;

/// Where the commands run: paths from `/` on are below a directory of the test's.
struct Machine {
    place: Place,
    /// What stands for the ids that documents show.
    ids: RefCell<BTreeMap<&'static str, String>>,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { place: Place::new(), ids: RefCell::default() };
        for directory in ["etc/mrs-backup", "root", "srv/app/log", "var/www/html", "mnt/second"] {
            fs::create_dir_all(machine.place.path(directory)).unwrap();
        }
        machine
    }

    fn write(&self, name: &str, text: &str) {
        self.place.write(name, text.as_bytes());
    }

    /// One argument: a path of the document's machine is one of this one.
    fn argument(&self, word: &str) -> String {
        if let Some(id) = self.ids.borrow().get(word) {
            return id.clone();
        }
        match word.starts_with('/') {
            true => format!("{}{word}", self.place.dir.path().display()),
            false => word.to_owned(),
        }
    }

    fn run(&self, words: &str) -> Ran {
        let words = split_words(words).unwrap();
        let mut command: Command = self.place.bare();
        let config = self.place.path("etc/mrs-backup/config.toml");
        if config.exists() {
            command.env("MRS_BACKUP_CONFIG", config);
        }
        Ran::of(command.args(words.iter().map(|word| self.argument(word))))
    }

    fn all(&self, tries: &[Try]) {
        for (command, more, codes) in tries {
            let ran = self.run(&format!("{command} {more}"));
            assert!(ran.code.is_some_and(|code| codes.contains(&code)), "{command}: {ran:?}");
            assert!(!ran.stderr.contains("panicked"), "{command}: {ran:?}");
        }
    }

    /// From now on `shown` is the newest snapshot.
    fn newest_is(&self, shown: &'static str) {
        let ran = self.run("snapshots --json");
        let newest = ran.lines().into_iter().rfind(|line| line["type"] == "snapshot");
        let id = newest.unwrap()["id"].as_str().unwrap().to_owned();
        self.ids.borrow_mut().insert(shown, id);
    }
}

#[test]
fn an_instance_of_files_is_kept_lost_and_brought_back() {
    let machine = Machine::new();
    let here = machine.place.dir.path().display();
    machine.write("root/password", "correct horse battery\n");
    machine.write("root/other.password", "another one\n");
    machine.write("srv/app/photo.jpg", "a picture\n");
    machine.write("srv/app/settings.ini", "debug = 0\n");
    machine.write("srv/app/log/app.log", "started\n");
    let config = format!(
        r#"version = 1
[instance.app]
home = "{here}/srv/app"
repository = "{here}/mnt/backup/app/repo"
key = {{ file = "{here}/root/password" }}
paths = ["settings.ini", "log", "new.txt"]
timezone = "UTC"
schedule = {{ run = "0 23 * * *" }}
[instance.app.copy.cellar]
location = "{here}/mnt/cellar/app/repo"
[notify.hook]
kind = "webhook"
url = "http://127.0.0.1:9/"
"#
    );
    machine.write("etc/mrs-backup/config.toml", &config);
    machine.all(TOUR);
    machine.newest_is("ba4a93d6");
    machine.write("srv/app/settings.ini", "debug = 1\n");
    machine.write("srv/app/new.txt", "new\n");
    fs::remove_file(machine.place.path("srv/app/photo.jpg")).unwrap();
    machine.all(CHANGED);
    machine.newest_is("2bc6176a");
    machine.all(NIGHTS);
    let copied = Command::new("cp")
        .arg("-r")
        .args([machine.place.path("mnt/cellar/app/repo"), machine.place.path("mnt/second/repo")])
        .status();
    assert!(copied.unwrap().success());
    machine.all(KEPT);

    let gone = |names: &[&str]| {
        names.iter().for_each(|name| fs::remove_dir_all(machine.place.path(name)).unwrap());
        fs::remove_file(machine.place.path("etc/mrs-backup/config.toml")).unwrap();
    };
    gone(&["mnt/backup", "state", "srv/app"]);
    machine.all(LOST);
    assert_eq!(fs::read(machine.place.path("srv/app/new.txt")).unwrap(), b"new\n");
    gone(&["mnt/backup", "state"]);
    machine.all(LOST_AGAIN);
    machine.all(&[("check --read-data", "", OK)]);
}

#[test]
fn an_instance_with_a_database_comes_back_as_it_is_told() {
    let server = TestServer::start();
    server.psql("postgres", "CREATE DATABASE mrs");
    server.psql("mrs", "CREATE TABLE claim AS SELECT generate_series(1, 500) AS id");
    server.psql("mrs", "ALTER TABLE claim ADD PRIMARY KEY (id)");
    let machine = Machine::new();
    let here = machine.place.dir.path().display();
    for name in ["etc/mrs-backup/mrs-production.password", "root/pw"] {
        machine.write(name, "correct horse battery\n");
    }
    machine.write("root/envelope.password", "another one\n");
    machine.write("etc/mrs-backup/new.password", "a newer one\n");
    fs::create_dir_all(machine.place.path("home/mrs-production/mrsattachments/2026")).unwrap();
    machine.write("home/mrs-production/mrsattachments/2026/bill-2.pdf", "a bill\n");
    machine.write("home/mrs-production/notes", "kept\n");
    let config = format!(
        r#"version = 1
[instance.mrs-production]
home = "{here}/home/mrs-production"
repository = "{here}/mnt/backup/mrs-production/repo"
key = {{ file = "{here}/etc/mrs-backup/mrs-production.password" }}
paths = ["mrsattachments", "notes"]
[instance.mrs-production.postgres]
host = "{host}"
port = {port}
user = "postgres"
databases = ["mrs"]
bin_dir = "{bin}"
[instance.mrs-production.restore]
scratch_directory = "{host}/scratch"
scratch_bin_dir = "{bin}"
"#,
        host = server.socket_dir().display(),
        port = server.port(),
        bin = server.bin_dir().display(),
    );
    machine.write("etc/mrs-backup/config.toml", &config);
    machine.all(PRODUCTION);
    machine.newest_is("839786d9");
    let small = "--repo /root/small/repo --password-file /root/pw init";
    assert_eq!(machine.run(&format!("{small} {QUICK}")).code, Some(0));
    machine.all(PRODUCTION_BACK);
    assert_eq!(server.psql("mrs_copy", "SELECT count(*) FROM claim"), "500");
    machine.all(KEYS);
    // What the documents say to do then; the next rotation needs the one in use and a new one.
    let etc = |name: &str| machine.place.path(&format!("etc/mrs-backup/{name}"));
    fs::rename(etc("new.password"), etc("mrs-production.password")).unwrap();
    fs::copy(etc("mrs-production.password"), etc("old.password")).unwrap();
    let keys = machine.run("key list --json").lines();
    let envelope = keys.iter().find(|line| line["label"] == "envelope").unwrap();
    machine.ids.borrow_mut().insert("62ce909b", envelope["id"].as_str().unwrap().to_owned());
    machine.all(&KEYS_ROTATED[..1]);
    machine.write("etc/mrs-backup/mrs-production.password", "the newest\n");
    machine.all(&KEYS_ROTATED[1..]);
    machine.all(&[("snapshots", "", OK), ("check", "", OK)]);
}

/// Whether it leaves something for the reader to put in.
fn has_blanks(command: &str) -> bool {
    let is_blank = |word: &str| {
        let letters = word.chars().filter(|letter| letter.is_ascii_alphabetic());
        word.len() > 1
            && letters.clone().count() > 1
            && letters.clone().all(|one| one.is_ascii_uppercase())
    };
    command.contains("...") || command.contains('…') || command.split([' ', '=', ':']).any(is_blank)
}

#[test]
fn every_command_of_the_documents_is_tried() {
    let lists = [
        TOUR,
        CHANGED,
        NIGHTS,
        KEPT,
        LOST,
        LOST_AGAIN,
        PRODUCTION,
        PRODUCTION_BACK,
        KEYS,
        KEYS_ROTATED,
    ];
    let tried: BTreeSet<&str> = lists.iter().copied().flatten().map(|one| one.0).collect();
    let elsewhere = |command: &str| ELSEWHERE.iter().any(|one| command.starts_with(one.beginning));
    let (mut missing, mut shown) = (BTreeSet::new(), BTreeSet::new());
    for document in documents().iter().filter(|name| !name.ends_with("/benchmarks.md")) {
        for (command, is_own) in typed(&read(document)) {
            // One word in a sentence is a name, and what the parser does not take as it is has something left out.
            let is_name = !is_own && !command.contains(' ');
            if is_name || has_blanks(&command) || refused(&command, true).is_some() {
                continue;
            }
            if !tried.contains(command.as_str()) && !elsewhere(&command) {
                missing.insert(format!("{document}: {command}"));
            }
            shown.insert(command);
        }
    }
    assert!(missing.is_empty(), "neither tried nor said where they are: {missing:#?}");
    assert!(shown.len() > 120, "{}", shown.len());
    let stale: Vec<&&str> = tried.iter().filter(|one| !shown.contains(**one)).collect();
    assert!(stale.is_empty(), "no document has these: {stale:#?}");
}

#[test]
fn what_is_tried_elsewhere_is_there() {
    for Elsewhere { beginning, why, file, test, word } in ELSEWHERE {
        let text = fs::read_to_string(root().join(file)).unwrap_or_else(|_| panic!("{file}"));
        for words in [format!("fn {test}("), format!("\"{word}\"")] {
            assert!(text.contains(&words), "{beginning} ({why}): {file} has no {words}");
        }
    }
}
