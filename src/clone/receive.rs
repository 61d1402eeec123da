//! A copy that comes from another machine: what it says of itself, and its rows in the order in which they come.
//!
//! Nothing is believed: names of directories and files, lengths and order are looked at, every table is compared with
//! what its end says, and without the last frame nothing takes the place of anything.

use std::io::{self, Read};
use std::path::{Component, Path};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::anonymize::transform::{FileSink, Placeholder, PlaceholderKind, Unfit, ending};
use crate::id::to_hex;
use crate::ops::restore_database::Incoming;
use crate::snapshot::{DatabaseManifest, TableManifest};
use crate::source::archive::Toc;
use crate::target::postgres::{DatabaseError, Found};

use super::apply::{Replaced, Replacement};
use super::error::CloneError;
use super::header::{Failed, File, Header, Sum, Summary, VERSION};
use super::wire::{Kind, Receiver, said};

/// Longest definitions, in bytes.
const LONGEST: u64 = 256 << 20;

/// A copy of which the rows are still to come.
pub struct Announced<R> {
    /// What it says of itself.
    pub header: Header,
    /// The database.
    pub manifest: DatabaseManifest,
    /// The definitions.
    pub toc: Toc,
    /// What follows.
    pub line: Line<R>,
}

/// The line broke, or what came is none.
fn cut(error: &io::Error) -> CloneError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Ended>()) {
        Some(Ended(failed)) => {
            CloneError::Remote { reason: failed.message.clone(), is_refused: failed.is_refused }
        }
        None => CloneError::Line(error.to_string()),
    }
}

/// The other side said why it ends.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message)]
struct Ended(Failed);

/// The next frame; that the other side gives up is an error.
fn next<R: Read>(wire: &mut Receiver<R>) -> io::Result<(Kind, Vec<u8>)> {
    match wire.frame()? {
        (Kind::Failed, payload) => Err(io::Error::other(Ended(said(&payload)?))),
        other => Ok(other),
    }
}

fn unexpected(kind: Kind) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a frame out of order ({kind:?})"))
}

impl<R: Read> Announced<R> {
    /// Reads what a copy says of itself, up to its first row.
    pub fn read(inner: R) -> Result<Self, CloneError> {
        let mut wire = Receiver::new(inner);
        Self::read_from(&mut wire).map_err(|error| cut(&error)).map(|(header, toc)| Self {
            manifest: header.database.manifest(),
            header,
            toc,
            line: Line(wire),
        })
    }

    fn read_from(wire: &mut Receiver<R>) -> io::Result<(Header, Toc)> {
        let (kind, payload) = next(wire)?;
        if kind != Kind::Header {
            return Err(unexpected(kind));
        }
        let header: Header = said(&payload)?;
        let odd = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        if header.version != VERSION {
            return Err(odd(format!(
                "a copy of version {}, read here is {VERSION}",
                header.version
            )));
        }
        let len = header.database.definitions;
        if len > LONGEST {
            return Err(odd(format!("definitions of {len} bytes")));
        }
        let mut definitions = Vec::new();
        while (definitions.len() as u64) < len {
            match next(wire)? {
                (Kind::Definitions, piece) => definitions.extend(piece),
                (kind, _) => return Err(unexpected(kind)),
            }
        }
        let toc = Toc::read(definitions.as_slice()).map_err(|error| odd(error.to_string()))?;
        Ok((header, toc))
    }
}

/// The rows of a copy, while they come.
pub struct Received<'a, R> {
    header: &'a Header,
    manifest: &'a DatabaseManifest,
    files: &'a dyn FileSink,
    state: Mutex<State<R>>,
}

struct State<R> {
    wire: Receiver<R>,
    /// Tables that have come.
    tables: usize,
    /// What the last of them was.
    sum: Option<Sum>,
    summary: Option<Summary>,
    failure: Option<CloneError>,
}

impl<'a, R: Read + Send> Received<'a, R> {
    /// The rows of `announced`, and files into `files`.
    pub fn new(
        header: &'a Header,
        manifest: &'a DatabaseManifest,
        line: Line<R>,
        files: &'a dyn FileSink,
    ) -> Self {
        let state = State { wire: line.0, tables: 0, sum: None, summary: None, failure: None };
        Self { header, manifest, files, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next frame that is not about files.
    fn next(&self, state: &mut State<R>) -> io::Result<(Kind, Vec<u8>)> {
        let found = loop {
            match next(&mut state.wire) {
                Ok((Kind::Files, payload)) => {
                    if let Err(error) = self.make(&payload) {
                        break Err(error);
                    }
                }
                other => break other,
            }
        };
        found.inspect_err(|error| {
            state.failure.get_or_insert_with(|| cut(error));
        })
    }

    fn make(&self, payload: &[u8]) -> io::Result<()> {
        let files: Vec<File> = said(payload)?;
        for File { root, path } in &files {
            let mut parts = Path::new(path).components();
            let is_below =
                !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)));
            if !is_below || !self.header.made.contains(root) {
                return Err(io::Error::other("a file where none may be"));
            }
            let kind = PlaceholderKind::of(ending(path));
            let made = self.files.placeholder(Placeholder { root, path, kind });
            made.map_err(|Unfit(reason)| io::Error::other(reason))?;
        }
        Ok(())
    }

    /// What the tables are whose turn comes.
    fn streamed_tables(&self) -> impl Iterator<Item = &'a TableManifest> {
        self.manifest.tables.iter().filter(|table| table.path.is_some())
    }

    /// Reads on to the end. Only then all has come.
    fn finish(&self) -> Result<(), CloneError> {
        let mut state = self.state();
        while state.summary.is_none() {
            match self.next(&mut state).map_err(|error| cut(&error))? {
                // pg_restore need not read to the end.
                (Kind::Rows | Kind::ArchiveEnd, _) => {}
                (Kind::Summary, payload) => {
                    let summary = said(&payload).map_err(|error| cut(&error))?;
                    match self.next(&mut state).map_err(|error| cut(&error))? {
                        (Kind::End, _) => state.summary = Some(summary),
                        (kind, _) => return Err(cut(&unexpected(kind))),
                    }
                }
                (kind, _) => return Err(cut(&unexpected(kind))),
            }
        }
        Ok(())
    }
}

