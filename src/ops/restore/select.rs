//! Which entries of a snapshot a restore takes.

use crate::source::files::Excludes;

use super::{RestoreError, RestoreOptions};

/// Include and exclude patterns, ready to be asked.
pub(super) struct Selection {
    include: Option<Excludes>,
    exclude: Excludes,
}

impl Selection {
    pub fn new(options: &RestoreOptions) -> Result<Self, RestoreError> {
        let compile = |patterns: &[String]| {
            Excludes::new(patterns).map_err(|error| RestoreError::Pattern(error.to_string()))
        };
        let include = match options.include.as_slice() {
            [] => None,
            patterns => Some(compile(patterns)?),
        };
        Ok(Self { include, exclude: compile(&options.exclude)? })
    }

    /// Whether the entry is left out with all below it.
    pub fn is_excluded(&self, path: &[u8], is_directory: bool) -> bool {
        self.exclude.is_excluded(path, is_directory)
    }

    /// Whether the entry itself is wanted, given that its directory is (`parent_wanted`).
    pub fn is_wanted(&self, path: &[u8], is_directory: bool, parent_wanted: bool) -> bool {
        parent_wanted
            || self.include.as_ref().is_none_or(|include| include.is_excluded(path, is_directory))
    }
}
