//! Dumps in restic's snapshots, loaded into throw-away servers.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};

use crate::cli::CliError;
use crate::cli::context::Context;
use crate::cli::restore_database::restore_config;
use crate::cli::settings::Settings;
use crate::cli::test_restore::{default_base, maker, start};
use crate::ops::import::DumpServer;
use crate::source::StreamSource;
use crate::source::postgres::{PostgresSettings, PostgresSource};
use crate::target::postgres::{Cluster, DatabaseError, load_script};
use crate::target::scratch::{Maker, SUPERUSER};

/// Bytes of a dump that are read at once, and pieces that wait.
const PIECE: usize = 256 << 10;
const AHEAD: usize = 4;

/// A new server for each dump: roles and databases of one night are not there in the next.
pub struct Scratch<'c> {
    context: &'c Context,
    base: PathBuf,
    maker: Maker,
    /// Those of the configuration; none: all that the dump makes.
    databases: Vec<String>,
}

impl<'c> Scratch<'c> {
    /// Of what `test-restore` makes its servers of.
    pub fn new(context: &'c Context, settings: &Settings) -> Result<Self, CliError> {
        let config = restore_config(settings);
        let base = config.scratch_directory.as_ref();
        let base = base.map_or_else(|| default_base(settings), |directory| directory.value.clone());
        let postgres = settings.instance.as_ref().and_then(|instance| instance.postgres.as_ref());
        let databases = postgres.map(|postgres| postgres.databases.value.clone());
        let maker = maker(context, settings, 0)?;
        Ok(Self { context, base, maker, databases: databases.unwrap_or_default() })
    }

    fn try_load(
        &self,
        dump: &mut dyn Read,
        store: &mut dyn FnMut(&mut dyn StreamSource),
    ) -> Result<(), CliError> {
        let scratch = start(self.context, &self.base, self.maker.clone(), 0)?;
        let way = scratch.server("import").map_err(crate::instance::RunError::from)?;
        let cluster = Cluster::new(way.clone(), self.context.stop.clone());
        piped(dump, &mut |reader| load_script(&cluster, reader, SUPERUSER))?;
        let mut session = cluster.maintenance("")?;
        let query = "SELECT datname FROM pg_catalog.pg_database \
             WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY datname";
        let rows = session.rows("list the databases", query).map_err(DatabaseError::from)?;
        let made: Vec<String> =
            rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
        drop(session);
        let is_wanted = |name: &String| self.databases.is_empty() || self.databases.contains(name);
        let databases: Vec<String> = made.iter().filter(|name| is_wanted(name)).cloned().collect();
        if databases.is_empty() {
            let made = if made.is_empty() { "none".to_owned() } else { made.join(", ") };
            return Err(CliError::usage(format!("it makes none of the databases ({made})")));
        }
        let settings = PostgresSettings { databases, globals: true, ..PostgresSettings::default() };
        let source = PostgresSource::new(settings, "import", self.context.stop.clone());
        let mut source = source.map_err(crate::instance::RunError::from)?.at(way);
        store(&mut source);
        Ok(())
    }
}

impl DumpServer for Scratch<'_> {
    fn load(
        &self,
        dump: &mut dyn Read,
        store: &mut dyn FnMut(&mut dyn StreamSource),
    ) -> Result<(), String> {
        self.try_load(dump, store).map_err(|error| error.message())
    }
}

/// Gives what `dump` has to a reader that works in another thread.
fn piped(
    dump: &mut dyn Read,
    take: &mut (dyn FnMut(&mut (dyn Read + Send)) -> Result<(), DatabaseError> + Send),
) -> Result<(), DatabaseError> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        let taking =
            scope.spawn(move || take(&mut Pieces { receiver, current: Vec::new(), at: 0 }));
        loop {
            let mut piece = vec![0; PIECE];
            let read = dump.read(&mut piece).map(|count| {
                piece.truncate(count);
                piece
            });
            let is_over = read.as_ref().map_or(true, Vec::is_empty);
            // Whoever took it may have had enough: its error says why.
            if sender.send(read).is_err() || is_over {
                break;
            }
        }
        drop(sender);
        taking.join().unwrap_or(Err(DatabaseError::Interrupted))
    })
}

struct Pieces {
    receiver: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            match self.receiver.recv() {
                Ok(piece) => self.current = piece?,
                Err(_) => return Ok(0),
            }
            self.at = 0;
        }
        let count = (&self.current[self.at..]).read(out)?;
        self.at += count;
        Ok(count)
    }
}
