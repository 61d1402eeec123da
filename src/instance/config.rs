//! The configuration: which instances there are, where they are kept, how their keys are found.
//!
//! What somebody asked for on the command line comes before `MRS_BACKUP_*` variables, these before
//! the variables restic knows, these before the file. Every value remembers where it comes from.

mod clone;
mod copies;
mod deploy;
mod diagnose;
mod environment;
mod file;
mod key;
mod night;
mod notify;
mod resolve;
mod restore;
mod show;
mod telling;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::crypto::Secret;
use crate::ops::prune::MaxUnused;
use crate::postgres::{ContainerSettings, ServerSettings};
use crate::repository::{DeltaOptions, IngestOptions};
use crate::snapshot::retention::RetentionPolicy;
use crate::source::postgres::PostgresSettings;

pub use clone::{CloneConfig, RequiredLine};
pub use copies::{CopyConfig, PRIMARY, parse_delay};
pub use deploy::{DeployConfig, HttpCheckConfig, Migrations, OnFailure, ReviewConfig};
pub use diagnose::ConfigError;
pub use environment::{Access, Flags, split_words};
pub use key::{KeyError, KeyReader, KeySource, ReadKey};
pub use night::{Schedule, parse_count, tag_list};
pub use notify::{
    ChannelConfig, EventKind, MailConfig, MailTls, NotifyConfig, UrlSource, check_url,
};
pub use restore::{RestoreConfig, parse_kept};
pub use show::Shown;
pub use telling::{Language, ListenAddress, ServeConfig, Telling};
pub use value::{DeltaSource, parse_duration};

/// Gives environment variables: the process's, or a test's.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The process's environment.
pub fn process_environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The file that is read if no other is named.
pub const DEFAULT_PATH: &str = "/etc/mrs-backup/config.toml";
/// Where the program keeps what it knows between runs.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/mrs-backup";
/// The variable that names another file.
const PATH_VARIABLE: &str = "MRS_BACKUP_CONFIG";

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// This environment variable.
    Environment(&'static str),
    /// This variable, which another program's habit made us accept.
    Legacy(&'static str),
    /// The configuration file.
    File,
    /// Nobody said otherwise.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("command line"),
            Self::Environment(name) | Self::Legacy(name) => f.write_str(name),
            Self::File => f.write_str("file"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
}

impl<T> Setting<T> {
    /// Both together.
    pub const fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}

/// Where a repository is, as written. Printed without a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Repository(String);

impl Repository {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for [`crate::store::Place::parse`].
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory it is; `None` if it begins with the name of another kind of place (`ftps:`, `credential:`).
    /// A directory with a colon in its name is written `./like:this`.
    pub fn directory(&self) -> Option<&Path> {
        match self.0.split_once(':') {
            Some(("file", path)) => path.strip_prefix("//").map(Path::new),
            Some((scheme, _)) if scheme.len() > 1 && is_scheme(scheme) => None,
            _ => Some(Path::new(&self.0)),
        }
    }

    /// The credential of systemd that it needs, if any.
    pub fn credential(&self) -> Option<&str> {
        if let Some(name) = self.0.strip_prefix("credential:") {
            return Some(name);
        }
        let (_, options) = self.0.split_once('?').filter(|_| self.directory().is_none())?;
        options.split('&').find_map(|option| option.strip_prefix("password-credential="))
    }
}

fn is_scheme(text: &str) -> bool {
    text.bytes().all(|letter| letter.is_ascii_alphanumeric())
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::store::without_secrets(&self.0))
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({self})")
    }
}

