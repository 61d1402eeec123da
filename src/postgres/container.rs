//! The container a server runs in, found by the labels docker compose gives it.
//!
//! A program started with `docker exec` does not end with the client that started it. So everything
//! here runs below a few lines of shell that watch their standard input: docker closes it when our
//! end of the connection goes away, however that happens, and then the program is ended.
//!
//! The lines wait for everything they start. What they left behind would become a child of the
//! container's first process, which is PostgreSQL's own; and it takes an unknown child that was ended by a signal
//! for a crashed session, ends all others and starts anew.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde::Deserialize;

use crate::crypto::Secret;

use super::error::ServerError;
use super::server::Way;

/// How long docker may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Where the images of PostgreSQL have their socket.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/run/postgresql"];
/// Runs its arguments, and ends them when standard input ends. Arguments are never made text of the script.
const LIFELINE: &str = "\
unset PGOPTIONS PGCLIENTENCODING PGTZ PGDATESTYLE PGHOST PGHOSTADDR PGDATABASE PGSERVICE LC_ALL LANGUAGE
exec 3<&0
\"$@\" 3<&- </dev/null &
program=$!
{ while read -r line <&3; do :; done; kill \"$program\"; } >/dev/null 2>&1 &
watch=$!
exec 3<&-
wait \"$program\"
status=$?
{ kill \"$watch\"; wait \"$watch\"; } 2>/dev/null
exit \"$status\"
";
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
}

/// A running container with a server in it.
#[derive(Debug, Clone)]
pub(super) struct Container {
    docker: PathBuf,
    id: String,
    name: String,
    image: String,
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
            ContainerWay::Auto => socket.or(address.filter(|_| can_log_in)).ok_or_else(|| {
                missing(
                    &format!("no socket for port {port} in a directory of the host, and there is no password for its address"),
                    "mount a directory of the host at /var/run/postgresql, or give a password",
                )
            }),
            ContainerWay::Socket => socket.ok_or_else(|| {
                missing(
                    &format!("no socket for port {port} in a directory of the host"),
                    "mount a directory of the host at /var/run/postgresql, or choose another way",
                )
            }),
            ContainerWay::Address => {
                address.ok_or_else(|| missing("no address of its own", "choose another way"))
            }
        }
    }

    fn exec(&self, variables: &[(&str, String)], password: Option<&Secret>) -> Command {
        let mut command = Command::new(&self.docker);
        // Never a terminal: it would change bytes.
        command.args(["exec", "--interactive"]);
        for (name, value) in variables {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        if let Some(password) = password {
            // Only the name: docker takes the value from its own environment.
            command.args(["--env", "PGPASSWORD"]);
            command.env("PGPASSWORD", OsString::from_vec(password.expose().to_vec()));
        }
        command.arg(&self.id);
        command
    }

    /// A program in the container. Its standard input must stay open while it runs, and ends it
    /// when it is closed.
    pub fn command(
        &self,
        program: &str,
        variables: &[(&str, String)],
        password: Option<&Secret>,
    ) -> Command {
        let mut command = self.exec(variables, password);
        command.args(["sh", "-c", LIFELINE, "mrs-backup", program]);
        command
    }
}
