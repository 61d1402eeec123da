//! The schema that rules are held against, out of what a snapshot says of a database.
//!
//! Tables and columns are those of the manifest. Keys, unique indexes and foreign keys are read out of the
//! definitions in the archive's table of contents, as `pg_dump` writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use crate::anonymize::{Column, Reference, Schema, Table, title};
use crate::snapshot::DatabaseManifest;
use crate::source::archive::{Toc, TocEntry};

/// Entries that hold secrets of production or lead back to it.
const LEFT_OUT: [&str; 4] =
    ["USER MAPPING", "SUBSCRIPTION", "SUBSCRIPTION TABLE", "STATISTICS DATA"];

/// A name, quoted or not.
const NAME: &str = r#"(?:"(?:[^"]|"")+"|[A-Za-z_\x80-\xff][\w$]*)"#;

/// A pattern of ours; one that is none matches nothing.
fn pattern(text: &str) -> Option<Regex> {
    Regex::new(&text.replace("NAME", NAME)).ok()
}

static CONSTRAINT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?s)ALTER TABLE (?:ONLY )?(NAME)\.(NAME)\s+ADD CONSTRAINT NAME (PRIMARY KEY|UNIQUE)[^(]*\(([^)]*)\)",
    )
});
static INDEX: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(r"(?s)CREATE UNIQUE INDEX NAME ON (?:ONLY )?(NAME)\.(NAME) USING \w+ \((.*)\)")
});
static FOREIGN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?s)ALTER TABLE (?:ONLY )?(NAME)\.(NAME)\s+ADD CONSTRAINT NAME FOREIGN KEY \(([^)]*)\) REFERENCES (NAME)\.(NAME)\(([^)]*)\)",
    )
});
static TABLE: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"CREATE (?:UNLOGGED |FOREIGN )?TABLE (NAME)\.(NAME) "));
static ANY_NAME: LazyLock<Option<Regex>> = LazyLock::new(|| pattern("NAME"));
static CUSTOM_SETTING: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r#"(?i) SET "?[A-Za-z_][\w$]*"?\."?[A-Za-z_]"#));

/// A name without its quotes.
fn plain(name: &str) -> String {
    match name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => name.to_owned(),
    }
}

/// All names in a list.
fn names(list: &str) -> Vec<String> {
    let found =
        ANY_NAME.as_ref().map(|name| name.find_iter(list).map(|m| plain(m.as_str())).collect());
    found.unwrap_or_default()
}

/// Columns that a definition says take no NULL.
fn not_null(entry: &TocEntry) -> BTreeSet<String> {
    let lines = entry.definition.lines().filter(|line| line.contains(" NOT NULL"));
    lines
        .filter_map(|line| {
            let found = ANY_NAME.as_ref()?.find(line)?;
            // Constraints and defaults come behind the name.
            (line.get(..found.start())?.trim().is_empty()).then(|| plain(found.as_str()))
        })
        .collect()
}

/// The schema of a database in a snapshot.
pub fn schema_of(manifest: &DatabaseManifest, toc: &Toc) -> Schema {
    let mut tables: BTreeMap<(String, String), Table> = BTreeMap::new();
    for found in &manifest.tables {
        let column = |column: &crate::snapshot::ColumnManifest| Column {
            name: column.name.clone(),
            type_name: column.type_name.clone(),
            is_nullable: true,
        };
        let table = Table {
            schema: found.schema.clone(),
            name: found.name.clone(),
            columns: found.columns.iter().map(column).collect(),
            rows: found.rows,
            ..Table::default()
        };
        tables.insert((found.schema.clone(), found.name.clone()), table);
    }
    for entry in &toc.entries {
        match entry.kind.as_str() {
            "TABLE" => definition(entry, &mut tables),
            "CONSTRAINT" => constraint(entry, &mut tables),
            "INDEX" => index(entry, &mut tables),
            "FK CONSTRAINT" => foreign(entry, &mut tables),
            _ => {}
        }
    }
    let known = |table: &(String, String)| tables.contains_key(table);
    let foreign = toc.entries.iter().filter(|entry| entry.kind == "FK CONSTRAINT");
    let ends = foreign.filter_map(ends).flat_map(|(own, other)| [own, other]);
    let mut unfollowed: Vec<String> =
        ends.filter(|end| !known(end)).map(|(schema, name)| title(&schema, &name)).collect();
    unfollowed.sort();
    unfollowed.dedup();
    Schema { tables: tables.into_values().collect(), unfollowed }
}

