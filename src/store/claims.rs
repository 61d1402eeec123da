//! Names somebody in this process writes to: one at a time, where a server cannot see to that.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};

use super::ObjectName;

/// All names that are claimed.
#[derive(Debug, Default)]
pub(super) struct Claims {
    busy: Mutex<BTreeSet<ObjectName>>,
    released: Condvar,
}

/// A claimed name; free again when dropped.
pub(super) struct Claimed<'c>(&'c Claims, ObjectName);

impl Claims {
    /// Waits until nobody else has `name`.
    pub fn claim(&self, name: &ObjectName) -> Claimed<'_> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        while !busy.insert(*name) {
            busy = self.released.wait(busy).unwrap_or_else(PoisonError::into_inner);
        }
        Claimed(self, *name)
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.0.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
        self.0.released.notify_all();
    }
}
