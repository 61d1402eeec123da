//! What the old scripts of a home do, as far as it matters for a configuration.

use super::shell::{Script, Word};

/// Options of `restic backup` that have a value and do not say what is saved.
const WITH_VALUE: [&str; 17] = [
    "-r",
    "--repo",
    "-p",
    "--password-file",
    "--tag",
    "--host",
    "-H",
    "--exclude-file",
    "--parent",
    "--cache-dir",
    "-o",
    "--option",
    "--time",
    "--compression",
    "--limit-upload",
    "--limit-download",
    "--exclude-larger-than",
];

/// A place elsewhere that the scripts mirror something to. Never printed: it may hold a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Mirror {
    /// As lftp is told.
    pub dsn: String,
    /// `USER,PASSWORD` as told apart from it.
    pub login: Option<String>,
    /// What is uploaded.
    pub from: Option<String>,
    /// Where to, below the server's directory.
    pub to: Option<String>,
}

/// What the scripts say.
#[derive(Clone, Default)]
pub(super) struct Findings {
    /// Where restic's repository is.
    pub repository: Option<String>,
    /// File with its password.
    pub password_file: Option<String>,
    /// The password itself, written into a script.
    pub password: Option<String>,
    /// What is saved, as written.
    pub paths: Vec<String>,
    /// Patterns of what is left out.
    pub excludes: Vec<String>,
    /// `--one-file-system`
    pub one_file_system: bool,
    /// `--exclude-caches`
    pub exclude_caches: bool,
    /// Rules of `restic forget`: `("daily", "7")`.
    pub keep: Vec<(String, String)>,
    /// Whether the backup calls `prune.sh` itself.
    pub prunes_itself: bool,
    /// Whether databases are dumped.
    pub dumps: bool,
    /// Compose service of the database server.
    pub service: Option<String>,
    /// Role.
    pub user: Option<String>,
    /// Databases that are named.
    pub databases: Vec<String>,
    /// The mirror.
    pub mirror: Option<Mirror>,
    /// Variables that only a shell could tell.
    pub unknown: Vec<String>,
    /// Whether restic is called at all.
    pub has_restic: bool,
}

impl Findings {
    /// Adds what `text`, the content of a script, says.
    pub fn read(&mut self, text: &str) {
        let script = Script::read(text);
        let mut take = |name: &str, target: &mut Option<String>| {
            if let Some(value) = script.value(name).filter(|value| !value.is_empty()) {
                target.get_or_insert_with(|| value.to_owned());
            } else if script.is_computed(name) && !self.unknown.iter().any(|one| one == name) {
                self.unknown.push(name.to_owned());
            }
        };
        take("RESTIC_REPOSITORY", &mut self.repository);
        take("RESTIC_PASSWORD_FILE", &mut self.password_file);
        take("RESTIC_PASSWORD", &mut self.password);
        let mut dsn = None;
        take("LFTP_DSN", &mut dsn);
        if let Some(dsn) = dsn {
            self.mirror.get_or_insert_default().dsn = dsn;
        }
        for command in &script.commands {
            self.command(command);
        }
    }

    fn command(&mut self, words: &[Word]) {
        let Some((program, rest)) = words.split_first() else { return };
        match base(&program.text) {
            "restic" => self.restic(rest),
            "lftp" => self.lftp(rest),
            "prune.sh" => self.prunes_itself = true,
            "docker-compose" | "docker" | "podman-compose" => self.compose(rest),
            "pg_dumpall" | "pg_dump" | "psql" => self.postgres(words),
            _ => {}
        }
    }

    fn restic(&mut self, words: &[Word]) {
        self.has_restic = true;
        for (option, target) in [
            (["-r", "--repo"], &mut self.repository),
            (["-p", "--password-file"], &mut self.password_file),
        ] {
            if let Some(value) = value_of(words, &option) {
                target.get_or_insert(value);
            }
        }
        let Some(at) = words.iter().position(|word| word.text == "backup" || word.text == "forget")
        else {
            return;
        };
        let arguments = words.get(at + 1..).unwrap_or_default();
        match words.get(at).map(|word| word.text.as_str()) {
            Some("backup") => self.backup(arguments),
            _ => self.forget(arguments),
        }
    }

    fn backup(&mut self, words: &[Word]) {
        let mut words = words.iter().filter(|word| !word.is_computed);
        while let Some(word) = words.next() {
            let (option, value) = match word.text.split_once('=') {
                Some((option, value)) if option.starts_with("--") => (option, Some(value)),
                _ => (word.text.as_str(), None),
            };
            match option {
                "-e" | "--exclude" | "--iexclude" => {
                    let value = value.or_else(|| words.next().map(|word| word.text.as_str()));
                    self.excludes.extend(value.map(str::to_owned));
                }
                "-x" | "--one-file-system" => self.one_file_system = true,
                "--exclude-caches" => self.exclude_caches = true,
                _ if value.is_none() && WITH_VALUE.contains(&option) => drop(words.next()),
                _ if option.starts_with('-') => {}
                _ if word.text.is_empty() || self.paths.contains(&word.text) => {}
                _ => self.paths.push(word.text.clone()),
            }
        }
    }

