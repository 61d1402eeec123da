//! Snapshots for a browser: lists of them, their directories, and their files one by one. Only for whoever gave the password or
//! the token of the server, and nothing can be changed.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cli::CliError;
use crate::cli::args::Global;
use crate::cli::context::{open_unasked, zone};
use crate::cli::ls::CACHE;
use crate::cli::settings::{Settings, Sources};
use crate::event::{Event, Observer, StopFlag};
use crate::id::SnapshotId;
use crate::instance::config::Language;
use crate::ops::browse::{BrowseError, TreeWalk, display_path, resolve};
use crate::ops::dump::dump;
use crate::ops::dump_database::{DatabaseDump, DumpFormat};
use crate::page::{Folder, Looking, SnapshotList};
use crate::repository::{Fetcher, Repository, RepositoryError};
use crate::snapshot::{Node, NodeKind, Snapshot};
use crate::store::StoreErrorKind;

/// Where snapshots are.
pub const PREFIX: &str = "/browse/";
/// Most entries of a directory, and most snapshots, on one page.
const MOST: usize = 1000;
/// Files on their way at once.
const DOWNLOADS: usize = 4;
/// Pieces of a file that are read before somebody takes them.
const AHEAD: usize = 4;
/// A repository nobody looked into for so long is closed.
const IDLE: std::time::Duration = std::time::Duration::from_secs(600);

/// Opens repositories with what the configuration says, and shows what is in them.
pub struct Browser {
    observer: Arc<dyn Observer>,
    stop: Arc<StopFlag>,
    open: Mutex<HashMap<String, Opened>>,
    downloads: Arc<Semaphore>,
}

struct Opened {
    repository: Arc<Repository>,
    location: String,
    used: Instant,
}

/// What is at a place.
pub enum Found {
    /// A page.
    Page(String),
    /// A file.
    File(Download),
    /// Nothing; what is missing.
    Nothing(String),
    /// Too many files are on their way already.
    Busy,
}

/// A file on its way.
pub struct Download {
    /// Its name.
    pub name: Vec<u8>,
    /// Its length, if it is known.
    pub len: Option<u64>,
    /// Its bytes. An error ends them early.
    pub pieces: Receiver<io::Result<Bytes>>,
}

/// What is asked for.
struct Asked<'a> {
    instance: String,
    /// In hexadecimal digits.
    snapshot: Option<String>,
    path: Vec<u8>,
    /// Go on after this name.
    after: Option<Vec<u8>>,
    database: Option<String>,
    language: Option<&'a str>,
}

impl<'a> Asked<'a> {
    fn of(path: &str, query: Option<&'a str>) -> Self {
        let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
        let text = |text: &str| String::from_utf8_lossy(&decoded(text)).into_owned();
        let mut parts = path.strip_prefix(PREFIX).unwrap_or_default().splitn(3, '/');
        let instance = text(parts.next().unwrap_or_default());
        let snapshot = parts.next().filter(|part| !part.is_empty()).map(text);
        let path = decoded(parts.next().unwrap_or_default());
        let value = |name: &str| {
            let mut pairs = query.unwrap_or_default().split('&');
            pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        Self {
            instance,
            snapshot,
            path,
            after: value("after").map(decoded),
            database: value("database").map(text),
            language: value("lang"),
        }
    }
}

impl Browser {
    /// Nothing is opened yet.
    pub fn new(observer: Arc<dyn Observer>, stop: Arc<StopFlag>) -> Self {
        let downloads = Arc::new(Semaphore::new(DOWNLOADS));
        Self { observer, stop, open: Mutex::default(), downloads }
    }

    /// What is at `path`.
    pub fn look(
        &self,
        global: &Global,
        path: &str,
        query: Option<&str>,
    ) -> Result<Found, CliError> {
        let sources = Sources::gather(global)?;
        let asked = Asked::of(path, query);
        let telling = sources.config.as_ref().map(|config| &config.telling);
        let of_config = telling.map(|telling| telling.language.value).unwrap_or_default();
        let language = match asked.language {
            Some("fr") => Language::Fr,
            Some("en") => Language::En,
            _ => of_config,
        };
        let is_there = sources
            .config
            .as_ref()
            .is_some_and(|config| config.instances.contains_key(&asked.instance));
        if !is_there {
            return Ok(Found::Nothing(format!("instance {}", asked.instance)));
        }
        let settings = sources.settle(Some(&asked.instance))?;
        let found = self.repository(&asked.instance, &settings).and_then(|repository| {
            let looking = Looking { language, instance: &asked.instance, zone: zone(&settings) };
            self.look_into(&repository, &asked, &looking)
        });
        if found.is_err() {
            // Whatever it was, the next one opens it anew.
            self.opened().remove(&asked.instance);
        }
        found
    }

