//! A request over HTTP, within a time, from a thread that may wait.

use std::time::Duration;

use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;

use super::Undelivered;

/// Bytes of an answer that are read to say what was wrong.
const ANSWER: usize = 200;
/// Answers that are about the message and not about the address, the password or the hour.
const REFUSED: [u16; 4] = [400, 413, 415, 422];

/// Posts `body` to `url`. Redirections are not followed: they could lead what is secret to somebody else. Errors never hold the address.
pub fn post(
    url: &str,
    headers: &[(&'static str, String)],
    body: Vec<u8>,
    timeout: Duration,
) -> Result<(), Undelivered> {
    crate::store::install_tls();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| Undelivered::from(format!("the value of {name} cannot be sent")))?;
        map.insert(HeaderName::from_static(name), value);
    }
    let text = |error: reqwest::Error| causes(&error.without_url());
    let client = Client::builder()
        .timeout(timeout)
        .connect_timeout(timeout)
        .redirect(Policy::none())
        .user_agent(concat!("mrs-backup/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(text)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let answer = client.post(url).headers(map).body(body).send().await.map_err(text)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let said = answer.bytes().await.unwrap_or_default();
        let said = String::from_utf8_lossy(&said[..said.len().min(ANSWER)]).into_owned();
        let reason =
            format!("it answers {}: {}", status.as_u16(), crate::report::clean(said.trim()));
        Err(Undelivered { reason, is_final: REFUSED.contains(&status.as_u16()) })
    })
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
