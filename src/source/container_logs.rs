//! What the containers of a compose project wrote: one stream a container, since the snapshot before.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use jiff::Timestamp;

use crate::compose::Variables;
use crate::event::StopFlag;
use crate::snapshot::SourceRecord;

use super::process::Process;
use super::{SourceError, StreamEnd, StreamSink, StreamSource};

/// Where they appear in a snapshot's tree.
const DIRECTORY: &str = "compose/logs";

/// Its kind in snapshots.
pub const KIND: &str = "container-logs";
/// Detail of the source: up to when it was read, so that the next one goes on from there.
pub const UNTIL: &str = "until";

/// A container whose log is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedContainer {
    /// Its id.
    pub id: String,
    /// Its name: the stream's, too.
    pub name: String,
}

/// The logs of containers, standard output and error together, each line with its time.
#[derive(Debug)]
pub struct ContainerLogs {
    project: String,
    containers: Vec<LoggedContainer>,
    since: Option<Timestamp>,
    until: Timestamp,
    environment: Variables,
    stop: Arc<StopFlag>,
    incomplete: Vec<String>,
    is_read: bool,
}

impl ContainerLogs {
    /// Of these containers of `project`, in this time (without a beginning: all). `environment` is what docker's client sees.
    pub fn new(
        project: &str,
        containers: Vec<LoggedContainer>,
        (since, until): (Option<Timestamp>, Timestamp),
        environment: Variables,
        stop: Arc<StopFlag>,
    ) -> Self {
        let project = project.to_owned();
        Self {
            project,
            containers,
            since,
            until,
            environment,
            stop,
            incomplete: Vec::new(),
            is_read: false,
        }
    }

    fn process(&self, container: &LoggedContainer) -> Result<Process, SourceError> {
        // Docker's client keeps the two streams apart; in a log they belong together.
        let script = match self.since {
            Some(_) => "exec docker logs --timestamps --until \"$2\" --since \"$3\" \"$1\" 2>&1",
            None => "exec docker logs --timestamps --until \"$2\" \"$1\" 2>&1",
        };
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", &container.id, &self.until.to_string()]);
        command.args(self.since.map(|since| since.to_string()));
        command.env_clear().envs(&self.environment);
        let way_out = "check that the docker service runs and that this user may use it";
        Process::start(command, "docker logs".to_owned(), way_out, Arc::clone(&self.stop))
    }
}

impl StreamSource for ContainerLogs {
    fn read_all(&mut self, sink: &dyn StreamSink) -> Result<(), SourceError> {
        for container in self.containers.clone() {
            let path = format!("{DIRECTORY}/{}.log", container.name);
            let mut process = self.process(&container)?;
            match sink.store(path.as_bytes(), &mut process) {
                StreamEnd::Whole => {}
                StreamEnd::Broken => self.incomplete.push(format!("{path}: it could not be read")),
                StreamEnd::Refused => return Ok(()),
            }
        }
        self.is_read = true;
        Ok(())
    }

    fn paths(&self) -> Vec<Vec<u8>> {
        vec![DIRECTORY.as_bytes().to_vec()]
    }

    fn record(&self) -> SourceRecord {
        let mut incomplete = self.incomplete.clone();
        if !self.is_read && incomplete.is_empty() {
            incomplete.push(format!("{DIRECTORY}: not all were read"));
        }
        let mut details = BTreeMap::from([("project".to_owned(), self.project.clone())]);
        details.insert(UNTIL.to_owned(), self.until.to_string());
        details.extend(self.since.map(|since| ("since".to_owned(), since.to_string())));
        SourceRecord {
            kind: KIND.to_owned(),
            name: self.project.clone(),
            path: DIRECTORY.as_bytes().to_vec(),
            details,
            incomplete,
        }
    }
}
