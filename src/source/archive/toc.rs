//! The table of contents of an archive in `pg_dump`'s custom format: what is in it, in what order.
//!
//! It comes first in the archive, so that it can be cut off: `pg_restore` makes everything but rows
//! from these bytes alone, and they are small enough to keep in memory where the archive is not.

use std::io::{self, Read};
use std::ops::Range;

use super::parser::{Field, LONGEST, VERSIONS, entry_fields, header_fields};

/// Longest table of contents taken, in bytes. One of a hundred thousand objects has some 50 MB.
const TOC_LIMIT: usize = 256 << 20;
/// Where an entry has what is looked at.
const TAG: usize = 4;
const KIND: usize = 5;
const SECTION: usize = 6;
const DEFINITION: usize = 7;
const SCHEMA: usize = 10;
const TABLESPACE: usize = 11;

/// Why there is no table of contents.
#[derive(Debug, thiserror::Error)]
pub enum TocError {
    /// The bytes cannot be had.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// They are something else.
    #[error("it is no archive of pg_dump that can be read here: {0}")]
    Malformed(String),
}

/// One object of an archive. What is not UTF-8 cannot be matched by name, but nothing breaks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TocEntry {
    /// What it is (`TABLE`, `TABLE DATA`, `FK CONSTRAINT`).
    pub kind: String,
    /// Its name; of what belongs to a table, the table's name and a space before.
    pub tag: String,
    /// Its schema.
    pub schema: Option<String>,
    /// Its owner.
    pub owner: String,
    /// The SQL that makes it.
    pub definition: String,
    /// Its tablespace.
    pub tablespace: Option<String>,
    /// 2 before the rows, 3 rows, 4 after them; 1 for what goes with another entry (comments, rights).
    pub section: i64,
    /// What its data and others that depend on it call it.
    pub(crate) dump_id: i64,
    /// Its owner as it is written: archives are in the database's encoding.
    pub(crate) raw_owner: Vec<u8>,
    /// Its own bytes in those of the table of contents.
    pub(crate) place: Range<usize>,
}

/// How an archive writes numbers, and which fields it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Layout {
    pub minor: u8,
    pub int_size: usize,
    pub offset_size: usize,
}

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Toc {
    /// Database.
    pub database: String,
    /// Version of the server.
    pub server_version: String,
    /// Version of `pg_dump`.
    pub dump_version: String,
    /// Entries in order.
    pub entries: Vec<TocEntry>,
    /// The archive up to here.
    pub bytes: Vec<u8>,
    pub(crate) layout: Layout,
    /// Bytes up to the number of entries.
    pub(crate) head: usize,
}

