//! Databases of a snapshot as files for `pg_restore`: made while they are read, from the archive and the streams of tables.

use std::io::{self, Write};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::event::StopFlag;
use crate::ops::dump_database::{DatabaseDump, DumpFormat};
use crate::repository::Fetcher;
use crate::snapshot::Selected;

/// Pieces that are made before somebody reads them.
const AHEAD: usize = 8;

/// The directory in each snapshot that has databases.
pub const DIRECTORY: &[u8] = b".databases";

/// Names of the dumps of a snapshot, in the order of its databases.
pub fn names(snapshot: &Selected) -> Vec<Vec<u8>> {
    let name = |name: &String| format!("{}.dump", name.replace(['/', '\0'], "_")).into_bytes();
    snapshot.1.databases.iter().map(|database| name(&database.name)).collect()
}

/// A dump that is being read from its beginning to its end.
pub struct OpenDump {
    fetcher: &'static Fetcher<'static>,
    snapshot: &'static Selected,
    database: usize,
    pieces: Receiver<io::Result<Vec<u8>>>,
    stop: Arc<StopFlag>,
    /// Where the next piece begins.
    next: u64,
    current: Vec<u8>,
    is_over: bool,
}

struct Pieces(Sender<io::Result<Vec<u8>>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.send(Ok(bytes.to_vec())) {
            Ok(()) => Ok(bytes.len()),
            // Nobody reads on.
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl OpenDump {
    /// Begins to make the dump of a database.
    pub fn new(
        fetcher: &'static Fetcher<'static>,
        snapshot: &'static Selected,
        database: usize,
    ) -> io::Result<Self> {
        let (sender, pieces) = bounded(AHEAD);
        let stop = Arc::new(StopFlag::new());
        let name =
            snapshot.1.databases.get(database).map(|one| one.name.clone()).unwrap_or_default();
        let asked = Arc::clone(&stop);
        let make = move || {
            let failed = sender.clone();
            let result = DatabaseDump::find(fetcher, &snapshot.1, &name, &asked)
                .and_then(|dump| dump.write(DumpFormat::Custom, None, &mut Pieces(sender)));
            if let Err(error) = result {
                let _ = failed.send(Err(io::Error::other(error.to_string())));
            }
        };
        std::thread::Builder::new().name("dump".to_owned()).spawn(make)?;
        Ok(Self {
            fetcher,
            snapshot,
            database,
            pieces,
            stop,
            next: 0,
            current: Vec::new(),
            is_over: false,
        })
    }

    /// Up to `len` bytes from `offset` on. Going back begins anew.
    pub fn read(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let begins = self.next - self.current.len() as u64;
        if offset < begins {
            *self = Self::new(self.fetcher, self.snapshot, self.database)?;
        }
        let mut bytes = Vec::new();
        let mut at = offset;
        while bytes.len() < len {
            let begins = self.next - self.current.len() as u64;
            if at < self.next {
                let from = usize::try_from(at - begins).unwrap_or(0);
                let part = self.current.get(from..).unwrap_or_default();
                let part = &part[..part.len().min(len - bytes.len())];
                bytes.extend_from_slice(part);
                at += part.len() as u64;
                continue;
            }
            if self.is_over {
                break;
            }
            match self.pieces.recv() {
                Ok(piece) => {
                    self.current = piece?;
                    self.next += self.current.len() as u64;
                }
                Err(_) => self.is_over = true,
            }
        }
        Ok(bytes)
    }
}

impl Drop for OpenDump {
    fn drop(&mut self) {
        self.stop.stop();
    }
}
