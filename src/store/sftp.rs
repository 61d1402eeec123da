//! SFTP over the system's `ssh`, so that its configuration, agent, jump hosts and known hosts count. One
//! connection carries as many calls at once as are made.

use std::io::SeekFrom;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::{try_join, try_join_all};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use openssh_sftp_client::error::SftpErrorKind;
use openssh_sftp_client::file::File;
use openssh_sftp_client::{Error, Sftp, SftpOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::process::{Child, Command};

use super::StoreErrorKind;
use super::background;
use super::error::is_unknown_name;
use super::files::{Entry, Failure, Files, Whole};
use super::throttle::Limits;

/// Calls at once, unless the location says otherwise.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);
/// Bytes of one write or read.
const PIECE: usize = 128 << 10;
/// Pieces on their way at once, so that a long line is full: 2 MiB, as much as 100 Mbit/s carry in 160 ms.
const AT_ONCE: usize = 16;

/// Longest file that is surely one write for any server.
const ONE_WRITE: u64 = 32 << 10;
/// Bytes that are read before the size is known.
const FIRST_PIECE: u32 = 32 << 10;
/// Times a directory's next names are asked for at once: the last one is told that there are no more.
const QUESTIONS: usize = 3;
/// Small calls at once, unless the location says otherwise.
const SMALL_CALLS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);

/// How a server is reached.
#[derive(Debug, Clone)]
pub(super) struct SftpSettings {
    pub host: String,
    pub port: Option<u16>,
    pub user: Option<String>,
    /// With a `/` first it is absolute, otherwise below where a login leads to.
    pub root: String,
    pub config: Option<PathBuf>,
    pub timeout: Duration,
    pub connections: Option<NonZeroUsize>,
}

struct Session {
    sftp: Sftp,
    child: Mutex<Child>,
}

/// Files of an SFTP server.
pub(super) struct SftpFiles {
    settings: SftpSettings,
    limits: Arc<Limits>,
    session: Mutex<Option<Arc<Session>>>,
}

impl std::fmt::Debug for SftpFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SftpFiles({})", self.settings.host)
    }
}

/// What an error means. `None` of kinds that say the connection is gone.
fn of(error: &Error) -> Failure {
    match error {
        Error::SftpError(kind, message) => {
            let text = format!("the server said: {message}");
            match kind {
                SftpErrorKind::NoSuchFile => Failure::new(StoreErrorKind::NotFound, text),
                SftpErrorKind::PermDenied => Failure::new(StoreErrorKind::Denied, text),
                SftpErrorKind::OpUnsupported => {
                    let mut failure = Failure::new(StoreErrorKind::Permanent, text);
                    failure.is_unsupported = true;
                    failure
                }
                // OpenSSH says "Failure" to a full disk and to much else.
                _ => Failure::new(StoreErrorKind::Permanent, text),
            }
        }
        other => Failure::new(StoreErrorKind::Temporary, format!("the connection broke: {other}")),
    }
}

fn is_plain(error: &Error) -> bool {
    matches!(error, Error::SftpError(..))
}

impl SftpFiles {
    pub fn new(settings: SftpSettings, limits: Arc<Limits>) -> Self {
        Self { settings, limits, session: Mutex::new(None) }
    }

    fn path(&self, path: &str) -> PathBuf {
        let root = if self.settings.root.is_empty() { "." } else { self.settings.root.as_str() };
        if path.is_empty() { PathBuf::from(root) } else { Path::new(root).join(path) }
    }