    fn forget(&mut self, words: &[Word]) {
        let mut words = words.iter().filter(|word| !word.is_computed);
        while let Some(word) = words.next() {
            let Some(rule) = word.text.strip_prefix("--keep-") else { continue };
            let (rule, value) = match rule.split_once('=') {
                Some((rule, value)) => (rule, Some(value.to_owned())),
                None => (rule, words.next().map(|word| word.text.clone())),
            };
            let is_new = !self.keep.iter().any(|(known, _)| known == rule);
            self.keep.extend(value.filter(|_| is_new).map(|value| (rule.to_owned(), value)));
        }
    }

    fn lftp(&mut self, words: &[Word]) {
        let mut mirror = self.mirror.take().unwrap_or_default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.text.as_str() {
                "-c" | "-e" => {
                    let Some(text) = words.next().filter(|word| !word.is_computed) else {
                        continue;
                    };
                    for command in Script::read_plain(&text.text).commands {
                        lftp_command(&command, &mut mirror);
                    }
                }
                "-u" => mirror.login = words.next().map(|word| word.text.clone()),
                text if !text.starts_with('-') && mirror.dsn.is_empty() && !word.is_computed => {
                    mirror.dsn = text.to_owned();
                }
                _ => {}
            }
        }
        self.mirror = (!mirror.dsn.is_empty()).then_some(mirror);
    }

    /// `docker-compose exec -T SERVICE PROGRAM …`
    fn compose(&mut self, words: &[Word]) {
        let Some(at) = words.iter().position(|word| word.text == "exec" || word.text == "run")
        else {
            return;
        };
        let is_database =
            |word: &Word| matches!(base(&word.text), "pg_dumpall" | "pg_dump" | "psql");
        let Some(program) = words.iter().position(is_database).filter(|program| *program > at + 1)
        else {
            return;
        };
        let service = words.get(program - 1).filter(|word| !word.text.starts_with('-'));
        if let Some(service) = service.filter(|word| !word.is_computed) {
            self.service.get_or_insert_with(|| service.text.clone());
        }
        self.postgres(words.get(program..).unwrap_or_default());
    }

    fn postgres(&mut self, words: &[Word]) {
        let Some((program, rest)) = words.split_first() else { return };
        let program = base(&program.text);
        self.dumps |= program.starts_with("pg_dump");
        if let Some(user) = value_of(rest, &["-U", "--username"]) {
            self.user.get_or_insert(user);
        }
        let database = value_of(rest, &["-d", "--dbname"]);
        // pg_dumpall's -d is only where it connects to.
        if let Some(database) = database.filter(|_| program != "pg_dumpall")
            && !self.databases.contains(&database)
        {
            self.databases.push(database);
        }
    }
}

fn lftp_command(words: &[Word], mirror: &mut Mirror) {
    let Some((program, rest)) = words.split_first() else { return };
    let plain = || rest.iter().filter(|word| !word.text.starts_with('-'));
    match program.text.as_str() {
        "connect" | "open" => {
            if let Some(place) = plain().next_back() {
                mirror.dsn.clone_from(&place.text);
            }
        }
        // `-R` uploads; without it something is fetched.
        "mirror" if rest.iter().any(|word| is_reverse(&word.text)) => {
            let mut places = plain().map(|word| word.text.clone());
            (mirror.from, mirror.to) = (places.next(), places.next());
        }
        _ => {}
    }
}

fn is_reverse(option: &str) -> bool {
    option == "--reverse"
        || option.starts_with('-') && !option.starts_with("--") && option.contains('R')
}

/// The value of the first of `options`, as `-U x`, `-Ux`, `--user x` or `--user=x`.
fn value_of(words: &[Word], options: &[&str]) -> Option<String> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        for option in options {
            let rest = word.text.strip_prefix(option);
            let value = match rest {
                Some("") => words.next(),
                Some(rest) if option.starts_with("--") => match rest.strip_prefix('=') {
                    Some(value) if !word.is_computed => return Some(value.to_owned()),
                    _ => continue,
                },
                Some(rest) if !rest.is_empty() && !word.is_computed => {
                    return Some(rest.to_owned());
                }
                _ => continue,
            };
            return value.filter(|word| !word.is_computed).map(|word| word.text.clone());
        }
    }
    None
}

/// A program's name without its directory.
fn base(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}
