//! A draft of rules for a snapshot: what names, types and values tell; what they do not is `todo`, which refuses.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use crate::anonymize::transform::{UnlistedKeys, list_paths};
use crate::anonymize::{
    Charset, Kind, Samples, Schema, Table, copy_text, table_suggestion, toml_key,
};
use crate::ops::restore_database::Contents;
use crate::snapshot::Snapshot;

use super::error::CloneError;

/// Rows of a table that are looked at.
const ROWS: usize = 500;
/// Longest row looked at, in bytes.
const LONGEST_ROW: u64 = 1 << 20;
/// Tables of which nobody needs the rows in a copy: sessions, logs of administration, queues of jobs.
const NEEDLESS: [&str; 9] = [
    "django_session",
    "django_admin_log",
    "djcall_",
    "explorer_",
    "captcha_",
    "celery_",
    "django_celery_",
    "background_task",
    "audit_log",
];

const HEAD: &str = "\
# Rules of an anonymized copy. What is `todo`, `REASON` or an empty reason is for people to decide: the copy is
# refused until they did. Check: mrs-backup clone rules check
version = 1
locale = \"fr_FR\"
";

/// What the values of a table tell.
fn sampled(
    contents: &Contents<'_, '_>,
    table: &Table,
    charset: Charset,
) -> Result<(Samples, BTreeMap<String, UnlistedKeys>), CloneError> {
    let (mut samples, mut keys) = (Samples::new(), BTreeMap::<String, UnlistedKeys>::new());
    let manifest = contents.manifest.tables.iter();
    let manifest = manifest.clone().find(|t| t.schema == table.schema && t.name == table.name);
    let Some(manifest) = manifest.filter(|found| found.rows > 0) else {
        return Ok((samples, keys));
    };
    let what = format!("rows of table {}", table.title());
    let rows = contents.open(manifest).map_err(|reason| CloneError::io(&what, &reason))?;
    let mut rows = BufReader::new(rows);
    let mut line = Vec::new();
    for _ in 0..ROWS {
        line.clear();
        let mut limited = std::io::Read::take(&mut rows, LONGEST_ROW);
        let read = limited.read_until(b'\n', &mut line);
        read.map_err(|error| CloneError::io(&what, &error))?;
        if line.pop() != Some(b'\n') {
            break;
        }
        for (column, raw) in table.columns.iter().zip(copy_text::fields(&line)) {
            let mut text = String::new();
            let value = copy_text::decode(raw);
            if value.and_then(|value| charset.decode(&value, &mut text)).is_none() {
                continue;
            }
            if Kind::of(&column.type_name) == Kind::Json {
                list_paths(&text, keys.entry(column.name.clone()).or_default());
            } else {
                samples.entry(column.name.clone()).or_default().note(&text);
            }
        }
    }
    Ok((samples, keys))
}

/// Writes a draft for `schema`.
pub fn draft(
    contents: &Contents<'_, '_>,
    schema: &Schema,
    snapshot: &Snapshot,
    charset: Charset,
) -> Result<String, CloneError> {
    let is_needless = |title: &str| NEEDLESS.iter().any(|start| title.starts_with(start));
    let (needless, needed): (Vec<&Table>, Vec<&Table>) =
        schema.tables.iter().partition(|table| is_needless(&table.title()));
    let mut text = HEAD.to_owned();
    let names: Vec<String> =
        needless.iter().map(|table| format!("    {:?},\n", table.title())).collect();
    text.push_str(&format!("truncate = [\n{}]\n", names.concat()));
    text.push_str("\n[defaults]\nnull = \"keep\"\nempty = \"keep\"\n");
    text.push_str("\n[target]\nmust_match = \"staging\"\n");
    for source in snapshot.sources.iter().filter(|source| source.kind == "files") {
        let path = String::from_utf8_lossy(&source.path).into_owned();
        text.push_str(&format!(
            "\n[files.{}]\n# or: placeholders = true\ndrop = \"\"\n",
            toml_key(&path)
        ));
    }
    for table in needed {
        let (samples, keys) = sampled(contents, table, charset)?;
        text.push('\n');
        let mut suggested = table_suggestion(table, &samples);
        let mut below = String::new();
        for (column, keys) in &keys {
            let start = format!("{} = {{ todo", toml_key(column));
            suggested = suggested
                .lines()
                .filter(|line| !line.starts_with(&start))
                .map(|line| format!("{line}\n"))
                .collect();
            let (table, column) = (toml_key(&table.title()), toml_key(column));
            below.push_str(&format!("\n[table.{table}.{column}.json]\n"));
            for path in keys.paths() {
                below.push_str(&format!("{} = {{ todo = \"\" }}\n", toml_key(path)));
            }
        }
        text.push_str(&suggested);
        text.push_str(&below);
    }
    Ok(text)
}
