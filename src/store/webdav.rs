//! WebDAV: files over HTTP; and what rclone serves out of any of its remotes.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use object_store::http::{HttpBuilder, HttpStore};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Method, StatusCode};

use super::StoreErrorKind;
use super::error::is_unknown_name;
use super::files::{Entry, Failure, Files, Whole};
use super::place::PlaceError;
use super::rclone::Rclone;
use super::throttle::Limits;
use super::{background, http};
use crate::crypto::Secret;

/// Connections at once, unless the location says otherwise.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

/// How a server is reached.
pub(super) struct DavSettings {
    /// `http://host:port`
    pub origin: String,
    /// Begins with a `/`.
    pub path: String,
    pub login: Option<(String, Secret)>,
    pub ca: Option<std::path::PathBuf>,
    pub timeout: Duration,
    pub connections: Option<NonZeroUsize>,
}

/// Files of a WebDAV server.
#[derive(Debug)]
pub(super) struct DavFiles {
    store: HttpStore,
    client: Client,
    base: String,
    path: String,
    origin: String,
    connections: NonZeroUsize,
    limits: Arc<Limits>,
    /// Who serves, if it is a child of ours.
    _server: Option<Rclone>,
}

fn of(error: object_store::Error) -> Failure {
    http::failure(&error)
}

fn encoded(path: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEPT: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(path, KEPT).to_string()
}

impl DavFiles {
    pub fn new(settings: &DavSettings, limits: Arc<Limits>) -> Result<Self, PlaceError> {
        let wrong = |error: &dyn std::fmt::Display| {
            let reason = http::plain(&error.to_string());
            PlaceError::new(format!("cannot speak WebDAV: {reason}"), "look at the location")
        };
        let mut headers = HeaderMap::new();
        if let Some((user, password)) = &settings.login {
            let mut value = authorization(user, password).map_err(|error| wrong(&error))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let options = http::client_options(settings.ca.as_deref(), settings.timeout, true)?
            .with_default_headers(headers.clone());
        let path = settings.path.trim_end_matches('/').to_owned();
        let base = format!("{}{}", settings.origin, encoded(&path));
        let store = HttpBuilder::new()
            .with_url(format!("{}/", settings.origin))
            .with_client_options(options)
            .with_retry(http::retries())
            .build()
            .map_err(|error| wrong(&error))?;
        let mut client = Client::builder()
            .default_headers(headers)
            .connect_timeout(settings.timeout)
            .read_timeout(settings.timeout);
        if let Some(path) = &settings.ca {
            let bundle = http::read_ca(path)?;
            let found = reqwest::Certificate::from_pem_bundle(&bundle);
            for certificate in found.map_err(|error| wrong(&error))? {
                client = client.add_root_certificate(certificate);
            }
        }
        let client = client.build().map_err(|error| wrong(&error))?;
        let connections = settings.connections.unwrap_or(CONNECTIONS);
        let origin = settings.origin.clone();
        Ok(Self { store, client, base, path, origin, connections, limits, _server: None })
    }

    /// Keeps `server` running as long as this is used.
    pub fn served_by(self, server: Rclone) -> Self {
        Self { _server: Some(server), ..self }
    }

    fn url(&self, path: &str) -> String {
        if path.is_empty() {
            format!("{}/", self.base)
        } else {
            format!("{}/{}", self.base, encoded(path))
        }
    }

    /// The whole path of what is at `path`, from the server's top.
    fn full(&self, path: &str) -> Path {
        let text = format!("{}/{path}", self.path);
        let text = text.trim_matches('/');
        Path::parse(text).unwrap_or_else(|_| Path::from(text))
    }

    /// One plain request; its status.
    fn ask(
        &self,
        method: &str,
        url: &str,
        headers: &[(&'static str, String)],
    ) -> Result<StatusCode, Failure> {
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| Failure::new(StoreErrorKind::Permanent, "no such method"))?;
        background::wait(async {
            let mut request = self.client.request(method, url);
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            let answer = request.send().await.map_err(|error| {
                let is_builder = error.is_builder();
                let text = http::with_causes(&error.without_url());
                let kind = if is_builder {
                    StoreErrorKind::Permanent
                } else if is_unknown_name(&text) {
                    StoreErrorKind::NoAddress
                } else {
                    StoreErrorKind::Temporary
                };
                Failure::new(kind, http::plain(&text))
            })?;
            Ok(answer.status())
        })
    }
}

fn authorization(user: &str, password: &Secret) -> Result<HeaderValue, String> {
    use zeroize::Zeroizing;
    let mut plain = Zeroizing::new(format!("{user}:").into_bytes());
    plain.extend_from_slice(password.expose());
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*plain)));
    HeaderValue::from_str(&text).map_err(|error| error.to_string())
}

