//! Rules held against a schema: either everything fits, or all that does not is told.

use std::collections::{BTreeMap, BTreeSet};

use toml::Table as Toml;

use super::detect::{group_suggestion, suggestion, table_suggestion};
use super::key::PseudonymKey;
use super::problem::Problem;
use super::program::{Action, ColumnProgram, Program, TableProgram};
use super::references;
use super::rule::{Missing, Rule, nearest};
use super::rules::Rules;
use super::scan::Depth;
use super::schema::{Column, Kind, Schema, Table, fingerprint};
use super::subset;
use super::transform::{Building, Class, VERBS, verb};

/// The key of a group of columns.
pub const GROUP: &str = "*";
/// Longest text that is no free text, in letters.
const SHORT_TEXT: usize = 100;

/// Makes `rules` ready for `schema`, or says everything that keeps it from that.
pub fn compile(
    rules: &Rules,
    schema: &Schema,
    key: &PseudonymKey,
) -> Result<Program, Vec<Problem>> {
    let mut problems = Vec::new();
    let emptied = emptied(rules, schema, &mut problems);
    names_that_do_not_exist(rules, schema, &emptied, &mut problems);
    let mut tables = Vec::new();
    for table in &schema.tables {
        let title = table.title();
        let is_emptied = emptied.contains(&title);
        match (rules.tables.get(&title), is_emptied) {
            (Some(_), true) => problems.push(Problem::table(
                &title,
                "it is in `truncate` and has rules; remove one of both",
            )),
            (None, true) => tables.push(emptied_table(table, key)),
            (None, false) => problems.push(
                Problem::table(&title, "no rule names it")
                    .suggesting(table_suggestion(table, &BTreeMap::new())),
            ),
            (Some(columns), false) => {
                let mut compiler = Compiler { rules, table, key, problems: &mut problems };
                tables.extend(compiler.table(columns));
            }
        }
    }
    if problems.is_empty() {
        references::check(schema, &tables, rules, &mut problems);
    }
    let subset = subset::compile(rules, schema, &tables, key, &mut problems);
    quasi_identifiers(rules, schema, &mut problems);
    problems.sort();
    problems.dedup();
    match problems.is_empty() {
        true => Ok(Program { tables, scanned: rules.scanned, subset }),
        false => Err(problems),
    }
}

/// Whether `name` fits a pattern in which `*` is anything.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

fn emptied(rules: &Rules, schema: &Schema, problems: &mut Vec<Problem>) -> BTreeSet<String> {
    let titles: Vec<String> = schema.tables.iter().map(Table::title).collect();
    let mut emptied = BTreeSet::new();
    for pattern in &rules.truncate {
        let before = emptied.len();
        let mut fitting = titles.iter().filter(|title| fits(pattern, title)).peekable();
        if fitting.peek().is_none() {
            let hint = nearest(pattern, titles.iter().map(String::as_str));
            problems
                .push(Problem::of("truncate", format!("there is no table `{pattern}`; {hint}")));
        }
        emptied.extend(fitting.cloned());
        debug_assert!(emptied.len() >= before);
    }
    emptied
}

fn names_that_do_not_exist(
    rules: &Rules,
    schema: &Schema,
    emptied: &BTreeSet<String>,
    problems: &mut Vec<Problem>,
) {
    let titles: Vec<String> = schema.tables.iter().map(Table::title).collect();
    for name in rules.tables.keys().filter(|name| !titles.contains(name)) {
        let unnamed: Vec<&str> = titles
            .iter()
            .map(String::as_str)
            .filter(|title| !rules.tables.contains_key(*title) && !emptied.contains(*title))
            .collect();
        let hint = match unnamed.is_empty() {
            true => "remove its rules".to_owned(),
            false => nearest(name, unnamed.into_iter()),
        };
        problems.push(Problem::table(name, format!("there is no such table; {hint}")));
    }
}

fn quasi_identifiers(rules: &Rules, schema: &Schema, problems: &mut Vec<Problem>) {
    for (title, columns) in &rules.quasi_identifiers {
        let table = schema.tables.iter().find(|table| table.title() == *title);
        let Some(table) = table else {
            problems.push(Problem::of("quasi_identifiers", format!("there is no table `{title}`")));
            continue;
        };
        for column in columns.iter().filter(|column| table.position(column).is_none()) {
            let what = format!("table {title} has no column `{column}`");
            problems.push(Problem::of("quasi_identifiers", what));
        }
    }
}

