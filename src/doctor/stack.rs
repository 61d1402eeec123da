//! What the running stack keeps on disk, and whether any configured path saves it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::source::files::Excludes;

use super::ask::ask;
use super::docker::{COMPOSE_FILES, client};
use super::{Finding, Patient};

/// Where things of the system lie, never data of an application.
const SYSTEM: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/var/run", "/etc"];
/// Where PostgreSQL's images keep a cluster and its socket: dumps have the one, nobody needs the other.
const POSTGRES: [&str; 3] = ["/var/lib/postgresql", "/var/run/postgresql", "/run/postgresql"];
/// A volume without a name is called by so many hexadecimal digits.
const ANONYMOUS: usize = 64;

/// Every path of the configuration is there, and the compose file is among them.
pub(super) fn paths(patient: &Patient<'_>) -> Vec<Finding> {
    let instance = patient.instance;
    let home = &instance.home.value;
    let mut found = Vec::new();
    for path in instance.absolute_paths() {
        if path.symlink_metadata().is_err() {
            let place = path.display();
            found.push(Finding::error(
                format!("{place} is not there: every snapshot will be incomplete"),
                format!("mkdir -p {place}; or take it out of `paths`"),
            ));
        }
    }
    let saved = Saved::of(patient);
    let file = COMPOSE_FILES.iter().map(|name| home.join(name)).find(|path| path.exists());
    if let Some(file) = file.filter(|file| !saved.has(file)) {
        found.push(Finding::warning(
            format!(
                "{} is saved by no path: without it nobody knows how to start the rest",
                file.display()
            ),
            add(patient, &file),
        ));
    }
    if found.is_empty() && !instance.paths.value.is_empty() {
        found.push(Finding::ok(match instance.paths.value.len() {
            1 => "its path is there".to_owned(),
            count => format!("all {count} paths are there"),
        }));
    }
    found
}

/// What to write so that a path is saved.
fn add(patient: &Patient<'_>, path: &Path) -> String {
    let instance = patient.instance;
    let path = path.strip_prefix(&instance.home.value).unwrap_or(path);
    format!("add {:?} to `paths` of [instance.{}]", path.display().to_string(), instance.name)
}

/// The paths of the configuration, for asking what they cover.
struct Saved {
    paths: Vec<PathBuf>,
    excludes: Excludes,
}

impl Saved {
    fn of(patient: &Patient<'_>) -> Self {
        let paths = patient.instance.absolute_paths();
        let real = paths.iter().filter_map(|path| path.canonicalize().ok());
        Self {
            paths: real.collect(),
            excludes: Excludes::new(&patient.instance.exclude.value).unwrap_or_default(),
        }
    }

    /// Whether a path, or something in it, is saved.
    fn has(&self, path: &Path) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.paths.iter().any(|saved| {
            if saved.starts_with(&path) {
                return true;
            }
            let Ok(inner) = path.strip_prefix(saved) else { return false };
            !inner.ancestors().any(|part| {
                let name = part.as_os_str().as_bytes();
                !name.is_empty() && self.excludes.is_excluded(name, saved.join(part).is_dir())
            })
        })
    }
}

/// What we read of `docker inspect`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    config: Config,
    #[serde(default)]
    mounts: Vec<Mount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    #[serde(default, rename = "Type")]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    source: PathBuf,
    destination: PathBuf,
    #[serde(default, rename = "RW")]
    is_writable: bool,
}

/// Every directory the running containers write to is saved, or there is a reason why not.
pub(super) fn mounts(patient: &Patient<'_>) -> Vec<Finding> {
    let Some(docker) = client(patient) else { return Vec::new() };
    // Docker that does not answer is told by its own check.
    let Ok(containers) = containers(patient, &docker) else { return Vec::new() };
    if containers.is_empty() {
        return vec![Finding::warning(
            format!("no container of {} runs", patient.instance.home.value.display()),
            format!(
                "docker compose -f {}/docker-compose.yml up -d",
                patient.instance.home.value.display()
            ),
        )];
    }
    let saved = Saved::of(patient);
    let mut found = Vec::new();
    for container in &containers {
        let unnamed = String::new();
        let service = container.config.labels.get("com.docker.compose.service").unwrap_or(&unnamed);
        for mount in &container.mounts {
            found.extend(one_mount(patient, &saved, service, mount));
        }
    }
    // Several containers share directories.
    let mut told: Vec<Finding> = Vec::new();
    for finding in found {
        if !told.iter().any(|other| other.mend == finding.mend && other.level == finding.level) {
            told.push(finding);
        }
    }
    if told.is_empty() {
        told.push(Finding::ok("everything the running containers write to the disk is saved"));
    }
    told
}

fn one_mount(
    patient: &Patient<'_>,
    saved: &Saved,
    service: &str,
    mount: &Mount,
) -> Option<Finding> {
    let is_system = SYSTEM.iter().any(|place| mount.source.starts_with(place));
    let is_data = ["bind", "volume"].contains(&mount.kind.as_str());
    if !mount.is_writable || is_system || !is_data || saved.has(&mount.source) {
        return None;
    }
    let repository = patient.instance.repository.value.directory();
    if repository
        .is_some_and(|place| place.starts_with(&mount.source) || mount.source.starts_with(place))
    {
        return None;
    }
    let (place, inside) = (mount.source.display(), mount.destination.display());
    let is_postgres = POSTGRES.iter().any(|place| mount.destination.starts_with(place));
    if is_postgres && patient.instance.postgres.is_some() {
        return None;
    }
    if is_postgres {
        return Some(Finding::error(
            format!("service {service} runs PostgreSQL ({place}), and no database is saved"),
            format!("write [instance.{}.postgres] into the configuration", patient.instance.name),
        ));
    }
    if mount.kind == "bind" {
        return Some(Finding::warning(
            format!("{place} ({inside} of service {service}) is saved by no path"),
            add(patient, &mount.source),
        ));
    }
    let is_anonymous =
        mount.name.len() == ANONYMOUS && mount.name.bytes().all(|digit| digit.is_ascii_hexdigit());
    let text =
        |name: &str| format!("volume {name} ({inside} of service {service}) is saved by no path");
    Some(match is_anonymous {
        true => Finding::hint(text("without a name"), format!("look what is in {inside} there")),
        false => Finding::warning(text(&mount.name), add(patient, &mount.source)),
    })
}

/// The containers of the instance's compose project, running or not.
fn containers(patient: &Patient<'_>, docker: &Path) -> Result<Vec<Container>, String> {
    let instance = patient.instance;
    let settings = instance.postgres.as_ref().and_then(|postgres| postgres.container.as_ref());
    let label = match settings.and_then(|container| container.value.project.clone()) {
        Some(project) => format!("label=com.docker.compose.project={project}"),
        None => format!(
            "label=com.docker.compose.project.working_dir={}",
            instance.home.value.display()
        ),
    };
    let listed = ask(patient, docker, &["ps", "--no-trunc", "--quiet", "--filter", &label])?;
    let ids: Vec<&str> = listed.split_whitespace().collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let text = ask(patient, docker, &[&["inspect", "--type=container"], &ids[..]].concat())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}
