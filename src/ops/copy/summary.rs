//! What a copy is going to do, and what it did.

use crate::event::{Event, Observer};
use crate::id::SnapshotId;
use crate::repository::Repository;
use crate::store::{Location, ObjectName};

use super::source::View;

/// What was found wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// The copy had it, and has it no more; nobody here deleted it.
    Dropped,
    /// It was deleted from the copy, and is there again.
    Returned,
    /// The copy has it in another length.
    WrongSize,
    /// The copy returns other bytes than were stored.
    OtherBytes,
    /// It is damaged or unreadable at the source: it is not copied over a good one.
    DamagedAtSource,
    /// A snapshot that needs what is damaged or missing at the source, and is not copied.
    HeldBack,
    /// The copy has this snapshot; the source lacks it, and no receipt says that it was forgotten.
    LostAtSource,
}

/// One thing that was found wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The object, by its path.
    pub object: String,
    /// What.
    pub problem: Problem,
    /// For people.
    pub message: String,
    /// It was put right.
    pub mended: bool,
}

/// What is going to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct CopyPlan {
    /// From where.
    pub source: String,
    /// To where.
    pub target: String,
    /// Nothing is there yet.
    pub begins: bool,
    /// Every object of the copy was listed.
    pub audited: bool,
    /// Packs to put.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Index objects, key slots and receipts to put.
    pub small_objects: u64,
    /// Snapshots to put.
    pub snapshots: Vec<SnapshotId>,
    /// Objects to delete now.
    pub deletions: u64,
    /// Objects that the source has no more and that stay for now.
    pub kept: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl CopyPlan {
    /// For a place where nothing is yet.
    pub(super) fn of_everything(source: &Repository, target: &Location, view: &View) -> Self {
        let mut snapshots: Vec<_> = view.snapshots.keys().copied().collect();
        snapshots.sort_unstable();
        Self {
            source: source.store().location().to_string(),
            target: target.to_string(),
            begins: true,
            packs: view.packs.len() as u64,
            pack_bytes: view.packs.values().sum(),
            small_objects: view.small.len() as u64,
            snapshots,
            ..Self::default()
        }
    }

    /// Whether there is nothing to put, to delete or to tell.
    pub fn is_nothing(&self) -> bool {
        !self.begins
            && self.packs + self.small_objects + self.deletions == 0
            && self.snapshots.is_empty()
            && self.findings.is_empty()
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct CopyReport {
    /// Packs put.
    pub packs: u64,
    /// Bytes of everything put.
    pub bytes: u64,
    /// Index objects, key slots and receipts put.
    pub small_objects: u64,
    /// Snapshots put.
    pub snapshots: u64,
    /// Objects deleted because the source has had them no more for long enough.
    pub deleted: u64,
    /// Objects that the source has no more and that stay for now.
    pub kept: u64,
    /// Why nothing was deleted although it was time.
    pub undeleted: Option<String>,
    /// Objects read back.
    pub sampled: u64,
    /// Their bytes.
    pub sampled_bytes: u64,
    /// What was wrong.
    pub findings: Vec<Finding>,
}

impl CopyReport {
    /// Whether the copy now has everything, whole.
    pub fn is_complete(&self) -> bool {
        self.findings.iter().all(|finding| finding.mended)
    }

    /// Notes and tells what is wrong.
    pub(super) fn find(
        &mut self,
        observer: &dyn Observer,
        name: ObjectName,
        problem: Problem,
        message: &str,
    ) {
        let finding = Finding {
            object: name.to_string(),
            problem,
            message: message.to_owned(),
            mended: false,
        };
        finding.tell(observer);
        self.findings.push(finding);
    }

    /// What was wrong with an object has been put right.
    pub(super) fn mended(&mut self, name: &ObjectName) {
        let object = name.to_string();
        self.findings
            .iter_mut()
            .filter(|finding| finding.object == object)
            .for_each(|finding| finding.mended = true);
    }
}

impl CopyReport {
    /// What was wrong with an object is wrong all the same.
    pub(super) fn unmended(&mut self, name: &ObjectName) {
        let object = name.to_string();
        self.findings
            .iter_mut()
            .filter(|finding| finding.object == object)
            .for_each(|finding| finding.mended = false);
    }

    /// Why what is wrong with an object cannot be put right.
    pub(super) fn explain(&mut self, name: &ObjectName, why: &str) {
        let object = name.to_string();
        if let Some(last) = self.findings.iter_mut().rfind(|finding| finding.object == object) {
            last.message = format!("{}; {why}", last.message);
        }
    }
}

impl Finding {
    pub(super) fn new(name: &ObjectName, problem: Problem, message: impl Into<String>) -> Self {
        Self { object: name.to_string(), problem, message: message.into(), mended: false }
    }

    pub(super) fn tell(&self, observer: &dyn Observer) {
        let (item, message) = (self.object.clone(), self.message.clone());
        observer.event(&Event::Warning { item, message });
    }
}