/// The tables at both ends of a foreign key.
fn ends(entry: &TocEntry) -> Option<((String, String), (String, String))> {
    let found = FOREIGN.as_ref()?.captures(&entry.definition)?;
    Some(((plain(&found[1]), plain(&found[2])), (plain(&found[4]), plain(&found[5]))))
}

type Tables = BTreeMap<(String, String), Table>;

fn definition(entry: &TocEntry, tables: &mut Tables) {
    let Some(found) = TABLE.as_ref().and_then(|table| table.captures(&entry.definition)) else {
        return;
    };
    let Some(table) = tables.get_mut(&(plain(&found[1]), plain(&found[2]))) else { return };
    let firm = not_null(entry);
    for column in table.columns.iter_mut().filter(|column| firm.contains(&column.name)) {
        column.is_nullable = false;
    }
}

fn constraint(entry: &TocEntry, tables: &mut Tables) {
    let found = CONSTRAINT.as_ref().and_then(|found| found.captures(&entry.definition));
    let Some(found) = found else { return };
    let Some(table) = tables.get_mut(&(plain(&found[1]), plain(&found[2]))) else { return };
    let columns = names(&found[4]);
    if &found[3] == "PRIMARY KEY" {
        for column in table.columns.iter_mut().filter(|column| columns.contains(&column.name)) {
            column.is_nullable = false;
        }
        table.primary.clone_from(&columns);
    }
    table.unique.push(columns);
}

fn index(entry: &TocEntry, tables: &mut Tables) {
    let Some(found) = INDEX.as_ref().and_then(|found| found.captures(&entry.definition)) else {
        return;
    };
    let Some(table) = tables.get_mut(&(plain(&found[1]), plain(&found[2]))) else { return };
    // Of an expression (`lower((email)::text)`) the columns in it.
    let mut columns = names(&found[3]);
    columns.retain(|name| table.columns.iter().any(|column| column.name == *name));
    columns.dedup();
    if !columns.is_empty() {
        table.unique.push(columns);
    }
}

fn foreign(entry: &TocEntry, tables: &mut Tables) {
    let Some(found) = FOREIGN.as_ref().and_then(|found| found.captures(&entry.definition)) else {
        return;
    };
    let Some(table) = tables.get_mut(&(plain(&found[1]), plain(&found[2]))) else { return };
    table.references.push(Reference {
        columns: names(&found[3]),
        table: (plain(&found[4]), plain(&found[5])),
        to: names(&found[6]),
    });
}

/// The table of contents without what must not leave production: user mappings and subscriptions (passwords,
/// and ways back to it), statistics (they hold values), settings of the application's own (often secrets).
pub fn clean_toc(toc: &Toc) -> Toc {
    let mut clean = toc.without(|entry| LEFT_OUT.contains(&entry.kind.as_str()));
    for entry in clean.entries.iter_mut().filter(|entry| entry.kind == "DATABASE PROPERTIES") {
        let is_custom =
            |line: &&str| CUSTOM_SETTING.as_ref().is_none_or(|setting| setting.is_match(line));
        let kept: Vec<&str> = entry.definition.lines().filter(|line| !is_custom(line)).collect();
        entry.definition = kept.join("\n");
    }
    clean
        .entries
        .retain(|entry| entry.kind != "DATABASE PROPERTIES" || !entry.definition.trim().is_empty());
    clean
}

#[cfg(test)]
mod tests {
    use crate::snapshot::{ColumnManifest, TableManifest};

    use super::*;

