//! A dump for PostgreSQL's own tools, left where the configuration says. It is not encrypted.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::event::StopFlag;
use crate::ops::backup::BackupOutcome;
use crate::ops::dump_database::{DatabaseDump, DumpFormat};
use crate::postgres::path_component;
use crate::repository::{Fetcher, Repository};

/// Bytes of opened segments kept while a dump is read back.
const CACHE: usize = 16 << 20;

/// Whether all databases were dumped whole: half a dump must not take the place of the one of before.
pub(super) fn is_possible(backup: &BackupOutcome) -> bool {
    let mut sources = backup.snapshot.sources.iter();
    sources.all(|source| source.kind != "postgresql" || source.incomplete.is_empty())
}

/// Writes the databases' archives of a snapshot into `directory`, each in the place of the one of
/// the run before once it is whole. What is read back is also proof that it can be.
pub(super) fn leave(
    repository: &Repository,
    backup: &BackupOutcome,
    directory: &Path,
    stop: &StopFlag,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let fetcher = Fetcher::new(repository, CACHE);
    for database in &backup.snapshot.databases {
        let target = directory.join(format!("{}.dump", path_component(&database.name)));
        let aside = Aside::new(target).map_err(failed)?;
        let mut out = BufWriter::new(&aside.file);
        DatabaseDump::find(&fetcher, &backup.snapshot, &database.name, stop)
            .and_then(|found| found.write(DumpFormat::Custom, None, &mut out))
            .map_err(|error| error.to_string())?;
        out.flush().map_err(failed)?;
        drop(out);
        aside.keep().map_err(failed)?;
    }
    Ok(())
}

/// A file under a temporary name, removed unless it is kept.
struct Aside {
    file: File,
    path: PathBuf,
    target: PathBuf,
    is_kept: bool,
}

impl Aside {
    fn new(target: PathBuf) -> std::io::Result<Self> {
        let mut path = target.clone().into_os_string();
        path.push(".partial");
        let path = PathBuf::from(path);
        // What a killed run left.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Never through a link somebody put there.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path, target, is_kept: false })
    }

    fn keep(mut self) -> std::io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.target)?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}
