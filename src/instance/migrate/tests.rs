//! Old homes become configurations, and hostile ones nothing at all.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::instance::config::{Config, Instance, KeySource};

struct Old {
    root: tempfile::TempDir,
    home: PathBuf,
    units: PathBuf,
}

impl Old {
    fn empty(name: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (home, units) = (root.path().join(name), root.path().join("units"));
        fs::create_dir(&home).unwrap();
        fs::create_dir(&units).unwrap();
        Self { root, home, units }
    }

    fn of_fixture(fixture: &str, name: &str) -> Self {
        let old = Self::empty(name);
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/old-homes").join(fixture);
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let text = text.replace("@HOME@", &old.home.display().to_string());
            let text = text.replace("@DISK@", &old.root.path().join("disk").display().to_string());
            fs::write(old.home.join(path.file_name().unwrap()), text).unwrap();
        }
        old
    }

    fn script(text: &str) -> Self {
        let old = Self::empty("app");
        fs::write(old.home.join("backup.sh"), text).unwrap();
        old
    }

    fn timer(&self, name: &str, calendar: &str) {
        let text = format!("[Timer]\nOnCalendar={calendar}\n");
        fs::write(self.units.join(format!("{name}.timer")), text).unwrap();
        fs::write(self.units.join(format!("{name}.service")), "[Service]\n").unwrap();
    }

    fn read(&self) -> Result<OldHome, MigrateError> {
        read_home(&self.home, &self.units, &|text| text.contains("# ours"))
    }

    fn propose(&self) -> (Proposal, Instance) {
        let choices = Choices { secrets: "/etc/mrs-backup".into(), ..Choices::default() };
        self.propose_with(&choices).unwrap_or_else(|error| panic!("{error}"))
    }

    fn propose_with(&self, choices: &Choices) -> Result<(Proposal, Instance), MigrateError> {
        let proposal = propose(&self.read()?, choices)?;
        let text = format!("version = 1\n{}", proposal.tables);
        let config = Config::parse(&text, Path::new("/x.toml"), &|_| None).unwrap();
        let instance = config.instances[&proposal.name].clone();
        Ok((proposal, instance))
    }
}

#[track_caller]
fn assert_told(proposal: &Proposal, words: &str) {
    assert!(
        proposal.notes.iter().any(|note| note.contains(words)),
        "{words}: {:?}",
        proposal.notes
    );
}

#[test]
fn a_home_of_the_older_role_becomes_a_configuration() {
    let old = Old::of_fixture("role", "mrs-production");
    old.timer("mrs-production-backup", "*-*-* 23:00:00");
    old.timer("mrs-production-prune", "*-*-* 04:00:00");
    fs::create_dir(old.home.join("spooler")).unwrap();
    let (proposal, instance) = old.propose();
    let disk = old.root.path().join("disk/mrs-production");
    assert_eq!(proposal.old_repository, disk.join("restic").display().to_string());
    assert_eq!(instance.repository.value.as_str(), disk.join("repo").display().to_string());
    assert_eq!(instance.home.value, old.home);
    let paths: Vec<_> = instance.paths.value.iter().map(|path| path.to_string_lossy()).collect();
    assert_eq!(paths, ["docker-compose.yml", "log", "mrsattachments", "spooler"]);
    assert!(
        proposal
            .tables
            .contains("retention = { last = 7, daily = 7, weekly = 5, monthly = 12, yearly = 75 }")
    );
    assert!(
        proposal.tables.contains("schedule = { run = \"0 23 * * *\", prune = \"0 4 * * *\" }"),
        "{}",
        proposal.tables
    );
    let postgres = instance.postgres.unwrap();
    assert_eq!(postgres.databases.value, ["mrs"]);
    assert_eq!(postgres.user.unwrap().value, "django");
    assert_eq!(postgres.container.unwrap().value.service, "postgres");
    assert_eq!(
        instance.copies["offsite"].location.value.as_str(),
        "ftp://mrs@backup.example/mrs-production/repo?password-file=/etc/mrs-backup/mrs-production.offsite.password"
    );
    let secrets: Vec<_> = proposal
        .secrets
        .iter()
        .map(|file| (file.path.to_string_lossy(), file.content.expose()))
        .collect();
    assert_eq!(
        secrets,
        [
            ("/etc/mrs-backup/mrs-production.password".into(), &b"old horse battery"[..]),
            ("/etc/mrs-backup/mrs-production.offsite.password".into(), &b"s3cr@t"[..]),
        ]
    );
    let told = format!("{proposal:?}");
    assert!(!told.contains("battery") && !told.contains("s3cr"), "{told}");
    assert_told(&proposal, "what lies elsewhere is not a copy of it");
    assert_told(&proposal, "spooler is there, and was not saved");
    assert_told(&proposal, "certificate is verified from now on");
}

