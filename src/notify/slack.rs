//! Webhooks of Slack, and of what takes the same: Mattermost, Rocket.Chat.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::http::post;
use super::{Channel, Message, Undelivered};

/// Longest fact file.
const LONGEST: u64 = 64 << 10;

/// A webhook.
pub struct Slack {
    /// Its address, a secret.
    pub url: String,
    /// Another channel than its own.
    pub channel: Option<String>,
}

impl Channel for Slack {
    fn deliver(&self, message: &Message, timeout: Duration) -> Result<(), Undelivered> {
        let color = match message.severity.as_str() {
            "ok" => "good",
            "warning" => "warning",
            _ => "danger",
        };
        let title = escaped(&message.title);
        let mut body = json!({
            "text": title,
            "attachments": [{
                "color": color,
                "fallback": title,
                "text": escaped(&message.text),
                "footer": format!("mrs-backup, {}", escaped(&message.host)),
                "ts": message.time.as_second(),
            }],
        });
        if let (Some(channel), Some(body)) = (&self.channel, body.as_object_mut()) {
            body.insert("channel".to_owned(), channel.clone().into());
        }
        let headers = [("content-type", "application/json".to_owned())];
        post(&self.url, &headers, body.to_string().into_bytes(), timeout)
    }
}

/// The three letters that mean something in a text of Slack.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Address and channel out of the fact file of a NetData installation: `slack_webhook` and `slack_channel`, in JSON or as
/// lines `name=value`.
pub fn of_netdata(path: &Path) -> Result<(String, Option<String>), String> {
    use std::io::Read;
    let failed = |reason: &dyn std::fmt::Display| format!("{}: {reason}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    file.take(LONGEST).read_to_string(&mut text).map_err(|error| failed(&error))?;
    let found = |name: &str| -> Option<String> {
        let value = match serde_json::from_str::<Value>(&text) {
            Ok(facts) => facts.get(name)?.as_str()?.to_owned(),
            Err(_) => text.lines().find_map(|line| {
                let (key, value) = line.split_once('=')?;
                (key.trim() == name).then(|| value.trim().trim_matches('"').to_owned())
            })?,
        };
        Some(value).filter(|value| !value.is_empty())
    };
    let url = found("slack_webhook").ok_or_else(|| failed(&"it has no `slack_webhook`"))?;
    crate::instance::config::check_url(&url).map_err(|error| failed(&error))?;
    let channel = found("slack_channel").map(|channel| match channel.starts_with(['#', '@']) {
        true => channel,
        false => format!("#{channel}"),
    });
    Ok((url, channel))
}
