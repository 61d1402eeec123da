//! From the file to values with origins: defaults inherited, paths resolved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::ops::prune::MaxUnused;
use crate::postgres::{ContainerSettings, ContainerWay};
use crate::snapshot::retention::RetentionPolicy;

use super::clone;
use super::copies;
use super::deploy;
use super::diagnose::ConfigError;
use super::file::{ConfigFile, ContainerFile, DefaultsFile, InstanceFile, PostgresFile, Via};
use super::night::{Schedule, ScheduleFile};
use super::restore;
use super::telling;
use super::value::DeltaSource;
use super::{
    Config, DEFAULT_STATE_DIR, Instance, KeySource, Origin, PostgresConfig, Repository, Setting,
};

/// A full disk makes everybody's night longer, not only ours.
const DEFAULT_MIN_FREE: u64 = 256 << 20;
/// All of it, in hundredths of a percent.
const WHOLE: u32 = 10_000;

pub(super) fn config(file: ConfigFile, path: &Path) -> Result<Config, ConfigError> {
    let mut instances = BTreeMap::new();
    for (name, written) in file.instance {
        let instance = instance(&name.0, written, &file.defaults, path)?;
        instances.insert(name.0, instance);
    }
    let whole = |message| ConfigError::Whole { path: path.to_owned(), message };
    let telling =
        telling::resolve(file.metrics, file.serve, file.notify, file.page).map_err(whole)?;
    let review =
        deploy::review(file.review).map_err(|message| whole(format!("[review]: {message}")))?;
    Ok(Config {
        path: path.to_owned(),
        telling,
        review,
        state_dir: or_default(file.state_dir.map(|path| path.0), || DEFAULT_STATE_DIR.into()),
        parallel: or_default(file.scheduler.parallel.map(|n| usize::from(n.get())), || 2),
        instances,
        warnings: Vec::new(),
    })
}

pub(super) fn or_default<T>(value: Option<T>, default: impl FnOnce() -> T) -> Setting<T> {
    match value {
        Some(value) => Setting::new(value, Origin::File),
        None => Setting::new(default(), Origin::Default),
    }
}

fn from_file<T>(value: Option<T>) -> Option<Setting<T>> {
    value.map(|value| Setting::new(value, Origin::File))
}

/// The instance's own value, or that of `[defaults]`.
macro_rules! inherited {
    ($own:ident, $defaults:ident, $key:ident) => {
        $own.$key.or_else(|| $defaults.$key.clone())
    };
}

fn instance(
    name: &str,
    own: InstanceFile,
    defaults: &DefaultsFile,
    path: &Path,
) -> Result<Instance, ConfigError> {
    let home = own.home.0;
    let refuse = |message| ConfigError::Instance {
        path: path.to_owned(),
        instance: name.to_owned(),
        message,
    };
    let restore =
        restore::resolve(own.restore.unwrap_or_default(), defaults.restore.as_ref(), &home);
    let postgres = postgres(own.postgres, defaults.postgres.as_ref(), &home).map_err(refuse)?;
    let copies = copies::resolve(own.copy, &home).map_err(refuse)?;
    let deploy = own.deploy.map(|file| deploy::resolve(file, &home)).transpose().map_err(refuse)?;
    let schedule = inherited!(own, defaults, schedule);
    let schedule = schedule.map(ScheduleFile::resolve).transpose().map_err(refuse)?;
    let check = inherited!(own, defaults, check).unwrap_or_default();
    let prune = inherited!(own, defaults, prune).unwrap_or_default();
    let retention = inherited!(own, defaults, retention).map(|retention| retention.0);
    let lock_wait = inherited!(own, defaults, lock_wait).map(|wait| wait.0);
    let min_free = inherited!(own, defaults, min_free).map(|size| size.0);
    let repository = inherited!(own, defaults, repository).map(|text| at_home(&home, text.0));
    let require_mount = inherited!(own, defaults, require_mount).map(|path| home.join(path.0));
    let key = inherited!(own, defaults, key).map(|key| key.resolved(&home));
    let paths = inherited!(own, defaults, paths)
        .map(|paths| paths.into_iter().map(|path| path.0).collect());
    let exclude = inherited!(own, defaults, exclude)
        .map(|lines| lines.into_iter().map(|line| line.0).collect());
    let tags =
        inherited!(own, defaults, tags).map(|lines| lines.into_iter().map(|line| line.0).collect());
    let timezone = inherited!(own, defaults, timezone).map(|zone| zone.0);
    Ok(Instance {
        name: name.to_owned(),
        repository: or_default(repository, || Repository::new(home.join("repo").to_string_lossy())),
        key: from_file(key),
        require_mount: from_file(require_mount),
        paths: or_default(paths, Vec::new),
        exclude: or_default(exclude, Vec::new),
        exclude_caches: or_default(inherited!(own, defaults, exclude_caches), || false),
        one_file_system: or_default(inherited!(own, defaults, one_file_system), || false),
        tags: or_default(tags, Vec::new),
        compression: or_default(inherited!(own, defaults, compression).map(|one| one.0), || 2),
        deltas: or_default(inherited!(own, defaults, deltas), || {
            vec![DeltaSource::Files, DeltaSource::Databases]
        }),
        timezone: or_default(timezone, system_zone),
        postgres,
        restore,
        retention: or_default(retention, RetentionPolicy::production),
        schedule: or_default(schedule, Schedule::default),
        check_subset: from_file(check.read_data_subset.map(|share| share.0)),
        check_scheduled_subset: or_default(
            check.scheduled_read_data_subset.map(|share| share.0),
            || WHOLE,
        ),
        prune_max_unused: or_default(prune.max_unused.map(|limit| limit.0), MaxUnused::default),
        prune_max_repack: from_file(prune.max_repack_size.map(|size| size.0)),
        lock_wait: or_default(lock_wait, || Duration::ZERO),
        min_free: or_default(min_free, || DEFAULT_MIN_FREE),
        protected: or_default(inherited!(own, defaults, protected), || false),
        max_age: from_file(inherited!(own, defaults, max_age).map(|age| age.0)),
        copies,
        deploy,
        clone: own.clone.map(|file| clone::resolve(file, &home)),
        home: Setting::new(home, Origin::File),
    })
}

