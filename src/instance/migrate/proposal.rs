//! A part of a configuration, made of what an old home says.

use std::path::{Path, PathBuf};

use crate::crypto::Secret;
use crate::instance::config::{Config, KeySource, Repository};
use crate::instance::require_mount;

use super::offsite::{Offsite, offsite};
use super::{MigrateError, OldHome, TimerJob, USUAL_PATHS};

/// Where restic's dump of the databases is.
const DUMP: &str = "data.dump";
/// When backups are made if no timer says it.
const USUAL_HOUR: &str = "0 23 * * *";

/// What the person who migrates decides.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// Name of the instance. Default: the home's.
    pub name: Option<String>,
    /// Where the new repository is. Default: beside the old one.
    pub repository: Option<String>,
    /// Databases. Default: those that scripts and compose file name.
    pub databases: Vec<String>,
    /// Directory for files with secrets.
    pub secrets: PathBuf,
}

/// A file with a secret that is to be written, for its owner alone.
#[derive(Debug)]
pub struct SecretFile {
    /// Where.
    pub path: PathBuf,
    /// Its content.
    pub content: Secret,
    /// What it is, for people.
    pub what: &'static str,
}

/// What is proposed.
#[derive(Debug)]
pub struct Proposal {
    /// Name of the instance.
    pub name: String,
    /// Its tables, for the end of a configuration.
    pub tables: String,
    /// Files with secrets that they name.
    pub secrets: Vec<SecretFile>,
    /// Where restic's repository is, as written. Without a password.
    pub old_repository: String,
    /// What people should know, one line each.
    pub notes: Vec<String>,
}

/// Makes a configuration of an old home.
pub fn propose(old: &OldHome, choices: &Choices) -> Result<Proposal, MigrateError> {
    let name = choices.name.clone().unwrap_or_else(|| old.name.clone());
    let old_repository = old.findings.repository.clone();
    let old_repository =
        old_repository.unwrap_or_else(|| old.home.join("restic").display().to_string());
    let mut draft = Draft {
        old,
        choices,
        lines: vec![
            format!("[instance.{}]", key(&name)),
            format!("home = {}", quoted(&old.home.to_string_lossy())),
        ],
        tables: Vec::new(),
        secrets: Vec::new(),
        notes: Vec::new(),
        name,
    };
    draft.repository(&old_repository);
    draft.key();
    draft.paths();
    draft.retention();
    draft.schedule();
    draft.postgres()?;
    draft.mirror(&old_repository);
    for variable in &old.findings.unknown {
        draft.notes.push(format!("{variable} is computed by the script, which is not run: look whether what is written here is right"));
    }
    let mut tables = draft.lines.join("\n") + "\n";
    for table in &draft.tables {
        tables.push_str(&format!("\n{}\n", table.join("\n")));
    }
    let unfit = |reason: String| MigrateError::Unfit { home: old.home.clone(), reason };
    let alone = format!("version = 1\n\n{tables}");
    Config::parse(&alone, Path::new("proposal"), &|_| None)
        .map_err(|error| unfit(error.to_string()))?;
    Ok(Proposal {
        name: draft.name,
        tables,
        secrets: draft.secrets,
        old_repository: Repository::new(old_repository).to_string(),
        notes: draft.notes,
    })
}

struct Draft<'a> {
    old: &'a OldHome,
    choices: &'a Choices,
    name: String,
    lines: Vec<String>,
    tables: Vec<Vec<String>>,
    secrets: Vec<SecretFile>,
    notes: Vec<String>,
}

