//! Copies between machines: ssh with a key that can do nothing else.
//!
//! Whoever holds such a key gets what its line in `authorized_keys` says, whatever he asks for. What he asks for is only
//! compared with what the line does, so that somebody who takes the key for another one is told.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Longest public key, in bytes.
const LONGEST_KEY: u64 = 64 << 10;

/// An instance on another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `host` or `user@host`, as ssh takes it.
    pub host: String,
    /// If not the usual one.
    pub port: Option<u16>,
    /// What the instance is called there.
    pub instance: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let port = self.port.map_or_else(String::new, |port| format!(":{port}"));
        write!(f, "ssh://{}{port}/{}", self.host, self.instance)
    }
}

fn is_plain(text: &str, more: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

impl Place {
    /// `ssh://[USER@]HOST[:PORT]/INSTANCE`; `None`: it is the name of an instance here.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let rest = text.strip_prefix("ssh://")?;
        let wrong =
            |what: &str| format!("`{text}` {what}; it is ssh://[USER@]HOST[:PORT]/INSTANCE");
        let parse = || {
            let (host, instance) =
                rest.split_once('/').ok_or_else(|| wrong("names no instance"))?;
            if !is_plain(instance, "._-") {
                return Err(wrong("names no instance"));
            }
            let (user, host) = match host.split_once('@') {
                Some((user, host)) => (Some(user), host),
                None => (None, host),
            };
            let (host, port) = match host.rsplit_once(':') {
                // An address of version 6 has its own colons, in brackets.
                Some((name, port)) if !port.ends_with(']') => {
                    let port = port.parse().ok().filter(|port| *port != 0);
                    (name, Some(port.ok_or_else(|| wrong("has no port"))?))
                }
                _ => (host, None),
            };
            let name = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let is_host = name.map_or_else(|| is_plain(host, "._-"), |name| is_plain(name, ":."));
            if !is_host || user.is_some_and(|user| !is_plain(user, "._-")) {
                return Err(wrong("names no host"));
            }
            let host = name.unwrap_or(host);
            let host = user.map_or_else(|| host.to_owned(), |user| format!("{user}@{host}"));
            Ok(Self { host, port, instance: instance.to_owned() })
        };
        Some(parse())
    }
}

/// What a key may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forced<'a> {
    /// The copy of `from` for `to` is written.
    Serve {
        /// The instance that is copied.
        from: &'a str,
        /// For which target.
        to: &'a str,
    },
    /// A copy of `from` takes the place of `to`.
    Receive {
        /// From where.
        from: &'a str,
        /// The instance that is replaced.
        to: &'a str,
    },
}

impl Forced<'_> {
    /// The words of the command that does it.
    pub const fn command(&self) -> [&str; 5] {
        match self {
            Self::Serve { from, to } => ["clone", "serve", from, "--to", to],
            Self::Receive { from, to } => ["clone", "receive", to, "--from", from],
        }
    }

    /// What the other side asks for: only ever compared.
    pub fn words(&self) -> String {
        format!("mrs-backup {}", self.command().join(" "))
    }
}

/// Whether what was asked for is what is done here. `connection` and `asked` are `SSH_CONNECTION` and
/// `SSH_ORIGINAL_COMMAND`, if they are set.
pub fn forced(
    allowed: &Forced<'_>,
    connection: Option<&OsStr>,
    asked: Option<&OsStr>,
) -> Result<(), String> {
    let allowed = allowed.words();
    match (connection, asked) {
        (_, Some(asked)) if asked == OsStr::new(&allowed) => Ok(()),
        (None, None) => Ok(()),
        // Not repeated: it may be anything.
        (_, Some(_)) => Err(format!("this key can do nothing but `{allowed}`")),
        (Some(_), None) => {
            Err(format!("this key gives no session; it can do nothing but `{allowed}`"))
        }
    }
}

