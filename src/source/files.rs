//! Files and directories as a source: walks a tree and hands everything in it to a visitor.
//!
//! The tree may change while it is walked, and whoever changes it may mean harm. Every entry is
//! opened by its name in the directory that is already open, never through a symbolic link, so a
//! directory that is replaced by a link while it is walked cannot lead outside.

use std::io;
use std::path::{Path, PathBuf};

use crate::snapshot::Node;

mod content;
pub(crate) mod directory;
mod excludes;
mod links;
pub(crate) mod names;
pub(crate) mod stat;
mod walker;
pub(crate) mod xattrs;

#[cfg(test)]
pub(crate) mod tests;

pub use content::FileContent;
pub use excludes::{ExcludeError, Excludes};

/// Identity and times of a file as `statx` gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileStamp {
    /// Device it is on: major number in the upper half, minor in the lower.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification, nanoseconds since 1970.
    pub mtime: i128,
    /// Change of the inode, nanoseconds since 1970.
    pub ctime: i128,
}

/// What is left out.
#[derive(Debug, Clone, Default)]
pub struct WalkOptions {
    /// Entries that fit these patterns.
    pub excludes: Excludes,
    /// What is in directories with a `CACHEDIR.TAG`. The directory and its tag are kept.
    pub exclude_caches: bool,
    /// What is on other file systems than the root. The mount points are kept, empty.
    pub one_file_system: bool,
    /// What is in these directories, wherever they are met: those we write to ourselves. They are kept, empty.
    pub own: Vec<PathBuf>,
}

/// What went wrong with one entry, or why it is not saved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// It was there when the directory was read, and gone when its turn came. Worth a warning.
    Vanished,
    /// It, or some of a directory's entries, cannot be read: the snapshot is incomplete.
    Unreadable(String),
    /// It is saved, but without these extended attributes: the snapshot is incomplete.
    WithoutAttributes(String),
    /// A socket: nothing in it can be saved, programs make it anew.
    SkippedSocket,
    /// The root of another file system: saved as an empty directory.
    SkippedMount,
    /// A directory we write to ourselves: saved as an empty one.
    SkippedOwn,
}

/// Is told of everything in the tree, depth first, the names of a directory ascending as bytes.
///
/// Paths are relative to the root of the walk, without a slash at the start; the root's is empty.
/// Nodes come without content; the root's has the last name of the root's path, empty for `/`.
pub trait TreeVisitor {
    /// Why a visitor ends the walk.
    type Error;

    /// A directory; what is in it follows, then [`leave_directory`](Self::leave_directory).
    fn enter_directory(&mut self, node: Node, path: &[u8]) -> Result<(), Self::Error>;

    /// Whether the regular file `name` of the current directory is known and need not be read. The
    /// walker then goes on without opening it: the visitor has stored what it knew, in hard link `group`
    /// whatever it was in before. To be answered with `false` if the known node has no content (a
    /// further link): it may now be the first of its group.
    fn is_unchanged(
        &mut self,
        name: &[u8],
        stamp: &FileStamp,
        group: Option<u64>,
    ) -> Result<bool, Self::Error>;

    /// A regular file. `node` has everything but content and extents, which come from `content`
    /// when it was read. The node is to be stored in any case, as torn if reading fails: further
    /// names of the file will refer to it.
    fn file(
        &mut self,
        node: Node,
        stamp: &FileStamp,
        content: &mut FileContent,
    ) -> Result<(), Self::Error>;

    /// A symlink, a fifo, a device, or a further link of any file: the node is all there is.
    fn other(&mut self, node: Node) -> Result<(), Self::Error>;

    /// The end of the current directory.
    fn leave_directory(&mut self) -> Result<(), Self::Error>;

    /// Something is not saved, or not as it was.
    fn trouble(&mut self, path: &[u8], trouble: Trouble) -> Result<(), Self::Error>;
}

/// Why a walk ended early.
#[derive(Debug, thiserror::Error)]
pub enum WalkError<E> {
    /// The root is missing or unreadable. The text names it.
    #[error("{0}")]
    Root(io::Error),
    /// The visitor wanted it.
    #[error("{0}")]
    Visitor(E),
}

/// Shows `visitor` the file or directory `root` and all that is in it. If the path of the root is or
/// has a symbolic link, it is followed; links in the tree are not.
///
/// At most about a hundred directories are open at a time, whatever the depth, and the names of a
/// directory of millions are listed in parts.
pub fn walk<E>(
    root: &Path,
    options: &WalkOptions,
    visitor: &mut impl TreeVisitor<Error = E>,
) -> Result<(), WalkError<E>> {
    walker::walk(root, options, walker::LISTING_BYTES, visitor)
}
