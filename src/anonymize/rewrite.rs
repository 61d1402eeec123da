//! Rows on their way: looked at in a first pass, rewritten in a second.

use std::borrow::Cow;
use std::io::{self, Read};

use super::charset::Charset;
use super::copy_text::{Lines, NULL, decode, encode, fields};
use super::originals::{Gatherer, Originals};
use super::program::{Action, ColumnProgram, Leak, TableProgram, Trouble};
use super::row::Cells;
use super::rule::Missing;
use super::scan::Scanner;
use super::subset::KeptRows;
use super::transform::{FileSink, Made, Place, Survey, Unfit, UnlistedKeys};

/// Bytes read at once.
const PIECE: usize = 64 << 10;
/// Kinds of trouble of one column that are told.
const TOLD: usize = 5;

/// The fields of a row, and the values of it that are looked at.
struct Reading<'p> {
    table: &'p TableProgram,
    charset: Charset,
    cells: Cells,
    /// Where each field of the row begins and ends.
    bounds: Vec<(usize, usize)>,
    number: u64,
}

impl<'p> Reading<'p> {
    fn new(table: &'p TableProgram, charset: Charset) -> Self {
        let cells = Cells::new(table.columns.len());
        Self { table, charset, cells, bounds: Vec::new(), number: 0 }
    }

    fn trouble(&self, column: usize, reason: String, line: &[u8]) -> Trouble {
        let key: Vec<&[u8]> = fields(line).collect();
        let key: Vec<&[u8]> =
            self.table.key_columns.iter().filter_map(|at| key.get(*at).copied()).collect();
        Trouble {
            table: self.table.title.clone(),
            column: self.table.columns.get(column).map_or_else(String::new, |c| c.name.clone()),
            row: self.table.row_name(&String::from_utf8_lossy(&key.join(&b'\t'))),
            number: self.number,
            reason,
        }
    }

    /// Takes the fields of a row apart.
    fn take(&mut self, line: &[u8]) -> Result<(), (usize, String)> {
        self.number += 1;
        if self.table.columns.is_empty() {
            return Ok(());
        }
        self.bounds.clear();
        // Looked through once, not field by field: a part of a text is one.
        let whole = str::from_utf8(line).ok().filter(|_| self.charset == Charset::Utf8);
        let mut start = 0;
        for (at, raw) in fields(line).enumerate() {
            let bounds = (start, start + raw.len());
            self.bounds.push(bounds);
            start += raw.len() + 1;
            let Some(column) = self.table.columns.get(at) else { break };
            if !column.needs_original {
                continue;
            }
            let Some(cell) = self.cells.originals.get_mut(at) else { break };
            cell.clear();
            let text = whole.and_then(|whole| whole.get(bounds.0..bounds.1));
            match (decode(raw), text) {
                (None, _) => cell.is_null = true,
                (Some(Cow::Borrowed(_)), Some(text)) => cell.text.push_str(text),
                (Some(value), _) => self
                    .charset
                    .decode(&value, &mut cell.text)
                    .ok_or_else(|| (at, "it is not in the encoding of the database".to_owned()))?,
            }
        }
        let count = self.bounds.len();
        match count == self.table.columns.len() {
            true => Ok(()),
            false => {
                Err((0, format!("the row has {count} fields or more, not as many as columns")))
            }
        }
    }
}

/// What becomes of a value that is missing.
enum Absent {
    Value,
    Null,
    Empty,
}

fn absent(column: &ColumnProgram, value: Option<&str>) -> Result<Absent, Unfit> {
    let rule = match value {
        None => column.null,
        Some("") => column.empty,
        Some(_) => return Ok(Absent::Value),
    };
    match (rule, value) {
        (Missing::Transform, Some(_)) => Ok(Absent::Value),
        (Missing::Keep, None) | (Missing::Null, _) | (Missing::Transform, None) => Ok(Absent::Null),
        (Missing::Keep, Some(_)) | (Missing::Empty, _) => Ok(Absent::Empty),
        (Missing::Refuse, None) => Err("NULL must not be there".into()),
        (Missing::Refuse, Some(_)) => Err("an empty text must not be there".into()),
    }
}

