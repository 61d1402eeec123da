//! The table of contents of an archive in `pg_dump`'s custom format: what is in it, in what order.
//!
//! It comes first in the archive, so that it can be cut off: `pg_restore` makes everything but rows
//! from these bytes alone, and they are small enough to keep in memory where the archive is not.

use std::io::{self, Read};

/// Longest table of contents taken, in bytes. One of a hundred thousand objects has some 50 MB.
pub const TOC_LIMIT: u64 = 256 << 20;
/// Versions of the format that are known: those of PostgreSQL 9.0 to 18.
const VERSIONS: std::ops::RangeInclusive<u8> = 12..=16;

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

/// One object of an archive.
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
}

impl Toc {
    /// Reads the table of contents at the start of an archive, and nothing behind it (but for what
    /// `archive` buffers).
    pub fn read(archive: impl Read) -> Result<Self, TocError> {
        let mut reader = Reader { inner: archive, bytes: Vec::new(), int_size: 4 };
        let magic = reader.take(5)?;
        if magic != b"PGDMP" {
            return Err(malformed("it does not begin with PGDMP"));
        }
        let version = <[u8; 3]>::try_from(reader.take(3)?).unwrap_or_default();
        let minor = version[1];
        if version[0] != 1 || !VERSIONS.contains(&minor) {
            return Err(malformed(&format!("version {}.{minor} of the format", version[0])));
        }
        let sizes = <[u8; 3]>::try_from(reader.take(3)?).unwrap_or_default();
        if !(1..=8).contains(&sizes[0]) || !(1..=8).contains(&sizes[1]) || sizes[2] != 1 {
            return Err(malformed("its numbers make no sense, or it is not in the custom format"));
        }
        reader.int_size = usize::from(sizes[0]);
        let offset_size = usize::from(sizes[1]);
        if minor >= 15 {
            reader.take(1)?;
        } else {
            reader.int()?;
        }
        for _ in 0..7 {
            reader.int()?;
        }
        let database = reader.text()?.unwrap_or_default();
        let server_version = reader.text()?.unwrap_or_default();
        let dump_version = reader.text()?.unwrap_or_default();
        let count = reader.int()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(reader.entry(minor, offset_size)?);
        }
        Ok(Self { database, server_version, dump_version, entries, bytes: reader.bytes })
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

fn malformed(reason: &str) -> TocError {
    TocError::Malformed(reason.to_owned())
}

struct Reader<R> {
    inner: R,
    bytes: Vec<u8>,
    int_size: usize,
}

impl<R: Read> Reader<R> {
    /// The next `len` bytes; they are kept, too.
    fn take(&mut self, len: usize) -> Result<&[u8], TocError> {
        let start = self.bytes.len();
        if (start + len) as u64 > TOC_LIMIT {
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
        let bytes = self.take(1 + size)?;
        let value =
            bytes[1..].iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        match (bytes[0], i64::try_from(value)) {
            (0, Ok(value)) => Ok(value),
            (1, Ok(value)) => Ok(-value),
            _ => Err(malformed("there is no number where one should be")),
        }
    }

    fn text(&mut self) -> Result<Option<String>, TocError> {
        let len = self.int()?;
        let Ok(len) = usize::try_from(len) else { return Ok(None) };
        // Databases need not be in UTF-8; names that are not cannot be matched, but nothing breaks.
        Ok(Some(String::from_utf8_lossy(self.take(len)?).into_owned()))
    }

    fn entry(&mut self, minor: u8, offset_size: usize) -> Result<TocEntry, TocError> {
        // Its number, whether it has data, two object ids.
        self.int()?;
        self.int()?;
        self.text()?;
        self.text()?;
        let tag = self.text()?.unwrap_or_default();
        let kind = self.text()?.unwrap_or_default();
        let section = self.int()?;
        let definition = self.text()?.unwrap_or_default();
        // How to drop it, and its COPY statement.
        self.text()?;
        self.text()?;
        let schema = self.text()?.filter(|schema| !schema.is_empty());
        let tablespace = self.text()?.filter(|name| !name.is_empty());
        if minor >= 14 {
            self.text()?;
        }
        if minor >= 16 {
            self.int()?;
        }
        let owner = self.text()?.unwrap_or_default();
        // Whether with oids; then the numbers of what it depends on.
        self.text()?;
        while self.text()?.is_some() {}
        self.take(1 + offset_size)?;
        Ok(TocEntry { kind, tag, schema, owner, definition, tablespace, section })
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
