//! Which rows are copied, found out before anything else: the tables that conditions are about, and those that
//! hang on them, are read once.

use jiff::Timestamp;

use crate::anonymize::{Charset, Choosing, Kept, MOST_BYTES, Program, SubsetTable};
use crate::event::{Event, Observer, StopFlag};
use crate::ops::restore_database::Contents;
use crate::report::human_bytes;
use crate::snapshot::TableManifest;

use super::error::CloneError;
use super::rows::Reading;

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
    let reading = Reading { observer, stop };
    let mut choosing = Choosing::new(subset, charset, i128::from(time.as_microsecond()));
    let mut is_settled = false;
    for (at, table) in subset.tables.iter().enumerate() {
        if table.is_late && !is_settled {
            choosing.settle();
            is_settled = true;
        }
        let Some(found) = manifest(table) else { continue };
        let mut number = 0_u64;
        reading.each_row(contents, found, &table.title, |line| {
            number += 1;
            choosing.row(at, line).map_err(|reason| {
                let place = format!("subset of table {}", table.title);
                CloneError::refused(place, format!("row {number}: {reason}"))
            })
        })?;
    }
    if !is_settled {
        choosing.settle();
    }
    observer.event(&Event::StepFinished { step: "subset" });
    Ok(choosing.finish())
}
