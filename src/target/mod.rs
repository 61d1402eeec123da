//! Where what was saved goes back to.

pub mod files;
pub mod postgres;
pub mod scratch;