/// The first pass over a table.
pub struct Surveyor<'p> {
    reading: Reading<'p>,
    /// Keys of JSON that no rule names, by column.
    pub unlisted: Vec<UnlistedKeys>,
    /// Rows that cannot be rewritten: the first of each kind, and how many there are.
    pub troubles: Vec<(Trouble, u64)>,
    /// The row is not copied: what is in it is looked for all the same, and nothing of it has to fit.
    is_dropped: bool,
}

impl<'p> Surveyor<'p> {
    /// Of a table whose rows are in `charset`.
    pub fn new(table: &'p TableProgram, charset: Charset) -> Self {
        let unlisted = vec![UnlistedKeys::default(); table.columns.len()];
        Self {
            reading: Reading::new(table, charset),
            unlisted,
            troubles: Vec::new(),
            is_dropped: false,
        }
    }

    /// Rows so far.
    pub const fn rows(&self) -> u64 {
        self.reading.number
    }

    fn note(&mut self, column: usize, reason: String, line: &[u8]) {
        if self.is_dropped {
            return;
        }
        let name = self.reading.table.columns.get(column).map(|column| column.name.as_str());
        let same = |known: &&mut (Trouble, u64)| {
            Some(known.0.column.as_str()) == name && known.0.reason == reason
        };
        if let Some(known) = self.troubles.iter_mut().find(same) {
            known.1 += 1;
            return;
        }
        let of_column = |known: &&(Trouble, u64)| Some(known.0.column.as_str()) == name;
        if self.troubles.iter().filter(of_column).count() < TOLD {
            self.troubles.push((self.reading.trouble(column, reason, line), 1));
        }
    }

    /// Looks at a row that is not copied: only what will be looked for is taken of it.
    pub fn dropped(&mut self, line: &[u8], gatherer: &mut Gatherer) {
        self.is_dropped = true;
        self.row(line, gatherer);
        self.is_dropped = false;
    }

    /// Looks at a row, `line` without its end.
    pub fn row(&mut self, line: &[u8], gatherer: &mut Gatherer) {
        if let Err((column, reason)) = self.reading.take(line) {
            self.note(column, reason, line);
            return;
        }
        let table = self.reading.table;
        for (at, column) in table.columns.iter().enumerate() {
            let Action::Transform(transformer) = &column.action else { continue };
            let value = self.reading.cells.original(at);
            let result = absent(column, value).and_then(|absent| match (absent, value) {
                (Absent::Value, Some(value)) if column.is_gathered => {
                    let mut needless = UnlistedKeys::default();
                    let unlisted = match self.is_dropped {
                        true => Some(&mut needless),
                        false => self.unlisted.get_mut(at),
                    };
                    let Some(unlisted) = unlisted else { return Ok(()) };
                    transformer.survey(value, &mut Survey { gatherer, unlisted })
                }
                _ => Ok(()),
            });
            if let Err(Unfit(reason)) = result {
                self.note(at, reason, line);
            }
        }
        if let Some((first, last)) = table.names
            && let (Some(first), Some(last)) =
                (self.reading.cells.original(first), self.reading.cells.original(last))
        {
            gatherer.pair(first, last);
        }
    }
}

/// Why a row is not rewritten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// It cannot be.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// Something in it was removed elsewhere.
    #[error(transparent)]
    Leak(#[from] Leak),
}

/// What was done to the columns of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows that were copied.
    pub rows: u64,
    /// Rows that were left out.
    pub dropped: u64,
    /// For each column: values that were made anew, and those that were missing.
    pub columns: Vec<(u64, u64)>,
}

/// The second pass over a table.
pub struct Rewriter<'p> {
    reading: Reading<'p>,
    originals: &'p Originals,
    files: &'p dyn FileSink,
    scanner: Scanner,
    scratch: String,
    bytes: Vec<u8>,
    counts: Counts,
    kept: Option<&'p KeptRows>,
    /// A row some of whose references became NULL.
    erased: Vec<u8>,
}

impl<'p> Rewriter<'p> {
    /// Of a table whose rows are in `charset`.
    pub fn new(
        table: &'p TableProgram,
        charset: Charset,
        originals: &'p Originals,
        files: &'p dyn FileSink,
    ) -> Self {
        Self {
            reading: Reading::new(table, charset),
            originals,
            files,
            scanner: Scanner::default(),
            scratch: String::new(),
            bytes: Vec::new(),
            counts: Counts { columns: vec![(0, 0); table.columns.len()], ..Counts::default() },
            kept: None,
            erased: Vec::new(),
        }
    }

