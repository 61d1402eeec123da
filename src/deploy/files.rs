//! Small files that are replaced as a whole and are nobody else's to read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::DeployError;

/// Makes a directory, and those above it, for us alone.
pub fn make_directory(path: &Path) -> Result<(), DeployError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| DeployError::files("make", path, &error))
}

/// Puts `bytes` in place of the file: temporary name, sync, rename, sync of the directory.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), DeployError> {
    let write = || -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let aside = directory.join(format!(".{name}.{}.tmp", std::process::id()));
        let mut open = OpenOptions::new();
        let mut file = open.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        let result = file.write_all(bytes).and_then(|()| file.sync_all());
        if let Err(error) = result.and_then(|()| fs::rename(&aside, path)) {
            let _ = fs::remove_file(&aside);
            return Err(error);
        }
        File::open(directory)?.sync_all()
    };
    write().map_err(|error| DeployError::files("write", path, &error))
}

/// The content of a file of at most `limit` bytes; `None` if there is none.
pub fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, DeployError> {
    let failed = |error: io::Error| DeployError::files("read", path, &error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(failed(io::Error::other(format!("it is longer than {limit} bytes"))));
    }
    Ok(Some(bytes))
}
