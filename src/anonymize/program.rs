//! Rules made ready for the tables of one schema.

use super::key::DomainKey;
use super::originals::Classes;
use super::rule::Missing;
use super::scan::Depth;
use super::subset::Subset;
use super::transform::{FileSink, Transformer, Unfit};

/// What becomes of a column.
#[derive(Debug)]
pub enum Action {
    /// It stays as it is.
    Keep,
    /// It is made anew.
    Transform(Box<dyn Transformer>),
}

/// A column and its rule.
#[derive(Debug)]
pub struct ColumnProgram {
    /// Name.
    pub name: String,
    /// What becomes of it.
    pub action: Action,
    /// What its rule says, for the report.
    pub described: String,
    /// For NULL.
    pub null: Missing,
    /// For empty texts.
    pub empty: Missing,
    /// How closely what is copied is looked at.
    pub depth: Option<Depth>,
    /// Its values are written as hexadecimal digits.
    pub is_hex: bool,
    /// Its originals are looked for.
    pub is_gathered: bool,
    /// Somebody looks at what it was.
    pub needs_original: bool,
    /// Somebody looks at what it will be.
    pub needs_made: bool,
}

/// A table and its rules.
#[derive(Debug)]
pub struct TableProgram {
    /// As rules name it.
    pub title: String,
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Columns, in the order of its rows. Of a table that is emptied there are none.
    pub columns: Vec<ColumnProgram>,
    /// In which order columns are made.
    pub order: Vec<usize>,
    /// None of its rows is copied.
    pub is_emptied: bool,
    /// Columns that tell a row from others.
    pub key_columns: Vec<usize>,
    /// The key of what rows are called in errors.
    pub row_key: DomainKey,
    /// A first and a last name of the same person.
    pub names: Option<(usize, usize)>,
}

impl TableProgram {
    /// Whether a first pass over its rows would find anything out.
    pub fn needs_survey(&self) -> bool {
        !self.is_emptied
            && self.columns.iter().any(|column| matches!(column.action, Action::Transform(_)))
    }

    /// What a row is called: a pseudonym of its key, which says nothing to others.
    pub fn row_name(&self, key: &str) -> String {
        let bits = self.row_key.draw(key, 0).next_bits();
        format!("{:012x}", bits >> 16)
    }
}

/// Rules made ready.
#[derive(Debug)]
pub struct Program {
    /// The tables of the schema, in its order.
    pub tables: Vec<TableProgram>,
    /// What is looked for.
    pub scanned: Classes,
    /// Tables of which not all rows are copied.
    pub subset: Option<Subset>,
}

impl Program {
    /// The rules of a table.
    pub fn table(&self, schema: &str, name: &str) -> Option<&TableProgram> {
        self.tables.iter().find(|table| table.schema == schema && table.name == name)
    }
}

/// A row that cannot be rewritten. Says nothing of its values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("table {table}, column {column}: row {row} (number {number}): {reason}")]
pub struct Trouble {
    /// As rules name it.
    pub table: String,
    /// Column.
    pub column: String,
    /// A pseudonym of its key.
    pub row: String,
    /// Where it is in the table's stream, from 1.
    pub number: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// A value that was removed elsewhere and would have been copied.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("table {table}, column {column}: {} is in a row that would be copied", hit.describe())]
pub struct Leak {
    /// As rules name it.
    pub table: String,
    /// Column.
    pub column: String,
    /// What.
    pub hit: super::scan::Hit,
}

/// Refuses every file: where a program makes none.
#[derive(Debug, Clone, Copy)]
pub struct NoRoots;

impl FileSink for NoRoots {
    fn placeholder(&self, _: super::transform::Placeholder<'_>) -> Result<(), Unfit> {
        Err("no directory for files is known".into())
    }
}