impl Toc {
    /// Reads the table of contents at the start of an archive, and nothing behind it (but for what
    /// `archive` buffers).
    pub fn read(archive: impl Read) -> Result<Self, TocError> {
        let mut scan = Scanner { inner: archive, bytes: Vec::new(), int_size: 4 };
        let start = <[u8; 11]>::try_from(scan.take(11)?).unwrap_or_default();
        let [b'P', b'G', b'D', b'M', b'P', major, minor, _, int_size, offset_size, format] = start
        else {
            return Err(malformed("it does not begin with PGDMP"));
        };
        if major != 1 || !VERSIONS.contains(&minor) {
            return Err(malformed(format!("version {major}.{minor} of the format")));
        }
        if !(1..=8).contains(&int_size) || !(1..=8).contains(&offset_size) || format != 1 {
            return Err(malformed("its numbers make no sense, or it is not in the custom format"));
        }
        let layout = Layout { minor, int_size: int_size.into(), offset_size: offset_size.into() };
        scan.int_size = layout.int_size;
        let mut texts = Vec::new();
        for field in header_fields(minor) {
            match field {
                Field::Byte => drop(scan.take(1)?),
                Field::Str => texts.push(text_of(scan.text()?.unwrap_or_default())),
                Field::Count => break,
                _ => drop(scan.int()?),
            }
        }
        let head = scan.bytes.len();
        let count = scan.int()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(scan.entry(layout)?);
        }
        let mut texts = texts.into_iter();
        let mut next = || texts.next().unwrap_or_default();
        Ok(Self {
            database: next(),
            server_version: next(),
            dump_version: next(),
            entries,
            bytes: scan.bytes,
            layout,
            head,
        })
    }

    /// Entries of one kind.
    pub fn of_kind<'t>(&'t self, kind: &'t str) -> impl Iterator<Item = &'t TocEntry> {
        self.entries.iter().filter(move |entry| entry.kind == kind)
    }

    /// Entries about the database itself, of `kind` (`COMMENT`, `ACL`, `SECURITY LABEL`).
    pub fn of_database<'t>(&'t self, kind: &'t str) -> impl Iterator<Item = &'t TocEntry> {
        let tag = format!("DATABASE {}", self.database_tag());
        self.of_kind(kind).filter(move |entry| entry.tag == tag)
    }

    /// The name of the database as its entry has it: the header's may be a connection string.
    pub fn database_tag(&self) -> &str {
        self.of_kind("DATABASE").next().map_or(self.database.as_str(), |entry| entry.tag.as_str())
    }
}

/// A number as archives write it: its sign, then its bytes, the least first.
fn number_of(bytes: &[u8]) -> Result<i64, TocError> {
    let value = bytes[1..].iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    match (bytes[0], i64::try_from(value)) {
        (0, Ok(value)) => Ok(value),
        (1, Ok(value)) => Ok(-value),
        _ => Err(malformed("there is no number where one should be")),
    }
}

/// The next number of an archive whose table of contents was read.
pub(super) fn number(reader: &mut impl Read, layout: Layout) -> Result<i64, TocError> {
    let mut bytes = [0; 9];
    let bytes = &mut bytes[..=layout.int_size];
    reader.read_exact(bytes)?;
    number_of(bytes)
}

