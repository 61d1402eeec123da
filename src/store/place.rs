//! Places: the text that names a store, read and checked before anything is opened.
//!
//! ```text
//! /path   ./path   file:///path                       a directory
//! ftp://user@host[:port]/path                         FTP; TLS is demanded unless the host is this one
//! ftpes://…                                           FTP, TLS from the first command on (AUTH TLS)
//! ftps://…                                            FTP inside TLS (port 990); on port 21 as ftpes://
//! sftp://user@host[:port]/path   sftp:user@host:path  SFTP by the system's ssh
//! s3://bucket/prefix   s3:endpoint/bucket/prefix      S3 and compatible ones
//! gs://bucket/prefix   gs:bucket:/prefix              Google Cloud Storage
//! azure://container/prefix   azure:container:/prefix  Azure Blob Storage
//! webdav://…   webdavs://…                            WebDAV over HTTP or HTTPS
//! rclone:remote:path                                  whatever rclone knows
//! env:NAME   credential:NAME                          the location stands in a variable, or in a
//!                                                     credential of systemd
//! ```
//!
//! Options follow a remote location as `?name=value&name=value`. None of them is a secret: they say
//! where one is (`password-file=`, `password-env=`, `password-command=`, `password-credential=`).

use std::fmt;
use std::path::PathBuf;

use crate::crypto::Secret;

use super::Location;

mod credential;
mod options;
mod url;

pub use credential::{credential_path, credentials_of};
pub use options::PlaceOptions;
pub(super) use options::{FtpTls, SecretFrom};

/// Who can read a text: what stands in arguments every user of the machine can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// On a command line.
    InArguments,
    /// In a file or an environment variable.
    Privately,
}

/// A text that names no place objects can be kept at. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PlaceError {
    message: String,
    hint: String,
}

impl PlaceError {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }

    /// What to do about it.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

/// A server with a path on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// Name or address, without brackets.
    pub host: String,
    pub port: Option<u16>,
    pub user: Option<String>,
    /// As the server is to be told: with a `/` first it is absolute, otherwise it begins where a login
    /// leads to.
    pub path: String,
}

/// Whose object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Provider {
    S3,
    Google,
    Azure,
}

/// Which store, and what it needs to find its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Directory(PathBuf),
    Ftp(Server, FtpTls),
    Sftp(Server),
    Bucket { provider: Provider, endpoint: Option<String>, bucket: String, prefix: String },
    WebDav { server: Server, is_https: bool },
    Rclone { remote: String },
}

/// A place that was read from a text.
#[derive(Clone)]
pub struct Place {
    pub(super) address: Address,
    pub(super) options: PlaceOptions,
    pub(super) password: Option<Secret>,
    location: Location,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({})", self.location)
    }
}

impl Place {
    /// Reads `text`.
    pub fn parse(text: &str, written: Written) -> Result<Self, PlaceError> {
        if let Some((kind, name)) = indirection(text) {
            let found = lookup(kind, name)?;
            if indirection(&found).is_some() {
                return Err(PlaceError::new(
                    format!("{kind}:{name} leads to another `{kind}:`, not to a place"),
                    "write the location itself there",
                ));
            }
            return Self::parse(&found, Written::Privately);
        }
        if text.is_empty() {
            return Err(PlaceError::new("an empty location names no place", "name one"));
        }
        let url = url::Url::split(text)?;
        let Some(url) = url else { return Ok(Self::directory(text)) };
        let (address, password) = address(&url)?;
        let is_s3_endpoint = matches!(address, Address::Bucket { .. });
        if password.is_some() && written == Written::InArguments {
            return Err(PlaceError::new(
                "a password in the arguments can be read by every user of this machine",
                "put the location into MRS_BACKUP_REPOSITORY or the configuration, or leave the \
                 password out and say where it is: `?password-file=/etc/mrs-backup/NAME`",
            ));
        }
        if password.is_some() && is_s3_endpoint {
            return Err(PlaceError::new(
                "a location of an object store holds no password",
                "use the provider's variables (AWS_ACCESS_KEY_ID, ...), or `?password-file=FILE`",
            ));
        }
        let options = PlaceOptions::parse(&url.query, &address, url.scheme)?;
        let location = Location::named(&printable(&address, url.scheme));
        Ok(Self { address, options, password, location })
    }

    fn directory(text: &str) -> Self {
        let path = PathBuf::from(text);
        let location = Location::directory(&path);
        let address = Address::Directory(path);
        Self { address, options: PlaceOptions::default(), password: None, location }
    }

    /// Fails if `text` is a location with a password in it, which must not stand in arguments.
    pub fn refuse_password(text: &str) -> Result<(), PlaceError> {
        let has_password = url::Url::split(text)
            .ok()
            .flatten()
            .and_then(|url| address(&url).ok())
            .is_some_and(|(_, password)| password.is_some());
        match has_password {
            true => Self::parse(text, Written::InArguments).map(|_| ()),
            false => Ok(()),
        }
    }

    /// The place named `name` below this one.
    pub fn below(&self, name: &str) -> Self {
        let mut place = self.clone();
        let join = |path: &mut String| {
            *path = match path.as_str() {
                "" => name.to_owned(),
                _ => format!("{}/{name}", path.trim_end_matches('/')),
            };
        };
        match &mut place.address {
            Address::Directory(path) => path.push(name),
            Address::Ftp(server, _) | Address::Sftp(server) | Address::WebDav { server, .. } => {
                join(&mut server.path);
            }
            Address::Bucket { prefix, .. } => join(prefix),
            Address::Rclone { remote } if remote.ends_with(':') => remote.push_str(name),
            Address::Rclone { remote } => join(remote),
        }
        place.location =
            Location::named(&format!("{}/{name}", self.location.to_string().trim_end_matches('/')));
        place
    }

