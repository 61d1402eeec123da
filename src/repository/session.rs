//! A writer at work, as others see it (docs/protocol.md rule 1).
//!
//! A session writes `sessions/<id>/0` and sees it listed before it looks at anything else, so that a
//! prune that starts later knows of it. It then names the condemned objects it knows: of their packs it uses nothing.

use std::sync::Mutex;
use std::time::Duration;

use crate::crypto::envelope::{self, SealedKind};
use crate::crypto::random::random_bytes;
use crate::id::{ObjectId, PackId, SessionId, SnapshotId};
use crate::snapshot::{CondemnedRecord, SessionRecord};
use crate::store::{ObjectKind, ObjectName, StoreErrorKind, each, list_all, list_kinds};

use super::error::RepositoryError;
use super::objects::object_id;
use super::open::Repository;
use super::sync::{Beside, Refresh};

/// How often a session shows that it lives.
const BEAT_INTERVAL: Duration = Duration::from_secs(3600);
/// How often a listing is asked for the session before its store is given up.
const LISTING_TRIES: u32 = 20;

/// An open session. Dropping it without [`Session::end`] leaves its objects for a prune to expire.
#[derive(Debug)]
pub struct Session<'r> {
    repository: &'r Repository,
    id: SessionId,
    state: Mutex<State>,
    /// What was seen at its opening.
    opening: Refresh,
    /// The index's loss generation right after the opening.
    generation: i64,
}

#[derive(Debug)]
struct State {
    record: SessionRecord,
    next_beat: u32,
    last_beat: Duration,
    staged: Vec<ObjectName>,
}

impl Repository {
    /// Opens a session and brings the index up to date under its protection.
    pub fn begin_session(&self, purpose: &str) -> Result<Session<'_>, RepositoryError> {
        self.begin(purpose, Self::look_around)
    }

    /// Opens a session that looks at nothing and names nothing condemned: while it lives, no prune
    /// deletes any pack. For a copy, which puts objects as they are.
    pub fn hold(&self, purpose: &str) -> Result<Session<'_>, RepositoryError> {
        self.begin(purpose, |_, session| session.wait_until_listed())
    }

    fn begin<'r>(
        &'r self,
        purpose: &str,
        look_around: impl FnOnce(&'r Self, &mut Session<'r>) -> Result<(), RepositoryError>,
    ) -> Result<Session<'r>, RepositoryError> {
        let clock = &self.environment.clock;
        let now = clock.now().as_nanosecond();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let record = SessionRecord {
            host: self.environment.host.clone(),
            process: std::process::id(),
            start: now,
            beat: now,
            knows: Vec::new(),
            staged: None,
            purpose: purpose.to_owned(),
        };
        let last_beat = clock.elapsed();
        let state = State { record, next_beat: 0, last_beat, staged: Vec::new() };
        let mut session = Session {
            repository: self,
            id: SessionId::new(random_bytes(self.environment.random.as_ref())),
            state: Mutex::new(state),
            opening: Refresh::default(),
            generation: 0,
        };
        session.write_beat()?;
        match look_around(self, &mut session) {
            Ok(()) => Ok(session),
            Err(error) => {
                // Nobody shall wait for a session that never was.
                let _ = session.end();
                Err(error)
            }
        }
    }

    /// What a session does before anything else, once it can be seen.
    fn look_around(&self, session: &mut Session<'_>) -> Result<(), RepositoryError> {
        let store = self.store.as_ref();
        // Whoever has pending rows now was listed before, so that those who are not listed below are dead.
        let mut dead = self.index.pending_sessions()?;
        let [mut sessions, mut condemned, mut index, snapshots] = list_kinds(
            store,
            [ObjectKind::Session, ObjectKind::Condemned, ObjectKind::Index, ObjectKind::Snapshot],
        )?;
        if !sessions.iter().any(|info| info.name == session.first_beat()) {
            // What was listed beside a listing that came too early is too early as well.
            session.wait_until_listed()?;
            [sessions, condemned, index] =
                list_kinds(store, [ObjectKind::Session, ObjectKind::Condemned, ObjectKind::Index])?;
        }
        session.opening = self.refresh_from(&condemned, &index, Beside::Nothing)?;
        session.opening.snapshots = snapshots.into_iter().map(|info| info.name).collect();
        if !session.opening.condemned.is_empty() {
            let knows: Vec<ObjectId> = session.opening.condemned.keys().copied().collect();
            session.lock().record.knows = knows;
            session.write_beat()?;
        }
        for info in sessions {
            if let ObjectName::Session { session, .. } | ObjectName::Staged { session, .. } =
                info.name
            {
                dead.remove(&session);
            }
        }
        self.index.drop_pending(&dead)?;
        session.generation = self.index.loss_generation()?;
        Ok(())
    }
}