pub(super) fn malformed(reason: impl Into<String>) -> TocError {
    TocError::Malformed(reason.into())
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Reads with the sizes of one archive and keeps what it read.
struct Scanner<R> {
    inner: R,
    bytes: Vec<u8>,
    int_size: usize,
}

impl<R: Read> Scanner<R> {
    /// The next `len` bytes; they are kept, too.
    fn take(&mut self, len: usize) -> Result<&[u8], TocError> {
        let start = self.bytes.len();
        if len > TOC_LIMIT - start.min(TOC_LIMIT) {
            return Err(malformed("its table of contents is longer than 256 MiB"));
        }
        // Not believed before it is there: memory grows with what is read.
        let read = self.inner.by_ref().take(len as u64).read_to_end(&mut self.bytes)?;
        if read < len {
            return Err(malformed("it ends within its table of contents"));
        }
        Ok(&self.bytes[start..])
    }

    fn int(&mut self) -> Result<i64, TocError> {
        let size = self.int_size;
        number_of(self.take(1 + size)?)
    }

    fn text(&mut self) -> Result<Option<Vec<u8>>, TocError> {
        match self.int()? {
            -1 => Ok(None),
            len if (0..=LONGEST).contains(&len) => {
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                self.take(len).map(|bytes| Some(bytes.to_vec()))
            }
            len => Err(malformed(format!("a text is {len} long"))),
        }
    }

    fn entry(&mut self, layout: Layout) -> Result<TocEntry, TocError> {
        let begin = self.bytes.len();
        let mut entry = TocEntry::default();
        let fields = entry_fields(layout.minor);
        // Behind it are only whether it has oids, what it depends on and where its data is.
        let owner = fields.len() - 4;
        for (at, field) in fields.into_iter().enumerate() {
            match field {
                Field::DumpId => entry.dump_id = self.int()?,
                Field::Str => {
                    let text = self.text()?;
                    let named =
                        |text: Option<Vec<u8>>| text.filter(|text| !text.is_empty()).map(text_of);
                    match at {
                        _ if at == owner => {
                            entry.raw_owner = text.unwrap_or_default();
                            entry.owner = text_of(entry.raw_owner.clone());
                        }
                        TAG => entry.tag = text_of(text.unwrap_or_default()),
                        KIND => entry.kind = text_of(text.unwrap_or_default()),
                        DEFINITION => entry.definition = text_of(text.unwrap_or_default()),
                        SCHEMA => entry.schema = named(text),
                        TABLESPACE => entry.tablespace = named(text),
                        _ => {}
                    }
                }
                Field::StrList => while self.text()?.is_some() {},
                Field::Offset => drop(self.take(1 + layout.offset_size)?),
                Field::Byte => drop(self.take(1)?),
                Field::Int if at == SECTION => entry.section = self.int()?,
                Field::Int | Field::Count | Field::HasData => drop(self.int()?),
            }
        }
        entry.place = begin..self.bytes.len();
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(value: i64) -> Vec<u8> {
        let sign = u8::from(value < 0);
        [&[sign][..], &u32::try_from(value.abs()).unwrap().to_le_bytes()].concat()
    }

    fn text(value: &str) -> Vec<u8> {
        [int(value.len() as i64), value.as_bytes().to_vec()].concat()
    }

    /// An archive of version 1.`minor` with one entry, and something behind it.
    fn archive(minor: u8) -> Vec<u8> {
        let mut bytes = [b"PGDMP".as_slice(), &[1, minor, 0, 4, 8, 1]].concat();
        bytes.extend(if minor >= 15 { vec![0] } else { int(0) });
        bytes.extend(int(0).repeat(7));
        bytes.extend([text("mrs"), text("15.18"), text("15.18 (Debian)"), int(1)].concat());
        bytes
            .extend([int(7), int(0), text("0"), text("0"), text("mrs"), text("DATABASE")].concat());
        bytes.extend([int(2), text("CREATE DATABASE mrs;\n"), text(""), int(-1)].concat());
        bytes.extend([int(-1), text("")].concat());
        if minor >= 14 {
            bytes.extend(int(-1));
        }
        if minor >= 16 {
            bytes.extend(int(0));
        }
        bytes.extend([text("django"), text("false"), text("3"), int(-1)].concat());
        bytes.extend([0; 9]);
        bytes
    }

    #[test]
    fn every_version_is_read_up_to_its_end() {
        for minor in VERSIONS {
            let whole = archive(minor);
            let toc = Toc::read([&whole[..], b"rows"].concat().as_slice()).unwrap();
            assert_eq!(toc.bytes, whole, "1.{minor}");
            assert_eq!((toc.database_tag(), toc.server_version.as_str()), ("mrs", "15.18"));
            let entry = &toc.entries[0];
            assert_eq!((entry.owner.as_str(), entry.schema.as_deref()), ("django", None));
            assert_eq!(entry.definition, "CREATE DATABASE mrs;\n");
        }
    }

    #[test]
    fn cut_or_strange_archives_are_refused() {
        let whole = archive(14);
        for len in 0..whole.len() {
            assert!(matches!(Toc::read(&whole[..len]), Err(TocError::Malformed(_))), "{len}");
        }
        for (at, byte) in [(0, b'X'), (6, 99), (8, 9), (10, 3), (11, 7)] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            assert!(matches!(Toc::read(bytes.as_slice()), Err(TocError::Malformed(_))), "{at}");
        }
        // A text that claims to be longer than anything is not believed.
        let mut bytes = whole;
        bytes.truncate(11 + 8 * 5);
        bytes.extend([0, 255, 255, 255, 255]);
        assert!(matches!(Toc::read(bytes.as_slice()), Err(TocError::Malformed(_))));
    }
}
