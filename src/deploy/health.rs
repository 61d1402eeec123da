//! Waiting until containers are what they should be, and until their logs say so.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use regex::Regex;

use crate::compose::{Container, Document, Health, Node, Status};

use super::{BEAT, DeployError, Tools};

/// How often docker may start a container again before that is a failure at once.
const MOST_RESTARTS: u64 = 3;

/// How long a container may have been at work before docker notes that it is.
const STARTING: SignedDuration = SignedDuration::from_secs(2);

/// What a look at one container says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Look {
    Good,
    Wait(String),
    Bad(String),
}

/// Services of which containers are expected.
pub fn expected(document: &Document) -> Vec<String> {
    let zero = |node: Option<&Node>| node.and_then(Node::as_str) == Some("0");
    let replicas = |node: &Node| zero(node.get("deploy").and_then(|deploy| deploy.get("replicas")));
    let is_meant = |node: &Node| !zero(node.get("scale")) && !replicas(node);
    let services = document.services().iter();
    services.filter(|(_, node)| is_meant(node)).map(|(name, _)| name.clone()).collect()
}

/// Waits until every service has containers that run (or ended well, if they are not to be started again), are
/// healthy if they can say so, and stay so for two looks.
pub fn wait(
    tools: &Tools,
    project: &str,
    services: &[String],
    limit: Duration,
) -> Result<(), DeployError> {
    tools.begin("health");
    let begun = tools.clock.elapsed();
    let mut first: BTreeMap<String, u64> = BTreeMap::new();
    let mut settled: Option<Vec<String>> = None;
    loop {
        let containers = tools.engine.containers(project)?;
        for one in &containers {
            first.entry(one.id.clone()).or_insert(one.restarts);
        }
        let problem = match assess(&containers, services, &first) {
            Look::Good => {
                let now: Vec<String> = containers
                    .iter()
                    .map(|one| format!("{}{}{:?}", one.id, one.started_at, one.status))
                    .collect();
                if settled.as_ref() == Some(&now) {
                    return Ok(());
                }
                settled = Some(now);
                "its containers do not keep running".to_owned()
            }
            Look::Wait(what) => {
                settled = None;
                what
            }
            Look::Bad(what) => return Err(DeployError::Step { step: "health", reason: what }),
        };
        if tools.clock.elapsed().saturating_sub(begun) > limit && settled.is_none() {
            let reason = format!("{problem} after {} s", limit.as_secs());
            return Err(DeployError::Step { step: "health", reason });
        }
        tools.pause(BEAT)?;
    }
}

/// One more look, at the end: whatever went bad meanwhile.
pub fn still_good(tools: &Tools, project: &str, services: &[String]) -> Result<(), DeployError> {
    let containers = tools.engine.containers(project)?;
    match assess(&containers, services, &BTreeMap::new()) {
        Look::Good => Ok(()),
        Look::Wait(reason) | Look::Bad(reason) => Err(DeployError::Step { step: "health", reason }),
    }
}

fn assess(containers: &[Container], services: &[String], first: &BTreeMap<String, u64>) -> Look {
    let missing =
        services.iter().find(|service| !containers.iter().any(|one| one.service == **service));
    if let Some(service) = missing {
        return Look::Wait(format!("service {service} has no container"));
    }
    let mut waiting = None;
    for one in containers.iter().filter(|one| services.contains(&one.service)) {
        let before = first.get(&one.id).copied().unwrap_or(one.restarts);
        match look(one, one.restarts.saturating_sub(before)) {
            Look::Good => {}
            Look::Wait(what) => waiting = Some(what),
            bad => return bad,
        }
    }
    waiting.map_or(Look::Good, Look::Wait)
}

