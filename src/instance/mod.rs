//! What is backed up: instances and their configuration.

pub mod config;