/// The system's zone if it has a name, because a snapshot keeps the name.
fn system_zone() -> TimeZone {
    Some(TimeZone::system()).filter(|zone| zone.iana_name().is_some()).unwrap_or(TimeZone::UTC)
}

pub(super) fn at_home(home: &Path, text: String) -> Repository {
    let written = Repository::new(text);
    match written.directory() {
        Some(path) => Repository::new(home.join(path).to_string_lossy()),
        None => written,
    }
}

fn postgres(
    own: Option<PostgresFile>,
    defaults: Option<&PostgresFile>,
    home: &Path,
) -> Result<Option<PostgresConfig>, String> {
    let is_asked_for = own.is_some();
    let (own, none) = (own.unwrap_or_default(), PostgresFile::default());
    let defaults = defaults.unwrap_or(&none);
    let databases = inherited!(own, defaults, databases).filter(|names| !names.is_empty());
    let Some(databases) = databases else {
        // `[defaults.postgres]` alone may only say how to reach databases some instances have.
        return match is_asked_for {
            true => Err("`postgres.databases` is missing or empty; list the databases, or remove \
                         the `postgres` table"
                .to_owned()),
            false => Ok(None),
        };
    };
    let host = inherited!(own, defaults, host).map(|host| socket_at_home(home, host.0));
    let password = inherited!(own, defaults, password);
    let absolute = |path: super::value::PlainPath| -> PathBuf { home.join(path.0) };
    let container = inherited!(own, defaults, container).map(|file| container(file, home));
    let workers = inherited!(own, defaults, workers).map(|workers| workers.0);
    let lock_wait = inherited!(own, defaults, lock_wait).map(|wait| wait.0);
    let shrink_warning = inherited!(own, defaults, shrink_warning).map(|share| share.0);
    let stream_from = inherited!(own, defaults, stream_from_kib).map(u64::from);
    Ok(Some(PostgresConfig {
        url: from_file(inherited!(own, defaults, url).map(|url| url.0)),
        container: from_file(container),
        workers: or_default(workers, || 2),
        stream_from_kib: or_default(stream_from, || 64),
        lock_wait: or_default(lock_wait, || Duration::from_secs(600)),
        shrink_warning: or_default(shrink_warning, || 20),
        host: from_file(host),
        port: from_file(inherited!(own, defaults, port).map(u16::from)),
        user: from_file(inherited!(own, defaults, user).map(|user| user.0)),
        databases: Setting::new(databases.into_iter().map(|line| line.0).collect(), Origin::File),
        bin_dir: from_file(inherited!(own, defaults, bin_dir).map(absolute)),
        password: from_file(password.map(|password| KeySource::from(password).resolved(home))),
        globals: or_default(inherited!(own, defaults, globals), || true),
        standard_dump: from_file(inherited!(own, defaults, standard_dump).map(absolute)),
    }))
}

fn container(file: ContainerFile, home: &Path) -> ContainerSettings {
    ContainerSettings {
        service: file.service.0,
        project: file.project.map(|project| project.0),
        directory: home.to_owned(),
        way: match file.via {
            Via::Auto => ContainerWay::Auto,
            Via::Socket => ContainerWay::Socket,
            Via::Address => ContainerWay::Address,
            Via::Exec => ContainerWay::Exec,
        },
        docker: PathBuf::from("docker"),
    }
}

/// With a slash it is the directory of a socket. Its path is cleaned of `.`, because libpq takes
/// only what begins with `/` for a directory and sockets have a short longest path.
fn socket_at_home(home: &Path, host: String) -> String {
    if !host.contains('/') {
        return host;
    }
    home.join(host).components().collect::<PathBuf>().to_string_lossy().into_owned()
}