#[test]
fn a_home_of_the_later_role_prunes_in_its_run() {
    let old = Old::of_fixture("later", "app");
    fs::write(
        old.home.join("docker-compose.yml"),
        "services: {db: {environment: {POSTGRES_DB: app}}}",
    )
    .unwrap();
    fs::create_dir(old.home.join("mrsattachments")).unwrap();
    old.timer("backup-app", "Mon..Sat *-*-* 22:15 Europe/Paris");
    let (proposal, instance) = old.propose();
    assert_eq!(instance.repository.value.as_str(), old.home.join("repo").display().to_string());
    for line in [
        "paths = [\"docker-compose.yml\", \"log\", \"mrsattachments\"]",
        "exclude = [\"*.pyc\"]",
        "exclude_caches = true",
        "retention = { last = 7, within = \"30d\", tags = [\"release\"] }",
        "schedule = { run = \"15 22 * * 1-6\" }",
        "timezone = \"Europe/Paris\"",
        "databases = [\"app\"]",
    ] {
        assert!(proposal.tables.contains(line), "{line}: {}", proposal.tables);
    }
    assert!(instance.copies.is_empty());
    assert_told(&proposal, "mrsattachments is there, and was not saved by the old script");
    assert_told(&proposal, "no password was found");
}

#[test]
fn databases_that_nobody_names_have_to_be_named() {
    let old = Old::script("pg_dumpall -U x -f dump\nrestic backup log\n");
    let error = old.propose_with(&Choices::default()).unwrap_err();
    assert!(matches!(error, MigrateError::NoDatabase { .. }), "{error}");
    let choices = Choices { databases: vec!["a".into(), "b".into()], ..Choices::default() };
    let (_, instance) = old.propose_with(&choices).unwrap();
    assert_eq!(instance.postgres.unwrap().databases.value, ["a", "b"]);
}

#[test]
fn a_password_file_elsewhere_is_named_and_not_read() {
    let old = Old::script("export RESTIC_PASSWORD_FILE=/etc/shadow\nrestic backup log\n");
    let (proposal, instance) = old.propose();
    assert!(proposal.secrets.is_empty());
    assert_eq!(instance.key.unwrap().value, KeySource::File("/etc/shadow".into()));
    let up = Old::script("export RESTIC_PASSWORD_FILE=../../etc/shadow\nrestic backup log\n");
    let (proposal, _) = up.propose();
    assert!(proposal.secrets.is_empty());
}

#[test]
fn hostile_scripts_do_nothing() {
    let witness = tempfile::tempdir().unwrap();
    let touched = witness.path().join("touched");
    let touch = format!("touch {}", touched.display());
    for text in [
        format!("RESTIC_REPOSITORY=$({touch})\nrestic backup log\n"),
        format!("RESTIC_REPOSITORY=`{touch}`\nrestic backup `{touch}` log\n"),
        format!("{touch}; restic backup \"$({touch})\" log\n"),
        format!("restic backup log '$({touch})' \"; {touch}\"\n"),
        format!("lftp -c \"connect ftp://$({touch})@h; mirror -R a b\"; restic backup log\n"),
    ] {
        let old = Old::script(&text);
        let (proposal, _) = old.propose();
        assert!(proposal.tables.contains("\"log\""), "{text}: {}", proposal.tables);
        assert!(!touched.exists(), "{text}");
    }
    let old = Old::script("RESTIC_REPOSITORY=$(id)\nrestic backup log\n");
    assert_told(&old.propose().0, "RESTIC_REPOSITORY is computed");
}

#[test]
fn what_a_script_says_cannot_leave_its_place_in_the_configuration() {
    let old = Old::script(
        "restic backup 'x\"]\nhome = \"/etc' log --exclude '\\' --keep-daily 1\n\
         docker-compose exec -T 'p\"}\n[instance.evil]\nhome=\"/' pg_dump -d 'a\"b' -U 'c'\n",
    );
    // A line's end can stand in no service's name.
    let error = old.propose_with(&Choices::default()).err().map(|error| error.to_string());
    assert!(error.as_ref().is_some_and(|error| error.contains("no configuration")), "{error:?}");
    let old = Old::script("restic backup 'x\"] # y' log --exclude '\\'\n");
    let (_, instance) = old.propose();
    let paths: Vec<_> = instance.paths.value.iter().map(|path| path.to_string_lossy()).collect();
    assert_eq!(paths, ["x\"] # y", "log"]);
    assert_eq!(instance.home.value, old.home);
}

#[test]
fn odd_files_are_refused_and_missing_ones_told() {
    let old = Old::empty("app");
    assert!(matches!(old.read(), Err(MigrateError::NoScripts { .. })));
    fs::write(old.home.join("backup.sh"), "# ours\nrestic backup log\n").unwrap();
    assert!(matches!(old.read(), Err(MigrateError::NoScripts { .. })), "ours is not old");
    let script = old.home.join("backup.sh");
    fs::remove_file(&script).unwrap();
    symlink("/etc/passwd", &script).unwrap();
    let refused = |words: &str| {
        let error = old.read().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(words), "{words}: {error}");
    };
    refused("symbolic link");
    fs::remove_file(&script).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &script,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    refused("not a plain file");
    fs::remove_file(&script).unwrap();
    fs::write(&script, vec![b'a'; (1 << 20) + 1]).unwrap();
    refused("longer than");
    fs::write(&script, b"restic backup \xff\0log other\n").unwrap();
    old.propose_with(&Choices::default()).ok();
    let missing = read_home(&old.home.join("x"), &old.units, &|_| false);
    assert!(matches!(missing, Err(MigrateError::NoHome { .. })));
}

mod random {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "(restic backup |lftp -c |[$'\"`(){}\\\\;&|<>=a-z\n -]){0,60}") {
            let old = Old::script(&text);
            let _ = old.propose_with(&Choices::default());
        }
    }
}
