//! Keys about being told: metrics, the page, and the server of both.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, Error};

use super::key::PasswordSource;
use super::notify::{self, NotifyConfig, NotifyFile};
use super::resolve::or_default;
use super::value::{AbsolutePath, InstanceName, Line};
use super::{KeySource, Origin, Setting};

/// Where the server listens if nothing else is said: this machine, and the containers on it.
const USUAL_ADDRESSES: [&str; 2] = ["127.0.0.1:9479", "docker0:9479"];

/// A language of the page and of sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// French.
    Fr,
}

impl Language {
    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Fr => "fr",
        }
    }
}

/// Where metrics go.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricsFile {
    /// File for the textfile collector of node_exporter, written after every run. Its name ends in `.prom`.
    textfile: Option<AbsolutePath>,
}

/// The status page.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PageFile {
    /// File it is written to after every run.
    file: Option<AbsolutePath>,
    /// `en` or `fr`. Default: en.
    language: Option<Language>,
}

/// The server of metrics and page.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServeFile {
    /// Addresses with ports; a network interface (`docker0:9479`) means its address. Default: 127.0.0.1:9479 and,
    /// if it is there, docker0:9479.
    listen: Option<Vec<ListenAddress>>,
    /// Whoever asks has to give this name and the password.
    user: Option<Line>,
    /// How the password for `user` is found.
    password: Option<PasswordSource>,
    /// How the token is found that a program may give in place of name and password.
    token: Option<PasswordSource>,
    /// Whether the files in snapshots can be looked at and taken at `/browse/`, with the keys of this configuration.
    /// Needs a password or a token. Default: false.
    browse: Option<bool>,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
pub struct ListenAddress {
    /// An address, or the name of an interface.
    pub host: String,
    /// The port; 0: any.
    pub port: u16,
}

