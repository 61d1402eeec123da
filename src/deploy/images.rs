//! Images of a deployment: built or pulled, and named so that they stay what they are.
//!
//! A name like `mrs:master` means another image tomorrow. What is deployed names its images by a registry's digest,
//! or, where no registry knows them, by a name of our own that nobody else moves. So a way back leads to the same
//! image.

use std::collections::BTreeMap;

use crate::compose::{ComposeError, Document, Image, Node};

use super::plan::without_builds;
use super::settings::DeploySettings;
use super::{DeployError, ImageUse, Record, Tools};

/// What a service's image is called, if its file does not say.
pub(super) fn image_name(
    tools: &Tools,
    settings: &DeploySettings,
    service: &str,
    node: &Node,
) -> String {
    match node.get("image").and_then(Node::as_str) {
        Some(name) => name.to_owned(),
        None => {
            let separator = if tools.compose.is_first() { '_' } else { '-' };
            format!("{}{separator}{service}", settings.project.name)
        }
    }
}

/// Builds and pulls what is asked for or missing; gives the document that is deployed, and its images.
pub fn resolve(
    tools: &Tools,
    settings: &DeploySettings,
    document: &Document,
    number: u32,
    earlier: Option<&Record>,
) -> Result<(Document, BTreeMap<String, ImageUse>), DeployError> {
    let names: BTreeMap<String, String> = document
        .services()
        .iter()
        .map(|(service, node)| (service.clone(), image_name(tools, settings, service, node)))
        .collect();
    let (mut build, mut pull) = (Vec::new(), Vec::new());
    for (service, node) in document.services() {
        let Some(name) = names.get(service) else { continue };
        let is_built = node.get("build").is_some();
        let is_here = tools.engine.image(name)?.is_some();
        if is_built && (settings.build || !is_here) {
            build.push(service.clone());
        } else if !is_built && is_pulled(node, settings.pull, is_here) {
            pull.push((service, name));
        }
    }
    let text = document.to_yaml();
    pull_each(tools, settings, &text, pull)?;
    if !build.is_empty() {
        tools.begin("build");
        tools.compose.build(&settings.project, &text, &build)?;
    }
    let mut deployed = without_builds(document);
    let mut images = BTreeMap::new();
    for (service, name) in names {
        let image = tools.engine.image(&name)?.ok_or_else(|| {
            DeployError::request(
                format!("image {name} of service {service} is not there"),
                "look whether its name is right; pull=1 pulls, build=1 builds",
            )
        })?;
        let before = earlier.and_then(|record| record.images.get(&service));
        let reference =
            stable_name(&settings.project.name, &service, &name, &image, number, before);
        if !image.digests.contains(&reference)
            && before.is_none_or(|before| before.reference != reference)
        {
            tools.engine.tag(&image.id, &reference)?;
        }
        if let Some(node) = deployed.service_mut(&service) {
            node.set("image", Node::text(reference.clone()));
        }
        images.insert(service, ImageUse { name, id: image.id, reference });
    }
    Ok((deployed, images))
}

/// Whether the image of a service that is not built is asked of its registry: what the service's own `pull_policy`
/// says goes before `pull=1`.
fn is_pulled(node: &Node, is_wanted: bool, is_here: bool) -> bool {
    match node.get("pull_policy").and_then(Node::as_str) {
        Some("never") => false,
        Some("missing" | "if_not_present") => !is_here,
        _ => is_wanted || !is_here,
    }
}

/// One after the other, each image once: so it is known which one cannot be had.
fn pull_each(
    tools: &Tools,
    settings: &DeploySettings,
    text: &str,
    mut services: Vec<(&String, &String)>,
) -> Result<(), DeployError> {
    if services.is_empty() {
        return Ok(());
    }
    tools.begin("pull");
    services.sort_by_key(|(_, image)| *image);
    services.dedup_by_key(|(_, image)| *image);
    for (service, image) in services {
        tools.compose.pull(&settings.project, text, service).map_err(|error| match error {
            ComposeError::Failed { said, .. } => DeployError::Pull {
                service: service.clone(),
                image: image.clone(),
                reason: tools.redactor.hide(&said),
            },
            other => other.into(),
        })?;
    }
    Ok(())
}

/// A name that stays: that of a registry by digest, the one an unchanged image has already, or a new one.
pub(super) fn stable_name(
    project: &str,
    service: &str,
    name: &str,
    image: &Image,
    number: u32,
    before: Option<&ImageUse>,
) -> String {
    let repository = repository_of(name);
    let digest = image.digests.iter().find(|digest| digest.split('@').next() == Some(repository));
    match (digest, before) {
        (Some(digest), _) => digest.clone(),
        (None, Some(before)) if before.id == image.id && !before.reference.contains('@') => {
            before.reference.clone()
        }
        // Names of images are in small letters; those of services need not be.
        (None, _) => format!("mrs-backup/{project}-{}:deploy-{number}", service.to_lowercase()),
    }
}

/// A name without tag and digest.
fn repository_of(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    match name.rsplit_once(':') {
        // A port of a registry is followed by a path.
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// The commit of the application: what the image of a service says of itself.
pub fn commit(tools: &Tools, project: &str) -> Option<String> {
    let containers = tools.engine.containers(project).ok()?;
    let commit = containers.iter().find_map(|one| one.variables.get("GIT_COMMIT"))?;
    let is_commit = |text: &&String| {
        (4..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric())
    };
    Some(commit).filter(is_commit).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_says_of_pulling_goes_before_what_is_asked() {
        let asked = |policy: &str| {
            let text = format!("services: {{x: {{image: a, {policy}}}}}");
            let document = Document::parse(&text, "x").unwrap();
            let node = &document.services()[0].1;
            let all = [(false, false), (false, true), (true, false), (true, true)];
            all.map(|(is_wanted, is_here)| is_pulled(node, is_wanted, is_here))
        };
        assert_eq!(asked("tty: true"), [true, false, true, true]);
        assert_eq!(asked("pull_policy: always"), [true, false, true, true]);
        assert_eq!(asked("pull_policy: never"), [false; 4]);
        assert_eq!(asked("pull_policy: missing"), [true, false, true, false]);
    }

    #[test]
    fn images_are_named_so_that_they_stay() {
        let image = |digests: &[&str]| Image {
            id: "sha256:1".to_owned(),
            digests: digests.iter().map(|text| (*text).to_owned()).collect(),
        };
        let of = |name: &str, digests: &[&str], before: Option<&ImageUse>| {
            stable_name("mrs", "Django", name, &image(digests), 7, before)
        };
        let digests = ["other@sha256:9", "localhost:5000/a/mrs@sha256:8"];
        assert_eq!(of("localhost:5000/a/mrs:master", &digests, None), digests[1]);
        assert_eq!(of("mrs", &digests, None), "mrs-backup/mrs-django:deploy-7");
        let before = ImageUse {
            name: "mrs".into(),
            id: "sha256:1".into(),
            reference: "mrs-backup/mrs-django:deploy-3".into(),
        };
        assert_eq!(of("mrs", &[], Some(&before)), before.reference, "unchanged");
        let other = ImageUse { id: "sha256:2".into(), ..before };
        assert_eq!(of("mrs:x", &[], Some(&other)), "mrs-backup/mrs-django:deploy-7");
        assert_eq!(repository_of("localhost:5000/a"), "localhost:5000/a");
        assert_eq!(repository_of("a:1@sha256:2"), "a");
    }
}
