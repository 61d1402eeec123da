//! A server and the ways to it: for our own connections and for PostgreSQL's own programs.
//!
//! How programs reach the server goes through their environment, not their arguments, which every
//! user of the host can see. The password too: the environment of a process can be read by its owner and
//! root only, who can read the configuration as well, and unlike a password file nothing is left
//! behind by a crash.

use std::ffi::OsString;
use std::fmt::Write;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::crypto::Secret;

use super::container::{self, Container, ContainerSettings, ContainerWay, Image};
use super::error::ServerError;
use super::exec::Feed;
use super::parameters::{Environment, Parameters, at_home, complete, parse, passfile_entry};
use super::tls::Tls;

/// PostgreSQL's port where none is said.
const DEFAULT_PORT: u16 = 5432;
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Where sockets are by custom: Debian's place, and the one of PostgreSQL's own build.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];
/// Variables of libpq that do not say where to go and which a host's program may keep.
const KEPT: [&str; 4] = ["PGKRB", "PGGSSLIB", "PGREQUIRE", "PGCHANNELBINDING"];

/// How a server is reached, as a configuration says it. What is `None` is left to libpq's ways: the
/// connection string, a service, `PG*` variables, the usual socket.
#[derive(Debug, Clone, Default)]
pub struct ServerSettings {
    /// A URI or `keyword=value` text.
    pub conninfo: Option<String>,
    /// Directory of its socket, or host name.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Role.
    pub user: Option<String>,
    /// Password of the role.
    pub password: Option<Secret>,
    /// Where PostgreSQL's programs are. `None`: in the container if there is one, else the search path.
    pub bin_dir: Option<PathBuf>,
    /// The compose service the server runs in.
    pub container: Option<ContainerSettings>,
}

/// The way of our own connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// Socket in this directory.
    Socket(PathBuf),
    /// Over the network; the address is used instead of asking for the name's.
    Network { host: String, address: Option<IpAddr> },
    /// Out of its container, each connection by a program there.
    Exec,
}

/// Where the programs run.
#[derive(Debug, Clone)]
enum Programs {
    Host(Option<PathBuf>),
    Container,
}

/// A server, found and ready to be connected to. Made once per operation.
#[derive(Debug, Clone)]
pub struct Server {
    pub(super) way: Way,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) tls: Tls,
    pub(super) application: String,
    pub(super) connect_timeout: Duration,
    pub(super) container: Option<Container>,
    programs: Programs,
    password: Option<Secret>,
    passfile: Option<PathBuf>,
}

impl Server {
    /// Finds the way. `run` is a name the server's administrator sees (`mrs-backup/<run>`).
    pub fn find(
        settings: &ServerSettings,
        run: &str,
        environment: Environment<'_>,
    ) -> Result<Self, ServerError> {
        let said = match &settings.conninfo {
            Some(text) => parse(text)?,
            None => Parameters::new(),
        };
        let parameters = complete(with_own(said, settings)?, environment)?;
        let get = |keyword: &str| parameters.get(keyword).map(String::as_str);
        let container = settings.container.as_ref().map(container::find);
        let container = container.transpose()?;
        let port = match get("port") {
            None => DEFAULT_PORT,
            Some(text) => number(text, "port")?,
        };
        let user = match get("user") {
            Some(user) => user.to_owned(),
            None => {
                container.as_ref().map(Container::superuser).or_else(own_name).ok_or_else(|| {
                    ServerError::settings("no role is named", "set `user`, or the variable PGUSER")
                })?
            }
        };
        let connect_timeout = match get("connect_timeout") {
            Some(text) => match number::<u64>(text, "connect_timeout")? {
                0 => CONNECT_TIMEOUT,
                seconds => Duration::from_secs(seconds.max(2)),
            },
            None => CONNECT_TIMEOUT,
        };
        let said = get("password").map(|text| Secret::new(text.as_bytes().to_vec()));
        let of_image = container.as_ref().and_then(|found| found.password_of(&user).cloned());
        let password = settings.password.clone().or(said).or(of_image);
        let run: String = run.chars().filter(char::is_ascii_graphic).take(50).collect();
        let mut server = Self {
            way: Way::Socket(PathBuf::new()),
            port,
            user,
            tls: Tls::of(&parameters, environment)?,
            application: format!("mrs-backup/{run}"),
            connect_timeout,
            programs: match (&settings.bin_dir, &container) {
                (None, Some(_)) => Programs::Container,
                (directory, _) => Programs::Host(directory.clone()),
            },
            container,
            password,
            passfile: get("passfile")
                .map(PathBuf::from)
                .or_else(|| at_home(".pgpass", environment)),
        };
        let wanted = settings.container.as_ref().map(|container| container.way);
        server.way = server.choose_way(get("host"), get("hostaddr"), wanted)?;
        if server.way == Way::Exec && server.runs_programs_here() {
            return Err(ServerError::container(
                "the programs of `bin_dir` cannot reach its server: there is neither a socket in a directory of the host \
                 nor an address that answers, or `via` is `exec`",
                "leave out `bin_dir`, so that those of the container are used",
            ));
        }
        Ok(server)
    }

