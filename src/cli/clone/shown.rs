//! What is told of a copy, before and after, and the report that is left.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::anonymize::{Kept, Program, PseudonymKey, Rules};
use crate::clone::{
    Applied, CloneReport, CloneWork, FilesPlan, PreviewColumn, PreviewRow, Surveyed, html, tables,
};
use crate::event::counted;
use crate::instance::config::CloneConfig;
use crate::ops::restore_database::DatabasePlan;
use crate::report::{clean, human_bytes};

use super::super::context::{Context, zone};
use super::super::format::local_time;
use super::super::restore_database::duration_text;
use super::super::{CliError, Done};
use super::Source;

/// Rows copied and left out, by table.
pub(super) fn subset_of(kept: &Kept) -> Value {
    let tables = kept.0.iter().map(|(title, rows)| {
        let fields = json!({
            "kept": rows.kept.count(),
            "dropped": rows.dropped(),
            "references_erased": rows.references_erased(),
        });
        (title.clone(), fields)
    });
    Value::Object(tables.collect())
}

/// The same, for people.
pub(super) fn tell_subset(context: &Context, kept: &Kept) -> Result<(), CliError> {
    for (title, rows) in &kept.0 {
        let erased = match rows.references_erased() {
            0 => String::new(),
            count => format!(", {} made NULL", counted(count, "reference")),
        };
        context.out.note(&format!(
            "  table {}: {} of {} copied{erased}",
            clean(title),
            rows.kept.count(),
            counted(rows.kept.len(), "row")
        ))?;
    }
    Ok(())
}

/// Rows as they were, masked, and as they will be.
pub(super) fn show_preview(context: &Context, rows: &[PreviewRow]) -> Result<(), CliError> {
    for row in rows {
        let columns: Vec<Value> = row
            .columns
            .iter()
            .map(|column| {
                let PreviewColumn { name, before, after, is_kept } = column;
                json!({ "name": name, "before": before, "after": after, "kept": is_kept })
            })
            .collect();
        context.out.record(
            "preview",
            &json!({ "table": row.table, "row": row.number, "columns": columns }),
        )?;
        context.out.line(&format!("table {}, row {}", clean(&row.table), row.number))?;
        let width = row.columns.iter().map(|column| column.name.chars().count()).max();
        let width = width.unwrap_or(0);
        for column in &row.columns {
            let after = column.after.as_deref().map_or("NULL".to_owned(), clean);
            let mark = if column.is_kept { "kept" } else { "->" };
            context.out.line(&format!(
                "  {:width$}  {:16} {mark:4}  {after}",
                clean(&column.name),
                clean(&column.before)
            ))?;
        }
    }
    Ok(())
}

/// What is told of a copy, before and after.
pub(super) struct Shown<'a> {
    pub context: &'a Context,
    pub source: &'a Source,
    pub to: &'a str,
    pub rules: &'a Rules,
    pub plan: &'a DatabasePlan,
    pub files: &'a FilesPlan,
    pub kept: &'a Kept,
}