impl<'r> Session<'r> {
    /// The repository it writes to.
    pub fn repository(&self) -> &'r Repository {
        self.repository
    }

    /// The index's loss generation when it began.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// Tells the others that the condemned objects just seen are known, and their packs not used.
    pub(super) fn learn_condemned(&self, seen: &Refresh) -> Result<(), RepositoryError> {
        let mut knows: Vec<ObjectId> = seen.condemned.keys().copied().collect();
        knows.sort_unstable();
        self.lock().record.knows = knows;
        self.beat()
    }

    /// Its id.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// What was seen at its opening.
    pub fn opening(&self) -> &Refresh {
        &self.opening
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn first_beat(&self) -> ObjectName {
        ObjectName::Session { session: self.id, beat: 0 }
    }

    /// Writes the next beat. A writer that woke up after its session was expired must not bring it back to life.
    fn beat(&self) -> Result<(), RepositoryError> {
        match self.repository.store.size(&self.first_beat()) {
            Ok(_) => self.write_beat(),
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                Err(RepositoryError::SessionExpired)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the next beat of a session that was just seen to live, or begins.
    fn write_beat(&self) -> Result<(), RepositoryError> {
        let environment = &self.repository.environment;
        let mut state = self.lock();
        state.record.beat =
            i64::try_from(environment.clock.now().as_nanosecond()).unwrap_or(i64::MAX);
        let bytes = envelope::seal(
            &self.repository.keyring,
            SealedKind::Session,
            &state.record,
            environment.random.as_ref(),
        )?;
        let name = ObjectName::Session { session: self.id, beat: state.next_beat };
        self.repository.store.put(&name, &[&bytes])?;
        self.repository.store.sync()?;
        state.next_beat += 1;
        state.last_beat = environment.clock.elapsed();
        Ok(())
    }

    /// Shows that it lives, if it is time. Cheap: call it often.
    pub fn keep_alive(&self) -> Result<(), RepositoryError> {
        let now = self.repository.environment.clock.elapsed();
        if now.saturating_sub(self.lock().last_beat) < BEAT_INTERVAL {
            return Ok(());
        }
        self.beat()
    }

    fn is_listed(&self) -> Result<bool, RepositoryError> {
        let listed = list_all(self.repository.store.as_ref(), ObjectKind::Session)?;
        Ok(listed.iter().any(|info| info.name == self.first_beat()))
    }

    fn wait_until_listed(&self) -> Result<(), RepositoryError> {
        for attempt in 0..LISTING_TRIES {
            if self.is_listed()? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50) * attempt);
        }
        Err(RepositoryError::Internal("the store does not list the session just written to it"))
    }

    /// Stages `bytes`, an object that is going to have the name `id`.
    pub(super) fn stage(
        &self,
        id: SnapshotId,
        bytes: &[u8],
    ) -> Result<ObjectName, RepositoryError> {
        let staged = ObjectName::Staged { session: self.id, snapshot: id };
        {
            let mut state = self.lock();
            state.record.staged = Some(id);
            state.staged.push(staged);
        }
        self.repository.store.put(&staged, &[bytes])?;
        self.repository.store.sync()?;
        Ok(staged)
    }

    /// Writes down that `packs` are to be deleted later: aside at first, then renamed, which fails if somebody
    /// has taken this session for dead. A prune that slept for so long has decided on what it saw then, and
    /// others may have deleted meanwhile what it wanted to rely on (docs/protocol.md).
    pub fn condemn(&self, packs: Vec<PackId>) -> Result<ObjectId, RepositoryError> {
        let repository = self.repository;
        let environment = &repository.environment;
        let now = environment.clock.now().as_nanosecond();
        let record = CondemnedRecord {
            packs,
            time: i64::try_from(now).unwrap_or(i64::MAX),
            host: environment.host.clone(),
        };
        let random = environment.random.as_ref();
        let bytes = envelope::seal(&repository.keyring, SealedKind::Condemned, &record, random)?;
        let id = object_id(&bytes);
        // Nothing is left behind by one that slept.
        self.beat()?;
        let staged = self.stage(SnapshotId::new(*id.as_bytes()), &bytes)?;
        self.check_alive()?;
        match repository.store.publish(&staged, &ObjectName::Condemned(id)) {
            Ok(()) => {}
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                return Err(RepositoryError::SessionExpired);
            }
            Err(error) => return Err(error.into()),
        }
        repository.store.sync()?;
        Ok(id)
    }

    /// Publishes snapshots of another store of this repository as they are. What they need must be
    /// there and durable. Staged first, as in [`Session::commit`](super::Commit): whoever takes this session for dead
    /// prevents the publishing.
    pub fn publish_copies(
        &self,
        snapshots: &[(SnapshotId, Vec<u8>)],
    ) -> Result<(), RepositoryError> {
        let store = self.repository.store.as_ref();
        let put = each(store, snapshots, |(id, bytes)| {
            let staged = ObjectName::Staged { session: self.id, snapshot: *id };
            self.lock().staged.push(staged);
            store.put(&staged, &[bytes])
        });
        put.into_iter().collect::<Result<(), _>>()?;
        store.sync()?;
        self.check_alive()?;
        let published = each(store, snapshots, |(id, _)| {
            let staged = ObjectName::Staged { session: self.id, snapshot: *id };
            match store.publish(&staged, &ObjectName::Snapshot(*id)) {
                Ok(()) => {}
                // Somebody else who copies was faster.
                Err(error) if error.kind == StoreErrorKind::Exists => store.delete(&staged)?,
                Err(error) if error.kind == StoreErrorKind::NotFound => {
                    return Err(RepositoryError::SessionExpired);
                }
                Err(error) => return Err(error.into()),
            }
            self.left(&staged);
            Ok(())
        });
        published.into_iter().collect::<Result<(), RepositoryError>>()?;
        store.sync()?;
        Ok(())
    }

    /// What was staged is so no more.
    pub(super) fn left(&self, staged: &ObjectName) {
        self.lock().staged.retain(|name| name != staged);
    }

    /// Error if what was listed lacks this session.
    pub(super) fn check_listed(&self, sessions: &[ObjectName]) -> Result<(), RepositoryError> {
        let first = self.first_beat();
        if sessions.contains(&first) { Ok(()) } else { Err(RepositoryError::SessionExpired) }
    }

    /// Error if somebody has taken this session for dead: its first beat is then gone.
    pub(super) fn check_alive(&self) -> Result<(), RepositoryError> {
        if self.is_listed()? { Ok(()) } else { Err(RepositoryError::SessionExpired) }
    }

    /// Waits until the published snapshot is listed: only then others see it without our session.
    pub(super) fn wait_for_snapshot(&self, name: &ObjectName) -> Result<(), RepositoryError> {
        for attempt in 0..LISTING_TRIES {
            let listed = list_all(self.repository.store.as_ref(), ObjectKind::Snapshot)?;
            if listed.iter().any(|info| info.name == *name) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50) * attempt);
        }
        Err(RepositoryError::Internal("the store does not list the snapshot just published in it"))
    }

    /// Removes the session's objects. What it stored stays.
    pub fn end(self) -> Result<(), RepositoryError> {
        let state = self.lock();
        let store = &self.repository.store;
        for staged in &state.staged {
            store.delete(staged)?;
        }
        // Beat 0 keeps the age and goes last.
        let later: Vec<u32> = (1..state.next_beat).rev().collect();
        let deleted = each(store.as_ref(), &later, |beat| {
            store.delete(&ObjectName::Session { session: self.id, beat: *beat })
        });
        deleted.into_iter().collect::<Result<(), _>>()?;
        if state.next_beat > 0 {
            store.delete(&self.first_beat())?;
        }
        store.sync()?;
        Ok(())
    }
}

#[cfg(test)]
impl Repository {
    /// What a prune does at its end.
    pub fn condemn(&self, packs: Vec<PackId>) -> Result<ObjectId, RepositoryError> {
        let session = self.begin_session("prune")?;
        let id = session.condemn(packs)?;
        session.end()?;
        Ok(id)
    }
}