impl ListenAddress {
    /// Reads `127.0.0.1:9479`, `[::1]:9479` or `docker0:9479`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "`{}` is no address to listen at; write it like `127.0.0.1:9479` or `docker0:9479`",
                text.escape_debug()
            )
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        let port = port.parse().map_err(|_| refuse())?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_address = host.parse::<IpAddr>().is_ok();
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_interface = host.starts_with(|c: char| c.is_ascii_alphabetic())
            && host.len() < 16
            && host.chars().all(is_name);
        if !is_address && !is_interface {
            return Err(refuse());
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// Whether only this machine and its containers can reach it.
    fn is_private(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => self.host == "lo" || self.host.starts_with("docker"),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The server, resolved.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Where it listens.
    pub listen: Setting<Vec<ListenAddress>>,
    /// Name and password that are asked for.
    pub login: Option<(String, KeySource)>,
    /// The token that does as well.
    pub token: Option<KeySource>,
    /// Whether what is in snapshots is shown.
    pub browse: bool,
}

impl ServeConfig {
    /// Without any table in the file.
    pub fn usual() -> Self {
        let listen = USUAL_ADDRESSES.iter().filter_map(|text| ListenAddress::parse(text).ok());
        let listen = Setting::new(listen.collect(), Origin::Default);
        Self { listen, login: None, token: None, browse: false }
    }

    /// Whether anybody has to say who they are.
    pub const fn is_guarded(&self) -> bool {
        self.login.is_some() || self.token.is_some()
    }

    /// Why it may not listen there, if so: whoever reaches an address outside this machine has to be asked.
    pub fn refusal(&self) -> Option<String> {
        if self.browse && !self.is_guarded() {
            return Some(
                "`serve.browse` gives away what is in snapshots; set `serve.user` and `serve.password`, or `serve.token`"
                    .to_owned(),
            );
        }
        let open = self.listen.value.iter().find(|address| !address.is_private());
        let open = open.filter(|_| !self.is_guarded())?;
        Some(format!(
            "`serve.listen` has {open}, which other machines can reach; set `serve.user` and `serve.password`, or `serve.token`"
        ))
    }
}

/// All about being told.
#[derive(Debug, Clone)]
pub struct Telling {
    /// File for node_exporter.
    pub textfile: Option<Setting<PathBuf>>,
    /// The server; `None`: `schedule` serves nothing.
    pub serve: Option<ServeConfig>,
    /// Who is told of what, by name.
    pub notify: BTreeMap<String, NotifyConfig>,
    /// File the page is written to after every run.
    pub page: Option<Setting<PathBuf>>,
    /// Language of the page.
    pub language: Setting<Language>,
}

impl Telling {
    /// Directories in which files are written after a run.
    pub fn directories(&self) -> Vec<PathBuf> {
        let files = self.textfile.iter().chain(&self.page).map(|path| &path.value);
        files.filter_map(|path| path.parent().map(PathBuf::from)).collect()
    }

    /// Names of the credentials of systemd that who serves the page needs.
    pub fn serving_credentials(&self) -> Vec<String> {
        let Some(serve) = &self.serve else { return Vec::new() };
        let login = serve.login.iter().map(|(_, source)| source);
        let sources = login.chain(&serve.token);
        let name = |source: &KeySource| match source {
            KeySource::Credential(name) => Some(name.clone()),
            _ => None,
        };
        sources.filter_map(name).collect()
    }

    /// Names of the credentials of systemd that a job needs to tell of itself.
    pub fn credentials(&self) -> Vec<String> {
        self.notify.values().flat_map(NotifyConfig::credentials).collect()
    }
}

pub(super) fn resolve(
    metrics: MetricsFile,
    serve: Option<ServeFile>,
    channels: BTreeMap<InstanceName, NotifyFile>,
    page: PageFile,
) -> Result<Telling, String> {
    let textfile = metrics.textfile.map(|path| path.0);
    if let Some(path) =
        textfile.as_ref().filter(|path| path.extension().is_none_or(|it| it != "prom"))
    {
        return Err(format!(
            "`metrics.textfile` is {}, which node_exporter passes over; end its name in `.prom`",
            path.display()
        ));
    }
    Ok(Telling {
        textfile: textfile.map(|path| Setting::new(path, Origin::File)),
        serve: serve.map(of_server).transpose()?,
        notify: notify::resolve(channels)?,
        page: page.file.map(|path| Setting::new(path.0, Origin::File)),
        language: or_default(page.language, Language::default),
    })
}

fn of_server(file: ServeFile) -> Result<ServeConfig, String> {
    let usual = ServeConfig::usual().listen.value;
    let login = match (file.user, file.password) {
        (Some(user), Some(password)) => Some((user.0, password.into())),
        (None, None) => None,
        _ => {
            return Err(
                "`serve.user` and `serve.password` belong together; write both, or none of them"
                    .to_owned(),
            );
        }
    };
    let config = ServeConfig {
        listen: or_default(file.listen, || usual),
        login,
        token: file.token.map(KeySource::from),
        browse: file.browse.unwrap_or(false),
    };
    match config.refusal() {
        Some(message) => Err(message),
        None if config.listen.value.is_empty() => {
            Err("`serve.listen` is empty; write an address, or remove it".to_owned())
        }
        None => Ok(config),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ServeConfig, String> {
        of_server(toml::from_str(text).map_err(|error| error.message().to_owned())?)
    }

    #[test]
    fn nobody_outside_is_served_unasked() {
        let usual = read("").unwrap();
        assert_eq!(usual.listen.value.len(), 2);
        assert!(!usual.is_guarded());
        for (text, why) in [
            ("listen = [\"0.0.0.0:1\"]", "other machines can reach"),
            ("listen = [\"eth0:1\"]", "other machines can reach"),
            ("listen = [\"[2001:db8::1]:1\"]", "other machines can reach"),
            ("listen = []", "is empty"),
            ("listen = [\"localhost\"]", "no address"),
            ("listen = [\"a b:1\"]", "no address"),
            ("listen = [\"127.0.0.1:70000\"]", "no address"),
            ("user = \"x\"", "belong together"),
            ("password = \"x\"", "cannot stand here itself"),
            ("browse = true", "gives away what is in snapshots"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let guarded =
            read("listen = [\"0.0.0.0:1\", \"[::1]:2\"]\ntoken = { env = \"T\" }").unwrap();
        assert!(guarded.is_guarded());
        assert_eq!(guarded.listen.value[1].to_string(), "[::1]:2");
    }

    #[test]
    fn a_text_file_that_nobody_would_read_is_refused() {
        let file = |text: &str| toml::from_str::<MetricsFile>(text).unwrap();
        let error =
            resolve(file("textfile = \"/var/x.txt\""), None, BTreeMap::new(), PageFile::default())
                .unwrap_err();
        assert!(error.contains(".prom"), "{error}");
        resolve(file("textfile = \"/var/x.prom\""), None, BTreeMap::new(), PageFile::default())
            .unwrap();
    }
}
