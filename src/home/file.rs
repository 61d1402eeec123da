//! What a compose file says of its services, as far as a restore must know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Names a compose file has, in the order in which compose looks for them.
pub(super) const COMPOSE_FILES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// Where PostgreSQL's images keep a cluster.
pub(super) const CLUSTERS: &str = "/var/lib/postgresql";

/// A compose file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct ComposeFile {
    #[serde(default)]
    services: BTreeMap<String, Option<Service>>,
}

/// One of its services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Service {
    /// Its image.
    #[serde(default)]
    pub image: Option<String>,
    #[serde(default)]
    volumes: Option<Vec<Volume>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Volume {
    Short(String),
    Long {
        #[serde(default)]
        source: Option<String>,
        target: String,
    },
}

impl Volume {
    /// Where it is outside, and inside.
    fn ends(&self) -> (Option<&str>, &str) {
        match self {
            Self::Short(text) => match text.split_once(':') {
                Some((source, rest)) => {
                    (Some(source), rest.split_once(':').map_or(rest, |(target, _)| target))
                }
                None => (None, text),
            },
            Self::Long { source, target } => (source.as_deref(), target),
        }
    }
}

/// Where a cluster's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ClusterPlace {
    /// In a directory of the host.
    Directory(PathBuf),
    /// In a volume of docker, or in the container itself.
    Elsewhere,
}

impl ComposeFile {
    /// What the text says; `None` if it cannot be read.
    pub fn parse(text: &[u8]) -> Option<Self> {
        serde_saphyr::from_str(std::str::from_utf8(text).ok()?).ok()
    }

    /// The service with a server: the one of this name, or the only one that has a cluster.
    pub fn server(&self, name: Option<&str>) -> Option<(&str, &Service)> {
        let mut found = self.services.iter().filter_map(|(own, service)| {
            let service = service.as_ref()?;
            let is_it = match name {
                Some(name) => name == own,
                None => service.cluster(Path::new("/")).is_some(),
            };
            is_it.then_some((own.as_str(), service))
        });
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }
}

impl Service {
    /// Where its cluster is; `None` if it names no place for one. Relative places are below `home`.
    pub fn cluster(&self, home: &Path) -> Option<ClusterPlace> {
        let mut volumes = self.volumes.iter().flatten().map(Volume::ends);
        let (source, _) = volumes.find(|(_, target)| Path::new(target).starts_with(CLUSTERS))?;
        Some(match source {
            Some(source) if source.starts_with(['/', '.']) => {
                let plain = source.strip_prefix("./").unwrap_or(source);
                ClusterPlace::Directory(home.join(plain))
            }
            _ => ClusterPlace::Elsewhere,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_and_its_cluster_are_found() {
        let text = "services:\n  django:\n    image: app\n    volumes: ['./log:/app/log:rw']\n  \
                    postgres:\n    image: postgres:13\n    volumes:\n    - ./postgres/data:/var/lib/postgresql/data:rw\n    \
                    - ./postgres/run:/var/run/postgresql\n  none:\n";
        let file = ComposeFile::parse(text.as_bytes()).expect("a compose file");
        let (name, service) = file.server(None).expect("one");
        assert_eq!((name, service.image.as_deref()), ("postgres", Some("postgres:13")));
        let data = ClusterPlace::Directory("/srv/app/postgres/data".into());
        assert_eq!(service.cluster(Path::new("/srv/app")), Some(data));
        assert_eq!(file.server(Some("django")).expect("by its name").0, "django");
        assert_eq!(file.server(Some("django")).expect("there").1.cluster(Path::new("/")), None);
        let long = "services:\n  db:\n    volumes:\n    - type: bind\n      source: /srv/db\n      target: /var/lib/postgresql/data\n";
        let file = ComposeFile::parse(long.as_bytes()).expect("a compose file");
        let place = file.server(None).expect("one").1.cluster(Path::new("/"));
        assert_eq!(place, Some(ClusterPlace::Directory("/srv/db".into())));
        let named = "services:\n  db:\n    volumes: ['data:/var/lib/postgresql/data']\n";
        let file = ComposeFile::parse(named.as_bytes()).expect("a compose file");
        let place = file.server(None).expect("one").1.cluster(Path::new("/"));
        assert_eq!(place, Some(ClusterPlace::Elsewhere));
        assert_eq!(ComposeFile::parse(b"services: [1"), None);
        assert_eq!(ComposeFile::parse(b"\xff"), None);
    }
}
