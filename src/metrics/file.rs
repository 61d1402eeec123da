//! The file that the textfile collector of `node_exporter` reads.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write metrics to {}: {error}", path.display())]
pub struct TextfileError {
    path: PathBuf,
    error: io::Error,
}

/// Replaces the file as a whole: the collector never sees half of one. Everybody may read it, for the collector is another user.
pub fn write_textfile(path: &Path, text: &str) -> Result<(), TextfileError> {
    let write = || -> io::Result<()> {
        // The collector passes over what does not end in `.prom`.
        let aside = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o644).open(&aside)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().map_err(|error| TextfileError { path: path.to_owned(), error })
}
