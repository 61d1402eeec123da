//! What a snapshot knows of an instance's containers: what they wrote since the snapshot before, which commit and
//! images they run, and the compose file they were made of.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::compose::{Container, Engine, Programs, Project, Status, base_environment};
use crate::event::{Event, Observer, StopFlag};
use crate::repository::Repository;
use crate::source::container_logs::{ContainerLogs, KIND, LoggedContainer, UNTIL};

use super::config::Instance;

/// Digits of an image's id in a tag.
const DIGITS: usize = 12;

/// The containers of an instance, as they are now.
#[derive(Default)]
pub(super) struct Stack {
    /// `commit=...` and `image=SERVICE@sha256:...`.
    pub tags: Vec<String>,
    /// Their logs; `None` without containers.
    pub logs: Option<ContainerLogs>,
    /// The file they were made of, below the home.
    pub file: Option<PathBuf>,
}

/// Looks at the containers of an instance that is deployed with compose; `None` for others. That docker does not
/// answer, or that nothing runs, is told, and nothing is started: somebody may have stopped it on purpose.
pub(super) fn look(
    instance: &Instance,
    since: Option<Timestamp>,
    now: Timestamp,
    stop: &Arc<StopFlag>,
    observer: &Arc<dyn Observer>,
) -> Option<Stack> {
    let deploy = instance.deploy.as_ref()?;
    let home = &instance.home.value;
    let file = Some(PathBuf::from("docker-compose.yml")).filter(|file| home.join(file).is_file());
    let mut stack = Stack { tags: Vec::new(), logs: None, file };
    let tell = |message: String| {
        observer.event(&Event::Warning { item: "containers".to_owned(), message });
    };
    let name = match (&deploy.project, Project::try_from(home.as_path())) {
        (Some(name), _) => name.value.clone(),
        (None, Ok(project)) => project.name,
        (None, Err(error)) => {
            tell(error.to_string());
            return Some(stack);
        }
    };
    let environment = base_environment(std::env::vars_os());
    let engine = Engine::new(Arc::new(Programs { stop: Arc::clone(stop) }), environment.clone());
    let found = match engine.containers(&name) {
        Ok(found) => found,
        Err(error) => {
            tell(format!("their logs are not in the snapshot: {error}"));
            return Some(stack);
        }
    };
    let own = found.into_iter().filter(|one| Path::new(&one.working_dir) == home.as_path());
    let containers: Vec<Container> = own.collect();
    let running = containers.iter().filter(|one| one.status == Status::Running).count();
    if running == 0 {
        let what = if containers.is_empty() { "there are none" } else { "none of them runs" };
        tell(format!("{what}: the stack of {} is down, and stays so", instance.name));
    }
    stack.tags = tags(&containers);
    if !containers.is_empty() {
        let logged =
            |one: &Container| LoggedContainer { id: one.id.clone(), name: one.name.clone() };
        let list = containers.iter().map(logged).collect();
        stack.logs =
            Some(ContainerLogs::new(&name, list, (since, now), environment, Arc::clone(stop)));
    }
    Some(stack)
}

fn tags(containers: &[Container]) -> Vec<String> {
    let is_tag = |text: &&String| {
        (4..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let commits =
        containers.iter().filter_map(|one| one.variables.get("GIT_COMMIT")).filter(is_tag);
    let mut tags: Vec<String> = commits.map(|commit| format!("commit={commit}")).collect();
    tags.extend(containers.iter().map(|one| {
        let id: String = one.image.trim_start_matches("sha256:").chars().take(DIGITS).collect();
        format!("image={}@sha256:{id}", one.service)
    }));
    tags.sort();
    tags.dedup();
    tags
}

/// Up to when the newest snapshot has logs.
pub(super) fn logged_until(repository: &Repository, instance: &Instance) -> Option<Timestamp> {
    instance.deploy.as_ref()?;
    let snapshots = repository.snapshots().ok()?.snapshots;
    let own = snapshots.into_iter().filter(|(_, snapshot)| snapshot.instance == instance.name);
    let times = own.flat_map(|(_, snapshot)| snapshot.sources).filter(|source| source.kind == KIND);
    let whole = times.filter(|source| source.incomplete.is_empty());
    whole.filter_map(|source| source.details.get(UNTIL)?.parse().ok()).max()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::compose::Health;

    #[test]
    fn tags_tell_commit_and_images() {
        let container = |service: &str, commit: &str| Container {
            id: String::new(),
            name: String::new(),
            service: service.to_owned(),
            working_dir: String::new(),
            image: "sha256:0123456789abcdef".to_owned(),
            status: Status::Running,
            exit_code: 0,
            health: Health::None,
            started_at: String::new(),
            restarts: 0,
            is_restarted: false,
            variables: BTreeMap::from([("GIT_COMMIT".to_owned(), commit.to_owned())]),
        };
        let found = tags(&[
            container("django", "4c0ffee"),
            container("worker", "4c0ffee"),
            container("db", "a b"),
        ]);
        let expected = [
            "commit=4c0ffee",
            "image=db@sha256:0123456789ab",
            "image=django@sha256:0123456789ab",
            "image=worker@sha256:0123456789ab",
        ];
        assert_eq!(found, expected);
    }
}
