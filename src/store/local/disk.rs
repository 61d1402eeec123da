//! What [`LocalStore`](super::LocalStore) asks of the file system, each step safe on its own: no
//! file is overwritten, no symbolic link followed to an object, nothing read but regular files.

use std::fmt;
use std::fs::{self, DirBuilder, DirEntry, File, Metadata, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags};
use rustix::io::Errno;

use super::direct::Blocks;
use crate::crypto::SystemRandom;
use crate::crypto::random::random_bytes;
use crate::id::from_hex;
use crate::store::{ObjectKind, ObjectName, StoreErrorKind};

/// An error, and the path below the root it arose at.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) path: String,
    pub(super) error: io::Error,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}", self.error)
        } else {
            write!(f, "{}: {}", self.path, self.error)
        }
    }
}

/// What callers may conclude from `error`.
pub(super) fn kind_of(error: &io::Error) -> StoreErrorKind {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => StoreErrorKind::NotFound,
        Some(Errno::EXIST) => StoreErrorKind::Exists,
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => StoreErrorKind::NoSpace,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => StoreErrorKind::Denied,
        // Input/output errors included: file systems on a network give them for lost connections,
        // and a put that is tried again starts with a new file.
        Some(
            Errno::INTR
            | Errno::AGAIN
            | Errno::IO
            | Errno::TIMEDOUT
            | Errno::STALE
            | Errno::BUSY
            | Errno::NOMEM
            | Errno::NOBUFS
            | Errno::MFILE
            | Errno::NFILE,
        ) => StoreErrorKind::Temporary,
        _ if error.kind() == io::ErrorKind::UnexpectedEof => StoreErrorKind::TooShort,
        _ if error.kind() == io::ErrorKind::OutOfMemory => StoreErrorKind::Temporary,
        _ => StoreErrorKind::Permanent,
    }
}

/// Goes on if `error` says that somebody else removed the file meanwhile.
pub(super) fn unless_gone(error: io::Error) -> io::Result<ControlFlow<()>> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(ControlFlow::Continue(())),
        _ => Err(error),
    }
}

/// Makes one directory only we can enter; one that is there is left as it is.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::metadata(path)?.is_dir() { Ok(()) } else { Err(Errno::NOTDIR.into()) }
        }
        done => done,
    }
}

/// Renames `from` to `to` unless something is there.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => rename_after_look(from, to),
        done => Ok(done?),
    }
}

/// [`rename_new`] for file systems that cannot refuse by themselves (NFS, say). Between our look
/// and the rename another writer may put the same name: for all but `config` and the beats of one
/// session, which only that session writes, it means the same bytes.
pub(super) fn rename_after_look(from: &Path, to: &Path) -> io::Result<()> {
    // First, so that a staged object that is gone is told as such even if the target is there.
    fs::symlink_metadata(from)?;
    match fs::symlink_metadata(to) {
        Ok(_) => Err(Errno::EXIST.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
        Err(error) => Err(error),
    }
}

/// Opens a directory to flush it; the empty path is the current one.
pub(super) fn open_directory(path: &Path) -> io::Result<File> {
    File::open(if path.as_os_str().is_empty() { Path::new(".") } else { path })
}

/// Waits until the names in an open directory are durable.
pub(super) fn flush_directory(directory: &File) -> io::Result<()> {
    match rustix::io::retry_on_intr(|| rustix::fs::fsync(directory)) {
        // Some file systems (CIFS, some in user space) know no such thing for directories.
        Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
        done => Ok(done?),
    }
}

/// Refuses everything but regular files.
pub(super) fn regular(found: &Metadata) -> io::Result<()> {
    let what = match found.file_type() {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_dir() => "a directory",
        _ => "a special file",
    };
    Err(io::Error::other(format!("there is {what} in its place")))
}

/// Opens an object for reading.
pub(super) fn open_object(path: &Path) -> io::Result<File> {
    // Without `NONBLOCK` a named pipe in its place would make us wait for a writer.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => {
            regular(&file.metadata()?)?;
            Ok(file)
        }
        Err(error) => {
            // The error of a refused link or socket does not say what is there.
            if let Ok(found) = fs::symlink_metadata(path) {
                regular(&found)?;
            }
            Err(error)
        }
    }
}

