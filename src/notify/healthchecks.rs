//! Dead man's switches: healthchecks.io, its own servers, and what takes the same pings. It raises the alarm when no ping comes,
//! which is the only way to learn that a whole server is gone.

use std::time::Duration;

use crate::instance::config::EventKind;

use super::http::post;
use super::{Channel, Message, Undelivered};

/// A check.
pub struct Healthchecks {
    /// Its address, which ends in its id.
    pub url: String,
}

impl Channel for Healthchecks {
    fn deliver(&self, message: &Message, timeout: Duration) -> Result<(), Undelivered> {
        let way = way(message.kind, &message.severity);
        let base = self.url.trim_end_matches('/');
        let run = message.run.as_ref().map(|run| format!("?rid={}", run_id(run, message)));
        let url = format!("{base}{way}{}", run.unwrap_or_default());
        let body = match message.log.is_empty() {
            true => message.text.clone(),
            false => message.log.clone(),
        };
        post(
            &url,
            &[("content-type", "text/plain; charset=utf-8".to_owned())],
            body.into_bytes(),
            timeout,
        )
    }

    // A ping says that something is alive now.
    fn keeps(&self) -> bool {
        false
    }
}

/// What is appended to the address.
pub(super) fn way(kind: EventKind, severity: &str) -> &'static str {
    match (kind, severity) {
        (EventKind::Start, _) => "/start",
        (EventKind::Failure | EventKind::Stale, _) | (_, "critical") => "/fail",
        (EventKind::Success | EventKind::Recovery, _) => "",
        // A deployment or the week's digest is no sign that there was a backup.
        _ => "/log",
    }
}

/// The name of a run as a UUID: with it the start and the end of a run are told to belong together.
fn run_id(run: &str, message: &Message) -> String {
    let instance = message.instance.as_deref().unwrap_or_default();
    let hash = blake3::hash(format!("{run}/{instance}").as_bytes()).to_hex();
    let part = |from: usize, to: usize| hash.get(from..to).unwrap_or_default();
    format!("{}-{}-4{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}
