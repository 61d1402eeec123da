//! Which process does a run, so that one that died is told from one at work.

use std::fs;

use serde::{Deserialize, Serialize};

/// A process of this machine, told from a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// When it started, in ticks since the machine did (proc(5), `stat`, field 22).
    #[serde(default)]
    pub started: u64,
    /// Which start of the machine that was.
    #[serde(default)]
    pub boot: String,
}

impl Process {
    /// This one.
    pub fn this() -> Self {
        let id = std::process::id();
        Self { id, started: start_of(id).unwrap_or(0), boot: boot() }
    }

    /// Whether it is still at work. What cannot be found out counts as no.
    pub fn is_alive(&self) -> bool {
        self.started != 0 && start_of(self.id) == Some(self.started) && boot() == self.boot
    }
}

fn start_of(id: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in brackets may hold anything, brackets and spaces too.
    let (_, rest) = text.rsplit_once(')')?;
    let mut words = rest.split_whitespace();
    // One that nobody has waited for yet does nothing any more.
    let state = words.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    words.nth(18)?.parse().ok()
}

fn boot() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    text.map(|text| text.trim().to_owned()).unwrap_or_default()
}
