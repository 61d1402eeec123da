//! The container a server runs in, found by the labels docker compose gives it, and the ways in.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde::Deserialize;

use crate::crypto::Secret;

use super::error::ServerError;
use super::server::Way;

/// How long docker may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long a container's address may take to answer, where there is another way.
const ADDRESS_LIMIT: Duration = Duration::from_secs(3);
/// Where the images of PostgreSQL have their socket.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/run/postgresql"];

/// Which container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSettings {
    /// Name of the compose service.
    pub service: String,
    /// Name of the compose project. `None`: the one whose directory is `directory`.
    pub project: Option<String>,
    /// Directory of the compose project.
    pub directory: PathBuf,
    /// How to connect.
    pub way: ContainerWay,
    /// The docker client: a path, or a name to be found in the search path.
    pub docker: PathBuf,
}

/// How to connect to a server in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContainerWay {
    /// The first that is possible, in the order of the others.
    #[default]
    Auto,
    /// By the socket directory that is mounted from the host.
    Socket,
    /// By the container's address; needs a password.
    Address,
    /// By a program in the container, one for each connection (`docker exec`).
    Exec,
}

/// A running container with a server in it.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) docker: PathBuf,
    pub(super) id: String,
    name: String,
    image: String,
    image_id: String,
    /// The user the image's first process runs as, if it says so.
    own_user: String,
    sockets: Vec<PathBuf>,
    addresses: Vec<String>,
    user: Option<String>,
    password: Option<Secret>,
}

/// What we read of `docker inspect`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    name: String,
    image: String,
    config: Config,
    #[serde(default)]
    mounts: Vec<Mount>,
    network_settings: Networks,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    image: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    env: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    source: PathBuf,
    destination: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Networks {
    #[serde(default)]
    networks: Option<BTreeMap<String, Network>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    #[serde(rename = "IPAddress", default)]
    address: String,
}

/// Finds the running container of a service.
pub(super) fn find(wanted: &ContainerSettings) -> Result<Container, ServerError> {
    let docker = &wanted.docker;
    let mut labels = vec![
        format!("com.docker.compose.service={}", wanted.service),
        "com.docker.compose.oneoff=False".to_owned(),
    ];
    labels.push(match &wanted.project {
        Some(project) => format!("com.docker.compose.project={project}"),
        None => {
            format!("com.docker.compose.project.working_dir={}", wanted.directory.display())
        }
    });
    let mut arguments = vec!["ps".to_owned(), "--no-trunc".to_owned(), "--quiet".to_owned()];
    for label in &labels {
        arguments.extend(["--filter".to_owned(), format!("label={label}")]);
    }
    let listed = ask(docker, &arguments)?;
    let ids: Vec<&str> = listed.split_whitespace().collect();
    let what = format!("service `{}` (label {})", wanted.service, labels[2]);
    let id = match ids[..] {
        [id] => id,
        [] => {
            return Err(ServerError::container(
                format!("no container of {what} runs"),
                "start it with `docker compose up -d`, or correct `container`",
            ));
        }
        _ => {
            return Err(ServerError::container(
                format!("{} containers of {what} run", ids.len()),
                "name the compose project, so that it is one",
            ));
        }
    };
    let text = ask(docker, &["inspect".to_owned(), "--type=container".to_owned(), id.to_owned()])?;
    let unreadable = |reason: String| {
        ServerError::container(
            format!("`docker inspect` says nothing that can be read: {reason}"),
            "check that `docker` is docker's own client",
        )
    };
    let found: Vec<Inspected> =
        serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    let found = found.into_iter().next().ok_or_else(|| unreadable("nothing at all".to_owned()))?;
    Ok(Container::of(docker, found))
}