    fn command(&self) -> Command {
        let settings = &self.settings;
        let seconds = settings.timeout.as_secs().max(1);
        let mut command = Command::new("ssh");
        command.args(["-oBatchMode=yes", "-oServerAliveCountMax=3", "-oPermitLocalCommand=no"]);
        command.arg(format!("-oConnectTimeout={seconds}"));
        command.arg(format!("-oServerAliveInterval={seconds}"));
        if let Some(config) = &settings.config {
            command.arg("-F").arg(config);
        }
        if let Some(port) = settings.port {
            command.arg("-p").arg(port.to_string());
        }
        if let Some(user) = &settings.user {
            command.arg("-l").arg(user);
        }
        command.args(["-s", "--", &settings.host, "sftp"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    async fn connect(&self) -> Result<Session, Failure> {
        let broken = |reason: String| Failure::new(StoreErrorKind::Temporary, reason);
        let mut child = self.command().spawn().map_err(|error| {
            let reason = format!("ssh cannot be started: {error}; apt-get install openssh-client");
            Failure::new(StoreErrorKind::Permanent, reason)
        })?;
        let (Some(stdin), Some(stdout), Some(mut stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(broken("ssh has no pipes".to_owned()));
        };
        match Sftp::new(stdin, stdout, SftpOptions::new()).await {
            Ok(sftp) => {
                // Read on, or ssh would stand still once the pipe is full.
                tokio::spawn(async move {
                    let mut rest = [0; 512];
                    while stderr.read(&mut rest).await.is_ok_and(|count| count > 0) {}
                });
                Ok(Session { sftp, child: Mutex::new(child) })
            }
            Err(error) => {
                let mut said = vec![0; 4096];
                let mut len = 0;
                while let Ok(Ok(count)) =
                    tokio::time::timeout(Duration::from_secs(1), stderr.read(&mut said[len..]))
                        .await
                {
                    len += count;
                    if count == 0 || len == said.len() {
                        break;
                    }
                }
                let _ = child.kill().await;
                let said = String::from_utf8_lossy(&said[..len]);
                Err(of_ssh(&said, &error))
            }
        }
    }

    fn session(&self) -> Result<Arc<Session>, Failure> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = session.as_ref() {
            return Ok(Arc::clone(session));
        }
        let limit = self.settings.timeout * 2 + Duration::from_secs(5);
        let fresh = Arc::new(background::wait_at_most(limit, self.connect())?);
        *session = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// Runs `work` on the connection; one that broke is forgotten.
    fn with<T, W>(
        &self,
        limit: Duration,
        work: impl FnOnce(Arc<Session>) -> W,
    ) -> Result<T, Failure>
    where
        W: Future<Output = Result<T, Error>>,
    {
        let session = self.session()?;
        let mut is_broken = true;
        let done = background::wait_at_most(limit, async {
            work(Arc::clone(&session)).await.map_err(|error| {
                is_broken = !is_plain(&error);
                of(&error)
            })
        });
        if done.is_err() && is_broken {
            let mut current = self.session.lock().unwrap_or_else(PoisonError::into_inner);
            if current.as_ref().is_some_and(|found| Arc::ptr_eq(found, &session)) {
                *current = None;
            }
            let mut child = session.child.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = child.start_kill();
        }
        done
    }

    fn short<T, W>(&self, work: impl FnOnce(Arc<Session>) -> W) -> Result<T, Failure>
    where
        W: Future<Output = Result<T, Error>>,
    {
        self.with(self.settings.timeout * 2, work)
    }

    /// Reads `wanted` bytes from `offset` on, fewer at the end of the file.
    async fn read_open(&self, file: &File, offset: u64, wanted: usize) -> Result<Vec<u8>, Error> {
        let pieces = (0..wanted).step_by(PIECE).map(|at| (at, PIECE.min(wanted - at)));
        let reads = stream::iter(pieces).map(|(at, len)| {
            let file = file.clone();
            async move {
                self.limits.receive_async(len).await;
                Ok::<_, Error>((len, read_piece(file, offset + at as u64, len).await?))
            }
        });
        let mut reads = reads.buffered(AT_ONCE);
        let mut bytes = Vec::with_capacity(wanted.min(32 << 20));
        while let Some((asked, piece)) = reads.try_next().await? {
            bytes.extend_from_slice(&piece);
            if piece.len() < asked {
                break;
            }
        }
        Ok(bytes)
    }

    /// Most time a transfer of `bytes` may take: 8 KiB a second is as good as nothing.
    fn patience(&self, bytes: u64) -> Duration {
        self.settings.timeout * 4 + Duration::from_secs(bytes >> 13)
    }
}

/// Reads `len` bytes from `offset` on, fewer only at the end of the file.
async fn read_piece(mut file: File, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
    std::pin::Pin::new(&mut file).seek(SeekFrom::Start(offset)).await?;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let rest = len - bytes.len();
        let asked = u32::try_from(rest).unwrap_or(u32::MAX);
        match file.read(asked, BytesMut::with_capacity(rest)).await? {
            Some(found) if !found.is_empty() => bytes.extend_from_slice(&found),
            _ => break,
        }
    }
    Ok(bytes)
}

/// What ssh said before it gave up.
fn of_ssh(said: &str, error: &Error) -> Failure {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = match lines.is_empty() {
        true => format!("ssh: {error}"),
        false => lines.join("; "),
    };
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["Host key verification failed", "IDENTIFICATION HAS CHANGED"]) {
        let reason = format!(
            "{text}; the server's key is not the one that is known: ask its owner, then ssh-keyscan and \
             ssh-keygen -R"
        );
        return Failure::new(StoreErrorKind::Denied, reason);
    }
    let is_denied =
        has(&["Permission denied", "Too many authentication failures", "Bad configuration"]);
    let kind = match is_denied {
        true => StoreErrorKind::Denied,
        false if is_unknown_name(&text) => StoreErrorKind::NoAddress,
        false => StoreErrorKind::Temporary,
    };
    Failure::new(kind, text)
}

impl Files for SftpFiles {
    fn connections(&self) -> NonZeroUsize {
        self.settings.connections.unwrap_or(CONNECTIONS)
    }

    fn small_calls(&self) -> NonZeroUsize {
        self.settings.connections.unwrap_or(SMALL_CALLS)
    }

    fn share_a_connection(&self) -> bool {
        self.settings.connections.is_none_or(|calls| calls.get() > 1)
    }

    fn tell_missing(&self) -> bool {
        true
    }

    fn has_directory(&self, path: &str) -> Result<bool, Failure> {
        let path = self.path(path);
        let found = self.short(|session| async move {
            let found = session.sftp.fs().metadata(path).await?;
            Ok(found.file_type().is_some_and(|kind| kind.is_dir()))
        });
        match found {
            Err(failure) if failure.kind == StoreErrorKind::NotFound => Ok(false),
            found => found,
        }
    }

    fn make_directory(&self, path: &str) -> Result<(), Failure> {
        let full = self.path(path);
        match self.short(|session| async move { session.sftp.fs().create_dir(full).await }) {
            Err(failure)
                if failure.kind != StoreErrorKind::Temporary && self.has_directory(path)? =>
            {
                Ok(())
            }
            done => done,
        }
    }

    fn make_root(&self) -> Result<(), Failure> {
        let root = self.path("");
        let missing: Vec<PathBuf> = root
            .ancestors()
            .filter(|path| !path.as_os_str().is_empty() && *path != Path::new("/"))
            .map(Path::to_owned)
            .collect();
        let mut made = Ok(());
        for path in missing.into_iter().rev() {
            // What is above may be there, and somebody else's; the last one counts.
            made = self.short(|session| async move { session.sftp.fs().create_dir(path).await });
        }
        if self.has_directory("")? { Ok(()) } else { made }
    }

    fn remove_directory(&self, path: &str) -> Result<(), Failure> {
        let path = self.path(path);
        self.short(|session| async move { session.sftp.fs().remove_dir(path).await })
    }

    fn write(&self, path: &str, parts: &[&[u8]]) -> Result<Option<u64>, Failure> {
        let path = self.path(path);
        let len = parts.iter().map(|part| part.len() as u64).sum();
        self.with(self.patience(len), |session| async move {
            let mut options = session.sftp.options();
            let file =
                options.read(true).write(true).create(true).truncate(true).open(path).await?;
            let is_small = len <= ONE_WRITE;
            if is_small {
                self.limits.send_async(usize::try_from(len).unwrap_or(usize::MAX)).await;
            }
            let joined = if is_small { parts.concat() } else { Vec::new() };
            let whole = [joined.as_slice()];
            let parts: &[&[u8]] = if is_small { &whole } else { parts };
            let mut at = 0;
            let pieces = parts.iter().flat_map(|part| part.chunks(PIECE)).map(|piece| {
                let offset = at;
                at += piece.len() as u64;
                (offset, piece)
            });
            let writes = stream::iter(pieces).map(|(offset, piece)| {
                let mut file = file.clone();
                async move {
                    if !is_small {
                        self.limits.send_async(piece.len()).await;
                    }
                    std::pin::Pin::new(&mut file).seek(SeekFrom::Start(offset)).await?;
                    file.write_all(piece).await
                }
            });
            let written = writes.buffer_unordered(AT_ONCE).try_collect::<()>();
            let can_sync = session.sftp.support_fsync();
            let (mut to_sync, mut to_ask) = (file.clone(), file.clone());
            let confirmed = async {
                let synced = async { if can_sync { to_sync.sync_all().await } else { Ok(()) } };
                Ok(try_join(synced, to_ask.metadata()).await?.1)
            };
            // What is small goes out together with what is asked afterwards: a server does what is asked of
            // one file in order.
            let found = if is_small {
                try_join(written, confirmed).await?.1
            } else {
                written.await?;
                confirmed.await?
            };
            drop((to_sync, to_ask));
            // Closing says what a server that cannot sync has to say.
            if !can_sync {
                file.close().await?;
            }
            Ok(found.len())
        })
    }

    fn read(&self, path: &str, offset: u64, len: u64) -> Result<Vec<u8>, Failure> {
        let path = self.path(path);
        let wanted = usize::try_from(len)
            .map_err(|_| Failure::new(StoreErrorKind::Permanent, "it is too long"))?;
        self.with(self.patience(len), |session| async move {
            // Nobody waits for its being closed.
            let file = session.sftp.open(path).await?;
            self.read_open(&file, offset, wanted).await
        })
    }

    /// The size and the first piece in one trip.
    fn read_whole(&self, path: &str, limit: u64) -> Option<Result<Whole, Failure>> {
        let path = self.path(path);
        let read = self.with(self.patience(limit.min(64 << 20)), |session| async move {
            let file = session.sftp.open(path).await?;
            let mut to_ask = file.clone();
            self.limits.receive_async(FIRST_PIECE as usize).await;
            let mut to_read = file.clone();
            let room = BytesMut::with_capacity(FIRST_PIECE as usize);
            let first = to_read.read(FIRST_PIECE, room);
            let (found, first) = try_join(to_ask.metadata(), first).await?;
            let mut bytes = first.map(|first| first.to_vec()).unwrap_or_default();
            // A server that says no size is asked as others are.
            let Some(size) = found.len() else { return Ok(Whole::TooLong(u64::MAX)) };
            if size > limit || (bytes.len() as u64) > size {
                return Ok(Whole::TooLong(size));
            }
            let rest = usize::try_from(size).unwrap_or(usize::MAX) - bytes.len();
            if rest > 0 {
                bytes.extend(self.read_open(&file, bytes.len() as u64, rest).await?);
            }
            Ok(if bytes.len() as u64 == size { Whole::Bytes(bytes) } else { Whole::TooLong(size) })
        });
        Some(read)
    }

    fn size(&self, path: &str) -> Result<u64, Failure> {
        let path = self.path(path);
        self.short(|session| async move {
            let found = session.sftp.fs().metadata(path).await?;
            Ok(found.len().unwrap_or(0))
        })
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, Failure> {
        let path = self.path(path);
        self.with(self.settings.timeout * 20, |session| async move {
            let directory = session.sftp.fs().open_dir(path).await?;
            // Each question gets the next names; the last ones are told that there are no more.
            let questions =
                (0..QUESTIONS).map(|_| directory.clone().read_dir().try_collect::<Vec<_>>());
            let found = try_join_all(questions).await?;
            Ok(found.iter().flatten().filter_map(entry).collect())
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Failure> {
        let (from, to) = (self.path(from), self.path(to));
        self.short(|session| async move { session.sftp.fs().rename(from, to).await })
    }

    fn remove(&self, path: &str) -> Result<(), Failure> {
        let path = self.path(path);
        self.short(|session| async move { session.sftp.fs().remove_file(path).await })
    }
}

fn entry(found: &openssh_sftp_client::fs::DirEntry) -> Option<Entry> {
    let name = found.filename().to_str()?.to_owned();
    if matches!(name.as_str(), "" | "." | "..") || name.contains('/') {
        return None;
    }
    let meta = found.metadata();
    let kind = meta.file_type()?;
    if !kind.is_dir() && !kind.is_file() {
        return None;
    }
    let modified =
        meta.modified().and_then(|at| Timestamp::from_second(i64::from(at.into_raw())).ok());
    Some(Entry { name, size: meta.len().unwrap_or(0), modified, is_directory: kind.is_dir() })
}
