//! The snapshot object.

use std::collections::BTreeMap;

use minicbor::Decoder;
use minicbor::decode::Error;

use crate::id::{SessionId, SnapshotId};

use super::stream::StreamRef;
use crate::cbor::{Writer, bytes, codec, read_list, read_map, read_text_map, required, text};

/// One source and how it went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceRecord {
    /// `files`, `command`, `stdin`, `postgresql`, `container-logs`.
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
    /// Where its COPY stream is in the tree. `None`: its rows are in the database's archive.
    pub path: Option<Vec<u8>>,
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
    /// Where it is in the tree: a directory, or the archive itself where there is no `archive`.
    pub path: Vec<u8>,
    /// Its tables.
    pub tables: Vec<TableManifest>,
    /// Where the archive of `pg_dump` is in the tree: all but the rows of tables with a path.
    pub archive: Option<Vec<u8>>,
    /// What `CREATE DATABASE` must be told, and where it was.
    pub properties: DatabaseProperties,
}

/// What the server said about a database. Empty or 0: unknown, or older than the question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatabaseProperties {
    /// Version of the server as a number (150018).
    pub server_version_num: u64,
    /// Version of the `pg_dump` that wrote the archive.
    pub pg_dump_version: String,
    /// Owner.
    pub owner: String,
    /// Character classification (`LC_CTYPE`).
    pub ctype: String,
    /// Who provides the locale: `libc`, `icu`, `builtin`.
    pub locale_provider: String,
    /// Locale of a provider other than `libc`.
    pub locale: String,
    /// Rules of ICU besides.
    pub icu_rules: String,
    /// Version of the collation when the database was made.
    pub collation_version: String,
    /// Bytes it took on the server's disk.
    pub disk_bytes: u64,
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

impl SourceRecord {
    fn write(&self, writer: &mut Writer) {
        writer.map(|map| {
            map.key(0).text(&self.kind);
            map.key(1).text(&self.name);
            map.key(2).bytes(&self.path);
            if !self.incomplete.is_empty() {
                map.key(3).list(&self.incomplete, |w, reason| {
                    w.text(reason);
                });
            }
            map.key(4).text_map(self.details.iter(), |w, value| {
                w.text(value);
            });
        });
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let mut source = Self::default();
        read_map(d, |key, d| {
            match key {
                0 => source.kind = text(d)?,
                1 => source.name = text(d)?,
                2 => source.path = bytes(d)?,
                3 => source.incomplete = read_list(d, text)?,
                4 => source.details = read_text_map(d, text)?,
                _ => d.skip()?,
            }
            Ok(())
        })?;
        Ok(source)
    }
}

impl ColumnManifest {
    fn write(&self, writer: &mut Writer) {
        writer.map(|map| {
            map.key(0).text(&self.name);
            map.key(1).text(&self.type_name);
        });
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let mut column = Self::default();
        read_map(d, |key, d| {
            match key {
                0 => column.name = text(d)?,
                1 => column.type_name = text(d)?,
                _ => d.skip()?,
            }
            Ok(())
        })?;
        Ok(column)
    }
}

impl TableManifest {
    fn write(&self, writer: &mut Writer) {
        writer.map(|map| {
            map.key(0).text(&self.schema);
            map.key(1).text(&self.name);
            if !self.columns.is_empty() {
                map.key(2).list(&self.columns, |w, column| column.write(w));
            }
            map.key(3).uint(self.rows);
            map.key(4).uint(self.bytes);
            if let Some(hash) = &self.hash {
                map.key(5).bytes(hash);
            }
            if let Some(path) = &self.path {
                map.key(6).bytes(path);
            }
        });
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let mut table = Self::default();
        read_map(d, |key, d| {
            match key {
                0 => table.schema = text(d)?,
                1 => table.name = text(d)?,
                2 => table.columns = read_list(d, ColumnManifest::read)?,
                3 => table.rows = d.u64()?,
                4 => table.bytes = d.u64()?,
                5 => {
                    table.hash =
                        Some(d.bytes()?.try_into().map_err(|_| {
                            Error::message("the hash of a table is not 32 bytes long")
                        })?);
                }
                6 => table.path = Some(bytes(d)?),
                _ => d.skip()?,
            }
            Ok(())
        })?;
        Ok(table)
    }
}

impl DatabaseProperties {
    fn write(&self, writer: &mut Writer) {
        writer.map(|map| {
            let mut number = |key, value: u64| {
                if value != 0 {
                    map.key(key).uint(value);
                }
            };
            number(0, self.server_version_num);
            number(8, self.disk_bytes);
            let texts = [
                (1, &self.pg_dump_version),
                (2, &self.owner),
                (3, &self.ctype),
                (4, &self.locale_provider),
                (5, &self.locale),
                (6, &self.icu_rules),
                (7, &self.collation_version),
            ];
            for (key, value) in texts.into_iter().filter(|(_, value)| !value.is_empty()) {
                map.key(key).text(value);
            }
        });
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let mut properties = Self::default();
        read_map(d, |key, d| {
            match key {
                0 => properties.server_version_num = d.u64()?,
                1 => properties.pg_dump_version = text(d)?,
                2 => properties.owner = text(d)?,
                3 => properties.ctype = text(d)?,
                4 => properties.locale_provider = text(d)?,
                5 => properties.locale = text(d)?,
                6 => properties.icu_rules = text(d)?,
                7 => properties.collation_version = text(d)?,
                8 => properties.disk_bytes = d.u64()?,
                _ => d.skip()?,
            }
            Ok(())
        })?;
        Ok(properties)
    }
}

