//! What flags and environment variables say about repository and key.

use std::ffi::OsString;
use std::path::PathBuf;

use super::diagnose::ConfigError;
use super::{Config, Environment, Instance, KeySource, Origin, Repository, Setting};

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--repository`.
    pub repository: Option<String>,
    /// `--password-file`, `--key-file` and the like.
    pub key: Option<KeySource>,
}

/// How to come into a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Where it is.
    pub repository: Option<Setting<Repository>>,
    /// How its key is found. `None`: it has to be asked for.
    pub key: Option<Setting<KeySource>>,
}

/// How a variable leads to a key.
#[derive(Debug, Clone, Copy)]
enum Way {
    Password,
    File,
    Command,
    KeyFile,
}

type Variable = (&'static str, Way);

const OURS: [Variable; 4] = [
    ("MRS_BACKUP_PASSWORD", Way::Password),
    ("MRS_BACKUP_PASSWORD_FILE", Way::File),
    ("MRS_BACKUP_PASSWORD_COMMAND", Way::Command),
    ("MRS_BACKUP_KEY_FILE", Way::KeyFile),
];
const LEGACY: [Variable; 3] = [
    ("RESTIC_PASSWORD", Way::Password),
    ("RESTIC_PASSWORD_FILE", Way::File),
    ("RESTIC_PASSWORD_COMMAND", Way::Command),
];
const OUR_REPOSITORY: &str = "MRS_BACKUP_REPOSITORY";
const LEGACY_REPOSITORY: &str = "RESTIC_REPOSITORY";
/// Where an older script of ours left its dumps.
const STANDARD_DUMP: &str = "POSTGRES_BACKUP";

impl Access {
    /// Flags before our variables before legacy ones, for repository and key each.
    pub fn gather(flags: &Flags, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let repository = match &flags.repository {
            Some(text) => Some(Setting::new(Repository::new(text), Origin::Flag)),
            None => match repository(OUR_REPOSITORY, Origin::Environment, environment)? {
                Some(found) => Some(found),
                None => repository(LEGACY_REPOSITORY, Origin::Legacy, environment)?,
            },
        };
        let key = match &flags.key {
            Some(key) => Some(Setting::new(key.clone(), Origin::Flag)),
            None => match key(&OURS, Origin::Environment, environment)? {
                Some(found) => Some(found),
                None => key(&LEGACY, Origin::Legacy, environment)?,
            },
        };
        Ok(Self { repository, key })
    }
}

impl Instance {
    /// The instance with `access`, where that says something, before the file.
    #[must_use]
    pub fn with(mut self, access: &Access) -> Self {
        if let Some(repository) = &access.repository {
            self.repository = repository.clone();
        }
        if let Some(key) = &access.key {
            self.key = Some(key.clone());
        }
        self
    }

    /// What environment variables say instead of the file, a sentence each: most often they are left over from
    /// something else.
    pub fn overridden_by(&self, access: &Access) -> Vec<String> {
        let variable = |origin| match origin {
            Origin::Environment(name) | Origin::Legacy(name) => Some(name),
            Origin::Flag | Origin::File | Origin::Default => None,
        };
        let mut told = Vec::new();
        let mut tell = |name: &str, what: &str, used: String, instead: String| {
            told.push(format!(
                "{name} is set: {what} is {used}, not {instead} as the configuration says; unset it if that is not meant"
            ));
        };
        if let Some(repository) = &access.repository
            && repository.value != self.repository.value
            && let Some(name) = variable(repository.origin)
        {
            let instead = self.repository.value.to_string();
            tell(name, "the repository", repository.value.to_string(), instead);
        }
        if let (Some(key), Some(own)) = (&access.key, &self.key)
            && key.value != own.value
            && let Some(name) = variable(key.origin)
        {
            tell(name, "what opens it", key.value.to_string(), own.value.to_string());
        }
        told
    }

    /// How to come into its repository.
    pub fn access(&self) -> Access {
        Access { repository: Some(self.repository.clone()), key: self.key.clone() }
    }
}

fn error(names: &str, message: impl Into<String>) -> ConfigError {
    ConfigError::Environment { names: names.to_owned(), message: message.into() }
}

/// A variable that is set to nothing is as good as not set.
fn get(name: &str, environment: Environment<'_>) -> Option<OsString> {
    environment(name).filter(|value| !value.is_empty())
}

fn repository(
    name: &'static str,
    origin: fn(&'static str) -> Origin,
    environment: Environment<'_>,
) -> Result<Option<Setting<Repository>>, ConfigError> {
    let Some(value) = get(name, environment) else { return Ok(None) };
    let text =
        value.into_string().map_err(|_| error(name, "it is not UTF-8; set a path that is"))?;
    Ok(Some(Setting::new(Repository::new(text), origin(name))))
}

fn key(
    variables: &[Variable],
    origin: fn(&'static str) -> Origin,
    environment: Environment<'_>,
) -> Result<Option<Setting<KeySource>>, ConfigError> {
    let set: Vec<(Variable, OsString)> = variables
        .iter()
        .filter_map(|variable| Some((*variable, get(variable.0, environment)?)))
        .collect();
    if set.len() > 1 {
        let names: Vec<&str> = set.iter().map(|((name, _), _)| *name).collect();
        return Err(error(&names.join(" and "), "only one of them may be set; unset the others"));
    }
    let Some(((name, way), value)) = set.into_iter().next() else { return Ok(None) };
    let source = match way {
        Way::Password => KeySource::Env(name.to_owned()),
        Way::File => KeySource::File(PathBuf::from(value)),
        Way::KeyFile => KeySource::KeyFile(PathBuf::from(value)),
        Way::Command => KeySource::Command(
            value.to_str().and_then(split_words).filter(|argv| !argv.is_empty()).ok_or_else(
                || {
                    error(
                        name,
                        "it is no command; write a program and its arguments, with closed quotes",
                    )
                },
            )?,
        ),
    };
    Ok(Some(Setting::new(source, origin(name))))
}

/// Words as a shell would split them, but nothing else a shell does. `None` if a quote stays open.
pub fn split_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(characters.next()?),
            (None, _) if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// What to tell about the old variable for unencrypted dumps: alone it never makes one.
pub(super) fn standard_dump_warning(
    config: &Config,
    environment: Environment<'_>,
) -> Option<String> {
    let wanted = PathBuf::from(get(STANDARD_DUMP, environment)?);
    let is_configured = config.instances.values().any(|instance| {
        let dump = instance.postgres.as_ref().and_then(|postgres| postgres.standard_dump.as_ref());
        dump.is_some_and(|dump| dump.value == wanted)
    });
    Some(match is_configured {
        true => format!(
            "{STANDARD_DUMP} is an old name and no longer needed: `standard_dump` in {} says the same; unset it",
            config.path.display()
        ),
        false => format!(
            "{STANDARD_DUMP}={} is ignored: an unencrypted dump is only left where `postgres.standard_dump` in {} says so",
            wanted.display(),
            config.path.display()
        ),
    })
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
