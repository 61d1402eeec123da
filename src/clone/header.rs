//! What is told of a copy before its first row: all that the other machine needs to look at its target and to make a
//! report, and nothing of the rows as they were.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::anonymize::{Kept, KeptRows};
use crate::id::SnapshotId;
use crate::snapshot::{ColumnManifest, DatabaseManifest, DatabaseProperties, TableManifest};

use super::report::{Grouping, TableReport};

/// Version of what is told.
pub const VERSION: u32 = 1;

/// What is copied, for which target, by which rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// The instance that is copied.
    pub from: String,
    /// The target it was made for.
    pub to: String,
    /// The snapshot: 64 hexadecimal digits.
    pub snapshot: String,
    /// When it was begun, in nanoseconds since 1970.
    pub snapshot_time: i64,
    /// Program and version.
    pub program: String,
    /// File of rules.
    pub rules: String,
    /// Their fingerprint.
    pub rules_fingerprint: String,
    /// By which two keys of pseudonyms are told apart.
    pub key_id: String,
    /// The database.
    pub database: DatabaseHeader,
    /// Directories in which placeholders are made.
    pub made: Vec<String>,
    /// Directories of which nothing is copied, and why.
    pub dropped: BTreeMap<String, String>,
    /// SQL that has to be true in the copy.
    pub assertions: Vec<String>,
    /// Groups that are counted.
    pub groupings: Vec<Grouping>,
    /// Tables of which a part is copied.
    pub subset: Vec<SubsetHeader>,
    /// Rows that were looked at before.
    pub rows_surveyed: u64,
    /// Different identifiers that are looked for.
    pub identifiers: usize,
    /// Different full names.
    pub names: usize,
    /// Bytes of memory that takes.
    pub fingerprint_bytes: usize,
}

/// A table of which a part is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubsetHeader {
    /// What rules call it.
    pub table: String,
    /// Rows that are copied.
    pub kept: u64,
    /// Rows that stay behind.
    pub dropped: u64,
    /// References that become NULL.
    pub erased: u64,
}

impl SubsetHeader {
    /// Of all such tables.
    pub fn of(kept: &Kept) -> Vec<Self> {
        let of = |(table, rows): (&String, &KeptRows)| Self {
            table: table.clone(),
            kept: rows.kept.count(),
            dropped: rows.dropped(),
            erased: rows.references_erased(),
        };
        kept.0.iter().map(of).collect()
    }
}

/// The database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseHeader {
    /// Name at its source.
    pub name: String,
    /// Version of its server.
    pub server_version: String,
    /// Encoding.
    pub encoding: String,
    /// Collation.
    pub collation: String,
    /// Which cluster it is from: that is never the target's.
    pub system_identifier: String,
    /// Bytes it took on the server's disk.
    pub disk_bytes: u64,
    /// Bytes of the definitions, which come next.
    pub definitions: u64,
    /// Bytes of the archive, about.
    pub archive: u64,
    /// Tables: those that are streams of their own in the order in which they come, then the others.
    pub tables: Vec<TableHeader>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableHeader {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Columns and their types.
    pub columns: Vec<(String, String)>,
    /// Rows that come.
    pub rows: u64,
    /// Bytes it had, about.
    pub bytes: u64,
    /// No row comes.
    pub is_emptied: bool,
    /// It is a stream of its own; otherwise its rows are in the archive.
    pub is_streamed: bool,
}

/// What a table's rows were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    pub rows: u64,
    pub bytes: u64,
    pub hash: String,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// To each table.
    pub tables: Vec<TableReport>,
}

/// Why it ends before its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    pub message: String,
    /// Exit code 32 and not 1.
    pub is_refused: bool,
}

/// A file that a row names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct File {
    pub root: String,
    pub path: String,
}

impl TableHeader {
    fn manifest(&self) -> TableManifest {
        let column = |(name, type_name): &(String, String)| ColumnManifest {
            name: name.clone(),
            type_name: type_name.clone(),
        };
        TableManifest {
            schema: self.schema.clone(),
            name: self.name.clone(),
            columns: self.columns.iter().map(column).collect(),
            rows: self.rows,
            bytes: self.bytes,
            // That of the rows as they were would tell too much of a table of few.
            hash: None,
            path: self.is_streamed.then(Vec::new),
        }
    }
}

impl DatabaseHeader {
    /// As a restore knows databases.
    pub fn manifest(&self) -> DatabaseManifest {
        DatabaseManifest {
            name: self.name.clone(),
            server_version: self.server_version.clone(),
            encoding: self.encoding.clone(),
            collation: self.collation.clone(),
            system_identifier: self.system_identifier.clone(),
            tables: self.tables.iter().map(TableHeader::manifest).collect(),
            properties: DatabaseProperties {
                disk_bytes: self.disk_bytes,
                ..DatabaseProperties::default()
            },
            ..DatabaseManifest::default()
        }
    }
}

impl Header {
    /// The snapshot.
    pub fn snapshot(&self) -> Option<SnapshotId> {
        self.snapshot.parse().ok()
    }
}
