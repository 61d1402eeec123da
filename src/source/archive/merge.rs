//! Puts tables into an archive that was made without their rows, so that it is a whole one for
//! PostgreSQL's own programs.
//!
//! An archive is a head, a table of contents and blocks of data. Each table gets an entry before the
//! first one that has data or comes after it, and its block comes before all others: a reader that
//! cannot seek wants the blocks in the order of the entries.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use super::parser::{Field, LONGEST, entry_fields, header_fields};

/// Longest table of contents that is taken, in bytes: it is kept in memory.
const CONTENTS_LIMIT: usize = 512 << 20;
/// Where an entry has what is looked at.
const TAG: usize = 4;
const DESCRIPTION: usize = 5;
const SECTION: usize = 6;
const SCHEMA: usize = 10;
/// The section of rows.
const SECTION_DATA: i64 = 3;
/// What stands behind a table's rows.
const END: &[u8] = b"\\.\n\n\n";
/// Bytes of a table that are one piece of a block.
const PIECE: usize = 256 << 10;

/// A table to be put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEntry {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// The statement that takes its rows, without `;`.
    pub copy: String,
}

/// Why an archive cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// It cannot be read, or the result cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not what it should be.
    #[error("the archive in the snapshot cannot be completed: {0}")]
    Malformed(String),
}

/// One entry as it is, and what we must know of it.
struct Entry {
    raw: Vec<u8>,
    dump_id: i64,
    section: i64,
    tag: Vec<u8>,
    description: Vec<u8>,
    schema: Vec<u8>,
    owner: Vec<u8>,
}

/// An archive's head and contents, read; its blocks are still in the reader.
pub struct Contents {
    /// Up to the number of entries.
    head: Vec<u8>,
    minor: u8,
    int_size: usize,
    offset_size: usize,
    entries: Vec<Entry>,
}

/// Reads with the sizes of one archive and keeps what it read.
struct Scanner<'r> {
    reader: &'r mut dyn Read,
    raw: Vec<u8>,
    int_size: usize,
    left: usize,
}

fn malformed(what: impl Into<String>) -> MergeError {
    MergeError::Malformed(what.into())
}

impl Scanner<'_> {
    fn bytes(&mut self, len: usize) -> Result<&[u8], MergeError> {
        self.left = self
            .left
            .checked_sub(len)
            .ok_or_else(|| malformed("its table of contents is too long"))?;
        let at = self.raw.len();
        let wanted = u64::try_from(len).unwrap_or(u64::MAX);
        let got = (&mut *self.reader).take(wanted).read_to_end(&mut self.raw)?;
        if got < len {
            return Err(malformed("it ends within its table of contents"));
        }
        Ok(&self.raw[at..])
    }

    fn int(&mut self) -> Result<i64, MergeError> {
        let size = self.int_size;
        let bytes = self.bytes(1 + size)?;
        let value =
            bytes[1..].iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        match (bytes[0], i64::try_from(value)) {
            (0, Ok(value)) => Ok(value),
            (1, Ok(value)) => Ok(-value),
            _ => Err(malformed("a number is none")),
        }
    }

    fn text(&mut self) -> Result<Option<Vec<u8>>, MergeError> {
        let len = self.int()?;
        match usize::try_from(len) {
            Err(_) if len == -1 => Ok(None),
            Ok(len) if len <= usize::try_from(LONGEST).unwrap_or(0) => {
                self.bytes(len).map(|bytes| Some(bytes.to_vec()))
            }
            _ => Err(malformed("a text has no length")),
        }
    }
}

impl Contents {
    /// Reads an archive up to its blocks.
    pub fn read(reader: &mut dyn Read) -> Result<Self, MergeError> {
        let mut scan = Scanner { reader, raw: Vec::new(), int_size: 4, left: CONTENTS_LIMIT };
        let start = scan.bytes(11)?.to_vec();
        let [b'P', b'G', b'D', b'M', b'P', 1, minor @ 12..=16, _, int_size, offset_size, 1] =
            start[..]
        else {
            return Err(malformed("its version is not known, or it is no archive"));
        };
        if !(1..=8).contains(&int_size) || !(1..=8).contains(&offset_size) {
            return Err(malformed("the sizes of its numbers make no sense"));
        }
        scan.int_size = int_size.into();
        for field in header_fields(minor) {
            match field {
                Field::Byte => drop(scan.bytes(1)?),
                Field::Str => drop(scan.text()?),
                Field::Count => break,
                _ => drop(scan.int()?),
            }
        }
        let head = std::mem::take(&mut scan.raw);
        let count = scan.int()?;
        let mut contents = Self {
            head,
            minor,
            int_size: int_size.into(),
            offset_size: offset_size.into(),
            entries: Vec::new(),
        };
        for _ in 0..count {
            scan.raw.clear();
            let entry = contents.entry(&mut scan)?;
            contents.entries.push(entry);
        }
        Ok(contents)
    }

    fn entry(&self, scan: &mut Scanner<'_>) -> Result<Entry, MergeError> {
        let mut entry = Entry {
            raw: Vec::new(),
            dump_id: 0,
            section: 0,
            tag: Vec::new(),
            description: Vec::new(),
            schema: Vec::new(),
            owner: Vec::new(),
        };
        let fields = entry_fields(self.minor);
        let owner = fields.len() - 4;
        for (at, field) in fields.into_iter().enumerate() {
            match field {
                Field::DumpId => entry.dump_id = scan.int()?,
                Field::Str => {
                    let text = scan.text()?.unwrap_or_default();
                    match at {
                        TAG => entry.tag = text,
                        DESCRIPTION => entry.description = text,
                        SCHEMA => entry.schema = text,
                        _ if at == owner => entry.owner = text,
                        _ => {}
                    }
                }
                Field::StrList => while scan.text()?.is_some() {},
                Field::Offset => drop(scan.bytes(1 + self.offset_size)?),
                Field::Byte => drop(scan.bytes(1)?),
                Field::Int if at == SECTION => entry.section = scan.int()?,
                Field::Int | Field::Count | Field::HasData => drop(scan.int()?),
            }
        }
        entry.raw = scan.raw.clone();
        Ok(entry)
    }

