//! Readers that note in the source's record what they found.

use std::io::{self, Cursor, Read};

use crate::event::counted;
use crate::source::archive::ArchiveWalker;
use crate::source::process::Process;

use super::Progress;

/// A database's dump.
pub(super) struct DumpReader<'a> {
    pub walker: ArchiveWalker<Process>,
    pub path: String,
    pub database: String,
    pub progress: &'a mut Progress,
}

impl Read for DumpReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.walker.read(buf)?;
        if n == 0 && !buf.is_empty() {
            self.progress.unfinished.retain(|path| *path != self.path);
            let report = self.walker.report();
            let key = format!("archive {}", self.database);
            let text = report.note.unwrap_or_else(|| {
                format!(
                    "version {}, {}, {} with data, all there",
                    report.version.unwrap_or_default(),
                    counted(report.entries, "entry"),
                    report.with_data
                )
            });
            self.progress.details.insert(key, text);
        }
        Ok(n)
    }
}

/// The roles, already read and verified.
pub(super) struct GlobalsReader<'a> {
    pub text: Cursor<Vec<u8>>,
    pub path: &'static str,
    pub progress: &'a mut Progress,
}

impl Read for GlobalsReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.text.read(buf)?;
        if n == 0 && !buf.is_empty() {
            self.progress.unfinished.retain(|path| path != self.path);
        }
        Ok(n)
    }
}