impl DatabaseManifest {
    /// Where the archive of `pg_dump` is in the tree, also for snapshots in which the archive is all there is.
    pub fn archive_path(&self) -> &[u8] {
        self.archive.as_deref().unwrap_or(&self.path)
    }

    fn write(&self, writer: &mut Writer) {
        writer.map(|map| {
            map.key(0).text(&self.name);
            map.key(1).text(&self.server_version);
            map.key(2).text(&self.encoding);
            map.key(3).text(&self.collation);
            map.key(4).text(&self.system_identifier);
            map.key(5).bytes(&self.path);
            if !self.tables.is_empty() {
                map.key(6).list(&self.tables, |w, table| table.write(w));
            }
            if let Some(archive) = &self.archive {
                map.key(7).bytes(archive);
            }
            if self.properties != DatabaseProperties::default() {
                self.properties.write(map.key(8));
            }
        });
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let mut database = Self::default();
        read_map(d, |key, d| {
            match key {
                0 => database.name = text(d)?,
                1 => database.server_version = text(d)?,
                2 => database.encoding = text(d)?,
                3 => database.collation = text(d)?,
                4 => database.system_identifier = text(d)?,
                5 => database.path = bytes(d)?,
                6 => database.tables = read_list(d, TableManifest::read)?,
                7 => database.archive = Some(bytes(d)?),
                8 => database.properties = DatabaseProperties::read(d)?,
                _ => d.skip()?,
            }
            Ok(())
        })?;
        Ok(database)
    }
}

impl Snapshot {
    fn write(&self, writer: &mut Writer) {
        writer.map(|map| {
            self.root.write(map.key(0));
            map.key(1).text(&self.instance);
            map.key(2).text(&self.host);
            map.key(3).int(self.start);
            map.key(4).int(self.end);
            map.key(5).text(&self.time_zone);
            map.key(6).list(&self.tags, |w, tag| {
                w.text(tag);
            });
            map.key(7).list(&self.sources, |w, source| source.write(w));
            map.key(8).bool(self.is_complete);
            if let Some(parent) = &self.parent {
                map.key(9).bytes(parent.as_bytes());
            }
            map.key(10).list(&self.predecessors, |w, id| {
                w.bytes(id.as_bytes());
            });
            map.key(11).uint(self.counter);
            map.key(12).text_map(self.statistics.iter(), |w, value| {
                w.uint(*value);
            });
            map.key(13).text(&self.program);
            map.key(14).bytes(self.session.as_bytes());
            if !self.databases.is_empty() {
                map.key(15).list(&self.databases, |w, database| database.write(w));
            }
        });
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, Error> {
        let mut parts = Parts::default();
        read_map(d, |key, d| parts.field(key, d))?;
        parts.finish()
    }
}

codec!(Snapshot);

/// What was read so far. Lists and maps may be absent, everything else must be there.
#[derive(Default)]
struct Parts {
    root: Option<StreamRef>,
    instance: Option<String>,
    host: Option<String>,
    start: Option<i64>,
    end: Option<i64>,
    time_zone: Option<String>,
    tags: Vec<String>,
    sources: Vec<SourceRecord>,
    is_complete: Option<bool>,
    parent: Option<SnapshotId>,
    predecessors: Vec<SnapshotId>,
    counter: Option<u64>,
    statistics: BTreeMap<String, u64>,
    program: Option<String>,
    session: Option<SessionId>,
    databases: Vec<DatabaseManifest>,
}

impl Parts {
    fn field(&mut self, key: u8, d: &mut Decoder<'_>) -> Result<(), Error> {
        match key {
            0 => self.root = Some(StreamRef::read(d)?),
            1 => self.instance = Some(text(d)?),
            2 => self.host = Some(text(d)?),
            3 => self.start = Some(d.i64()?),
            4 => self.end = Some(d.i64()?),
            5 => self.time_zone = Some(text(d)?),
            6 => self.tags = read_list(d, text)?,
            7 => self.sources = read_list(d, SourceRecord::read)?,
            8 => self.is_complete = Some(d.bool()?),
            9 => self.parent = Some(d.decode()?),
            10 => self.predecessors = read_list(d, Decoder::decode)?,
            11 => self.counter = Some(d.u64()?),
            12 => self.statistics = read_text_map(d, Decoder::u64)?,
            13 => self.program = Some(text(d)?),
            14 => self.session = Some(d.decode()?),
            15 => self.databases = read_list(d, DatabaseManifest::read)?,
            _ => d.skip()?,
        }
        Ok(())
    }

    fn finish(self) -> Result<Snapshot, Error> {
        Ok(Snapshot {
            root: required(self.root, "the root of a snapshot")?,
            instance: required(self.instance, "the instance of a snapshot")?,
            host: required(self.host, "the host of a snapshot")?,
            start: required(self.start, "the start of a snapshot")?,
            end: required(self.end, "the end of a snapshot")?,
            time_zone: required(self.time_zone, "the time zone of a snapshot")?,
            tags: self.tags,
            sources: self.sources,
            is_complete: required(self.is_complete, "whether a snapshot is complete")?,
            parent: self.parent,
            predecessors: self.predecessors,
            counter: required(self.counter, "the counter of a snapshot")?,
            statistics: self.statistics,
            program: required(self.program, "the program of a snapshot")?,
            session: required(self.session, "the session of a snapshot")?,
            databases: self.databases,
        })
    }
}
