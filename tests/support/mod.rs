//! What several integration tests need.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod postgres;
