//! The file as it is written.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use super::clone::CloneFile;
use super::copies::CopyFile;
use super::deploy::{DeployFile, ReviewFile};
use super::diagnose::{ConfigError, positioned};
use super::key::{KeySource, PasswordSource};
use super::night::{
    CheckFile, PruneFile, RetentionFile, RetentionKeys, ScheduleFile, SchedulerFile,
};
use super::restore::RestoreFile;
use super::telling::{MetricsFile, ServeFile};
use super::value::{
    AbsolutePath, Conninfo, DeltaSource, DurationText, InstanceName, Level, Line, PlainPath,
    RepositoryText, Share, Size, Workers, Zone,
};

/// Which version of the file we understand.
const VERSION: i64 = 1;

/// Configuration of mrs-backup.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigFile {
    /// Version of this file's form: 1.
    #[allow(dead_code, reason = "checked before the rest is read")]
    #[schemars(extend("const" = 1))]
    version: i64,
    /// Where the program keeps what it knows between runs.
    pub state_dir: Option<AbsolutePath>,
    /// How the scheduler works.
    #[serde(default)]
    pub scheduler: SchedulerFile,
    /// Where metrics go.
    #[serde(default)]
    pub metrics: MetricsFile,
    /// The server of metrics and page, which `schedule` runs as well.
    pub serve: Option<ServeFile>,
    /// What instances have unless they say otherwise.
    #[serde(default)]
    pub defaults: DefaultsFile,
    /// The instances by name.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, InstanceFile>")]
    pub instance: BTreeMap<InstanceName, InstanceFile>,
    /// Review stacks: deployments of branches that go by themselves.
    pub review: Option<ReviewFile>,
}

// Twice the same keys, once with `home`: serde's `flatten` would lose the lines of errors.
macro_rules! instance_keys {
    ($(#[$doc:meta])* $name:ident { $($first:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $($first)*
            /// Where snapshots are kept: a directory. Default: `<home>/repo`.
            pub repository: Option<RepositoryText>,
            /// Refuse to write unless this is a mount point.
            pub require_mount: Option<PlainPath>,
            /// How the repository's key is found.
            pub key: Option<KeySource>,
            /// Files and directories to save, relative to `home`.
            pub paths: Option<Vec<PlainPath>>,
            /// Patterns of what to leave out.
            pub exclude: Option<Vec<Line>>,
            /// Leave out directories marked with `CACHEDIR.TAG`.
            pub exclude_caches: Option<bool>,
            /// Do not enter other file systems.
            pub one_file_system: Option<bool>,
            /// Tags of the snapshots.
            pub tags: Option<Vec<Line>>,
            /// Level of zstd, 1 to 19.
            pub compression: Option<Level>,
            /// Whose changed pieces are compressed against the earlier ones. Default: all.
            pub deltas: Option<Vec<DeltaSource>>,
            /// Time zone of its days (`Europe/Paris`). Default: the system's.
            #[schemars(with = "Option<String>")]
            pub timezone: Option<Zone>,
            /// PostgreSQL databases to dump.
            pub postgres: Option<PostgresFile>,
            /// How databases are restored and restores are proven.
            pub restore: Option<RestoreFile>,
            /// Which snapshots stay.
            #[schemars(with = "Option<RetentionKeys>")]
            pub retention: Option<RetentionFile>,
            /// When jobs run.
            pub schedule: Option<ScheduleFile>,
            /// What is looked at every night.
            pub check: Option<CheckFile>,
            /// How what nobody needs is freed.
            pub prune: Option<PruneFile>,
            /// How long to wait for somebody else who works on the instance (`15m`).
            pub lock_wait: Option<DurationText>,
            /// How old the last good snapshot may be before `status` calls it stale (`26h`). Default: the time
            /// between two nights of the schedule and 2h, or 26h.
            pub max_age: Option<DurationText>,
            /// Make no snapshot while less than this is free at the repository (`1GiB`).
            pub min_free: Option<Size>,
        }
    };
}

instance_keys!(
/// One instance.
InstanceFile {
    /// Its directory; relative paths start there.
    pub home: AbsolutePath,
    /// Other places where everything is kept, by name.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, CopyFile>")]
    pub copy: BTreeMap<InstanceName, CopyFile>,
    /// Anonymized copies of other instances that may be put in the place of this one's data.
    pub clone: Option<CloneFile>,
    /// How it is deployed.
    pub deploy: Option<DeployFile>,
});

instance_keys!(
    /// What instances have unless they say otherwise.
    #[derive(Default)]
    DefaultsFile {});

/// PostgreSQL databases to dump.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PostgresFile {
    /// Connection string of libpq, a URI or `keyword=value`, without a password. `host`, `port` and `user` win over it.
    pub url: Option<Conninfo>,
    /// The compose service the server runs in.
    pub container: Option<ContainerFile>,
    /// Directory of the socket (with a `/`), or host name.
    pub host: Option<Line>,
    /// Port.
    pub port: Option<NonZeroU16>,
    /// Role.
    pub user: Option<Line>,
    /// Names of the databases.
    pub databases: Option<Vec<Line>>,
    /// Where `pg_dump`, `pg_dumpall` and `psql` are. Default: the search path.
    pub bin_dir: Option<PlainPath>,
    /// How the role's password is found.
    pub password: Option<PasswordSource>,
    /// Also dump roles. Default: true.
    pub globals: Option<bool>,
    /// Sessions that copy tables at once, 1 to 32. Default: 2.
    pub workers: Option<Workers>,
    /// KiB on the server's disk from which a table is a stream of its own. Default: 64.
    pub stream_from_kib: Option<u32>,
    /// How long to wait for tables others have locked (`90s`, `10m`). Default: 10m.
    pub lock_wait: Option<DurationText>,
    /// Percent by which rows or bytes may become fewer since the last snapshot without a warning. Default: 20.
    pub shrink_warning: Option<Share>,
    /// Directory in which a standard dump is left, too. It is NOT encrypted.
    pub standard_dump: Option<PlainPath>,
}

/// A compose service.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ContainerFile {
    /// Its name in the compose file.
    pub service: Line,
    /// The compose project. Default: the one that was started in `home`.
    pub project: Option<Line>,
    /// How to connect. Default: `auto`, the first of the others that is possible.
    #[serde(default)]
    pub via: Via,
}

/// How to connect to a server in a container.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Via {
    /// The first that is possible.
    #[default]
    Auto,
    /// The socket in a directory mounted from the host.
    Socket,
    /// The container's address.
    Address,
    /// A program in the container for each connection (`docker exec`); needs `bash` there.
    Exec,
}

/// Only the version: a file of another version may hold anything else.
#[derive(Deserialize)]
struct VersionOnly {
    version: Option<toml::Spanned<i64>>,
}

pub(super) fn read(text: &str, path: &Path) -> Result<ConfigFile, ConfigError> {
    let refuse = |error: toml::de::Error| positioned(text, path, error.span(), error.message());
    let head: VersionOnly = toml::from_str(text).map_err(refuse)?;
    match head.version {
        None => Err(positioned(
            text,
            path,
            None,
            "`version` is missing; begin the file with `version = 1`",
        )),
        Some(version) if *version.get_ref() != VERSION => {
            let message = format!(
                "version {} is not known here, only version {VERSION}; install a newer mrs-backup, or correct it",
                version.get_ref()
            );
            Err(positioned(text, path, Some(version.span()), &message))
        }
        Some(_) => toml::from_str(text).map_err(refuse),
    }
}
