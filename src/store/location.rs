//! Locations: where a store is, as people write it and as errors print it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{LocalStore, Store};

/// Where a store is, fit to print: a password is never part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location(String);

impl Location {
    /// A directory.
    pub fn directory(path: &Path) -> Self {
        Self(path.display().to_string())
    }

    /// A place with a made-up name (memory, tests).
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that names no place we can keep objects in.
#[derive(Debug, thiserror::Error)]
#[error("`{scheme}:` is not a kind of store this version knows; a repository is a directory")]
pub struct UnknownScheme {
    scheme: String,
}

/// Whether `text` is a place elsewhere in the way other backup programs write it (`sftp:host:/x`).
/// A directory with a colon in its name is written `./like:this`.
fn is_remote(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.len() > 1 && scheme.bytes().all(|letter| letter.is_ascii_alphanumeric())
    })
}

/// The store at `text`: a path, or `file:///path`.
pub fn open_store(text: &str) -> Result<Arc<dyn Store>, UnknownScheme> {
    let path = match text.split_once("://") {
        None if is_remote(text) => {
            let scheme = text.split(':').next().unwrap_or_default().to_owned();
            return Err(UnknownScheme { scheme });
        }
        None => text,
        Some(("file", path)) => path,
        Some((scheme, _)) => return Err(UnknownScheme { scheme: scheme.to_owned() }),
    };
    Ok(Arc::new(LocalStore::new(PathBuf::from(path))))
}
