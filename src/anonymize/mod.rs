//! Rows without people in them: rules, what makes pseudonyms, and the search for what slipped through.
//!
//! Nothing here reads or writes: rules are held against a schema ([`compile`]), rows come in and go out as text
//! ([`Surveyor`], [`Rewriter`]). Where they come from and go to is the business of `clone`.

mod charset;
mod compile;
pub mod copy_text;
mod detect;
mod divisor;
mod fold;
mod json;
mod key;
mod originals;
mod permutation;
mod polynomial;
mod problem;
mod program;
mod references;
mod rewrite;
mod row;
mod rule;
mod rules;
mod scan;
mod schema;
mod subset;
pub mod transform;

pub use charset::Charset;
pub use compile::{GROUP, compile};
pub use detect::{Sampled, Samples, key as toml_key, suggestion, table_suggestion};
pub use key::{PseudonymKey, SHORTEST_KEY, ShortKey};
pub use originals::{Classes, FingerprintKey, Gatherer, MOST, Originals, SHORTEST, TooMany};
pub use problem::Problem;
pub use program::{Action, ColumnProgram, Leak, NoRoots, Program, TableProgram, Trouble};
pub use rewrite::{Counts, RewriteError, Rewriter, Rewritten, RowStream, Surveyor};
pub use rules::{FileRules, Rules, RulesError, SubsetRules, TargetRules};
pub use scan::{Depth, Hit, Scanner};
pub use schema::{Column, Kind, Reference, Schema, Table, fingerprint, title};
pub use subset::{Choosing, Kept, KeptRows, MOST_BYTES, Subset, SubsetTable};
