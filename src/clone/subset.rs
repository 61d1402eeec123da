//! Which rows are copied, found out before anything else: the tables that conditions are about, and those that
//! hang on them, are read once.

use std::io::{BufRead as _, BufReader};

use jiff::Timestamp;

use crate::anonymize::{Charset, Choosing, Kept, MOST_BYTES, Program, SubsetTable};
use crate::event::{Event, Observer, StopFlag};
use crate::ops::restore_database::Contents;
use crate::report::human_bytes;
use crate::repository::RepositoryError;
use crate::snapshot::TableManifest;

use super::contents::Verified;
use super::error::CloneError;

/// Bytes read at once.
const PIECE: usize = 256 << 10;

/// Chooses the rows of all tables of which not all are copied. `time`: of the snapshot.
pub fn choose_rows(
    contents: &Contents<'_, '_>,
    program: &Program,
    charset: Charset,
    time: Timestamp,
    observer: &dyn Observer,
    stop: &StopFlag,
) -> Result<Kept, CloneError> {
    let Some(subset) = &program.subset else { return Ok(Kept::default()) };
    let manifest = |table: &SubsetTable| -> Option<&TableManifest> {
        let tables = &contents.manifest.tables;
        tables.iter().find(|found| found.schema == table.schema && found.name == table.name)
    };
    let needed = Choosing::bytes(subset, |table| manifest(table).map_or(0, |found| found.rows));
    if needed > MOST_BYTES {
        let what = format!(
            "the rows that others hang on would take {} of memory to follow, more than {}; leave fewer tables in it",
            human_bytes(needed),
            human_bytes(MOST_BYTES)
        );
        return Err(CloneError::refused("subset", what));
    }
    let total: u64 = subset.tables.iter().filter_map(manifest).map(|table| table.bytes).sum();
    observer.event(&Event::StepStarted { step: "subset", total_bytes: Some(total) });
    let mut choosing = Choosing::new(subset, charset, i128::from(time.as_microsecond()));
    let mut is_settled = false;
    for (at, table) in subset.tables.iter().enumerate() {
        if table.is_late && !is_settled {
            choosing.settle();
            is_settled = true;
        }
        if let Some(found) = manifest(table) {
            read(contents, found, &table.title, observer, stop, |line| choosing.row(at, line))?;
        }
    }
    if !is_settled {
        choosing.settle();
    }
    observer.event(&Event::StepFinished { step: "subset" });
    Ok(choosing.finish())
}

/// Gives every row of a table to `act`.
fn read(
    contents: &Contents<'_, '_>,
    table: &TableManifest,
    title: &str,
    observer: &dyn Observer,
    stop: &StopFlag,
    mut act: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), CloneError> {
    let what = format!("rows of table {title}");
    observer.event(&Event::Working { item: format!("table {title}") });
    let rows = contents.open(table).map_err(|reason| CloneError::io(&what, &reason))?;
    let mut rows = BufReader::with_capacity(PIECE, Verified::new(rows, table));
    let (mut line, mut number, mut told) = (Vec::new(), 0_u64, 0_u64);
    loop {
        line.clear();
        let len = rows.read_until(b'\n', &mut line);
        let len = len.map_err(|error| CloneError::io(&what, &error))?;
        if line.pop() != Some(b'\n') {
            break;
        }
        number += 1;
        act(&line).map_err(|reason| {
            CloneError::refused(
                format!("subset of table {title}"),
                format!("row {number}: {reason}"),
            )
        })?;
        told += len as u64;
        if told > PIECE as u64 {
            observer.event(&Event::Progress { bytes: told, items: 0 });
            told = 0;
            if stop.is_stopped() {
                return Err(RepositoryError::Interrupted.into());
            }
        }
    }
    observer.event(&Event::Progress { bytes: told, items: 1 });
    Ok(())
}
