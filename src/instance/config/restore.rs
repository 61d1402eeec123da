//! How databases are restored and restores are proven.

use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Span, SpanRelativeTo};
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{Line, PlainPath};
use super::{Origin, Setting};

/// How databases are restored and restores are proven.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreFile {
    /// How long a database that a restore replaced is kept for `undo` (`7d`, `12h`). Default: 7d.
    #[schemars(with = "Option<String>")]
    keep_replaced: Option<Kept>,
    /// Sessions at once. Default: 2.
    jobs: Option<NonZeroU8>,
    /// For each database: SQL that gives one row with `true` when all is well.
    assertions: Option<BTreeMap<String, Vec<Line>>>,
    /// Where a test restore has its throw-away server: on tmpfs or an encrypted disk. Default: beside the
    /// state directory.
    scratch_directory: Option<PlainPath>,
    /// Where the throw-away server's programs are. Default: what is installed.
    scratch_bin_dir: Option<PlainPath>,
}

/// A time that something is kept; a day is 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Kept(SignedDuration);

impl TryFrom<String> for Kept {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        parse_kept(&text).map(Self)
    }
}

/// `7d`, `36h`: how long something is kept.
pub fn parse_kept(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("`{}` is no time; write it like `7d` or `12h`", text.escape_debug());
    let span: Span = text.parse().map_err(|_| wrong())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    if duration.is_negative() {
        return Err(wrong());
    }
    Ok(duration)
}

/// The same, resolved.
#[derive(Debug, Clone)]
pub struct RestoreConfig {
    /// How long a replaced database is kept.
    pub keep_replaced: Setting<SignedDuration>,
    /// Sessions at once.
    pub jobs: Setting<u8>,
    /// For each database, SQL that has to be true.
    pub assertions: Setting<BTreeMap<String, Vec<String>>>,
    /// Where the throw-away server lives.
    pub scratch_directory: Option<Setting<PathBuf>>,
    /// Where its programs are.
    pub scratch_bin_dir: Option<Setting<PathBuf>>,
}

/// What holds where nothing is said.
const KEEP: SignedDuration = SignedDuration::from_hours(7 * 24);
/// See [`RestoreConfig::jobs`].
const JOBS: u8 = 2;

impl Default for RestoreConfig {
    fn default() -> Self {
        resolve(RestoreFile::default(), None, Path::new("/"))
    }
}

pub(super) fn resolve(
    own: RestoreFile,
    defaults: Option<&RestoreFile>,
    home: &Path,
) -> RestoreConfig {
    let none = RestoreFile::default();
    let defaults = defaults.unwrap_or(&none);
    fn setting<T>(value: Option<T>, default: T) -> Setting<T> {
        match value {
            Some(value) => Setting::new(value, Origin::File),
            None => Setting::new(default, Origin::Default),
        }
    }
    let path = |own: Option<PlainPath>, default: &Option<PlainPath>| {
        own.or_else(|| default.clone()).map(|path| Setting::new(home.join(path.0), Origin::File))
    };
    let assertions = own.assertions.or_else(|| defaults.assertions.clone()).map(|all| {
        let lines = |lines: Vec<Line>| lines.into_iter().map(|line| line.0).collect();
        all.into_iter().map(|(database, sql)| (database, lines(sql))).collect()
    });
    RestoreConfig {
        keep_replaced: setting(
            own.keep_replaced.or(defaults.keep_replaced).map(|kept| kept.0),
            KEEP,
        ),
        jobs: setting(own.jobs.or(defaults.jobs).map(NonZeroU8::get), JOBS),
        assertions: setting(assertions, BTreeMap::new()),
        scratch_directory: path(own.scratch_directory, &defaults.scratch_directory),
        scratch_bin_dir: path(own.scratch_bin_dir, &defaults.scratch_bin_dir),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_days() {
        assert_eq!(parse_kept("7d"), Ok(KEEP));
        assert_eq!(parse_kept("90m"), Ok(SignedDuration::from_mins(90)));
        for wrong in ["", "7", "-1d", "soon"] {
            assert!(parse_kept(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn own_values_come_before_defaults() {
        let read = |text: &str| toml::from_str::<RestoreFile>(text).unwrap();
        let defaults = read("keep_replaced = \"2d\"\njobs = 4\nscratch_directory = \"scratch\"");
        let own = read("jobs = 3\n[assertions]\nmrs = [\"SELECT true\"]");
        let found = resolve(own, Some(&defaults), Path::new("/srv/app"));
        assert_eq!(found.jobs, Setting::new(3, Origin::File));
        assert_eq!(found.keep_replaced.value, SignedDuration::from_hours(48));
        assert_eq!(found.scratch_directory.unwrap().value, Path::new("/srv/app/scratch"));
        assert_eq!(found.assertions.value["mrs"], ["SELECT true"]);
        assert_eq!(RestoreConfig::default().jobs, Setting::new(2, Origin::Default));
        assert!(toml::from_str::<RestoreFile>("job = 3").is_err());
        assert!(toml::from_str::<RestoreFile>("jobs = 0").is_err());
    }
}
