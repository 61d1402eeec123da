//! Every directory and list of the snapshots is read, and each chunk of their files looked up. What
//! snapshots share is looked at once.

use std::collections::HashSet;
use std::rc::Rc;

use crate::event::{StopFlag, counted};
use crate::id::{ChunkId, SessionId, SnapshotId};
use crate::ops::browse::display_path;
use crate::ops::tree::{Folder, Known, fold, join};
use crate::repository::{ChunkWalk, Fetcher, Repository, RepositoryError};
use crate::snapshot::{ChunkRef, Node, Snapshot, StreamKey, StreamRef};
use crate::store::ObjectName;

use super::report::{Findings, Step};
use super::{BadPlaces, CACHE};

/// Chunks looked up at once.
const BATCH: usize = 1024;

/// What the trees need and the packs do not give.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Chunks of files that have no good place.
    pub chunks: HashSet<ChunkId>,
    /// Directories or lists could not be read.
    pub has_unreadable: bool,
    /// Some chunk is in no pack at all.
    pub has_missing_chunks: bool,
}

/// Walks `snapshots`.
pub(super) fn check_trees(
    repository: &Repository,
    snapshots: &[&(SnapshotId, Snapshot)],
    bad: &BadPlaces,
    has_unindexed: bool,
    findings: &Findings<'_>,
    stop: &StopFlag,
) -> Result<Lost, RepositoryError> {
    let step = Step::begin(findings.observer, "trees", None);
    let fetcher = Fetcher::new(repository, CACHE);
    let mut checker = TreeCheck {
        fetcher: &fetcher,
        bad,
        step: &step,
        findings,
        batch: Vec::new(),
        streams: HashSet::new(),
        lost: Lost::default(),
        trouble: Trouble::default(),
    };
    let mut known = Known::default();
    for (id, snapshot) in snapshots {
        fold(&fetcher, &snapshot.root, &mut known, &mut checker, stop)?;
        checker.look_up()?;
        let trouble = std::mem::take(&mut checker.trouble);
        if let Some(message) = trouble.message() {
            let hint = if has_unindexed {
                "packs lie there that are in no index object: run `mrs-backup index rebuild --from-packs`, then check again"
            } else {
                "the paths named in `affected` are lost in this repository, all others can be restored"
            };
            findings.error(&ObjectName::Snapshot(*id), message, hint);
        }
    }
    Ok(checker.lost)
}

/// What is wrong in one snapshot and was not met in one before.
#[derive(Default)]
struct Trouble {
    unreadable: u64,
    first_unreadable: Option<String>,
    missing: u64,
    first_missing: Option<String>,
    wrong_lengths: u64,
    first_wrong_length: Option<String>,
}

