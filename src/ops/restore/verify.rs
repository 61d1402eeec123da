//! Reads everything back and compares it with what the snapshot says, by the chunks' own ids.

use std::collections::HashSet;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use crate::event::{Event, Observer, StopFlag};
use crate::ops::browse::display_path;
use crate::repository::{ChunkWalk, Fetcher, Repository, RepositoryError};
use crate::snapshot::{Extent, Node, NodeKind, StreamRef};
use crate::target::files::{FilesTarget, TargetOptions};

use super::links::Links;
use super::walk::{Directory, Visitor, walk};
use super::{RestoreError, RestoreOutcome, RestorePlan};

/// Compares the target's files with the snapshot's.
pub(super) fn verify(
    repository: &Repository,
    plan: &RestorePlan,
    trees: &Fetcher<'_>,
    stop: &StopFlag,
    observer: &Arc<dyn Observer>,
    outcome: &mut RestoreOutcome,
) -> Result<(), RestoreError> {
    observer.event(&Event::StepStarted { step: "verify", total_bytes: Some(plan.bytes) });
    let target = FilesTarget::open(&plan.target, TargetOptions::default(), observer.as_ref())?;
    let known_failures = outcome.failed.iter().map(|(item, _)| item.clone()).collect();
    let mut verifier = Verifier {
        repository,
        trees,
        target: &target,
        observer,
        outcome,
        known_failures,
        links: Links::default(),
        buffer: Vec::new(),
    };
    walk(trees, &plan.snapshot, &plan.options, stop, &mut verifier)?;
    let links = std::mem::take(&mut verifier.links);
    links.without_first(trees, &plan.snapshot.root, stop, |path, node| {
        verifier.file(&path, &node);
        Ok::<(), RestoreError>(())
    })?;
    observer.event(&Event::StepFinished { step: "verify" });
    Ok(())
}

struct Verifier<'v, 'r> {
    repository: &'v Repository,
    trees: &'v Fetcher<'r>,
    target: &'v FilesTarget<'v>,
    observer: &'v Arc<dyn Observer>,
    outcome: &'v mut RestoreOutcome,
    /// Items of which the restore told already.
    known_failures: HashSet<String>,
    links: Links,
    buffer: Vec<u8>,
}

impl Visitor for Verifier<'_, '_> {
    fn enter(&mut self, _: &Directory) -> Result<bool, RestoreError> {
        Ok(true)
    }

    fn entry(&mut self, path: Vec<u8>, node: Node) -> Result<(), RestoreError> {
        self.links.note(&path, &node);
        self.file(&path, &node);
        Ok(())
    }

    fn leave(&mut self, _: &Directory, _: Option<RepositoryError>) -> Result<(), RestoreError> {
        // The restore told of damage already.
        Ok(())
    }
}

impl Verifier<'_, '_> {
    fn file(&mut self, path: &[u8], node: &Node) {
        let Some(content) = node.content.as_ref().filter(|_| node.kind == NodeKind::File) else {
            return;
        };
        let item = display_path(path);
        if self.known_failures.contains(&item) {
            return;
        }
        match self.compare(path, node, content) {
            Ok(bytes) => self.outcome.verified_bytes += bytes,
            Err(reason) => {
                let message = format!("read back: {reason}");
                self.outcome.add_failed(item.clone(), message.clone());
                self.observer.event(&Event::ItemFailed { item, message });
            }
        }
    }

    fn compare(&mut self, path: &[u8], node: &Node, content: &StreamRef) -> Result<u64, String> {
        let mut file = self.target.read_file(path).map_err(|error| error.to_string())?;
        let len = file.metadata().map_err(|error| error.to_string())?.len();
        if len != node.size() {
            return Err(format!("it has {len} bytes instead of {}", node.size()));
        }
        let whole = [Extent { offset: 0, len: content.len }];
        let extents = node.extents.as_deref().unwrap_or(&whole);
        let mut walk = ChunkWalk::new(self.trees, content);
        let mut offset = 0u64;
        while let Some(chunk) = walk.next_chunk().map_err(|error| error.to_string())? {
            self.buffer.clear();
            self.buffer.resize(usize::try_from(chunk.len).unwrap_or(usize::MAX), 0);
            let parts = in_extents(extents, offset, &self.buffer);
            let ranges: Vec<(u64, usize)> =
                parts.iter().map(|(at, part)| (*at, part.len())).collect();
            let mut filled = 0;
            for (at, len) in ranges {
                file.seek(SeekFrom::Start(at)).map_err(|error| error.to_string())?;
                file.read_exact(&mut self.buffer[filled..filled + len])
                    .map_err(|error| error.to_string())?;
                filled += len;
            }
            if self.repository.keyring().chunk_id(&self.buffer) != chunk.id {
                return Err(format!("the bytes at {offset} differ from the snapshot"));
            }
            offset += u64::from(chunk.len);
            self.observer.event(&Event::Progress { bytes: u64::from(chunk.len), items: 0 });
        }
        Ok(offset)
    }
}

/// The parts of `bytes`, which lie at `offset` of a sparse file's data, and where they go.
fn in_extents<'b>(extents: &[Extent], offset: u64, bytes: &'b [u8]) -> Vec<(u64, &'b [u8])> {
    let mut parts = Vec::new();
    let mut before = 0u64;
    let end = offset.saturating_add(bytes.len() as u64);
    for extent in extents {
        let (from, to) = (before.max(offset), before.saturating_add(extent.len).min(end));
        if from < to {
            let start = usize::try_from(from - offset).unwrap_or(usize::MAX);
            let stop = usize::try_from(to - offset).unwrap_or(usize::MAX);
            if let Some(part) = bytes.get(start..stop) {
                parts.push((extent.offset.saturating_add(from - before), part));
            }
        }
        before = before.saturating_add(extent.len);
        if before >= end {
            break;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_goes_to_its_extents() {
        let extents = [Extent { offset: 10, len: 4 }, Extent { offset: 100, len: 6 }];
        assert_eq!(in_extents(&extents, 0, b"abcd"), [(10, &b"abcd"[..])]);
        assert_eq!(in_extents(&extents, 2, b"cdEF"), [(12, &b"cd"[..]), (100, b"EF")]);
        assert_eq!(in_extents(&extents, 6, b"GHIJ"), [(102, &b"GHIJ"[..])]);
        assert!(in_extents(&extents, 10, b"x").is_empty());
    }
}
