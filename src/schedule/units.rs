//! Units of systemd for the jobs of an instance, and the scripts people expect in its home.
//!
//! The files in `systemd/` at the top of the project are units as they are, for an instance by its
//! name (`mrs-backup@NAME.service`); here they become those of one instance, with its hours, the
//! directories it writes to and its credentials.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::instance::Job;
use crate::instance::config::{Instance, KeySource};

/// First line of every file we write: only such files are replaced or removed.
pub const MARK: &str = "# Written by `mrs-backup units install`; it replaces what is changed here.";
/// Since this version systemd hands credentials to services.
const CREDENTIALS_SINCE: u32 = 247;
/// Where credentials lie, in a directory an instance.
const CREDENTIALS: &str = "/etc/mrs-backup/credentials";
/// The program in our templates.
const PROGRAM: &str = "/usr/local/bin/mrs-backup";

/// The unit that is started when another one failed.
pub const FAILED: &str = "mrs-backup-failed@.service";
/// The unit of the scheduler.
pub const SCHEDULER: &str = "mrs-backup-schedule.service";
/// The units that take review stacks away.
pub const EXPIRE: [&str; 2] = ["mrs-backup-expire.service", "mrs-backup-expire.timer"];
/// The units that tell what is stale.
pub const NOTIFY: [&str; 2] = ["mrs-backup-notify.service", "mrs-backup-notify.timer"];
/// Scripts in the home of an instance.
pub const SCRIPTS: [&str; 3] = ["backup.sh", "restore.sh", "prune.sh"];

/// What differs between machines.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The program.
    pub program: PathBuf,
    /// The configuration, if it is not the usual one.
    pub config: Option<PathBuf>,
    /// Where locks, ledger and indexes are, if systemd is not to choose.
    pub state_dir: Option<PathBuf>,
    /// Version of systemd.
    pub systemd: u32,
    /// Directories that every job writes to, besides those of its instance.
    pub written: Vec<PathBuf>,
    /// Credentials that every job needs, besides those of its instance.
    pub credentials: Vec<String>,
    /// Credentials that who serves the page needs.
    pub serving_credentials: Vec<String>,
}

/// Where throw-away servers live: beside the state directory.
const SCRATCH: &str = "/var/lib/mrs-backup-scratch";

/// What a timer's command has and one by hand has not.
const DUE: &str = " --job run --due";

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFile {
    /// Its name.
    pub name: String,
    /// Its content.
    pub text: String,
}

