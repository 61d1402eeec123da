//! Opening: from a place to the store there, with retries and limits around it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::Secret;

use super::files::FileStore;
use super::ftp::{FtpFiles, FtpSettings, TlsSettings};
use super::place::{Address, FtpTls, Place, PlaceError, Server, Written};
use super::retry::{RETRIES, Retrying};
use super::throttle::{Limits, Throttle};
use super::{LocalStore, Store};

/// How long a server may be silent, unless the location says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What whoever opens a store says besides where it is.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// What opens it, instead of what the location says: a password; of object stores `NAME=VALUE` lines
    /// with the provider's variables (of Google the service account's JSON).
    pub secret: Option<Secret>,
    /// Most bytes to be sent each second, unless the location says less.
    pub limit_upload: Option<u64>,
    /// Most bytes to be received each second, unless the location says less.
    pub limit_download: Option<u64>,
}

/// The store at `text`, which nobody else can read: from a file or a variable.
pub fn open_store(text: &str) -> Result<Arc<dyn Store>, PlaceError> {
    Place::parse(text, Written::Privately)?.open(&StoreOptions::default())
}

fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    [one, other].into_iter().flatten().min()
}

impl Place {
    /// The store here. Connects to nothing yet: what is wrong with a server shows at the first call.
    pub fn open(&self, options: &StoreOptions) -> Result<Arc<dyn Store>, PlaceError> {
        let own = &self.options;
        let limits = Arc::new(Limits {
            upload: Throttle::new(least(options.limit_upload, own.limit_upload)),
            download: Throttle::new(least(options.limit_download, own.limit_download)),
        });
        let store: Arc<dyn Store> = match &self.address {
            Address::Directory(path) => {
                return Ok(Arc::new(LocalStore::new(PathBuf::from(path))));
            }
            Address::Ftp(server, tls) => {
                let settings = self.ftp(server, *tls, options)?;
                let files = FtpFiles::new(settings, own.connections, limits);
                Arc::new(FileStore::new(files, self.location().clone()))
            }
            _ => {
                return Err(PlaceError::new(
                    format!("{} is a kind of store this version cannot open yet", self.location()),
                    "name a directory or an FTP server",
                ));
            }
        };
        let retries = own.retries.unwrap_or(RETRIES);
        Ok(Arc::new(Retrying::new(store, retries, std::thread::sleep)))
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
            timeout: own.timeout.unwrap_or(TIMEOUT),
        })
    }
}
