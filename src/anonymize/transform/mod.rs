//! What makes a pseudonym of a value: one file each, with what it does, its options and its tests.
//!
//! A new one is a file with a [`Verb`], and a line in [`VERBS`]. Its tests hold it to the contract by
//! `testing::contract`: the same value gives the same pseudonym, of the right type, never the value
//! itself, and different ones for different values if it says so.

mod address;
mod array;
mod company;
mod constant;
mod date;
mod digits;
mod django_password;
mod email;
mod file;
mod iban;
mod ip;
mod json;
mod lorem;
mod name;
mod nir;
mod pattern;
mod phone;
mod short;
mod siret;
#[cfg(test)]
pub(crate) mod testing;
mod uuid;

use std::collections::BTreeSet;
use std::fmt::Debug;

use super::key::PseudonymKey;
use super::originals::{Gatherer, Originals};
use super::row::Cells;
use super::rule::Rule;
use super::schema::{Kind, Table};

pub use file::{Placeholder, PlaceholderKind, ending};
pub use iban::is_valid as is_valid_iban;
pub use json::{UnlistedKeys, list_paths};
pub use nir::check_key as nir_key;

/// All there are, in the order in which documents list them.
pub const VERBS: &[&Verb] = &[
    &name::VERB,
    &email::VERB,
    &phone::VERB,
    &address::VERB,
    &company::VERB,
    &date::SHIFT,
    &date::TRUNCATE,
    &date::BIRTH_MONTH,
    &nir::VERB,
    &iban::VERB,
    &siret::VERB,
    &digits::VERB,
    &pattern::VERB,
    &uuid::VERB,
    &ip::VERB,
    &json::VERB,
    &array::VERB,
    &lorem::VERB,
    &django_password::VERB,
    &file::VERB,
    &constant::SET,
    &constant::ERASE,
];

/// Makes a transformer, or says why it does not fit.
pub type Build = fn(&Rule<'_>, &Building<'_>) -> Result<Box<dyn Transformer>, String>;

/// A verb of the rules.
pub struct Verb {
    /// The key that chooses it.
    pub name: &'static str,
    /// The keys that may stand beside it, but for those that may stand anywhere.
    pub options: &'static [&'static str],
    /// Whether it draws pseudonyms that depend on a `domain`.
    pub has_domain: bool,
    /// Makes the transformer, or says why it does not fit.
    pub build: Build,
}

/// What a transformer is made for.
pub struct Building<'a> {
    /// The key of the pseudonyms.
    pub key: &'a PseudonymKey,
    /// `fr_FR`, ...
    pub locale: &'a str,
    /// What the column (or the elements of it) holds.
    pub kind: &'a Kind,
    /// Its table.
    pub table: &'a Table,
    /// Directories of files in which placeholders are made.
    pub roots: &'a BTreeSet<String>,
    /// What NULL and empty values become, where the rule does not say.
    pub defaults: super::rule::Defaults,
}

impl Building<'_> {
    /// An error unless the column holds text of at least `letters` letters.
    pub fn needs_text(&self, letters: usize) -> Result<Option<usize>, String> {
        match self.kind {
            Kind::Text(limit) if limit.is_none_or(|limit| limit >= letters) => Ok(*limit),
            Kind::Text(Some(limit)) => {
                Err(format!("it makes up to {letters} letters, and the column takes {limit}"))
            }
            _ => Err("it makes text, and the column holds something else".to_owned()),
        }
    }

    /// The place of a column of the same row.
    pub fn column(&self, name: &str) -> Result<usize, String> {
        let name = name.strip_prefix("row.").unwrap_or(name);
        self.table
            .position(name)
            .ok_or_else(|| format!("there is no column `{name}` in the same table"))
    }
}

/// How sure it is that different values get different pseudonyms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injective {
    /// They do.
    Always,
    /// They are drawn from 2 to the power of this.
    Bits(u32),
    /// Not at all.
    No,
}

impl Injective {
    /// Good enough for a unique index: two of a million values share a draw from 2^64 once in 37 million
    /// copies.
    pub const fn is_enough(self) -> bool {
        matches!(self, Self::Always | Self::Bits(64..))
    }
}

/// What of a value is looked for in everything that is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nothing.
    Nothing,
    /// All of it, also within text.
    Identifier,
    /// A first name: with its last name, or alone in free text.
    FirstName,
    /// A last name.
    LastName,
    /// Both.
    FullName,
    /// All of it, if it is long.
    Text,
}

/// Why a value is none for this transformer. Never says the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit(pub String);

impl From<&str> for Unfit {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// What was written to the output.
    Value,
    /// NULL.
    Null,
}

/// What a transformer may look at.
pub struct Place<'a> {
    /// The row.
    pub cells: &'a Cells,
    /// All values that were removed.
    pub originals: &'a Originals,
    /// Takes files that are to be made.
    pub files: &'a dyn FileSink,
}

/// Takes placeholders of files that rows name.
pub trait FileSink: Sync {
    /// A file at `path` below `root` is to be made.
    fn placeholder(&self, placeholder: Placeholder<'_>) -> Result<(), Unfit>;
}

/// Makes no files.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl FileSink for NoFiles {
    fn placeholder(&self, _: Placeholder<'_>) -> Result<(), Unfit> {
        Ok(())
    }
}

/// Where the first pass puts what it finds.
pub struct Survey<'a> {
    /// Takes originals.
    pub gatherer: &'a mut Gatherer,
    /// Takes keys of JSON that no rule names.
    pub unlisted: &'a mut UnlistedKeys,
}

/// Makes pseudonyms.
pub trait Transformer: Send + Sync + Debug {
    /// Appends the pseudonym of `value` to `out`, which is empty.
    fn apply(&self, value: &str, place: &Place<'_>, out: &mut String) -> Result<Made, Unfit>;

    /// Takes note of a value before anything is made: what of it is looked for later, and whether it is
    /// one that can be transformed at all.
    fn survey(&self, value: &str, survey: &mut Survey<'_>) -> Result<(), Unfit> {
        survey.gatherer.take(self.class(), value);
        Ok(())
    }

    /// What of a value is looked for in everything that is copied.
    fn class(&self) -> Class;

    /// Whether different values get different pseudonyms.
    fn injective(&self) -> Injective {
        Injective::No
    }

    /// Whether a value may come out as it went in: that of a date cut to its month, a constant.
    fn may_stay(&self) -> bool {
        false
    }

    /// Columns of the row whose pseudonyms have to be made first.
    fn after(&self) -> Vec<usize> {
        Vec::new()
    }

    /// Columns of the row whose originals it looks at.
    fn looks_at(&self) -> Vec<usize> {
        Vec::new()
    }
}

/// How often a draw that gave what it must not is made again.
pub const ATTEMPTS: u32 = 1000;

/// The verb of this name.
pub fn verb(name: &str) -> Option<&'static Verb> {
    VERBS.iter().copied().find(|verb| verb.name == name)
}

/// The first `limit` letters.
pub fn cut(text: &mut String, limit: Option<usize>) {
    if let Some(limit) = limit
        && text.len() > limit
        && let Some((at, _)) = text.char_indices().nth(limit)
    {
        text.truncate(at);
    }
}
