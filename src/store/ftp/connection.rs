//! One connection: connected, secured, logged in, in binary mode.

use std::fmt;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use suppaftp::types::FileType;
use suppaftp::{FtpError, FtpResult, ImplFtpStream, Mode, Status, TransferStream};

use super::super::StoreErrorKind;
use super::super::error::is_unknown_name;
use super::super::place::FtpTls;
use super::reply::Trouble;
use super::tls::{Draining, DrainingConnector, Sessions, TlsSettings};
use crate::crypto::Secret;

/// How a server is reached.
#[derive(Clone)]
pub(in crate::store) struct FtpSettings {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Secret,
    /// Absolute, or below where a login leads to.
    pub root: String,
    pub mode: FtpTls,
    pub tls: Option<TlsSettings>,
    pub timeout: Duration,
}

impl fmt::Debug for FtpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FtpSettings({}:{})", self.host, self.port)
    }
}

/// Makes connections.
#[derive(Debug)]
pub(super) struct Connector {
    settings: FtpSettings,
    /// How data connections are opened, once that is known.
    mode: OnceLock<Mode>,
    /// The server replaces no tickets of TLS 1.3.
    prefers_tls12: AtomicBool,
}

/// A connection that is logged in.
pub(super) struct Connection {
    pub ftp: ImplFtpStream<Draining>,
    /// Absolute, without a `/` at its end.
    root: String,
    sessions: Option<Arc<Sessions>>,
    /// The server may remember where the next transfer is to begin.
    pub has_offset: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.root)
    }
}

impl Connection {
    /// The whole path of what is at `path` below the root.
    pub fn path(&self, path: &str) -> String {
        match (path, self.root.as_str()) {
            ("", "") => "/".to_owned(),
            ("", root) => root.to_owned(),
            (path, root) => format!("{root}/{path}"),
        }
    }

    /// Opens a data connection.
    pub fn data(
        &mut self,
        open: impl FnOnce(&mut ImplFtpStream<Draining>) -> FtpResult<TransferStream<Draining>>,
    ) -> Result<TransferStream<Draining>, Trouble> {
        Ok(open(&mut self.ftp)?)
    }

    /// Whether no further data connection of it could resume its TLS session.
    pub fn is_used_up(&self) -> bool {
        self.sessions.as_ref().is_some_and(|sessions| sessions.are_used_up())
    }

    /// Says goodbye without waiting long for an answer.
    pub fn close(mut self) {
        let _ = self.ftp.get_ref().set_read_timeout(Some(Duration::from_millis(500)));
        let _ = self.ftp.get_ref().set_write_timeout(Some(Duration::from_millis(500)));
        let _ = self.ftp.quit();
    }
}

/// Opens a socket; the name is looked up each time, since addresses change.
fn open_socket(address: SocketAddr, timeout: Duration) -> std::io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, timeout)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.set_write_timeout(Some(timeout))?;
    socket.set_nodelay(true)?;
    // Firewalls forget a control connection that is silent during a long transfer.
    rustix::net::sockopt::set_socket_keepalive(&socket, true)?;
    rustix::net::sockopt::set_tcp_keepidle(&socket, Duration::from_secs(30))?;
    rustix::net::sockopt::set_tcp_keepintvl(&socket, Duration::from_secs(15))?;
    Ok(socket)
}

impl Connector {
    pub fn new(settings: FtpSettings) -> Self {
        Self { settings, mode: OnceLock::new(), prefers_tls12: AtomicBool::new(false) }
    }

    fn addresses(&self) -> Result<Vec<SocketAddr>, Trouble> {
        let FtpSettings { host, port, .. } = &self.settings;
        let found = (host.as_str(), *port).to_socket_addrs().map_err(|error| {
            let reason = format!("the name {host} has no address: {error}");
            let kind = match is_unknown_name(&reason) {
                true => StoreErrorKind::NoAddress,
                false => StoreErrorKind::Temporary,
            };
            Trouble::broken(kind, reason)
        })?;
        Ok(found.collect())
    }