fn look(one: &Container, restarts: u64) -> Look {
    let service = &one.service;
    if restarts >= MOST_RESTARTS {
        return Look::Bad(format!(
            "{service} was started again {restarts} times, last exit status {}",
            one.exit_code
        ));
    }
    match (one.status, one.health) {
        (Status::Running, Health::None | Health::Healthy) => Look::Good,
        (Status::Running, Health::Starting) => Look::Wait(format!("{service} is not healthy yet")),
        (Status::Running, Health::Unhealthy) => Look::Wait(format!("{service} is unhealthy")),
        (Status::Exited, _) if one.is_restarted => {
            Look::Wait(format!("{service} ended with exit status {}", one.exit_code))
        }
        (Status::Exited, _) if one.exit_code == 0 => Look::Good,
        (Status::Exited, _) => {
            Look::Bad(format!("{service} ended with exit status {}", one.exit_code))
        }
        (Status::Dead, _) => Look::Bad(format!("{service} is dead")),
        (Status::Created | Status::Restarting | Status::Removing | Status::Paused, _) => {
            Look::Wait(format!("{service} does not run"))
        }
    }
}

/// Waits for a line that fits, in what the containers wrote since they were started last: by this deployment,
/// unless it left them as they were.
pub fn wait_for_line(
    tools: &Tools,
    project: &str,
    pattern: &Regex,
    limit: Duration,
) -> Result<(), DeployError> {
    tools.begin("log");
    let begun = tools.clock.elapsed();
    loop {
        for one in tools.engine.containers(project)? {
            let log = tools.engine.logs(&one.id, Some(&shortly_before(&one.started_at)), None)?;
            if log.lines().any(|line| pattern.is_match(line)) {
                return Ok(());
            }
        }
        if tools.clock.elapsed().saturating_sub(begun) > limit {
            let reason = format!("no line fits `{pattern}` after {} s", limit.as_secs());
            return Err(DeployError::Step { step: "log", reason });
        }
        tools.pause(BEAT)?;
    }
}

/// Docker notes when a container began after it has begun: its first lines may be older than that.
fn shortly_before(time: &str) -> String {
    let earlier = time.parse::<Timestamp>().ok().and_then(|time| time.checked_sub(STARTING).ok());
    earlier.map_or_else(|| time.to_owned(), |time| time.to_string())
}

/// The last lines of every container, without secrets.
pub fn last_lines(tools: &Tools, project: &str, lines: u32) -> Vec<(String, String)> {
    let containers = tools.engine.containers(project).unwrap_or_default();
    let log = |one: &Container| {
        let text =
            tools.engine.logs(&one.id, None, Some(lines)).unwrap_or_else(|error| error.to_string());
        (one.service.clone(), tools.redactor.hide(&text))
    };
    containers.iter().map(log).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(service: &str, status: Status, health: Health) -> Container {
        Container {
            id: service.to_owned(),
            name: service.to_owned(),
            service: service.to_owned(),
            working_dir: String::new(),
            image: String::new(),
            status,
            exit_code: 0,
            health,
            started_at: String::new(),
            restarts: 0,
            is_restarted: false,
            variables: BTreeMap::new(),
        }
    }

    #[test]
    fn states_mean_good_bad_or_wait() {
        let services = ["a".to_owned(), "b".to_owned()];
        let assess = |all: &[Container]| assess(all, &services, &BTreeMap::new());
        let good = container("a", Status::Running, Health::Healthy);
        let once = container("b", Status::Exited, Health::None);
        assert_eq!(assess(&[good.clone(), once.clone()]), Look::Good);
        assert!(
            matches!(assess(std::slice::from_ref(&good)), Look::Wait(what) if what.contains('b'))
        );
        let failed = Container { exit_code: 3, ..once.clone() };
        assert!(
            matches!(assess(&[good.clone(), failed.clone()]), Look::Bad(what) if what.contains("status 3"))
        );
        let again = Container { is_restarted: true, ..failed };
        assert!(matches!(assess(&[good.clone(), again]), Look::Wait(_)));
        for health in [Health::Starting, Health::Unhealthy] {
            assert!(matches!(
                assess(&[good.clone(), container("b", Status::Running, health)]),
                Look::Wait(_)
            ));
        }
        assert!(matches!(
            assess(&[good, container("b", Status::Dead, Health::None)]),
            Look::Bad(_)
        ));
        assert!(matches!(look(&once, 3), Look::Bad(_)));
    }

    #[test]
    fn services_without_containers_are_not_expected() {
        let text = "services: {a: {}, b: {scale: 0}, c: {deploy: {replicas: 0}}, d: {deploy: {replicas: 2}}}";
        assert_eq!(expected(&Document::parse(text, "the test").unwrap()), ["a", "d"]);
    }
}