    fn put_int(&self, out: &mut Vec<u8>, value: i64) {
        out.push(u8::from(value < 0));
        out.extend_from_slice(&value.unsigned_abs().to_le_bytes()[..self.int_size.min(8)]);
    }

    fn put_text(&self, out: &mut Vec<u8>, text: Option<&[u8]>) {
        self.put_int(out, text.map_or(-1, |text| i64::try_from(text.len()).unwrap_or(i64::MAX)));
        out.extend_from_slice(text.unwrap_or_default());
    }

    /// The entry of a table's rows, as `pg_dump` would have written it.
    fn rows_entry(&self, id: i64, table: &TableEntry, definition: &Entry) -> Vec<u8> {
        let mut out = Vec::new();
        let copy = format!("{};\n", table.copy);
        let table_id = definition.dump_id.to_string();
        let mut ints = 0;
        let mut texts = [
            Some(&b"0"[..]),
            Some(b"0"),
            Some(&definition.tag),
            Some(b"TABLE DATA"),
            Some(b""),
            Some(b""),
            Some(copy.as_bytes()),
            Some(&definition.schema),
            Some(b""),
        ]
        .into_iter();
        let owner = entry_fields(self.minor).len() - 4;
        for (at, field) in entry_fields(self.minor).into_iter().enumerate() {
            match field {
                Field::DumpId => self.put_int(&mut out, id),
                Field::HasData => self.put_int(&mut out, 1),
                Field::Int => {
                    self.put_int(&mut out, if ints == 0 { SECTION_DATA } else { 0 });
                    ints += 1;
                }
                Field::Str if at == owner => self.put_text(&mut out, Some(&definition.owner)),
                Field::Str if at == owner + 1 => self.put_text(&mut out, Some(b"false")),
                // Of the table's access method rows have none.
                Field::Str => self.put_text(&mut out, texts.next().flatten()),
                Field::StrList => {
                    self.put_text(&mut out, Some(table_id.as_bytes()));
                    self.put_text(&mut out, None);
                }
                // Not known: this may go into a pipe.
                Field::Offset => {
                    out.push(1);
                    out.resize(out.len() + self.offset_size, 0);
                }
                Field::Byte | Field::Count => {}
            }
        }
        out
    }

    /// Writes the whole archive: with entries for `tables`, whose rows `rows` gives one after the other,
    /// then the blocks that are left in `reader`.
    pub fn write<E: From<MergeError>>(
        &self,
        tables: &[TableEntry],
        rows: &mut dyn FnMut(&TableEntry, &mut dyn Write) -> Result<(), E>,
        reader: &mut dyn Read,
        out: &mut dyn Write,
    ) -> Result<(), E> {
        let io = |error: io::Error| E::from(MergeError::Io(error));
        let place = self
            .entries
            .iter()
            .position(|entry| entry.section >= SECTION_DATA)
            .unwrap_or(self.entries.len());
        let first = self.entries.iter().map(|entry| entry.dump_id).max().unwrap_or(0) + 1;
        let mut number = self.head.clone();
        let count = self.entries.len() + tables.len();
        self.put_int(&mut number, i64::try_from(count).unwrap_or(i64::MAX));
        out.write_all(&number).map_err(io)?;
        for entry in &self.entries[..place] {
            out.write_all(&entry.raw).map_err(io)?;
        }
        let definitions: HashMap<(&[u8], &[u8]), &Entry> = self
            .entries
            .iter()
            .filter(|entry| entry.description == b"TABLE")
            .map(|entry| ((&entry.schema[..], &entry.tag[..]), entry))
            .collect();
        for (id, table) in (first..).zip(tables) {
            let definition = definitions.get(&(table.schema.as_bytes(), table.name.as_bytes()));
            let definition = definition.ok_or_else(|| {
                malformed(format!("it does not define table {}.{}", table.schema, table.name))
            })?;
            out.write_all(&self.rows_entry(id, table, definition)).map_err(io)?;
        }
        for entry in &self.entries[place..] {
            out.write_all(&entry.raw).map_err(io)?;
        }
        for (id, table) in (first..).zip(tables) {
            let mut head = vec![1];
            self.put_int(&mut head, id);
            out.write_all(&head).map_err(io)?;
            let mut block = Block { contents: self, out: &mut *out, held: Vec::new() };
            rows(table, &mut block)?;
            block.end().map_err(io)?;
        }
        io::copy(reader, out).map_err(io)?;
        Ok(())
    }
}

/// A table's block being written.
struct Block<'c> {
    contents: &'c Contents,
    out: &'c mut dyn Write,
    held: Vec<u8>,
}

impl Block<'_> {
    fn send(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let mut head = Vec::new();
        self.contents.put_int(&mut head, i64::try_from(self.held.len()).unwrap_or(i64::MAX));
        self.out.write_all(&head)?;
        self.out.write_all(&self.held)?;
        self.held.clear();
        Ok(())
    }

    fn end(mut self) -> io::Result<()> {
        self.held.extend_from_slice(END);
        self.send()?;
        let mut head = Vec::new();
        self.contents.put_int(&mut head, 0);
        self.out.write_all(&head)
    }
}

impl Write for Block<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= PIECE {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
