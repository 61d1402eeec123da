//! What a server's refusals mean. Codes are coarse (550 is anything from missing to forbidden), so
//! texts are looked at, too, and [`FileStore`](super::super::files::FileStore) looks again.

use suppaftp::FtpError;
use suppaftp::types::Response;

use super::super::StoreErrorKind;
use super::super::files::Failure;

/// A failure, and what it says about the connection.
#[derive(Debug)]
pub(super) struct Trouble {
    pub failure: Failure,
    /// Command and reply are still in step, so the connection can be used.
    pub keeps_step: bool,
    /// The server lets us have no further connection.
    pub is_too_many: bool,
}

impl Trouble {
    pub fn refused(reason: &str) -> Self {
        let failure = Failure::new(StoreErrorKind::Permanent, reason);
        Self { failure, keeps_step: true, is_too_many: false }
    }

    pub fn broken(kind: StoreErrorKind, reason: impl Into<String>) -> Self {
        Self { failure: Failure::new(kind, reason), keeps_step: false, is_too_many: false }
    }
}

impl From<FtpError> for Trouble {
    fn from(error: FtpError) -> Self {
        match error {
            FtpError::UnexpectedResponse(response) => of_response(&response),
            FtpError::ConnectionError(error) => of_io(&error),
            FtpError::SecureError(reason) => of_tls(&reason),
            other => Self::broken(StoreErrorKind::Temporary, other.to_string()),
        }
    }
}

fn of_io(error: &std::io::Error) -> Trouble {
    use std::io::ErrorKind as E;
    let text = match error.kind() {
        E::WouldBlock | E::TimedOut => "the server did not answer in time".to_owned(),
        E::UnexpectedEof => "the server closed the connection".to_owned(),
        _ => error.to_string(),
    };
    match error.kind() {
        E::InvalidInput => Trouble::broken(StoreErrorKind::Permanent, text),
        // A certificate that is not believed comes as the error of a write.
        E::InvalidData => of_tls(&text),
        _ => Trouble::broken(StoreErrorKind::Temporary, text),
    }
}

fn of_tls(reason: &str) -> Trouble {
    let is_certificate = reason.contains("certificate") || reason.contains("not valid for");
    let kind = if is_certificate { StoreErrorKind::Denied } else { StoreErrorKind::Temporary };
    let hint = if is_certificate {
        "; name a private authority with `?ca=FILE`, or the one certificate with `?pin=sha256:...`"
    } else {
        ""
    };
    Trouble::broken(kind, format!("TLS: {reason}{hint}"))
}

fn of_response(response: &Response) -> Trouble {
    let code = response.status.code();
    let text = String::from_utf8_lossy(&response.body);
    let said: String = text.trim().chars().filter(|c| !c.is_control()).take(300).collect();
    let said = if said.starts_with(|c: char| c.is_ascii_digit()) || code == 0 {
        said
    } else {
        format!("{code} {said}")
    };
    let low = said.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| low.contains(word));
    let kind = match code {
        452 | 552 => StoreErrorKind::NoSpace,
        _ if has(&["quota", "no space", "disk full"]) => StoreErrorKind::NoSpace,
        550 | 553
            if has(&["denied", "not permitted", "not allowed", "prohibited", "read-only"]) =>
        {
            StoreErrorKind::Denied
        }
        550 => StoreErrorKind::NotFound,
        553 | 532 | 534 | 521 => StoreErrorKind::Denied,
        // In the middle of a session it wants another login.
        530 => StoreErrorKind::Temporary,
        400..500 => StoreErrorKind::Temporary,
        500..600 => StoreErrorKind::Permanent,
        // An answer to something else.
        _ => StoreErrorKind::Temporary,
    };
    // 425: with a new connection TLS has new tickets.
    let keeps_step = code >= 400 && !matches!(code, 421 | 425 | 530);
    let is_too_many = code == 421 || code == 530 && has(&["too many", "maximum", "limit"]);
    let mut failure = Failure::new(kind, format!("the server said: {said}"));
    failure.is_unsupported = matches!(code, 500 | 501 | 502 | 504 | 522);
    Trouble { failure, keeps_step, is_too_many }
}
