//! What was done, for whoever answers for the protection of data: as JSON and as a page to print.

use serde::{Deserialize, Serialize};

use crate::anonymize::{Action, Counts, Kept, KeptRows, Program, Rules, TableProgram};
use crate::report::clean;

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnReport {
    /// Name.
    pub name: String,
    /// What its rule says.
    pub rule: String,
    /// It left as it was.
    pub is_kept: bool,
    /// Values made anew.
    pub made: u64,
    /// Values that were NULL or empty.
    pub missing: u64,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    /// Name.
    pub name: String,
    /// No row was copied.
    pub is_emptied: bool,
    /// Rows copied.
    pub rows: u64,
    /// Rows left out, because only a part was to be copied.
    pub dropped: u64,
    /// References that became NULL, because what they lead to was left out.
    pub references_erased: u64,
    /// Columns.
    pub columns: Vec<ColumnReport>,
}

/// How few rows share the same values of columns by which somebody could be found together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Table.
    pub table: String,
    /// Columns.
    pub columns: Vec<String>,
    /// Rows of the smallest groups, ascending.
    pub smallest: Vec<u64>,
    /// Groups of one row.
    pub single: u64,
}

/// Columns by which somebody could be found together, whose smallest groups are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grouping {
    /// What rules call the table.
    pub title: String,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The columns.
    pub columns: Vec<String>,
}

/// The groups that rules name, of tables that are copied.
pub fn groupings(rules: &Rules, program: &Program) -> Vec<Grouping> {
    let of = |(title, columns): (&String, &Vec<String>)| {
        let table = program.tables.iter().find(|table| table.title == *title);
        table.filter(|table| !table.is_emptied).map(|table| Grouping {
            title: title.clone(),
            schema: table.schema.clone(),
            name: table.name.clone(),
            columns: columns.clone(),
        })
    };
    rules.quasi_identifiers.iter().filter_map(of).collect()
}

/// A whole copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CloneReport {
    /// Source.
    pub from: String,
    /// Target.
    pub to: String,
    /// Snapshot.
    pub snapshot: String,
    /// When it was taken.
    pub snapshot_time: String,
    /// When it was copied.
    pub time: String,
    /// Database in the target.
    pub database: String,
    /// File of rules.
    pub rules: String,
    /// Their fingerprint.
    pub rules_fingerprint: String,
    /// By which two keys are told apart.
    pub key_id: String,
    /// Program and version.
    pub program: String,
    /// Tables.
    pub tables: Vec<TableReport>,
    /// Groups.
    pub groups: Vec<GroupReport>,
    /// Different identifiers that were looked for, and were not found.
    pub identifiers_looked_for: usize,
    /// Different full names.
    pub names_looked_for: usize,
    /// Placeholders made.
    pub files_made: u64,
    /// Directories of which nothing was copied, and why.
    pub files_dropped: Vec<(String, String)>,
}

/// What was done to each table.
pub fn tables(
    program: &Program,
    counts: &std::collections::BTreeMap<String, Counts>,
    kept: &Kept,
) -> Vec<TableReport> {
    let report = |table: &TableProgram| TableReport {
        references_erased: kept.of(&table.title).map_or(0, KeptRows::references_erased),
        ..table_report(table, counts.get(&table.title))
    };
    program.tables.iter().map(report).collect()
}

fn table_report(table: &TableProgram, counts: Option<&Counts>) -> TableReport {
    let column = |(at, column): (usize, &crate::anonymize::ColumnProgram)| {
        let (made, missing) =
            counts.and_then(|counts| counts.columns.get(at)).copied().unwrap_or_default();
        ColumnReport {
            name: column.name.clone(),
            rule: column.described.clone(),
            is_kept: matches!(column.action, Action::Keep),
            made,
            missing,
        }
    };
    TableReport {
        name: table.title.clone(),
        is_emptied: table.is_emptied,
        rows: counts.filter(|_| !table.is_emptied).map_or(0, |counts| counts.rows),
        dropped: counts.map_or(0, |counts| counts.dropped),
        references_erased: 0,
        columns: table.columns.iter().enumerate().map(column).collect(),
    }
}

