//! Units of systemd: what is installed can be loaded and is locked down; what is removed is gone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Highest exposure `systemd-analyze security` may find, in tenths.
const MOST_EXPOSED: &str = "30";

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// Two instances, the first with every job.
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().expect("a directory") };
        for directory in ["units", "home/mrs", "home/school", "bin"] {
            fs::create_dir_all(place.path(directory)).expect("directories");
        }
        let root = place.dir.path().display();
        let config = format!(
            r#"version = 1
[defaults]
timezone = "Europe/Paris"
key = {{ credential = "repo-key" }}
[instance.mrs-production]
home = "{root}/home/mrs"
repository = "{root}/repo"
[instance.mrs-production.schedule]
run = "30 2 * * *"
prune = "0 4 1,15 * mon"
check = "0 5 * * 6"
test_restore = "*/30 5 * * sun"
random_delay = "10m"
[instance.school]
home = "{root}/home/school"
schedule = {{ run = "@daily" }}
[instance.unscheduled]
home = "{root}/home/none"
"#
        );
        fs::write(place.path("config.toml"), config).expect("a file");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_mrs-backup"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a search path"))
            .args(["-c", "config.toml", "--state-dir", "state"])
            .args(args)
            .current_dir(self.dir.path())
            .output()
            .expect("the program starts")
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn units(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("units")).expect("a directory");
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.expect("an entry").file_name().to_string_lossy().into_owned()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }

    /// A `systemctl` that writes down what it is asked.
    fn systemctl(&self) -> String {
        let path = self.path("bin/systemctl");
        let script = format!("#!/bin/sh\necho \"$@\" >>{}\n", self.path("called").display());
        fs::write(&path, script).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        path.display().to_string()
    }
}

fn analyze(args: &[&str], file: &Path) -> Output {
    let output = Command::new("systemd-analyze").args(args).arg(file).output();
    output.expect("systemd-analyze is there (apt-get install systemd)")
}

/// Loads every file and looks how exposed the services are.
fn verify(directory: &Path) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let output = analyze(&["verify", "--recursive-errors=no"], &path);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{}: {said}", path.display());
        if path.extension().is_some_and(|extension| extension == "service") {
            let threshold = format!("--threshold={MOST_EXPOSED}");
            let output = analyze(&["security", "--offline=true", &threshold], &path);
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{}: {said}", path.display());
        }
    }
}

#[test]
fn templates_can_be_loaded_and_are_locked_down() {
    let scratch = tempfile::tempdir().expect("a directory");
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let mut count = 0;
    for entry in fs::read_dir(templates).expect("templates") {
        let path = entry.expect("an entry").path();
        // Beside the units lies the configuration of an example.
        if !path.extension().is_some_and(|extension| extension == "service" || extension == "timer")
        {
            continue;
        }
        // The program need not be installed where the tests run.
        let text = fs::read_to_string(&path).expect("a template");
        let text = text.replace("/usr/local/bin/mrs-backup", env!("CARGO_BIN_EXE_mrs-backup"));
        let name = path.file_name().expect("a name").to_string_lossy().replace("@.", "@mrs.");
        fs::write(scratch.path().join(name), text).expect("a file");
        count += 1;
    }
    assert_eq!(count, 16);
    verify(scratch.path());
}

#[test]
fn what_is_installed_can_be_loaded_and_is_locked_down() {
    let place = Place::new();
    for version in ["252", "239"] {
        place.ok(&["units", "install", "--directory", "units", "--systemd-version", version]);
        assert_eq!(
            place.units(),
            [
                "mrs-backup-failed@.service",
                "mrs-backup@mrs-production.service",
                "mrs-backup@school.service",
                "mrs-production-backup.service",
                "mrs-production-backup.timer",
                "mrs-production-check.service",
                "mrs-production-check.timer",
                "mrs-production-prune.service",
                "mrs-production-prune.timer",
                "mrs-production-test-restore.service",
                "mrs-production-test-restore.timer",
                "school-backup.service",
                "school-backup.timer",
            ]
        );
        let text =
            fs::read_to_string(place.path("units/mrs-production-backup.service")).expect("it");
        assert_eq!(text.contains("LoadCredential=repo-key:"), version == "252", "{text}");
        assert_eq!(text.contains("CREDENTIALS_DIRECTORY="), version == "239", "{text}");
        // An instance of a template by its own name.
        let failed =
            fs::read_to_string(place.path("units/mrs-backup-failed@.service")).expect("it");
        fs::write(place.path("units/mrs-backup-failed@x.service"), failed).expect("a file");
        fs::remove_file(place.path("units/mrs-backup-failed@.service")).expect("removed");
        verify(&place.path("units"));
        fs::remove_file(place.path("units/mrs-backup-failed@x.service")).expect("removed");
    }
    place.ok(&["units", "install", "--scheduler", "--directory", "units"]);
    verify(&place.path("units"));
}

