//! Finding entries of a snapshot by name, path, kind and age.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use jiff::Timestamp;

use crate::event::StopFlag;
use crate::repository::Fetcher;
use crate::snapshot::{Node, NodeKind, Snapshot};

use super::browse::{BrowseError, Located, walk};

/// What to look for; everything given must fit.
#[derive(Debug, Clone, Default)]
pub struct FindOptions {
    /// Globs, of which one must fit; none: everything fits. One with a `/` must fit the whole path in the tree
    /// (a `/` it begins with is ignored, `**` passes over directories), any other the name.
    pub patterns: Vec<String>,
    /// Whether `A` is `a`.
    pub ignore_case: bool,
    /// Modified at this time or later.
    pub newer: Option<Timestamp>,
    /// Modified before this time.
    pub older: Option<Timestamp>,
    /// Of this kind.
    pub kind: Option<NodeKind>,
}

struct Filter<'o> {
    options: &'o FindOptions,
    names: GlobSet,
    paths: GlobSet,
}

impl<'o> Filter<'o> {
    fn new(options: &'o FindOptions) -> Result<Self, BrowseError> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in &options.patterns {
            let failed = |error: globset::Error| BrowseError::Pattern {
                pattern: super::display::display_path(pattern.as_bytes()),
                reason: error.kind().to_string(),
            };
            let glob = GlobBuilder::new(pattern.trim_start_matches('/'))
                .literal_separator(true)
                .case_insensitive(options.ignore_case)
                .build()
                .map_err(failed)?;
            if pattern.contains('/') {
                paths.add(glob)
            } else {
                names.add(glob)
            };
        }
        let build = |set: GlobSetBuilder| {
            set.build().map_err(|error| BrowseError::Pattern {
                pattern: options.patterns.join(", "),
                reason: error.to_string(),
            })
        };
        Ok(Self { options, names: build(names)?, paths: build(paths)? })
    }

    fn fits(&self, entry: &Located) -> bool {
        let options = self.options;
        let node = &entry.node;
        let as_path = |bytes| Path::new(OsStr::from_bytes(bytes));
        options.kind.is_none_or(|kind| kind == node.kind)
            && options.newer.is_none_or(|time| modified(node) >= time.as_nanosecond())
            && options.older.is_none_or(|time| modified(node) < time.as_nanosecond())
            && (options.patterns.is_empty()
                || self.names.is_match(as_path(&node.name))
                || self.paths.is_match(as_path(&entry.path)))
    }
}

/// Nanoseconds since 1970.
fn modified(node: &Node) -> i128 {
    i128::from(node.mtime) * 1_000_000_000 + i128::from(node.mtime_nanos)
}

/// Visits all entries at and below `path` that fit.
pub fn find(
    fetcher: &Fetcher<'_>,
    snapshot: &Snapshot,
    path: &[u8],
    options: &FindOptions,
    stop: &StopFlag,
    visit: &mut dyn FnMut(&Located) -> Result<(), BrowseError>,
) -> Result<(), BrowseError> {
    let filter = Filter::new(options)?;
    walk(fetcher, snapshot, path, true, stop, &mut |entry| {
        if filter.fits(entry) { visit(entry) } else { Ok(()) }
    })
}
