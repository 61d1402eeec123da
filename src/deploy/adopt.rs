//! A stack that another tool deployed: what runs becomes the first deployment, so that there is a way back to it.

use std::collections::BTreeMap;

use crate::compose::{Document, Node};

use super::history::History;
use super::plan::without_builds;
use super::settings::DeploySettings;
use super::{DeployError, ImageUse, Kind, Record, State, Tools, files, images};

/// Longest compose file.
const LONGEST: u64 = 16 << 20;

/// Takes note of what runs in a home that has no history yet. That it cannot be taken over is told: then there is
/// no way back by itself.
pub fn adopt(
    tools: &Tools,
    settings: &DeploySettings,
    history: &mut History,
) -> Result<(), DeployError> {
    if !history.records().is_empty() || history.next_number() > 1 {
        return Ok(());
    }
    let path = settings.project.file();
    let Some(bytes) = files::read(&path, LONGEST)? else { return Ok(()) };
    let found = Document::parse(&String::from_utf8_lossy(&bytes), &path.display().to_string())?;
    let Some((document, used)) = with_running_images(tools, settings, &found)? else {
        return Ok(());
    };
    let text = document.to_yaml();
    if let Err(error) = tools.compose.validate(&settings.project, &text) {
        tools.warn("adopt", &format!("the stack that is there has no way back: {error}"));
        return Ok(());
    }
    let now = tools.clock.now();
    history.put_compose_file(1, &text)?;
    history.put(&Record {
        v: 1,
        number: 1,
        kind: Kind::Deploy,
        state: State::Good,
        begun: now,
        ended: Some(now),
        commit: images::commit(tools, &settings.project.name),
        images: used,
        snapshot: None,
        saved: None,
        migrations: None,
        since: 0,
        reason: None,
    })?;
    tools.notice("adopt", "what another tool deployed here is deployment 1 from now on");
    Ok(())
}

type Running = (Document, BTreeMap<String, ImageUse>);

/// The document with the images that its containers are made of, by names that stay; `None` if nothing runs.
fn with_running_images(
    tools: &Tools,
    settings: &DeploySettings,
    found: &Document,
) -> Result<Option<Running>, DeployError> {
    let project = &settings.project.name;
    let containers = tools.engine.containers(project)?;
    if containers.is_empty() {
        return Ok(None);
    }
    let mut document = without_builds(found);
    let mut used = BTreeMap::new();
    for (service, node) in found.services() {
        let Some(container) = containers.iter().find(|one| one.service == *service) else {
            continue;
        };
        let name = images::image_name(tools, settings, service, node);
        let Some(image) = tools.engine.image(&container.image)? else { continue };
        let reference = images::stable_name(project, service, &name, &image, 1, None);
        if !image.digests.contains(&reference) {
            tools.engine.tag(&image.id, &reference)?;
        }
        if let Some(node) = document.service_mut(service) {
            node.set("image", Node::text(reference.clone()));
        }
        used.insert(service.clone(), ImageUse { name, id: image.id, reference });
    }
    Ok(Some((document, used)))
}
