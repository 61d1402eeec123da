//! Objects of S3 that cannot be deleted for a while, by nobody: *Object Lock*, asked for object by object.
//!
//! The library that speaks S3 knows nothing of it, so two headers are added to the requests that create an object, and
//! those are signed again: S3 refuses headers of its own that are not signed.

use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpError, HttpErrorKind, HttpRequest};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use crate::clock::{Clock, SystemClock};
use crate::store::{ObjectKind, ObjectName};

const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
const DIGEST: &str = "x-amz-content-sha256";

/// For how long what is written is kept, and against whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Retention {
    pub days: u32,
    /// Not even the owner of the account shortens it; otherwise those who have a right of their own do.
    pub is_compliance: bool,
}

/// Adds a retention to requests.
#[derive(Debug)]
pub(in crate::store) struct Locking {
    retention: Retention,
    region: String,
    credentials: OnceLock<AwsCredentialProvider>,
}

/// Whether a request creates an object that is never changed and not soon removed again: sessions, and what is
/// condemned, have to go.
fn creates_lasting(request: &HttpRequest) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let has = |name: &str| query.split('&').any(|part| part.split('=').next() == Some(name));
    let is_creation = match *request.method() {
        Method::PUT => !has("partNumber"),
        Method::POST => has("uploads"),
        _ => false,
    };
    let path = request.uri().path();
    let mut ends = path.rmatch_indices('/').take(3).filter_map(|(at, _)| path.get(at + 1..));
    let name = ends.find_map(ObjectName::parse);
    let is_lasting =
        |name: ObjectName| !matches!(name.kind(), ObjectKind::Session | ObjectKind::Condemned);
    is_creation && name.is_some_and(is_lasting)
}

impl Locking {
    pub fn new(retention: Retention, region: String) -> Self {
        Self { retention, region, credentials: OnceLock::new() }
    }

    /// Says with what is signed.
    pub fn sign_with(&self, credentials: &AwsCredentialProvider) {
        let _ = self.credentials.set(AwsCredentialProvider::clone(credentials));
    }

    /// Until when an object is kept that is written at `now`.
    fn until(&self, now: Timestamp) -> String {
        let time = Duration::from_hours(24).saturating_mul(self.retention.days);
        let until = now.saturating_add(time).unwrap_or(Timestamp::MAX);
        until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// The request with a retention, if it creates what is to be kept.
    pub async fn lock(&self, mut request: HttpRequest) -> Result<HttpRequest, HttpError> {
        let Some(credentials) = self.credentials.get().filter(|_| creates_lasting(&request)) else {
            return Ok(request);
        };
        let wrong = |error: object_store::Error| HttpError::new(HttpErrorKind::Request, error);
        let credential = credentials.get_credential().await.map_err(wrong)?;
        let until = HeaderValue::from_str(&self.until(SystemClock.now()))
            .map_err(|error| HttpError::new(HttpErrorKind::Request, error))?;
        let mode = if self.retention.is_compliance { "COMPLIANCE" } else { "GOVERNANCE" };
        let headers = request.headers_mut();
        headers.insert(MODE, HeaderValue::from_static(mode));
        headers.insert(UNTIL, until);
        headers.remove(AUTHORIZATION);
        let digest = headers.remove(DIGEST);
        let digest = digest.as_ref().and_then(|digest| digest.to_str().ok());
        let digest: Option<[u8; 32]> = digest.and_then(crate::id::from_hex);
        AwsAuthorizer::new(&credential, "s3", &self.region)
            .try_authorize(&mut request, digest.as_ref().map(<[u8; 32]>::as_slice))
            .map_err(wrong)?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_locked(method: Method, path: &str) -> bool {
        let mut request = HttpRequest::new(object_store::client::HttpRequestBody::empty());
        *request.method_mut() = method;
        *request.uri_mut() = format!("https://host/{path}").parse().unwrap();
        creates_lasting(&request)
    }

    #[test]
    fn what_lasts_is_locked_and_nothing_else() {
        let id = "ab".repeat(32);
        let session = "cd".repeat(16);
        for path in [
            format!("bucket/a%20b/packs/ab/{id}"),
            format!("bucket/index/{id}"),
            format!("snapshots/{id}"),
            format!("bucket/keys/{id}"),
            format!("bucket/receipts/{id}"),
            "bucket/x/config".to_owned(),
        ] {
            assert!(is_locked(Method::PUT, &path), "{path}");
            assert!(is_locked(Method::POST, &format!("{path}?uploads")), "{path}");
            assert!(!is_locked(Method::PUT, &format!("{path}?partNumber=1&uploadId=u")), "{path}");
            assert!(!is_locked(Method::POST, &format!("{path}?uploadId=uploads")), "{path}");
            assert!(!is_locked(Method::GET, &path) && !is_locked(Method::DELETE, &path), "{path}");
        }
        for path in [
            format!("bucket/sessions/{session}/0"),
            format!("bucket/sessions/{session}/staged-{id}"),
            format!("bucket/sessions/{session}/fence-{id}"),
            format!("bucket/condemned/{id}"),
            "bucket/probe.tmp".to_owned(),
        ] {
            assert!(!is_locked(Method::PUT, &path), "{path}");
        }
    }

    #[test]
    fn the_end_is_days_away() {
        let locking =
            Locking::new(Retention { days: 30, is_compliance: true }, "us-east-1".to_owned());
        let now: Timestamp = "2026-01-31T12:30:00.5Z".parse().unwrap();
        assert_eq!(locking.until(now), "2026-03-02T12:30:00Z");
        assert_eq!(locking.until(Timestamp::MAX), "9999-12-30T22:00:00Z");
    }
}
