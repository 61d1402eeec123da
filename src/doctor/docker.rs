//! Docker and compose: there, and answering.

use std::path::PathBuf;

use super::ask::{ask, ask_named};
use super::{Finding, Patient};

/// Names a compose file has.
pub(super) const COMPOSE_FILES: [&str; 4] =
    ["docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml"];

/// Docker's client, if the instance has to do with docker.
pub(super) fn client(patient: &Patient<'_>) -> Option<PathBuf> {
    let instance = patient.instance;
    let container = instance.postgres.as_ref().and_then(|postgres| postgres.container.as_ref());
    if let Some(container) = container {
        return Some(container.value.docker.clone());
    }
    let home = &instance.home.value;
    let has_file = COMPOSE_FILES.iter().any(|name| home.join(name).exists());
    has_file.then(|| PathBuf::from("docker"))
}

/// Looks whether both answer.
pub(super) fn docker(patient: &Patient<'_>) -> Vec<Finding> {
    let Some(docker) = client(patient) else { return Vec::new() };
    let engine = match ask(patient, &docker, &["version", "--format", "{{.Server.Version}}"]) {
        Ok(version) => Finding::ok(format!("docker {} answers", version.trim())),
        Err(reason) => Finding::error(
            format!("docker does not answer: {reason}"),
            "systemctl start docker; journalctl -u docker",
        ),
    };
    vec![engine, compose(patient, &docker)]
}

fn compose(patient: &Patient<'_>, docker: &std::path::Path) -> Finding {
    let plugin = ask(patient, docker, &["compose", "version", "--short"]);
    let version = plugin.map(|text| ("docker compose", text)).or_else(|_| {
        ask_named(patient, "docker-compose", &["version", "--short"])
            .map(|text| ("docker-compose", text))
    });
    match version {
        Ok((name, text)) => {
            Finding::ok(format!("{name} {} is there", text.trim().trim_start_matches('v')))
        }
        Err(_) => Finding::warning(
            "there is neither `docker compose` nor `docker-compose`: nothing can be deployed or put in place again",
            "apt-get install docker-compose-v2 || apt-get install docker-compose",
        ),
    }
}