/// Runs docker's client for a short answer.
fn ask(docker: &Path, arguments: &[String]) -> Result<String, ServerError> {
    let failed = |reason: String| {
        ServerError::container(
            format!("`{} {}` failed: {reason}", docker.display(), arguments[0]),
            "check that the docker service runs and that this user may use it",
        )
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(error.to_string()))?;
    let output: Output = runtime
        .block_on(async {
            let mut command = tokio::process::Command::new(docker);
            command.args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true);
            tokio::time::timeout(ANSWER_LIMIT, command.output()).await
        })
        .map_err(|_| failed(format!("no answer within {} s", ANSWER_LIMIT.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.trim().chars().filter(|c| !c.is_control()).take(500).collect();
        return Err(failed(format!("{}: {said}", output.status)));
    }
    String::from_utf8(output.stdout).map_err(|_| failed("its answer is not UTF-8".to_owned()))
}

impl Container {
    fn of(docker: &Path, found: Inspected) -> Self {
        let variables = found.config.env.unwrap_or_default();
        let variable = |name: &str| {
            variables.iter().find_map(|text| text.strip_prefix(name)?.strip_prefix('='))
        };
        let is_socket = |mount: &&Mount| {
            SOCKET_DIRECTORIES.iter().any(|directory| mount.destination == Path::new(directory))
        };
        let networks = found.network_settings.networks.unwrap_or_default();
        Self {
            docker: docker.to_owned(),
            user: variable("POSTGRES_USER").map(str::to_owned),
            password: variable("POSTGRES_PASSWORD")
                .map(|text| Secret::new(text.as_bytes().to_vec())),
            sockets: found.mounts.iter().filter(is_socket).map(|m| m.source.clone()).collect(),
            addresses: networks
                .into_values()
                .map(|network| network.address)
                .filter(|address| !address.is_empty())
                .collect(),
            name: found.name.trim_start_matches('/').to_owned(),
            image: format!("{} ({})", found.config.image, found.image),
            image_id: found.image,
            own_user: found.config.user,
            id: found.id,
        }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name and digest of its image.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// The role the image makes.
    pub fn superuser(&self) -> String {
        self.user.clone().unwrap_or_else(|| "postgres".to_owned())
    }

    /// The password the image gave its role, for connections over the network.
    pub fn password_of(&self, user: &str) -> Option<&Secret> {
        self.password.as_ref().filter(|_| self.superuser() == user)
    }

    /// The way of our own connections.
    pub fn choose_way(
        &self,
        wanted: ContainerWay,
        port: u16,
        can_log_in: bool,
    ) -> Result<Way, ServerError> {
        let socket = self
            .sockets
            .iter()
            .find(|directory| directory.join(format!(".s.PGSQL.{port}")).exists());
        let socket = socket.map(|directory| Way::Socket(directory.clone()));
        let address = self
            .addresses
            .first()
            .map(|address| Way::Network { host: address.clone(), address: address.parse().ok() });
        let missing = |what: &str, way_out: &str| {
            ServerError::container(format!("container {} has {what}", self.name), way_out)
        };
        match wanted {
            ContainerWay::Auto => {
                let address = address.filter(|way| can_log_in && answers(way, port));
                Ok(socket.or(address).unwrap_or(Way::Exec))
            }
            ContainerWay::Socket => socket.ok_or_else(|| {
                missing(
                    &format!("no socket for port {port} in a directory of the host"),
                    "mount a directory of the host at /var/run/postgresql, or choose another way",
                )
            }),
            ContainerWay::Address => {
                address.ok_or_else(|| missing("no address of its own", "choose another way"))
            }
            ContainerWay::Exec => Ok(Way::Exec),
        }
    }
}

/// Whether something listens there.
fn answers(way: &Way, port: u16) -> bool {
    let Way::Network { address: Some(address), .. } = way else { return false };
    let address = SocketAddr::new(*address, port);
    TcpStream::connect_timeout(&address, ADDRESS_LIMIT).is_ok()
}

/// An image of PostgreSQL, as it lies on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Docker's client.
    pub docker: PathBuf,
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Who runs a server in it.
    pub user: String,
}

impl Image {
    /// The image of the running container of a service.
    pub fn of(wanted: &ContainerSettings) -> Result<Self, ServerError> {
        let found = find(wanted)?;
        // The official image begins as root and goes on as this user.
        let is_root = ["", "0", "root", "0:0", "root:root"].contains(&found.own_user.as_str());
        let user = if is_root { "postgres".to_owned() } else { found.own_user };
        Ok(Self { docker: found.docker, id: found.image_id, name: found.image, user })
    }
}

impl Container {
    /// One we started ourselves: reached by its name, its server by a socket.
    pub(super) fn started(image: &Image, name: &str) -> Self {
        Self {
            docker: image.docker.clone(),
            id: name.to_owned(),
            name: name.to_owned(),
            image: image.name.clone(),
            image_id: image.id.clone(),
            own_user: image.user.clone(),
            sockets: Vec::new(),
            addresses: Vec::new(),
            user: None,
            password: None,
        }
    }
}