    /// Where it is, fit to print.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The options written after it.
    pub fn options(&self) -> &PlaceOptions {
        &self.options
    }

    /// Whether it is anywhere else than in a directory of this machine.
    pub fn is_remote(&self) -> bool {
        !matches!(self.address, Address::Directory(_))
    }

    /// The directory it is, unless it is remote.
    pub fn as_directory(&self) -> Option<&std::path::Path> {
        match &self.address {
            Address::Directory(path) => Some(path),
            _ => None,
        }
    }
}

/// `text` as it may be printed, whatever it is: without a password, or a word that it is none.
pub fn without_secrets(text: &str) -> String {
    match (indirection(text), Place::parse(text, Written::Privately)) {
        (Some(_), _) => text.to_owned(),
        (None, Ok(place)) => place.location.to_string(),
        (None, Err(_)) => match text.split_once(':') {
            Some((scheme, _)) => format!("{scheme}:..."),
            None => text.to_owned(),
        },
    }
}

fn indirection(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|(kind, name)| {
        matches!(*kind, "env" | "credential") && !name.is_empty() && !name.contains('/')
    })
}

fn lookup(kind: &str, name: &str) -> Result<String, PlaceError> {
    let from = match kind {
        "env" => SecretFrom::Env(name.to_owned()),
        _ => SecretFrom::Credential(name.to_owned()),
    };
    let secret = from.read()?;
    let text = std::str::from_utf8(secret.expose()).map_err(|_| {
        PlaceError::new(
            format!("what {kind}:{name} leads to is not UTF-8"),
            "write a location there",
        )
    })?;
    Ok(text.trim().to_owned())
}

type Found = (Address, Option<Secret>);

fn address(url: &url::Url<'_>) -> Result<Found, PlaceError> {
    match url.scheme {
        "file" => Ok((Address::Directory(PathBuf::from(url.file_path()?)), None)),
        "ftp" | "ftps" | "ftpes" => {
            let (server, password) = url.server(url::Root::Login)?;
            let tls = match (url.scheme, server.port) {
                ("ftps", None | Some(990)) => FtpTls::Implicit,
                // Nobody speaks TLS first on the port of plain FTP.
                ("ftps", Some(21)) | ("ftpes", _) => FtpTls::Explicit,
                ("ftps", _) => FtpTls::Implicit,
                _ if is_loopback(&server.host) => FtpTls::Off,
                _ => FtpTls::Explicit,
            };
            Ok((Address::Ftp(server, tls), password))
        }
        "sftp" => {
            let (server, password) = url.ssh_server()?;
            if password.is_some() {
                return Err(PlaceError::new(
                    "SFTP goes by the system's ssh, which takes no password from us",
                    "use a key: ssh-keygen, ssh-copy-id, and IdentityFile in ~/.ssh/config",
                ));
            }
            Ok((Address::Sftp(server), None))
        }
        "webdav" | "webdavs" => {
            let (server, password) = url.server(url::Root::Top)?;
            Ok((Address::WebDav { server, is_https: url.scheme == "webdavs" }, password))
        }
        "s3" => url.bucket(Provider::S3),
        "gs" => url.bucket(Provider::Google),
        "azure" => url.bucket(Provider::Azure),
        "rclone" => {
            let remote = url.rest.to_owned();
            if !remote.contains(':') || remote.starts_with('-') {
                return Err(PlaceError::new(
                    format!("`rclone:{remote}` does not name a remote of rclone"),
                    "write rclone:REMOTE:PATH; `rclone listremotes` lists them",
                ));
            }
            Ok((Address::Rclone { remote }, None))
        }
        scheme => Err(PlaceError::new(
            format!("`{scheme}:` is not a kind of store this version knows"),
            "use a path, or ftp, ftps, ftpes, sftp, s3, gs, azure, webdav, webdavs or rclone \
             (a directory with a colon in its name: ./like:this)",
        )),
    }
}

/// Whether talking to `host` leaves no trace on any network.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn printable(address: &Address, scheme: &str) -> String {
    let of = |server: &Server, path: &str| {
        let user = server.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let host = match server.host.contains(':') {
            true => format!("[{}]", server.host),
            false => server.host.clone(),
        };
        let port = server.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{user}{host}{port}/{path}")
    };
    match address {
        Address::Directory(path) => path.display().to_string(),
        Address::Ftp(server, _) => of(server, &server.path),
        Address::Sftp(server) => match server.path.strip_prefix('/') {
            Some(path) => of(server, path),
            None => of(server, &format!("~/{}", server.path)),
        },
        Address::WebDav { server, .. } => of(server, server.path.trim_start_matches('/')),
        Address::Bucket { endpoint, bucket, prefix, .. } => {
            let end = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
            match endpoint {
                Some(endpoint) => format!("{scheme}:{endpoint}/{bucket}{end}"),
                None => format!("{scheme}://{bucket}{end}"),
            }
        }
        Address::Rclone { remote } => format!("rclone:{}", without_inline_options(remote)),
    }
}

/// An rclone remote may be written with its settings, passwords among them: `:ftp,pass=x:path`.
fn without_inline_options(remote: &str) -> String {
    match remote.find(',') {
        None => remote.to_owned(),
        Some(comma) => {
            let path = remote.rsplit_once(':').map_or("", |(_, path)| path);
            format!("{},...:{path}", &remote[..comma])
        }
    }
}

#[cfg(test)]
mod tests;
