//! Whether, and how, anonymized copies of other instances may be put into an instance.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::KeySource;
use super::value::{DurationText, InstanceName, Line, PlainPath};

/// How long a command may take if nothing is said.
const COMMAND_LIMIT: Duration = Duration::from_secs(1800);

/// Anonymized copies of other instances that may be put in the place of this one's data.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CloneFile {
    /// Which instances may be copied into this one.
    from: Vec<InstanceName>,
    /// File of rules. Not needed where copies come from another machine: they are there.
    rules: Option<PlainPath>,
    /// How the key of the pseudonyms is found. It belongs to this target and stays where the originals are.
    key: Option<KeySource>,
    /// Its name has to be typed before anything is replaced. Default: false.
    protected: Option<bool>,
    /// Lines that files of this instance must have, so that no mail reaches anybody, say.
    #[serde(default)]
    require: Vec<RequiredFile>,
    /// Where reports are left. Default: `clones` below the state directory.
    reports: Option<PlainPath>,
    /// Commands to run in the new database before it takes the place of the old one: program and arguments, in which
    /// `{database}` is its name. One that fails stops the copy.
    #[serde(default)]
    before_swap: Vec<Vec<Line>>,
    /// Commands to run once the copy is in its place.
    #[serde(default)]
    after: Vec<Vec<Line>>,
    /// How long each of these may take. Default: 30m.
    command_limit: Option<DurationText>,
}

/// A line that a file must have.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RequiredFile {
    /// The file, relative to `home`.
    file: PlainPath,
    /// A regular expression that one of its lines has to fit.
    matches: Line,
}

/// The same, resolved.
#[derive(Debug, Clone)]
pub struct CloneConfig {
    /// Which instances may be copied into this one.
    pub from: Vec<String>,
    /// File of rules; `None`: copies come from another machine.
    pub rules: Option<PathBuf>,
    /// How the key of the pseudonyms is found.
    pub key: Option<KeySource>,
    /// Its name has to be typed.
    pub is_protected: bool,
    /// Lines that files must have.
    pub require: Vec<RequiredLine>,
    /// Where reports are left.
    pub reports: Option<PathBuf>,
    /// Commands before the swap: program and arguments.
    pub before_swap: Vec<Vec<String>>,
    /// Commands after it.
    pub after: Vec<Vec<String>>,
    /// How long each of these may take.
    pub command_limit: Duration,
}

/// A line that a file must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredLine {
    /// The file, relative to the home or absolute.
    pub file: PathBuf,
    /// A regular expression.
    pub matches: String,
}

pub(super) fn resolve(file: CloneFile, home: &Path) -> CloneConfig {
    CloneConfig {
        from: file.from.into_iter().map(|name| name.0).collect(),
        rules: file.rules.map(|path| home.join(path.0)),
        key: file.key.map(|key| key.resolved(home)),
        is_protected: file.protected.unwrap_or(false),
        require: file
            .require
            .into_iter()
            .map(|required| RequiredLine { file: required.file.0, matches: required.matches.0 })
            .collect(),
        reports: file.reports.map(|path| home.join(path.0)),
        before_swap: commands(file.before_swap),
        after: commands(file.after),
        command_limit: file.command_limit.map_or(COMMAND_LIMIT, |limit| limit.0),
    }
}

/// Commands as words; empty ones say nothing.
fn commands(written: Vec<Vec<Line>>) -> Vec<Vec<String>> {
    let words = |command: Vec<Line>| command.into_iter().map(|word| word.0).collect::<Vec<_>>();
    written.into_iter().map(words).filter(|command| !command.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_homes() {
        let file: CloneFile = toml::from_str(
            "from = [\"prod\"]\nrules = \"rules.toml\"\nkey = { file = \"/etc/k\" }\n\
             require = [{ file = \".env\", matches = \"^EMAIL_HOST=mailpit\" }]",
        )
        .unwrap();
        let found = resolve(file, Path::new("/home/staging"));
        assert_eq!(found.rules.as_deref(), Some(Path::new("/home/staging/rules.toml")));
        assert_eq!((found.from.as_slice(), found.is_protected), (&["prod".to_owned()][..], false));
        assert_eq!((found.before_swap.len(), found.command_limit), (0, COMMAND_LIMIT));
        assert_eq!(found.require[0].file, Path::new(".env"));
        let file: CloneFile = toml::from_str("from = [\"prod\"]").unwrap();
        let found = resolve(file, Path::new("/home/staging"));
        assert!(found.rules.is_none() && found.key.is_none(), "they are on the other machine");
        for wrong in ["rules = \"r\"", "from = [\"X\"]\nrules = \"r\"\nkey = { file = \"k\" }"] {
            assert!(toml::from_str::<CloneFile>(wrong).is_err(), "{wrong}");
        }
    }
}