    /// Of these rows only.
    #[must_use]
    pub const fn keeping(mut self, kept: Option<&'p KeptRows>) -> Self {
        self.kept = kept;
        self
    }

    /// Appends the row that takes the place of `line`, with its end, unless it is left out.
    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), RewriteError> {
        let number = self.reading.number;
        match self.kept {
            Some(kept) if !kept.keeps(number) => {
                self.reading.number += 1;
                self.counts.dropped += 1;
                return Ok(());
            }
            Some(kept) if kept.erases(number) => {
                let mut erased = std::mem::take(&mut self.erased);
                erased.clear();
                for (at, raw) in fields(line).enumerate() {
                    if at > 0 {
                        erased.push(b'\t');
                    }
                    let is_erased = kept.erases_column(number, at);
                    erased.extend_from_slice(if is_erased { NULL } else { raw });
                }
                let result = self.row(&erased, out);
                self.erased = erased;
                result?;
            }
            _ => self.row(line, out)?,
        }
        out.push(b'\n');
        Ok(())
    }

    /// Rows so far.
    pub const fn rows(&self) -> u64 {
        self.reading.number
    }

    /// Appends the row that takes the place of `line` to `out`, both without their ends.
    pub fn row(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), RewriteError> {
        let result = self.reading.take(line).and_then(|()| self.make());
        result.map_err(|(column, reason)| self.reading.trouble(column, reason, line))?;
        self.counts.rows += 1;
        let table = self.reading.table;
        for (at, column) in table.columns.iter().enumerate() {
            if at > 0 {
                out.push(b'\t');
            }
            let bounds = self.reading.bounds.get(at).copied().unwrap_or_default();
            let raw = line.get(bounds.0..bounds.1).unwrap_or_default();
            let is_clean = match &column.action {
                Action::Keep => {
                    out.extend_from_slice(raw);
                    self.is_clean(column, at, Some(raw))
                }
                Action::Transform(_) => {
                    match self.reading.cells.made(at) {
                        None => out.extend_from_slice(NULL),
                        Some(text) if self.reading.charset == Charset::Utf8 => {
                            encode(text.as_bytes(), out);
                        }
                        Some(text) => {
                            self.bytes.clear();
                            self.reading.charset.encode(text, &mut self.bytes);
                            encode(&self.bytes, out);
                        }
                    }
                    self.is_clean(column, at, None)
                }
            };
            if let Err(hit) = is_clean {
                let (table, column) = (table.title.clone(), column.name.clone());
                return Err(Leak { table, column, hit }.into());
            }
        }
        Ok(())
    }

    /// Makes all columns that are made anew, and notes the others that somebody looks at.
    fn make(&mut self) -> Result<(), (usize, String)> {
        let table = self.reading.table;
        for at in table.order.iter().copied() {
            let Some(column) = table.columns.get(at) else { continue };
            let Action::Transform(transformer) = &column.action else {
                if let (Some(made), Some(original)) =
                    (self.reading.cells.made.get_mut(at), self.reading.cells.originals.get(at))
                {
                    made.clone_from(original);
                }
                continue;
            };
            let cells = &self.reading.cells;
            let value = cells.original(at);
            self.scratch.clear();
            let place = Place { cells, originals: self.originals, files: self.files };
            let absent = absent(column, value).map_err(|Unfit(reason)| (at, reason))?;
            if let Some((made, missing)) = self.counts.columns.get_mut(at) {
                *if matches!(absent, Absent::Value) { made } else { missing } += 1;
            }
            let made = match (absent, value) {
                (Absent::Value, Some(value)) => transformer.apply(value, &place, &mut self.scratch),
                (Absent::Empty, _) => Ok(Made::Value),
                _ => Ok(Made::Null),
            };
            let made = made.map_err(|Unfit(reason)| (at, reason))?;
            if let Some(cell) = self.reading.cells.made.get_mut(at) {
                cell.is_null = made == Made::Null;
                std::mem::swap(&mut cell.text, &mut self.scratch);
            }
        }
        Ok(())
    }

    /// Looks for what was removed in a value that is copied.
    fn is_clean(
        &mut self,
        column: &ColumnProgram,
        at: usize,
        raw: Option<&[u8]>,
    ) -> Result<(), super::scan::Hit> {
        let Some(depth) = column.depth else { return Ok(()) };
        let value;
        let text = match raw {
            None => self.reading.cells.made(at),
            Some(raw) if raw.len() < super::originals::SHORTEST => return Ok(()),
            Some(raw) => {
                let Some(decoded) = decode(raw) else { return Ok(()) };
                value = decoded;
                let charset = self.reading.charset;
                Some(readable(&value, column.is_hex, charset, &mut self.scratch))
            }
        };
        match text.and_then(|text| self.scanner.scan(text, depth, self.originals)) {
            Some(hit) => Err(hit),
            None => Ok(()),
        }
    }
}

