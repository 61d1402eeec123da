//! A part of the rows: conditions, and what follows from them over foreign keys.
//!
//! A row is copied if its table's condition is true for it (or, in a table that is `referenced`, if a copied row
//! references it), and if every row that it references is copied. So nothing in the copy references what is not
//! there, cycles and references of a table to itself among it. Where a reference is to be erased, it becomes
//! NULL instead of keeping its row out.

mod choose;
mod condition;
mod plan;
mod rows;
mod token;
mod value;

pub use choose::{Choosing, MOST_BYTES};
pub(super) use plan::compile;
pub use plan::{Subset, SubsetTable};
pub use rows::{Kept, KeptRows};