impl UnitFile {
    fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

/// A job's templates, service and timer.
const fn templates(job: Job) -> (&'static str, &'static str) {
    match job {
        Job::Run => (
            include_str!("../../systemd/mrs-backup@.service"),
            include_str!("../../systemd/mrs-backup@.timer"),
        ),
        Job::Copy => (
            include_str!("../../systemd/mrs-backup-copy@.service"),
            include_str!("../../systemd/mrs-backup-copy@.timer"),
        ),
        Job::Prune => (
            include_str!("../../systemd/mrs-backup-prune@.service"),
            include_str!("../../systemd/mrs-backup-prune@.timer"),
        ),
        Job::Check => (
            include_str!("../../systemd/mrs-backup-check@.service"),
            include_str!("../../systemd/mrs-backup-check@.timer"),
        ),
        Job::TestRestore => (
            include_str!("../../systemd/mrs-backup-test-restore@.service"),
            include_str!("../../systemd/mrs-backup-test-restore@.timer"),
        ),
    }
}

/// The name of a job's units, without their kind: `mrs-production-backup`.
pub fn unit_name(instance: &str, job: Job) -> String {
    let word = if job == Job::Run { "backup" } else { job.name() };
    format!("{instance}-{word}")
}

/// Services of all jobs of `instance`, and timers of those that its schedule has.
pub fn of_instance(instance: &Instance, machine: &Machine) -> Vec<UnitFile> {
    let mut files = Vec::new();
    for job in Job::ALL {
        let Some(line) = instance.schedule.value.jobs.get(&job) else { continue };
        let (service, timer) = templates(job);
        let name = unit_name(&instance.name, job);
        let mut names = credentials(instance);
        names.extend(machine.credentials.iter().map(String::as_str));
        let credentials = credential_lines(names, &instance.name, machine);
        let paths = writable(instance);
        let service = service_text(service, Some(instance), &paths, &credentials, machine);
        if job == Job::Run {
            // Started by hand it does not ask whether it is due.
            let now = service.replace(DUE, "");
            files.push(UnitFile::new(format!("mrs-backup@{}.service", instance.name), now));
        }
        files.push(UnitFile::new(format!("{name}.service"), service));
        let calendar = line.on_calendar(&instance.timezone.value);
        let timer = timer_text(timer, instance, &calendar, instance.schedule.value.random_delay);
        files.push(UnitFile::new(format!("{name}.timer"), timer));
    }
    files
}

/// Names of all units that `instance` may have.
pub fn all_units(instance: &Instance) -> Vec<String> {
    let name = &instance.name;
    let of_job = |job| {
        let unit = unit_name(name, job);
        [format!("{unit}.service"), format!("{unit}.timer")]
    };
    let by_hand = format!("mrs-backup@{name}.service");
    std::iter::once(by_hand).chain(Job::ALL.into_iter().flat_map(of_job)).collect()
}

/// What all instances share: what is started when a unit fails.
pub fn shared(machine: &Machine) -> Vec<UnitFile> {
    let failed = include_str!("../../systemd/mrs-backup-failed@.service");
    vec![UnitFile::new(FAILED, service_text(failed, None, &[], &[], machine))]
}

/// The scheduler that takes the place of timers; `reviews` is where review stacks live, if there may be any.
pub fn scheduler(instances: &[&Instance], reviews: Option<PathBuf>, machine: &Machine) -> UnitFile {
    let written = instances.iter().flat_map(|instance| writable(instance)).chain(reviews);
    let paths: Vec<PathBuf> = written.collect();
    let template = include_str!("../../systemd/mrs-backup-schedule.service");
    let credentials = scheduler_credentials(instances, machine);
    UnitFile::new(SCHEDULER, service_text(template, None, &paths, &credentials, machine))
}

/// Those of every instance, by its name, for the jobs; and by their own names what the scheduler itself takes to tell
/// people: from the directory of the first instance, since every instance has them.
fn scheduler_credentials(instances: &[&Instance], machine: &Machine) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, instance) in instances.iter().enumerate() {
        let (name, mut names) = (&instance.name, credentials(instance));
        names.extend(machine.credentials.iter().map(String::as_str));
        names.sort_unstable();
        names.dedup();
        let line = |as_name: String, of: &str| {
            format!("LoadCredential={as_name}:{CREDENTIALS}/{name}/{of}")
        };
        lines.extend(names.iter().map(|of| line(format!("{name}.{of}"), of)));
        if number == 0 {
            let mut own: Vec<&String> =
                machine.credentials.iter().chain(&machine.serving_credentials).collect();
            own.sort_unstable();
            own.dedup();
            lines.extend(own.into_iter().map(|of| line(of.clone(), of)));
        }
    }
    match lines.is_empty() || machine.systemd >= CREDENTIALS_SINCE {
        true => lines,
        false => vec![format!("Environment=CREDENTIALS_DIRECTORY={CREDENTIALS}")],
    }
}

/// What takes review stacks away that live in `home`.
pub fn expire(home: &Path, machine: &Machine) -> Vec<UnitFile> {
    let service = include_str!("../../systemd/mrs-backup-expire.service");
    let timer = include_str!("../../systemd/mrs-backup-expire.timer");
    let texts =
        [service_text(service, None, &[home.to_owned()], &[], machine), format!("{MARK}\n{timer}")];
    EXPIRE.into_iter().zip(texts).map(|(name, text)| UnitFile::new(name, text)).collect()
}

/// What tells people of all instances, with the credentials of messages where `instance` has them.
pub fn notify(instance: &Instance, machine: &Machine) -> Vec<UnitFile> {
    let service = include_str!("../../systemd/mrs-backup-notify.service");
    let timer = include_str!("../../systemd/mrs-backup-notify.timer");
    let names = machine.credentials.iter().map(String::as_str).collect();
    let mut lines = credential_lines(names, &instance.name, machine);
    lines.insert(0, "StateDirectoryMode=0700".to_owned());
    let text = service_text(service, None, &[], &[], machine);
    // They stand where those of a job do.
    let text = text.replacen("StateDirectoryMode=0700", &lines.join("\n"), 1);
    let texts = [text, format!("{MARK}\n{timer}")];
    NOTIFY.into_iter().zip(texts).map(|(name, text)| UnitFile::new(name, text)).collect()
}

