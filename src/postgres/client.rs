//! One session at a server, with blocking calls that notice a stop.
//!
//! Each has a runtime of its own that only runs while a call does: nothing happens behind the
//! caller's back, and a thread that copies is one thread.

use std::future::Future;
use std::io::{self, Read};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{SinkExt, Stream};
use tokio::runtime::Runtime;
use tokio_postgres::config::SslMode;
use tokio_postgres::{CancelToken, Config, CopyInSink, CopyOutStream, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::event::StopFlag;

use super::error::{ServerError, code, reason};
use super::exec::{Pipes, Relay, Relayed};
use super::server::{Server, Way};
use super::tls::Mode;

/// How often a call looks whether it shall stop.
const BEAT: Duration = Duration::from_millis(100);
/// As many bytes of rows are waited for before they are handed out: a row by itself is too little for what
/// is done to them (hashing, counting) to be quick.
const WORTH_WORKING_ON: usize = 64 << 10;
/// How long a request to cancel may take.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// The answer to a query: rows of texts.
pub type Rows = Vec<Vec<Option<String>>>;

/// A session. Dropping it ends it; what runs is cancelled first.
pub struct Client {
    /// Shared only with a call on a `COPY`, which borrows the rest.
    runtime: Arc<Runtime>,
    client: tokio_postgres::Client,
    server: Server,
    database: String,
    stop: Arc<StopFlag>,
    /// Something was left running at the server.
    is_busy: bool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({}, {})", self.database, self.server.place())
    }
}

/// The part of a connection that moves bytes.
type Driver = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>;

/// A connection.
type Opened = (tokio_postgres::Client, Driver);

/// Why a call gave nothing.
enum Broken {
    Stopped,
    Failed(tokio_postgres::Error),
}

impl Server {
    /// Opens a session in `database`.
    pub fn connect(&self, database: &str, stop: &Arc<StopFlag>) -> Result<Client, ServerError> {
        let failed = |reason: String| ServerError::Connect {
            database: database.to_owned(),
            server: self.place(),
            reason,
            way_out: "check `host`, `port`, `user`, `password` and `databases`, and that the server runs",
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(error.to_string()))?;
        let mut config = Config::new();
        config.user(&self.user).dbname(database).application_name(&self.application);
        config.keepalives_idle(Duration::from_secs(60)).connect_timeout(self.connect_timeout);
        if let Some(password) = self.password(database) {
            config.password(password.expose());
        }
        let limit = self.connect_timeout + CANCEL_LIMIT;
        let opened = runtime.block_on(async {
            let mut opening = pin!(tokio::time::timeout(limit, self.open(config)));
            loop {
                match tokio::time::timeout(BEAT, opening.as_mut()).await {
                    Ok(Ok(opened)) => return Some(opened),
                    Ok(Err(_)) => return Some(Err("no answer".to_owned())),
                    Err(_) if stop.is_stopped() => return None,
                    Err(_) => {}
                }
            }
        });
        let Some(opened) = opened else {
            return Err(ServerError::Stopped { doing: format!("connecting to {database}") });
        };
        let (client, driver) = opened.map_err(failed)?;
        runtime.spawn(driver);
        Ok(Client {
            runtime: Arc::new(runtime),
            client,
            server: self.clone(),
            database: database.to_owned(),
            stop: Arc::clone(stop),
            is_busy: false,
        })
    }

    /// Goes the way. The reasons of errors are texts.
    async fn open(&self, mut config: Config) -> Result<Opened, String> {
        match &self.way {
            Way::Socket(directory) => {
                config.host_path(directory).port(self.port).ssl_mode(SslMode::Disable);
                let opened = config.connect(NoTls).await;
                let (client, driver) = opened.map_err(|error| reason(&error))?;
                Ok((client, Box::pin(driver) as Driver))
            }
            Way::Network { host, address } => {
                config.host(host).port(self.port).ssl_mode(self.ssl_mode());
                if let Some(address) = address {
                    config.hostaddr(*address);
                }
                let tls = self.tls.config().map_err(|error| error.to_string())?;
                let opened = config.connect(MakeRustlsConnect::new(tls)).await;
                let (client, driver) = opened.map_err(|error| reason(&error))?;
                Ok((client, Box::pin(driver) as Driver))
            }
            Way::Exec => {
                let (pipes, relay) = self.relay().map_err(|error| error.to_string())?;
                config.ssl_mode(SslMode::Disable);
                match config.connect_raw(pipes, NoTls).await {
                    Ok((client, driver)) => {
                        Ok((client, Box::pin(Relayed::new(driver, relay)) as Driver))
                    }
                    Err(error) => Err(match relay.said() {
                        said if said.is_empty() => reason(&error),
                        said => format!("{} ({said})", reason(&error)),
                    }),
                }
            }
        }
    }

