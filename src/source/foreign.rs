//! Repositories of other programs, as far as their snapshots can be taken over: a tree of nodes and the bytes of files.

use std::io::Read;

use crate::snapshot::Node;

/// Name of a directory's listing in its repository: the same name, the same content.
pub type TreeName = [u8; 32];

/// Why something cannot be read there.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// No password of it fits.
    #[error("wrong password for {location}")]
    WrongPassword {
        /// Which repository.
        location: String,
    },
    /// It cannot be opened, or what was asked for cannot be read.
    #[error("cannot read {location}: {reason}")]
    Unreadable {
        /// Which repository.
        location: String,
        /// In its reader's words.
        reason: String,
    },
}

/// A snapshot there.
#[derive(Debug, Clone)]
pub struct ForeignSnapshot {
    /// Its name there, as people write it.
    pub id: String,
    /// When it was made, nanoseconds since 1970.
    pub time: i64,
    /// How long it took, nanoseconds; 0 if unknown.
    pub duration: i64,
    /// Name of the time zone, if known.
    pub time_zone: Option<String>,
    /// Host.
    pub host: String,
    /// User who made it.
    pub user: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Paths that were saved, absolute.
    pub paths: Vec<String>,
    /// Program and version.
    pub program: String,
    /// Root directory.
    pub root: TreeName,
}

/// What is behind a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForeignContent {
    /// Nothing: it is no file and no directory.
    Nothing,
    /// A directory with this listing.
    Directory(TreeName),
    /// A file of these pieces.
    File {
        /// Names of its pieces in order.
        pieces: Vec<[u8; 32]>,
        /// Its size in bytes.
        size: u64,
    },
}

/// An entry of a directory there.
#[derive(Debug, Clone)]
pub struct ForeignNode {
    /// Everything but content and group of hard links.
    pub node: Node,
    /// Its content.
    pub content: ForeignContent,
    /// Device and inode of a file with several names.
    pub link: Option<(u64, u64)>,
}

/// A repository of another program, open.
pub trait ForeignRepository: Sync {
    /// Which program's (`restic`).
    fn kind(&self) -> &'static str;

    /// Where it is, fit to print.
    fn location(&self) -> String;

    /// Its name for itself.
    fn id(&self) -> String;

    /// All snapshots, oldest first.
    fn snapshots(&self) -> Result<Vec<ForeignSnapshot>, ForeignError>;

    /// What is in a directory, names ascending as bytes, each of them fit for a snapshot. What cannot be taken over
    /// (sockets, names no file can have) is told to `left_out`.
    fn directory(
        &self,
        tree: &TreeName,
        left_out: &mut dyn FnMut(&[u8], &str),
    ) -> Result<Vec<ForeignNode>, ForeignError>;

    /// Gives the bytes of a file to `take`, and what `take` gives back.
    fn read(&self, content: &ForeignContent, take: &mut dyn FnMut(&mut dyn Read));
}