    /// A socket to the first address that answers.
    fn socket(&self) -> Result<TcpStream, Trouble> {
        let mut last = None;
        for address in self.addresses()? {
            match open_socket(address, self.settings.timeout) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = Some((address, error)),
            }
        }
        let reason = match last {
            Some((address, error)) => format!("cannot connect to {address}: {error}"),
            None => format!("the name {} has no address", self.settings.host),
        };
        Err(Trouble::broken(StoreErrorKind::Temporary, reason))
    }

    pub fn connect(&self) -> Result<Connection, Trouble> {
        let timeout = self.settings.timeout;
        let data = move |address| open_socket(address, timeout).map_err(FtpError::ConnectionError);
        let (ftp, sessions) = self.secured()?;
        let mut ftp = ftp.passive_stream_builder(data);
        let password = std::str::from_utf8(self.settings.password.expose())
            .map_err(|_| Trouble::broken(StoreErrorKind::Denied, "the password is not UTF-8"))?;
        ftp.login(self.settings.user.as_str(), password).map_err(|error| {
            let mut trouble = Trouble::from(error);
            if trouble.failure.reason.contains(" 530 ") && !trouble.is_too_many {
                let user = &self.settings.user;
                trouble.failure.kind = StoreErrorKind::Denied;
                trouble.failure.reason = format!("{} (user {user})", trouble.failure.reason);
            }
            trouble
        })?;
        // Otherwise line ends are rewritten.
        ftp.transfer_type(FileType::Binary)?;
        // The address a server gives is ignored: behind NAT it is wrong, and a hostile one could send us
        // anywhere.
        ftp.set_passive_nat_workaround(true);
        let mode = match self.mode.get() {
            Some(mode) => *mode,
            // Asked once: what a server says to EPSV before a transfer looks like a refusal of that.
            None => match ftp.custom_command("EPSV", &[Status::ExtendedPassiveMode]) {
                Ok(_) => *self.mode.get_or_init(|| Mode::ExtendedPassive),
                Err(FtpError::UnexpectedResponse(response))
                    if response.status.code() >= 500 && response.status.code() != 530 =>
                {
                    *self.mode.get_or_init(|| Mode::Passive)
                }
                Err(error) => return Err(error.into()),
            },
        };
        ftp.set_mode(mode);
        let root = match self.settings.root.starts_with('/') {
            true => self.settings.root.clone(),
            false => format!("{}/{}", ftp.pwd()?.trim_end_matches('/'), self.settings.root),
        };
        let root = root.trim_end_matches('/').to_owned();
        Ok(Connection { ftp, root, sessions, has_offset: false })
    }

    /// From now on the older TLS is spoken.
    pub fn prefer_tls12(&self) {
        self.prefers_tls12.store(true, Ordering::Relaxed);
    }

    fn secured(&self) -> Result<Secured, Trouble> {
        let Some(tls) = &self.settings.tls else {
            return Ok((ImplFtpStream::connect_with_stream(self.socket()?)?, None));
        };
        if tls.is_tls12 || !self.prefers_tls12.load(Ordering::Relaxed) {
            return self.secured_with(tls);
        }
        let older = TlsSettings { is_tls12: true, ..tls.clone() };
        // It may speak nothing but the newer one.
        self.secured_with(&older).or_else(|_| self.secured_with(tls))
    }

    fn secured_with(&self, tls: &TlsSettings) -> Result<Secured, Trouble> {
        let host = &self.settings.host;
        // A session cache of its own: tickets of one control connection are refused on another.
        let tls = DrainingConnector::new(tls)
            .map_err(|reason| Trouble::broken(StoreErrorKind::Denied, reason))?;
        let sessions = Some(Arc::clone(&tls.sessions));
        if self.settings.mode == FtpTls::Explicit {
            let plain = ImplFtpStream::connect_with_stream(self.socket()?)?;
            return Ok((plain.into_secure(tls, host).map_err(without_tls)?, sessions));
        }
        let addresses = self.addresses()?;
        let tls = tls.with_timeout(self.settings.timeout);
        let mut ftp = ImplFtpStream::connect_secure_implicit(addresses.as_slice(), tls, host)?;
        ftp.custom_command("PBSZ 0", &[Status::CommandOk])?;
        ftp.custom_command("PROT P", &[Status::CommandOk])?;
        Ok((ftp, sessions))
    }
}

type Secured = (ImplFtpStream<Draining>, Option<Arc<Sessions>>);

/// What it means that a connection cannot be secured.
fn without_tls(error: FtpError) -> Trouble {
    let is_refused = matches!(&error, FtpError::UnexpectedResponse(response)
        if response.status.code() >= 400 && response.status.code() != 421);
    let trouble = Trouble::from(error);
    if !is_refused {
        return trouble;
    }
    let said = trouble.failure.reason;
    let reason = format!(
        "{said}; it does not speak TLS, and in clear nothing is sent (`?tls=off` if you must)"
    );
    Trouble::broken(StoreErrorKind::Denied, reason)
}
