//! What a prune condemned while a snapshot was made is stored again before the snapshot is published.
//!
//! The whole tree is walked, as deep as it is: directories on the way are all that is kept of it, and what
//! is lost is stored again before it becomes much.

use std::collections::HashSet;

use crate::event::StopFlag;
use crate::id::ChunkId;
use crate::pack::PackClass;
use crate::snapshot::{ChunkRef, Node, NodeKind, StreamKey, StreamRef};

use super::error::RepositoryError;
use super::fetch::Fetcher;
use super::ingest::{Grouping, IngestOptions};
use super::session::Session;
use super::stream::{ChunkWalk, DirectoryReader};

/// Chunks asked for at once.
const BATCH: usize = 1024;
/// Bytes of opened segments kept while the trees are walked.
const WALK_CACHE: usize = 16 << 20;
/// Directories that are not walked again. There may be more: the tree was walked path by path when it
/// was made, so that walking it so again takes no longer.
const KNOWN_DIRECTORIES: usize = 1 << 16;

struct Rescue<'s, 'r> {
    session: &'s Session<'r>,
    fetcher: &'s Fetcher<'r>,
    options: IngestOptions,
    stop: &'s StopFlag,
    at_once: usize,
    known: HashSet<StreamKey>,
    /// To be asked for.
    batch: Vec<(PackClass, ChunkRef)>,
    /// In no usable pack, to be stored again.
    lost: Vec<(PackClass, ChunkRef)>,
    rescued: u64,
}

impl Session<'_> {
    /// Stores the chunks of a snapshot that are in no usable pack again, in new packs, `at_once` at a
    /// time. Gives how many there were.
    pub(super) fn rescue(
        &self,
        root: &StreamRef,
        options: IngestOptions,
        stop: &StopFlag,
        at_once: usize,
    ) -> Result<u64, RepositoryError> {
        let fetcher = Fetcher::new(self.repository(), WALK_CACHE).in_session(self.id());
        let mut rescue = Rescue {
            session: self,
            fetcher: &fetcher,
            options,
            stop,
            at_once,
            known: HashSet::new(),
            batch: Vec::new(),
            lost: Vec::new(),
            rescued: 0,
        };
        rescue.tree(root)?;
        rescue.ask()?;
        rescue.store_again()?;
        Ok(rescue.rescued)
    }
}

impl<'r> Rescue<'_, 'r> {
    fn tree(&mut self, root: &StreamRef) -> Result<(), RepositoryError> {
        let fetcher = self.fetcher;
        let mut stack = Vec::new();
        self.enter(fetcher, root, &mut stack)?;
        while let Some(directory) = stack.last_mut() {
            if self.stop.is_stopped() {
                return Err(RepositoryError::Interrupted);
            }
            match directory.next_node()? {
                Some(Node { kind: NodeKind::Directory, content: Some(content), .. }) => {
                    self.enter(fetcher, &content, &mut stack)?;
                }
                Some(Node { content: Some(content), .. }) => {
                    self.stream(PackClass::Data, &content)?;
                }
                Some(_) => {}
                None => {
                    stack.pop();
                }
            }
        }
        Ok(())
    }

    fn enter<'f>(
        &mut self,
        fetcher: &'f Fetcher<'r>,
        directory: &StreamRef,
        stack: &mut Vec<DirectoryReader<'f, 'r>>,
    ) -> Result<(), RepositoryError> {
        if self.known.len() >= KNOWN_DIRECTORIES {
            self.known.clear();
        }
        if self.known.insert(directory.key()) {
            self.stream(PackClass::Tree, directory)?;
            stack.push(DirectoryReader::new(fetcher, directory));
        }
        Ok(())
    }

    fn stream(&mut self, class: PackClass, stream: &StreamRef) -> Result<(), RepositoryError> {
        let mut walk = ChunkWalk::new(self.fetcher, stream);
        while let Some(chunk) = walk.next_chunk()? {
            self.chunk(class, chunk)?;
            for list in walk.take_lists() {
                self.chunk(PackClass::Tree, list)?;
            }
        }
        walk.take_lists().into_iter().try_for_each(|list| self.chunk(PackClass::Tree, list))
    }

    fn chunk(&mut self, class: PackClass, chunk: ChunkRef) -> Result<(), RepositoryError> {
        self.batch.push((class, chunk));
        if self.batch.len() >= BATCH.min(self.at_once) {
            self.ask()?;
        }
        if self.lost.len() >= self.at_once {
            self.store_again()?;
        }
        Ok(())
    }

    fn ask(&mut self) -> Result<(), RepositoryError> {
        let ids: Vec<ChunkId> = self.batch.iter().map(|(_, chunk)| chunk.id).collect();
        let usable = self.session.repository().index.are_usable(&ids, self.session.id())?;
        let asked = self.batch.drain(..).zip(usable);
        self.lost.extend(asked.filter(|(_, is_usable)| !is_usable).map(|(chunk, _)| chunk));
        Ok(())
    }

    fn store_again(&mut self) -> Result<(), RepositoryError> {
        let lost = std::mem::take(&mut self.lost);
        if lost.is_empty() {
            return Ok(());
        }
        let fetcher = self.fetcher;
        let repository = self.session.repository();
        repository.ingest(self.session, self.options, self.stop, |ingest| {
            for (class, chunk) in &lost {
                let bytes = fetcher.chunk(chunk).map_err(|error| match error {
                    // Too late: the pack is gone, and the source cannot be read twice.
                    RepositoryError::MissingChunk { .. }
                    | RepositoryError::UnreadableChunk { .. } => {
                        RepositoryError::ChunksLost { count: lost.len(), example: chunk.id }
                    }
                    other => other,
                })?;
                let grouping = match class {
                    PackClass::Tree => Grouping::Shared,
                    PackClass::Data => Grouping::Alone,
                };
                ingest.store_chunk(*class, &bytes, grouping)?;
            }
            Ok::<(), RepositoryError>(())
        })?;
        self.rescued += u64::try_from(lost.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
