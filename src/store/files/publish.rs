//! Moving what is staged to its place.

use std::num::NonZeroUsize;

use super::{FileStore, Files, is_absent};
use crate::store::at_once::by_threads;
use crate::store::{ByteRange, ObjectName, StoreError, StoreErrorKind, Verb};

impl<F: Files> FileStore<F> {
    /// By a rename, or, where that is refused, by writing it again.
    pub(super) fn publish_by_rename(
        &self,
        staged: &ObjectName,
        target: &ObjectName,
    ) -> Result<(), StoreError> {
        let fail = |failure| self.error(Verb::Publish, Some(target), failure);
        let refuse =
            |kind, name, reason| Err(self.location.error(kind, Verb::Publish, Some(name), reason));
        let _claimed = self.claims.claim(target);
        let (from, to) = (staged.path(), target.path());
        let pair = [from.as_str(), to.as_str()];
        let at_once = match self.files.share_a_connection() {
            true => NonZeroUsize::MIN.saturating_add(1),
            false => NonZeroUsize::MIN,
        };
        let mut there = by_threads(at_once, &pair, |path| self.size_of(path)).into_iter();
        let mut is_there =
            || there.next().transpose().map_err(fail).map(|size| size.flatten().is_some());
        if !is_there()? {
            return refuse(StoreErrorKind::NotFound, staged, "it is not there");
        }
        if is_there()? {
            return refuse(StoreErrorKind::Exists, target, "it is there");
        }
        match self.in_directory(&to, || self.files.rename(&from, &to)) {
            // Its session's directory is not empty: who publishes, lives.
            Ok(()) => Ok(()),
            Err(failure) if failure.is_unsupported || is_absent(&failure) => {
                if self.size_of(&from).map_err(fail)?.is_none() {
                    return refuse(StoreErrorKind::NotFound, staged, "it is not there");
                }
                self.publish_without_rename(staged, target)
            }
            Err(failure) => Err(fail(failure)),
        }
    }

    /// Where the server refuses to rename: written again under its name, and taken back if the staged
    /// object was removed meanwhile.
    fn publish_without_rename(
        &self,
        staged: &ObjectName,
        target: &ObjectName,
    ) -> Result<(), StoreError> {
        let fail = |failure| self.error(Verb::Publish, Some(target), failure);
        let (from, to) = (staged.path(), target.path());
        let bytes = self.fetch(staged, ByteRange::Whole { limit: 64 << 20 })?;
        self.write_in_place(&to, &[&bytes]).map_err(fail)?;
        if self.size_of(&from).map_err(fail)?.is_none() {
            self.remove(&to).map_err(fail)?;
            let reason = "it was removed while it was published";
            return Err(self.location.error(
                StoreErrorKind::NotFound,
                Verb::Publish,
                Some(staged),
                reason,
            ));
        }
        self.remove(&from).map_err(fail)
    }
}
