//! Request and configuration, brought together.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;

use crate::compose::{Override, Patterns, Project, Redactor, Source, asked_for};
use crate::instance::config::{DeployConfig, HttpCheckConfig, Migrations, OnFailure};

use super::DeployError;
use super::request::Request;

/// All that a deployment does, settled.
#[derive(Debug, Clone)]
pub struct DeploySettings {
    /// Name of the instance, for the lock and its snapshots.
    pub name: String,
    /// The project and its home.
    pub project: Project,
    /// The compose files and what they may use.
    pub source: Source,
    /// Variables that must be set.
    pub require: Vec<String>,
    /// Changes of the merged document: those of the configuration first.
    pub overrides: Vec<Override>,
    /// Pull images first.
    pub pull: bool,
    /// Build images first.
    pub build: bool,
    /// A line of the logs to wait for.
    pub wait_grep: Option<Regex>,
    /// Lines of shell.
    pub postdeploy: Vec<String>,
    /// How long to wait for health, and for the line.
    pub timeout: Duration,
    /// A page that has to be there.
    pub check: Option<HttpCheckConfig>,
    /// How applied migrations are known.
    pub migrations: Migrations,
    /// What follows a failure.
    pub on_failure: OnFailure,
    /// How many deployments are remembered.
    pub keep: usize,
}

/// The surroundings of the command.
pub struct Surroundings<'a> {
    /// The directory it was called in.
    pub directory: &'a Path,
    /// All environment variables.
    pub variables: Vec<(OsString, OsString)>,
    /// A directory of our own for copies; need not be there.
    pub scratch: PathBuf,
}

impl DeploySettings {
    /// The request before the configuration.
    pub fn settle(
        name: &str,
        project: Project,
        request: &Request,
        config: &DeployConfig,
        around: Surroundings<'_>,
    ) -> Result<Self, DeployError> {
        let directory =
            config.directory.as_ref().map_or(around.directory, |setting| &setting.value);
        let base = if request.compose.is_some() { around.directory } else { directory };
        let written =
            request.compose.clone().or_else(|| config.compose.clone().map(|files| files.value));
        let files = written.unwrap_or_else(|| vec!["docker-compose.yml".into()]);
        let files: Vec<PathBuf> =
            files.iter().map(|file| base.join(file).components().collect()).collect();
        let patterns = match &config.env {
            Some(names) => Patterns::new(names.value.clone()),
            // Files that name a variable mean it.
            None => Patterns::new(asked_for(&files)?),
        };
        let variables = patterns.choose(around.variables);
        let mut overrides: Vec<Override> = config
            .overrides
            .value
            .iter()
            .filter_map(|(key, value)| Override::of(key, value))
            .collect();
        overrides.extend(request.overrides.iter().cloned());
        let wait_grep =
            request.wait_grep.clone().or_else(|| config.wait_grep.clone().map(|text| text.value));
        Ok(Self {
            name: name.to_owned(),
            project,
            source: Source { files, variables, scratch: around.scratch },
            require: config.require_env.value.clone(),
            overrides,
            pull: request.pull.unwrap_or(config.pull.value),
            build: request.build.unwrap_or(config.build.value),
            // It was looked at when it was read.
            wait_grep: wait_grep
                .filter(|text| !text.is_empty())
                .and_then(|text| Regex::new(&text).ok()),
            postdeploy: request
                .postdeploy
                .clone()
                .unwrap_or_else(|| config.postdeploy.value.clone()),
            timeout: request.timeout.unwrap_or(config.timeout.value),
            check: check(request, config)?,
            migrations: config.migrations.value.clone(),
            on_failure: config.on_failure.value,
            keep: config.keep.value,
        })
    }

    /// What must not be told, as far as it is known by now.
    pub fn redactor(&self) -> Redactor {
        let mut redactor = Redactor::new();
        redactor.learn_variables(&self.source.variables);
        redactor
    }

    /// Required variables that are not set, or set to nothing.
    pub fn missing(&self) -> Vec<String> {
        let is_set =
            |name: &String| self.source.variables.get(name).is_some_and(|value| !value.is_empty());
        self.require.iter().filter(|name| !is_set(name)).cloned().collect()
    }
}

fn check(request: &Request, config: &DeployConfig) -> Result<Option<HttpCheckConfig>, DeployError> {
    let mut check = config.check.as_ref().map(|setting| setting.value.clone());
    if let Some(url) = &request.check {
        let is_address = reqwest::Url::parse(url).is_ok_and(|url| {
            url.has_host() && matches!(url.scheme(), "http" | "https") && url.password().is_none()
        });
        if url.is_empty() {
            check = None;
        } else if is_address {
            check = Some(match check {
                Some(known) => HttpCheckConfig { url: url.clone(), ..known },
                None => HttpCheckConfig::of(url.clone()),
            });
        } else {
            return Err(DeployError::request(
                "`check` is no address",
                "write check=https://www.example.org/ ; user and password belong into the configuration",
            ));
        }
    }
    if let (Some(check), Some(status)) = (&mut check, request.check_status) {
        check.status = status;
    }
    Ok(check)
}
