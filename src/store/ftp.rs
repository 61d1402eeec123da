//! FTP and FTPS: a pool of logged-in connections, and files over them.
//!
//! A connection after any failure but a plain refusal is thrown away: its replies may be out of step.

use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use suppaftp::{FtpError, Status};

use self::connection::{Connection, Connector};
use self::reply::Trouble;
use super::StoreErrorKind;
use super::files::{Entry, Failure, Files};
use super::throttle::Limits;
use crate::clock::{Clock, SystemClock};

mod connection;
mod listing;
mod reply;
mod tls;

pub(super) use connection::FtpSettings;
pub(super) use tls::TlsSettings;

/// Connections at once, unless the location says otherwise.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);
/// Bytes between two looks at the rate limit.
const PIECE: usize = 64 << 10;
/// After so long unused, a connection is asked whether it still lives.
const DOUBTFUL: Duration = Duration::from_secs(15);

/// Files of an FTP server.
#[derive(Debug)]
pub(super) struct FtpFiles {
    connector: Connector,
    limits: Arc<Limits>,
    pool: Mutex<Pool>,
    returned: Condvar,
    connections: NonZeroUsize,
    lacks_mlsd: AtomicBool,
}

#[derive(Debug)]
struct Pool {
    idle: Vec<(Connection, Duration)>,
    /// Idle ones and those in use.
    open: usize,
    /// Most the server lets us have.
    most: usize,
}

type Answer<T> = Result<T, Trouble>;

