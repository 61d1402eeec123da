//! Databases of a server that a snapshot is restored into.
//!
//! A database is restored beside the live one, looked at, and then put into its place by two renames in
//! one transaction. Nothing here touches the live database before that.

mod archive;
mod beside;
mod cluster;
mod compare;
mod create;
mod error;
mod gates;
mod load;
mod parallel;
mod script;
mod space;
mod sql;
mod statistics;
mod swap;

pub use archive::{ArchiveRestore, check_program, major};
pub use beside::{Beside, Difference, Live};
pub use cluster::{Cluster, Input};
pub use compare::{Thoroughness, check_heap_and_indexes, compare_rows, compare_schema};
pub use create::{
    apply_properties, create_database, create_roles, drop_roles, exists, missing_roles,
    missing_tablespaces, roles_of, tablespaces_of,
};
pub use error::DatabaseError;
pub use gates::{check_assertions, check_objects, check_rows};
pub use load::{CompareTable, Found, Load, OpenTable, Rows, column_list, prepare_copy, table_name};
pub use script::load_script;
pub use space::{free_bytes, needed_bytes, size_of};
pub use sql::globals_roles;
pub use statistics::Statistics;
pub use swap::{
    Marked, Marker, Reason, Swap, drop_database, drop_half_made, half_made, kept, mark_half_made,
    new_name, old_name,
};
