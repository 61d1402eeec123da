//! The part of the rows that rules ask for, held against a schema: which tables have to be looked at, and how.

use std::collections::BTreeMap;

use super::super::key::PseudonymKey;
use super::super::problem::Problem;
use super::super::program::TableProgram;
use super::super::rule::{Missing, nearest};
use super::super::rules::{Rules, SubsetRules};
use super::super::schema::{Kind, Reference, Schema, Table};
use super::condition::Condition;
use super::value::is_padded;

/// Tables of which not all rows are copied.
#[derive(Debug)]
pub struct Subset {
    /// Those tables; those nothing else hangs on come last.
    pub tables: Vec<SubsetTable>,
}

/// A table of which not all rows are copied.
#[derive(Debug)]
pub struct SubsetTable {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// As rules name it.
    pub title: String,
    /// The names of its columns, in the order of its rows.
    pub columns: Vec<String>,
    /// Which rows; `None`: all.
    pub condition: Option<Condition>,
    /// Rows that others reference come, too.
    pub is_referenced: bool,
    /// Columns by which rows of it are referenced.
    pub keys: Vec<Vec<usize>>,
    /// Its references to others of these tables.
    pub links: Vec<Link>,
    /// Nothing hangs on its rows: they are decided on while they are read.
    pub is_late: bool,
}

/// A foreign key to a table of which not all rows are copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its own columns.
    pub columns: Vec<usize>,
    /// Which of the tables.
    pub table: usize,
    /// Which key of that.
    pub key: usize,
    /// It becomes NULL if what it references is not copied.
    pub is_erased: bool,
}

impl SubsetTable {
    /// Whether a row is copied although no copied row references it, as long as nobody looked at the condition.
    pub const fn starts_with_all(&self) -> bool {
        self.condition.is_none() && !self.is_referenced
    }
}

/// Makes the `[subset]` of rules ready, or notes what keeps it from that.
pub fn compile(
    rules: &Rules,
    schema: &Schema,
    programs: &[TableProgram],
    key: &PseudonymKey,
    problems: &mut Vec<Problem>,
) -> Option<Subset> {
    if rules.subset.is_empty() {
        return None;
    }
    let before = problems.len();
    let mut planner = Planner {
        rules,
        schema,
        programs: programs.iter().map(|table| (table.title.as_str(), table)).collect(),
        conditions: BTreeMap::new(),
        problems,
    };
    planner.conditions(key);
    for table in &schema.unfollowed {
        planner.problems.push(Problem::of(
            "subset",
            format!("table {table} is partitioned and has foreign keys, which are not followed; copy all rows"),
        ));
    }
    let subset = planner.plan();
    (problems.len() == before).then_some(subset)
}

struct Planner<'a> {
    rules: &'a Rules,
    schema: &'a Schema,
    programs: BTreeMap<&'a str, &'a TableProgram>,
    conditions: BTreeMap<String, Condition>,
    problems: &'a mut Vec<Problem>,
}

/// Whether equal values of both types are written the same.
fn is_written_alike(own: &str, other: &str) -> bool {
    let is_odd = |name: &str| name.ends_with("citext") || name == "numeric";
    let is_text = |name: &str| Kind::of(name).is_text() && !is_padded(name);
    let both = |fits: &dyn Fn(&str) -> bool| fits(own) && fits(other);
    !is_odd(own)
        && !is_odd(other)
        && (own == other || both(&|name| Kind::of(name) == Kind::Integer) || both(&is_text))
}

impl<'a> Planner<'a> {
    fn wrong(&mut self, title: &str, what: impl Into<String>) {
        self.problems.push(Problem::of(format!("subset of table {title}"), what));
    }

