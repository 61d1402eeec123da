//! One connection: connected, secured, logged in, in binary mode.

use std::fmt;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use suppaftp::types::FileType;
use suppaftp::{FtpError, FtpResult, ImplFtpStream, Mode, Status, TransferStream};

use super::super::StoreErrorKind;
use super::super::place::FtpTls;
use super::reply::Trouble;
use super::tls::{Draining, DrainingConnector, TlsSettings};
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
    /// The server knows no EPSV, or what it says of it does not work.
    uses_pasv: AtomicBool,
}

/// A connection that is logged in.
pub(super) struct Connection {
    pub ftp: ImplFtpStream<Draining>,
    /// Absolute, without a `/` at its end.
    root: String,
    uses_pasv: bool,
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

    /// Opens a data connection; by PASV where EPSV does not work.
    pub fn data(
        &mut self,
        open: impl Fn(&mut ImplFtpStream<Draining>) -> FtpResult<TransferStream<Draining>>,
    ) -> Result<TransferStream<Draining>, Trouble> {
        match open(&mut self.ftp) {
            Err(FtpError::UnexpectedResponse(response))
                if !self.uses_pasv
                    && matches!(response.status.code(), 500 | 501 | 502 | 504 | 522)
                    && String::from_utf8_lossy(&response.body)
                        .to_ascii_uppercase()
                        .contains("EPSV") =>
            {
                self.use_pasv();
                Ok(open(&mut self.ftp)?)
            }
            opened => Ok(opened?),
        }
    }

    fn use_pasv(&mut self) {
        self.uses_pasv = true;
        self.ftp.set_mode(Mode::Passive);
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
        Self { settings, uses_pasv: AtomicBool::new(false) }
    }

    fn addresses(&self) -> Result<Vec<SocketAddr>, Trouble> {
        let FtpSettings { host, port, .. } = &self.settings;
        let found = (host.as_str(), *port).to_socket_addrs().map_err(|error| {
            let reason = format!("the name {host} has no address: {error}");
            Trouble::broken(StoreErrorKind::Temporary, reason)
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
        let mut ftp = self.secured()?.passive_stream_builder(data);
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
        let uses_pasv = self.uses_pasv.load(Ordering::Relaxed);
        ftp.set_mode(if uses_pasv { Mode::Passive } else { Mode::ExtendedPassive });
        let root = match self.settings.root.starts_with('/') {
            true => self.settings.root.clone(),
            false => format!("{}/{}", ftp.pwd()?.trim_end_matches('/'), self.settings.root),
        };
        let root = root.trim_end_matches('/').to_owned();
        Ok(Connection { ftp, root, uses_pasv })
    }

    fn secured(&self) -> Result<ImplFtpStream<Draining>, Trouble> {
        let host = &self.settings.host;
        // A session cache of its own: tickets of one control connection are refused on another.
        let tls = self.settings.tls.as_ref().map(DrainingConnector::new).transpose();
        let tls = tls.map_err(|reason| Trouble::broken(StoreErrorKind::Denied, reason))?;
        match (self.settings.mode, tls) {
            (FtpTls::Explicit, Some(tls)) => {
                let plain = ImplFtpStream::connect_with_stream(self.socket()?)?;
                plain.into_secure(tls, host).map_err(|error| match Trouble::from(error) {
                    trouble if trouble.keeps_step => Trouble::broken(
                        StoreErrorKind::Denied,
                        format!("{}; it does not speak TLS, and without it nothing is sent (`?tls=off` if you must)", trouble.failure.reason),
                    ),
                    trouble => trouble,
                })
            }
            (FtpTls::Implicit, Some(tls)) => {
                let addresses = self.addresses()?;
                let mut ftp = ImplFtpStream::connect_secure_implicit(
                    addresses.as_slice(),
                    tls.with_timeout(self.settings.timeout),
                    host,
                )?;
                ftp.custom_command("PBSZ 0", &[Status::CommandOk])?;
                ftp.custom_command("PROT P", &[Status::CommandOk])?;
                Ok(ftp)
            }
            _ => Ok(ImplFtpStream::connect_with_stream(self.socket()?)?),
        }
    }
}
