//! Keys about messages: who is told of what, and how.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::KeySource;
use super::key::PasswordSource;
use super::telling::Language;
use super::value::{AbsolutePath, DurationText, InstanceName, Line};

/// How long one try may take.
const USUAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than this nobody waits for a message.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What somebody may want to be told of.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A run begins.
    Start,
    /// A run did all it should.
    Success,
    /// A run did not.
    Failure,
    /// What was bad is good again.
    Recovery,
    /// The last good snapshot is too old.
    Stale,
    /// Something is odd: a night that stands out, a disk that fills up.
    Warning,
    /// A deployment, or a rollback.
    Deploy,
    /// An anonymized copy.
    Clone,
    /// A restore into a live place, or its undoing.
    Restore,
    /// One line an instance, once a week.
    Digest,
    /// Somebody tries whether messages arrive.
    Test,
}

impl EventKind {
    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Recovery => "recovery",
            Self::Stale => "stale",
            Self::Warning => "warning",
            Self::Deploy => "deploy",
            Self::Clone => "clone",
            Self::Restore => "restore",
            Self::Digest => "digest",
            Self::Test => "test",
        }
    }
}

/// What people are told of unless they say otherwise.
const USUAL: [EventKind; 7] = [
    EventKind::Failure,
    EventKind::Recovery,
    EventKind::Stale,
    EventKind::Warning,
    EventKind::Deploy,
    EventKind::Clone,
    EventKind::Restore,
];
/// What a dead man's switch is told of.
const PINGS: [EventKind; 3] = [EventKind::Start, EventKind::Success, EventKind::Failure];

/// A kind of channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// A webhook of Slack, or of what takes the same (Mattermost, Rocket.Chat).
    Slack,
    /// ntfy.sh, or a server of its own.
    Ntfy,
    /// JSON to any address.
    Webhook,
    /// Mail by SMTP.
    Mail,
    /// A dead man's switch: healthchecks.io and its kin.
    Healthchecks,
}

/// Somebody who is told.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifyFile {
    /// How.
    kind: Kind,
    /// Address, or where it is found if it is secret: `{ credential = "slack-webhook" }`.
    url: Option<UrlText>,
    /// Fact file of a NetData installation, a JSON object that has the address as `slack_webhook` and perhaps `slack_channel`.
    netdata: Option<AbsolutePath>,
    /// Slack: another channel than that of the webhook.
    channel: Option<Line>,
    /// ntfy: how the access token is found.
    token: Option<PasswordSource>,
    /// webhook: how the key is found with which messages are signed.
    secret: Option<PasswordSource>,
    /// mail: the server.
    host: Option<Line>,
    /// mail: its port. Default: 465, 587 or 25 by `tls`.
    port: Option<std::num::NonZeroU16>,
    /// mail: `implicit` (default), `starttls` or `none`.
    tls: Option<MailTls>,
    /// mail: name of the account.
    user: Option<Line>,
    /// mail: how its password is found.
    password: Option<PasswordSource>,
    /// mail: the sender.
    from: Option<Line>,
    /// mail: who gets it.
    to: Option<Vec<Line>>,
    /// Of what. Default: failure, recovery, stale, warning, deploy, clone, restore; of healthchecks start, success, failure.
    on: Option<Vec<EventKind>>,
    /// Only of these instances. Default: all.
    instances: Option<Vec<InstanceName>>,
    /// Also of a failure that was told before and goes on. Default: false.
    every: Option<bool>,
    /// `en` or `fr`. Default: en.
    language: Option<Language>,
    /// How long one try may take (`10s`).
    timeout: Option<DurationText>,
}

/// How mail is encrypted on its way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// From the first byte.
    Implicit,
    /// After a greeting in the clear; refused if the server cannot.
    StartTls,
    /// Not at all: for a server on this machine.
    None,
}

/// An address as it is written.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
enum UrlText {
    Plain(String),
    Found(KeySource),
}

