//! The containers of an instance: found by compose's labels, stopped, and started again. Nothing is ever started
//! twice: those that were stopped are started, or compose makes them anew in the same project.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::source::process::ask;

use super::file::{CLUSTERS, COMPOSE_FILES};
use super::{HomeError, Work};

/// How long docker may take to answer.
const ANSWER: Duration = Duration::from_secs(60);
/// How long it may take to stop or start containers.
const LABOR: Duration = Duration::from_secs(900);
/// How long a container has to end by itself.
const GRACE: &str = "30";
/// How often it is looked whether containers are well.
const BEAT: Duration = Duration::from_millis(500);
/// A container without a health check is well if it runs for so long.
const SETTLED: Duration = Duration::from_secs(2);
/// What compose and docker's client need of our environment. The rest would end up in containers.
const ENVIRONMENT: [&str; 8] = [
    "PATH",
    "HOME",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "XDG_RUNTIME_DIR",
];

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its compose service.
    pub service: String,
    /// Whether it runs.
    pub is_running: bool,
    /// Whether a database server runs in it.
    pub is_database: bool,
    /// The name of its image.
    pub image: String,
    health: Option<String>,
    restarts: u64,
}

/// The containers of one home.
#[derive(Debug, Clone)]
pub struct Stack {
    docker: PathBuf,
    home: PathBuf,
    /// Name of the compose project.
    pub project: String,
    /// Its containers, those that do not run, too.
    pub containers: Vec<Container>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    name: String,
    config: Config,
    state: State,
    #[serde(default)]
    restart_count: u64,
    #[serde(default)]
    mounts: Vec<Mount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    image: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    #[serde(default)]
    running: bool,
    #[serde(default)]
    health: Option<Health>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    destination: PathBuf,
}

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const DIRECTORY: &str = "com.docker.compose.project.working_dir";

