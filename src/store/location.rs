//! Locations: where a store is, as errors print it.

use std::fmt;
use std::path::Path;

/// Where a store is, fit to print: a password is never part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(String);

impl Location {
    /// A directory.
    pub fn directory(path: &Path) -> Self {
        Self(path.display().to_string())
    }

    /// A place with a made-up name (memory, tests), or one whose text holds nothing secret.
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