impl Draft<'_> {
    fn repository(&mut self, old: &str) {
        let beside = Repository::new(old);
        let place = match (&self.choices.repository, beside.directory()) {
            (Some(chosen), _) => chosen.clone(),
            (None, Some(directory)) => {
                beside_of(&self.old.home.join(directory)).display().to_string()
            }
            (None, None) => {
                self.notes.push(format!("restic's repository is at {beside}; the new one is begun in the home: a copy elsewhere, [instance.{}.copy.NAME], is wanted, too", self.name));
                self.old.home.join("repo").display().to_string()
            }
        };
        self.lines.push(format!("repository = {}", quoted(&place)));
        if let Some(mount) = mount_of(Path::new(&place), &self.old.home) {
            self.lines.push(format!("require_mount = {}", quoted(&mount.to_string_lossy())));
        }
    }

    fn key(&mut self) {
        let secret = match (&self.old.password, &self.old.findings.password) {
            (Some(bytes), _) => Some(first_line(bytes)),
            (None, Some(text)) => Some(text.clone().into_bytes()),
            (None, None) => None,
        };
        let path = self.choices.secrets.join(format!("{}.password", self.name));
        let outside = self.old.password_file().filter(|file| !file.starts_with(&self.old.home));
        let source = match (secret, outside) {
            (Some(secret), _) => {
                let content = Secret::new(secret);
                self.secrets.push(SecretFile {
                    path: path.clone(),
                    content,
                    what: "restic's password, for the new repository, too",
                });
                KeySource::File(path)
            }
            (None, Some(outside)) => KeySource::File(outside),
            (None, None) => {
                self.notes.push(format!(
                    "no password was found: write one into {} before `init`",
                    path.display()
                ));
                KeySource::File(path)
            }
        };
        if let KeySource::File(path) = source {
            self.lines.push(format!("key = {{ file = {} }}", quoted(&path.to_string_lossy())));
        }
    }

    /// What the old script saved, and what it should have.
    fn paths(&mut self) {
        let findings = &self.old.findings;
        let home = &self.old.home;
        let mut paths: Vec<String> = Vec::new();
        for path in &findings.paths {
            let path = path.trim_start_matches("./").trim_end_matches('/');
            if findings.dumps && path.rsplit('/').next() == Some(DUMP) {
                continue;
            }
            if path.is_empty() || path == "." {
                self.notes.push("the old script saved the whole home: paths are named one by one here, so that neither a running server's files nor a repository are among them".to_owned());
                continue;
            }
            if !paths.iter().any(|known| known == path) {
                paths.push(path.to_owned());
            }
        }
        for usual in USUAL_PATHS {
            if home.join(usual).exists() && !paths.iter().any(|path| path == usual) {
                paths.push(usual.to_owned());
                self.notes.push(format!(
                    "{usual} is there, and was not saved by the old script; it is from now on"
                ));
            }
        }
        self.lines.push(format!("paths = {}", list(&paths)));
        if !findings.excludes.is_empty() {
            self.lines.push(format!("exclude = {}", list(&findings.excludes)));
        }
        for (is_set, key) in [
            (findings.one_file_system, "one_file_system"),
            (findings.exclude_caches, "exclude_caches"),
        ] {
            if is_set {
                self.lines.push(format!("{key} = true"));
            }
        }
    }

    fn retention(&mut self) {
        let mut rules = Vec::new();
        for (rule, value) in &self.old.findings.keep {
            let is_count = !value.is_empty() && value.bytes().all(|letter| letter.is_ascii_digit());
            match rule.as_str() {
                "last" | "hourly" | "daily" | "weekly" | "monthly" | "yearly" if is_count => {
                    rules.push(format!("{rule} = {value}"));
                }
                "within" => rules.push(format!("within = {}", quoted(value))),
                "tag" => rules.push(format!("tags = {}", list(std::slice::from_ref(value)))),
                _ => self.notes.push(format!(
                    "--keep-{} of the old script has no counterpart here: see `retention`",
                    rule
                )),
            }
        }
        if !rules.is_empty() {
            self.lines.push(format!("retention = {{ {} }}", rules.join(", ")));
        }
    }

    fn schedule(&mut self) {
        let mut lines = Vec::new();
        let mut zone = None;
        for (job, key) in [(TimerJob::Backup, "run"), (TimerJob::Prune, "prune")] {
            let timer =
                self.old.timers.iter().find(|timer| timer.job == job && !timer.calendar.is_empty());
            let line = timer.map(|timer| (timer, timer.line()));
            let line = match line {
                Some((_, Some((line, found)))) => {
                    zone = zone.or(found);
                    line
                }
                Some((timer, None)) => {
                    self.notes.push(format!("the hours of {}.timer ({}) cannot be said as a crontab line: look at `schedule`", timer.name, timer.calendar.join(", ")));
                    USUAL_HOUR.to_owned()
                }
                None if job == TimerJob::Backup => {
                    self.notes.push(
                        "no timer of the old backup was found: look at `schedule`".to_owned(),
                    );
                    USUAL_HOUR.to_owned()
                }
                // Then the night prunes itself.
                None => continue,
            };
            lines.push(format!("{key} = {}", quoted(&line)));
        }
        if let Some(zone) = zone {
            self.lines.push(format!("timezone = {}", quoted(&zone)));
        }
        self.lines.push(format!("schedule = {{ {} }}", lines.join(", ")));
    }

    fn postgres(&mut self) -> Result<(), MigrateError> {
        let findings = &self.old.findings;
        if !findings.dumps {
            return Ok(());
        }
        let candidates = [&self.choices.databases, &findings.databases, &self.old.databases];
        let Some(databases) = candidates.into_iter().find(|names| !names.is_empty()) else {
            return Err(MigrateError::NoDatabase { home: self.old.home.clone() });
        };
        let service = findings.service.as_deref().unwrap_or("postgres");
        let mut table = vec![
            format!("[instance.{}.postgres]", key(&self.name)),
            format!("container = {{ service = {} }}", quoted(service)),
        ];
        table.extend(findings.user.as_ref().map(|user| format!("user = {}", quoted(user))));
        table.push(format!("databases = {}", list(databases)));
        self.tables.push(table);
        if self.choices.databases.is_empty() {
            let names = databases.join(", ");
            self.notes.push(format!("the old script dumped every database of its server; here it is {names}: name all that are wanted with --database"));
        }
        Ok(())
    }

    fn mirror(&mut self, old_repository: &str) {
        let Some(mirror) = &self.old.findings.mirror else { return };
        let mirrored = mirror.from.as_deref().map(|from| self.old.home.join(from));
        let repository = Repository::new(old_repository);
        let repository = repository.directory().map(|directory| self.old.home.join(directory));
        if let (Some(mirrored), Some(repository)) = (mirrored, repository)
            && mirrored != repository
        {
            self.notes.push(format!("the old script uploaded {}, but its repository is {}: what lies elsewhere is not a copy of it", mirrored.display(), repository.display()));
        }
        let Offsite { location, password, notes } = match offsite(mirror, &self.name) {
            Ok(found) => found,
            Err(reason) => {
                self.notes
                    .push(format!("the place the old script uploads to is not used: {reason}"));
                return;
            }
        };
        self.notes.extend(notes);
        let mut written = location;
        if let Some(content) = password {
            let path = self.choices.secrets.join(format!("{}.offsite.password", self.name));
            written = format!("{written}?password-file={}", path.display());
            self.secrets.push(SecretFile {
                path,
                content,
                what: "the password of the place elsewhere",
            });
        }
        self.tables.push(vec![
            format!("[instance.{}.copy.offsite]", key(&self.name)),
            format!("location = {}", quoted(&written)),
        ]);
    }
}

/// Beside the old repository, under a name of its own.
fn beside_of(old: &Path) -> PathBuf {
    let name = old.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match name.contains("restic") {
        true => old.with_file_name(name.replacen("restic", "repo", 1)),
        false => old.with_file_name(format!("{name}-mrs-backup")),
    }
}

/// The disk of its own that `path` is on, unless the home is on it as well.
fn mount_of(path: &Path, home: &Path) -> Option<PathBuf> {
    let mount = path.ancestors().skip(1).find(|path| require_mount(path).is_ok())?;
    (mount != Path::new("/") && !home.starts_with(mount)).then(|| mount.to_owned())
}

/// The password as restic takes it from a file: without the end of its line.
fn first_line(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or_default().to_vec()
}

/// A name as a part of a table's name.
fn key(name: &str) -> String {
    let is_bare = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

/// A text as TOML has it, on one line.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            _ if letter.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(letter))),
            _ => quoted.push(letter),
        }
    }
    quoted + "\""
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}
