//! What a deployment will do. Nothing is changed by finding out.

use crate::compose::{
    Change, Directory, Document, Node, apply_overrides, difference, directories, external_networks,
};

use super::history::History;
use super::settings::DeploySettings;
use super::{DeployError, Record, Tools, files};

/// Longest compose file that is compared.
const LONGEST: u64 = 16 << 20;

/// What will be done.
#[derive(Debug)]
pub struct Plan {
    /// The merged document, changed as asked, with builds.
    pub document: Document,
    /// Variables that were asked for and are replaced by nothing.
    pub unset: Vec<String>,
    /// Variables of services that stay without a value: `service.NAME`.
    pub empty: Vec<String>,
    /// What differs from what is deployed.
    pub changes: Vec<Change>,
    /// Directories that labels ask for.
    pub directories: Vec<Directory>,
    /// Networks to be made.
    pub networks: Vec<String>,
    /// There is nothing to save yet.
    pub is_first: bool,
    /// The deployment that is the way back.
    pub good: Option<Record>,
    /// The last one, if it did not come to an end.
    pub unfinished: Option<u32>,
    /// Deployments since the good one that left things changed.
    pub open_ends: Vec<Record>,
}

/// Finds out what a deployment will do; teaches `tools` what is secret.
pub fn plan(
    tools: &mut Tools,
    settings: &DeploySettings,
    history: &History,
) -> Result<Plan, DeployError> {
    let missing = settings.missing();
    if !missing.is_empty() {
        return Err(DeployError::Unset { names: missing });
    }
    tools.engine.version()?;
    let containers = tools.engine.containers(&settings.project.name)?;
    let home = settings.project.directory.display().to_string();
    if let Some(other) = containers.iter().find(|one| one.working_dir != home) {
        return Err(DeployError::Taken {
            project: settings.project.name.clone(),
            directory: other.working_dir.clone(),
        });
    }
    let rendered = tools.compose.render(&settings.project, &settings.source)?;
    let mut document = rendered.document;
    apply_overrides(&mut document, &settings.overrides)?;
    if document.services().is_empty() {
        return Err(DeployError::request(
            "the compose files have no service",
            "look at them; compose=FILE,FILE names others",
        ));
    }
    tools.redactor.learn_document(&document);
    tools
        .compose
        .validate(&settings.project, &document.to_yaml())
        .map_err(|error| tools.hidden(error.into()))?;
    let directories = directories(&document)?;
    let before = deployed(settings)?;
    if let Some(before) = &before {
        tools.redactor.learn_document(before);
    }
    // Images are compared by their names: digests are found later.
    let changes = difference(
        before.as_ref().map(without_builds).as_ref(),
        &without_builds(&document),
        &tools.redactor,
    );
    let known = tools.engine.networks()?;
    let mut networks = external_networks(&document);
    networks.retain(|name| !known.contains(name));
    Ok(Plan {
        empty: empty_variables(&document),
        unset: rendered.unset,
        changes,
        directories,
        networks,
        is_first: before.is_none() && containers.is_empty() && history.records().is_empty(),
        good: history.good().cloned(),
        unfinished: history.unfinished().map(|record| record.number),
        open_ends: history.open_ends().into_iter().cloned().collect(),
        document,
    })
}

/// What is in the home now, whoever put it there.
fn deployed(settings: &DeploySettings) -> Result<Option<Document>, DeployError> {
    let path = settings.project.file();
    let Some(bytes) = files::read(&path, LONGEST)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(Document::parse(&text, &path.display().to_string())?))
}

/// A document as it is deployed: images are there by then.
pub(super) fn without_builds(document: &Document) -> Document {
    let mut document = document.clone();
    let names: Vec<String> = document.services().iter().map(|(name, _)| name.clone()).collect();
    for name in names {
        if let Some(service) = document.service_mut(&name) {
            service.remove("build");
            service.remove("pull_policy");
        }
    }
    document
}

fn empty_variables(document: &Document) -> Vec<String> {
    let mut found = Vec::new();
    for (service, node) in document.services() {
        let entries = node.get("environment").map_or(&[][..], Node::entries);
        let empty = entries.iter().filter(|(_, value)| value.is_null());
        found.extend(empty.map(|(name, _)| format!("{service}.{name}")));
    }
    found
}