/// The line, once what it begins with was read.
pub struct Line<R>(Receiver<R>);

/// Puts what comes into the place of the target's. Gives what was done, on both sides.
pub fn receive<R: Read + Send>(
    header: &Header,
    manifest: &DatabaseManifest,
    line: Line<R>,
    to: &Replacement<'_>,
) -> Result<(Replaced, Summary), CloneError> {
    let received = Received::new(header, manifest, line, to.staged);
    let result = to.run(&received, || {
        received.finish().map_err(|error| DatabaseError::Read {
            what: "what came".to_owned(),
            reason: error.to_string(),
        })
    });
    let mut state = received.state();
    match result {
        Ok(replaced) => Ok((replaced, state.summary.take().unwrap_or_default())),
        Err(error) => Err(match (state.failure.take(), error) {
            (_, error @ CloneError::Restore(_)) if error.leaves_something() => error,
            (Some(cause), _) => cause,
            (None, error) => error,
        }),
    }
}

impl<R: Read + Send> Incoming for Received<'_, R> {
    fn encoding(&self) -> &str {
        &self.manifest.encoding
    }

    fn at_once(&self) -> usize {
        1
    }

    fn streamed(&self) -> Vec<&TableManifest> {
        self.streamed_tables().collect()
    }

    fn archived(&self) -> Vec<TableManifest> {
        self.manifest.tables.iter().filter(|table| table.path.is_none()).cloned().collect()
    }

    fn open<'s>(&'s self, table: &TableManifest) -> Result<Box<dyn Read + 's>, String> {
        let mut state = self.state();
        let number = self
            .streamed_tables()
            .position(|one| one.name == table.name && one.schema == table.schema);
        let (kind, payload) = self.next(&mut state).map_err(|error| error.to_string())?;
        let told: Option<usize> = said(&payload).ok().filter(|_| kind == Kind::Table);
        if told != number || told != Some(state.tables) {
            return Err("tables come in another order than was said".to_owned());
        }
        state.tables += 1;
        state.sum = None;
        drop(state);
        Ok(Box::new(Rows {
            whole: self,
            piece: Vec::new(),
            at: 0,
            end: Kind::TableEnd,
            has_ended: false,
        }))
    }

    fn compare(&self, _: &TableManifest, found: &Found) -> Result<(), String> {
        let state = self.state();
        let sum = state.sum.as_ref().ok_or("its rows have no end")?;
        let is_it =
            (sum.rows, sum.bytes, &sum.hash) == (found.rows, found.bytes, &to_hex(&found.hash));
        match is_it {
            true => Ok(()),
            false => Err(format!(
                "{} rows and {} bytes came where {} and {} were sent",
                found.rows, found.bytes, sum.rows, sum.bytes
            )),
        }
    }

    fn archive_bytes(&self) -> u64 {
        self.header.database.archive
    }

    fn archive<'s>(&'s self) -> Result<Box<dyn Read + Send + 's>, String> {
        let mut state = self.state();
        match self.next(&mut state).map_err(|error| error.to_string())? {
            (Kind::Archive, _) => {}
            (kind, _) => return Err(unexpected(kind).to_string()),
        }
        drop(state);
        Ok(Box::new(Rows {
            whole: self,
            piece: Vec::new(),
            at: 0,
            end: Kind::ArchiveEnd,
            has_ended: false,
        }))
    }
}

/// Rows up to the frame that ends them.
struct Rows<'s, 'a, R> {
    whole: &'s Received<'a, R>,
    piece: Vec<u8>,
    at: usize,
    end: Kind,
    has_ended: bool,
}

impl<R: Read + Send> Read for Rows<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() && !self.has_ended {
            let mut state = self.whole.state();
            let (kind, payload) = self.whole.next(&mut state)?;
            match kind {
                Kind::Rows => (self.piece, self.at) = (payload, 0),
                kind if kind == self.end => {
                    if kind == Kind::TableEnd {
                        state.sum = Some(said(&payload)?);
                    }
                    self.has_ended = true;
                }
                kind => return Err(unexpected(kind)),
            }
        }
        let rest = self.piece.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}
