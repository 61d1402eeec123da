//! Where what was saved goes back to.

pub mod files;