fn emptied_table(table: &Table, key: &PseudonymKey) -> TableProgram {
    TableProgram {
        title: table.title(),
        schema: table.schema.clone(),
        name: table.name.clone(),
        columns: Vec::new(),
        order: Vec::new(),
        is_emptied: true,
        key_columns: Vec::new(),
        row_key: key.domain("row"),
        names: None,
    }
}

struct Compiler<'a> {
    rules: &'a Rules,
    table: &'a Table,
    key: &'a PseudonymKey,
    problems: &'a mut Vec<Problem>,
}

impl Compiler<'_> {
    fn wrong(&mut self, column: &str, what: impl Into<String>) {
        self.problems.push(Problem::column(&self.table.title(), column, what));
    }

    fn table(&mut self, rules: &BTreeMap<String, Toml>) -> Option<TableProgram> {
        let (table, before) = (self.table, self.problems.len());
        for name in rules.keys().filter(|name| *name != GROUP && table.position(name).is_none()) {
            let names = table.columns.iter().map(|column| column.name.as_str());
            let names = names.filter(|known| !rules.contains_key(*known));
            let hint = nearest(name, names);
            self.wrong(name, format!("there is no such column; without a rule: {hint}"));
        }
        let grouped: Vec<&Column> =
            table.columns.iter().filter(|column| !rules.contains_key(&column.name)).collect();
        let is_kept = self.group(rules.get(GROUP), &grouped);
        let mut columns = Vec::new();
        for column in &table.columns {
            match rules.get(&column.name) {
                Some(rule) => columns.extend(self.column(column, rule)),
                None if is_kept => columns.push(kept(column, "kept with others", None)),
                None => {}
            }
        }
        if self.problems.len() > before {
            return None;
        }
        self.finish(columns)
    }

    /// Whether the columns without a rule of their own are kept.
    fn group(&mut self, rule: Option<&Toml>, grouped: &[&Column]) -> bool {
        let title = self.table.title();
        let own = fingerprint(grouped.iter().copied());
        let Some(rule) = rule else {
            for column in grouped {
                let suggested = suggestion(self.table, column, &BTreeMap::new());
                self.problems.push(
                    Problem::column(&title, &column.name, "no rule names it").suggesting(suggested),
                );
            }
            return false;
        };
        let rule = Rule::new(rule);
        let written = rule.needed("keep").and_then(|reason| {
            let pinned = rule.needed("fingerprint")?;
            match rule.unknown().first() {
                Some(key) => Err(format!("`{key}` means nothing for a group of columns")),
                None => Ok((reason, pinned)),
            }
        });
        let (reason, pinned) = match written {
            Ok(written) => written,
            Err(error) => {
                let line = format!("\"*\" = {{ keep = \"REASON\", fingerprint = \"{own}\" }}");
                self.problems.push(Problem::column(&title, GROUP, error).suggesting(line));
                return false;
            }
        };
        if grouped.is_empty() {
            self.wrong(GROUP, "every column has a rule of its own; remove this one");
            return false;
        }
        if pinned != own {
            let names: Vec<String> = grouped
                .iter()
                .map(|column| format!("{} {}", column.name, column.type_name))
                .collect();
            let what = format!(
                "the columns kept together are not those that were pinned (`{pinned}`); now they are: {}",
                names.join(", ")
            );
            let lines = group_suggestion(self.table, grouped, reason);
            self.problems.push(Problem::column(&title, GROUP, what).suggesting(lines));
            return false;
        }
        true
    }

    fn column(&mut self, column: &Column, toml: &Toml) -> Option<ColumnProgram> {
        match self.read(column, toml) {
            Ok(made) => Some(made),
            Err((what, suggested)) => {
                let problem = Problem::column(&self.table.title(), &column.name, what);
                self.problems.push(match suggested {
                    Some(line) => problem.suggesting(line),
                    None => problem,
                });
                None
            }
        }
    }

    fn read(
        &self,
        column: &Column,
        toml: &Toml,
    ) -> Result<ColumnProgram, (String, Option<String>)> {
        let plain = |what: String| (what, None);
        let rule = Rule::new(toml);
        let suggest = || Some(suggestion(self.table, column, &BTreeMap::new()));
        if rule.has("todo") {
            return Err(("it is still to be decided (`todo`)".to_owned(), suggest()));
        }
        let verbs: Vec<&str> =
            rule.keys().filter(|key| *key == "keep" || verb(key).is_some()).collect();
        let name = match verbs.as_slice() {
            [name] => *name,
            [] => {
                let hint = rule.keys().next().map_or_else(String::new, |key| {
                    format!("; {}", nearest(key, VERBS.iter().map(|verb| verb.name)))
                });
                return Err((format!("its rule has no verb{hint}"), suggest()));
            }
            several => {
                let what = format!("its rule has several verbs: {}", several.join(", "));
                return Err(plain(what));
            }
        };
        if let Some(wanted) = rule.text("type").map_err(plain)?
            && wanted != column.type_name
        {
            let what =
                format!("its type is `{}`, and the rule is for `{wanted}`", column.type_name);
            return Err((what, suggest()));
        }
        let made = match name {
            "keep" => {
                let reason = rule.needed("keep").map_err(plain)?;
                let ignores_names = match rule.text("names").map_err(plain)? {
                    None => None,
                    Some("ignore") => Some(true),
                    Some(_) => return Err(plain("`names` can only be `ignore`".to_owned())),
                };
                let mut made = kept(column, &format!("kept: {reason}"), ignores_names);
                if rule.boolean("scan").map_err(plain)? == Some(false) {
                    made.depth = None;
                }
                made
            }
            name => self.transformed(column, &rule, name).map_err(plain)?,
        };
        let unknown = rule.unknown();
        if let Some(key) = unknown.first() {
            let options = verb(name).map(|verb| verb.options).unwrap_or_default();
            let known = options.iter().copied().chain(["null", "empty", "type", "scan"]);
            let what = format!("`{key}` means nothing beside `{name}`; {}", nearest(key, known));
            return Err(plain(what));
        }
        Ok(made)
    }

    fn transformed(
        &self,
        column: &Column,
        rule: &Rule<'_>,
        name: &str,
    ) -> Result<ColumnProgram, String> {
        let kind = Kind::of(&column.type_name);
        let defaults = self.rules.defaults;
        let roots = self.rules.placeholder_roots();
        let building = Building {
            key: self.key,
            locale: &self.rules.locale,
            kind: &kind,
            table: self.table,
            roots: &roots,
            defaults,
        };
        let found = verb(name).ok_or("its rule has no verb")?;
        let transformer = (found.build)(rule, &building)?;
        let is_open = |key| rule.text(key).is_ok_and(|text| text.is_none());
        if is_open("null")
            && column.is_nullable
            && defaults.null.is_none()
            && is_open("empty")
            && kind.is_text()
            && defaults.empty.is_none()
        {
            return Err("it may be NULL or empty, and nothing says what then; add `null = \"keep\", empty = \"keep\"` here or in [defaults]".to_owned());
        }
        let null = match rule.text("null")? {
            Some(text) => Missing::of_null(text)?,
            None if !column.is_nullable => Missing::Refuse,
            None => defaults.null.ok_or(
                "it may be NULL, and nothing says what then; add `null = \"keep\"` here or in [defaults]",
            )?,
        };
        let empty = match rule.text("empty")? {
            Some(text) => Missing::of_empty(text)?,
            None if !kind.is_text() => Missing::Transform,
            None => defaults.empty.ok_or(
                "it may be empty, and nothing says what then; add `empty = \"keep\"` here or in [defaults]",
            )?,
        };
        if empty == Missing::Null && !column.is_nullable {
            return Err("`empty = \"null\"`, but the column takes no NULL".to_owned());
        }
        let depth = match name {
            "json" => Depth::Parts,
            _ => Depth::Whole,
        };
        let written: Vec<&str> = rule.keys().filter(|key| ["domain", "by"].contains(key)).collect();
        let described = match (written.is_empty(), rule.text(found.name).ok().flatten()) {
            (_, Some(value)) => format!("{name} = {value}"),
            _ => name.to_owned(),
        };
        Ok(ColumnProgram {
            name: column.name.clone(),
            action: Action::Transform(transformer),
            described,
            null,
            empty,
            depth: kind.may_hold_identifiers().then_some(depth),
            is_hex: kind == Kind::Bytes,
            is_gathered: rule.boolean("scan")?.unwrap_or(true),
            needs_original: true,
            needs_made: true,
        })
    }

    /// Puts the columns in the order in which they can be made.
    fn finish(&mut self, mut columns: Vec<ColumnProgram>) -> Option<TableProgram> {
        let after: Vec<Vec<usize>> = columns.iter().map(after).collect();
        let seen: Vec<usize> = columns.iter().flat_map(looked_at).collect();
        for at in seen {
            if let Some(column) = columns.get_mut(at) {
                column.needs_original = true;
            }
        }
        for at in after.iter().flatten() {
            if let Some(column) = columns.get_mut(*at) {
                column.needs_original = true;
                column.needs_made = true;
            }
        }
        let mut order = Vec::new();
        let mut left: Vec<usize> = (0..columns.len())
            .filter(|at| columns.get(*at).is_some_and(|c| c.needs_made))
            .collect();
        while !left.is_empty() {
            let is_ready = |at: &usize| {
                after.get(*at).is_none_or(|needs| needs.iter().all(|need| order.contains(need)))
            };
            let (ready, waiting): (Vec<usize>, Vec<usize>) =
                left.iter().partition(|at| is_ready(at));
            if ready.is_empty() {
                let names: Vec<&str> = waiting
                    .iter()
                    .filter_map(|at| columns.get(*at).map(|column| column.name.as_str()))
                    .collect();
                let what = format!("these columns wait for each other: {}", names.join(", "));
                self.problems.push(Problem::table(&self.table.title(), what));
                return None;
            }
            order.extend(ready);
            left = waiting;
        }
        let of = |class: Class| {
            columns.iter().position(|column| {
                matches!(&column.action, Action::Transform(t) if t.class() == class && column.is_gathered)
            })
        };
        let names = of(Class::FirstName).zip(of(Class::LastName));
        let positions = |names: &[String]| -> Vec<usize> {
            names.iter().filter_map(|name| self.table.position(name)).collect()
        };
        let key_columns = match positions(&self.table.primary) {
            key if key.is_empty() => vec![0],
            key => key,
        };
        Some(TableProgram {
            title: self.table.title(),
            schema: self.table.schema.clone(),
            name: self.table.name.clone(),
            columns,
            order,
            is_emptied: false,
            key_columns,
            row_key: self.key.domain(&format!("row {}", self.table.title())),
            names,
        })
    }
}

