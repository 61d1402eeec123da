//! The rows of one table out of an archive: what lies before them passes unread, what lies behind is left.

use std::io::{self, Read};

use super::rows::END;
use super::toc::{Layout, Toc, TocError, malformed, number};

/// Reads a table's rows as `COPY` text.
#[derive(Debug)]
pub struct TableRows<R> {
    reader: R,
    layout: Layout,
    /// Bytes left of the chunk that is being read.
    left: u64,
    /// The last bytes that came: the end marker, if this is the end.
    held: Vec<u8>,
    is_done: bool,
}

impl<R: Read> TableRows<R> {
    /// Finds the rows of `schema.name` in the archive that `reader` gives.
    pub fn find(mut reader: R, schema: &str, name: &str) -> Result<Self, TocError> {
        let toc = Toc::read(&mut reader)?;
        let is_it =
            |entry: &&super::TocEntry| entry.schema.as_deref() == Some(schema) && entry.tag == name;
        let wanted = toc.of_kind("TABLE DATA").find(is_it);
        let wanted = wanted.ok_or_else(|| malformed("it has no rows of the table"))?.dump_id;
        let layout = toc.layout;
        loop {
            let mut kind = [0];
            reader.read_exact(&mut kind).map_err(cut)?;
            let id = number(&mut reader, layout)?;
            match kind[0] {
                1 if id == wanted => break,
                1 => skip_chunks(&mut reader, layout)?,
                3 => {
                    while number(&mut reader, layout)? != 0 {
                        skip_chunks(&mut reader, layout)?;
                    }
                }
                other => return Err(malformed(format!("byte {other} begins no block of data"))),
            }
        }
        Ok(Self { reader, layout, left: 0, held: Vec::new(), is_done: false })
    }

    /// The next bytes of the block; 0 at its end.
    fn raw(&mut self, buffer: &mut [u8]) -> Result<usize, TocError> {
        if self.left == 0 {
            self.left = chunk_len(&mut self.reader, self.layout)?;
        }
        let len = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(0);
        }
        match self.reader.read(&mut buffer[..len])? {
            0 => Err(malformed("it ends within the rows of the table")),
            count => {
                self.left -= count as u64;
                Ok(count)
            }
        }
    }
}

/// That an archive ends too soon, or why it cannot be read.
fn cut(error: io::Error) -> TocError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => malformed("it ends before the rows of the table"),
        _ => TocError::Read(error),
    }
}

fn chunk_len(reader: &mut impl Read, layout: Layout) -> Result<u64, TocError> {
    let len = number(reader, layout)?;
    u64::try_from(len).map_err(|_| malformed(format!("a chunk is {len} long")))
}

fn skip_chunks(reader: &mut impl Read, layout: Layout) -> Result<(), TocError> {
    loop {
        let len = chunk_len(reader, layout)?;
        if len == 0 {
            return Ok(());
        }
        if io::copy(&mut reader.by_ref().take(len), &mut io::sink())? < len {
            return Err(malformed("it ends before the rows of the table"));
        }
    }
}

impl<R: Read> Read for TableRows<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let failed = |error: TocError| match error {
            TocError::Read(error) => error,
            error @ TocError::Malformed(_) => io::Error::other(error.to_string()),
        };
        while !self.is_done && !buffer.is_empty() {
            let mut piece = vec![0; buffer.len()];
            let count = self.raw(&mut piece).map_err(failed)?;
            if count == 0 {
                self.is_done = true;
                if self.held != END {
                    return Err(failed(malformed("the rows of the table have no end")));
                }
                break;
            }
            // As many bytes as came, but the last ones of all that did are kept back.
            self.held.extend_from_slice(&piece[..count]);
            let len = self.held.len().saturating_sub(END.len()).min(buffer.len());
            if len > 0 {
                buffer[..len].copy_from_slice(&self.held[..len]);
                self.held.drain(..len);
                return Ok(len);
            }
        }
        Ok(0)
    }
}
