//! The parts of a location: scheme, user, password, host, port, path, options.

use percent_encoding::percent_decode_str;

use crate::crypto::Secret;

use super::{Address, Found, PlaceError, Provider, Server};

/// Where a path begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// Where a login leads to, unless it begins with a second `/` (or `%2F`).
    Login,
    /// At the top.
    Top,
}

/// A location cut at its marks, nothing decoded yet.
pub(super) struct Url<'t> {
    pub scheme: &'t str,
    /// Whether `//` follows the scheme.
    has_authority: bool,
    /// Behind the scheme, without the options.
    pub rest: &'t str,
    pub query: Vec<(String, String)>,
}

impl<'t> Url<'t> {
    /// Cuts `text`; `None` if it is a path.
    pub fn split(text: &'t str) -> Result<Option<Self>, PlaceError> {
        let is_scheme = |scheme: &str| {
            scheme.len() > 1 && scheme.bytes().all(|letter| letter.is_ascii_alphanumeric())
        };
        let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme))
        else {
            return Ok(None);
        };
        let (has_authority, rest) = match rest.strip_prefix("//") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let takes_options = !matches!(scheme, "file");
        let (rest, query) = match rest.split_once('?').filter(|_| takes_options) {
            Some((rest, query)) => (rest, options(query)?),
            None => (rest, Vec::new()),
        };
        Ok(Some(Self { scheme, has_authority, rest, query }))
    }

    fn wrong(&self, what: &str) -> PlaceError {
        PlaceError::new(
            format!("this {}: location {what}", self.scheme),
            "the forms are in docs/stores.md; special characters are percent-encoded (@ is %40)",
        )
    }

    fn decode(&self, text: &str, what: &str) -> Result<String, PlaceError> {
        let decoded = percent_decode_str(text)
            .decode_utf8()
            .map_err(|_| self.wrong(&format!("has a {what} that is not UTF-8")))?;
        // They would end a command of FTP, and mean nothing anywhere.
        if decoded.chars().any(char::is_control) {
            return Err(self.wrong(&format!("has a {what} with a control character")));
        }
        Ok(decoded.into_owned())
    }

    /// The path of a `file:` location.
    pub fn file_path(&self) -> Result<String, PlaceError> {
        if self.rest.is_empty() {
            return Err(self.wrong("names no directory"));
        }
        Ok(self.rest.to_owned())
    }

    /// `//[user[:password]@]host[:port][/path]`
    pub fn server(&self, root: Root) -> Result<(Server, Option<Secret>), PlaceError> {
        if !self.has_authority {
            return Err(self.wrong("needs `//` before the host"));
        }
        let (authority, path) = self.rest.split_once('/').unwrap_or((self.rest, ""));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let (user, password) = match user.map(|user| user.split_once(':').ok_or(user)) {
            None => (None, None),
            Some(Err(user)) => (Some(self.decode(user, "user")?), None),
            Some(Ok((user, password))) => {
                let password = self.decode(password, "password")?;
                (Some(self.decode(user, "user")?), Some(Secret::new(password.into_bytes())))
            }
        };
        let (host, port) = self.host(host)?;
        let path = self.decode(path, "path")?;
        if path.split('/').any(|part| part == "..") {
            return Err(self.wrong("leads upwards with `..`"));
        }
        let path = match root {
            Root::Login => path.trim_end_matches('/').to_owned(),
            Root::Top => format!("/{}", path.trim_matches('/')),
        };
        let user = user.filter(|user| !user.is_empty());
        Ok((Server { host, port, user, path }, password))
    }

    fn host(&self, text: &str) -> Result<(String, Option<u16>), PlaceError> {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        // ssh would take a host with a dash first for an option.
        if host.is_empty() || host.starts_with('-') || !host.chars().all(is_plain) {
            return Err(self.wrong("names no host"));
        }
        let port = port.filter(|port| !port.is_empty()).map(|port| {
            port.parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| self.wrong("has a port that is no number"))
        });
        Ok((host.to_owned(), port.transpose()?))
    }

    /// `sftp://…` with an absolute path or `/~/path`, or the form of scp, `user@host:path`.
    pub fn ssh_server(&self) -> Result<(Server, Option<Secret>), PlaceError> {
        if self.has_authority {
            let (mut server, password) = self.server(Root::Top)?;
            server.path = match server.path.strip_prefix("/~") {
                Some(path) => path.trim_start_matches('/').to_owned(),
                None => server.path,
            };
            return Ok((server, password)).and_then(|found| self.checked(found));
        }
        let (host, path) =
            self.rest.split_once(':').ok_or_else(|| self.wrong("needs user@host:path"))?;
        let (user, host) = match host.rsplit_once('@') {
            Some((user, host)) => (Some(self.decode(user, "user")?), host),
            None => (None, host),
        };
        let (host, port) = self.host(host)?;
        let end = path.trim_end_matches('/');
        let path = if end.is_empty() && !path.is_empty() { "/" } else { end };
        let path = self.decode(path, "path")?;
        self.checked((Server { host, port, user, path }, None))
    }

    fn checked(
        &self,
        found: (Server, Option<Secret>),
    ) -> Result<(Server, Option<Secret>), PlaceError> {
        if found.0.user.as_ref().is_some_and(|user| user.starts_with('-')) {
            return Err(self.wrong("has a user that looks like an option"));
        }
        Ok(found)
    }

    /// `//bucket/prefix`, or with what stands before the bucket.
    pub fn bucket(&self, provider: Provider) -> Result<Found, PlaceError> {
        let cut = |text: &str| {
            let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
            (bucket.to_owned(), prefix.trim_matches('/').to_owned())
        };
        let (endpoint, (bucket, prefix)) = match (provider, self.has_authority) {
            (_, true) => (None, cut(self.rest)),
            (Provider::S3, false) => {
                let (scheme, rest) = match self.rest.split_once("://") {
                    Some((scheme @ ("http" | "https"), rest)) => (format!("{scheme}://"), rest),
                    Some(_) => return Err(self.wrong("has an endpoint that is not http or https")),
                    None => (String::new(), self.rest),
                };
                let (host, rest) =
                    rest.split_once('/').ok_or_else(|| self.wrong("needs endpoint/bucket"))?;
                if host.contains('@') {
                    return Err(self.wrong("has a user, which an endpoint has not"));
                }
                (Some(format!("{scheme}{host}")), cut(rest))
            }
            // restic's form: `gs:bucket:/prefix`.
            (_, false) => (None, cut(&self.rest.replacen(':', "", 1))),
        };
        let bucket = self.decode(&bucket, "bucket")?;
        let prefix = self.decode(&prefix, "prefix")?;
        if bucket.is_empty() || bucket.contains('@') {
            return Err(self.wrong("names no bucket"));
        }
        if prefix.split('/').any(|part| part == ".." || part == ".") {
            return Err(self.wrong("leads upwards with `..`"));
        }
        Ok((Address::Bucket { provider, endpoint, bucket, prefix }, None))
    }
}

fn options(query: &str) -> Result<Vec<(String, String)>, PlaceError> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8().map_err(|_| {
                PlaceError::new(format!("the option `{name}` is not UTF-8"), "write it in UTF-8")
            })?;
            Ok((name.to_owned(), value.into_owned()))
        })
        .collect()
}
