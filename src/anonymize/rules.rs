//! The file of rules, as it is written: TOML, everything denied that it does not name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use toml::{Table, Value};

use super::originals::Classes;
use super::rule::{Defaults, Missing, nearest};

/// Version of the form.
const VERSION: i64 = 1;
/// Longest file read, in bytes.
pub const LONGEST_FILE: u64 = 16 << 20;

/// Why a file holds no rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// It cannot be read.
    #[error("cannot read the rules {}: {reason}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Something in it is wrong.
    #[error("{}{}: {message}", path.display(), line.map_or_else(String::new, |line| format!(":{line}")))]
    Invalid {
        /// Which.
        path: PathBuf,
        /// Where.
        line: Option<usize>,
        /// What.
        message: String,
    },
}

/// What the copy may go into.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetRules {
    /// A regular expression that the name of the target has to fit.
    pub must_match: Option<String>,
}

/// What becomes of a directory's files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRules {
    /// Why nothing of it is copied.
    pub drop: Option<String>,
    /// Files that rows name are made anew there; the others are not copied.
    #[serde(default)]
    pub placeholders: bool,
    /// Files that are copied as they are: a pattern, and why.
    #[serde(default)]
    pub keep: BTreeMap<String, String>,
}

/// Which rows of a table are copied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubsetRules {
    /// Those for which this is true.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// And those that copied rows of other tables reference.
    #[serde(default)]
    pub referenced: bool,
    /// Columns that become NULL if what they reference is not copied.
    #[serde(default)]
    pub erase: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: i64,
    #[serde(default)]
    locale: Option<String>,
    #[serde(default)]
    leak_scan: Option<Vec<String>>,
    #[serde(default)]
    defaults: WrittenDefaults,
    #[serde(default)]
    truncate: Vec<String>,
    #[serde(default)]
    large_objects: Option<String>,
    #[serde(default)]
    target: TargetRules,
    #[serde(default)]
    assertions: Vec<String>,
    #[serde(default)]
    quasi_identifiers: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    subset: BTreeMap<String, SubsetRules>,
    #[serde(default)]
    table: BTreeMap<String, Table>,
    #[serde(default)]
    files: BTreeMap<String, FileRules>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenDefaults {
    null: Option<String>,
    empty: Option<String>,
}

/// Rules, read.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The file.
    pub path: PathBuf,
    /// The first 64 bits of its SHA-256.
    pub fingerprint: String,
    /// Whose names are made up.
    pub locale: String,
    /// What is looked for.
    pub scanned: Classes,
    /// What holds for columns that do not say it.
    pub defaults: Defaults,
    /// Tables of which no row is copied.
    pub truncate: Vec<String>,
    /// Large objects are copied without their bytes.
    pub empties_large_objects: bool,
    /// What the copy may go into.
    pub target: TargetRules,
    /// SQL that has to be true in the copy.
    pub assertions: Vec<String>,
    /// Columns of a table by which somebody could be found together.
    pub quasi_identifiers: BTreeMap<String, Vec<String>>,
    /// Which rows of tables are copied that are not copied whole.
    pub subset: BTreeMap<String, SubsetRules>,
    /// The rules of columns, by table.
    pub tables: BTreeMap<String, BTreeMap<String, Table>>,
    /// What becomes of files, by directory.
    pub files: BTreeMap<String, FileRules>,
}