    fn relay(&self) -> io::Result<(Pipes, Relay)> {
        let container = self.container.as_ref();
        container.ok_or_else(|| io::Error::other("there is no container"))?.relay(self.port)
    }

    fn ssl_mode(&self) -> SslMode {
        match self.tls.mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            _ => SslMode::Require,
        }
    }
}

/// Waits for `future`; gives up when asked to stop.
async fn until_stopped<T>(
    stop: &StopFlag,
    future: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Broken> {
    if stop.is_stopped() {
        return Err(Broken::Stopped);
    }
    let mut future = pin!(future);
    loop {
        match tokio::time::timeout(BEAT, future.as_mut()).await {
            Ok(outcome) => return outcome.map_err(Broken::Failed),
            Err(_) if stop.is_stopped() => return Err(Broken::Stopped),
            Err(_) => {}
        }
    }
}

impl Client {
    /// The database it is in.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Replaces the flag that stops its calls.
    pub fn set_stop(&mut self, stop: Arc<StopFlag>) {
        self.stop = stop;
    }

    fn error(&mut self, doing: &str, broken: Broken) -> ServerError {
        match broken {
            Broken::Stopped => {
                self.is_busy = true;
                ServerError::Stopped { doing: doing.to_owned() }
            }
            Broken::Failed(error) => ServerError::Statement {
                doing: doing.to_owned(),
                server: self.server.place(),
                reason: reason(&error),
                code: code(&error),
            },
        }
    }

    /// Runs statements without an answer. `doing` is what they are for, in an error.
    pub fn run(&mut self, doing: &str, sql: &str) -> Result<(), ServerError> {
        let running = until_stopped(&self.stop, self.client.batch_execute(sql));
        let outcome = self.runtime.block_on(running);
        outcome.map_err(|broken| self.error(doing, broken))
    }

    /// Runs a query, for answers that fit into memory.
    pub fn rows(&mut self, doing: &str, sql: &str) -> Result<Rows, ServerError> {
        let running = until_stopped(&self.stop, self.client.simple_query(sql));
        let outcome = self.runtime.block_on(running);
        let messages = outcome.map_err(|broken| self.error(doing, broken))?;
        let mut rows = Rows::new();
        for message in messages {
            if let SimpleQueryMessage::Row(row) = message {
                rows.push((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect());
            }
        }
        Ok(rows)
    }

    /// The first column of the first row; empty if there is none.
    pub fn value(&mut self, doing: &str, sql: &str) -> Result<String, ServerError> {
        let rows = self.rows(doing, sql)?;
        Ok(rows.into_iter().flatten().next().flatten().unwrap_or_default())
    }

    /// Starts a `COPY ... TO STDOUT`. The stream's end is not yet the statement's success: what follows in
    /// the same transaction (`COMMIT`) is.
    pub fn copy_out(&mut self, doing: &str, sql: &str) -> Result<CopyOut<'_>, ServerError> {
        let starting = until_stopped(&self.stop, self.client.copy_out(sql));
        let outcome = self.runtime.block_on(starting);
        let stream = outcome.map_err(|broken| self.error(doing, broken))?;
        self.is_busy = true;
        Ok(CopyOut {
            client: self,
            stream: Box::pin(stream),
            pending: Bytes::new(),
            doing: doing.to_owned(),
            messages: 0,
            end: None,
        })
    }

    /// Starts a `COPY ... FROM STDIN`.
    pub fn copy_in(&mut self, doing: &str, sql: &str) -> Result<CopyIn<'_>, ServerError> {
        let starting = until_stopped(&self.stop, self.client.copy_in(sql));
        let outcome = self.runtime.block_on(starting);
        let sink = outcome.map_err(|broken| self.error(doing, broken))?;
        self.is_busy = true;
        Ok(CopyIn { client: self, sink: Box::pin(sink), doing: doing.to_owned() })
    }

    /// Asks the server to end what this session does.
    fn cancel(&mut self) {
        let token: CancelToken = self.client.cancel_token();
        let server = &self.server;
        self.runtime.block_on(async {
            let asking = async {
                let _ = match &server.way {
                    Way::Socket(_) => token.cancel_query(NoTls).await,
                    Way::Exec => match server.relay() {
                        Ok((pipes, _relay)) => token.cancel_query_raw(pipes, NoTls).await,
                        Err(_) => Ok(()),
                    },
                    Way::Network { .. } => match server.tls.config() {
                        Ok(tls) => token.cancel_query(MakeRustlsConnect::new(tls)).await,
                        Err(_) => Ok(()),
                    },
                };
            };
            let _ = tokio::time::timeout(CANCEL_LIMIT, asking).await;
        });
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.is_busy && !self.client.is_closed() {
            self.cancel();
        }
    }
}

