//! PostgreSQL servers: how they are reached, and where their databases are in a snapshot. What reads
//! from one is in `source`, what restores into one in `target`.
//!
//! [`Server::find`] settles once where the server is and how to get there; [`Server::connect`]
//! opens sessions, [`Server::command`] prepares PostgreSQL's own programs.

mod client;
mod container;
mod error;
mod exec;
mod layout;
mod parameters;
mod quote;
mod server;
mod tls;

pub use client::{Client, CopyIn, CopyOut, Rows};
pub use container::{ContainerSettings, ContainerWay, Image};
pub use error::ServerError;
pub use exec::Feed;
pub use layout::{GLOBALS_PATH, archive_path, database_path, path_component, table_path};
pub use parameters::{Environment, check_conninfo};
pub use quote::{conninfo, identifier, literal, qualified};
pub use server::{Server, ServerSettings};

/// The settings in which rows are written and read as text: whatever server, role and database say
/// otherwise, the same rows give the same bytes, so that a restored table can be compared by its hash.
/// GMT is the one time zone that every server knows, also without files of time zones.
pub const COPY_TEXT: &str = "SET DateStyle = ISO; SET IntervalStyle = postgres; \
     SET TimeZone = GMT; SET bytea_output = hex; SET extra_float_digits = 3; \
     SET synchronize_seqscans = off";