    fn rule(&self, title: &str) -> Option<&'a SubsetRules> {
        self.rules.subset.get(title)
    }

    fn is_emptied(&self, title: &str) -> bool {
        self.programs.get(title).is_some_and(|program| program.is_emptied)
    }

    /// Reads all conditions.
    fn conditions(&mut self, key: &PseudonymKey) {
        for (name, rule) in &self.rules.subset {
            let table = self.schema.tables.iter().find(|table| table.title() == *name);
            let Some(table) = table else {
                let titles: Vec<String> = self.schema.tables.iter().map(Table::title).collect();
                let hint = nearest(name, titles.iter().map(String::as_str));
                self.wrong(name, format!("there is no such table; {hint}"));
                continue;
            };
            if self.is_emptied(name) {
                self.wrong(name, "it is in `truncate`; remove one of both");
            }
            if rule.condition.is_none() && !rule.referenced && rule.erase.is_empty() {
                self.wrong(name, "it says nothing; add `where`, `referenced` or `erase`");
            }
            if let Some(text) = &rule.condition {
                match Condition::parse(text, table, &key.domain(&format!("sample {name}"))) {
                    Ok(condition) => {
                        self.conditions.insert(name.clone(), condition);
                    }
                    Err(error) => self.wrong(name, format!("`where`: {error}")),
                }
            }
            if rule.referenced {
                let own = (&table.schema, &table.name);
                let leads_here = |from: &&Table| {
                    from.references.iter().any(|to| (&to.table.0, &to.table.1) == own)
                };
                if !self.schema.tables.iter().any(|from| leads_here(&from)) {
                    self.wrong(name, "`referenced`, but no table references it");
                }
            }
            self.erasable(table, rule);
        }
    }

    /// Whether the columns that `erase` names are references that may be NULL.
    fn erasable(&mut self, table: &Table, rule: &SubsetRules) {
        let title = table.title();
        for name in &rule.erase {
            let Some(column) = table.columns.iter().find(|column| column.name == *name) else {
                let hint = nearest(name, table.columns.iter().map(|column| column.name.as_str()));
                self.wrong(&title, format!("`erase`: there is no column `{name}`; {hint}"));
                continue;
            };
            let mut references = table.references.iter().filter(|to| to.columns.contains(name));
            if references.clone().next().is_none() {
                self.wrong(&title, format!("`erase`: {name} references nothing"));
            } else if !references.any(|to| to.columns.iter().all(|own| rule.erase.contains(own))) {
                self.wrong(
                    &title,
                    format!("`erase`: name all columns of the foreign key that {name} is in"),
                );
            }
            let refuses = self.programs.get(title.as_str()).is_some_and(|program| {
                program.columns.iter().any(|c| c.name == *name && c.null == Missing::Refuse)
            });
            if !column.is_nullable || refuses {
                self.wrong(
                    &title,
                    format!("`erase`: {name} cannot be NULL; leave it out, and its rows are"),
                );
            }
        }
    }

    fn target(&self, reference: &Reference) -> Option<&'a Table> {
        let fits = |table: &&Table| {
            (&table.schema, &table.name) == (&reference.table.0, &reference.table.1)
        };
        self.schema.tables.iter().find(fits)
    }

    /// References of a table that are still there in the copy.
    fn references(&self, table: &'a Table) -> impl Iterator<Item = &'a Reference> {
        let program = self.programs.get(table.title().as_str()).copied();
        let is_null = move |name: &String| {
            let columns = program.map(|program| program.columns.as_slice()).unwrap_or_default();
            columns.iter().any(|c| c.name == *name && c.described == "erase = null")
        };
        table.references.iter().filter(move |to| !to.columns.iter().any(&is_null))
    }

    /// Every table of which rows may be left out: those with rules, and what references them.
    fn affected(&self) -> Vec<&'a Table> {
        let is_named = |table: &&Table| self.rules.subset.contains_key(&table.title());
        let mut affected: Vec<&Table> = self.schema.tables.iter().filter(is_named).collect();
        loop {
            let known = affected.len();
            for table in &self.schema.tables {
                let is_in =
                    |table: &Table| affected.iter().any(|known| std::ptr::eq(*known, table));
                if is_in(table) || self.is_emptied(&table.title()) {
                    continue;
                }
                if self.references(table).filter_map(|to| self.target(to)).any(is_in) {
                    affected.push(table);
                }
            }
            if affected.len() == known {
                return affected;
            }
        }
    }

    fn is_referenced(&self, table: &Table) -> bool {
        self.rule(&table.title()).is_some_and(|rule| rule.referenced)
    }

    fn leads(&self, from: &'a Table, to: &Table) -> bool {
        let mut targets = self.references(from).filter_map(|reference| self.target(reference));
        targets.any(|target| std::ptr::eq(target, to))
    }

    /// Whether nothing hangs on the rows of a table, those of a table that is `referenced` neither.
    fn is_late(&self, table: &'a Table, affected: &[&'a Table]) -> bool {
        !affected.iter().any(|from| self.leads(from, table))
            && !affected.iter().any(|to| self.is_referenced(to) && self.leads(table, to))
    }

    fn plan(&mut self) -> Subset {
        let affected = self.affected();
        let is_late: Vec<bool> =
            affected.iter().map(|table| self.is_late(table, &affected)).collect();
        let mut ordered: Vec<(bool, &Table)> = is_late.into_iter().zip(affected).collect();
        ordered.sort_by_key(|(is_late, _)| *is_late);
        let mut tables: Vec<SubsetTable> = Vec::new();
        for (is_late, table) in &ordered {
            let title = table.title();
            tables.push(SubsetTable {
                schema: table.schema.clone(),
                name: table.name.clone(),
                columns: table.columns.iter().map(|column| column.name.clone()).collect(),
                condition: self.conditions.remove(&title),
                is_referenced: self.is_referenced(table),
                keys: Vec::new(),
                links: Vec::new(),
                is_late: *is_late,
                title,
            });
        }
        for (at, (_, table)) in ordered.iter().enumerate() {
            let references: Vec<&Reference> = self.references(table).collect();
            for reference in references {
                let link = self.link(table, reference, &ordered, &mut tables);
                if let (Some(link), Some(own)) = (link, tables.get_mut(at)) {
                    own.links.push(link);
                }
            }
        }
        Subset { tables }
    }

    /// A reference, if it leads to one of the tables.
    fn link(
        &mut self,
        table: &Table,
        reference: &Reference,
        ordered: &[(bool, &Table)],
        tables: &mut [SubsetTable],
    ) -> Option<Link> {
        let target = self.target(reference)?;
        let at = ordered.iter().position(|(_, known)| std::ptr::eq(*known, target))?;
        let to = match reference.to.is_empty() {
            true => &target.primary,
            false => &reference.to,
        };
        let own = table.title();
        let places = |table: &Table, names: &[String]| -> Option<Vec<usize>> {
            names.iter().map(|name| table.position(name)).collect()
        };
        let (columns, key) = (places(table, &reference.columns), places(target, to));
        let (Some(columns), Some(key)) = (columns, key) else {
            self.wrong(
                &own,
                format!(
                    "its foreign key to {} is on a computed column, and cannot be followed",
                    target.title()
                ),
            );
            return None;
        };
        for (own_column, other) in columns.iter().zip(&key) {
            let (Some(one), Some(other)) =
                (table.columns.get(*own_column), target.columns.get(*other))
            else {
                continue;
            };
            if !is_written_alike(&one.type_name, &other.type_name) {
                let what = format!(
                    "its foreign key {} ({}) to {}.{} ({}) cannot be followed: equal values may be written otherwise",
                    one.name,
                    one.type_name,
                    target.title(),
                    other.name,
                    other.type_name
                );
                self.wrong(&own, what);
            }
        }
        let keys = &mut tables.get_mut(at)?.keys;
        let known = keys.iter().position(|known| *known == key);
        let key = known.unwrap_or_else(|| {
            keys.push(key);
            keys.len() - 1
        });
        let erase = self.rule(&own).map(|rule| rule.erase.as_slice()).unwrap_or_default();
        let is_erased = reference.columns.iter().all(|name| erase.contains(name));
        Some(Link { columns, table: at, key, is_erased })
    }
}