/// The name compose gives to a project in `home`.
fn default_project(home: &Path) -> String {
    let name = home.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// Docker's client and, for compose, an environment of its own.
fn call(
    work: &Work<'_>,
    program: &Path,
    words: &[&str],
    limit: Duration,
) -> Result<String, HomeError> {
    let mut command = Command::new(program);
    command.args(words).env_clear();
    for name in ENVIRONMENT {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    ask(command, limit, &work.stop).map_err(|reason| HomeError::Docker {
        command: format!("{} {}", program.display(), words.first().unwrap_or(&"")),
        reason,
    })
}

impl Stack {
    /// The stack of the instance's home. `None` if it has nothing to do with docker; `has_file` says that a compose
    /// file is going to be there.
    pub(super) fn find(work: &Work<'_>, has_file: bool) -> Result<Option<Self>, HomeError> {
        let instance = work.instance;
        let settings = instance.postgres.as_ref().and_then(|postgres| postgres.container.as_ref());
        let home = work.home();
        let has_file = has_file || COMPOSE_FILES.iter().any(|name| home.join(name).exists());
        if settings.is_none() && !has_file {
            return Ok(None);
        }
        let docker =
            settings.map_or_else(|| PathBuf::from("docker"), |found| found.value.docker.clone());
        let project = settings.and_then(|found| found.value.project.clone());
        let mut stack =
            Self { docker, home: home.to_owned(), project: String::new(), containers: Vec::new() };
        stack.look(work, project)?;
        Ok(Some(stack))
    }

    /// Looks anew what is there.
    fn look(&mut self, work: &Work<'_>, project: Option<String>) -> Result<(), HomeError> {
        let filter = match &project {
            Some(project) => format!("label={PROJECT}={project}"),
            None => format!("label={DIRECTORY}={}", self.home.display()),
        };
        let found = self.inspect(work, &filter)?;
        let label = |one: &Inspected, name: &str| {
            one.config.labels.as_ref().and_then(|labels| labels.get(name)).cloned()
        };
        let known = found.iter().find_map(|one| label(one, PROJECT));
        self.project = project.or(known).unwrap_or_else(|| default_project(&self.home));
        // Whoever has the name would be stopped or made anew in our place.
        let strangers = self.inspect(work, &format!("label={PROJECT}={}", self.project))?;
        for one in &strangers {
            let directory = label(one, DIRECTORY).unwrap_or_default();
            if !directory.is_empty() && Path::new(&directory) != self.home {
                return Err(HomeError::refused(
                    format!("compose project `{}` was started in {directory}", self.project),
                    "one name, one directory: name the project in `container`, or remove the other stack",
                ));
            }
        }
        let settings = work.instance.postgres.as_ref().and_then(|one| one.container.as_ref());
        let server = settings.map(|settings| settings.value.service.as_str());
        let mut containers: Vec<Container> = found
            .into_iter()
            .map(|one| {
                let service = label(&one, SERVICE).unwrap_or_default();
                let has_cluster =
                    one.mounts.iter().any(|mount| mount.destination.starts_with(CLUSTERS));
                Container {
                    is_database: server == Some(service.as_str()) || has_cluster,
                    service,
                    name: one.name.trim_start_matches('/').to_owned(),
                    is_running: one.state.running,
                    health: one.state.health.map(|health| health.status),
                    restarts: one.restart_count,
                    image: one.config.image,
                    id: one.id,
                }
            })
            .collect();
        containers.sort_by(|a, b| (&a.service, &a.name).cmp(&(&b.service, &b.name)));
        self.containers = containers;
        Ok(())
    }

    fn inspect(&self, work: &Work<'_>, filter: &str) -> Result<Vec<Inspected>, HomeError> {
        let words = [
            "ps",
            "--all",
            "--no-trunc",
            "--quiet",
            "--filter",
            filter,
            "--filter",
            "label=com.docker.compose.oneoff=False",
        ];
        let listed = call(work, &self.docker, &words, ANSWER)?;
        let ids: Vec<&str> = listed.split_whitespace().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let words = [&["inspect", "--type=container"], &ids[..]].concat();
        let text = call(work, &self.docker, &words, ANSWER)?;
        serde_json::from_str(&text).map_err(|error| HomeError::Docker {
            command: "docker inspect".to_owned(),
            reason: format!("its answer makes no sense: {error}"),
        })
    }

    /// The containers that run, of applications, and with `servers` of databases too.
    pub fn running(&self, servers: bool) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(move |one| one.is_running && (servers || !one.is_database))
    }

    /// The container of the database server, running or not.
    pub fn database(&self) -> Option<&Container> {
        self.containers.iter().find(|one| one.is_database)
    }

    /// Stops containers, as they stop.
    pub(super) fn stop(&self, work: &Work<'_>, ids: &[String]) -> Result<(), HomeError> {
        // Those that were removed meanwhile do not run.
        let there: Vec<&str> = ids.iter().filter(|id| self.has(id)).map(String::as_str).collect();
        if there.is_empty() {
            return Ok(());
        }
        call(work, &self.docker, &[&["stop", "-t", GRACE], &there[..]].concat(), LABOR).map(|_| ())
    }

    /// Starts containers that were stopped.
    pub(super) fn start(&self, work: &Work<'_>, ids: &[String]) -> Result<(), HomeError> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        call(work, &self.docker, &[&["start"], &ids[..]].concat(), LABOR).map(|_| ())
    }

    fn has(&self, id: &str) -> bool {
        self.containers.iter().any(|one| one.id == id)
    }

    /// Lets compose make containers of the file in the home: of one service, or of all.
    pub(super) fn up(&self, work: &Work<'_>, service: Option<&str>) -> Result<(), HomeError> {
        let Some(file) =
            COMPOSE_FILES.iter().map(|name| self.home.join(name)).find(|one| one.exists())
        else {
            return Err(HomeError::refused(
                format!("there is no compose file in {}", self.home.display()),
                "restore a snapshot that has one, or put it there",
            ));
        };
        let (home, file) = (self.home.display().to_string(), file.display().to_string());
        let mut words = vec![
            "-p",
            self.project.as_str(),
            "--project-directory",
            &home,
            "-f",
            &file,
            "up",
            "-d",
            "--no-build",
        ];
        words.extend(service.map_or("--remove-orphans", |name| name).split_whitespace());
        let plugin = call(work, &self.docker, &["compose", "version", "--short"], ANSWER).is_ok();
        match plugin {
            true => {
                words.insert(0, "compose");
                call(work, &self.docker, &words, LABOR)
            }
            false => call(work, Path::new("docker-compose"), &words, LABOR),
        }
        .map(|_| ())
    }

    /// The same stack, as it is now.
    pub(super) fn again(&self, work: &Work<'_>) -> Result<Self, HomeError> {
        let mut stack = self.clone();
        stack.look(work, None)?;
        stack.project.clone_from(&self.project);
        Ok(stack)
    }

    /// Waits until the containers that should run are well.
    pub(super) fn wait_until_well(&self, work: &Work<'_>, ids: &[String]) -> Result<(), HomeError> {
        let (begun, patience) = (work.clock.elapsed(), work.patience.unsigned_abs());
        let mut first: Option<BTreeMap<String, u64>> = None;
        loop {
            let now = self.again(work)?;
            let meant = |one: &&Container| ids.is_empty() || ids.contains(&one.id);
            let restarts = first.get_or_insert_with(|| {
                now.containers.iter().map(|one| (one.id.clone(), one.restarts)).collect()
            });
            let has_begun_again = |one: &Container| {
                restarts.get(&one.id).is_some_and(|before| one.restarts > *before)
            };
            let state = |one: &Container| match one.health.as_deref() {
                _ if !one.is_running => Some("does not run"),
                _ if has_begun_again(one) => Some("ends and is started again and again"),
                Some("starting") => Some("is not ready yet"),
                Some("unhealthy") => Some("says that it is not well"),
                _ => None,
            };
            let bad = now.containers.iter().filter(meant).find_map(|one| Some((one, state(one)?)));
            let past = work.clock.elapsed().saturating_sub(begun);
            match bad {
                None if past >= SETTLED => return Ok(()),
                Some((one, how)) if past >= patience => {
                    let what = format!("container {} {how} after {} s", one.name, past.as_secs());
                    return Err(HomeError::Unwell { what, instance: work.instance.name.clone() });
                }
                _ => std::thread::sleep(BEAT),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_called_as_compose_calls_it() {
        let name = |home: &str| default_project(Path::new(home));
        assert_eq!(name("/home/mrs-production"), "mrs-production");
        assert_eq!(name("/srv/My App.v2"), "myappv2");
    }
}