/// `backup.sh`, `restore.sh` and `prune.sh` for the home of an instance.
pub fn scripts(instance: &Instance, machine: &Machine) -> Vec<UnitFile> {
    let templates = [
        include_str!("../../systemd/home/backup.sh"),
        include_str!("../../systemd/home/restore.sh"),
        include_str!("../../systemd/home/prune.sh"),
    ];
    let mut program = shell_quoted(&machine.program.to_string_lossy());
    if let Some(config) = &machine.config {
        program = format!("{program} --config {}", shell_quoted(&config.to_string_lossy()));
    }
    let text = |template: &str| {
        // The mark comes second: the first line says which shell.
        let text = template.replace(PROGRAM, &program).replace("%i", &instance.name);
        text.replacen('\n', &format!("\n{MARK}\n"), 1)
    };
    let file = |(name, template): (&str, &str)| UnitFile::new(name, text(template));
    SCRIPTS.into_iter().zip(templates).map(file).collect()
}

/// Whether `text` is a file of ours.
pub fn is_ours(text: &str) -> bool {
    text.lines().take(2).any(|line| line == MARK)
}

/// Directories a job of `instance` writes to.
fn writable(instance: &Instance) -> Vec<PathBuf> {
    let copies = instance.copies.values().map(|copy| &copy.location);
    let places = std::iter::once(&instance.repository).chain(copies);
    let places = places.filter_map(|place| place.value.directory()).map(PathBuf::from);
    let dump = instance.postgres.as_ref().and_then(|postgres| postgres.standard_dump.as_ref());
    let scratch = instance.restore.scratch_directory.as_ref();
    let others = dump.into_iter().chain(scratch).map(|directory| directory.value.clone());
    places.chain(others).collect()
}

