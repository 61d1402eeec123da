//! What rules are held against: tables and columns, and what binds them.

use sha2::{Digest as _, Sha256};

/// A database's tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    /// Its tables.
    pub tables: Vec<Table>,
    /// Tables without rows of their own (partitioned ones) at an end of a foreign key.
    pub unfollowed: Vec<String>,
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Columns in the order of its rows; computed ones not.
    pub columns: Vec<Column>,
    /// The columns of its primary key.
    pub primary: Vec<String>,
    /// The columns of each unique index and constraint, the primary key among them.
    pub unique: Vec<Vec<String>>,
    /// Its foreign keys.
    pub references: Vec<Reference>,
    /// Rows, if known.
    pub rows: u64,
}

/// A column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type as PostgreSQL writes it.
    pub type_name: String,
    /// It may hold NULL, as far as is known.
    pub is_nullable: bool,
}

/// A foreign key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reference {
    /// Its own columns.
    pub columns: Vec<String>,
    /// Schema and name of the table it leads to.
    pub table: (String, String),
    /// The columns there; empty: its primary key.
    pub to: Vec<String>,
}

impl Table {
    /// As rules name it: without `public`.
    pub fn title(&self) -> String {
        title(&self.schema, &self.name)
    }

    /// The place of a column.
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|known| known.name == column)
    }
}

/// A table as rules name it: without `public`.
pub fn title(schema: &str, name: &str) -> String {
    match schema {
        "public" => name.to_owned(),
        _ => format!("{schema}.{name}"),
    }
}

/// What pins a group of columns: the first 64 bits of the SHA-256 of their names and types, in the order of
/// their names, so that a column that moves changes nothing.
pub fn fingerprint<'c>(columns: impl Iterator<Item = &'c Column>) -> String {
    let mut lines: Vec<String> =
        columns.map(|column| format!("{}\0{}\n", column.name, column.type_name)).collect();
    lines.sort();
    let mut hasher = Sha256::new();
    for line in &lines {
        hasher.update(line.as_bytes());
    }
    let digits: String =
        hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// What a type holds, as far as pseudonyms are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Text, of at most so many letters.
    Text(Option<usize>),
    /// A whole number.
    Integer,
    /// Another number.
    Number,
    /// True or false.
    Boolean,
    /// A day.
    Date,
    /// A moment.
    Timestamp,
    /// `uuid`.
    Uuid,
    /// An address of the internet.
    Address,
    /// `json`, `jsonb`.
    Json,
    /// Bytes.
    Bytes,
    /// Several of one kind.
    Array(Box<Kind>),
    /// Anything else.
    Other,
}

impl Kind {
    /// Of a type as PostgreSQL writes it.
    pub fn of(type_name: &str) -> Self {
        if let Some(element) = type_name.strip_suffix("[]") {
            return Self::Array(Box::new(Self::of(element)));
        }
        let (name, argument) = match type_name.split_once('(') {
            Some((name, rest)) => (name.trim_end(), rest.split(')').next().unwrap_or_default()),
            None => (type_name, ""),
        };
        let bare = name.rsplit('.').next().unwrap_or(name).trim_matches('"');
        match bare {
            "character varying" | "character" | "varchar" | "bpchar" | "text" | "citext"
            | "name" => Self::Text(argument.parse().ok()),
            "smallint" | "integer" | "bigint" => Self::Integer,
            "numeric" | "real" | "double precision" | "money" => Self::Number,
            "boolean" => Self::Boolean,
            "date" => Self::Date,
            "uuid" => Self::Uuid,
            "inet" | "cidr" => Self::Address,
            "json" | "jsonb" => Self::Json,
            "bytea" => Self::Bytes,
            _ if bare.starts_with("timestamp") => Self::Timestamp,
            _ => Self::Other,
        }
    }

    /// Whether a value that was removed elsewhere could be in it.
    pub const fn may_hold_identifiers(&self) -> bool {
        !matches!(self, Self::Boolean | Self::Date | Self::Timestamp | Self::Integer | Self::Number)
    }

    /// Whether it is text.
    pub const fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, type_name: &str) -> Column {
        Column { name: name.to_owned(), type_name: type_name.to_owned(), is_nullable: false }
    }

    #[test]
    fn types_are_what_they_hold() {
        for (name, kind) in [
            ("character varying(254)", Kind::Text(Some(254))),
            ("character(5)", Kind::Text(Some(5))),
            ("text", Kind::Text(None)),
            ("public.citext", Kind::Text(None)),
            ("bigint", Kind::Integer),
            ("timestamp with time zone", Kind::Timestamp),
            ("timestamp(3) without time zone", Kind::Timestamp),
            ("jsonb", Kind::Json),
            ("inet[]", Kind::Array(Box::new(Kind::Address))),
            ("numeric(10,2)", Kind::Number),
            ("public.geometry(Point,4326)", Kind::Other),
        ] {
            assert_eq!(Kind::of(name), kind, "{name}");
        }
    }

    #[test]
    fn a_fingerprint_changes_with_names_and_types_alone() {
        let (a, b) = (column("a", "integer"), column("b", "text"));
        let first = fingerprint([&a, &b].into_iter());
        assert_eq!(first, fingerprint([&b, &a].into_iter()));
        assert_eq!(first.len(), "sha256:".len() + 16);
        for other in [
            fingerprint([&a].into_iter()),
            fingerprint([&a, &column("b", "jsonb")].into_iter()),
            fingerprint([&a, &column("c", "text")].into_iter()),
        ] {
            assert_ne!(first, other);
        }
    }
}
