//! The page as a file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

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
    let write = || -> io::Result<()> {
        let aside = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o644).open(&aside)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| PageError::Write { path: path.to_owned(), error })
}