/// How an instance's databases are reached, on the way to [`PostgresSettings`].
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// Connection string of libpq.
    pub url: Option<Setting<String>>,
    /// The compose service the server runs in.
    pub container: Option<Setting<ContainerSettings>>,
    /// Directory of the socket (absolute), or host name.
    pub host: Option<Setting<String>>,
    /// Port.
    pub port: Option<Setting<u16>>,
    /// Role.
    pub user: Option<Setting<String>>,
    /// Databases; not empty.
    pub databases: Setting<Vec<String>>,
    /// Where PostgreSQL's programs are.
    pub bin_dir: Option<Setting<PathBuf>>,
    /// How the role's password is found.
    pub password: Option<Setting<KeySource>>,
    /// Also dump roles.
    pub globals: Setting<bool>,
    /// Sessions that copy tables at once.
    pub workers: Setting<u8>,
    /// KiB on the server's disk from which a table is a stream of its own.
    pub stream_from_kib: Setting<u64>,
    /// How long to wait for tables others have locked.
    pub lock_wait: Setting<Duration>,
    /// Percent by which a database or table may shrink between two nights without a warning.
    pub shrink_warning: Setting<u8>,
    /// Directory in which a standard, unencrypted dump is left, too.
    pub standard_dump: Option<Setting<PathBuf>>,
}

impl PostgresConfig {
    /// How the server is reached, with the password once it is read.
    pub fn server(&self, password: Option<Secret>) -> ServerSettings {
        ServerSettings {
            conninfo: self.url.as_ref().map(|url| url.value.clone()),
            host: self.host.as_ref().map(|host| host.value.clone()),
            port: self.port.as_ref().map(|port| port.value),
            user: self.user.as_ref().map(|user| user.value.clone()),
            password,
            bin_dir: self.bin_dir.as_ref().map(|directory| directory.value.clone()),
            container: self.container.as_ref().map(|container| container.value.clone()),
        }
    }

    /// What the source of databases needs.
    pub fn settings(&self, password: Option<Secret>) -> PostgresSettings {
        PostgresSettings {
            server: self.server(password),
            databases: self.databases.value.clone(),
            globals: self.globals.value,
            workers: self.workers.value.into(),
            stream_from: self.stream_from_kib.value << 10,
            lock_wait: self.lock_wait.value,
        }
    }
}

/// One instance, resolved: relative paths are relative to `home` no more, except in `paths`.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub home: Setting<PathBuf>,
    /// Where its snapshots are kept.
    pub repository: Setting<Repository>,
    /// How the repository's key is found. `None`: it has to be asked for.
    pub key: Option<Setting<KeySource>>,
    /// Must be a mount point before anything is written.
    pub require_mount: Option<Setting<PathBuf>>,
    /// Files and directories, relative to `home` or absolute, as written.
    pub paths: Setting<Vec<PathBuf>>,
    /// Patterns of what to leave out.
    pub exclude: Setting<Vec<String>>,
    /// Leave out directories marked with `CACHEDIR.TAG`.
    pub exclude_caches: Setting<bool>,
    /// Do not enter other file systems.
    pub one_file_system: Setting<bool>,
    /// Tags of its snapshots.
    pub tags: Setting<Vec<String>>,
    /// Level of zstd.
    pub compression: Setting<u8>,
    /// Whose changed pieces are compressed against the earlier ones.
    pub deltas: Setting<Vec<DeltaSource>>,
    /// Time zone of its days.
    pub timezone: Setting<TimeZone>,
    /// Its databases.
    pub postgres: Option<PostgresConfig>,
    /// How they are restored, and restores proven.
    pub restore: RestoreConfig,
    /// Which of its snapshots stay.
    pub retention: Setting<RetentionPolicy>,
    /// When its jobs run.
    pub schedule: Setting<Schedule>,
    /// How much of the packs the nightly check reads, in hundredths of a percent. `None`: no check.
    pub check_subset: Option<Setting<u32>>,
    /// The same for the check that is a job of its own.
    pub check_scheduled_subset: Setting<u32>,
    /// How much that nobody needs may stay.
    pub prune_max_unused: Setting<MaxUnused>,
    /// Most bytes one prune writes again. `None`: no limit.
    pub prune_max_repack: Option<Setting<u64>>,
    /// How long to wait for somebody else who works on it.
    pub lock_wait: Setting<Duration>,
    /// How old its last good snapshot may be. `None`: as its schedule has it.
    pub max_age: Option<Setting<Duration>>,
    /// Its data is replaced or removed only by somebody who gives its name.
    pub protected: Setting<bool>,
    /// No snapshot is made while fewer bytes are free at its repository.
    pub min_free: Setting<u64>,
    /// Other places where everything is kept, by name.
    pub copies: BTreeMap<String, CopyConfig>,
    /// How it is deployed. `None`: nothing says so.
    pub deploy: Option<DeployConfig>,
    /// Whose anonymized copies may be put into it.
    pub clone: Option<CloneConfig>,
}