impl Rules {
    /// Directories in which placeholders are made.
    pub fn placeholder_roots(&self) -> BTreeSet<String> {
        let made = self.files.iter().filter(|(_, rule)| rule.placeholders);
        made.map(|(name, _)| name.clone()).collect()
    }

    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<Self, RulesError> {
        let unreadable = |reason: String| RulesError::Unreadable { path: path.to_owned(), reason };
        let len = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if len > LONGEST_FILE {
            return Err(unreadable(format!("it has {len} bytes, more than {LONGEST_FILE}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Self::parse(&text, path)
    }

    /// Reads `text`, the content of the file at `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, RulesError> {
        let invalid = |line, message| RulesError::Invalid { path: path.to_owned(), line, message };
        let written: Written = toml::from_str(text).map_err(|error| {
            let line = error.span().and_then(|span| text.get(..span.start));
            let line = line.map(|before| before.matches('\n').count() + 1);
            invalid(line, readable(error.message()))
        })?;
        if written.version != VERSION {
            let message = format!("version {} is not known here, only {VERSION}", written.version);
            return Err(invalid(None, message));
        }
        let refuse = |message: String| invalid(None, message);
        let null = written.defaults.null.as_deref().map(Missing::of_null).transpose();
        let empty = written.defaults.empty.as_deref().map(Missing::of_empty).transpose();
        let defaults = Defaults {
            null: null.map_err(|error| refuse(format!("[defaults]: {error}")))?,
            empty: empty.map_err(|error| refuse(format!("[defaults]: {error}")))?,
        };
        let mut tables = BTreeMap::new();
        for (table, columns) in written.table {
            tables.insert(table.clone(), columns_of(&table, columns).map_err(refuse)?);
        }
        let empties_large_objects = match written.large_objects.as_deref() {
            None => false,
            Some("empty") => true,
            Some(_) => return Err(refuse("`large_objects` can only be `empty`".to_owned())),
        };
        let digest: String =
            Sha256::digest(text.as_bytes()).iter().take(8).map(|b| format!("{b:02x}")).collect();
        Ok(Self {
            path: path.to_owned(),
            fingerprint: format!("sha256:{digest}"),
            locale: locale(written.locale).map_err(refuse)?,
            scanned: scanned(written.leak_scan).map_err(refuse)?,
            defaults,
            truncate: written.truncate,
            empties_large_objects,
            target: written.target,
            assertions: written.assertions,
            quasi_identifiers: written.quasi_identifiers,
            subset: written.subset,
            tables,
            files: written.files,
        })
    }
}

fn columns_of(table: &str, columns: Table) -> Result<BTreeMap<String, Table>, String> {
    let mut rules = BTreeMap::new();
    for (column, rule) in columns {
        let Value::Table(rule) = rule else {
            return Err(format!("[table.{table}] {column}: a rule is written {{ verb = ... }}"));
        };
        rules.insert(column, rule);
    }
    Ok(rules)
}

fn locale(written: Option<String>) -> Result<String, String> {
    let known = ["fr_FR", "en_GB", "en_US"];
    let locale = written.unwrap_or_else(|| "fr_FR".to_owned());
    match known.contains(&locale.as_str()) {
        true => Ok(locale),
        false => Err(format!(
            "`locale = \"{locale}\"` is not known; {}",
            nearest(&locale, known.into_iter())
        )),
    }
}

fn scanned(written: Option<Vec<String>>) -> Result<Classes, String> {
    let Some(written) = written else { return Ok(Classes { identifiers: true, names: true }) };
    let mut classes = Classes { identifiers: false, names: false };
    for class in written {
        match class.as_str() {
            "identifiers" => classes.identifiers = true,
            "names" => classes.names = true,
            other => {
                let hint = nearest(other, ["identifiers", "names"].into_iter());
                return Err(format!("`leak_scan` does not know `{other}`; {hint}"));
            }
        }
    }
    Ok(classes)
}

fn readable(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let mut parts = rest.split('`').step_by(2);
        let unknown = parts.next().unwrap_or_default();
        let known = rest.split('`').skip(2).step_by(2);
        return format!("unknown key `{unknown}`; {}", nearest(unknown, known));
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Rules, String> {
        Rules::parse(text, Path::new("rules.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn rules_are_read() {
        let rules = read(
            "version = 1\nleak_scan = [\"names\"]\ntruncate = [\"django_session\"]\n\
             [defaults]\nnull = \"keep\"\n[target]\nmust_match = \"staging\"\n\
             [table.person]\nnir = { nir = \"fpe\" }\n[table.person.data.json]\na = { drop = \"x\" }\n\
             [files.uploads]\nplaceholders = true",
        )
        .unwrap();
        assert_eq!(rules.scanned, Classes { identifiers: false, names: true });
        assert_eq!(rules.defaults, Defaults { null: Some(Missing::Keep), empty: None });
        assert_eq!(rules.tables["person"].keys().collect::<Vec<_>>(), ["data", "nir"]);
        assert!(rules.files["uploads"].placeholders);
        assert_eq!((rules.locale.as_str(), rules.fingerprint.len()), ("fr_FR", 23));
    }

    #[test]
    fn mistakes_are_told_with_their_line_and_what_was_meant() {
        for (text, why) in [
            ("version = 2", "version 2 is not known"),
            (
                "version = 1\ntruncat = []",
                "rules.toml:2: unknown key `truncat`; did you mean `truncate`?",
            ),
            ("version = 1\n[table.x]\na = 5", "[table.x] a: a rule is written"),
            ("version = 1\nleak_scan = [\"nmes\"]", "did you mean `names`?"),
            ("version = 1\nlocale = \"xx\"", "is not known"),
            ("version = 1\n[defaults]\nempty = \"x\"", "`empty` is `keep`"),
            ("version = 1\n[files.x]\nkep = {}", "did you mean `keep`?"),
            ("version = 1\n[table", "rules.toml:2:"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
