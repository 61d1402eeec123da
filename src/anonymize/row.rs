//! The values of a row while it is rewritten.

/// One value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// It is NULL.
    pub is_null: bool,
    /// Its text.
    pub text: String,
}

impl Cell {
    /// Empties it; its room is kept.
    pub fn clear(&mut self) {
        self.is_null = false;
        self.text.clear();
    }

    /// Its text, unless it is NULL.
    pub fn value(&self) -> Option<&str> {
        (!self.is_null).then_some(self.text.as_str())
    }
}

/// All values of a row: as they were, where somebody looks at that, and as they will be.
#[derive(Debug, Clone, Default)]
pub struct Cells {
    /// As they were.
    pub originals: Vec<Cell>,
    /// As they will be.
    pub made: Vec<Cell>,
}

impl Cells {
    /// Of a table of so many columns.
    pub fn new(columns: usize) -> Self {
        Self { originals: vec![Cell::default(); columns], made: vec![Cell::default(); columns] }
    }

    /// What a column held; `None`: NULL.
    pub fn original(&self, column: usize) -> Option<&str> {
        self.originals.get(column).and_then(Cell::value)
    }

    /// What a column will hold; `None`: NULL.
    pub fn made(&self, column: usize) -> Option<&str> {
        self.made.get(column).and_then(Cell::value)
    }
}
