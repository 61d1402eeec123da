//! Which environment variables docker and compose see.

use std::ffi::OsString;

use super::Variables;

/// What docker's client needs to find its engine, its plugins and its registries.
const BASE: [&str; 22] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "SSH_AUTH_SOCK",
    "DOCKER_HOST",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS",
    "DOCKER_TLS_VERIFY",
    "DOCKER_BUILDKIT",
    "DOCKER_DEFAULT_PLATFORM",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Beginnings of names that are ours, and of no application's business.
const OURS: [&str; 3] = ["MRS_BACKUP_", "RESTIC_", "LFTP_DSN"];

/// The part of `all` that every call gets.
pub fn base_environment(all: impl IntoIterator<Item = (OsString, OsString)>) -> Variables {
    let mut kept: Variables = all
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| BASE.contains(&name.as_str()))
        .collect();
    kept.entry("PATH".to_owned())
        .or_insert_with(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    kept
}

/// Names of variables that compose files may ask for: `HOST`, `EMAIL_*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns(Vec<String>);

impl Patterns {
    /// Of these names; one that ends in `*` means all that begin so.
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Self {
        Self(patterns.into_iter().collect())
    }

    /// Whether a variable may be asked for.
    pub fn allow(&self, name: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        !OURS.iter().any(|start| name.starts_with(start)) && self.0.iter().any(fits)
    }

    /// The part of `all` that compose files may ask for.
    pub fn choose(&self, all: impl IntoIterator<Item = (OsString, OsString)>) -> Variables {
        all.into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| self.allow(name))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_comes_through() {
        let all = || {
            [
                "HOST",
                "EMAIL_HOST",
                "EMAILX",
                "COMPOSE_FILE",
                "RESTIC_PASSWORD",
                "DOCKER_HOST",
                "HOME",
            ]
            .map(|name| (OsString::from(name), OsString::from("x")))
        };
        let patterns = Patterns::new(["HOST", "EMAIL_*", "RESTIC_*"].map(str::to_owned));
        let names: Vec<String> = patterns.choose(all()).into_keys().collect();
        assert_eq!(names, ["EMAIL_HOST", "HOST"]);
        let names: Vec<String> = base_environment(all()).into_keys().collect();
        assert_eq!(names, ["DOCKER_HOST", "HOME", "PATH"]);
    }
}
