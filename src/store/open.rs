//! Opening: from a place to the store there, with retries and limits around it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::Secret;
use crate::event::{Observer, StopFlag};

use super::bucket::BucketStore;
use super::files::FileStore;
use super::ftp::{FtpFiles, FtpSettings, TlsSettings};
use super::place::{Address, FtpTls, Place, PlaceError, Server, Written, is_loopback};
use super::rclone::{self, Rclone};
use super::retry::{RETRIES, Retrying};
use super::sftp::{SftpFiles, SftpSettings};
use super::throttle::Limits;
use super::webdav::{DavFiles, DavSettings};
use super::{LocalStore, Store};

mod providers;

/// How long a server may be silent, unless the location says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The same where somebody only asks whether it answers.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Tries after the first one, where somebody only asks.
const QUESTION_RETRIES: u32 = 1;

/// What whoever opens a store says besides where it is.
#[derive(Clone, Default)]
pub struct StoreOptions {
    /// What opens it, instead of what the location says: a password; of object stores `NAME=VALUE` lines
    /// with the provider's variables (of Google the service account's JSON).
    pub secret: Option<Secret>,
    /// Who watches while a server does not answer.
    pub watch: Option<Watch>,
    /// Somebody waits for the answer: what does not answer soon is given up, unless the location says otherwise.
    pub is_question: bool,
}

/// Who is told that nothing goes on because a server does not answer, and may ask to wait no longer.
#[derive(Clone)]
pub struct Watch {
    /// Is told.
    pub observer: Arc<dyn Observer>,
    /// Asks.
    pub stop: Arc<StopFlag>,
}

impl From<Watch> for StoreOptions {
    fn from(watch: Watch) -> Self {
        Self { watch: Some(watch), ..Self::default() }
    }
}

/// The store at `text`, which nobody else can read: from a file or a variable.
pub fn open_store(text: &str) -> Result<Arc<dyn Store>, PlaceError> {
    Place::parse(text, Written::Privately)?.open(&StoreOptions::default())
}

impl Place {
    /// The store here. Connects to nothing yet: what is wrong with a server shows at the first call.
    pub fn open(&self, options: &StoreOptions) -> Result<Arc<dyn Store>, PlaceError> {
        let own = &self.options;
        let limits = Arc::new(Limits::new(own.limit_upload.clone(), own.limit_download.clone()));
        let store: Arc<dyn Store> = match &self.address {
            Address::Directory(path) => {
                return Ok(Arc::new(LocalStore::new(PathBuf::from(path))));
            }
            Address::Ftp(server, tls) => {
                let settings = self.ftp(server, *tls, options)?;
                let files = FtpFiles::new(settings, own.connections, limits);
                Arc::new(FileStore::new(files, self.location().clone()))
            }
            Address::Sftp(server) => {
                let files = SftpFiles::new(self.sftp(server, options), limits);
                Arc::new(FileStore::new(files, self.location().clone()))
            }
            Address::Bucket { .. } => self.bucket(options, limits)?,
            Address::WebDav { server, is_https } => {
                let settings = self.webdav(server, *is_https, options)?;
                Arc::new(FileStore::new(DavFiles::new(&settings, limits)?, self.location().clone()))
            }
            Address::Rclone { remote } => {
                let running = Rclone::start(remote)?;
                let settings = self.served(&running);
                let files = DavFiles::new(&settings, limits)?.served_by(running);
                Arc::new(FileStore::new(files, self.location().clone()))
            }
        };
        let usual = if options.is_question { QUESTION_RETRIES } else { RETRIES };
        let retries = own.retries.unwrap_or(usual);
        let retrying = Retrying::new(store, retries, std::thread::sleep);
        Ok(Arc::new(retrying.watched_by(options.watch.clone())))
    }

    fn timeout(&self, options: &StoreOptions) -> Duration {
        let usual = if options.is_question { QUESTION_TIMEOUT } else { TIMEOUT };
        self.options.timeout.unwrap_or(usual)
    }

