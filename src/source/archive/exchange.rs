//! An archive whose rows are exchanged while it passes: for what must not leave as it is.

use std::collections::HashMap;
use std::io::{self, Read};

use super::rows::END;
use super::toc::{Layout, Toc, TocEntry, TocError, malformed, number};

/// Bytes of a chunk that are taken at once.
const PIECE: usize = 256 << 10;

/// Takes the rows of one table as they are, and gives what shall stand in their place.
pub trait RowsFilter {
    /// Takes the next bytes; appends what is to be written to `out`.
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()>;

    /// All rows have come.
    fn finish(&mut self) -> io::Result<()>;
}

/// Gives the filter for the rows of an entry.
pub type FilterOf<'f> =
    dyn Fn(&TocEntry) -> io::Result<Box<dyn RowsFilter + Send + 'f>> + Send + 'f;

/// Reads an archive in which rows are exchanged, and large objects are there but empty.
pub struct ExchangedArchive<'f, R> {
    inner: R,
    layout: Layout,
    entries: HashMap<i64, TocEntry>,
    filter_of: Box<FilterOf<'f>>,
    made: Vec<u8>,
    given: usize,
    state: State<'f>,
}

enum State<'f> {
    /// Between two blocks.
    Between,
    /// Within a table's rows: the filter, and the last bytes, which may be the end marker.
    Rows { filter: Box<dyn RowsFilter + Send + 'f>, held: Vec<u8>, left: u64 },
    /// Everything has passed.
    Done,
}

fn io_error(error: TocError) -> io::Error {
    match error {
        TocError::Read(error) => error,
        error @ TocError::Malformed(_) => io::Error::other(error.to_string()),
    }
}

impl<'f, R: Read> ExchangedArchive<'f, R> {
    /// Reads what `archive` gives; its table of contents becomes that of `toc`, which may lack entries
    /// without data.
    pub fn new(mut archive: R, toc: &Toc, filter_of: Box<FilterOf<'f>>) -> Result<Self, TocError> {
        Toc::read(&mut archive)?;
        let entries = toc.entries.iter().map(|entry| (entry.dump_id, entry.clone())).collect();
        Ok(Self {
            inner: archive,
            layout: toc.layout,
            entries,
            filter_of,
            made: toc.bytes.clone(),
            given: 0,
            state: State::Between,
        })
    }

    fn put(&mut self, value: i64) {
        self.layout.put_int(&mut self.made, value);
    }

    /// The next block's head.
    fn block(&mut self) -> io::Result<()> {
        let mut kind = [0];
        loop {
            match self.inner.read(&mut kind) {
                Ok(0) => {
                    self.state = State::Done;
                    return Ok(());
                }
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let id = number(&mut self.inner, self.layout).map_err(io_error)?;
        match kind {
            [1] => {
                let entry = self.entries.get(&id).filter(|entry| entry.kind == "TABLE DATA");
                let entry = entry.ok_or_else(|| {
                    io_error(malformed(format!("entry {id} has data but is no table's rows")))
                })?;
                let filter = (self.filter_of)(entry)?;
                self.made.push(1);
                self.put(id);
                self.state = State::Rows { filter, held: Vec::new(), left: 0 };
                Ok(())
            }
            [3] => {
                self.made.push(3);
                self.put(id);
                self.large_objects()
            }
            [other] => Err(io_error(malformed(format!("byte {other} begins no block of data")))),
        }
    }

    fn chunk_len(&mut self) -> io::Result<u64> {
        let len = number(&mut self.inner, self.layout).map_err(io_error)?;
        u64::try_from(len).map_err(|_| io_error(malformed(format!("a chunk is {len} long"))))
    }

    /// Large objects keep their numbers and nothing else.
    fn large_objects(&mut self) -> io::Result<()> {
        loop {
            let oid = number(&mut self.inner, self.layout).map_err(io_error)?;
            self.put(oid);
            if oid == 0 {
                return Ok(());
            }
            self.put(0);
            loop {
                let len = self.chunk_len()?;
                if len == 0 {
                    break;
                }
                let skipped = io::copy(&mut self.inner.by_ref().take(len), &mut io::sink())?;
                if skipped < len {
                    return Err(io_error(malformed("it ends within a large object")));
                }
            }
        }
    }

    /// The next piece of a table's rows.
    fn rows(&mut self) -> io::Result<()> {
        let State::Rows { mut filter, mut held, left } =
            std::mem::replace(&mut self.state, State::Done)
        else {
            return Ok(());
        };
        let left = if left == 0 { self.chunk_len()? } else { left };
        let mut out = Vec::new();
        if left == 0 {
            if held != END {
                return Err(io_error(malformed("the rows of a table have no end")));
            }
            filter.finish()?;
            out.extend_from_slice(END);
            self.chunk(&out);
            self.put(0);
            self.state = State::Between;
            return Ok(());
        }
        let take = left.min(PIECE as u64);
        let before = held.len();
        let count = self.inner.by_ref().take(take).read_to_end(&mut held)?;
        if count as u64 != take {
            return Err(io_error(malformed("it ends within the rows of a table")));
        }
        debug_assert!(held.len() >= before);
        let sure = held.len().saturating_sub(END.len());
        filter.push(held.get(..sure).unwrap_or_default(), &mut out)?;
        held.drain(..sure);
        self.chunk(&out);
        self.state = State::Rows { filter, held, left: left - take };
        Ok(())
    }

    fn chunk(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.put(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
            self.made.extend_from_slice(bytes);
        }
    }
}

impl<R: Read> Read for ExchangedArchive<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.made.len() {
            self.made.clear();
            self.given = 0;
            match self.state {
                State::Done => return Ok(0),
                State::Between => self.block()?,
                State::Rows { .. } => self.rows()?,
            }
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

impl Toc {
    /// The same without the entries that `is_left_out` says. Those with data have to stay.
    #[must_use]
    pub fn without(&self, is_left_out: impl Fn(&TocEntry) -> bool) -> Self {
        let kept: Vec<&TocEntry> =
            self.entries.iter().filter(|entry| !is_left_out(entry)).collect();
        let mut bytes = self.bytes.get(..self.head).unwrap_or_default().to_vec();
        self.layout.put_int(&mut bytes, i64::try_from(kept.len()).unwrap_or(i64::MAX));
        let mut entries = Vec::with_capacity(kept.len());
        for entry in kept {
            let start = bytes.len();
            bytes.extend_from_slice(self.bytes.get(entry.place.clone()).unwrap_or_default());
            let place = start..bytes.len();
            entries.push(TocEntry { place, ..entry.clone() });
        }
        Self { entries, bytes, ..self.clone() }
    }
}
