//! What killed writers left: temporary files. Listings meet them anyway, so nobody need look for them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::{Failure, FileStore, Files, PROBE, temporary_of};
use crate::clock::Clock;
use crate::store::{ObjectInfo, ObjectKind, ObjectName, StoreError, Verb};

/// Temporary files with their times, as the last whole listing of each kind met them.
pub(super) type Seen = Mutex<BTreeMap<ObjectKind, Vec<Temporary>>>;
type Temporary = (String, Option<Timestamp>);

impl<F: Files> FileStore<F> {
    /// Visits all objects of one kind, and remembers what is none.
    pub(super) fn list_objects(
        &self,
        kind: ObjectKind,
        visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let mut temporaries = Vec::new();
        let mut is_whole = true;
        self.walk(kind, &mut |path, entry| {
            let flow = match ObjectName::parse(path) {
                Some(name) if name.kind() == kind => {
                    visit(ObjectInfo { name, size: entry.size, modified: entry.modified })
                }
                None if temporary_of(path).is_some() => {
                    temporaries.push((path.to_owned(), entry.modified));
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Continue(()),
            };
            is_whole &= flow.is_continue();
            flow
        })?;
        if is_whole {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(kind, temporaries);
        }
        Ok(())
    }

    /// Removes temporary files that are old enough. Only kinds that were not listed yet are listed for it.
    pub(super) fn remove_leftovers(
        &self,
        older_than: Duration,
        clock: &dyn Clock,
    ) -> Result<u64, StoreError> {
        let lock = || self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for kind in ObjectKind::ALL {
            if !lock().contains_key(&kind) {
                self.list_objects(kind, &mut |_| ControlFlow::Continue(()))
                    .map_err(|failure| self.error(Verb::List, None, failure))?;
            }
        }
        let temporaries: Vec<Temporary> =
            std::mem::take(&mut *lock()).into_values().flatten().collect();
        if temporaries.is_empty() {
            return Ok(0);
        }
        // Files have the server's times. A writer whose clock is days ahead must not take files for stale
        // that others are just writing.
        let Ok(Some(there)) = self.probe() else { return Ok(0) };
        let _ = self.files.remove(PROBE);
        let now = clock.now().min(there);
        let limit = now.saturating_sub(older_than).unwrap_or(Timestamp::MIN);
        let mut removed = 0;
        for (path, modified) in temporaries {
            if modified.is_some_and(|at| at < limit) {
                self.remove(&path).map_err(|failure| self.error(Verb::Delete, None, failure))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Writes a file that is no object; gives its time there.
    fn probe(&self) -> Result<Option<Timestamp>, Failure> {
        self.files.write(PROBE, &[b"probe"])?;
        let listed = self.files.list("")?;
        Ok(listed.into_iter().find(|entry| entry.name == PROBE).and_then(|entry| entry.modified))
    }
}