/// Starts ssh for what a key may do on `place`.
pub fn start(
    place: &Place,
    wanted: &Forced<'_>,
    config: Option<&Path>,
    identity: Option<&Path>,
    input: Stdio,
) -> io::Result<Child> {
    let mut command = Command::new("ssh");
    if let Some(config) = config {
        command.arg("-F").arg(config);
    }
    if let Some(identity) = identity {
        command.arg("-i").arg(identity).args(["-o", "IdentitiesOnly=yes"]);
    }
    if let Some(port) = place.port {
        command.args(["-p", &port.to_string()]);
    }
    command.args(["-T", "-a", "-x"]);
    for option in [
        "BatchMode=yes",
        "ForwardAgent=no",
        "ClearAllForwardings=yes",
        "ConnectTimeout=15",
        // One that stays for others would keep our pipes open.
        "ControlMaster=no",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=4",
    ] {
        command.args(["-o", option]);
    }
    command.arg("--").arg(&place.host).arg(wanted.words());
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    match is_plain(word.trim_start_matches('-'), "/._-=:@%+,") {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// The line of `authorized_keys` that lets the key in `public` do `words` and nothing else.
pub fn authorized_line(words: &[String], public: &Path) -> Result<String, String> {
    let key = public_key(public)?;
    if words.iter().any(|word| word.contains(['\n', '\r', '\0'])) {
        return Err("a path with the end of a line in it cannot stand there".to_owned());
    }
    let command: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    // sshd takes `\"` for a quote and leaves every other backslash as it is.
    let command = command.join(" ").replace('"', "\\\"");
    Ok(format!("restrict,command=\"{command}\" {key}"))
}

/// The only key of a file: its kind, the key, and what is written behind it.
fn public_key(path: &Path) -> Result<String, String> {
    let unreadable = |error: io::Error| format!("{} cannot be read: {error}", path.display());
    let len = std::fs::metadata(path).map_err(unreadable)?.len();
    let text = match len {
        0..=LONGEST_KEY => std::fs::read_to_string(path).map_err(unreadable)?,
        _ => return Err(format!("{} is no public key of ssh", path.display())),
    };
    if text.contains("PRIVATE KEY") {
        let public = PathBuf::from(format!("{}.pub", path.display()));
        return Err(format!(
            "{} is the private key, which stays where it is; the public one is {}",
            path.display(),
            public.display()
        ));
    }
    let mut lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (line, more) = (lines.next().unwrap_or_default(), lines.next());
    let mut words = line.split_whitespace();
    let (kind, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_kind =
        ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| kind.starts_with(start));
    let is_key = is_plain(key, "+/=") && key.len() >= 40 && is_plain(kind, "-@.");
    match is_kind && is_key && more.is_none() {
        true => Ok(line.chars().filter(|c| !c.is_control()).collect()),
        false => Err(format!("{} is not one public key of ssh", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_hosts_and_instances() {
        let place = |text: &str| Place::parse(text).expect("a place");
        let found = place("ssh://backup@db.example:2222/mrs-production").unwrap();
        assert_eq!((found.host.as_str(), found.port), ("backup@db.example", Some(2222)));
        assert_eq!(found.instance, "mrs-production");
        assert_eq!(found.to_string(), "ssh://backup@db.example:2222/mrs-production");
        assert_eq!(place("ssh://db/mrs").unwrap().host, "db");
        let six = place("ssh://me@[2001:db8::1]:22/mrs").unwrap();
        assert_eq!((six.host.as_str(), six.port), ("me@2001:db8::1", Some(22)));
        assert_eq!(place("ssh://[::1]/mrs").unwrap().port, None);
        assert_eq!(Place::parse("mrs-production"), None);
        for wrong in [
            "ssh://",
            "ssh://db",
            "ssh://db/",
            "ssh:///mrs",
            "ssh://-oProxyCommand=x/mrs",
            "ssh://a@-x/mrs",
            "ssh://db:x/mrs",
            "ssh://db:0/mrs",
            "ssh://db/-x",
            "ssh://db/a b",
            "ssh://db/a/b",
            "ssh://a b/mrs",
            "ssh://@db/mrs",
            "ssh://db/$(id)",
        ] {
            assert!(place(wrong).unwrap_err().contains("ssh://[USER@]HOST"), "{wrong}");
        }
    }

    #[test]
    fn what_is_asked_for_is_only_compared() {
        let allowed = Forced::Serve { from: "prod", to: "staging" };
        let ask = |connection: Option<&str>, asked: Option<&str>| {
            forced(&allowed, connection.map(OsStr::new), asked.map(OsStr::new))
        };
        let words = allowed.words();
        assert_eq!(ask(Some("::1 1 ::1 2"), Some(&words)), Ok(()));
        assert_eq!(ask(None, None), Ok(()), "by hand");
        let more = format!("{words}; id");
        for other in ["id", "", &more, "mrs-backup clone serve prod --to other"] {
            assert!(ask(Some("x"), Some(other)).unwrap_err().contains(&words), "{other}");
        }
        assert!(ask(Some("x"), None).unwrap_err().contains("no session"));
    }

    #[test]
    fn a_line_holds_one_command_and_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("staging.pub");
        let key = format!("ssh-ed25519 {} staging@host", "A".repeat(68));
        std::fs::write(&path, format!("{key}\n")).unwrap();
        let words =
            ["mrs-backup", "--config", "/etc/a b/it's \"c\".toml", "serve"].map(str::to_owned);
        assert_eq!(
            authorized_line(&words, &path).unwrap(),
            format!(
                "restrict,command=\"mrs-backup --config '/etc/a b/it'\\''s \\\"c\\\".toml' serve\" {key}"
            )
        );
        assert!(authorized_line(&["a\nb".to_owned()], &path).is_err());
        for (text, why) in [
            ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "stays where it is"),
            ("", "not one public key"),
            ("command=\"x\" ssh-ed25519 AAAA", "not one public key"),
            (&format!("{key}\n{key}\n"), "not one public key"),
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(authorized_line(&words, &path).unwrap_err().contains(why), "{text}");
        }
        assert!(
            authorized_line(&words, &dir.path().join("none"))
                .unwrap_err()
                .contains("cannot be read")
        );
    }
}