/// Reads `len` bytes from `offset` on. The caller has made sure that there are so many.
pub(super) fn read_exactly(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let out_of_memory = |_| io::Error::from(io::ErrorKind::OutOfMemory);
    let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(out_of_memory)?;
    bytes.resize(len, 0);
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// An object on its way: removed when dropped unless it got its name.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    file: File,
    renamed: bool,
}

impl Temporary {
    /// A new file in the directory of `target`.
    pub(super) fn create(target: &Path) -> io::Result<Self> {
        // At random: process numbers repeat between containers that share a repository.
        let nonce = u64::from_le_bytes(random_bytes(&SystemRandom));
        let mut path = target.as_os_str().to_owned();
        path.push(format!(".{nonce:016x}.tmp"));
        let path = PathBuf::from(path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, file, renamed: false })
    }

    /// Writes all parts and waits until they are on the disk.
    pub(super) fn write(&mut self, parts: &[&[u8]], blocks: &Blocks) -> io::Result<()> {
        blocks.write(&mut self.file, parts)?;
        self.file.sync_data()
    }

    /// Gives it its name unless that is taken.
    pub(super) fn rename_to(mut self, target: &Path) -> io::Result<()> {
        rename_new(&self.path, target)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // What cannot be removed is passed over by everybody, and some day found stale.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The object whose temporary file has this path below the root.
pub(super) fn temporary_of(path: &str) -> Option<ObjectName> {
    let (target, nonce) = path.strip_suffix(".tmp")?.rsplit_once('.')?;
    from_hex::<8>(nonce)?;
    ObjectName::parse(target)
}

/// Told the path below the root and the entry.
pub(super) type Visit<'a> = dyn FnMut(&str, &DirEntry) -> io::Result<ControlFlow<()>> + 'a;

/// Visits every file that lies where objects of `kind` do, whatever its name. (For `config` that
/// is the root.) Directories are left out; what vanishes meanwhile is passed over.
pub(super) fn walk(root: &Path, kind: ObjectKind, visit: &mut Visit<'_>) -> Result<(), Trouble> {
    let (top, nested) = match kind {
        ObjectKind::Config => ("", false),
        ObjectKind::Pack | ObjectKind::Session => (kind.directory(), true),
        _ => (kind.directory(), false),
    };
    let at_root = |error| Trouble { path: String::new(), error };
    let Some(entries) = open_listing(root, top)? else {
        // Nothing put yet; but a missing root is a disk that is not there.
        return fs::read_dir(root).map(|_| ()).map_err(at_root);
    };
    for entry in entries {
        let entry = entry.map_err(|error| Trouble { path: top.to_owned(), error })?;
        let Some(path) = path_below(top, &entry) else { continue };
        let flow =
            if nested { walk_flat(root, &path, visit)? } else { visit_file(&path, &entry, visit)? };
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

fn walk_flat(root: &Path, top: &str, visit: &mut Visit<'_>) -> Result<ControlFlow<()>, Trouble> {
    let Some(entries) = open_listing(root, top)? else { return Ok(ControlFlow::Continue(())) };
    for entry in entries {
        let entry = entry.map_err(|error| Trouble { path: top.to_owned(), error })?;
        if let Some(path) = path_below(top, &entry)
            && visit_file(&path, &entry, visit)?.is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn visit_file(
    path: &str,
    entry: &DirEntry,
    visit: &mut Visit<'_>,
) -> Result<ControlFlow<()>, Trouble> {
    let visited = match entry.file_type() {
        Ok(kind) if kind.is_dir() => Ok(ControlFlow::Continue(())),
        Ok(_) => visit(path, entry),
        Err(error) => unless_gone(error),
    };
    visited.map_err(|error| Trouble { path: path.to_owned(), error })
}

/// Path below the root; `None` for names that are no text, which no object has.
fn path_below(top: &str, entry: &DirEntry) -> Option<String> {
    let name = entry.file_name().into_string().ok()?;
    Some(if top.is_empty() { name } else { format!("{top}/{name}") })
}

/// The entries of a directory, `None` if there is none of that name. Links to directories are
/// followed, for people who keep packs on another disk.
fn open_listing(root: &Path, top: &str) -> Result<Option<fs::ReadDir>, Trouble> {
    match fs::read_dir(root.join(top)) {
        Ok(entries) => Ok(Some(entries)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Ok(None),
            // A stray file where a directory of packs would be; the root itself has to be one.
            io::ErrorKind::NotADirectory if top.contains('/') => Ok(None),
            _ => Err(Trouble { path: top.to_owned(), error }),
        },
    }
}