fn escaped(text: &str) -> String {
    clean(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

const STYLE: &str = "body{font:15px/1.4 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\
    table{border-collapse:collapse;width:100%;margin:.5em 0 1.5em}\
    th,td{border:1px solid #bbb;padding:.2em .5em;text-align:left;vertical-align:top}\
    td.n{text-align:right}.kept{background:#fff6d6}h2{margin-top:1.5em}";

/// A page of the report; it loads nothing from anywhere.
pub fn html(report: &CloneReport) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Anonymized copy {0} to {1}</title>\
         <style>{STYLE}</style><h1>Anonymized copy of {0} in {1}</h1><table>",
        escaped(&report.from),
        escaped(&report.to)
    );
    let facts = [
        ("Snapshot", format!("{} of {}", report.snapshot, report.snapshot_time)),
        ("Copied", report.time.clone()),
        ("Database", report.database.clone()),
        ("Rules", format!("{} ({})", report.rules, report.rules_fingerprint)),
        ("Key of the pseudonyms", report.key_id.clone()),
        ("Identifiers looked for in everything copied", report.identifiers_looked_for.to_string()),
        ("Full names looked for", report.names_looked_for.to_string()),
        ("Of these found", "0".to_owned()),
        ("Placeholder files", report.files_made.to_string()),
        ("Made by", report.program.clone()),
    ];
    for (name, value) in &facts {
        page.push_str(&format!("<tr><th>{name}<td>{}", escaped(value)));
    }
    page.push_str(
        "</table><p>The result is pseudonymized data, not anonymous data: dates, places and rare combinations may \
         still tell people apart. Whoever holds the key can compute a pseudonym again.</p>",
    );
    groups(report, &mut page);
    page.push_str("<h2>Tables</h2>");
    report.tables.iter().for_each(|found| table(found, &mut page));
    page.push_str("</html>\n");
    page
}

/// The smallest groups, and the directories that were left out.
fn groups(report: &CloneReport, page: &mut String) {
    if !report.groups.is_empty() {
        page.push_str(
            "<h2>Smallest groups</h2><table><tr><th>Table<th>Columns\
             <th>Rows of the smallest groups<th>Groups of one",
        );
        for group in &report.groups {
            let smallest: Vec<String> = group.smallest.iter().map(ToString::to_string).collect();
            page.push_str(&format!(
                "<tr><td>{}<td>{}<td>{}<td class=n>{}",
                escaped(&group.table),
                escaped(&group.columns.join(", ")),
                smallest.join(", "),
                group.single
            ));
        }
        page.push_str("</table>");
    }
    if !report.files_dropped.is_empty() {
        page.push_str("<h2>Directories not copied</h2><table><tr><th>Directory<th>Reason");
        for (name, reason) in &report.files_dropped {
            page.push_str(&format!("<tr><td>{}<td>{}", escaped(name), escaped(reason)));
        }
        page.push_str("</table>");
    }
}

fn table(table: &TableReport, page: &mut String) {
    page.push_str(&format!("<h3>{}</h3>", escaped(&table.name)));
    if table.is_emptied {
        page.push_str("<p>Emptied: no row was copied.</p>");
        return;
    }
    let mut rows = format!("{} rows", table.rows);
    if table.dropped > 0 {
        rows.push_str(&format!(", {} left out", table.dropped));
    }
    if table.references_erased > 0 {
        rows.push_str(&format!(", {} references made NULL", table.references_erased));
    }
    page.push_str(&format!(
        "<p>{rows}.</p><table><tr><th>Column<th>Rule<th>Made anew<th>NULL or empty"
    ));
    for column in &table.columns {
        let class = if column.is_kept { " class=kept" } else { "" };
        let (made, missing) = match column.is_kept {
            true => (String::new(), String::new()),
            false => (column.made.to_string(), column.missing.to_string()),
        };
        page.push_str(&format!(
            "<tr{class}><td>{}<td>{}<td class=n>{made}<td class=n>{missing}",
            escaped(&column.name),
            escaped(&column.rule)
        ));
    }
    page.push_str("</table>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_no_code_of_others() {
        let report = CloneReport {
            from: "<script>".to_owned(),
            to: "b".to_owned(),
            snapshot: "s".to_owned(),
            snapshot_time: "t".to_owned(),
            time: "u".to_owned(),
            database: "d".to_owned(),
            rules: "r".to_owned(),
            rules_fingerprint: "sha256:1".to_owned(),
            key_id: "k".to_owned(),
            program: "p".to_owned(),
            tables: vec![TableReport {
                name: "person".to_owned(),
                is_emptied: false,
                rows: 2,
                dropped: 3,
                references_erased: 1,
                columns: vec![ColumnReport {
                    name: "a\"b".to_owned(),
                    rule: "kept: 1 < 2".to_owned(),
                    is_kept: true,
                    made: 0,
                    missing: 0,
                }],
            }],
            groups: Vec::new(),
            identifiers_looked_for: 5,
            names_looked_for: 6,
            files_made: 7,
            files_dropped: vec![("log".to_owned(), "<b>".to_owned())],
        };
        let page = html(&report);
        assert!(!page.contains("<script") && !page.contains("<b>"));
        assert!(page.contains("2 rows, 3 left out, 1 references made NULL."));
        assert!(page.contains("kept: 1 &lt; 2") && page.contains("&lt;script&gt;"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["tables"][0]["columns"][0]["is_kept"], true);
    }
}
