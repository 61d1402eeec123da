//! A plan, for people and programs.

use serde_json::json;

use crate::deploy::Tools;
use crate::deploy::plan::Plan;
use crate::deploy::settings::DeploySettings;
use crate::event::counted;
use crate::report::clean;

use super::super::CliError;
use super::super::context::Context;

/// Tells what will be done.
pub fn plan(
    context: &Context,
    tools: &Tools,
    settings: &DeploySettings,
    plan: &Plan,
) -> Result<(), CliError> {
    let out = &context.out;
    let directories: Vec<String> =
        plan.directories.iter().map(|one| one.path.display().to_string()).collect();
    let good = plan.good.as_ref().map(|record| record.number);
    out.record(
        "plan",
        &json!({
            "project": settings.project.name,
            "home": settings.project.directory,
            "compose": tools.compose.told(),
            "files": settings.source.files,
            "is_first": plan.is_first,
            "good": good,
            "unfinished": plan.unfinished,
            "unset": plan.unset,
            "empty": plan.empty,
            "changes": plan.changes,
            "directories": directories,
            "networks": plan.networks,
        }),
    )?;
    out.note(&format!(
        "deploy {} as project {} in {} ({})",
        clean(&settings.name),
        settings.project.name,
        clean(&settings.project.directory.display().to_string()),
        tools.compose.told()
    ))?;
    if let Some(number) = plan.unfinished {
        out.note(&format!(
            "  deployment {number} was interrupted; this one goes on from what is there"
        ))?;
    }
    if !plan.unset.is_empty() {
        out.note(&format!("  not set, and replaced by nothing: {}", plan.unset.join(", ")))?;
    }
    if !plan.empty.is_empty() {
        out.note(&format!("  not set, and left out: {}", clean(&plan.empty.join(", "))))?;
    }
    match plan.changes.len() {
        0 => out.note("  the compose file stays as it is")?,
        count => out.note(&format!("  {} in the compose file:", counted(count, "difference")))?,
    }
    for change in &plan.changes {
        out.note(&format!("    {}", clean(&change.to_string())))?;
    }
    for one in &plan.directories {
        let path = one.path.display().to_string();
        let owner =
            one.owner.map_or_else(String::new, |(user, group)| format!(", owner {user}:{group}"));
        let mode = one.mode.map_or_else(String::new, |mode| format!(", mode {mode:04o}"));
        out.note(&format!("  directory {}{owner}{mode}", clean(&path)))?;
    }
    for network in &plan.networks {
        out.note(&format!("  network {} is to be made", clean(network)))?;
    }
    if plan.is_first {
        out.note("  it is the first deployment: there is nothing to save")?;
    }
    out.flush()
}
