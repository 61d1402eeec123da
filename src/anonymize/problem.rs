//! What keeps rules from being applied: all of it, told at once.

use std::fmt;

/// One thing that is wrong, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// `table person`, `table person, column nir`.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// Lines for the rules that would settle it, if that is known.
    pub suggestion: Option<String>,
}

impl Problem {
    /// Of a table.
    pub fn table(table: &str, what: impl Into<String>) -> Self {
        Self { place: format!("table {table}"), what: what.into(), suggestion: None }
    }

    /// Of a column.
    pub fn column(table: &str, column: &str, what: impl Into<String>) -> Self {
        let place = format!("table {table}, column {column}");
        Self { place, what: what.into(), suggestion: None }
    }

    /// Of something else.
    pub fn of(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), suggestion: None }
    }

    /// With what to write.
    #[must_use]
    pub fn suggesting(mut self, lines: impl Into<String>) -> Self {
        self.suggestion = Some(lines.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}
