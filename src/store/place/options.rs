//! Options of a location, and where its secret is.

use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use zeroize::Zeroize;

use crate::crypto::Secret;

use super::{Address, PlaceError, Provider, credential_path};
use crate::store::bucket::Retention;
use crate::store::rate::Rate;

/// Longest secret that is read.
const LONGEST: u64 = 64 << 10;

/// When a connection of FTP speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum FtpTls {
    Off,
    Explicit,
    Implicit,
}

/// Where a password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum SecretFrom {
    File(PathBuf),
    Env(String),
    Credential(String),
    Command(String),
}

/// What is said about a place besides where it is. The default says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlaceOptions {
    /// Where the password, or what else opens it, is.
    pub(in crate::store) secret: Option<SecretFrom>,
    /// Calls at once.
    pub connections: Option<NonZeroUsize>,
    /// How long a server may be silent.
    pub timeout: Option<Duration>,
    /// How often a call is tried again.
    pub retries: Option<u32>,
    /// Most bytes to be sent each second.
    pub limit_upload: Option<Rate>,
    /// Most bytes to be received each second.
    pub limit_download: Option<Rate>,
    /// Certificate of a private authority.
    pub(in crate::store) ca: Option<PathBuf>,
    /// SHA-256 of the one certificate that is believed.
    pub(in crate::store) pin: Option<[u8; 32]>,
    /// When FTP speaks TLS, if the scheme shall not say it.
    pub(in crate::store) tls: Option<FtpTls>,
    /// Only TLS 1.2, for servers that resume nothing newer.
    pub(in crate::store) is_tls12: bool,
    /// For object stores, as the provider calls them.
    pub(in crate::store) region: Option<String>,
    pub(in crate::store) account: Option<String>,
    pub(in crate::store) endpoint: Option<String>,
    pub(in crate::store) storage_class: Option<String>,
    /// For how long what is written cannot be deleted.
    pub(in crate::store) retention: Option<Retention>,
    /// Configuration of ssh instead of the user's own.
    pub(in crate::store) ssh_config: Option<PathBuf>,
    pub(in crate::store) is_virtual_host: bool,
}

const COMMON: &[&str] = &["connections", "timeout", "retries", "limit-upload", "limit-download"];
const SECRETS: &[&str] =
    &["password-file", "password-env", "password-credential", "password-command"];

fn allowed(address: &Address) -> Vec<&'static str> {
    let own: &[&str] = match address {
        Address::Directory(_) => return Vec::new(),
        Address::Ftp(..) => &["tls", "tls-version", "ca", "pin"],
        Address::Sftp(_) => &["ssh-config"],
        Address::Rclone { .. } => &[],
        Address::WebDav { .. } => &["ca"],
        Address::Bucket { provider: Provider::S3, .. } => {
            &["ca", "region", "endpoint", "storage-class", "virtual-host", "retention"]
        }
        Address::Bucket { provider: Provider::Google, .. } => &["ca", "endpoint"],
        Address::Bucket { provider: Provider::Azure, .. } => &["ca", "account", "endpoint"],
    };
    let secrets: &[&str] = match address {
        Address::Sftp(_) | Address::Rclone { .. } => &[],
        _ => SECRETS,
    };
    [COMMON, secrets, own].concat()
}

impl PlaceOptions {
    pub(super) fn parse(
        query: &[(String, String)],
        address: &Address,
        scheme: &str,
    ) -> Result<Self, PlaceError> {
        let allowed = allowed(address);
        let mut options = Self::default();
        for (name, value) in query {
            if !allowed.contains(&name.as_str()) {
                // The value may be a secret in the wrong place.
                let name: String = name.chars().take(40).collect();
                return Err(PlaceError::new(
                    format!("`{}` is no option of a {scheme}: location", name.escape_debug()),
                    format!("the options are: {}", allowed.join(", ")),
                ));
            }
            if options.set(name, value).is_none() {
                return Err(PlaceError::new(
                    format!("`{}` is not possible for the option `{name}`", value.escape_debug()),
                    form_of(name),
                ));
            }
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        if value.is_empty() {
            return None;
        }
        let text = || Some(value.to_owned());
        match name {
            "password-file" => self.secret = Some(SecretFrom::File(PathBuf::from(value))),
            "password-env" => self.secret = Some(SecretFrom::Env(value.to_owned())),
            "password-credential" => self.secret = Some(SecretFrom::Credential(value.to_owned())),
            "password-command" => self.secret = Some(SecretFrom::Command(value.to_owned())),
            "connections" => {
                let count: NonZeroUsize = value.parse().ok()?;
                self.connections = (count.get() <= 32).then_some(Some(count))?;
            }
            "timeout" => self.timeout = Some(seconds(value)?),
            "retries" => self.retries = Some(value.parse().ok().filter(|count| *count <= 100)?),
            "limit-upload" => self.limit_upload = Some(value.parse().ok()?),
            "limit-download" => self.limit_download = Some(value.parse().ok()?),
            "ca" => self.ca = Some(PathBuf::from(value)),
            "pin" => self.pin = Some(fingerprint(value)?),
            "tls" => {
                self.tls = Some(match value {
                    "off" => FtpTls::Off,
                    "explicit" => FtpTls::Explicit,
                    "implicit" => FtpTls::Implicit,
                    _ => return None,
                });
            }
            "tls-version" => self.is_tls12 = (value == "1.2").then_some(true)?,
            "region" => self.region = text(),
            "account" => self.account = text(),
            "endpoint" => self.endpoint = text(),
            // Packs are read to restore, to check and to prune: hours of waiting for each are no way to keep them.
            "storage-class" if ["GLACIER", "DEEP_ARCHIVE"].contains(&value) => return None,
            "storage-class" => self.storage_class = text(),
            "retention" => self.retention = Some(retention(value)?),
            "ssh-config" => self.ssh_config = Some(PathBuf::from(value)),
            "virtual-host" => {
                self.is_virtual_host = match value {
                    "yes" => true,
                    "no" => false,
                    _ => return None,
                };
            }
            _ => return None,
        }
        Some(())
    }
}

fn form_of(name: &str) -> &'static str {
    match name {
        "connections" => "write a number from 1 to 32",
        "timeout" => "write it like 30s or 2m, up to an hour",
        "retries" => "write a number from 0 to 100",
        "limit-upload" | "limit-download" => {
            "write bytes a second, like 500KiB or 2MiB, or a timetable, like `08:00,512KiB 19:00,off`"
        }
        "pin" => "write sha256: and the 64 digits of `openssl x509 -fingerprint -sha256`",
        "tls" => "write explicit, implicit or off",
        "tls-version" => "write 1.2, or leave it out",
        "virtual-host" => "write yes or no",
        "storage-class" => {
            "name one whose objects are read at once, like STANDARD_IA or GLACIER_IR"
        }
        "retention" => "write days, like 30d, or 30d,governance",
        _ => "write a value",
    }
}

