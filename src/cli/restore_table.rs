//! `restore --database --table`: one table beside the live one.

use serde_json::{Value, json};

use crate::ops::restore_database::{TablePlan, apply_table, plan_table};
use crate::report::{clean, human_bytes};
use crate::repository::Repository;
use crate::snapshot::Selected;
use crate::target::postgres::{Difference, table_name};

use super::context::{Context, zone};
use super::format::local_time;
use super::restore_database::{Args, cluster, lock_instance};
use super::settings::Settings;
use super::{CliError, Done, ask};

/// What to do where nobody can be asked.
const LOOK_FIRST: &str = "look at it with --dry-run, then add --yes to do it";

/// Restores the table `wanted` of `selected`.
pub fn run(
    context: &Context,
    settings: &Settings,
    repository: &Repository,
    selected: &Selected,
    args: &Args,
    wanted: &str,
    is_dry_run: bool,
) -> Result<Done, CliError> {
    let _lock = if is_dry_run { None } else { lock_instance(context, settings)? };
    let cluster = cluster(context, settings, "restore")?;
    let database = args.database.as_deref().filter(|name| !name.is_empty());
    let (id, snapshot) = selected;
    let plan = plan_table(*id, snapshot, &cluster, database, wanted, &args.schema)?;
    show(context, &plan, &local_time(snapshot.start, &zone(settings)))?;
    if is_dry_run {
        context.out.note("nothing was changed")?;
        return Ok(Done::ok(json!({ "dry_run": true, "plan": describe(&plan) })));
    }
    let place = format!("{}.{}", clean(&plan.schema), clean(&plan.table().name));
    let database = clean(&plan.manifest.name);
    let needs = match plan.replaces {
        Some(_) => format!("table {place} in database {database} is to be replaced"),
        None => format!("table {place} is to be made in database {database}"),
    };
    ask::assent(context, &needs, LOOK_FIRST)?;
    let (rows, difference) = apply_table(repository, snapshot, &plan, &cluster, &context.observer)?;
    context.out.note(&format!("{rows} rows are in {place} of database {database}"))?;
    if let Some(difference) = &difference {
        tell(context, &plan, difference)?;
    }
    Ok(Done::ok(json!({
        "snapshot": id,
        "database": plan.manifest.name,
        "table": table_name(plan.table()),
        "restored_as": format!("{}.{}", plan.schema, plan.table().name),
        "rows": rows,
        "difference": difference.as_ref().map(numbers),
    })))
}

fn numbers(difference: &Difference) -> Value {
    json!({
        "same": difference.same,
        "changed": difference.changed,
        "only_snapshot": difference.only_snapshot,
        "only_live": difference.only_live,
        "columns": difference.columns,
    })
}

fn tell(context: &Context, plan: &TablePlan, difference: &Difference) -> Result<(), CliError> {
    let out = &context.out;
    let changed = match difference.changed {
        Some(changed) => format!("{changed} changed, "),
        None => String::new(),
    };
    out.note(&format!(
        "compared with the live {}: {} rows are the same, {changed}{} are only in the snapshot, {} only live",
        clean(&table_name(plan.table())),
        difference.same,
        difference.only_snapshot,
        difference.only_live
    ))?;
    if difference.changed.is_none() {
        out.note("  (it has no primary key: a changed row counts once on each side)")?;
    }
    if !difference.columns.is_empty() {
        let columns = clean(&difference.columns.join(", "));
        out.note(&format!("  not compared, for they are not the same in both: {columns}"))?;
    }
    out.note(&format!(
        "take from it what you need, then: DROP TABLE {}.{}",
        clean(&plan.schema),
        clean(&plan.table().name)
    ))
}

fn describe(plan: &TablePlan) -> Value {
    json!({
        "snapshot": plan.id,
        "database": plan.manifest.name,
        "table": table_name(plan.table()),
        "schema": plan.schema,
        "server": plan.server,
        "rows": plan.table().rows,
        "bytes": plan.table().bytes,
        "is_live": plan.live.is_some(),
        "replaces": plan.replaces,
        "free_bytes": plan.free_bytes,
    })
}

fn show(context: &Context, plan: &TablePlan, time: &str) -> Result<(), CliError> {
    let out = &context.out;
    let table = plan.table();
    out.record("plan", &describe(plan))?;
    out.note(&format!(
        "restore table {} of snapshot {} from {time} as {}.{} in database {} ({})",
        clean(&table_name(table)),
        plan.id.short(),
        clean(&plan.schema),
        clean(&table.name),
        clean(&plan.manifest.name),
        clean(&plan.server)
    ))?;
    out.note(&format!(
        "  {} rows, {} to be read; columns and rows only, no keys, rights or triggers",
        table.rows,
        human_bytes(table.bytes)
    ))?;
    match &plan.live {
        Some(_) => out.note("  the live table is not touched, and is compared with it")?,
        None => out.note("  there is no live table of this name")?,
    }
    if let Some(comment) = &plan.replaces {
        out.note(&format!("  REPLACES what is there: {}", clean(comment)))?;
    }
    out.flush()
}
