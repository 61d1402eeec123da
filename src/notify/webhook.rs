//! JSON to any address, signed if there is a key.

use std::fmt::Write as _;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::crypto::Secret;

use super::http::post;
use super::{Channel, Message, Undelivered};

/// An address.
pub struct Webhook {
    /// Where.
    pub url: String,
    /// With what messages are signed.
    pub key: Option<Secret>,
}

impl Channel for Webhook {
    fn deliver(&self, message: &Message, timeout: Duration) -> Result<(), Undelivered> {
        let body = serde_json::to_vec(message).map_err(|error| error.to_string())?;
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("x-mrs-backup-event", message.kind.name().to_owned()),
        ];
        if let Some(key) = &self.key {
            let time = message.time.as_second().to_string();
            headers.push(("x-mrs-backup-signature", signature(key, &time, &body)?));
            headers.push(("x-mrs-backup-timestamp", time));
        }
        post(&self.url, &headers, body, timeout)
    }
}

/// `sha256=` and HMAC-SHA-256 of the time, a full stop and the body, in hexadecimal digits.
pub(super) fn signature(key: &Secret, time: &str, body: &[u8]) -> Result<String, String> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.expose()).map_err(|error| error.to_string())?;
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    let mut text = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}