fn retention(text: &str) -> Option<Retention> {
    let (days, mode) = text.split_once(',').unwrap_or((text, "compliance"));
    let days = days.strip_suffix('d')?.parse().ok().filter(|days| (1..=36_500).contains(days))?;
    let is_compliance = match mode {
        "compliance" => true,
        "governance" => false,
        _ => return None,
    };
    Some(Retention { days, is_compliance })
}

fn seconds(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix('m') {
        Some(number) => (number, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=3600).contains(&seconds).then(|| Duration::from_secs(seconds))
}

fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("SHA256:"))?;
    let digits: String = digits.chars().filter(|c| *c != ':').collect();
    crate::id::from_hex(&digits.to_ascii_lowercase())
}

impl SecretFrom {
    fn wrong(&self, reason: impl std::fmt::Display, hint: &str) -> PlaceError {
        let from = match self {
            Self::File(path) => format!("file {}", path.display()),
            Self::Env(name) => format!("environment variable {name}"),
            Self::Credential(name) => format!("credential {name}"),
            // Its arguments may be secret.
            Self::Command(text) => {
                format!("command {}", text.split_whitespace().next().unwrap_or_default())
            }
        };
        PlaceError::new(format!("cannot read what {from} should hold: {reason}"), hint)
    }

    /// What stands there, without the end of its line.
    pub fn read(&self) -> Result<Secret, PlaceError> {
        let mut bytes = match self {
            Self::File(path) => self.read_file(path)?,
            Self::Env(name) => std::env::var_os(name)
                .ok_or_else(|| self.wrong("it is not set", "set it"))?
                .into_vec(),
            Self::Credential(name) => {
                let hint = "name it in the unit: LoadCredential=NAME:/path";
                if name.contains('/') || name.starts_with('.') {
                    return Err(self.wrong("it is no name of a credential", hint));
                }
                let environment = |name: &str| std::env::var_os(name);
                let path = credential_path(&environment, name).ok_or_else(|| {
                    self.wrong("CREDENTIALS_DIRECTORY is not set; systemd sets it", hint)
                })?;
                self.read_file(&path)?
            }
            Self::Command(text) => self.run(text)?,
        };
        if bytes.ends_with(b"\n") {
            bytes.pop();
        }
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
        if bytes.is_empty() {
            return Err(self.wrong("it is empty", "write the secret there"));
        }
        Ok(Secret::new(bytes))
    }

    fn read_file(&self, path: &std::path::Path) -> Result<Vec<u8>, PlaceError> {
        let hint = "look whether it is there and who may read it";
        let file = File::open(path).map_err(|error| self.wrong(error, hint))?;
        self.take(file)
    }

    fn take(&self, from: impl Read) -> Result<Vec<u8>, PlaceError> {
        let mut bytes = Vec::with_capacity(4096);
        from.take(LONGEST + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.wrong(error, "look at it"))?;
        if bytes.len() as u64 > LONGEST {
            bytes.zeroize();
            return Err(self.wrong("it is longer than 64 KiB", "name the right one"));
        }
        Ok(bytes)
    }

    fn run(&self, text: &str) -> Result<Vec<u8>, PlaceError> {
        let hint = "run it by hand: it has to print the secret and end with code 0";
        let mut words = text.split_whitespace();
        let program = words.next().ok_or_else(|| self.wrong("it is empty", hint))?;
        let mut child = Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| self.wrong(error, hint))?;
        let read = child.stdout.take().map(|out| self.take(out)).transpose();
        let status = child.wait().map_err(|error| self.wrong(error, hint))?;
        let bytes = read?.unwrap_or_default();
        if !status.success() {
            return Err(self.wrong(format!("it ended with {status}"), hint));
        }
        Ok(bytes)
    }
}