/// Names of the credentials the configuration of `instance` asks for.
fn credentials(instance: &Instance) -> Vec<&str> {
    let password = instance.postgres.as_ref().and_then(|postgres| postgres.password.as_ref());
    let mut names: Vec<&str> = instance
        .key
        .iter()
        .chain(password)
        .filter_map(|source| match &source.value {
            KeySource::Credential(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let copies = instance.copies.values().map(|copy| &copy.location);
    let places = std::iter::once(&instance.repository).chain(copies);
    names.extend(places.filter_map(|place| place.value.credential()));
    names.sort_unstable();
    names.dedup();
    names
}

fn service_text(
    template: &str,
    instance: Option<&Instance>,
    writable: &[PathBuf],
    credentials: &[String],
    machine: &Machine,
) -> String {
    let mut lines = vec![MARK.to_owned()];
    for line in template.lines() {
        if let Some(words) = line.strip_prefix(&format!("ExecStart={PROGRAM}")) {
            let mut start = format!("ExecStart={}", unit_quoted(&machine.program, ""));
            for (option, path) in
                [("--config", &machine.config), ("--state-dir", &machine.state_dir)]
            {
                if let Some(path) = path {
                    start = format!("{start} {option} {}", unit_quoted(path, ""));
                }
            }
            lines.push(format!("{start}{words}"));
        } else if line.contains(SCRATCH) {
            lines.push(match &machine.state_dir {
                Some(directory) => line.replace(SCRATCH, &scratch_of(directory)),
                None => line.to_owned(),
            });
        } else if line.starts_with("ReadWritePaths=") {
            // A directory that is not there yet is no reason not to start: the error comes from us.
            let all = writable.iter().chain(&machine.state_dir).chain(&machine.written);
            lines.extend(all.map(|path| format!("ReadWritePaths={}", unit_quoted(path, "-"))));
            lines.extend_from_slice(credentials);
        } else {
            lines.push(line.to_owned());
        }
    }
    finished(&lines, instance)
}

/// Where systemd hands out credentials it does; elsewhere the program reads the same files itself.
fn credential_lines(mut names: Vec<&str>, instance: &str, machine: &Machine) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    let directory = format!("{CREDENTIALS}/{instance}");
    if names.is_empty() {
        Vec::new()
    } else if machine.systemd >= CREDENTIALS_SINCE {
        let line = |name: &&str| format!("LoadCredential={name}:{directory}/{name}");
        names.iter().map(line).collect()
    } else {
        vec![format!("Environment=CREDENTIALS_DIRECTORY={directory}")]
    }
}

fn timer_text(template: &str, instance: &Instance, calendar: &[String], delay: Duration) -> String {
    let mut lines = vec![MARK.to_owned()];
    for line in template.lines() {
        if line.starts_with("OnCalendar=") {
            lines.extend(calendar.iter().map(|value| format!("OnCalendar={value}")));
        } else if line.starts_with("RandomizedDelaySec=") {
            lines.push(format!("RandomizedDelaySec={}s", delay.as_secs()));
        } else {
            lines.push(line.to_owned());
        }
    }
    finished(&lines, Some(instance))
}

fn finished(lines: &[String], instance: Option<&Instance>) -> String {
    let mut text = lines.join("\n") + "\n";
    if let Some(instance) = instance {
        text = text.replace("%i", &instance.name);
    }
    text
}

/// Where throw-away servers live if the state directory is not the usual one.
fn scratch_of(state_dir: &Path) -> String {
    let mut path = state_dir.as_os_str().to_owned();
    path.push("-scratch");
    // In the template the `-` of `ReadWritePaths=` stands before it: no quotes can.
    path.to_string_lossy().replace('%', "%%")
}

/// A path as one word of a unit.
fn unit_quoted(path: &Path, prefix: &str) -> String {
    let path = path.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,".contains(c);
    if path.chars().all(is_plain) {
        return format!("{prefix}{path}");
    }
    let escaped = path.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{prefix}{}\"", escaped.replace('$', "$$"))
}

/// A text as one word of a shell.
fn shell_quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,".contains(c);
    match text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::config::Config;

    fn machine(systemd: u32) -> Machine {
        Machine {
            program: "/usr/bin/mrs-backup".into(),
            config: None,
            state_dir: None,
            systemd,
            written: Vec::new(),
            credentials: Vec::new(),
            serving_credentials: Vec::new(),
        }
    }

    fn instance(lines: &str) -> Instance {
        let text = format!(
            "version = 1\n[instance.mrs]\nhome = \"/home/mrs\"\nrepository = \"/mnt/b k/100%/repo\"\n\
             timezone = \"Europe/Paris\"\n{lines}\n"
        );
        Config::parse(&text, Path::new("/x.toml"), &|_| None).expect("a configuration").instances["mrs"]
            .clone()
    }

    fn text(files: &[UnitFile], name: &str) -> String {
        files.iter().find(|file| file.name == name).unwrap_or_else(|| panic!("{name}")).text.clone()
    }

    #[test]
    fn units_have_the_hours_and_places_of_their_instance() {
        let mrs = instance(
            "schedule = { run = \"30 2 * * *\", prune = \"0 4 * * 0\", random_delay = \"5m\" }",
        );
        let files = of_instance(&mrs, &machine(252));
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let expected = [
            "mrs-backup@mrs.service",
            "mrs-backup.service",
            "mrs-backup.timer",
            "mrs-prune.service",
            "mrs-prune.timer",
        ];
        assert_eq!(names, expected);
        let now = text(&files, "mrs-backup@mrs.service");
        assert!(now.contains("\nExecStart=/usr/bin/mrs-backup run mrs\n"), "by hand: {now}");
        let service = text(&files, "mrs-backup.service");
        assert!(service.contains("\nExecStart=/usr/bin/mrs-backup run mrs --job run --due\n"));
        assert!(service.contains("\nReadWritePaths=\"-/mnt/b k/100%%/repo\"\n"), "{service}");
        assert!(service.contains("OnFailure=mrs-backup-failed@%N.service"));
        assert!(!service.contains("[Install]"), "only timers start it");
        assert!(is_ours(&service));
        let timer = text(&files, "mrs-backup.timer");
        let calendar =
            "\nOnCalendar=*-*-* 02:30:00 Europe/Paris\nOnCalendar=*-*-* 03:30:00 Europe/Paris\n";
        assert!(
            timer.contains(calendar) && timer.contains("\nRandomizedDelaySec=300s\n"),
            "{timer}"
        );
        assert!(timer.contains("\nPersistent=yes\n"));
        let all =
            files.iter().all(|file| !file.text.contains("%i") && !file.text.contains("23:00"));
        assert!(all, "{files:?}");
    }

    #[test]
    fn credentials_come_from_systemd_or_from_the_same_files() {
        let mrs = instance(
            "schedule = { run = \"@daily\" }\nkey = { credential = \"repo-key\" }\n\
             postgres = { databases = [\"mrs\"], password = { credential = \"pg\" }, standard_dump = \"dumps\" }",
        );
        let new = text(&of_instance(&mrs, &machine(247)), "mrs-backup.service");
        assert!(
            new.contains("\nLoadCredential=repo-key:/etc/mrs-backup/credentials/mrs/repo-key\n")
        );
        assert!(new.contains("\nLoadCredential=pg:/etc/mrs-backup/credentials/mrs/pg\n"), "{new}");
        assert!(new.contains("\nReadWritePaths=-/home/mrs/dumps\n"));
        let old = text(&of_instance(&mrs, &machine(239)), "mrs-backup.service");
        assert!(!old.contains("LoadCredential"));
        assert!(
            old.contains("\nEnvironment=CREDENTIALS_DIRECTORY=/etc/mrs-backup/credentials/mrs\n")
        );
    }

    #[test]
    fn the_scheduler_has_the_credentials_of_all() {
        let mrs = instance(
            "schedule = { run = \"@daily\" }\nkey = { credential = \"repo-key\" }\n\
             postgres = { databases = [\"mrs\"], password = { credential = \"pg\" } }",
        );
        let school = Instance { name: "school".to_owned(), ..mrs.clone() };
        let machine = |systemd| Machine {
            credentials: vec!["slack".to_owned()],
            serving_credentials: vec!["token".to_owned(), "slack".to_owned()],
            ..machine(systemd)
        };
        let of = |systemd| {
            let unit = scheduler(&[&mrs, &school], Some("/root/r".into()), &machine(systemd));
            let wanted = |line: &&str| line.contains("redential") || line.contains("CREDENTIALS");
            assert!(unit.text.contains("\nReadWritePaths=-/root/r\n"), "{}", unit.text);
            unit.text.lines().filter(wanted).map(str::to_owned).collect::<Vec<_>>()
        };
        let directory = "/etc/mrs-backup/credentials";
        let expected = [
            ("mrs.pg", "mrs/pg"),
            ("mrs.repo-key", "mrs/repo-key"),
            ("mrs.slack", "mrs/slack"),
            ("slack", "mrs/slack"),
            ("token", "mrs/token"),
            ("school.pg", "school/pg"),
            ("school.repo-key", "school/repo-key"),
            ("school.slack", "school/slack"),
        ];
        assert_eq!(
            of(252),
            expected.map(|(id, path)| format!("LoadCredential={id}:{directory}/{path}"))
        );
        assert_eq!(of(239), [format!("Environment=CREDENTIALS_DIRECTORY={directory}")]);
    }

    #[test]
    fn who_tells_of_runs_may_write_and_read_what_that_takes() {
        let mrs = instance("schedule = { run = \"@daily\" }");
        let machine = Machine {
            written: vec!["/var/lib/metrics".into()],
            credentials: vec!["slack".to_owned()],
            ..machine(252)
        };
        let service = text(&of_instance(&mrs, &machine), "mrs-backup.service");
        assert!(service.contains("\nReadWritePaths=-/var/lib/metrics\n"), "{service}");
        assert!(
            service.contains("\nLoadCredential=slack:/etc/mrs-backup/credentials/mrs/slack\n"),
            "{service}"
        );
    }

    #[test]
    fn throw_away_servers_have_their_place() {
        let mrs = instance(
            "schedule = { test_restore = \"@weekly\" }\nrestore = { scratch_directory = \"/srv/s\" }",
        );
        let name = "mrs-test-restore.service";
        let usual = text(&of_instance(&mrs, &machine(252)), name);
        assert!(
            usual.contains(
                "\nExecStartPre=+/usr/bin/install -d -m 0711 /var/lib/mrs-backup-scratch\n"
            )
        );
        assert!(usual.contains("\nReadWritePaths=-/srv/s\n"), "{usual}");
        let other = Machine { state_dir: Some("/srv/state".into()), ..machine(252) };
        let other = text(&of_instance(&mrs, &other), name);
        assert!(other.contains("\nReadWritePaths=-/srv/state-scratch\n"), "{other}");
        assert!(other.contains("\nReadWritePaths=-/srv/state\n") && !other.contains("/var/lib"));
    }

    #[test]
    fn scripts_quote_what_they_are_given() {
        let odd = Machine { config: Some("/etc/it's mine.toml".into()), ..machine(252) };
        let files = scripts(&instance(""), &odd);
        let backup = text(&files, "backup.sh");
        assert!(backup.starts_with("#!/bin/sh\n# Written by"), "{backup}");
        let line = "exec /usr/bin/mrs-backup --config '/etc/it'\\''s mine.toml' run mrs --lock-wait 15m \"$@\"";
        assert!(backup.contains(line) && is_ours(&backup), "{backup}");
        assert!(!is_ours("#!/bin/sh\nexec restic backup\n"));
    }
}
