//! Publishing without a rename.
//!
//! A snapshot is published by creating its object, and what makes that safe is a *fence*, an
//! object `sessions/<id>/fence-<snapshot>` that only one can create: the writer who publishes, or whoever
//! removes the staged snapshot because the writer is taken for dead. Who comes second yields. A writer that
//! created the fence and died has published: whoever finds the fence so completes it.
//!
//! A fence stays as long as somebody asleep might still come for it, and is removed with other left-overs.
//! Staging anew removes the one from before: what is staged later is revalidated later, too.

use bytes::Bytes;

use super::BucketStore;
use crate::store::files::Failure;
use crate::store::{ObjectName, StoreErrorKind};

const PUBLISHED: &[u8] = b"published";
const REMOVED: &[u8] = b"removed";

/// How publishing ended.
pub(super) enum Published {
    Done,
    /// The target is there already.
    Exists,
    /// What was staged is not there.
    Gone,
    /// It was removed meanwhile.
    Lost,
}

/// Whose a fence is.
enum Claim {
    /// Made just now, to publish.
    Made,
    /// It was made to publish, by a try before.
    Found,
    /// Somebody made it to remove what was staged.
    Removed,
}

/// Where the fence of a staged object lies.
pub(super) fn fence(staged: &ObjectName) -> Option<String> {
    match staged {
        ObjectName::Staged { session, snapshot } => {
            Some(format!("sessions/{session}/fence-{snapshot}"))
        }
        _ => None,
    }
}

/// Whether a fence lies there.
pub(super) fn is_fence(path: &str) -> bool {
    path.starts_with("sessions/") && path.contains("/fence-")
}

fn conflict() -> Failure {
    Failure::new(StoreErrorKind::Temporary, "somebody else works on it at the same moment")
}

impl BucketStore {
    /// Makes `target` of `bytes`, which may be there already if another completes the same publishing.
    fn create_target(&self, target: &str, bytes: Bytes) -> Result<(), Failure> {
        match self.write(target, bytes, true) {
            Err(failure) if failure.kind == StoreErrorKind::Exists => self.must_be_there(target),
            done => done,
        }
    }

    /// Whether a create was refused because the object is there. Of two at the same moment S3 may refuse both (409), and
    /// then nothing is: that is to be tried again.
    pub(super) fn must_be_there(&self, path: &str) -> Result<(), Failure> {
        match self.size_of(path)? {
            Some(_) => Ok(()),
            None => Err(conflict()),
        }
    }

    fn claim(&self, fence: &str) -> Result<Claim, Failure> {
        match self.write(fence, Bytes::from_static(PUBLISHED), true) {
            Ok(()) => Ok(Claim::Made),
            Err(failure) if failure.kind == StoreErrorKind::Exists => {
                let found = self.read_small(fence)?.ok_or_else(conflict)?;
                Ok(if found == PUBLISHED { Claim::Found } else { Claim::Removed })
            }
            Err(failure) => Err(failure),
        }
    }

    fn publish_fenced(
        &self,
        staged: &ObjectName,
        fence: &str,
        bytes: Bytes,
        to: &str,
    ) -> Result<(), Failure> {
        self.create_target(to, bytes)?;
        self.known().published.insert(*staged);
        let (staged, fence) = self.both(|| self.remove(&staged.path()), || self.remove(fence));
        staged.and(fence)
    }

    /// Ends a publishing of which only that is left.
    pub(super) fn clear_published(&self, staged: &ObjectName) -> Result<Published, Failure> {
        self.remove(&staged.path())?;
        if let Some(fence) = fence(staged) {
            self.remove(&fence)?;
        }
        Ok(Published::Done)
    }

    /// What this process staged is published without reading it again: were it removed, the fence would say so.
    pub(super) fn publish_own(
        &self,
        staged: &ObjectName,
        fence: &str,
        bytes: Bytes,
        to: &str,
    ) -> Result<Published, Failure> {
        let (there, claim) = self.both(|| self.size_of(to), || self.claim(fence));
        match claim? {
            Claim::Removed => return Ok(Published::Lost),
            Claim::Made if there?.is_some() => {
                self.remove(fence)?;
                return Ok(Published::Exists);
            }
            Claim::Made | Claim::Found => {}
        }
        self.publish_fenced(staged, fence, bytes, to)?;
        Ok(Published::Done)
    }

    /// What another process staged, or where only looking again helps.
    pub(super) fn publish_read(&self, staged: &ObjectName, to: &str) -> Result<Published, Failure> {
        let from = staged.path();
        let Some(bytes) = self.read_small(&from)? else { return Ok(Published::Gone) };
        if self.size_of(to)?.is_some() {
            return Ok(Published::Exists);
        }
        if self.creates_once()? {
            let Some(fence) = fence(staged) else { return Ok(Published::Lost) };
            if matches!(self.claim(&fence)?, Claim::Removed) {
                return Ok(Published::Lost);
            }
            self.publish_fenced(staged, &fence, bytes, to)?;
            return Ok(Published::Done);
        }
        // Without a way to be the only one: taken back if the staged object was removed meanwhile.
        self.write(to, bytes, false)?;
        if self.size_of(&from)?.is_none() {
            self.remove(to)?;
            return Ok(Published::Lost);
        }
        self.known().published.insert(*staged);
        self.clear_published(staged)
    }

    /// Removes what was staged, unless its writer has published it: then that is completed.
    pub(super) fn remove_staged(&self, staged: &ObjectName, fence: &str) -> Result<(), Failure> {
        let ObjectName::Staged { snapshot, .. } = staged else { return Ok(()) };
        let path = staged.path();
        let Some(bytes) = self.read_small(&path)? else { return Ok(()) };
        match self.write(fence, Bytes::from_static(REMOVED), true) {
            Ok(()) => {}
            Err(failure) if failure.kind == StoreErrorKind::Exists => {
                if self.read_small(fence)?.ok_or_else(conflict)? == PUBLISHED {
                    self.create_target(&ObjectName::Snapshot(*snapshot).path(), bytes)?;
                }
            }
            Err(failure) => return Err(failure),
        }
        self.remove(&path)
    }
}
