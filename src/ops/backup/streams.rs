//! Stores the streams of sources, several at once: each one being stored has a producer of its own into
//! the same pipeline.

use std::io::Read;
use std::sync::{Mutex, MutexGuard};

use crate::event::{Event, Observer};
use crate::ops::browse::{display_path, resolve};
use crate::repository::{Fetcher, Ingest};
use crate::snapshot::{Node, NodeKind, Snapshot};
use crate::source::{StreamEnd, StreamSink, StreamSource};

use super::content::ContentStore;
use super::tree::Scaffold;
use super::{BackupCounts, BackupError};

/// Takes the streams of one source.
struct StreamStore<'s, 'i> {
    ingest: &'s Ingest<'i>,
    told: Told<'s>,
    state: Mutex<State<'s, 'i>>,
}

/// What is the same for all streams.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Told<'s> {
    pub observer: &'s dyn Observer,
    /// The instance's last snapshot, in which streams have earlier versions.
    pub earlier: Option<&'s Snapshot>,
    /// Given to the streams' nodes, seconds since 1970.
    pub time: i64,
}

struct State<'s, 'i> {
    scaffold: &'s mut Scaffold,
    counts: &'s mut BackupCounts,
    /// Producers nobody uses now.
    idle: Vec<(Ingest<'i>, ContentStore<'i>)>,
    /// Why the source is not complete.
    incomplete: Vec<String>,
    /// Streams stored whole.
    whole: u64,
    /// Why there will be no snapshot.
    failed: Option<BackupError>,
}

/// How the streams of a source went.
pub(in crate::ops) struct StreamsStored {
    /// Why the source is not complete.
    pub incomplete: Vec<String>,
    /// Whether there is anything worth having.
    pub has_any: bool,
}

/// Stores every stream of `source`.
pub(in crate::ops) fn store_all(
    source: &mut dyn StreamSource,
    ingest: &mut Ingest<'_>,
    scaffold: &mut Scaffold,
    counts: &mut BackupCounts,
    told: Told<'_>,
) -> Result<StreamsStored, BackupError> {
    ingest.check_stop()?;
    let state = State {
        scaffold,
        counts,
        idle: Vec::new(),
        incomplete: Vec::new(),
        whole: 0,
        failed: None,
    };
    let store = StreamStore { ingest, told, state: Mutex::new(state) };
    let outcome = source.read_all(&store);
    let state = store.state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (mut incomplete, failed, whole) = (state.incomplete, state.failed, state.whole);
    let producers: Vec<Ingest<'_>> = state.idle.into_iter().map(|(ingest, _)| ingest).collect();
    for producer in producers {
        ingest.absorb(producer)?;
    }
    if let Some(error) = failed {
        return Err(error);
    }
    // A stop is asked for by a person, not a fault of the source.
    ingest.check_stop()?;
    if let Err(error) = outcome {
        let message = error.to_string();
        incomplete.push(message.clone());
        told.observer.event(&Event::ItemFailed { item: source.record().name, message });
    }
    Ok(StreamsStored { incomplete, has_any: whole > 0 })
}

impl<'s, 'i> StreamStore<'s, 'i> {
    fn lock(&self) -> MutexGuard<'_, State<'s, 'i>> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn try_store(&self, path: &[u8], reader: &mut dyn Read) -> Result<StreamEnd, BackupError> {
        self.ingest.check_stop()?;
        let item = display_path(path);
        self.told.observer.event(&Event::Working { item: item.clone() });
        let idle = self.lock().idle.pop();
        let (mut ingest, mut content) = idle.unwrap_or_else(|| {
            let ingest = self.ingest.fork();
            let content = ContentStore::new(&ingest);
            (ingest, content)
        });
        let mut bytes_read = 0;
        let mut progress = |bytes: u64| {
            bytes_read += bytes;
            self.told.observer.event(&Event::Progress { bytes, items: 0 });
        };
        let earlier =
            &mut |fetcher: &Fetcher<'_>| resolve(fetcher, self.told.earlier?, path).ok()?.content;
        let stored = content.store(&mut ingest, reader, &mut progress, earlier);
        let mut state = self.lock();
        state.idle.push((ingest, content));
        let stored = stored?;
        state.counts.files += 1;
        state.counts.bytes += bytes_read;
        let mut node = Node::new("", NodeKind::File);
        node.mode = 0o600;
        node.mtime = self.told.time;
        node.content = Some(stored.content);
        node.is_torn = stored.read_error.is_some();
        state.scaffold.insert(path, node)?;
        let Some(error) = stored.read_error else {
            state.whole += 1;
            self.told.observer.event(&Event::Progress { bytes: 0, items: 1 });
            return Ok(StreamEnd::Whole);
        };
        drop(state);
        // A stop is asked for by a person, not a fault of the source.
        self.ingest.check_stop()?;
        self.fail(&item, &error.to_string());
        Ok(StreamEnd::Broken)
    }
}

impl StreamSink for StreamStore<'_, '_> {
    fn store(&self, path: &[u8], reader: &mut dyn Read) -> StreamEnd {
        match self.try_store(path, reader) {
            Ok(end) => end,
            Err(error) => {
                self.lock().failed.get_or_insert(error);
                StreamEnd::Refused
            }
        }
    }

    fn fail(&self, item: &str, message: &str) {
        // What fails because somebody asked to stop is no fault of the source.
        if self.ingest.check_stop().is_err() {
            return;
        }
        let (item, message) = (item.to_owned(), message.to_owned());
        self.lock().incomplete.push(format!("{item}: {message}"));
        self.told.observer.event(&Event::ItemFailed { item, message });
    }

    fn warn(&self, item: &str, message: &str) {
        let (item, message) = (item.to_owned(), message.to_owned());
        self.lock().counts.warnings += 1;
        self.told.observer.event(&Event::Warning { item, message });
    }
}