impl Instance {
    /// How its snapshots are compressed.
    pub fn ingest(&self) -> IngestOptions {
        let has = |source| self.deltas.value.contains(&source);
        let (files, streams) = (has(DeltaSource::Files), has(DeltaSource::Databases));
        // Who asks for them gets them, however far the repository is.
        let far = self.deltas.origin != Origin::Default;
        let deltas = DeltaOptions { files, streams, far, ..DeltaOptions::default() };
        let level = i32::from(self.compression.value);
        IngestOptions { level, deltas, ..IngestOptions::default() }
    }

    /// `paths`, each absolute.
    pub fn absolute_paths(&self) -> Vec<PathBuf> {
        self.paths.value.iter().map(|path| self.home.value.join(path)).collect()
    }
}

/// A whole configuration file, resolved.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// Where the program keeps what it knows between runs.
    pub state_dir: Setting<PathBuf>,
    /// How many instances the scheduler works on at once.
    pub parallel: Setting<usize>,
    /// Who is told, and where.
    pub telling: Telling,
    /// The instances by name.
    pub instances: BTreeMap<String, Instance>,
    /// Review stacks.
    pub review: ReviewConfig,
    /// What should be told to the person running this, one line each.
    pub warnings: Vec<String>,
}

impl Config {
    /// The file to read: the one of `--config`, of `MRS_BACKUP_CONFIG`, or the usual one if it is
    /// there.
    pub fn find(flag: Option<&Path>, environment: Environment<'_>) -> Option<Setting<PathBuf>> {
        if let Some(path) = flag {
            return Some(Setting::new(path.to_owned(), Origin::Flag));
        }
        if let Some(path) = environment(PATH_VARIABLE).filter(|path| !path.is_empty()) {
            return Some(Setting::new(path.into(), Origin::Environment(PATH_VARIABLE)));
        }
        let usual = PathBuf::from(DEFAULT_PATH);
        // Whatever is there is meant to be read, even if that will fail.
        usual.symlink_metadata().is_ok().then_some(Setting::new(usual, Origin::Default))
    }

    /// Reads the file at `path`. Repositories and keys are the file's: flags and environment come
    /// in with [`Access::gather`] and [`Instance::with`].
    pub fn load(path: &Path, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let text = diagnose::read_text(path)?;
        Self::parse(&text, path, environment)
    }

    /// Reads `text` as the content of the file at `path`.
    pub fn parse(
        text: &str,
        path: &Path,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigError> {
        let file = file::read(text, path)?;
        let mut config = resolve::config(file, path)?;
        config.warnings.extend(environment::standard_dump_warning(&config, environment));
        Ok(config)
    }

    /// A nameless repository out of flags and environment, for use without any file. `None` if
    /// they name no repository.
    pub fn from_environment(
        flags: &Flags,
        environment: Environment<'_>,
    ) -> Result<Option<Access>, ConfigError> {
        Ok(Some(Access::gather(flags, environment)?).filter(|access| access.repository.is_some()))
    }

    /// The instance of this name.
    pub fn instance(&self, name: &str) -> Result<&Instance, ConfigError> {
        self.instances.get(name).ok_or_else(|| ConfigError::UnknownInstance {
            path: self.path.clone(),
            name: name.chars().take(80).collect(),
            hint: diagnose::nearest(name, self.instances.keys().map(String::as_str), "instances"),
        })
    }

    /// JSON Schema of the file.
    pub fn schema() -> String {
        let schema = schemars::schema_for!(file::ConfigFile);
        serde_json::to_string_pretty(schema.as_value()).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;

#[cfg(test)]
#[path = "config/night_tests.rs"]
mod night_tests;