impl<'de> Deserialize<'de> for UrlText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = UrlText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, or a table with one of file, command, env, credential")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<UrlText, E> {
                Ok(UrlText::Plain(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UrlText, A::Error> {
                let source = PasswordSource::deserialize(MapAccessDeserializer::new(map))?;
                Ok(UrlText::Found(source.into()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Where an address is.
#[derive(Clone, PartialEq, Eq)]
pub enum UrlSource {
    /// Written in the configuration.
    Plain(String),
    /// To be read from there.
    Found(KeySource),
    /// In this fact file of a NetData installation.
    Netdata(PathBuf),
}

impl fmt::Display for UrlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Whoever knows the topic or the id can write to it.
            Self::Plain(url) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
                let host = rest.split('/').next().unwrap_or_default();
                write!(f, "{scheme}://{}/…", host.rsplit('@').next().unwrap_or_default())
            }
            Self::Found(source) => write!(f, "{source}"),
            Self::Netdata(path) => write!(f, "file {}", path.display()),
        }
    }
}

impl fmt::Debug for UrlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UrlSource({self})")
    }
}

/// How somebody is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelConfig {
    /// A webhook of Slack.
    Slack {
        /// Its address.
        url: UrlSource,
        /// Another channel.
        channel: Option<String>,
    },
    /// ntfy.
    Ntfy {
        /// Server and topic.
        url: UrlSource,
        /// Access token.
        token: Option<KeySource>,
    },
    /// JSON.
    Webhook {
        /// Address.
        url: UrlSource,
        /// Key of the signature.
        secret: Option<KeySource>,
    },
    /// Mail.
    Mail(MailConfig),
    /// A dead man's switch.
    Healthchecks {
        /// Address of the check.
        url: UrlSource,
    },
}

impl ChannelConfig {
    /// Its kind as written in the configuration.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Slack { .. } => "slack",
            Self::Ntfy { .. } => "ntfy",
            Self::Webhook { .. } => "webhook",
            Self::Mail(_) => "mail",
            Self::Healthchecks { .. } => "healthchecks",
        }
    }

    /// Where it leads, without what is secret.
    pub fn place(&self) -> String {
        match self {
            Self::Slack { url, .. }
            | Self::Ntfy { url, .. }
            | Self::Webhook { url, .. }
            | Self::Healthchecks { url } => url.to_string(),
            Self::Mail(mail) => format!("{} by {}:{}", mail.to.join(", "), mail.host, mail.port),
        }
    }

    fn secrets(&self) -> Vec<&KeySource> {
        let of_url = |url: &'_ UrlSource| match url {
            UrlSource::Found(_) => true,
            UrlSource::Plain(_) | UrlSource::Netdata(_) => false,
        };
        let (url, other) = match self {
            Self::Slack { url, .. } | Self::Healthchecks { url } => (Some(url), None),
            Self::Ntfy { url, token } => (Some(url), token.as_ref()),
            Self::Webhook { url, secret } => (Some(url), secret.as_ref()),
            Self::Mail(mail) => (None, mail.login.as_ref().map(|(_, password)| password)),
        };
        let found = url.filter(|url| of_url(url)).and_then(|url| match url {
            UrlSource::Found(source) => Some(source),
            UrlSource::Plain(_) | UrlSource::Netdata(_) => None,
        });
        found.into_iter().chain(other).collect()
    }
}

/// Mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailConfig {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is encrypted.
    pub tls: MailTls,
    /// Account and how its password is found.
    pub login: Option<(String, KeySource)>,
    /// Sender.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
}

/// Somebody who is told, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifyConfig {
    /// Its name.
    pub name: String,
    /// How.
    pub channel: ChannelConfig,
    /// Of what.
    pub on: Vec<EventKind>,
    /// Of which instances; `None`: of all.
    pub instances: Option<Vec<String>>,
    /// Also of what was told before.
    pub every: bool,
    /// In which language.
    pub language: Language,
    /// How long one try may take.
    pub timeout: Duration,
}

impl NotifyConfig {
    /// Whether this is somebody to tell of `kind`, at `instance` if it is about one.
    pub fn wants(&self, kind: EventKind, instance: Option<&str>) -> bool {
        let is_about = |names: &Vec<String>| {
            instance.is_none_or(|instance| names.iter().any(|name| name == instance))
        };
        self.on.contains(&kind) && self.instances.as_ref().is_none_or(is_about)
    }

    /// Names of the credentials of systemd that it needs.
    pub(super) fn credentials(&self) -> Vec<String> {
        let name = |source: &&KeySource| match source {
            KeySource::Credential(name) => Some(name.clone()),
            _ => None,
        };
        self.channel.secrets().iter().filter_map(name).collect()
    }
}