impl Shown<'_> {
    pub fn show(&self, program: &Program, surveyed: &Surveyed) -> Result<(), CliError> {
        let out = &self.context.out;
        let (id, snapshot) = &self.source.selected;
        let emptied = program.tables.iter().filter(|table| table.is_emptied);
        let emptied: Vec<&str> = emptied.map(|table| table.title.as_str()).collect();
        let made: Vec<String> = self.files.made.values().map(|p| p.display().to_string()).collect();
        out.record(
            "plan",
            &json!({
                "snapshot": id,
                "from": snapshot.instance,
                "to": self.to,
                "database": self.plan.target,
                "server": self.plan.server,
                "rules": self.rules.path.display().to_string(),
                "rules_fingerprint": self.rules.fingerprint,
                "tables": program.tables.len(),
                "emptied": emptied,
                "rows_surveyed": surveyed.rows,
                "subset": subset_of(self.kept),
                "identifiers": surveyed.originals.identifiers.len(),
                "full_names": surveyed.originals.pairs.len(),
                "fingerprint_bytes": surveyed.originals.bytes(),
                "replaces_bytes": self.plan.replaces,
                "sessions": self.plan.sessions,
                "directories": made,
            }),
        )?;
        let zone = zone(&self.source.settings);
        out.note(&format!(
            "copy snapshot {} of {} from {} into {}, database {} ({})",
            id.short(),
            clean(&snapshot.instance),
            local_time(snapshot.start, &zone),
            clean(self.to),
            clean(&self.plan.target),
            clean(&self.plan.server)
        ))?;
        out.note(&format!(
            "  rules {} ({}): {}, of these {} emptied; {} rows looked at",
            clean(&self.rules.path.display().to_string()),
            self.rules.fingerprint,
            counted(program.tables.len(), "table"),
            emptied.len(),
            surveyed.rows
        ))?;
        out.note(&format!(
            "  looked for in everything copied: {} identifiers, {} full names ({} of memory)",
            surveyed.originals.identifiers.len(),
            surveyed.originals.pairs.len() / 2,
            human_bytes(surveyed.originals.bytes() as u64)
        ))?;
        tell_subset(self.context, self.kept)?;
        match self.plan.replaces {
            None => out.note("  there is no database of this name yet")?,
            Some(bytes) => out.note(&format!(
                "  REPLACES the database that is there ({}, {} sessions), which is kept for {}",
                human_bytes(bytes),
                self.plan.sessions,
                duration_text(self.plan.options.keep)
            ))?,
        }
        for place in self.files.made.values() {
            let place = clean(&place.display().to_string());
            out.note(&format!("  REPLACES {place} by placeholders of the files that rows name"))?;
        }
        out.flush()
    }

    pub fn report(
        &self,
        work: &CloneWork<'_>,
        applied: &Applied,
        key: &PseudonymKey,
    ) -> CloneReport {
        let (id, snapshot) = &self.source.selected;
        let zone = zone(&self.source.settings);
        CloneReport {
            from: snapshot.instance.clone(),
            to: self.to.to_owned(),
            snapshot: id.to_string(),
            snapshot_time: local_time(snapshot.start, &zone),
            time: work.time.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
            database: self.plan.target.clone(),
            rules: self.rules.path.display().to_string(),
            rules_fingerprint: self.rules.fingerprint.clone(),
            key_id: key.id(),
            program: format!("mrs-backup {}", env!("CARGO_PKG_VERSION")),
            tables: tables(work.program, &applied.counts, work.kept),
            groups: applied.groups.clone(),
            identifiers_looked_for: work.surveyed.originals.identifiers.len(),
            names_looked_for: work.surveyed.originals.pairs.len() / 2,
            files_made: applied.files_made,
            files_dropped: self.files.dropped.clone().into_iter().collect(),
        }
    }

    pub fn tell(&self, applied: &Applied, report: &Path) -> Result<Done, CliError> {
        let out = &self.context.out;
        let target = clean(&self.plan.target);
        let rows: u64 = applied.counts.values().map(|counts| counts.rows).sum();
        out.note(&format!(
            "{} has an anonymized copy of snapshot {}: {rows} rows, {} objects checked, {}",
            clean(self.to),
            self.plan.id.short(),
            applied.outcome.objects,
            counted(applied.files_made, "placeholder")
        ))?;
        out.note(&format!("  report: {}", clean(&report.display().to_string())))?;
        if let Some(kept) = &applied.outcome.kept {
            out.note(&format!(
                "  what it was before is kept as {} for {}; back to it: mrs-backup undo -i {} --database {target}",
                clean(kept),
                duration_text(self.plan.options.keep),
                clean(self.to)
            ))?;
        }
        let kept = applied.directories.iter().filter_map(|directory| directory.kept.as_ref());
        let kept: Vec<String> = kept.map(|path| path.display().to_string()).collect();
        Ok(Done::ok(json!({
            "snapshot": self.plan.id,
            "database": self.plan.target,
            "rows": rows,
            "subset": subset_of(self.kept),
            "objects": applied.outcome.objects,
            "files_made": applied.files_made,
            "kept": applied.outcome.kept,
            "kept_directories": kept,
            "report": report.display().to_string(),
        })))
    }
}

/// Leaves the report, as a page and as JSON; gives the page.
pub(super) fn write_report(
    report: &CloneReport,
    config: &CloneConfig,
    state_dir: &Path,
) -> Result<PathBuf, CliError> {
    let directory = config.reports.clone().unwrap_or_else(|| state_dir.join("clones"));
    let failed = |error: std::io::Error| {
        CliError::io(format!("write the report below {}", directory.display()), &error)
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
    let day = report.time.get(..19).unwrap_or_default().replace([' ', ':'], "-");
    let name = format!("{}-{day}", report.to);
    let json: Value = serde_json::to_value(report).unwrap_or_default();
    let json = serde_json::to_string_pretty(&json).unwrap_or_default();
    let page = directory.join(format!("{name}.html"));
    for (path, text) in
        [(directory.join(format!("{name}.json")), json), (page.clone(), html(report))]
    {
        let temporary = path.with_extension("tmp");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&temporary, &path).map_err(failed)?;
    }
    fs::File::open(&directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    Ok(page)
}
