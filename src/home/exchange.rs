//! Files and directories of a home against others, by renames on one file system.
//!
//! Each item goes two steps: what is there goes out, what is to come comes in. Where it stands is seen from what
//! exists, so that it can be gone on with, or back, from any point at which somebody was killed.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use super::HomeError;
use super::journal::Item;

/// Is asked before each rename; an error ends it there, as a kill would.
pub(super) type Before<'a> = &'a dyn Fn(&Path) -> io::Result<()>;

/// The three places.
pub(super) struct Exchange<'a> {
    pub home: &'a Path,
    pub incoming: &'a Path,
    pub outgoing: &'a Path,
    pub before: Before<'a>,
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Makes the directories above `path`, as those above `like` are, if they are there.
fn make_parents(path: &Path, like: Option<&Path>) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| !is_there(parent)) else { return Ok(()) };
    let like = like.and_then(Path::parent);
    make_parents(parent, like)?;
    DirBuilder::new().mode(0o700).create(parent)?;
    let Some(found) = like.and_then(|like| fs::metadata(like).ok()) else { return Ok(()) };
    chown(parent, Some(found.uid()), Some(found.gid()))?;
    fs::set_permissions(parent, found.permissions())
}

impl Exchange<'_> {
    /// Brings all items in.
    pub fn forward(&self, items: &[Item]) -> Result<(), HomeError> {
        for item in items {
            let (live, comes, goes) = self.places(item);
            // Once it came in, what is live is the new one.
            let is_in = item.comes && !is_there(&comes);
            if !is_in && !is_there(&goes) && is_there(&live) {
                self.rename(&live, &goes)?;
            }
            if item.comes && is_there(&comes) {
                self.rename(&comes, &live)?;
            }
        }
        self.sync(items)
    }

    /// Puts everything back where it was, the last first.
    pub fn backward(&self, items: &[Item]) -> Result<(), HomeError> {
        for item in items.iter().rev() {
            let (live, comes, goes) = self.places(item);
            // What only went may have got a successor, which a new server made.
            let is_new = if item.comes { !is_there(&comes) } else { is_there(&goes) };
            if is_new && is_there(&live) {
                self.rename(&live, &comes)?;
            }
            if is_there(&goes) {
                self.rename(&goes, &live)?;
            }
        }
        self.sync(items)
    }

    fn places(&self, item: &Item) -> (PathBuf, PathBuf, PathBuf) {
        let at = |place: &Path| place.join(&item.path);
        (at(self.home), at(self.incoming), at(self.outgoing))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), HomeError> {
        let failed = || HomeError::io("rename", from);
        (self.before)(from).map_err(failed())?;
        let inner = to.strip_prefix(self.home).ok();
        make_parents(to, inner.map(|inner| self.incoming.join(inner)).as_deref())
            .map_err(failed())?;
        fs::rename(from, to).map_err(failed())
    }

    /// The renames outlive a crash of the machine.
    fn sync(&self, items: &[Item]) -> Result<(), HomeError> {
        for place in [self.home, self.incoming, self.outgoing] {
            let directories =
                items.iter().filter_map(|item| place.join(&item.path).parent().map(Path::to_owned));
            for directory in directories.chain([place.to_owned()]) {
                if directory.is_dir() {
                    let synced = File::open(&directory).and_then(|file| file.sync_all());
                    synced.map_err(HomeError::io("sync", &directory))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    struct Place {
        directory: tempfile::TempDir,
        items: Vec<Item>,
    }

    const NOBODY: Before<'_> = &|_| Ok(());

    impl Place {
        /// A home with a file, a directory in a directory, one thing that only goes, and one that only comes.
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let put = |path: &str, text: &str| {
                let path = directory.path().join(path);
                fs::create_dir_all(path.parent().expect("a parent")).expect("made");
                fs::write(path, text).expect("written");
            };
            put("home/file", "old");
            put("home/a/dir/x", "old");
            put("home/going", "old");
            put("home/a/stays", "stays");
            put("in/file", "new");
            put("in/a/dir/x", "new");
            put("in/b/coming/y", "new");
            let item = |path: &str, comes| Item { path: path.into(), comes };
            let items = vec![
                item("file", true),
                item("a/dir", true),
                item("going", false),
                item("b/coming", true),
                item("never", false),
            ];
            Self { directory, items }
        }

        fn exchange<T>(&self, before: Before<'_>, work: impl FnOnce(&Exchange<'_>) -> T) -> T {
            let at = |name: &str| self.directory.path().join(name);
            let (home, incoming, outgoing) = (at("home"), at("in"), at("out"));
            work(&Exchange { home: &home, incoming: &incoming, outgoing: &outgoing, before })
        }

        fn text(&self, path: &str) -> Option<String> {
            fs::read_to_string(self.directory.path().join(path)).ok()
        }

        fn is_new(&self) -> bool {
            let found = ["file", "a/dir/x", "going", "b/coming/y", "a/stays"]
                .map(|path| self.text(&format!("home/{path}")));
            let new = || Some("new".to_owned());
            found == [new(), new(), None, new(), Some("stays".to_owned())]
        }

        fn is_old(&self) -> bool {
            let found = ["file", "a/dir/x", "going", "b/coming/y", "a/stays"]
                .map(|path| self.text(&format!("home/{path}")));
            let old = || Some("old".to_owned());
            found == [old(), old(), old(), None, Some("stays".to_owned())]
        }
    }

    /// Fails at the rename of this number.
    fn dying_at(number: usize, count: &Cell<usize>) -> impl Fn(&Path) -> io::Result<()> {
        move |_| {
            count.set(count.get() + 1);
            if count.get() == number { Err(io::Error::other("killed")) } else { Ok(()) }
        }
    }

    #[test]
    fn what_is_exchanged_comes_back() {
        let place = Place::new();
        assert!(place.is_old());
        place.exchange(NOBODY, |exchange| exchange.forward(&place.items)).expect("forward");
        assert!(place.is_new());
        place.exchange(NOBODY, |exchange| exchange.forward(&place.items)).expect("once more");
        assert!(place.is_new(), "what is done stays done");
        assert_eq!(place.text("out/a/dir/x").as_deref(), Some("old"));
        place.exchange(NOBODY, |exchange| exchange.backward(&place.items)).expect("backward");
        assert!(place.is_old());
        place.exchange(NOBODY, |exchange| exchange.backward(&place.items)).expect("once more");
        assert!(place.is_old());
    }

    #[test]
    fn what_a_new_server_made_goes_when_the_old_one_comes_back() {
        let place = Place::new();
        place.exchange(NOBODY, |exchange| exchange.forward(&place.items)).expect("forward");
        fs::write(place.directory.path().join("home/going"), "newer").expect("written");
        place.exchange(NOBODY, |exchange| exchange.backward(&place.items)).expect("backward");
        assert!(place.is_old());
        assert_eq!(place.text("in/going").as_deref(), Some("newer"));
    }

    #[test]
    fn killed_at_every_rename_it_goes_on_or_back() {
        for is_continued in [true, false] {
            let mut deaths = 0;
            for number in 1.. {
                let place = Place::new();
                let count = Cell::new(0);
                let before = dying_at(number, &count);
                let ended = place.exchange(&before, |exchange| exchange.forward(&place.items));
                if ended.is_ok() {
                    break;
                }
                deaths += 1;
                if is_continued {
                    place.exchange(NOBODY, |one| one.forward(&place.items)).expect("goes on");
                    assert!(place.is_new(), "killed at {number}");
                }
                // And from wherever it is, back; killed again on the way.
                let again = Cell::new(0);
                let before = dying_at(number.min(2), &again);
                let _ = place.exchange(&before, |exchange| exchange.backward(&place.items));
                place.exchange(NOBODY, |one| one.backward(&place.items)).expect("goes back");
                assert!(place.is_old(), "killed at {number}");
            }
            assert_eq!(deaths, 6, "two renames where both are there, one where one is");
        }
    }
}
