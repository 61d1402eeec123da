//! What binds tables: foreign keys and unique indexes have to hold in the copy, too.

use std::collections::BTreeMap;

use super::problem::Problem;
use super::program::{Action, ColumnProgram, TableProgram};
use super::rules::Rules;
use super::schema::{Reference, Schema, Table, title};
use super::transform::{Injective, verb};

/// Notes what would not hold.
pub fn check(
    schema: &Schema,
    programs: &[TableProgram],
    rules: &Rules,
    problems: &mut Vec<Problem>,
) {
    let by_title: BTreeMap<&str, &TableProgram> =
        programs.iter().map(|program| (program.title.as_str(), program)).collect();
    for table in &schema.tables {
        let own = table.title();
        let Some(program) = by_title.get(own.as_str()).filter(|program| !program.is_emptied) else {
            continue;
        };
        unique(table, program, problems);
        for reference in &table.references {
            let there = title(&reference.table.0, &reference.table.1);
            let target = schema.tables.iter().find(|table| table.title() == there);
            if let (Some(target), Some(other)) = (target, by_title.get(there.as_str())) {
                let link = Link { reference, own: program, target, other };
                link.check(rules, problems);
            }
        }
    }
}

fn unique(table: &Table, program: &TableProgram, problems: &mut Vec<Problem>) {
    for columns in &table.unique {
        let made: Vec<&ColumnProgram> = columns
            .iter()
            .filter_map(|name| program.columns.iter().find(|column| column.name == *name))
            .collect();
        // Kept columns, and one to one ones, keep an index unique; all of its columns have to be.
        for column in made {
            let Action::Transform(transformer) = &column.action else { continue };
            if transformer.injective().is_enough() {
                continue;
            }
            let how = match transformer.injective() {
                Injective::Bits(bits) => format!("is drawn from only 2^{bits}"),
                _ => "may become the same for two values".to_owned(),
            };
            let what = format!(
                "a unique index ({}) needs different values, and `{}` {how}",
                columns.join(", "),
                column.described
            );
            problems.push(Problem::column(&program.title, &column.name, what));
        }
    }
}

struct Link<'a> {
    reference: &'a Reference,
    own: &'a TableProgram,
    target: &'a Table,
    other: &'a TableProgram,
}

/// What has to be the same at both ends: verb and domain.
fn signature(rules: &Rules, title: &str, column: &ColumnProgram) -> Option<(String, String)> {
    let Action::Transform(_) = &column.action else { return None };
    let rule = rules.tables.get(title)?.get(&column.name)?;
    let name = rule.keys().find(|key| verb(key).is_some())?;
    let value = rule.get(name).map(ToString::to_string).unwrap_or_default();
    let domain = rule.get("domain").map(ToString::to_string).unwrap_or_default();
    Some((format!("{name} = {value}"), domain))
}

impl Link<'_> {
    fn check(&self, rules: &Rules, problems: &mut Vec<Problem>) {
        let to = match self.reference.to.is_empty() {
            true => &self.target.primary,
            false => &self.reference.to,
        };
        for (own, other) in self.reference.columns.iter().zip(to) {
            let Some(column) = self.own.columns.iter().find(|column| column.name == *own) else {
                continue;
            };
            let erased = column.described == "erase = null";
            if self.other.is_emptied {
                if !erased {
                    let what = format!(
                        "it references table {}, which is emptied; empty this one, too, or use `erase = \"null\"`",
                        self.other.title
                    );
                    problems.push(Problem::column(&self.own.title, own, what));
                }
                continue;
            }
            let there = self.other.columns.iter().find(|column| column.name == *other);
            let Some(there) = there.filter(|_| !erased) else { continue };
            let (here, far) = (
                signature(rules, &self.own.title, column),
                signature(rules, &self.other.title, there),
            );
            if here != far {
                let what = format!(
                    "it references {}.{other}, which has another rule; both have to be kept, or have the same verb and domain",
                    self.other.title
                );
                problems.push(Problem::column(&self.own.title, own, what));
            }
        }
    }
}
