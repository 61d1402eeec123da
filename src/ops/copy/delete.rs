//! What the source has no more leaves the copy late: snapshots first, then index objects, then packs.
//!
//! Why this is safe. A pack is noted as gone only after a view of the source was copied whole; what the
//! snapshots of that view need is then in other packs, which the copy has. A snapshot that is at the copy and
//! not at the source was noted as gone at the same time or earlier than any pack it needs, so it leaves
//! before, or in the same run. Names of deleted packs never come back (docs/protocol.md).

use crate::store::{ObjectKind, ObjectName};

use super::Copying;
use super::error::CopyError;
use super::plan::Work;
use super::summary::CopyReport;

/// In this order. Key slots last: with less than all of them the rest is of no use.
const ORDER: [ObjectKind; 4] =
    [ObjectKind::Snapshot, ObjectKind::Index, ObjectKind::Pack, ObjectKind::Key];

impl Copying<'_> {
    /// Writes down since when the source has objects no more, and which it has again.
    pub(super) fn note_gone(&self, work: &Work) -> Result<(), CopyError> {
        self.holdings.set_gone(&work.back, None)?;
        // While snapshots are missing that nobody forgot, nobody knows what they need.
        if work.lost_at_source.is_empty() {
            let new = work.gone.iter().filter(|(_, since)| since.is_none());
            let new: Vec<ObjectName> = new.map(|(name, _)| *name).collect();
            self.holdings.set_gone(&new, Some(self.now))?;
        }
        Ok(())
    }

    /// Deletes what has been gone for long enough.
    pub(super) fn delete_due(&self, work: &Work, report: &mut CopyReport) -> Result<(), CopyError> {
        let due = work.due(self);
        report.kept = (work.gone.len() - due.len()) as u64;
        let Some(session) = self.session.filter(|_| !due.is_empty()) else { return Ok(()) };
        if let Some(reason) = self.others_at_work(session)? {
            report.kept = work.gone.len() as u64;
            report.undeleted = Some(reason);
            return Ok(());
        }
        for kind in ORDER {
            let names: Vec<ObjectName> =
                due.iter().filter(|name| name.kind() == kind).copied().collect();
            if names.is_empty() {
                continue;
            }
            for name in &names {
                self.keep_going()?;
                self.store().delete(name)?;
                report.deleted += 1;
            }
            self.store().sync()?;
            self.holdings.set_dropped(&names, self.now)?;
        }
        Ok(())
    }

    /// Who else writes at the copy. What is left of the dead is removed, by the store's own time.
    fn others_at_work(
        &self,
        session: &crate::repository::Session<'_>,
    ) -> Result<Option<String>, CopyError> {
        let (own, others): (Vec<_>, Vec<_>) =
            self.target.seen_sessions()?.into_iter().partition(|seen| seen.id == session.id());
        let Some(own) = own.first() else {
            return Err(crate::repository::RepositoryError::SessionExpired.into());
        };
        for other in others {
            let age = match (own.last_written, other.last_written) {
                (Some(now), Some(last)) => now.duration_since(last).unsigned_abs(),
                _ => std::time::Duration::ZERO,
            };
            if age < self.options.expiry {
                return Ok(Some(format!("{} is at work there", other.describe())));
            }
            self.target.expire_session(&other)?;
        }
        Ok(None)
    }
}