    /// The server of a container we started: reached by the socket in `directory`, with the container's
    /// programs. Nothing of any environment is meant for it.
    pub fn started(
        image: &Image,
        container: &str,
        directory: &Path,
        user: &str,
        run: &str,
    ) -> Result<Self, ServerError> {
        let settings = ServerSettings {
            host: Some(directory.display().to_string()),
            user: Some(user.to_owned()),
            ..ServerSettings::default()
        };
        let mut server = Self::find(&settings, run, &|_| None)?;
        server.container = Some(Container::started(image, container));
        server.programs = Programs::Container;
        Ok(server)
    }

    fn choose_way(
        &self,
        host: Option<&str>,
        address: Option<&str>,
        wanted: Option<ContainerWay>,
    ) -> Result<Way, ServerError> {
        let address = address
            .map(|text| {
                text.parse::<IpAddr>().map_err(|_| {
                    ServerError::settings(
                        format!("hostaddr `{}` is no IP address", text.escape_debug()),
                        "write its name as `host` instead",
                    )
                })
            })
            .transpose()?;
        if let Some(host) = host {
            return Ok(match host.starts_with('/') {
                true => Way::Socket(PathBuf::from(host)),
                false => Way::Network { host: host.to_owned(), address },
            });
        }
        if let Some(address) = address {
            return Ok(Way::Network { host: address.to_string(), address: Some(address) });
        }
        if let Some(container) = &self.container {
            let can_log_in = self.password.is_some();
            return container.choose_way(wanted.unwrap_or_default(), self.port, can_log_in);
        }
        let name = format!(".s.PGSQL.{}", self.port);
        let found = SOCKET_DIRECTORIES.iter().find(|dir| Path::new(dir).join(&name).exists());
        Ok(Way::Socket(PathBuf::from(found.unwrap_or(&SOCKET_DIRECTORIES[0]))))
    }

    /// Where the server is, for people.
    pub fn place(&self) -> String {
        let mut place = match &self.way {
            Way::Socket(directory) => format!("socket in {}", directory.display()),
            Way::Network { host, .. } => host.clone(),
            Way::Exec => "docker exec".to_owned(),
        };
        if let Some(container) = &self.container {
            // Writing to a string cannot fail.
            let _ = write!(place, ", container {}", container.name());
        }
        let _ = write!(place, ", port {}, user {}", self.port, self.user);
        place
    }

    /// The socket, if that is the way.
    pub fn socket_path(&self) -> Option<PathBuf> {
        match &self.way {
            Way::Socket(directory) => Some(directory.join(format!(".s.PGSQL.{}", self.port))),
            Way::Network { .. } | Way::Exec => None,
        }
    }

    /// Whether PostgreSQL's programs run on this host, not in the container.
    pub const fn runs_programs_here(&self) -> bool {
        matches!(self.programs, Programs::Host(_))
    }

    /// The role we connect as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The name our sessions have at the server.
    pub fn application(&self) -> &str {
        &self.application
    }

    /// The image of the server's container.
    pub fn image(&self) -> Option<&str> {
        self.container.as_ref().map(Container::image)
    }

    /// The password for a database: the one that was given, or the password file's.
    pub(super) fn password(&self, database: &str) -> Option<Secret> {
        let host = match &self.way {
            Way::Network { host, .. } => host.clone(),
            Way::Exec => "localhost".to_owned(),
            // As libpq: the directory where it is not the usual one.
            Way::Socket(directory) => {
                match SOCKET_DIRECTORIES.iter().any(|d| Path::new(d) == directory) {
                    true => "localhost".to_owned(),
                    false => directory.display().to_string(),
                }
            }
        };
        self.password_for(&host, database)
    }

    fn password_for(&self, host: &str, database: &str) -> Option<Secret> {
        if self.password.is_some() {
            return self.password.clone();
        }
        let path = self.passfile.as_ref()?;
        let mode = std::fs::metadata(path).ok()?.permissions().mode();
        // As libpq: a file others can read is no place for a password.
        if mode & 0o077 != 0 {
            return None;
        }
        let text = std::fs::read_to_string(path).ok()?;
        let found = passfile_entry(&text, host, self.port, database, &self.user)?;
        Some(Secret::new(found.into_bytes()))
    }

    /// What a program is called in errors.
    pub fn program_name(&self, program: &str) -> String {
        match (&self.programs, &self.container) {
            (Programs::Container, Some(container)) => {
                format!("{program} in container {}", container.name())
            }
            (Programs::Host(Some(directory)), _) => directory.join(program).display().to_string(),
            _ => program.to_owned(),
        }
    }

