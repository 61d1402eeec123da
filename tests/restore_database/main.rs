//! Databases of real servers backed up, restored into their place, taken back, proven; and everything that
//! can go wrong on the way.

#[path = "../support/mod.rs"]
mod support;

mod busy;
mod ended;
mod faults;
mod full_disk;
mod killed;
mod nasty;
mod proof;
mod site;
mod table;
mod whole;
