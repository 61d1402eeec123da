//! The page as a file.

use std::io;
use std::path::{Path, PathBuf};

use crate::report::replace_public_file;

/// There is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// It cannot be made.
    #[error("cannot make the page: {0}")]
    Template(String),
    /// It cannot be written.
    #[error("cannot write the page {}: {error}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Replaces the file as a whole. A web server may read it, and so may everybody.
pub fn write_page(path: &Path, text: &str) -> Result<(), PageError> {
    replace_public_file(path, text)
        .map_err(|error| PageError::Write { path: path.to_owned(), error })
}