/// A value as the text that is looked at. What is no text in the encoding is looked at as far as it is one.
fn readable<'v>(
    value: &'v [u8],
    is_hex: bool,
    charset: Charset,
    scratch: &'v mut String,
) -> &'v str {
    scratch.clear();
    if is_hex {
        unhex(value, scratch);
        return scratch;
    }
    match str::from_utf8(value) {
        Ok(text) if charset == Charset::Utf8 => return text,
        _ => {}
    }
    if charset.decode(value, scratch).is_none() {
        scratch.push_str(&String::from_utf8_lossy(value));
    }
    scratch
}

/// Bytes that PostgreSQL wrote as `\x0102`, as text as far as they are some.
fn unhex(value: &[u8], text: &mut String) {
    let digits = value.strip_prefix(b"\\x").unwrap_or(value);
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0) as u8;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0_u8, |byte, next| (byte << 4) | digit(next)))
        .collect();
    text.push_str(&String::from_utf8_lossy(&bytes));
}

/// Rows that come in pieces, rewritten.
pub struct RowStream<'p> {
    rewriter: Rewriter<'p>,
    is_emptied: bool,
    lines: Lines,
}

impl<'p> RowStream<'p> {
    /// Rewritten by `rewriter`.
    pub fn new(rewriter: Rewriter<'p>) -> Self {
        let is_emptied = rewriter.reading.table.is_emptied;
        Self { rewriter, is_emptied, lines: Lines::default() }
    }

    /// Takes the next bytes; appends what rows of them became to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), RewriteError> {
        if self.is_emptied {
            return Ok(());
        }
        let Self { rewriter, lines, .. } = self;
        lines.push(bytes, |line| rewriter.line(line, out))
    }

    /// Whether the last row has come to its end.
    pub const fn is_whole(&self) -> bool {
        self.lines.is_whole()
    }

    /// Rows so far.
    pub const fn rows(&self) -> u64 {
        self.rewriter.rows()
    }

    /// What was done so far.
    pub const fn counts(&self) -> &Counts {
        &self.rewriter.counts
    }
}

/// Reads rewritten rows out of the original ones.
pub struct Rewritten<'p, R> {
    inner: R,
    rows: RowStream<'p>,
    piece: Vec<u8>,
    /// Rewritten, but not yet given away.
    made: Vec<u8>,
    given: usize,
    is_done: bool,
}

impl<'p, R: Read> Rewritten<'p, R> {
    /// What `inner` gives, rewritten by `rewriter`.
    pub fn new(inner: R, rewriter: Rewriter<'p>) -> Self {
        let rows = RowStream::new(rewriter);
        Self { inner, rows, piece: vec![0; PIECE], made: Vec::new(), given: 0, is_done: false }
    }

    /// What was done so far.
    pub const fn counts(&self) -> &Counts {
        self.rows.counts()
    }

    /// Rewrites as many rows as one piece of the original holds.
    fn fill(&mut self) -> io::Result<()> {
        self.made.clear();
        self.given = 0;
        let count = match self.inner.read(&mut self.piece) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        };
        self.is_done = count == 0;
        if self.is_done && !self.rows.is_whole() {
            return Err(io::Error::other("the last row has no end"));
        }
        // Of an emptied table everything is read all the same, and compared with what was stored.
        let piece = self.piece.get(..count).unwrap_or_default();
        self.rows.push(piece, &mut self.made).map_err(io::Error::other)
    }
}

impl<R: Read> Read for Rewritten<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.made.len() && !self.is_done {
            self.fill()?;
        }
        let rest = self.made.get(self.given..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;