fn of_status(status: StatusCode) -> Failure {
    let kind = match status.as_u16() {
        404 | 409 | 410 => StoreErrorKind::NotFound,
        401 | 403 | 423 => StoreErrorKind::Denied,
        412 => StoreErrorKind::Exists,
        507 => StoreErrorKind::NoSpace,
        408 | 425 | 429 | 500..=599 => StoreErrorKind::Temporary,
        _ => StoreErrorKind::Permanent,
    };
    let mut failure = Failure::new(kind, format!("the server said: {status}"));
    failure.is_unsupported = matches!(status.as_u16(), 405 | 501);
    failure
}

impl Files for DavFiles {
    fn connections(&self) -> NonZeroUsize {
        self.connections
    }

    fn has_directory(&self, path: &str) -> Result<bool, Failure> {
        let url = format!("{}/", self.url(path).trim_end_matches('/'));
        match self.ask("PROPFIND", &url, &[("Depth", "0".to_owned())])? {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => Ok(false),
            status => Err(of_status(status)),
        }
    }

    fn make_directory(&self, path: &str) -> Result<(), Failure> {
        let url = format!("{}/", self.url(path));
        match self.ask("MKCOL", &url, &[])? {
            // 405 says that something is there.
            status if status.is_success() || status == StatusCode::METHOD_NOT_ALLOWED => Ok(()),
            status => Err(of_status(status)),
        }
    }

    fn make_root(&self) -> Result<(), Failure> {
        let path = self.path.trim_start_matches('/');
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends.filter(|end| *end > 0) {
            let url = format!("{}/{}/", self.origin, encoded(&path[..end]));
            let status = self.ask("MKCOL", &url, &[])?;
            // What is above may be somebody else's; the last one counts.
            let is_there = status.is_success() || status == StatusCode::METHOD_NOT_ALLOWED;
            if end == path.len() && !is_there && !self.has_directory("")? {
                return Err(of_status(status));
            }
        }
        Ok(())
    }

    /// WebDAV deletes a directory with all that is in it, also what somebody puts there meanwhile. So
    /// empty ones stay.
    fn remove_directory(&self, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    fn write(&self, path: &str, parts: &[&[u8]]) -> Result<Option<u64>, Failure> {
        let bytes = Bytes::from(parts.concat());
        self.limits.send(bytes.len());
        let path = self.full(path);
        background::wait(async {
            self.store.put(&path, PutPayload::from_bytes(bytes)).await.map(|_| None).map_err(of)
        })
    }

    fn read(&self, path: &str, offset: u64, len: u64) -> Result<Vec<u8>, Failure> {
        self.limits.receive(usize::try_from(len).unwrap_or(usize::MAX));
        let path = self.full(path);
        background::wait(async {
            let bytes = self.store.get_range(&path, offset..offset + len).await.map_err(of)?;
            Ok(bytes.to_vec())
        })
    }

    fn read_whole(&self, path: &str, limit: u64) -> Option<Result<Whole, Failure>> {
        let path = self.full(path);
        Some(background::wait(async {
            let found = self.store.get(&path).await.map_err(of)?;
            let size = found.meta.size;
            if size > limit {
                return Ok(Whole::TooLong(size));
            }
            self.limits.receive_async(usize::try_from(size).unwrap_or(usize::MAX)).await;
            let bytes = found.bytes().await.map_err(of)?;
            Ok(if bytes.len() as u64 == size {
                Whole::Bytes(bytes.to_vec())
            } else {
                Whole::TooLong(size)
            })
        }))
    }

    fn size(&self, path: &str) -> Result<u64, Failure> {
        let path = self.full(path);
        background::wait(async { Ok(self.store.head(&path).await.map_err(of)?.size) })
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, Failure> {
        let below = self.full(path);
        let prefix = (!below.as_ref().is_empty()).then_some(&below);
        let found =
            background::wait(async { self.store.list_with_delimiter(prefix).await.map_err(of) })?;
        let name = |path: &Path| path.filename().map(str::to_owned);
        let files = found.objects.iter().filter_map(|meta| {
            let modified = Timestamp::from_second(meta.last_modified.timestamp()).ok();
            let name = name(&meta.location)?;
            Some(Entry { name, size: meta.size, modified, is_directory: false })
        });
        let directories = found.common_prefixes.iter().filter_map(|path| {
            Some(Entry { name: name(path)?, size: 0, modified: None, is_directory: true })
        });
        Ok(files.chain(directories).collect())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Failure> {
        let target = self.url(to);
        let headers = [("Destination", target), ("Overwrite", "F".to_owned())];
        match self.ask("MOVE", &self.url(from), &headers)? {
            status if status.is_success() => Ok(()),
            status => Err(of_status(status)),
        }
    }

    fn remove(&self, path: &str) -> Result<(), Failure> {
        let path = self.full(path);
        background::wait(async { self.store.delete(&path).await.map_err(of) })
    }
}
