//! The file that the textfile collector of `node_exporter` reads.

use std::io;
use std::path::{Path, PathBuf};

use crate::report::replace_public_file;

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write metrics to {}: {error}", path.display())]
pub struct TextfileError {
    path: PathBuf,
    error: io::Error,
}

/// Replaces the file as a whole: the collector never sees half of one. Everybody may read it, for the collector is another user.
pub fn write_textfile(path: &Path, text: &str) -> Result<(), TextfileError> {
    replace_public_file(path, text).map_err(|error| TextfileError { path: path.to_owned(), error })
}
