//! The rows of a stored table, one after the other.

use std::io::Read as _;

use crate::anonymize::copy_text::Lines;
use crate::event::{Event, Observer, StopFlag};
use crate::ops::restore_database::Contents;
use crate::repository::RepositoryError;
use crate::snapshot::TableManifest;

use super::contents::Verified;
use super::error::CloneError;

/// Bytes read at once.
pub(super) const PIECE: usize = 256 << 10;

/// Who listens while rows are read, and whether somebody asks to stop.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub observer: &'a dyn Observer,
    pub stop: &'a StopFlag,
}

impl Reading<'_> {
    /// Tells of bytes that were read; an error once somebody asks to stop.
    pub fn progress(&self, bytes: usize) -> Result<(), CloneError> {
        self.observer.event(&Event::Progress { bytes: bytes as u64, items: 0 });
        if self.stop.is_stopped() { Err(RepositoryError::Interrupted.into()) } else { Ok(()) }
    }

    /// Gives every row of `table`, which people call `title`, to `act`, and compares all with what was stored.
    pub fn each_row(
        &self,
        contents: &Contents<'_, '_>,
        table: &TableManifest,
        title: &str,
        mut act: impl FnMut(&[u8]) -> Result<(), CloneError>,
    ) -> Result<(), CloneError> {
        let what = format!("rows of table {title}");
        self.observer.event(&Event::Working { item: format!("table {title}") });
        let rows = contents.open(table).map_err(|reason| CloneError::io(&what, &reason))?;
        let mut rows = Verified::new(rows, table);
        let (mut lines, mut piece) = (Lines::default(), vec![0; PIECE]);
        loop {
            let count = match rows.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(CloneError::io(&what, &error)),
            };
            lines.push(piece.get(..count).unwrap_or_default(), &mut act)?;
            self.progress(count)?;
        }
        self.observer.event(&Event::Progress { bytes: 0, items: 1 });
        Ok(())
    }
}
