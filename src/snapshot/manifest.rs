//! The snapshot object.

use std::collections::BTreeMap;

use crate::id::{SessionId, SnapshotId};

use super::stream::StreamRef;

/// One source and how it went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceRecord {
    /// `files`, `command`, `stdin`, `postgresql`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Where its content is in the tree.
    pub path: Vec<u8>,
    /// Why it is not complete; empty if it is.
    pub incomplete: Vec<String>,
    /// Versions and the like.
    pub details: BTreeMap<String, String>,
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnManifest {
    /// Name.
    pub name: String,
    /// Type as PostgreSQL writes it.
    pub type_name: String,
}

/// One table of a database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableManifest {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Columns in order.
    pub columns: Vec<ColumnManifest>,
    /// Rows.
    pub rows: u64,
    /// Bytes of its COPY stream.
    pub bytes: u64,
    /// BLAKE3 of its COPY stream.
    pub hash: Option<[u8; 32]>,
}

/// One database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatabaseManifest {
    /// Name.
    pub name: String,
    /// Version of the server.
    pub server_version: String,
    /// Encoding.
    pub encoding: String,
    /// Collation.
    pub collation: String,
    /// System identifier of the cluster.
    pub system_identifier: String,
    /// Where its dump is in the tree.
    pub path: Vec<u8>,
    /// Its tables.
    pub tables: Vec<TableManifest>,
}

/// One instance at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Root directory.
    pub root: StreamRef,
    /// Instance.
    pub instance: String,
    /// Host it was made on.
    pub host: String,
    /// Start, nanoseconds since 1970.
    pub start: i64,
    /// End, nanoseconds since 1970.
    pub end: i64,
    /// Time zone it was made in.
    pub time_zone: String,
    /// Tags (`commit=…`).
    pub tags: Vec<String>,
    /// Sources.
    pub sources: Vec<SourceRecord>,
    /// Everything asked for is in it, whole.
    pub is_complete: bool,
    /// The one unchanged files were compared with.
    pub parent: Option<SnapshotId>,
    /// The newest of this instance the writer saw.
    pub predecessors: Vec<SnapshotId>,
    /// One more than the highest the writer saw.
    pub counter: u64,
    /// Numbers of the run.
    pub statistics: BTreeMap<String, u64>,
    /// Program and version.
    pub program: String,
    /// Who wrote it.
    pub session: SessionId,
    /// Databases.
    pub databases: Vec<DatabaseManifest>,
}

// Manual minicbor Encode/Decode (map with the keys of format.md section 10) go here.
impl minicbor::Encode<()> for Snapshot {
    fn encode<W: minicbor::encode::Write>(
        &self,
        _: &mut minicbor::Encoder<W>,
        (): &mut (),
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        todo!()
    }
}

impl minicbor::Decode<'_, ()> for Snapshot {
    fn decode(_: &mut minicbor::Decoder<'_>, (): &mut ()) -> Result<Self, minicbor::decode::Error> {
        todo!()
    }
}