pub(super) fn resolve(
    written: BTreeMap<InstanceName, NotifyFile>,
) -> Result<BTreeMap<String, NotifyConfig>, String> {
    let mut found = BTreeMap::new();
    for (name, file) in written {
        let config = one(&name.0, file).map_err(|error| format!("[notify.{}]: {error}", name.0))?;
        found.insert(name.0, config);
    }
    Ok(found)
}

fn one(name: &str, mut file: NotifyFile) -> Result<NotifyConfig, String> {
    let timeout = file.timeout.take().map_or(USUAL_TIMEOUT, |timeout| timeout.0);
    if timeout > LONGEST_TIMEOUT || timeout.is_zero() {
        return Err("`timeout` has to be between 1s and 60s".to_owned());
    }
    let usual = match file.kind {
        Kind::Healthchecks => PINGS.to_vec(),
        _ => USUAL.to_vec(),
    };
    let on = file.on.take().unwrap_or(usual);
    if on.is_empty() {
        return Err("`on` is empty; list what to tell of, or remove it".to_owned());
    }
    let instances = file.instances.take();
    let (every, language) = (file.every.take(), file.language.take());
    let config = NotifyConfig {
        name: name.to_owned(),
        on,
        instances: instances.map(|names| names.into_iter().map(|name| name.0).collect()),
        every: every.unwrap_or(file.kind == Kind::Healthchecks),
        language: language.unwrap_or_default(),
        timeout,
        channel: channel(&mut file)?,
    };
    match left_over(&file) {
        Some(key) => {
            Err(format!("`{key}` is not for kind = {:?}; remove it", config.channel.kind()))
        }
        None => Ok(config),
    }
}

fn channel(file: &mut NotifyFile) -> Result<ChannelConfig, String> {
    Ok(match file.kind {
        Kind::Slack => {
            let url = match (file.url.take(), file.netdata.take()) {
                (None, Some(path)) => UrlSource::Netdata(path.0),
                (Some(UrlText::Found(source)), None) => UrlSource::Found(source),
                (Some(UrlText::Plain(_)), _) => {
                    return Err("the address of a webhook of Slack is a secret; write where it is, like url = { file = \"/etc/mrs-backup/slack.url\" }".to_owned());
                }
                (Some(_), Some(_)) => {
                    return Err("both `url` and `netdata` stand here; write one".to_owned());
                }
                (None, None) => {
                    return Err(
                        "`url` or `netdata` is missing; write where the address is".to_owned()
                    );
                }
            };
            ChannelConfig::Slack { url, channel: file.channel.take().map(|line| line.0) }
        }
        Kind::Ntfy => {
            ChannelConfig::Ntfy { url: url(file)?, token: file.token.take().map(KeySource::from) }
        }
        Kind::Webhook => {
            let secret = file.secret.take().map(KeySource::from);
            ChannelConfig::Webhook { url: url(file)?, secret }
        }
        Kind::Healthchecks => ChannelConfig::Healthchecks { url: url(file)? },
        Kind::Mail => ChannelConfig::Mail(mail(file)?),
    })
}

fn url(file: &mut NotifyFile) -> Result<UrlSource, String> {
    match file.url.take() {
        None => Err("`url` is missing; write the address, or where it is".to_owned()),
        Some(UrlText::Found(source)) => Ok(UrlSource::Found(source)),
        Some(UrlText::Plain(url)) => check_url(&url).map(|()| UrlSource::Plain(url)),
    }
}

/// Fails if `url` is no address of HTTP. It is not repeated: it may be a secret.
pub fn check_url(url: &str) -> Result<(), String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_good = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    match is_good && !url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        true => Ok(()),
        false => Err("the address is none of HTTP; it begins with https:// or http://".to_owned()),
    }
}