#[test]
fn review_stacks_have_a_timer_where_the_configuration_knows_them() {
    let place = Place::new();
    let path = place.path("config.toml");
    let config = fs::read_to_string(&path).expect("it");
    let reviews = place.path("reviews").display().to_string();
    fs::write(&path, format!("{config}[review]\nhome = \"{reviews}\"\n")).expect("a file");
    let program = place.systemctl();
    let with = ["--directory", "units", "--systemctl", &program];
    place.ok(&[&["units", "install"][..], &with].concat());
    let unit = |name: &str| fs::read_to_string(place.path("units").join(name)).expect("it");
    let text = unit("mrs-backup-expire.service");
    let writes = format!("\nReadWritePaths=-{reviews}\n");
    assert!(text.contains(&writes) && text.contains(" expire --due\n"), "{text}");
    verify(&place.path("units"));
    let called = || fs::read_to_string(place.path("called")).expect("it was called");
    let is_there = || place.units().iter().any(|name| name.contains("expire"));
    assert!(called().contains("mrs-backup-expire.timer"), "{}", called());
    // The scheduler does it itself.
    place.ok(&[&["units", "install", "--scheduler"][..], &with].concat());
    let is_off = |name: &str| {
        called().lines().any(|line| line.starts_with("disable --now ") && line.contains(name))
    };
    assert!(is_off("mrs-backup-expire.timer"), "{}", called());
    assert!(!is_there() && unit("mrs-backup-schedule.service").contains(&writes));
    verify(&place.path("units"));
    place.ok(&[&["units", "install"][..], &with].concat());
    assert!(is_there() && is_off("mrs-backup-schedule.service"), "{}", called());
    fs::write(&path, config).expect("a file");
    place.ok(&[&["units", "install"][..], &with].concat());
    assert!(!is_there(), "{:?}", place.units());
}

#[test]
fn what_is_stale_is_told_by_a_timer_where_somebody_wants_to_know() {
    let place = Place::new();
    let path = place.path("config.toml");
    let config = fs::read_to_string(&path).expect("it");
    let channel = "[notify.team]\nkind = \"slack\"\nurl = { credential = \"slack\" }\n";
    fs::write(&path, format!("{config}{channel}")).expect("a file");
    let program = place.systemctl();
    let with = ["--directory", "units", "--systemctl", &program, "--systemd-version", "252"];
    place.ok(&[&["units", "install"][..], &with].concat());
    let text = fs::read_to_string(place.path("units/mrs-backup-notify.service")).expect("it");
    let credential = "\nLoadCredential=slack:/etc/mrs-backup/credentials/mrs-production/slack\n";
    assert!(text.contains(" notify --due -q\n") && text.contains(credential), "{text}");
    assert!(!text.contains("repo-key"), "nothing else is handed to it: {text}");
    fs::remove_file(place.path("units/mrs-backup-failed@.service")).expect("removed");
    verify(&place.path("units"));
    let called = || fs::read_to_string(place.path("called")).expect("it was called");
    assert!(called().contains("mrs-backup-notify.timer"), "{}", called());
    // The scheduler does it by itself, and without a channel there is nobody to tell.
    place.ok(&[&["units", "install", "--scheduler"][..], &with].concat());
    assert!(called().contains("disable --now") && called().contains("mrs-backup-notify.timer"));
    assert!(!place.units().iter().any(|name| name.contains("notify")), "{:?}", place.units());
}

#[test]
fn systemd_understands_the_hours() {
    let place = Place::new();
    let shown = place.ok(&["units", "show", "mrs-production"]);
    let values: Vec<&str> =
        shown.lines().filter_map(|line| line.strip_prefix("OnCalendar=")).collect();
    // 2:30 and its hour later, two kinds of days at four, and one each.
    assert_eq!(values.len(), 2 + 2 + 1 + 1, "{values:?}");
    for value in values {
        let output = Command::new("systemd-analyze").args(["calendar", value]).output();
        let output = output.expect("systemd-analyze is there");
        assert!(output.status.success(), "{value}: {output:?}");
    }
}