impl FtpFiles {
    pub fn new(
        settings: FtpSettings,
        connections: Option<NonZeroUsize>,
        limits: Arc<Limits>,
    ) -> Self {
        let connections = connections.unwrap_or(CONNECTIONS);
        Self {
            connector: Connector::new(settings),
            limits,
            pool: Mutex::new(Pool { idle: Vec::new(), open: 0, most: connections.get() }),
            returned: Condvar::new(),
            connections,
            lacks_mlsd: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that lives; waits for one if there are as many as there may be.
    fn take(&self) -> Answer<Connection> {
        loop {
            let mut pool = self.lock();
            if let Some((mut connection, since)) = pool.idle.pop() {
                drop(pool);
                let unused = SystemClock.elapsed().saturating_sub(since);
                if unused < DOUBTFUL || connection.ftp.noop().is_ok() {
                    return Ok(connection);
                }
                self.forget(connection);
                continue;
            }
            if pool.open < pool.most {
                pool.open += 1;
                drop(pool);
                let connected = self.connector.connect();
                let Err(trouble) = connected else { return connected };
                let mut pool = self.lock();
                pool.open -= 1;
                // The server lets us have no more than those that are open.
                if pool.open > 0 && trouble.is_too_many {
                    pool.most = pool.open;
                    continue;
                }
                self.returned.notify_one();
                return Err(trouble);
            }
            drop(self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn give_back(&self, connection: Connection) {
        if connection.is_used_up() {
            self.connector.prefer_tls12();
            return self.forget(connection);
        }
        self.lock().idle.push((connection, SystemClock.elapsed()));
        self.returned.notify_one();
    }

    fn forget(&self, connection: Connection) {
        connection.close();
        self.lock().open -= 1;
        self.returned.notify_one();
    }

    fn with<T>(&self, act: impl FnOnce(&mut Connection) -> Answer<T>) -> Result<T, Failure> {
        let mut connection = self.take().map_err(|trouble| trouble.failure)?;
        match act(&mut connection) {
            Ok(value) => {
                self.give_back(connection);
                Ok(value)
            }
            Err(trouble) => {
                match trouble.keeps_step {
                    true => self.give_back(connection),
                    false => self.forget(connection),
                }
                Err(trouble.failure)
            }
        }
    }

    fn mlsd(&self, connection: &mut Connection, path: &str) -> Answer<Option<Vec<Entry>>> {
        if self.lacks_mlsd.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match listing::read(connection, &format!("MLSD {path}"), listing::of_mlsd) {
            Err(trouble) if trouble.failure.is_unsupported => {
                self.lacks_mlsd.store(true, Ordering::Relaxed);
                Ok(None)
            }
            read => read.map(Some),
        }
    }
}

/// Sends `parts`; what was sent counts only once the server said so.
fn store(connection: &mut Connection, path: &str, parts: &[&[u8]], limits: &Limits) -> Answer<()> {
    if connection.has_offset {
        connection.ftp.resume_transfer(0)?;
    }
    let mut stream = connection.data(|ftp| ftp.put_with_stream(path))?;
    connection.has_offset = false;
    let mut sent = Ok(());
    'all: for part in parts {
        for piece in part.chunks(PIECE) {
            limits.send(piece.len());
            sent = stream.write_all(piece);
            if sent.is_err() {
                break 'all;
            }
        }
    }
    let sent = sent.and_then(|()| stream.flush());
    let finished = stream.finish();
    match (sent, finished) {
        (Ok(()), done) => Ok(done?),
        // What the server has to say about it is more telling than a broken pipe.
        (Err(_), Err(refusal @ FtpError::UnexpectedResponse(_))) => Err(refusal.into()),
        (Err(error), _) => Err(FtpError::ConnectionError(error).into()),
    }
}

fn retrieve(
    connection: &mut Connection,
    path: &str,
    (offset, len): (u64, usize),
    limits: &Limits,
) -> Answer<Vec<u8>> {
    let start = usize::try_from(offset).map_err(|_| Trouble::refused("it is too long"))?;
    // An offset of an attempt that failed must not stay.
    if start > 0 || connection.has_offset {
        connection.has_offset = true;
        connection.ftp.resume_transfer(start)?;
    }
    let mut stream = connection.data(|ftp| ftp.retr_as_stream(path))?;
    connection.has_offset = false;
    let mut bytes = Vec::with_capacity(len.min(32 << 20));
    let mut read = Ok(());
    while bytes.len() < len {
        let piece = PIECE.min(len - bytes.len());
        limits.receive(piece);
        let before = bytes.len();
        read = (&mut stream).take(piece as u64).read_to_end(&mut bytes).map(|_| ());
        if read.is_err() || bytes.len() == before {
            break;
        }
    }
    let is_whole = bytes.len() == len;
    let finished = stream.finish();
    match (read, finished) {
        (Err(error), _) => Err(FtpError::ConnectionError(error).into()),
        // Closed by us before its end: the server says that it could not send the rest.
        (Ok(()), Err(FtpError::UnexpectedResponse(response)))
            if is_whole && response.status.code() >= 400 =>
        {
            Ok(bytes)
        }
        (Ok(()), done) => {
            done?;
            Ok(bytes)
        }
    }
}

impl Files for FtpFiles {
    fn connections(&self) -> NonZeroUsize {
        self.connections
    }

    fn has_directory(&self, path: &str) -> Result<bool, Failure> {
        self.with(|connection| {
            let path = connection.path(path);
            is_directory(connection, &path)
        })
    }

    fn make_directory(&self, path: &str) -> Result<(), Failure> {
        self.with(|connection| {
            let path = connection.path(path);
            make(connection, &path)
        })
    }

    fn make_root(&self) -> Result<(), Failure> {
        self.with(|connection| {
            let root = connection.path("");
            let ends = root.match_indices('/').map(|(at, _)| at).chain([root.len()]);
            let paths: Vec<&str> = ends.filter(|end| *end > 0).map(|end| &root[..end]).collect();
            // From the end, since what is above may be somebody else's.
            let mut missing = 0;
            while missing < paths.len()
                && !is_directory(connection, paths[paths.len() - 1 - missing])?
            {
                missing += 1;
            }
            for path in &paths[paths.len() - missing..] {
                make(connection, path)?;
            }
            Ok(())
        })
    }

    fn remove_directory(&self, path: &str) -> Result<(), Failure> {
        self.with(|connection| {
            let path = connection.path(path);
            Ok(connection.ftp.rmdir(&path)?)
        })
    }

    fn write(&self, path: &str, parts: &[&[u8]]) -> Result<Option<u64>, Failure> {
        self.with(|connection| {
            let path = connection.path(path);
            store(connection, &path, parts, &self.limits).map(|()| None)
        })
    }

    fn read(&self, path: &str, offset: u64, len: u64) -> Result<Vec<u8>, Failure> {
        let len = usize::try_from(len)
            .map_err(|_| Failure::new(StoreErrorKind::Permanent, "it is too long"))?;
        self.with(|connection| {
            let path = connection.path(path);
            retrieve(connection, &path, (offset, len), &self.limits)
        })
    }

    fn size(&self, path: &str) -> Result<u64, Failure> {
        self.with(|connection| {
            let path = connection.path(path);
            Ok(connection.ftp.size(&path)? as u64)
        })
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, Failure> {
        self.with(|connection| {
            let path = connection.path(path);
            if let Some(entries) = self.mlsd(connection, &path)? {
                return Ok(entries);
            }
            listing::read(connection, &format!("LIST {path}"), listing::of_list)
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Failure> {
        self.with(|connection| {
            let (from, to) = (connection.path(from), connection.path(to));
            Ok(connection.ftp.rename(&from, &to)?)
        })
    }

    fn remove(&self, path: &str) -> Result<(), Failure> {
        self.with(|connection| {
            let path = connection.path(path);
            Ok(connection.ftp.rm(&path)?)
        })
    }
}

/// Makes a directory; whether one is there already only shows by going into it.
fn make(connection: &mut Connection, path: &str) -> Answer<()> {
    match connection.ftp.mkdir(path) {
        Ok(()) => Ok(()),
        Err(FtpError::UnexpectedResponse(response)) => {
            if response.status == Status::PathCreated || is_directory(connection, path)? {
                return Ok(());
            }
            Err(FtpError::UnexpectedResponse(response).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether one can go there.
fn is_directory(connection: &mut Connection, path: &str) -> Answer<bool> {
    match connection.ftp.cwd(path) {
        Ok(()) => Ok(true),
        Err(FtpError::UnexpectedResponse(response))
            if matches!(response.status.code(), 550 | 501 | 553) =>
        {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

impl Drop for FtpFiles {
    fn drop(&mut self) {
        for (connection, _) in std::mem::take(&mut self.lock().idle) {
            connection.close();
        }
    }
}

#[cfg(test)]
mod tests;
