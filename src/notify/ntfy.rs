//! ntfy: a topic on ntfy.sh or on a server of one's own.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::crypto::Secret;

use super::http::post;
use super::{Channel, Message, Undelivered};

/// Bytes of a text that is shown; a longer one would be a file to download, which many servers refuse.
const LONGEST: usize = 4096;

/// A topic.
pub struct Ntfy {
    /// Server and topic.
    pub url: String,
    /// Access token.
    pub token: Option<Secret>,
}

impl Channel for Ntfy {
    fn deliver(&self, message: &Message, timeout: Duration) -> Result<(), Undelivered> {
        let (priority, tag) = match message.severity.as_str() {
            "ok" => ("3", "white_check_mark"),
            "warning" => ("4", "warning"),
            _ => ("5", "rotating_light"),
        };
        let mut headers = vec![
            ("title", header(&message.title)),
            ("priority", priority.to_owned()),
            ("tags", tag.to_owned()),
        ];
        if let Some(token) = &self.token {
            let token = std::str::from_utf8(token.expose()).map_err(|_| "the token is no text")?;
            headers.push(("authorization", format!("Bearer {token}")));
        }
        post(&self.url, &headers, beginning(&message.text).as_bytes().to_vec(), timeout)
    }
}

/// As much of a text as is shown.
fn beginning(text: &str) -> &str {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// A text as a header has it: words of RFC 2047 if it is more than ASCII.
fn header(text: &str) -> String {
    match text.chars().all(|c| c.is_ascii() && !c.is_ascii_control()) {
        true => text.to_owned(),
        false => format!("=?UTF-8?B?{}?=", STANDARD.encode(text)),
    }
}
