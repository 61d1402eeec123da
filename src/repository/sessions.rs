//! Sessions of others, as a prune sees them in a listing. All times are the store's: nobody's clock is
//! asked.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::crypto::envelope::SealedKind;
use crate::id::SessionId;
use crate::snapshot::SessionRecord;
use crate::store::{ObjectKind, ObjectName, list_all};

use super::error::RepositoryError;
use super::open::Repository;

/// One session that has objects in the store.
#[derive(Debug, Clone)]
pub struct SeenSession {
    /// Which.
    pub id: SessionId,
    /// What its last beat says; `None` if it cannot be read, or only a staged snapshot is left. Such
    /// a session names nothing.
    pub record: Option<SessionRecord>,
    /// When its first object was written.
    pub first_written: Option<Timestamp>,
    /// When its last one was.
    pub last_written: Option<Timestamp>,
    objects: Vec<ObjectName>,
}

impl SeenSession {
    /// For people: what it does, where, since when.
    pub fn describe(&self) -> String {
        match &self.record {
            Some(record) => format!(
                "session {} ({} on {}, process {})",
                self.id.short(),
                record.purpose,
                record.host,
                record.process
            ),
            None => format!("session {} (unreadable, or what is left of one)", self.id.short()),
        }
    }
}

impl Repository {
    /// All sessions of a listing.
    pub fn seen_sessions(&self) -> Result<Vec<SeenSession>, RepositoryError> {
        let mut found: BTreeMap<SessionId, SeenSession> = BTreeMap::new();
        for info in list_all(self.store.as_ref(), ObjectKind::Session)? {
            let (ObjectName::Session { session: id, .. } | ObjectName::Staged { session: id, .. }) =
                info.name
            else {
                continue;
            };
            let seen = found.entry(id).or_insert_with(|| SeenSession {
                id,
                record: None,
                first_written: info.modified,
                last_written: info.modified,
                objects: Vec::new(),
            });
            seen.first_written = seen.first_written.min(info.modified);
            seen.last_written = match (seen.last_written, info.modified) {
                (Some(one), Some(other)) => Some(one.max(other)),
                // Of unknown age: never old enough.
                _ => None,
            };
            seen.objects.push(info.name);
        }
        let mut sessions: Vec<_> = found.into_values().collect();
        for session in &mut sessions {
            // A snapshot staged aside goes before beats, and the first beat goes last.
            session.objects.sort_unstable_by_key(|name| match name {
                ObjectName::Session { beat, .. } => (1, u32::MAX - beat),
                _ => (0, 0),
            });
            let last =
                session.objects.iter().find(|name| matches!(name, ObjectName::Session { .. }));
            if let Some(name) = last {
                session.record = self.read_beat(name)?;
            }
        }
        Ok(sessions)
    }

    fn read_beat(&self, name: &ObjectName) -> Result<Option<SessionRecord>, RepositoryError> {
        match self.read_sealed(name, SealedKind::Session) {
            Ok(record) => Ok(Some(record)),
            // Ended meanwhile, or damaged: it names nothing.
            Err(error) if error.concerns_object() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a session that is taken for dead: what it has staged first, so that it cannot be
    /// published any more, and the first beat last.
    pub fn expire_session(&self, session: &SeenSession) -> Result<(), RepositoryError> {
        for name in &session.objects {
            self.store.delete(name)?;
        }
        self.store.sync()?;
        Ok(())
    }
}
