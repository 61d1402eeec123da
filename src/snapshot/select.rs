//! Which snapshot people mean: an id's first digits, `latest`, `latest:INSTANCE`, a date.

use crate::id::SnapshotId;

use super::manifest::Snapshot;

/// A snapshot with its id, as selection sees it.
pub type Selected = (SnapshotId, Snapshot);

/// What was asked for, with filters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// Only of this instance.
    pub instance: Option<String>,
    /// Only with all of these tags.
    pub tags: Vec<String>,
    /// Only from this host.
    pub host: Option<String>,
}

/// Why no single snapshot is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// None fits.
    #[error("no snapshot fits `{0}`")]
    None(String),
    /// Several fit.
    #[error("`{text}` fits {count} snapshots: {examples}")]
    Ambiguous {
        /// What was asked.
        text: String,
        /// How many fit.
        count: usize,
        /// Some of them.
        examples: String,
    },
}

impl Selector {
    /// Those that pass the filters, oldest first.
    pub fn filter(&self, snapshots: Vec<Selected>) -> Vec<Selected> {
        let _ = snapshots;
        todo!()
    }

    /// The one `text` means: `latest`, `latest:INSTANCE`, digits of an id (4 or more), or a date or time
    /// (`2026-11-22`, `2026-11-22T23:00`: the newest not after its end, in `zone`). `latest` prefers complete snapshots
    /// and takes an incomplete one only if there is no complete one.
    pub fn find<'a>(
        &self,
        text: &str,
        snapshots: &'a [Selected],
        zone: &jiff::tz::TimeZone,
    ) -> Result<&'a Selected, SelectError> {
        let _ = (text, snapshots, zone);
        todo!()
    }
}
