//! What is told of a copy, before and after, and the report that is left.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::anonymize::title;
use crate::clone::{
    CloneReport, CloneWork, FilesPlan, Header, PreviewColumn, Replaced, SubsetHeader, TableReport,
    html, preview,
};
use crate::event::counted;
use crate::instance::config::CloneConfig;
use crate::ops::restore_database::DatabasePlan;
use crate::report::{clean, human_bytes};

use super::super::context::Context;
use super::super::format::local_time;
use super::super::restore_database::duration_text;
use super::super::{CliError, Done};

/// Rows copied and left out, by table.
pub(super) fn subset_of(subset: &[SubsetHeader]) -> Value {
    let tables = subset.iter().map(|one| {
        let fields = json!({
            "kept": one.kept, "dropped": one.dropped, "references_erased": one.erased,
        });
        (one.table.clone(), fields)
    });
    Value::Object(tables.collect())
}

/// The same, for people.
pub(super) fn tell_subset(context: &Context, subset: &[SubsetHeader]) -> Result<(), CliError> {
    for one in subset {
        let erased = match one.erased {
            0 => String::new(),
            count => format!(", {} made NULL", counted(count, "reference")),
        };
        context.out.note(&format!(
            "  table {}: {} of {} copied{erased}",
            clean(&one.table),
            one.kept,
            counted(one.kept.saturating_add(one.dropped), "row")
        ))?;
    }
    Ok(())
}

/// Some rows as they were, masked, and as they will be.
pub(super) fn show_preview(
    context: &Context,
    work: &CloneWork<'_>,
    count: Option<u16>,
) -> Result<(), CliError> {
    for row in preview(work, count.map_or(0, usize::from))? {
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
    pub header: &'a Header,
    pub to: &'a str,
    pub plan: &'a DatabasePlan,
    pub files: &'a FilesPlan,
    pub zone: TimeZone,
}

impl Shown<'_> {
    pub fn show(&self) -> Result<(), CliError> {
        let (out, header) = (&self.context.out, self.header);
        let emptied = header.database.tables.iter().filter(|table| table.is_emptied);
        let emptied: Vec<String> = emptied.map(|table| title(&table.schema, &table.name)).collect();
        let made: Vec<String> = self.files.made.values().map(|p| p.display().to_string()).collect();
        let tables = header.database.tables.len();
        out.record(
            "plan",
            &json!({
                "snapshot": header.snapshot,
                "from": header.from,
                "to": self.to,
                "database": self.plan.target,
                "server": self.plan.server,
                "rules": header.rules,
                "rules_fingerprint": header.rules_fingerprint,
                "tables": tables,
                "emptied": emptied,
                "rows_surveyed": header.rows_surveyed,
                "subset": subset_of(&header.subset),
                "identifiers": header.identifiers,
                "full_names": header.names,
                "fingerprint_bytes": header.fingerprint_bytes,
                "replaces_bytes": self.plan.replaces,
                "sessions": self.plan.sessions,
                "directories": made,
            }),
        )?;
        out.note(&format!(
            "copy snapshot {} of {} from {} into {}, database {} ({})",
            self.plan.id.short(),
            clean(&header.from),
            local_time(header.snapshot_time, &self.zone),
            clean(self.to),
            clean(&self.plan.target),
            clean(&self.plan.server)
        ))?;
        out.note(&format!(
            "  rules {} ({}): {}, of these {} emptied; {} rows looked at",
            clean(&header.rules),
            clean(&header.rules_fingerprint),
            counted(tables, "table"),
            emptied.len(),
            header.rows_surveyed
        ))?;
        out.note(&format!(
            "  looked for in everything copied: {} identifiers, {} full names ({} of memory)",
            header.identifiers,
            header.names,
            human_bytes(header.fingerprint_bytes as u64)
        ))?;
        tell_subset(self.context, &header.subset)?;
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
        tables: Vec<TableReport>,
        replaced: &Replaced,
        time: Timestamp,
        files_made: u64,
    ) -> CloneReport {
        let header = self.header;
        CloneReport {
            from: header.from.clone(),
            to: self.to.to_owned(),
            snapshot: header.snapshot.clone(),
            snapshot_time: local_time(header.snapshot_time, &self.zone),
            time: time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
            database: self.plan.target.clone(),
            rules: header.rules.clone(),
            rules_fingerprint: header.rules_fingerprint.clone(),
            key_id: header.key_id.clone(),
            program: header.program.clone(),
            tables,
            groups: replaced.groups.clone(),
            identifiers_looked_for: header.identifiers,
            names_looked_for: header.names,
            files_made,
            files_dropped: self.files.dropped.clone().into_iter().collect(),
        }
    }

    pub fn tell(
        &self,
        report: &CloneReport,
        replaced: &Replaced,
        place: &Path,
    ) -> Result<Done, CliError> {
        let out = &self.context.out;
        let target = clean(&self.plan.target);
        let rows: u64 = report.tables.iter().map(|table| table.rows).sum();
        out.note(&format!(
            "{} has an anonymized copy of snapshot {}: {rows} rows, {} objects checked, {}",
            clean(self.to),
            self.plan.id.short(),
            replaced.outcome.objects,
            counted(report.files_made, "placeholder")
        ))?;
        out.note(&format!("  report: {}", clean(&place.display().to_string())))?;
        if let Some(kept) = &replaced.outcome.kept {
            out.note(&format!(
                "  what it was before is kept as {} for {}; back to it: mrs-backup undo -i {} --database {target}",
                clean(kept),
                duration_text(self.plan.options.keep),
                clean(self.to)
            ))?;
        }
        let kept = replaced.directories.iter().filter_map(|directory| directory.kept.as_ref());
        let kept: Vec<String> = kept.map(|path| path.display().to_string()).collect();
        Ok(Done::ok(json!({
            "snapshot": self.plan.id,
            "database": self.plan.target,
            "rows": rows,
            "subset": subset_of(&self.header.subset),
            "objects": replaced.outcome.objects,
            "files_made": report.files_made,
            "kept": replaced.outcome.kept,
            "kept_directories": kept,
            "report": place.display().to_string(),
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
