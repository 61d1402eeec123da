//! What docker's engine is asked and told, by docker's client. Containers are found by compose's labels, never
//! by their names, which differ between its generations.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::{Call, ComposeError, Document, Node, Project, Runner, Said, Variables};

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long a command in a container may take.
const EXEC_LIMIT: Duration = Duration::from_secs(3600);

/// Docker.
#[derive(Clone)]
pub struct Engine {
    runner: Arc<dyn Runner>,
    environment: Variables,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Made, never started.
    Created,
    /// At work.
    Running,
    /// Stopped by somebody for a while.
    Paused,
    /// It ended, and is about to be started again.
    Restarting,
    /// Being removed.
    Removing,
    /// It ended.
    Exited,
    /// It can neither run nor be removed.
    Dead,
}

/// What its health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It has none.
    None,
    /// Not known yet.
    Starting,
    /// Good.
    Healthy,
    /// Bad.
    Unhealthy,
}

/// A container of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Id.
    pub id: String,
    /// Name, for messages only.
    pub name: String,
    /// Its compose service.
    pub service: String,
    /// The directory its project was started in.
    pub working_dir: String,
    /// Id of its image.
    pub image: String,
    /// What it is doing.
    pub status: Status,
    /// How it ended.
    pub exit_code: i64,
    /// What its health check says.
    pub health: Health,
    /// When it began, as docker writes it.
    pub started_at: String,
    /// How often it was started again by docker.
    pub restarts: u64,
    /// Whether docker starts it again when it ends.
    pub is_restarted: bool,
    /// Its environment variables.
    pub variables: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    name: String,
    image: String,
    config: Config,
    state: State,
    #[serde(default)]
    restart_count: u64,
    #[serde(default)]
    host_config: HostConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    env: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: Status,
    #[serde(default)]
    exit_code: i64,
    #[serde(default)]
    started_at: String,
    #[serde(default)]
    health: Option<HealthState>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthState {
    status: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    restart_policy: RestartPolicy,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct RestartPolicy {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedImage {
    id: String,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
}

/// An image, as it lies here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// Names with the digest of a registry.
    pub digests: Vec<String>,
}

impl From<Inspected> for Container {
    fn from(found: Inspected) -> Self {
        let labels = found.config.labels.unwrap_or_default();
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let variables = found.config.env.unwrap_or_default();
        let pair = |text: &String| {
            text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        Self {
            service: label("com.docker.compose.service"),
            working_dir: label("com.docker.compose.project.working_dir"),
            id: found.id,
            name: found.name.trim_start_matches('/').to_owned(),
            image: found.image,
            status: found.state.status,
            exit_code: found.state.exit_code,
            health: match found.state.health.as_ref().map(|health| health.status.as_str()) {
                Some("starting") => Health::Starting,
                Some("healthy") => Health::Healthy,
                Some("unhealthy") => Health::Unhealthy,
                _ => Health::None,
            },
            started_at: found.state.started_at,
            restarts: found.restart_count,
            is_restarted: !matches!(found.host_config.restart_policy.name.as_str(), "" | "no"),
            variables: variables.iter().filter_map(pair).collect(),
        }
    }
}

impl Engine {
    /// By docker's client, which sees `environment`.
    pub fn new(runner: Arc<dyn Runner>, environment: Variables) -> Self {
        Self { runner, environment }
    }

    fn said(&self, words: &[&str], limit: Duration) -> Result<Said, ComposeError> {
        let call = Call {
            program: "docker",
            arguments: words.iter().map(|word| (*word).to_owned()).collect(),
            environment: &self.environment,
            directory: None,
            input: None,
            limit,
        };
        self.runner.run(&call)?.good(&call)
    }

    fn ask(&self, words: &[&str]) -> Result<String, ComposeError> {
        Ok(self.said(words, ANSWER_LIMIT)?.text())
    }

    fn inspect<T: serde::de::DeserializeOwned>(
        &self,
        kind: &str,
        ids: &[&str],
    ) -> Result<Vec<T>, ComposeError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let kind = format!("--type={kind}");
        let text = self.ask(&[&["inspect", kind.as_str()], ids].concat())?;
        serde_json::from_str(&text).map_err(|error| ComposeError::Unreadable {
            what: "`docker inspect`".to_owned(),
            reason: error.to_string(),
        })
    }

    /// Whether the engine answers; gives its version.
    pub fn version(&self) -> Result<String, ComposeError> {
        Ok(self.ask(&["version", "--format", "{{.Server.Version}}"])?.trim().to_owned())
    }

    /// All containers of a project, also those that ended; not those of `run`.
    pub fn containers(&self, project: &str) -> Result<Vec<Container>, ComposeError> {
        let label = format!("label=com.docker.compose.project={project}");
        // A container may go between being listed and being looked at.
        for attempt in 0.. {
            let listed = self.ask(&[
                "ps",
                "--all",
                "--no-trunc",
                "--quiet",
                "--filter",
                &label,
                "--filter",
                "label=com.docker.compose.oneoff=False",
            ])?;
            let ids: Vec<&str> = listed.split_whitespace().collect();
            match self.inspect::<Inspected>("container", &ids) {
                Ok(found) => {
                    let mut found: Vec<Container> =
                        found.into_iter().map(Container::from).collect();
                    found.sort_by(|a, b| (&a.service, &a.name).cmp(&(&b.service, &b.name)));
                    return Ok(found);
                }
                Err(ComposeError::Failed { said, .. })
                    if said.contains("No such container") && attempt < 5 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Vec::new())
    }

    /// What a container wrote since `since` (docker's time; `None`: from its beginning), both streams together.
    pub fn logs(
        &self,
        id: &str,
        since: Option<&str>,
        lines: Option<u32>,
    ) -> Result<String, ComposeError> {
        let lines = lines.map(|lines| lines.to_string());
        let mut words = vec!["logs"];
        if let Some(since) = since {
            words.extend(["--since", since]);
        }
        if let Some(lines) = &lines {
            words.extend(["--tail", lines]);
        }
        words.push(id);
        let said = self.said(&words, ANSWER_LIMIT)?;
        Ok(format!("{}{}", said.text(), said.complaint()))
    }

    /// Runs a command in a running container; its exit code is for the caller to judge.
    pub fn exec(&self, id: &str, command: &[String]) -> Result<Said, ComposeError> {
        let mut arguments = vec!["exec".to_owned(), id.to_owned()];
        arguments.extend(command.iter().cloned());
        self.runner.run(&Call {
            program: "docker",
            arguments,
            environment: &self.environment,
            directory: None,
            input: None,
            limit: EXEC_LIMIT,
        })
    }

    /// Runs a line of shell in `directory`, as people write it: `docker compose exec -T django ...` finds the
    /// project.
    pub fn shell(
        &self,
        project: &Project,
        directory: &Path,
        line: &str,
    ) -> Result<Said, ComposeError> {
        let mut environment = self.environment.clone();
        environment.insert("COMPOSE_PROJECT_NAME".to_owned(), project.name.clone().into());
        environment.insert("COMPOSE_FILE".to_owned(), project.file().into_os_string());
        self.runner.run(&Call {
            program: "sh",
            arguments: vec!["-euc".to_owned(), line.to_owned()],
            environment: &environment,
            directory: Some(directory),
            input: None,
            limit: EXEC_LIMIT,
        })
    }

    /// The image of this name or id, if it is here.
    pub fn image(&self, name: &str) -> Result<Option<Image>, ComposeError> {
        match self.inspect::<InspectedImage>("image", &[name]) {
            Ok(found) => Ok(found.into_iter().next().map(|image| Image {
                id: image.id,
                digests: image.repo_digests.unwrap_or_default(),
            })),
            Err(ComposeError::Failed { said, .. }) if said.to_lowercase().contains("no such") => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives an image another name.
    pub fn tag(&self, image: &str, name: &str) -> Result<(), ComposeError> {
        self.ask(&["tag", image, name]).map(|_| ())
    }

    /// Takes a name from an image; the image goes if it was the last one and nobody uses it.
    pub fn remove_image(&self, name: &str) -> Result<(), ComposeError> {
        self.ask(&["rmi", name]).map(|_| ())
    }

    /// Ids of the images that containers are made of, of any project.
    pub fn used_images(&self) -> Result<Vec<String>, ComposeError> {
        let listed = self.ask(&["ps", "--all", "--no-trunc", "--quiet"])?;
        let ids: Vec<&str> = listed.split_whitespace().collect();
        let found: Vec<Inspected> = self.inspect("container", &ids)?;
        Ok(found.into_iter().map(|container| container.image).collect())
    }

    /// Names of all networks.
    pub fn networks(&self) -> Result<Vec<String>, ComposeError> {
        Ok(self
            .ask(&["network", "ls", "--format", "{{.Name}}"])?
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// Makes a network.
    pub fn create_network(&self, name: &str) -> Result<(), ComposeError> {
        match self.ask(&["network", "create", name]) {
            // Somebody else was quicker.
            Err(ComposeError::Failed { said, .. }) if said.contains("already exists") => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Removes by force what carries the project's label: containers first, then its networks, and its volumes if asked.
    pub fn sweep(&self, project: &str, with_volumes: bool) -> Result<(), ComposeError> {
        let label = format!("label=com.docker.compose.project={project}");
        let kinds = [
            (&["ps", "--all", "--no-trunc", "--quiet"][..], &["rm", "--force"][..]),
            (&["network", "ls", "--no-trunc", "--quiet"], &["network", "rm"]),
            (&["volume", "ls", "--quiet"], &["volume", "rm"]),
        ];
        for (list, remove) in kinds.iter().take(if with_volumes { 3 } else { 2 }) {
            let listed = self.ask(&[*list, &["--filter", &label]].concat())?;
            for id in listed.split_whitespace() {
                match self.ask(&[*remove, &[id]].concat()) {
                    Err(ComposeError::Failed { said, .. })
                        if said.to_lowercase().contains("no such") => {}
                    other => drop(other?),
                }
            }
        }
        Ok(())
    }
}

/// Names of the networks that a document uses and does not make.
pub fn external_networks(document: &Document) -> Vec<String> {
    let networks = document.root.get("networks").map_or(&[][..], Node::entries);
    let name = |(key, network): &(String, Node)| {
        let external = network.get("external")?;
        let is_external = external.as_str() == Some("true") || matches!(external, Node::Mapping(_));
        let name = external.get("name").or_else(|| network.get("name")).and_then(Node::as_str);
        is_external.then(|| name.unwrap_or(key).to_owned())
    };
    networks.iter().filter_map(name).collect()
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
