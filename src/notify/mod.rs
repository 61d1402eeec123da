//! Messages: somebody is told what went wrong, what is good again, what was deployed.
//!
//! [`decide`] says what is new since the last time; [`deliver`] brings it to the channels, within a bounded time, and keeps for
//! later what could not be delivered. One file a channel: a new one implements [`Channel`] and has a line in [`open`].
//! Nothing here changes how a backup ends.

mod decide;
mod deliver;
mod healthchecks;
mod http;
mod mail;
mod message;
mod ntfy;
mod outbox;
mod slack;
mod webhook;

use std::time::Duration;

use crate::crypto::Secret;
use crate::instance::config::{ChannelConfig, KeyReader, NotifyConfig, UrlSource, check_url};

pub use decide::{Memory, MemoryFile, Occurrence, decide, interest};
pub use deliver::{Delivery, deliver, waiting};
pub use message::{Message, compose, digest};
pub use outbox::Outbox;

/// Why a message did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// For people; holds no secret.
    pub reason: String,
    /// Whether it is the message that is refused: the same one is refused again, another one may not be.
    pub is_final: bool,
}

impl From<String> for Undelivered {
    fn from(reason: String) -> Self {
        Self { reason, is_final: false }
    }
}

impl From<&str> for Undelivered {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
}

/// A way to tell somebody.
pub trait Channel: Send {
    /// Tells it. Gives up after `timeout`.
    fn deliver(&self, message: &Message, timeout: Duration) -> Result<(), Undelivered>;

    /// Whether a message that cannot be delivered now is of use later.
    fn keeps(&self) -> bool {
        true
    }
}

/// The channel of a configuration, its secrets read.
fn open(config: &NotifyConfig, reader: &KeyReader<'_>) -> Result<Box<dyn Channel>, String> {
    let secret = |source: &crate::instance::config::KeySource| -> Result<Secret, String> {
        reader.read(source).map(|read| read.secret).map_err(|error| error.to_string())
    };
    let optional = |source: &Option<crate::instance::config::KeySource>| {
        source.as_ref().map(secret).transpose()
    };
    Ok(match &config.channel {
        ChannelConfig::Slack { url: UrlSource::Netdata(path), channel } => {
            let (url, of_file) = slack::of_netdata(path)?;
            Box::new(slack::Slack { url, channel: channel.clone().or(of_file) })
        }
        ChannelConfig::Slack { url, channel } => {
            Box::new(slack::Slack { url: address(url, &secret)?, channel: channel.clone() })
        }
        ChannelConfig::Ntfy { url, token } => {
            Box::new(ntfy::Ntfy { url: address(url, &secret)?, token: optional(token)? })
        }
        ChannelConfig::Webhook { url, secret: key } => {
            Box::new(webhook::Webhook { url: address(url, &secret)?, key: optional(key)? })
        }
        ChannelConfig::Healthchecks { url } => {
            Box::new(healthchecks::Healthchecks { url: address(url, &secret)? })
        }
        ChannelConfig::Mail(mail) => {
            let password = mail.login.as_ref().map(|(_, source)| secret(source)).transpose()?;
            Box::new(mail::Mail { config: mail.clone(), password })
        }
    })
}

/// An address, read from where it is.
fn address(
    url: &UrlSource,
    secret: &dyn Fn(&crate::instance::config::KeySource) -> Result<Secret, String>,
) -> Result<String, String> {
    let text = match url {
        UrlSource::Plain(text) => text.clone(),
        UrlSource::Found(source) => {
            let bytes = secret(source)?;
            let text = std::str::from_utf8(bytes.expose());
            text.map_err(|_| format!("what {source} gives is no address"))?.trim().to_owned()
        }
        UrlSource::Netdata(path) => slack::of_netdata(path)?.0,
    };
    check_url(&text).map_err(|error| format!("{url}: {error}"))?;
    Ok(text)
}

#[cfg(test)]
mod tests;
