//! Where what is saved comes from.

pub mod files;
