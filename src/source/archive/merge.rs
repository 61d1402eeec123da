//! Puts tables into an archive that was made without their rows, so that it is a whole one for
//! PostgreSQL's own programs.
//!
//! An archive is a head, a table of contents and blocks of data. Each table gets an entry before the
//! first one that has data or comes after it, and its block comes before all others: a reader that
//! cannot seek wants the blocks in the order of the entries.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use super::parser::{Field, entry_fields};
use super::rows::END;
use super::toc::{Layout, Toc, TocEntry, TocError};

/// The section of rows.
const SECTION_DATA: i64 = 3;
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

impl From<TocError> for MergeError {
    fn from(error: TocError) -> Self {
        match error {
            TocError::Read(error) => Self::Io(error),
            TocError::Malformed(reason) => Self::Malformed(reason),
        }
    }
}

impl Layout {
    pub(super) fn put_int(self, out: &mut Vec<u8>, value: i64) {
        out.push(u8::from(value < 0));
        out.extend_from_slice(&value.unsigned_abs().to_le_bytes()[..self.int_size.min(8)]);
    }

    fn put_text(&self, out: &mut Vec<u8>, text: Option<&[u8]>) {
        self.put_int(out, text.map_or(-1, |text| i64::try_from(text.len()).unwrap_or(i64::MAX)));
        out.extend_from_slice(text.unwrap_or_default());
    }

    /// The entry of a table's rows, as `pg_dump` would have written it.
    fn rows_entry(&self, id: i64, table: &TableEntry, definition: &TocEntry) -> Vec<u8> {
        let mut out = Vec::new();
        let copy = format!("{};\n", table.copy);
        let table_id = definition.dump_id.to_string();
        let mut ints = 0;
        let mut texts = [
            Some(&b"0"[..]),
            Some(b"0"),
            Some(table.name.as_bytes()),
            Some(b"TABLE DATA"),
            Some(b""),
            Some(b""),
            Some(copy.as_bytes()),
            Some(table.schema.as_bytes()),
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
                Field::Str if at == owner => self.put_text(&mut out, Some(&definition.raw_owner)),
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
}

/// Writes the whole archive of which `toc` was read and whose blocks are left in `reader`: with entries for
/// `tables`, whose rows `rows` gives one after the other.
pub fn merge<E: From<MergeError>>(
    toc: &Toc,
    tables: &[TableEntry],
    rows: &mut dyn FnMut(&TableEntry, &mut dyn Write) -> Result<(), E>,
    reader: &mut dyn Read,
    out: &mut dyn Write,
) -> Result<(), E> {
    let io = |error: io::Error| E::from(MergeError::Io(error));
    let (layout, entries) = (toc.layout, &toc.entries);
    let place = entries.iter().position(|entry| entry.section >= SECTION_DATA);
    let (before, after) = entries.split_at(place.unwrap_or(entries.len()));
    let first = entries.iter().map(|entry| entry.dump_id).max().unwrap_or(0) + 1;
    let mut head = toc.bytes[..toc.head].to_vec();
    layout.put_int(&mut head, i64::try_from(entries.len() + tables.len()).unwrap_or(i64::MAX));
    out.write_all(&head).map_err(io)?;
    for entry in before {
        out.write_all(&toc.bytes[entry.place.clone()]).map_err(io)?;
    }
    let definitions: HashMap<(&str, &str), &TocEntry> = toc
        .of_kind("TABLE")
        .map(|entry| ((entry.schema.as_deref().unwrap_or_default(), entry.tag.as_str()), entry))
        .collect();
    for (id, table) in (first..).zip(tables) {
        let definition = definitions.get(&(table.schema.as_str(), table.name.as_str()));
        let definition = definition.ok_or_else(|| {
            let (schema, name) = (&table.schema, &table.name);
            MergeError::Malformed(format!("it does not define table {schema}.{name}"))
        })?;
        out.write_all(&layout.rows_entry(id, table, definition)).map_err(io)?;
    }
    for entry in after {
        out.write_all(&toc.bytes[entry.place.clone()]).map_err(io)?;
    }
    for (id, table) in (first..).zip(tables) {
        let mut head = vec![1];
        layout.put_int(&mut head, id);
        out.write_all(&head).map_err(io)?;
        let mut block = Block { layout, out: &mut *out, held: Vec::new() };
        rows(table, &mut block)?;
        block.end().map_err(io)?;
    }
    io::copy(reader, out).map_err(io)?;
    Ok(())
}

/// A table's block being written.
struct Block<'o> {
    layout: Layout,
    out: &'o mut dyn Write,
    held: Vec<u8>,
}

impl Block<'_> {
    fn send(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let mut head = Vec::new();
        self.layout.put_int(&mut head, i64::try_from(self.held.len()).unwrap_or(i64::MAX));
        self.out.write_all(&head)?;
        self.out.write_all(&self.held)?;
        self.held.clear();
        Ok(())
    }

    fn end(mut self) -> io::Result<()> {
        self.held.extend_from_slice(END);
        self.send()?;
        let mut head = Vec::new();
        self.layout.put_int(&mut head, 0);
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