/// The bytes of a `COPY ... TO STDOUT`. Its errors are [`ServerError`]s inside [`io::Error`]s.
pub struct CopyOut<'c> {
    client: &'c mut Client,
    stream: Pin<Box<CopyOutStream>>,
    /// What is left of the last message.
    pending: Bytes,
    doing: String,
    messages: u64,
    end: Option<Result<(), ServerError>>,
}

impl CopyOut<'_> {
    /// Messages so far; in text format each is a row.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Waits for messages that are worth working on, or the end, and copies them; gives the bytes.
    async fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Broken> {
        let Self { client, stream, pending, messages, .. } = self;
        let mut filled = 0;
        let filling = std::future::poll_fn(|cx| {
            loop {
                let message = match stream.as_mut().poll_next(cx) {
                    Poll::Ready(Some(Ok(message))) => message,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => return Poll::Ready(Ok(true)),
                    Poll::Pending if filled >= WORTH_WORKING_ON => return Poll::Ready(Ok(false)),
                    Poll::Pending => return Poll::Pending,
                };
                *messages += 1;
                let Some(room) = buffer[filled..].get_mut(..message.len()) else {
                    *pending = message;
                    return Poll::Ready(Ok(false));
                };
                room.copy_from_slice(&message);
                filled += message.len();
            }
        });
        if until_stopped(&client.stop, filling).await? {
            client.is_busy = false;
            self.end = Some(Ok(()));
        }
        Ok(filled)
    }
}

impl Read for CopyOut<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Empty messages are not the end.
        loop {
            if buffer.is_empty() {
                return Ok(0);
            }
            if !self.pending.is_empty() {
                let len = self.pending.len().min(buffer.len());
                self.pending.copy_to_slice(&mut buffer[..len]);
                return Ok(len);
            }
            match &self.end {
                Some(Ok(())) => return Ok(0),
                Some(Err(error)) => return Err(io::Error::other(error.clone())),
                None => {}
            }
            let runtime = Arc::clone(&self.client.runtime);
            match runtime.block_on(self.receive(buffer)) {
                Ok(0) => {}
                Ok(len) => return Ok(len),
                Err(broken) => {
                    self.client.is_busy = matches!(broken, Broken::Stopped);
                    self.end = Some(Err(self.client.error(&self.doing, broken)));
                }
            }
        }
    }
}

/// The receiving end of a `COPY ... FROM STDIN`. Dropped without [`CopyIn::finish`], nothing of it stays.
pub struct CopyIn<'c> {
    client: &'c mut Client,
    sink: Pin<Box<CopyInSink<Bytes>>>,
    doing: String,
}

impl CopyIn<'_> {
    /// Sends bytes; rows may straddle calls. Pieces of some 64 KiB are best.
    pub fn write(&mut self, bytes: Bytes) -> Result<(), ServerError> {
        let sending = until_stopped(&self.client.stop, self.sink.send(bytes));
        let outcome = self.client.runtime.block_on(sending);
        outcome.map_err(|broken| self.client.error(&self.doing, broken))
    }

    /// Ends the stream; gives the rows the server took.
    pub fn finish(mut self) -> Result<u64, ServerError> {
        let finishing = until_stopped(&self.client.stop, self.sink.as_mut().finish());
        let outcome = self.client.runtime.block_on(finishing);
        self.client.is_busy = matches!(outcome, Err(Broken::Stopped));
        outcome.map_err(|broken| self.client.error(&self.doing, broken))
    }
}
