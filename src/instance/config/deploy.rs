//! How an instance is deployed: `[instance.NAME.deploy]`, and what holds for review stacks: `[review]`.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::key::{KeySource, PasswordSource};
use super::resolve::or_default;
use super::value::{DurationText, Line, PlainPath};
use super::{Origin, Setting, parse_kept};

/// How an instance is deployed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeployFile {
    /// Name of the compose project. Default: the name of the home's directory.
    pub project: Option<Line>,
    /// Where the compose files are. Default: the directory `deploy` is called in.
    pub directory: Option<PlainPath>,
    /// Compose files, merged in this order. Default: `docker-compose.yml`.
    pub compose: Option<Vec<PlainPath>>,
    /// Environment variables compose files may use (`HOST`, `EMAIL_*`). Default: those they name.
    pub env: Option<Vec<Line>>,
    /// Variables without which nothing is deployed.
    pub require_env: Option<Vec<Line>>,
    /// Values that are changed on the merged document: `compose_SERVICE_KEY = "value"`.
    pub overrides: Option<BTreeMap<String, String>>,
    /// Pull images first. Default: false.
    pub pull: Option<bool>,
    /// Build images first. Default: false.
    pub build: Option<bool>,
    /// Wait until a line of the containers' logs fits this regular expression.
    pub wait_grep: Option<Line>,
    /// Lines of shell, run in the home when all is up; the first that fails ends the deployment.
    pub postdeploy: Option<Vec<Line>>,
    /// How long containers may take to be healthy, and the log to have its line. Default: 60s.
    pub timeout: Option<DurationText>,
    /// A page that has to be there afterwards.
    pub check: Option<HttpCheckFile>,
    /// Whether the application migrates its database. Default: true.
    pub migrates: Option<bool>,
    /// A command that prints which migrations were applied. Default: the table `django_migrations`.
    pub migrations: Option<MigrationsFile>,
    /// After a failure. Default: `rollback`, where no migration ran.
    pub on_failure: Option<OnFailure>,
    /// How many deployments are remembered. Default: 10.
    pub keep: Option<NonZeroU16>,
}

/// A page that has to be there.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpCheckFile {
    /// Its address.
    url: Line,
    /// The status it answers with. Default: 200.
    status: Option<u16>,
    /// How often it is tried. Default: 60.
    retries: Option<NonZeroU16>,
    /// Time between tries. Default: 1s.
    delay: Option<DurationText>,
    /// Longest time of one try. Default: 10s.
    timeout: Option<DurationText>,
    /// Where `user:password` is.
    basic_auth: Option<PasswordSource>,
    /// Certificates to trust, in PEM, besides the system's.
    ca: Option<PlainPath>,
}

/// A command in a container.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MigrationsFile {
    /// The service it runs in.
    service: Line,
    /// The program and its arguments; it prints one migration a line.
    command: Vec<Line>,
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The earlier code comes back by itself, if no migration ran.
    #[default]
    Rollback,
    /// Everything stays as it is.
    Stop,
}

/// Review stacks.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReviewFile {
    /// Where they live. Default: `.yourlabs.compose` in the home of whoever deploys.
    pub home: Option<super::value::AbsolutePath>,
    /// How long one lives after its last deployment (`7d`). Default: 7d.
    pub lifetime: Option<Line>,
    /// The longest lifetime anybody may ask for. Default: 30d.
    pub max_lifetime: Option<Line>,
    /// How they are deployed.
    pub deploy: Option<DeployFile>,
}