    fn entry(kind: &str, definition: &str) -> TocEntry {
        TocEntry { kind: kind.to_owned(), definition: definition.to_owned(), ..TocEntry::default() }
    }

    fn table(schema: &str, name: &str, columns: &[&str]) -> TableManifest {
        let column =
            |name: &&str| ColumnManifest { name: (*name).to_owned(), type_name: "text".to_owned() };
        TableManifest {
            schema: schema.to_owned(),
            name: name.to_owned(),
            columns: columns.iter().map(column).collect(),
            ..TableManifest::default()
        }
    }

    #[test]
    fn keys_and_references_are_read_out_of_definitions() {
        let manifest = DatabaseManifest {
            tables: vec![
                table("public", "person", &["id", "nir", "E mail", "note"]),
                table("My Schema", "re\"quest", &["id", "person_id"]),
            ],
            ..DatabaseManifest::default()
        };
        let toc = Toc {
            entries: vec![
                entry(
                    "TABLE",
                    "CREATE TABLE public.person (\n    id integer NOT NULL,\n    nir character varying(13) NOT NULL,\n    \"E mail\" text DEFAULT ' NOT NULL'::text,\n    note text\n);\n",
                ),
                entry(
                    "CONSTRAINT",
                    "ALTER TABLE ONLY public.person\n    ADD CONSTRAINT person_pkey PRIMARY KEY (id);\n",
                ),
                entry(
                    "CONSTRAINT",
                    "ALTER TABLE ONLY public.person\n    ADD CONSTRAINT x UNIQUE NULLS NOT DISTINCT (nir, note);\n",
                ),
                entry(
                    "INDEX",
                    "CREATE UNIQUE INDEX y ON public.person USING btree (lower((\"E mail\")::text));\n",
                ),
                entry("INDEX", "CREATE INDEX z ON public.person USING btree (note);\n"),
                entry(
                    "FK CONSTRAINT",
                    "ALTER TABLE ONLY \"My Schema\".\"re\"\"quest\"\n    ADD CONSTRAINT k FOREIGN KEY (person_id) REFERENCES public.person(id) DEFERRABLE INITIALLY DEFERRED;\n",
                ),
            ],
            ..Toc::default()
        };
        let schema = schema_of(&manifest, &toc);
        let [request, person] = schema.tables.as_slice() else { panic!("{schema:?}") };
        assert_eq!(person.primary, ["id"]);
        assert_eq!(person.unique, [vec!["id"], vec!["nir", "note"], vec!["E mail"]]);
        let nullable: Vec<bool> = person.columns.iter().map(|column| column.is_nullable).collect();
        // A default that says so is taken for the real thing: the error is on the side of refusing.
        assert_eq!(nullable, [false, false, false, true]);
        let reference = &request.references[0];
        assert_eq!(reference.columns, ["person_id"]);
        assert_eq!(reference.table, ("public".to_owned(), "person".to_owned()));
        assert_eq!(reference.to, ["id"]);
    }

    #[test]
    fn secrets_in_definitions_are_left_out() {
        let toc = Toc {
            entries: vec![
                entry("USER MAPPING", "CREATE USER MAPPING FOR a SERVER s OPTIONS (password 'x');"),
                entry(
                    "SUBSCRIPTION",
                    "CREATE SUBSCRIPTION s CONNECTION 'password=x' PUBLICATION p;",
                ),
                entry(
                    "DATABASE PROPERTIES",
                    "ALTER DATABASE app SET search_path TO 'a';\nALTER DATABASE app SET \"app.secret\" TO 'x';\nALTER DATABASE app SET app.other TO 'y.z';\n",
                ),
                entry("TABLE", "CREATE TABLE public.x ();"),
            ],
            ..Toc::default()
        };
        let clean = clean_toc(&toc);
        let kinds: Vec<&str> = clean.entries.iter().map(|entry| entry.kind.as_str()).collect();
        assert_eq!(kinds, ["DATABASE PROPERTIES", "TABLE"]);
        assert_eq!(clean.entries[0].definition, "ALTER DATABASE app SET search_path TO 'a';");
    }
}
