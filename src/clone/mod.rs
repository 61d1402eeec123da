//! The anonymized copy: a stored snapshot of one instance, rewritten on its way into another.
//!
//! First everything that can be known is found out ([`gather`], [`survey()`]): the rules fit the snapshot's schema, every row can be
//! rewritten, no key of JSON is unknown. Then rows are rewritten between the repository and the target's server. Nothing
//! of them touches a disk before, and what leaves this process is rewritten already. Where the target is another
//! machine's, [`send()`] writes what is rewritten and [`receive()`] reads it there.

mod apply;
mod commands;
mod contents;
mod draft;
mod error;
mod exchange;
mod files;
mod guard;
mod header;
mod preview;
mod receive;
mod report;
mod rows;
mod schema;
mod send;
mod ssh;
mod subset;
mod survey;
mod wire;

pub use apply::{Applied, CloneWork, Replaced, Replacement, apply};
pub use commands::{CommandFailed, Commands};
pub use contents::Anonymized;
pub use draft::draft;
pub use error::{CloneError, Refusal};
pub use exchange::{Exchange, Journal, SwappedDirectory};
pub use files::{FilesPlan, StagedFiles, back, drop_put_aside};
pub use guard::{Guard, check_name, check_target};
pub use header::{DatabaseHeader, Header, SubsetHeader, Summary, TableHeader};
pub use preview::{PreviewColumn, PreviewRow, masked, preview};
pub use receive::{Announced, Line, receive};
pub use report::{
    CloneReport, ColumnReport, GroupReport, Grouping, TableReport, groupings, html, tables,
};
pub use schema::{clean_toc, schema_of};
pub use send::{Outgoing, Sent, refuse, send};
pub use ssh::{Forced, Place, authorized_line, forced, start};
pub use subset::choose_rows;
pub use survey::{Surveyed, survey};