fn after(column: &ColumnProgram) -> Vec<usize> {
    match &column.action {
        Action::Keep => Vec::new(),
        Action::Transform(transformer) => transformer.after(),
    }
}

fn looked_at(column: &ColumnProgram) -> Vec<usize> {
    match &column.action {
        Action::Keep => Vec::new(),
        Action::Transform(transformer) => transformer.looks_at(),
    }
}

fn kept(column: &Column, described: &str, ignores_names: Option<bool>) -> ColumnProgram {
    let kind = Kind::of(&column.type_name);
    let is_free = match &kind {
        Kind::Text(limit) => limit.is_none_or(|limit| limit > SHORT_TEXT),
        Kind::Json | Kind::Bytes | Kind::Other => true,
        _ => false,
    };
    let depth = match (kind.may_hold_identifiers(), is_free && ignores_names != Some(true)) {
        (false, _) => None,
        (true, true) => Some(Depth::FreeText),
        (true, false) => Some(Depth::Parts),
    };
    ColumnProgram {
        name: column.name.clone(),
        action: Action::Keep,
        described: described.to_owned(),
        null: Missing::Keep,
        empty: Missing::Keep,
        depth,
        is_hex: kind == Kind::Bytes,
        is_gathered: false,
        needs_original: false,
        needs_made: false,
    }
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