    /// What opens it: the caller's secret, the location's own, or what its options lead to.
    fn secret(&self, options: &StoreOptions) -> Result<Option<Secret>, PlaceError> {
        match (&options.secret, &self.password, &self.options.secret) {
            (Some(secret), _, _) | (None, Some(secret), _) => Ok(Some(secret.clone())),
            (None, None, Some(from)) => from.read().map(Some),
            (None, None, None) => Ok(None),
        }
    }

    fn ftp(
        &self,
        server: &Server,
        by_scheme: FtpTls,
        options: &StoreOptions,
    ) -> Result<FtpSettings, PlaceError> {
        let own = &self.options;
        let mode = match own.tls {
            Some(mode) => mode,
            // Whoever says whom to believe wants TLS here, too.
            None if own.ca.is_some() || own.pin.is_some() => match by_scheme {
                FtpTls::Off => FtpTls::Explicit,
                mode => mode,
            },
            None => by_scheme,
        };
        let secret = self.secret(options)?;
        let is_anonymous = server.user.is_none();
        if !is_anonymous && secret.is_none() {
            return Err(PlaceError::new(
                format!("there is no password for {}", self.location()),
                "add `?password-file=FILE` to the location (or password-env, password-credential, \
                 password-command)",
            ));
        }
        let default_port = if mode == FtpTls::Implicit { 990 } else { 21 };
        Ok(FtpSettings {
            host: server.host.clone(),
            port: server.port.unwrap_or(default_port),
            user: server.user.clone().unwrap_or_else(|| "anonymous".to_owned()),
            password: secret.unwrap_or_else(|| Secret::new(b"anonymous@".to_vec())),
            root: server.path.clone(),
            mode,
            tls: (mode != FtpTls::Off).then(|| TlsSettings {
                ca: own.ca.clone(),
                pin: own.pin,
                is_tls12: own.is_tls12,
            }),
            timeout: self.timeout(options),
        })
    }

    fn sftp(&self, server: &Server, options: &StoreOptions) -> SftpSettings {
        SftpSettings {
            host: server.host.clone(),
            port: server.port,
            user: server.user.clone(),
            root: server.path.clone(),
            config: self.options.ssh_config.clone(),
            timeout: self.timeout(options),
            connections: self.options.connections,
        }
    }

    fn webdav(
        &self,
        server: &Server,
        is_https: bool,
        options: &StoreOptions,
    ) -> Result<DavSettings, PlaceError> {
        let secret = self.secret(options)?;
        if !is_https && secret.is_some() && !is_loopback(&server.host) {
            return Err(PlaceError::new(
                format!("{} would send the password in clear", self.location()),
                "use webdavs://",
            ));
        }
        let host = match server.host.contains(':') {
            true => format!("[{}]", server.host),
            false => server.host.clone(),
        };
        let scheme = if is_https { "https" } else { "http" };
        let port = server.port.map(|port| format!(":{port}")).unwrap_or_default();
        Ok(DavSettings {
            origin: format!("{scheme}://{host}{port}"),
            path: server.path.clone(),
            login: server.user.clone().zip(secret),
            ca: self.options.ca.clone(),
            timeout: self.timeout(options),
            connections: self.options.connections,
        })
    }

    fn served(&self, running: &Rclone) -> DavSettings {
        DavSettings {
            origin: running.origin.clone(),
            path: String::new(),
            login: Some((rclone::USER.to_owned(), running.password.clone())),
            ca: None,
            // It waits for its own remote, and tries again by itself.
            timeout: self.options.timeout.unwrap_or(TIMEOUT * 10),
            connections: self.options.connections,
        }
    }

    fn bucket(
        &self,
        options: &StoreOptions,
        limits: Arc<Limits>,
    ) -> Result<Arc<dyn Store>, PlaceError> {
        let (objects, settings) =
            providers::open(self, self.secret(options)?, self.timeout(options))?;
        let location = self.location().clone();
        Ok(Arc::new(BucketStore::new(objects, settings, location, limits)))
    }
}