fn mail(file: &mut NotifyFile) -> Result<MailConfig, String> {
    let missing = |key: &str| format!("`{key}` is missing");
    let tls = file.tls.take().unwrap_or(MailTls::Implicit);
    let usual = match tls {
        MailTls::Implicit => 465,
        MailTls::StartTls => 587,
        MailTls::None => 25,
    };
    let login = match (file.user.take(), file.password.take()) {
        (Some(user), Some(password)) => Some((user.0, password.into())),
        (None, None) => None,
        _ => {
            return Err(
                "`user` and `password` belong together; write both, or none of them".to_owned()
            );
        }
    };
    let host = file.host.take().ok_or_else(|| missing("host"))?.0;
    if login.is_some()
        && tls == MailTls::None
        && !["localhost", "127.0.0.1", "::1"].contains(&host.as_str())
    {
        return Err(
            "a password would travel in the clear; set `tls` to \"implicit\" or \"starttls\""
                .to_owned(),
        );
    }
    let to: Vec<String> = file.to.take().into_iter().flatten().map(|line| line.0).collect();
    if to.is_empty() {
        return Err(missing("to"));
    }
    Ok(MailConfig {
        host,
        port: file.port.take().map_or(usual, u16::from),
        tls,
        login,
        from: file.from.take().ok_or_else(|| missing("from"))?.0,
        to,
    })
}

/// A key that nobody took.
fn left_over(file: &NotifyFile) -> Option<&'static str> {
    let keys = [
        ("url", file.url.is_some()),
        ("netdata", file.netdata.is_some()),
        ("channel", file.channel.is_some()),
        ("token", file.token.is_some()),
        ("secret", file.secret.is_some()),
        ("host", file.host.is_some()),
        ("port", file.port.is_some()),
        ("tls", file.tls.is_some()),
        ("user", file.user.is_some()),
        ("password", file.password.is_some()),
        ("from", file.from.is_some()),
        ("to", file.to.is_some()),
    ];
    keys.into_iter().find(|(_, is_there)| *is_there).map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<NotifyConfig, String> {
        one("x", toml::from_str(text).map_err(|error| error.message().to_owned())?)
    }

    #[test]
    fn channels_are_read() {
        let slack = read("kind = \"slack\"\nurl = { credential = \"hook\" }").unwrap();
        assert_eq!(slack.on, USUAL);
        assert_eq!(slack.credentials(), ["hook"]);
        assert!(slack.wants(EventKind::Failure, Some("a")) && !slack.wants(EventKind::Start, None));
        let netdata =
            read("kind = \"slack\"\nnetdata = \"/etc/x.fact\"\ninstances = [\"a\"]").unwrap();
        assert!(
            netdata.wants(EventKind::Stale, Some("a"))
                && !netdata.wants(EventKind::Stale, Some("b"))
        );
        assert!(netdata.wants(EventKind::Stale, None));
        let pings = read("kind = \"healthchecks\"\nurl = \"https://hc.example/id\"").unwrap();
        assert_eq!((pings.on.as_slice(), pings.every), (&PINGS[..], true));
        assert_eq!(pings.channel.place(), "https://hc.example/…", "the id is a secret");
        let mail =
            "kind = \"mail\"\nhost = \"m\"\nfrom = \"a@b\"\nto = [\"c@d\"]\ntls = \"starttls\"";
        let mail = read(mail).unwrap();
        assert_eq!(mail.channel.place(), "c@d by m:587");
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, why) in [
            ("kind = \"pigeon\"", "unknown variant"),
            ("kind = \"slack\"\nurl = \"https://hooks.slack.com/x\"", "is a secret"),
            ("kind = \"slack\"", "is missing"),
            ("kind = \"ntfy\"\nurl = \"ntfy.sh/x\"", "begins with https://"),
            ("kind = \"ntfy\"\nurl = { key_file = \"x\" }", "not known here"),
            ("kind = \"webhook\"\nurl = \"https://a\"\nto = [\"a\"]", "`to` is not for"),
            ("kind = \"mail\"\nhost = \"a\"\nfrom = \"b\"", "`to` is missing"),
            (
                "kind = \"mail\"\nhost = \"a\"\nfrom = \"b\"\nto = [\"c\"]\nuser = \"d\"",
                "belong together",
            ),
            (
                "kind = \"mail\"\nhost = \"a\"\nfrom = \"b\"\nto = [\"c\"]\ntls = \"none\"\nuser = \"d\"\npassword = { env = \"E\" }",
                "in the clear",
            ),
            ("kind = \"webhook\"\nurl = \"https://a\"\non = []", "is empty"),
            ("kind = \"webhook\"\nurl = \"https://a\"\ntimeout = \"1h\"", "between"),
            ("kind = \"webhook\"\nurl = \"https://a\"\nsecret = \"s\"", "cannot stand here itself"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
