//! The archive's grammar as a state machine: it takes bytes in pieces of any size and keeps nothing
//! but the entries whose data is still to come, and what it found out about tables.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::counted;

use super::ArchiveReport;
use super::rows::{ArchivedRows, RowsDigest};

/// The longest string or chunk PostgreSQL could write.
pub(super) const LONGEST: i64 = 1 << 30;
/// Minor versions of the format that are known: 1.12 is what PostgreSQL 9.0 to 10 write, 1.16 what 17 and 18 write.
pub(super) const VERSIONS: std::ops::RangeInclusive<u8> = 12..=16;

/// Where an entry's fields have the oid, the name, the kind and the schema of its object.
const OID: usize = 3;
const NAME: usize = 4;
const KIND: usize = 5;
const SCHEMA: usize = 10;
/// The longest of these that is kept: names have 63 bytes.
const LONGEST_NAME: usize = 256;

/// One field of the header or of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Byte,
    Int,
    Str,
    /// Strings up to one that is absent.
    StrList,
    /// Number of entries.
    Count,
    DumpId,
    /// Whether the entry has data.
    HasData,
    /// A state byte and an offset.
    Offset,
}

/// Which fields are being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Header,
    Entry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Magic,
    Version,
    Sizes,
    /// At this field.
    Field(Part, usize),
    /// In the content of the string at this field.
    Text(Part, usize),
    BlockKind,
    BlockId {
        is_large_objects: bool,
    },
    LargeObject,
    ChunkLength {
        is_large_object: bool,
    },
    ChunkData {
        is_large_object: bool,
    },
    /// A version we do not know: anything goes.
    Unknown,
}

/// What the machine needs before its next step.
#[derive(Debug, Clone, Copy)]
enum Want {
    Bytes(usize),
    Skip(u64),
}

#[derive(Debug)]
pub(super) struct Parser {
    state: State,
    want: Want,
    held: [u8; 16],
    held_len: usize,
    offset: u64,
    version: (u8, u8),
    int_size: usize,
    offset_size: usize,
    header: Vec<Field>,
    entry: Vec<Field>,
    entries_left: u64,
    dump_id: i64,
    current: i64,
    missing: BTreeSet<i64>,
    /// Fields of the entry that is being read.
    texts: BTreeMap<usize, Vec<u8>>,
    has_data: bool,
    /// Tables whose rows are still to come, by their entries.
    tables: BTreeMap<i64, ArchivedRows>,
    /// The rows that pass now.
    rows: Option<RowsDigest>,
    report: ArchiveReport,
}

impl Parser {
    pub(super) fn new() -> Self {
        Self {
            state: State::Magic,
            want: Want::Bytes(5),
            held: [0; 16],
            held_len: 0,
            offset: 0,
            version: (0, 0),
            int_size: 4,
            offset_size: 8,
            header: Vec::new(),
            entry: Vec::new(),
            entries_left: 0,
            dump_id: 0,
            current: 0,
            missing: BTreeSet::new(),
            texts: BTreeMap::new(),
            has_data: false,
            tables: BTreeMap::new(),
            rows: None,
            report: ArchiveReport::default(),
        }
    }

