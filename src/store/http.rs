//! What all stores over HTTP share: how clients are set up, and what their errors mean.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::{Certificate, ClientOptions, RetryConfig};
use reqwest::StatusCode;

use super::StoreErrorKind;
use super::bucket::Locking;
use super::error::is_unknown_name;
use super::files::Failure;
use super::place::PlaceError;

/// How clients are set up.
pub(super) fn client_options(
    ca: Option<&Path>,
    timeout: Duration,
    allows_http: bool,
) -> Result<ClientOptions, PlaceError> {
    install_tls();
    let mut options = ClientOptions::new()
        .with_allow_http(allows_http)
        .with_connect_timeout(timeout)
        // A whole request may take long on a slow line; silence is what counts.
        .with_timeout_disabled()
        .with_read_timeout(timeout);
    if let Some(path) = ca {
        for certificate in certificates(path)? {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}

/// Names the one provider of cryptography for TLS; somebody else may have done so.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub(super) fn read_ca(path: &Path) -> Result<Vec<u8>, PlaceError> {
    std::fs::read(path).map_err(|error| {
        PlaceError::new(
            format!("cannot read the certificate {}: {error}", path.display()),
            "look whether it is there and who may read it",
        )
    })
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, PlaceError> {
    Certificate::from_pem_bundle(&read_ca(path)?).map_err(|error| {
        PlaceError::new(
            format!("{} holds no certificate: {error}", path.display()),
            "name a file with certificates in PEM",
        )
    })
}

/// No tries of the library's own: a create whose reply was lost, sent again, is refused, and looks as if somebody else had
/// been there first. [`Retrying`](super::Retrying) knows which try it is.
pub(super) fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// A few tries close together; what lasts longer is tried again as a whole by [`Retrying`](super::Retrying).
pub(super) fn retries() -> RetryConfig {
    RetryConfig { max_retries: 2, retry_timeout: Duration::from_secs(60), ..RetryConfig::default() }
}

/// Connects as usual, to servers that may answer part of an object with the status of a whole one.
///
/// What was asked for and what came is told by `Content-Range` (RFC 9110, 14.4), which such servers (rclone, for one)
/// do send. Taken for a refusal it would mean to read the whole object instead, once for every part.
#[derive(Debug, Clone)]
pub(super) struct Lenient {
    /// What adds a retention to objects, if one is asked for.
    pub locking: Option<Arc<Locking>>,
}

impl HttpConnector for Lenient {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        ReqwestConnector::default()
            .connect(options)
            .map(|client| HttpClient::new(LenientClient(client, self.locking.clone())))
    }
}

#[derive(Debug)]
struct LenientClient(HttpClient, Option<Arc<Locking>>);

impl HttpService for LenientClient {
    fn call<'s, 'f>(
        &'s self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let is_of_a_part = request.headers().contains_key("range");
            let request = match &self.1 {
                Some(locking) => locking.lock(request).await?,
                None => request,
            };
            let mut response = self.0.execute(request).await?;
            if is_of_a_part
                && response.status() == StatusCode::OK
                && response.headers().contains_key("content-range")
            {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            }
            Ok(response)
        })
    }
}

/// An error, and what led to it.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = source.source();
    }
    text
}

/// What an error means.
pub(super) fn failure(error: &object_store::Error) -> Failure {
    use object_store::Error as E;
    let text = with_causes(error);
    let low = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| low.contains(word));
    let kind = match error {
        E::NotFound { .. } => StoreErrorKind::NotFound,
        E::AlreadyExists { .. } | E::Precondition { .. } => StoreErrorKind::Exists,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => StoreErrorKind::Denied,
        _ if is_unknown_name(&text) => StoreErrorKind::NoAddress,
        _ if has(&["quota", "507", "insufficient storage", "no space"]) => StoreErrorKind::NoSpace,
        _ if has(&[
            "accessdenied",
            "403 forbidden",
            "401 unauthorized",
            "invalid peer certificate",
        ]) =>
        {
            StoreErrorKind::Denied
        }
        E::NotSupported { .. } | E::NotImplemented { .. } | E::UnknownConfigurationKey { .. } => {
            StoreErrorKind::Permanent
        }
        _ if has(&["400 bad request", "405 method", "nosuchbucket", "409 conflict"]) => {
            StoreErrorKind::Permanent
        }
        _ => StoreErrorKind::Temporary,
    };
    let mut failure = Failure::new(kind, plain(&text));
    failure.is_unsupported = matches!(error, E::NotSupported { .. } | E::NotImplemented { .. })
        || has(&["405 method", "501 not"]);
    failure
}

/// `text` on one line, without what follows the `?` of an address: signatures and tokens stand there.
pub(super) fn plain(text: &str) -> String {
    let words = text.split_whitespace().map(|word| match word.split_once('?') {
        Some((address, _)) if address.contains("://") => address,
        _ => word,
    });
    let text = words.collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(600).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_signature_is_told() {
        let told = plain("error at https://h/c/x?sig=hunter2&se=1 is bad\n  really?");
        assert_eq!(told, "error at https://h/c/x is bad really?");
    }
}