impl Trouble {
    fn message(&self) -> Option<String> {
        let mut parts = Vec::new();
        if let Some(first) = &self.first_unreadable {
            parts.push(format!(
                "{} of its directories and lists cannot be read: {first}",
                self.unreadable
            ));
        }
        if let Some(first) = &self.first_missing {
            parts.push(format!(
                "missing from all packs: {} of its files, the first of `/{first}`",
                counted(self.missing, "chunk")
            ));
        }
        if let Some(first) = &self.first_wrong_length {
            parts.push(format!(
                "of another length than recorded: {} of its files, the first of {first}",
                counted(self.wrong_lengths, "chunk")
            ));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn wrong_length(&mut self, path: &[u8], recorded: u32, found: u32) {
        self.wrong_lengths += 1;
        self.first_wrong_length.get_or_insert_with(|| {
            format!("`/{}`: {found} bytes instead of {recorded}", display_path(path))
        });
    }

    fn unreadable(&mut self, path: &[u8], error: &RepositoryError) {
        self.unreadable += 1;
        self.first_unreadable.get_or_insert_with(|| format!("`{}`: {error}", display_path(path)));
    }
}

struct TreeCheck<'a, 'o> {
    fetcher: &'a Fetcher<'a>,
    bad: &'a BadPlaces,
    step: &'a Step<'o>,
    findings: &'a Findings<'o>,
    batch: Vec<(ChunkRef, Rc<[u8]>)>,
    /// Streams with lists that were walked already.
    streams: HashSet<StreamKey>,
    lost: Lost,
    trouble: Trouble,
}

impl TreeCheck<'_, '_> {
    /// Visits the chunks of a stream; its lists are read on the way.
    fn walk(
        &mut self,
        path: &[u8],
        stream: &StreamRef,
        mut visit: impl FnMut(&mut Self, ChunkRef) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let mut walk = ChunkWalk::new(self.fetcher, stream);
        let mut len = 0_u64;
        loop {
            match walk.next_chunk() {
                Ok(Some(chunk)) => {
                    len = len.saturating_add(chunk.len.into());
                    visit(self, chunk)?;
                }
                Ok(None) => break,
                Err(error) if error.is_damage() => {
                    self.lost.has_unreadable = true;
                    self.lost.has_missing_chunks |=
                        matches!(error, RepositoryError::MissingChunk { .. });
                    self.trouble.unreadable(path, &error);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            walk.take_lists();
        }
        if len != stream.len {
            let error = RepositoryError::DamagedTree {
                location: self.fetcher.repository().store().location().clone(),
                reason: format!("a stream of {} bytes has chunks of {len}", stream.len),
            };
            self.trouble.unreadable(path, &error);
        }
        Ok(())
    }

    /// Looks up what has collected.
    fn look_up(&mut self) -> Result<(), RepositoryError> {
        let index = self.fetcher.repository().index();
        let ids: Vec<ChunkId> = self.batch.iter().map(|(chunk, _)| chunk.id).collect();
        // No session has this id: pending packs of others do not count.
        let usable = index.usable_lengths(&ids, SessionId::new([0; SessionId::SIZE]))?;
        self.findings.count(|counts| counts.chunks += ids.len() as u64);
        for ((ChunkRef { id, len }, path), usable_len) in self.batch.drain(..).zip(usable) {
            if let Some(found) = usable_len {
                if found != len {
                    self.trouble.wrong_length(&path, len, found);
                }
                continue;
            }
            // One that is not usable may still be in a condemned pack that was spared.
            if !self.bad.is_lost(index, &id)? {
                continue;
            }
            let is_missing = index.locate(&id, None)?.is_empty();
            self.lost.has_missing_chunks |= is_missing;
            if self.lost.chunks.insert(id) && is_missing {
                self.trouble.missing += 1;
                self.trouble.first_missing.get_or_insert_with(|| display_path(&path));
            }
        }
        Ok(())
    }
}

/// Nothing to add up: the walk itself is the point.
#[derive(Debug, Clone, Copy, Default)]
struct Seen;

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, _: Self) {}
}

impl Folder for TreeCheck<'_, '_> {
    type Total = Seen;

    fn open(&mut self, path: &[u8], directory: &StreamRef) -> Result<(), RepositoryError> {
        self.findings.count(|counts| counts.directories += 1);
        self.step.progress(directory.len, 1);
        if directory.depth > 0 {
            // Its chunks are read with its entries; here only its lists are added up.
            self.walk(path, directory, |_, _| Ok(()))?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &[u8], node: &Node) -> Result<Seen, RepositoryError> {
        let is_directory = node.kind == crate::snapshot::NodeKind::Directory;
        let Some(content) = node.content.as_ref().filter(|_| !is_directory) else {
            return Ok(Seen);
        };
        self.findings.count(|counts| counts.files += 1);
        if content.depth > 0 && !self.streams.insert(content.key()) {
            return Ok(Seen);
        }
        let path: Rc<[u8]> = join(path, &node.name).into();
        self.walk(&path, content, |check, chunk| {
            check.batch.push((chunk, Rc::clone(&path)));
            if check.batch.len() >= BATCH { check.look_up() } else { Ok(()) }
        })?;
        Ok(Seen)
    }

    fn unreadable(&mut self, path: &[u8], error: RepositoryError) -> Result<Seen, RepositoryError> {
        self.lost.has_unreadable = true;
        self.lost.has_missing_chunks |= matches!(error, RepositoryError::MissingChunk { .. });
        self.trouble.unreadable(path, &error);
        Ok(Seen)
    }
}