    pub(super) fn report(&self) -> ArchiveReport {
        self.report.clone()
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            let used = match self.want {
                _ if self.state == State::Unknown => return Ok(()),
                Want::Skip(left) => {
                    let used = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let left = left - used as u64;
                    self.keep(&bytes[..used]);
                    self.offset += used as u64;
                    self.want = Want::Skip(left);
                    if left == 0 {
                        self.skipped();
                    }
                    used
                }
                Want::Bytes(wanted) => {
                    let used = (wanted - self.held_len).min(bytes.len());
                    self.held[self.held_len..self.held_len + used].copy_from_slice(&bytes[..used]);
                    self.held_len += used;
                    self.offset += used as u64;
                    if self.held_len == wanted {
                        self.held_len = 0;
                        self.step()?;
                    }
                    used
                }
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// Judges the end.
    pub(super) fn finish(&self) -> Result<(), String> {
        match self.state {
            State::Unknown => Ok(()),
            State::BlockKind => match self.missing.first() {
                None => Ok(()),
                Some(id) => Err(format!(
                    "it ends after {} without the data of {}, first that of entry {id}",
                    counted(self.offset, "byte"),
                    counted(self.missing.len(), "entry")
                )),
            },
            State::Magic if self.offset == 0 => Err("it is empty".to_owned()),
            State::Magic | State::Version | State::Sizes | State::Field(..) | State::Text(..) => {
                Err(format!(
                    "it ends after {}, within its table of contents",
                    counted(self.offset, "byte")
                ))
            }
            _ => Err(format!(
                "it ends after {}, within the data of entry {}",
                counted(self.offset, "byte"),
                self.current
            )),
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.want = Want::Bytes(match state {
            State::Magic => 5,
            State::Version | State::Sizes => 3,
            State::BlockKind => 1,
            State::Field(part, index) => match self.field(part, index) {
                Some(Field::Byte) => 1,
                Some(Field::Offset) => 1 + self.offset_size,
                _ => 1 + self.int_size,
            },
            _ => 1 + self.int_size,
        });
    }

    fn field(&self, part: Part, index: usize) -> Option<Field> {
        match part {
            Part::Header => self.header.get(index).copied(),
            Part::Entry => self.entry.get(index).copied(),
        }
    }

    /// Takes what it wants of a string's or a chunk's content.
    fn keep(&mut self, bytes: &[u8]) {
        match self.state {
            State::Text(Part::Entry, index @ (OID | NAME | KIND | SCHEMA)) => {
                let text = self.texts.entry(index).or_default();
                let room = LONGEST_NAME.saturating_sub(text.len());
                text.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            State::ChunkData { is_large_object: false } => {
                if let Some(rows) = &mut self.rows {
                    rows.push(bytes);
                }
            }
            _ => {}
        }
    }

    /// All fields of an entry were read.
    fn entry_ended(&mut self) {
        let texts = std::mem::take(&mut self.texts);
        let text = |index: usize| texts.get(&index).map_or(&[][..], Vec::as_slice);
        if self.has_data && text(KIND) == b"TABLE DATA" {
            let name = |index| String::from_utf8_lossy(text(index)).into_owned();
            let oid = name(OID).parse().unwrap_or(0);
            let (schema, name) = (name(SCHEMA), name(NAME));
            let table = ArchivedRows { oid, schema, name, ..ArchivedRows::default() };
            self.tables.insert(self.dump_id, table);
        }
        self.has_data = false;
    }

    /// A block of rows was closed.
    fn rows_ended(&mut self) {
        let table = self.tables.remove(&self.current);
        if let (Some(digest), Some(mut table)) = (self.rows.take(), table)
            && let Some((rows, bytes, hash)) = digest.finish()
        {
            (table.rows, table.bytes, table.hash) = (rows, bytes, hash);
            self.report.tables.push(table);
        }
    }

    /// After a string's or a chunk's content.
    fn skipped(&mut self) {
        match self.state {
            State::Text(part, index) => self.after_text(part, index),
            State::ChunkData { is_large_object } => {
                self.enter(State::ChunkLength { is_large_object });
            }
            _ => {}
        }
    }

    fn after_text(&mut self, part: Part, index: usize) {
        let again = self.field(part, index) == Some(Field::StrList);
        self.enter_field(part, if again { index } else { index + 1 });
    }

    fn enter_field(&mut self, part: Part, index: usize) {
        if self.field(part, index).is_some() {
            return self.enter(State::Field(part, index));
        }
        if part == Part::Entry {
            self.entries_left -= 1;
            self.report.entries += 1;
            self.entry_ended();
        }
        if self.entries_left > 0 {
            self.enter(State::Field(Part::Entry, 0));
        } else {
            self.enter(State::BlockKind);
        }
    }

    /// All wanted bytes are in `held`.
    fn step(&mut self) -> Result<(), String> {
        match self.state {
            State::Magic if self.held[..5] == *b"PGDMP" => self.enter(State::Version),
            State::Magic => return Err("it does not begin with PGDMP".to_owned()),
            State::Version => self.at_version(),
            State::Sizes => self.at_sizes()?,
            State::Field(part, index) => self.at_field(part, index)?,
            State::BlockKind => match self.held[0] {
                1 => self.enter(State::BlockId { is_large_objects: false }),
                3 => self.enter(State::BlockId { is_large_objects: true }),
                other => {
                    return Err(format!(
                        "byte {other} at offset {} begins no block of data",
                        self.offset - 1
                    ));
                }
            },
            State::BlockId { is_large_objects } => {
                self.current = self.int()?;
                if !self.missing.remove(&self.current) {
                    return Err(format!(
                        "the block of entry {} before offset {} comes twice or has no entry",
                        self.current, self.offset
                    ));
                }
                self.report.with_data += 1;
                self.rows = self.tables.contains_key(&self.current).then(RowsDigest::default);
                self.enter(match is_large_objects {
                    true => State::LargeObject,
                    false => State::ChunkLength { is_large_object: false },
                });
            }
            State::LargeObject => match self.int()? {
                0 => self.enter(State::BlockKind),
                _ => self.enter(State::ChunkLength { is_large_object: true }),
            },
            State::ChunkLength { is_large_object } => self.at_chunk(is_large_object)?,
            State::Text(..) | State::ChunkData { .. } | State::Unknown => {}
        }
        Ok(())
    }

    fn at_version(&mut self) {
        let (major, minor) = (self.held[0], self.held[1]);
        self.version = (major, minor);
        self.report.version = Some(format!("{major}.{minor}"));
        if major != 1 || !VERSIONS.contains(&minor) {
            self.report.note =
                Some(format!("archive walk: not possible for version {major}.{minor}"));
            self.state = State::Unknown;
            return;
        }
        self.enter(State::Sizes);
    }

    fn at_sizes(&mut self) -> Result<(), String> {
        let [int_size, offset_size, format] = [self.held[0], self.held[1], self.held[2]];
        // Four and eight on every system PostgreSQL runs on today; `held` has room for 15.
        if !(1..=8).contains(&int_size) || !(1..=8).contains(&offset_size) {
            return Err(format!("sizes of its numbers make no sense: {int_size}, {offset_size}"));
        }
        if format != 1 {
            return Err(format!("it is not in the custom format (format {format}, not 1)"));
        }
        self.int_size = usize::from(int_size);
        self.offset_size = usize::from(offset_size);
        self.header = header_fields(self.version.1);
        self.entry = entry_fields(self.version.1);
        self.enter(State::Field(Part::Header, 0));
        Ok(())
    }

    fn at_field(&mut self, part: Part, index: usize) -> Result<(), String> {
        let field = self.field(part, index);
        match field {
            Some(Field::Str | Field::StrList) => {
                let len = self.int()?;
                if !(-1..=LONGEST).contains(&len) {
                    return Err(format!("a text before offset {} is {len} long", self.offset));
                }
                if len > 0 {
                    self.state = State::Text(part, index);
                    self.want = Want::Skip(len.unsigned_abs());
                    return Ok(());
                }
                if len == 0 && field == Some(Field::StrList) {
                    self.enter_field(part, index);
                    return Ok(());
                }
            }
            Some(Field::Count) => {
                self.entries_left = u64::try_from(self.int()?)
                    .map_err(|_| "its number of entries is negative".to_owned())?;
            }
            Some(Field::DumpId) => self.dump_id = self.int()?,
            Some(Field::HasData) => {
                self.has_data = self.int()? != 0;
                if self.has_data && !self.missing.insert(self.dump_id) {
                    return Err(format!("entry {} is in its contents twice", self.dump_id));
                }
            }
            Some(Field::Offset) if !(1..=3).contains(&self.held[0]) => {
                return Err(format!("entry {} has no known state of data", self.dump_id));
            }
            Some(Field::Int) => {
                self.int()?;
            }
            _ => {}
        }
        self.enter_field(part, index + 1);
        Ok(())
    }

    fn at_chunk(&mut self, is_large_object: bool) -> Result<(), String> {
        match self.int()? {
            0 if is_large_object => self.enter(State::LargeObject),
            0 => {
                self.rows_ended();
                self.enter(State::BlockKind);
            }
            len @ 1..=LONGEST => {
                self.state = State::ChunkData { is_large_object };
                self.want = Want::Skip(len.unsigned_abs());
            }
            len => {
                return Err(format!("a chunk before offset {} is {len} long", self.offset));
            }
        }
        Ok(())
    }

    /// The number in `held`: a sign and `int_size` bytes, the least first.
    fn int(&self) -> Result<i64, String> {
        let bytes = &self.held[1..=self.int_size];
        let value = bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        let value = i64::try_from(value).ok();
        match (self.held[0], value) {
            (0, Some(value)) => Ok(value),
            (1, Some(value)) => Ok(-value),
            _ => Err(format!("there is no number before offset {}", self.offset)),
        }
    }
}

pub(super) fn header_fields(minor: u8) -> Vec<Field> {
    // 1.15 has one byte for the way of compression, earlier ones its level.
    let mut fields = vec![if minor >= 15 { Field::Byte } else { Field::Int }];
    // Creation time: seconds to years, and summer time.
    fields.extend([Field::Int; 7]);
    // Database, version of the server, version of pg_dump.
    fields.extend([Field::Str; 3]);
    fields.push(Field::Count);
    fields
}

pub(super) fn entry_fields(minor: u8) -> Vec<Field> {
    let mut fields = vec![Field::DumpId, Field::HasData];
    // Oids of catalogue and object, tag, description.
    fields.extend([Field::Str; 4]);
    fields.push(Field::Int);
    // Definition, its opposite, COPY statement, schema, tablespace.
    fields.extend([Field::Str; 5]);
    if minor >= 14 {
        fields.push(Field::Str);
    }
    if minor >= 16 {
        fields.push(Field::Int);
    }
    // Owner, whether with oids, dependencies.
    fields.extend([Field::Str, Field::Str, Field::StrList, Field::Offset]);
    fields
}