/// How an instance is deployed, resolved.
#[derive(Debug, Clone)]
pub struct DeployConfig {
    /// Name of the compose project.
    pub project: Option<Setting<String>>,
    /// Where compose files are.
    pub directory: Option<Setting<PathBuf>>,
    /// Compose files, as written.
    pub compose: Option<Setting<Vec<PathBuf>>>,
    /// Variables they may use. `None`: those they name.
    pub env: Option<Setting<Vec<String>>>,
    /// Variables that must be set.
    pub require_env: Setting<Vec<String>>,
    /// Changes of the merged document. Values may be secret.
    pub overrides: Setting<BTreeMap<String, String>>,
    /// Pull first.
    pub pull: Setting<bool>,
    /// Build first.
    pub build: Setting<bool>,
    /// A line to wait for.
    pub wait_grep: Option<Setting<String>>,
    /// Lines of shell.
    pub postdeploy: Setting<Vec<String>>,
    /// How long to wait.
    pub timeout: Setting<Duration>,
    /// A page that has to be there.
    pub check: Option<Setting<HttpCheckConfig>>,
    /// How applied migrations are known.
    pub migrations: Setting<Migrations>,
    /// What follows a failure.
    pub on_failure: Setting<OnFailure>,
    /// How many deployments are remembered.
    pub keep: Setting<usize>,
}

/// A page that has to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCheckConfig {
    /// Address.
    pub url: String,
    /// Status, exactly.
    pub status: u16,
    /// Tries.
    pub retries: u16,
    /// Time between them.
    pub delay: Duration,
    /// Longest time of one.
    pub timeout: Duration,
    /// Where `user:password` is.
    pub basic_auth: Option<KeySource>,
    /// Certificates to trust.
    pub ca: Option<PathBuf>,
}

impl HttpCheckConfig {
    /// The usual patience with `url`.
    pub fn of(url: String) -> Self {
        let (delay, timeout) = (Duration::from_secs(1), Duration::from_secs(10));
        Self { url, status: 200, retries: 60, delay, timeout, basic_auth: None, ca: None }
    }
}

/// How it is known which migrations were applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migrations {
    /// There are none.
    None,
    /// The table `django_migrations` of the instance's databases.
    Table,
    /// A command in a container prints them.
    Command {
        /// Service.
        service: String,
        /// Program and arguments.
        command: Vec<String>,
    },
}

