//! Which repository is meant, how it is opened, and where state is kept.

use std::path::{Path, PathBuf};

use crate::instance::config::{
    Access, Config, ConfigError, Flags, Instance, KeySource, Origin, Setting, process_environment,
    split_words,
};

use crate::store::Written;

use super::CliError;
use super::args::Global;

const STATE_DIR: &str = "MRS_BACKUP_STATE_DIR";
const SYSTEMD_STATE_DIR: &str = "STATE_DIRECTORY";

/// All that was said by flags, environment and file.
#[derive(Debug)]
pub struct Sources {
    /// The file, if there is one.
    pub config: Option<Config>,
    /// What flags and environment say.
    pub access: Access,
    state_dir: Option<PathBuf>,
}

/// What holds for one repository.
#[derive(Debug)]
pub struct Settings {
    /// Its instance in the configuration, with flags and environment applied.
    pub instance: Option<Instance>,
    /// Where the repository is.
    pub location: String,
    /// Who can read what the location says.
    pub written: Written,
    /// How it is opened. `None`: it has to be asked for.
    pub key: Option<Setting<KeySource>>,
    /// Must be a mount point.
    pub require_mount: Option<PathBuf>,
    /// Where indexes and locks are kept.
    pub state_dir: PathBuf,
    /// What environment variables say instead of the file.
    pub overridden: Vec<String>,
}

impl Sources {
    /// Reads all of them.
    pub fn gather(global: &Global) -> Result<Self, CliError> {
        let flags = Flags { repository: global.repo.clone(), key: key_flag(global)? };
        let access = Access::gather(&flags, &process_environment)?;
        let config = match Config::find(global.config.as_deref(), &process_environment) {
            None => None,
            Some(path) => match Config::load(&path.value, &process_environment) {
                Ok(config) => Some(config),
                // The machine's own file is not for everybody's eyes, and was not asked for.
                Err(ConfigError::Unreadable { .. })
                    if path.origin == Origin::Default && access.repository.is_some() =>
                {
                    None
                }
                Err(error) => return Err(error.into()),
            },
        };
        Ok(Self { config, access, state_dir: global.state_dir.clone() })
    }

    /// What holds for instance `name`; without a name, for the repository that was named, or else
    /// for the only instance there is.
    pub fn settle(&self, name: Option<&str>) -> Result<Settings, CliError> {
        let instance = match (&self.config, name) {
            (Some(config), Some(name)) => match config.instance(name) {
                Ok(instance) => Some(instance),
                // Then the name only tells which snapshots are meant.
                Err(_) if self.access.repository.is_some() => None,
                Err(error) => return Err(error.into()),
            },
            (Some(config), None) if self.access.repository.is_none() => Some(only(config)?),
            _ => None,
        };
        let overridden =
            instance.map(|instance| instance.overridden_by(&self.access)).unwrap_or_default();
        let instance = instance.cloned().map(|instance| instance.with(&self.access));
        let access = instance.as_ref().map_or_else(|| self.access.clone(), Instance::access);
        let Some(repository) = access.repository else {
            return Err(CliError::usage_hint(
                "no repository is named",
                "use --repo LOCATION or MRS_BACKUP_REPOSITORY, or write a configuration (mrs-backup config --help)",
            ));
        };
        // A mount point of the file says nothing about a repository named elsewhere.
        let require_mount = instance
            .as_ref()
            .filter(|_| repository.origin == Origin::File || repository.origin == Origin::Default)
            .and_then(|instance| instance.require_mount.as_ref())
            .map(|mount| mount.value.clone());
        Ok(Settings {
            location: repository.value.as_str().to_owned(),
            written: match repository.origin {
                Origin::Flag => Written::InArguments,
                _ => Written::Privately,
            },
            key: access.key,
            require_mount,
            state_dir: self.state_dir()?,
            instance,
            overridden,
        })
    }

    /// The flag, our variable, the file, systemd's, or the usual place.
    pub fn state_dir(&self) -> Result<PathBuf, CliError> {
        Ok(self.state_dir_setting()?.value)
    }

    /// The state directory, and who says so.
    pub fn state_dir_setting(&self) -> Result<Setting<PathBuf>, CliError> {
        let variable = |name: &str| {
            std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let flag = self.state_dir.clone().map(|dir| Setting::new(dir, Origin::Flag));
        let ours = || Some(Setting::new(variable(STATE_DIR)?, Origin::Environment(STATE_DIR)));
        if let Some(Setting { value, origin }) = flag.or_else(ours) {
            return match std::path::absolute(&value) {
                Ok(dir) => Ok(Setting::new(dir, origin)),
                Err(error) => Err(CliError::StateDir { path: value, reason: error.to_string() }),
            };
        }
        let of_file = self.config.as_ref().map(|config| &config.state_dir);
        if let Some(dir) = of_file.filter(|dir| dir.origin == Origin::File) {
            return Ok(dir.clone());
        }
        // systemd lists several with colons; the first one is ours as well as any.
        if let Some(dirs) = variable(SYSTEMD_STATE_DIR)
            && let Some(first) = std::env::split_paths(&dirs).next()
        {
            return Ok(Setting::new(first, Origin::Environment(SYSTEMD_STATE_DIR)));
        }
        let usual = |dir| Ok(Setting::new(dir, Origin::Default));
        if rustix::process::geteuid().is_root() {
            return usual(PathBuf::from(crate::instance::config::DEFAULT_STATE_DIR));
        }
        variable("XDG_STATE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
            .filter(|base| base.is_absolute())
            .map_or_else(
                || Err(CliError::usage_hint("there is no place for state", "use --state-dir DIR")),
                |base| usual(base.join("mrs-backup")),
            )
    }
}

fn only(config: &Config) -> Result<&Instance, CliError> {
    let mut instances = config.instances.values();
    match (instances.next(), instances.next()) {
        (Some(instance), None) => Ok(instance),
        (None, _) => Err(CliError::usage_hint(
            format!("{} has no instance", config.path.display()),
            "add [instance.NAME], or use --repo LOCATION",
        )),
        (Some(_), Some(_)) => Err(CliError::usage_hint(
            "there are several instances, and none is named",
            format!("use --instance NAME with one of: {}", names(config)),
        )),
    }
}

/// The names of all instances.
pub fn names(config: &Config) -> String {
    config.instances.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// The key the flags name; clap saw to it that there is one at most.
fn key_flag(global: &Global) -> Result<Option<KeySource>, CliError> {
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map_err(|error| CliError::io(format!("find {}", path.display()), &error))
    };
    if let Some(path) = &global.password_file {
        return Ok(Some(KeySource::File(absolute(path)?)));
    }
    if let Some(path) = &global.key_file {
        return Ok(Some(KeySource::KeyFile(absolute(path)?)));
    }
    let Some(command) = &global.password_command else { return Ok(None) };
    match split_words(command).filter(|words| !words.is_empty()) {
        Some(words) => Ok(Some(KeySource::Command(words))),
        None => Err(CliError::usage_hint(
            "--password-command is no command",
            "close its quotes: --password-command 'pass show mrs'",
        )),
    }
}
