//! The anonymized copy: a stored snapshot of one instance, rewritten on its way into another.
//!
//! First everything that can be known is found out ([`gather`], [`survey()`]): the rules fit the snapshot's schema, every row can be
//! rewritten, no key of JSON is unknown. Then rows are rewritten between the repository and the target's server. Nothing
//! of them touches a disk before, and what leaves this process is rewritten already.

mod apply;
mod commands;
mod contents;
mod draft;
mod error;
mod files;
mod guard;
mod preview;
mod report;
mod schema;
mod subset;
mod survey;

pub use apply::{Applied, CloneWork, apply};
pub use commands::{CommandFailed, Commands};
pub use contents::Anonymized;
pub use draft::draft;
pub use error::{CloneError, Refusal};
pub use files::{FilesPlan, StagedFiles, SwappedDirectory, undo_files};
pub use guard::{Guard, check_target};
pub use preview::{PreviewColumn, PreviewRow, masked, preview};
pub use report::{CloneReport, ColumnReport, GroupReport, TableReport, html, tables};
pub use schema::{clean_toc, schema_of};
pub use subset::choose_rows;
pub use survey::{Surveyed, survey};