#[test]
fn timers_are_switched_on_and_nothing_else() {
    let place = Place::new();
    let program = place.systemctl();
    let with = ["--directory", "units", "--systemctl", &program];
    place.ok(&[&["units", "install", "school"][..], &with].concat());
    let called = || fs::read_to_string(place.path("called")).expect("it was called");
    assert_eq!(called(), "daemon-reload\nenable --now school-backup.timer\n");
    for name in place.units().iter().filter(|name| name.ends_with(".service")) {
        let text = fs::read_to_string(place.path("units").join(name)).expect("a unit");
        assert!(!text.contains("[Install]"), "{name} would start at boot");
    }
    // It is waited for from now on.
    assert!(place.path("state/ledger/school/run.json").exists());
    fs::remove_file(place.path("called")).expect("removed");
    place.ok(&[&["units", "remove", "school"][..], &with].concat());
    let lines = called();
    assert!(lines.starts_with("disable --now school-backup.timer\n"), "{lines}");
    assert!(lines.ends_with("daemon-reload\n"), "{lines}");
    assert_eq!(place.units(), ["mrs-backup-failed@.service"], "others may need it");
    place.ok(&[&["units", "remove"][..], &with].concat());
    assert_eq!(place.units(), [""; 0]);
}

#[test]
fn what_is_no_longer_scheduled_is_switched_off() {
    let place = Place::new();
    let program = place.systemctl();
    let with = ["--directory", "units", "--systemctl", &program];
    place.ok(&[&["units", "install"][..], &with].concat());
    let config = fs::read_to_string(place.path("config.toml")).expect("it");
    let config = config.replace("prune = \"0 4 1,15 * mon\"\n", "");
    fs::write(place.path("config.toml"), config).expect("a file");
    place.ok(&[&["units", "install"][..], &with].concat());
    assert!(!place.units().iter().any(|name| name.contains("-prune.")), "{:?}", place.units());
    let called = fs::read_to_string(place.path("called")).expect("it was called");
    assert!(called.contains("disable --now mrs-production-prune.timer\n"), "{called}");
    // The scheduler takes the place of all timers.
    place.ok(&[&["units", "install", "--scheduler"][..], &with].concat());
    assert_eq!(place.units(), ["mrs-backup-failed@.service", "mrs-backup-schedule.service"]);
    let called = fs::read_to_string(place.path("called")).expect("it was called");
    assert!(called.ends_with("daemon-reload\nenable --now mrs-backup-schedule.service\n"));
    place.ok(&[&["units", "remove"][..], &with].concat());
    assert_eq!(place.units(), [""; 0]);
    // The memory of timers goes; that of a service would be the state directory.
    let called = fs::read_to_string(place.path("called")).expect("it was called");
    let cleans = || called.lines().filter(|line| line.starts_with("clean "));
    assert!(cleans().count() > 0 && cleans().all(|line| line.ends_with(".timer")), "{called}");
    // Also of an instance whose schedule is gone.
    place.ok(&[&["units", "install"][..], &with].concat());
    let config = fs::read_to_string(place.path("config.toml")).expect("it");
    fs::write(place.path("config.toml"), config.replace("schedule = { run = \"@daily\" }\n", ""))
        .expect("a file");
    place.ok(&[&["units", "remove", "school"][..], &with].concat());
    assert!(!place.units().iter().any(|name| name.contains("school")), "{:?}", place.units());
}

#[test]
fn files_of_others_are_left_alone() {
    let place = Place::new();
    let theirs = "[Service]\nExecStart=/root/backup.sh\n";
    fs::write(place.path("units/school-backup.service"), theirs).expect("a file");
    fs::write(place.path("home/school/backup.sh"), "#!/bin/bash\nrestic backup\n").expect("a file");
    let output = place.run(&["units", "install", "--directory", "units"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("school-backup.service is not ours"), "{said}");
    assert!(said.contains("backup.sh is not ours"), "{said}");
    place.ok(&["units", "remove", "--directory", "units"]);
    assert_eq!(place.units(), ["school-backup.service"]);
    let text = fs::read_to_string(place.path("units/school-backup.service")).expect("there");
    assert_eq!(text, theirs);
    assert!(!place.path("home/school/prune.sh").exists(), "ours is gone");
    assert!(place.path("home/school/backup.sh").exists());
}

#[test]
fn scripts_are_in_the_homes() {
    let place = Place::new();
    place.ok(&["units", "install", "--directory", "units"]);
    for name in ["backup.sh", "restore.sh", "prune.sh"] {
        let path = place.path("home/mrs").join(name);
        let mode = fs::metadata(&path).expect("a script").permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        let output = Command::new("sh").arg("-n").arg(&path).output().expect("a shell");
        assert!(output.status.success(), "{output:?}");
        // There is no repository: the right program was called for the right instance.
        let output = Command::new(&path)
            .env_clear()
            .env("MRS_BACKUP_STATE_DIR", place.path("state"))
            .env("CREDENTIALS_DIRECTORY", "/nowhere")
            .arg("--quiet")
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("error: "), "{name}: {output:?}");
    }
}

#[test]
fn nothing_to_install_is_an_error() {
    let place = Place::new();
    let output = place.run(&["units", "show", "unscheduled"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing is scheduled"));
    let output = place.run(&["units", "install", "nobody"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no instance `nobody`"));
}