    /// Closes what nobody looked into for a while.
    pub fn close_idle(&self) {
        self.opened().retain(|_, opened| opened.used.elapsed() < IDLE);
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, HashMap<String, Opened>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The repository of an instance, opened with the key of the configuration.
    fn repository(&self, name: &str, settings: &Settings) -> Result<Arc<Repository>, CliError> {
        let mut open = self.opened();
        if let Some(opened) = open.get_mut(name).filter(|one| one.location == settings.location) {
            opened.used = Instant::now();
            return Ok(Arc::clone(&opened.repository));
        }
        let repository = Arc::new(open_unasked(settings, &self.stop, &self.observer)?);
        let opened = Opened {
            repository: Arc::clone(&repository),
            location: settings.location.clone(),
            used: Instant::now(),
        };
        open.insert(name.to_owned(), opened);
        Ok(repository)
    }

    fn look_into(
        &self,
        repository: &Arc<Repository>,
        asked: &Asked<'_>,
        looking: &Looking<'_>,
    ) -> Result<Found, CliError> {
        let Some(text) = &asked.snapshot else { return list(repository, asked, looking) };
        let nothing = || Ok(Found::Nothing(format!("snapshot {text} of {}", asked.instance)));
        let Ok(id) = text.parse::<SnapshotId>() else { return nothing() };
        let snapshot = match repository.snapshot(&id) {
            Ok(snapshot) if snapshot.instance == asked.instance => snapshot,
            Ok(_) => return nothing(),
            Err(RepositoryError::Store(error)) if error.kind == StoreErrorKind::NotFound => {
                return nothing();
            }
            Err(error) => return Err(error.into()),
        };
        // Its packs may be newer than what is known here.
        repository.refresh()?;
        if let Some(database) = &asked.database {
            return Ok(self.database(repository, id, snapshot, database));
        }
        let fetcher = Fetcher::new(repository, CACHE);
        let node = match resolve(&fetcher, &snapshot, &asked.path) {
            Ok(node) => node,
            Err(BrowseError::NotFound { path } | BrowseError::NotADirectory { path }) => {
                return Ok(Found::Nothing(path));
            }
            Err(error) => return Err(error.into()),
        };
        match node.kind {
            NodeKind::Directory => directory(&fetcher, (&id, &snapshot), &node, asked, looking),
            NodeKind::File => Ok(self.file(repository, id, snapshot, &node, &asked.path)),
            _ => Ok(Found::Nothing(format!("content of {}", display_path(&asked.path)))),
        }
    }

    fn file(
        &self,
        repository: &Arc<Repository>,
        id: SnapshotId,
        snapshot: Snapshot,
        node: &Node,
        path: &[u8],
    ) -> Found {
        let mut name = path.rsplit(|byte| *byte == b'/').find(|name| !name.is_empty());
        let mut name = name.take().unwrap_or_default().to_vec();
        if node.is_torn {
            // Half a file must not be taken for a whole one.
            name.extend_from_slice(b".incomplete");
        }
        let path = path.to_vec();
        // A further name of a file has no size of its own.
        let len = (!node.is_further_link).then(|| node.size());
        let what = (id, snapshot, display_path(&path));
        self.send(repository, what, name, len, move |fetcher, snapshot, out, stop| {
            dump(fetcher, snapshot, &path, out, stop).map(drop).map_err(|error| error.to_string())
        })
    }

    fn database(
        &self,
        repository: &Arc<Repository>,
        id: SnapshotId,
        snapshot: Snapshot,
        database: &str,
    ) -> Found {
        if !snapshot.databases.iter().any(|known| known.name == database) {
            return Found::Nothing(format!("database {database}"));
        }
        let (name, database) = (format!("{database}.dump").into_bytes(), database.to_owned());
        let what = (id, snapshot, format!("database {database}"));
        self.send(repository, what, name, None, move |fetcher, snapshot, out, stop| {
            DatabaseDump::find(fetcher, snapshot, &database, stop)
                .and_then(|found| found.write(DumpFormat::Custom, None, out))
                .map(drop)
                .map_err(|error| error.to_string())
        })
    }

    /// Begins to send what `write` writes, from a thread of its own. That it was taken is told: it may be asked for later.
    fn send(
        &self,
        repository: &Arc<Repository>,
        (id, snapshot, item): (SnapshotId, Snapshot, String),
        name: Vec<u8>,
        len: Option<u64>,
        write: impl FnOnce(&Fetcher<'_>, &Snapshot, &mut dyn Write, &StopFlag) -> Result<(), String>
        + Send
        + 'static,
    ) -> Found {
        let Ok(place) = Arc::clone(&self.downloads).try_acquire_owned() else { return Found::Busy };
        let (sender, pieces) = channel(AHEAD);
        let (repository, stop) = (Arc::clone(repository), Arc::clone(&self.stop));
        let observer = Arc::clone(&self.observer);
        let message =
            format!("taken by a browser, of snapshot {} of {}", id.short(), snapshot.instance);
        observer.event(&Event::Notice { item: item.clone(), message });
        let work = move || {
            let _place: OwnedSemaphorePermit = place;
            let fetcher = Fetcher::new(&repository, CACHE);
            let mut out = Sending { sender: &sender, is_gone: false };
            let written = write(&fetcher, &snapshot, &mut out, &stop);
            let is_gone = out.is_gone;
            if let Err(message) = written
                && !is_gone
            {
                observer.event(&Event::ItemFailed { item, message: message.clone() });
                let _ = sender.blocking_send(Err(io::Error::other(message)));
            }
        };
        match std::thread::Builder::new().name("download".to_owned()).spawn(work) {
            Ok(_) => Found::File(Download { name, len, pieces }),
            Err(_) => Found::Busy,
        }
    }
}

/// Takes bytes for whoever reads them.
struct Sending<'s> {
    sender: &'s Sender<io::Result<Bytes>>,
    /// Whether nobody reads any more.
    is_gone: bool,
}

impl Write for Sending<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.sender.blocking_send(Ok(Bytes::copy_from_slice(bytes))) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => {
                self.is_gone = true;
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The snapshots of the instance, the newest first.
fn list(
    repository: &Repository,
    asked: &Asked<'_>,
    looking: &Looking<'_>,
) -> Result<Found, CliError> {
    let mut own = repository.snapshots()?.snapshots;
    own.retain(|(_, snapshot)| snapshot.instance == asked.instance);
    own.reverse();
    let after = asked.after.as_deref().map(|id| String::from_utf8_lossy(id).into_owned());
    let first = after.and_then(|after| own.iter().position(|(id, _)| id.to_hex() == after));
    let rest = own.split_off(first.map_or(0, |at| at + 1));
    let shown = rest.get(..MOST.min(rest.len())).unwrap_or_default();
    let is_more = rest.len() > shown.len();
    Ok(Found::Page(SnapshotList { looking, snapshots: shown, is_more }.render()?))
}

/// A directory, from a name on.
fn directory(
    fetcher: &Fetcher<'_>,
    snapshot: (&SnapshotId, &Snapshot),
    node: &Node,
    asked: &Asked<'_>,
    looking: &Looking<'_>,
) -> Result<Found, CliError> {
    let content = node.content.clone().unwrap_or_default();
    let mut walk = TreeWalk::new(fetcher, b"", &content);
    let mut entries = Vec::new();
    let mut is_more = false;
    while let Some(entry) = walk.next_entry()? {
        if asked.after.as_ref().is_some_and(|after| entry.node.name <= *after) {
            continue;
        }
        if entries.len() == MOST {
            is_more = true;
            break;
        }
        entries.push(entry.node);
    }
    let folder = Folder { looking, snapshot, path: &asked.path, entries: &entries, is_more };
    Ok(Found::Page(folder.render()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        let asked = Asked::of("/browse/my%20app/ab12/a%2Fb/%ff", Some("after=x%26y&lang=fr"));
        assert_eq!(asked.instance, "my app");
        assert_eq!(asked.snapshot.as_deref(), Some("ab12"));
        assert_eq!(asked.path, b"a/b/\xff");
        assert_eq!(asked.after.as_deref(), Some(&b"x&y"[..]));
        assert_eq!((asked.language, asked.database), (Some("fr"), None));
        let asked = Asked::of("/browse/app/", None);
        assert_eq!((asked.instance.as_str(), asked.snapshot), ("app", None));
        assert_eq!(Asked::of("/browse/", None).instance, "");
    }
}
