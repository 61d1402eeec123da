//! A copy on its way to another machine: rows are rewritten here, and what is written is rewritten already.

use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};

use crate::anonymize::transform::{FileSink, Placeholder, Unfit};
use crate::anonymize::{PseudonymKey, Rules};
use crate::event::{Event, Observer, StopFlag};
use crate::id::{SnapshotId, to_hex};
use crate::ops::restore_database::Incoming;
use crate::snapshot::{Snapshot, TableManifest};
use crate::source::archive::Toc;

use super::apply::{CloneWork, caused};
use super::contents::Anonymized;
use super::error::CloneError;
use super::files::FilesPlan;
use super::header::{
    DatabaseHeader, Failed, File, Header, SubsetHeader, Sum, Summary, TableHeader, VERSION,
};
use super::report::{groupings, tables};
use super::wire::{Kind, PIECE, Sender};

/// Files told of at once.
const FILES: usize = 256;

/// What is sent, and for whom.
pub struct Outgoing<'a> {
    /// The rows, and what becomes of them.
    pub work: &'a CloneWork<'a>,
    /// The definitions, without what must not leave.
    pub toc: &'a Toc,
    /// The rules.
    pub rules: &'a Rules,
    /// What becomes of directories.
    pub files: &'a FilesPlan,
    /// The key of the pseudonyms: only what tells it from others crosses.
    pub key: &'a PseudonymKey,
    /// The snapshot.
    pub snapshot: (&'a SnapshotId, &'a Snapshot),
    /// The target it is made for.
    pub to: &'a str,
    /// Who listens.
    pub observer: &'a dyn Observer,
    /// Set when somebody asks to stop.
    pub stop: &'a StopFlag,
}

/// Tables that are streams of their own, in the order in which a restore asks for them.
fn in_order<'a>(work: &CloneWork<'a>) -> Vec<&'a TableManifest> {
    let mut streamed = work.contents.streamed();
    streamed.sort_by_key(|table| std::cmp::Reverse(table.bytes));
    streamed
}

impl Outgoing<'_> {
    /// What is told of the copy before its first row.
    pub fn header(&self) -> Result<Header, CloneError> {
        let Self { work, rules, files, key, snapshot: (id, stored), to, .. } = self;
        let originals = &work.surveyed.originals;
        Ok(Header {
            version: VERSION,
            from: stored.instance.clone(),
            to: (*to).to_owned(),
            snapshot: id.to_string(),
            snapshot_time: stored.start,
            program: format!("mrs-backup {}", env!("CARGO_PKG_VERSION")),
            rules: rules.path.display().to_string(),
            rules_fingerprint: rules.fingerprint.clone(),
            key_id: key.id(),
            database: self.database()?,
            made: files.made.keys().cloned().collect(),
            dropped: files.dropped.clone(),
            assertions: rules.assertions.clone(),
            groupings: groupings(rules, work.program),
            subset: SubsetHeader::of(work.kept),
            rows_surveyed: work.surveyed.rows,
            identifiers: originals.identifiers.len(),
            names: originals.pairs.len() / 2,
            fingerprint_bytes: originals.bytes(),
        })
    }

    fn database(&self) -> Result<DatabaseHeader, CloneError> {
        let contents = self.work.contents;
        let manifest = contents.manifest;
        let streamed = in_order(self.work).into_iter().map(|table| (table, true));
        let archived = contents.archived().into_iter().map(|table| (table, false));
        let mut tables = Vec::new();
        for (table, is_streamed) in streamed.chain(archived) {
            tables.push(self.table(table, is_streamed)?);
        }
        Ok(DatabaseHeader {
            name: manifest.name.clone(),
            server_version: manifest.server_version.clone(),
            encoding: manifest.encoding.clone(),
            collation: manifest.collation.clone(),
            system_identifier: manifest.system_identifier.clone(),
            disk_bytes: manifest.properties.disk_bytes,
            definitions: self.toc.bytes.len() as u64,
            archive: contents.archive_bytes(),
            tables,
        })
    }

    fn table(&self, table: &TableManifest, is_streamed: bool) -> Result<TableHeader, CloneError> {
        let (schema, name) = (table.schema.clone(), table.name.clone());
        let program = self.work.program.table(&schema, &name);
        let program = program.ok_or_else(|| {
            CloneError::refused(format!("table {schema}.{name}"), "no rule names it")
        })?;
        let columns = table.columns.iter();
        let columns = columns.map(|column| (column.name.clone(), column.type_name.clone()));
        let rows = match program.is_emptied {
            true => 0,
            false => self.work.kept.rows_of(&program.title, table.rows),
        };
        Ok(TableHeader {
            columns: columns.collect(),
            bytes: table.bytes,
            is_emptied: program.is_emptied,
            schema,
            name,
            rows,
            is_streamed,
        })
    }
}

/// What was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// What was done to each table.
    pub summary: Summary,
    /// Rows.
    pub rows: u64,
    /// Files that rows name.
    pub files: u64,
}

/// Files that rows name, until they are told of.
#[derive(Default)]
struct Waiting(Mutex<Vec<File>>);

impl Waiting {
    fn files(&self) -> std::sync::MutexGuard<'_, Vec<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileSink for Waiting {
    fn placeholder(&self, placeholder: Placeholder<'_>) -> Result<(), Unfit> {
        let (root, path) = (placeholder.root.to_owned(), placeholder.path.to_owned());
        self.files().push(File { root, path });
        Ok(())
    }
}

/// Why nothing more is sent.
enum Broken {
    /// It cannot be read, or not be rewritten: the other side is told.
    Here(CloneError),
    /// The line.
    Line(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Line(error)
    }
}