/// Review stacks, resolved.
#[derive(Debug, Clone)]
pub struct ReviewConfig {
    /// Whether the file has anything about them.
    pub is_configured: bool,
    /// Where they live.
    pub home: Option<Setting<PathBuf>>,
    /// How long one lives.
    pub lifetime: Setting<Duration>,
    /// How long at most.
    pub max_lifetime: Setting<Duration>,
    /// How they are deployed.
    pub deploy: DeployConfig,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for DeployConfig {
    fn default() -> Self {
        resolved(DeployFile::default(), None, None)
    }
}

impl Default for ReviewConfig {
    fn default() -> Self {
        Self {
            is_configured: false,
            home: None,
            lifetime: Setting::new(7 * DAY, Origin::Default),
            max_lifetime: Setting::new(30 * DAY, Origin::Default),
            deploy: DeployConfig::default(),
        }
    }
}

pub(super) fn resolve(mut file: DeployFile, home: &Path) -> Result<DeployConfig, String> {
    if let Some(pattern) = &file.wait_grep {
        regex::Regex::new(&pattern.0).map_err(|error| {
            format!("`deploy.wait_grep` is no regular expression: {}", one_line(&error))
        })?;
    }
    let mut keys = file.overrides.iter().flatten().map(|(key, _)| key);
    if let Some(key) = keys.find(|key| !key.starts_with("compose_")) {
        let key = key.escape_debug();
        return Err(format!("`deploy.overrides` has `{key}`; write compose_SERVICE_KEY"));
    }
    let migrations = match (file.migrates, file.migrations.take()) {
        (Some(false), None) => Some(Migrations::None),
        (Some(false), Some(_)) => {
            return Err("`deploy.migrates = false` and `deploy.migrations` contradict each other; remove one".to_owned());
        }
        (_, Some(told)) if told.command.is_empty() => {
            return Err("`deploy.migrations.command` is empty; write [\"program\", \"argument\"]"
                .to_owned());
        }
        (_, Some(told)) => Some(Migrations::Command {
            service: told.service.0,
            command: told.command.into_iter().map(|word| word.0).collect(),
        }),
        (_, None) => None,
    };
    let check = file.check.take().map(|check| http_check(check, home)).transpose()?;
    file.directory = file.directory.map(|path| PlainPath(home.join(path.0)));
    Ok(resolved(file, migrations, check))
}

fn resolved(
    file: DeployFile,
    migrations: Option<Migrations>,
    check: Option<HttpCheckConfig>,
) -> DeployConfig {
    fn given<T>(value: Option<T>) -> Option<Setting<T>> {
        value.map(|value| Setting::new(value, Origin::File))
    }
    let lines = |lines: Option<Vec<Line>>| -> Option<Vec<String>> {
        lines.map(|lines| lines.into_iter().map(|line| line.0).collect())
    };
    let paths = file.compose.map(|paths| paths.into_iter().map(|path| path.0).collect());
    DeployConfig {
        project: given(file.project.map(|line| line.0)),
        directory: given(file.directory.map(|path| path.0)),
        compose: given(paths),
        env: given(lines(file.env)),
        require_env: or_default(lines(file.require_env), Vec::new),
        overrides: or_default(file.overrides, BTreeMap::new),
        pull: or_default(file.pull, || false),
        build: or_default(file.build, || false),
        wait_grep: given(file.wait_grep.map(|line| line.0)),
        postdeploy: or_default(lines(file.postdeploy), Vec::new),
        timeout: or_default(file.timeout.map(|text| text.0), || Duration::from_secs(60)),
        check: given(check),
        migrations: or_default(migrations, || Migrations::Table),
        on_failure: or_default(file.on_failure, OnFailure::default),
        keep: or_default(file.keep.map(|count| usize::from(count.get())), || 10),
    }
}

fn one_line(error: &dyn std::fmt::Display) -> String {
    error.to_string().lines().last().unwrap_or_default().trim().to_owned()
}

fn http_check(file: HttpCheckFile, home: &Path) -> Result<HttpCheckConfig, String> {
    let usual = HttpCheckConfig::of(file.url.0);
    let is_address = reqwest::Url::parse(&usual.url)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    let has_login = usual.url.split('/').nth(2).is_some_and(|authority| authority.contains('@'));
    if !is_address || has_login {
        return Err("`deploy.check.url` is no address like `https://www.example.org/` (a password belongs into `basic_auth`)".to_owned());
    }
    Ok(HttpCheckConfig {
        status: file.status.unwrap_or(usual.status),
        retries: file.retries.map_or(usual.retries, NonZeroU16::get),
        delay: file.delay.map_or(usual.delay, |text| text.0),
        timeout: file.timeout.map_or(usual.timeout, |text| text.0),
        basic_auth: file.basic_auth.map(|source| KeySource::from(source).resolved(home)),
        ca: file.ca.map(|path| home.join(path.0)),
        url: usual.url,
    })
}

pub(super) fn review(file: Option<ReviewFile>) -> Result<ReviewConfig, String> {
    let usual = ReviewConfig::default();
    let Some(file) = file else { return Ok(usual) };
    let time = |line: Option<Line>, usual: Setting<Duration>, key: &str| match line {
        None => Ok(usual),
        Some(line) => parse_kept(&line.0)
            .map(|time| Setting::new(time.unsigned_abs(), Origin::File))
            .map_err(|message| format!("`{key}`: {message}")),
    };
    let lifetime = time(file.lifetime, usual.lifetime, "lifetime")?;
    let max_lifetime = time(file.max_lifetime, usual.max_lifetime, "max_lifetime")?;
    if lifetime.value > max_lifetime.value || lifetime.value.is_zero() {
        return Err("`lifetime` is zero, or longer than `max_lifetime`; correct one".to_owned());
    }
    Ok(ReviewConfig {
        is_configured: true,
        home: file.home.map(|path| Setting::new(path.0, Origin::File)),
        lifetime,
        max_lifetime,
        deploy: resolve(file.deploy.unwrap_or_default(), Path::new("/"))?,
    })
}

#[cfg(test)]
#[path = "deploy_tests.rs"]
mod tests;