    /// What to do when a program is missing.
    pub fn install_hint(&self) -> &'static str {
        match self.programs {
            Programs::Host(_) => {
                "install postgresql-client or set `bin_dir` to the directory it is in"
            }
            Programs::Container => "set `bin_dir` to programs on this host",
        }
    }

    /// One of PostgreSQL's programs, with an environment that leads to the server. It runs in the
    /// container if the server does, unless `bin_dir` says otherwise; it ends with us even when we
    /// are killed. The database is the caller's to name ([`super::conninfo`]); the password is
    /// that for `database`.
    pub fn command(&self, program: &str, database: &str) -> Command {
        self.command_fed(program, database, Feed::Nothing)
    }

    /// The same for a program that reads something.
    pub fn command_fed(&self, program: &str, database: &str, feed: Feed) -> Command {
        match (&self.programs, &self.container) {
            (Programs::Container, Some(container)) => {
                let mut inside = vec![
                    ("PGUSER", self.user.clone()),
                    ("PGPORT", self.port.to_string()),
                    ("PGAPPNAME", self.application.clone()),
                    ("PGCONNECT_TIMEOUT", self.connect_timeout.as_secs().to_string()),
                    ("LC_MESSAGES", "C".to_owned()),
                ];
                inside.retain(|(_, value)| !value.is_empty());
                // Also where it is empty: the container may have one of its own.
                inside.push(("PGOPTIONS", options_of(program).unwrap_or_default().to_owned()));
                container.command(program, &inside, self.password(database).as_ref(), feed)
            }
            (Programs::Host(directory), _) => {
                let path =
                    directory.as_ref().map_or_else(|| program.into(), |dir| dir.join(program));
                let mut command = Command::new(path);
                self.set_environment(&mut command, database);
                command.envs(options_of(program).map(|value| ("PGOPTIONS", value)));
                command
            }
            (Programs::Container, None) => Command::new(program),
        }
    }

    fn set_environment(&self, command: &mut Command, database: &str) {
        for (name, _) in std::env::vars_os() {
            // An inherited PGOPTIONS or PGCLIENTENCODING would change what is dumped.
            let is_ours = name.to_str().is_none_or(|text| {
                text.starts_with("PG") && !KEPT.iter().any(|kept| text.starts_with(kept))
            });
            if is_ours {
                command.env_remove(&name);
            }
        }
        // Messages we recognize must not be translated.
        command.env_remove("LC_ALL").env("LC_MESSAGES", "C").env_remove("LANGUAGE");
        command.env("PGAPPNAME", &self.application).env("PGGSSENCMODE", "disable");
        command.env("PGCONNECT_TIMEOUT", self.connect_timeout.as_secs().to_string());
        command.env("PGPORT", self.port.to_string()).env("PGUSER", &self.user);
        match &self.way {
            Way::Socket(directory) => {
                command.env("PGHOST", directory);
            }
            Way::Network { host, address } => {
                command.env("PGHOST", host);
                if let Some(address) = address {
                    command.env("PGHOSTADDR", address.to_string());
                }
                command.envs(self.tls.variables());
            }
            // Refused when the way was chosen.
            Way::Exec => {}
        }
        if let Some(password) = self.password(database) {
            command.env("PGPASSWORD", OsString::from_vec(password.expose().to_vec()));
        }
    }
}

/// What `pg_dump` does not settle itself and writes differently by: rows in its archive, and definitions with
/// times in them. Other programs are left as the server wants them.
fn options_of(program: &str) -> Option<&'static str> {
    (program == "pg_dump").then_some("-c TimeZone=GMT -c bytea_output=hex")
}

/// The settings' own words on top of a connection string's.
fn with_own(mut said: Parameters, settings: &ServerSettings) -> Result<Parameters, ServerError> {
    if settings.password.as_ref().is_some_and(|secret| secret.expose().contains(&0)) {
        return Err(ServerError::settings(
            "the password holds a NUL byte, which PostgreSQL cannot take",
            "set another one with ALTER ROLE",
        ));
    }
    let port = settings.port.map(|port| port.to_string());
    let own = [("host", settings.host.clone()), ("port", port), ("user", settings.user.clone())];
    for (keyword, value) in own {
        let Some(value) = value else { continue };
        if value.contains('\0') {
            return Err(ServerError::settings(
                format!("`{keyword}` holds a NUL byte"),
                "remove it",
            ));
        }
        if keyword == "host" {
            said.remove("hostaddr");
        }
        said.insert(keyword.to_owned(), value);
    }
    Ok(said)
}

fn number<T: std::str::FromStr>(text: &str, keyword: &str) -> Result<T, ServerError> {
    text.trim().parse().map_err(|_| {
        ServerError::settings(
            format!("{keyword} `{}` is no number that fits", text.escape_debug()),
            "correct it",
        )
    })
}

/// Our own name on this system.
fn own_name() -> Option<String> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}