/// Tells the other side that nothing comes, and why.
pub fn refuse(out: impl Write, message: &str, is_refused: bool) -> io::Result<()> {
    let mut sender = Sender::begin(out)?;
    sender.say(Kind::Failed, &Failed { message: message.to_owned(), is_refused })?;
    sender.flush()
}

/// Sends the copy, all of it or with a word at the end why not.
pub fn send(outgoing: &Outgoing<'_>, out: impl Write) -> Result<Sent, CloneError> {
    let waiting = Waiting::default();
    let work = outgoing.work;
    let anonymized = Anonymized::new(
        work.contents,
        outgoing.toc,
        work.program,
        work.charset,
        &work.surveyed.originals,
        work.kept,
        &waiting,
    );
    let line = |error: &io::Error| match error.kind() {
        io::ErrorKind::BrokenPipe => CloneError::Line("the other side closed the line".to_owned()),
        _ => CloneError::Line(error.to_string()),
    };
    let mut sender = Sender::begin(out).map_err(|error| line(&error))?;
    let mut sending = Sending {
        outgoing,
        anonymized: &anonymized,
        waiting: &waiting,
        sender: &mut sender,
        sent: Sent::default(),
    };
    match sending.all() {
        Ok(()) => Ok(sending.sent),
        Err(Broken::Line(error)) => Err(line(&error)),
        Err(Broken::Here(error)) => {
            let error = caused(error, anonymized.take_failure());
            let is_refused = matches!(error, CloneError::Leak(_) | CloneError::Trouble(_));
            let told = Failed { message: error.to_string(), is_refused };
            // If that does not arrive, the missing end says enough.
            let _ = sender.say(Kind::Failed, &told).and_then(|()| sender.flush());
            Err(error)
        }
    }
}

struct Sending<'a, W> {
    outgoing: &'a Outgoing<'a>,
    anonymized: &'a Anonymized<'a>,
    waiting: &'a Waiting,
    sender: &'a mut Sender<W>,
    sent: Sent,
}

impl<W: Write> Sending<'_, W> {
    fn all(&mut self) -> Result<(), Broken> {
        let streamed = in_order(self.outgoing.work);
        let header = self.outgoing.header().map_err(Broken::Here)?;
        self.sender.say(Kind::Header, &header)?;
        for piece in self.outgoing.toc.bytes.chunks(PIECE) {
            self.sender.send(Kind::Definitions, piece)?;
        }
        // It is looked at before the first row comes.
        self.sender.flush()?;
        let bytes = header.database.tables.iter().map(|table| table.bytes).sum::<u64>();
        self.outgoing
            .observer
            .event(&Event::StepStarted { step: "rows", total_bytes: Some(bytes) });
        for (number, table) in streamed.iter().enumerate() {
            self.table(number, table)?;
        }
        self.sender.send(Kind::Archive, b"")?;
        let archive = self.anonymized.archive();
        let reading = |reason: String| Broken::Here(CloneError::io("the archive", &reason));
        self.rows("the archive", &mut *archive.map_err(reading)?)?;
        self.sender.send(Kind::ArchiveEnd, b"")?;
        let counts = self.anonymized.take_counts();
        self.sent.rows = counts.values().map(|counts| counts.rows).sum();
        let tables = tables(self.outgoing.work.program, &counts, self.outgoing.work.kept);
        self.sent.summary = Summary { tables };
        self.sender.say(Kind::Summary, &self.sent.summary)?;
        self.sender.send(Kind::End, b"")?;
        self.sender.flush()?;
        self.outgoing.observer.event(&Event::StepFinished { step: "rows" });
        Ok(())
    }

    fn table(&mut self, number: usize, table: &TableManifest) -> Result<(), Broken> {
        let what = format!("table {}.{}", table.schema, table.name);
        self.outgoing.observer.event(&Event::Working { item: what.clone() });
        self.sender.say(Kind::Table, &number)?;
        let rows = self.anonymized.open(table);
        let mut rows = rows.map_err(|reason| Broken::Here(CloneError::io(&what, &reason)))?;
        let sum = self.rows(&what, &mut *rows)?;
        self.sender.say(Kind::TableEnd, &sum)?;
        Ok(())
    }

    /// All that `rows` gives, and the files named in it.
    fn rows(&mut self, what: &str, rows: &mut dyn Read) -> Result<Sum, Broken> {
        let mut buffer = vec![0; PIECE];
        let mut hasher = blake3::Hasher::new();
        let mut sum = Sum { rows: 0, bytes: 0, hash: String::new() };
        loop {
            if self.outgoing.stop.is_stopped() {
                return Err(Broken::Here(CloneError::Interrupted));
            }
            let mut len = 0;
            // Small reads make no small frames.
            while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
                match rows.read(rest) {
                    Ok(0) => break,
                    Ok(count) => len += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(Broken::Here(CloneError::io(what, &error))),
                }
            }
            self.files()?;
            let piece = buffer.get(..len).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            hasher.update(piece);
            sum.bytes += len as u64;
            sum.rows += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.sender.send(Kind::Rows, piece)?;
            self.outgoing.observer.event(&Event::Progress { bytes: len as u64, items: 0 });
        }
        sum.hash = to_hex(hasher.finalize().as_bytes());
        Ok(sum)
    }

    fn files(&mut self) -> Result<(), Broken> {
        let files = std::mem::take(&mut *self.waiting.files());
        self.sent.files += files.len() as u64;
        for some in files.chunks(FILES) {
            self.sender.say(Kind::Files, &some)?;
        }
        Ok(())
    }
}
