//! A fresh snapshot, commands of the target, a look at some rows, and a target whose disk gets full.

use std::fs;
use std::process::Command;

use crate::stage::Stage;
use crate::support::postgres::{TestServer, installations, run};

#[test]
fn a_fresh_snapshot_is_taken_first() {
    let stage = Stage::with_persons(20);
    stage.production("UPDATE person_person SET use_email = false WHERE id = 3");
    let flag = "SELECT use_email FROM person_person WHERE id = 3";
    assert_eq!(stage.copy(&[]).code, Some(0));
    assert_eq!(stage.staging(flag), "t", "of the last night");
    let ran = stage.copy(&["--fresh"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(stage.staging(flag), "f");
    let snapshots = stage.ok(&["-i", "production", "snapshots", "--json"]).stdout;
    assert_eq!(snapshots.matches("\"type\":\"snapshot\"").count(), 2, "{snapshots}");
    // Nobody said yes: that is found before it takes its time, not after.
    stage
        .run(&["clone", "production", "staging", "--fresh"])
        .fails(2, &["is to be taken", "--yes"]);
    // Only looking takes none; nor does a copy that is not allowed.
    stage.run(&["clone", "production", "staging", "--fresh", "--plan"]).fails(2, &["--plan"]);
    stage.run(&["clone", "staging", "staging", "--fresh", "--yes"]).fails(32, &["clone.from"]);
    let again = stage.ok(&["-i", "production", "snapshots", "--json"]).stdout;
    assert_eq!(again.matches("\"type\":\"snapshot\"").count(), 2);
}

/// `before_swap` that runs SQL in the new database.
fn sql(stage: &Stage, sql: &str) -> String {
    format!(
        "before_swap = [[\"{}/psql\", \"-Xqv\", \"ON_ERROR_STOP=1\", \"-h\", \"{}\", \"-p\", \"{}\", \"-U\", \"postgres\", \"-d\", \"{{database}}\", \"-c\", \"{sql}\"]]",
        stage.staging.bin_dir().display(),
        stage.staging.socket_dir().display(),
        stage.staging.port()
    )
}

#[test]
fn commands_run_in_the_new_database_and_one_that_fails_stops_the_copy() {
    let stage = Stage::with_persons(20);
    stage.configure(&sql(&stage, "SELECT nothing"));
    stage.copy(&[]).fails(1, &["before_swap", "does not exist", "is as it was"]);
    stage.is_untouched();
    stage.configure(&sql(&stage, "CREATE TABLE migrated AS SELECT current_database() AS name"));
    let ran = stage.copy(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(stage.staging("SELECT name FROM migrated"), "app__new", "before the swap");

    stage.configure("after = [[\"sh\", \"-c\", \"pwd > after-{database}; echo $PGDATABASE >> after-{database}\"]]");
    assert_eq!(stage.copy(&[]).code, Some(0));
    let said = fs::read_to_string(stage.path("staging/after-app")).unwrap();
    assert_eq!(said, format!("{}\napp\n", stage.path("staging").display()));
    stage.configure("after = [[\"sh\", \"-c\", \"echo it went wrong >&2; exit 3\"]]");
    let ran = stage.copy(&[]);
    ran.fails(1, &["the copy is in its place in staging", "it went wrong", "undo -i staging"]);
    assert_eq!(stage.staging("SELECT count(*) FROM person_person"), "20");
    // One that does not end has its time.
    stage.configure("before_swap = [[\"sleep\", \"60\"]]\ncommand_limit = \"1s\"");
    stage.copy(&[]).fails(1, &["before_swap"]);
}

#[test]
fn a_look_at_rows_masks_what_they_were() {
    let stage = Stage::with_persons(50);
    let ran = stage.ok(&["clone", "production", "staging", "--preview", "2"]);
    stage.is_untouched();
    assert!(ran.stdout.contains("table person_person, row 2"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("table person_person, row 3"), "{}", ran.stdout);
    assert!(ran.stdout.contains("(9-16)") && ran.stdout.contains("@example.invalid"));
    assert!(ran.stdout.contains("nothing was written"));
    let all = format!("{}{}", ran.stdout, ran.stderr);
    let originals = "SELECT nir FROM person_person UNION SELECT email FROM person_person WHERE email <> '' \
                     UNION SELECT last_name FROM person_person WHERE length(last_name) > 8";
    for original in stage.production(originals).lines() {
        assert!(!all.contains(original), "{original}: {all}");
    }
    // Without being asked, no row is shown anywhere.
    let ran = stage.ok(&["clone", "production", "staging", "--plan", "--json"]);
    assert!(
        !ran.stdout.contains("\"type\":\"preview\"") && !ran.stdout.contains("example.invalid")
    );
    stage.run(&["clone", "production", "staging", "--preview", "0"]).fails(2, &["--preview"]);
}

/// A file system of `mebibytes`, as long as this lives.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(mebibytes: u32) -> Self {
        let place = tempfile::Builder::new().prefix("mrs-clf-").tempdir_in("/tmp").unwrap();
        let options = format!("size={mebibytes}m,mode=0755");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(place.path()));
        Self(place)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_directory_without_room_leaves_the_target_as_it_was() {
    let stage = Stage::with_persons(400);
    let disk = SmallDisk::new(1);
    // The home of the target is on a disk that has no room for all placeholders.
    let home = disk.0.path().join("home");
    fs::create_dir_all(home.join("mrsattachments")).unwrap();
    fs::write(home.join("mrsattachments/old.pdf"), "what staging had").unwrap();
    fs::write(home.join(".env"), "EMAIL_HOST=mailpit\n").unwrap();
    fs::write(home.join("filler"), vec![0; 900 << 10]).unwrap();
    let config = fs::read_to_string(stage.path("config.toml")).unwrap();
    let old = format!("home = \"{}\"", stage.path("staging").display());
    assert!(config.contains(&old));
    stage.write("config.toml", &config.replace(&old, &format!("home = \"{}\"", home.display())));
    let ran = stage.copy(&[]);
    ran.fails(32, &["its file cannot be written"]);
    assert_eq!(stage.databases(), ["app"]);
    assert_eq!(stage.staging("SELECT n FROM of_staging"), "1");
    let left = crate::stage::names(&home);
    assert_eq!(left, [".env", "filler", "mrsattachments"]);
    assert_eq!(crate::stage::names(&home.join("mrsattachments")), ["old.pdf"]);
}

#[test]
fn a_server_whose_disk_is_full_leaves_the_target_as_it_was() {
    let disk = SmallDisk::new(420);
    {
        let staging = TestServer::start_on(&installations()[0], disk.0.path());
        let stage = Stage::on(TestServer::start(), staging, 200, "UTF8");
        let filler = disk.0.path().join("filler");
        stage.staging.psql("postgres", "CHECKPOINT");
        let stat = rustix::fs::statvfs(disk.0.path()).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        fs::write(&filler, vec![0; usize::try_from(free.saturating_sub(3 << 20)).unwrap()])
            .unwrap();
        let ran = stage.copy(&[]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let said = ran.stderr.contains("No space left") || ran.stderr.contains("bytes free, but");
        assert!(said, "{}", ran.stderr);
        stage.is_untouched();
        fs::remove_file(filler).unwrap();
        assert_eq!(stage.copy(&[]).code, Some(0), "with room it works");
    }
    drop(disk);
}
