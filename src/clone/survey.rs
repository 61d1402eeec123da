//! The first pass: every row is looked at before the first byte is written.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::sync::{Mutex, PoisonError};

use crate::anonymize::copy_text::Lines;
use crate::anonymize::{
    Charset, FingerprintKey, Gatherer, Kept, KeptRows, Originals, Problem, Program, Surveyor,
    TableProgram,
};
use crate::crypto::random::Randomness;
use crate::event::{Event, Observer, StopFlag};
use crate::ops::restore_database::Contents;
use crate::snapshot::TableManifest;
use crate::source::archive::{ExchangedArchive, RowsFilter, Toc, TocEntry};

use super::contents::Check;
use super::error::{CloneError, Refusal};
use super::rows::{PIECE, Reading};

/// What the first pass found out.
pub struct Surveyed {
    /// What is removed.
    pub originals: Originals,
    /// Rows looked at.
    pub rows: u64,
}

/// What all tables put together.
struct Found {
    gatherer: Gatherer,
    problems: Vec<Problem>,
    rows: u64,
}

/// One first pass.
struct Pass<'a> {
    contents: &'a Contents<'a, 'a>,
    program: &'a Program,
    charset: Charset,
    key: FingerprintKey,
    kept: &'a Kept,
    found: Mutex<Found>,
    reading: Reading<'a>,
}

/// Looks at all rows of tables in which something is removed: whether they can be rewritten, and what will be
/// looked for.
#[expect(clippy::too_many_arguments, reason = "all that a pass needs, once")]
pub fn survey(
    contents: &Contents<'_, '_>,
    toc: &Toc,
    program: &Program,
    charset: Charset,
    kept: &Kept,
    random: &dyn Randomness,
    workers: usize,
    observer: &dyn Observer,
    stop: &StopFlag,
) -> Result<Surveyed, CloneError> {
    let key = FingerprintKey::new(random);
    let gatherer = Gatherer::new(key.clone(), program.scanned);
    let found = Mutex::new(Found { gatherer, problems: Vec::new(), rows: 0 });
    let reading = Reading { observer, stop };
    let pass = Pass { contents, program, charset, key, kept, found, reading };
    let bytes: u64 = pass.streamed().map(|table| table.bytes).sum();
    let total_bytes = Some(bytes + contents.archive_bytes());
    observer.event(&Event::StepStarted { step: "survey", total_bytes });
    pass.streams(workers)?;
    pass.archive(toc)?;
    observer.event(&Event::StepFinished { step: "survey" });
    let mut found = pass.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !found.problems.is_empty() {
        found.problems.sort();
        return Err(CloneError::Refused(Refusal(found.problems)));
    }
    let originals = found.gatherer.seal();
    let originals =
        originals.map_err(|error| CloneError::refused("leak_scan", error.to_string()))?;
    Ok(Surveyed { originals, rows: found.rows })
}

impl<'a> Pass<'a> {
    fn streamed(&self) -> impl Iterator<Item = &'a TableManifest> {
        let (contents, program) = (self.contents, self.program);
        contents.streamed().into_iter().filter(move |table| {
            program.table(&table.schema, &table.name).is_some_and(TableProgram::needs_survey)
        })
    }

    fn streams(&self, workers: usize) -> Result<(), CloneError> {
        let mut tables: Vec<&TableManifest> = self.streamed().collect();
        tables.sort_by_key(|table| std::cmp::Reverse(table.bytes));
        let queue = Mutex::new(VecDeque::from(tables));
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        std::thread::scope(|scope| {
            let work = || -> Result<(), CloneError> {
                while let Some(table) = next() {
                    self.stream(table)?;
                }
                Ok(())
            };
            let workers: Vec<_> = (0..workers.max(1)).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|_| Err(CloneError::io("survey", &"a thread died")))
            })
        })
    }

    fn stream(&self, table: &TableManifest) -> Result<(), CloneError> {
        let Some(program) = self.program.table(&table.schema, &table.name) else { return Ok(()) };
        let mut surveying = self.begin(program);
        self.reading.each_row(self.contents, table, &program.title, |line| {
            surveying.row(line);
            Ok(())
        })?;
        self.end(surveying)
    }

    fn begin(&self, program: &'a TableProgram) -> Surveying<'a> {
        let gatherer = Gatherer::new(self.key.clone(), self.program.scanned);
        let surveyor = Surveyor::new(program, self.charset);
        let kept = self.kept.of(&program.title);
        Surveying { program, surveyor, gatherer, kept }
    }

    /// Adds what was found of a table to the rest.
    fn end(&self, surveying: Surveying<'_>) -> Result<(), CloneError> {
        let problems = surveying.problems();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.rows += surveying.surveyor.rows();
        found.problems.extend(problems);
        found.gatherer.join(surveying.gatherer);
        let check = found.gatherer.check();
        check.map_err(|error| CloneError::refused("leak_scan", error.to_string()))
    }

    /// Tables whose rows are in the archive, in one reading.
    fn archive(&self, toc: &Toc) -> Result<(), CloneError> {
        let failed = |error: &dyn std::fmt::Display| {
            let name = &self.contents.manifest.name;
            CloneError::io(format!("archive of database {name}"), error)
        };
        let filter_of = Box::new(|entry: &TocEntry| self.filter(entry));
        let archive = ExchangedArchive::new(self.contents.archive(), toc, filter_of);
        let mut archive = archive.map_err(|error| failed(&error))?;
        let mut buffer = vec![0; PIECE];
        loop {
            match archive.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => self.reading.progress(count)?,
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    fn filter(&self, entry: &TocEntry) -> io::Result<Box<dyn RowsFilter + Send + '_>> {
        let schema = entry.schema.as_deref().unwrap_or_default();
        let program = self.program.table(schema, &entry.tag);
        let tables = &self.contents.manifest.tables;
        let manifest = tables.iter().find(|t| t.schema == schema && t.name == entry.tag);
        let (Some(program), Some(manifest)) = (program, manifest) else {
            return Err(io::Error::other(format!("no rule names {schema}.{}", entry.tag)));
        };
        let surveying = program.needs_survey().then(|| self.begin(program));
        Ok(Box::new(SurveyFilter {
            pass: self,
            surveying,
            lines: Lines::default(),
            check: Check::new(manifest),
        }))
    }
}

/// A table that is being looked at.
struct Surveying<'a> {
    program: &'a TableProgram,
    surveyor: Surveyor<'a>,
    gatherer: Gatherer,
    kept: Option<&'a KeptRows>,
}

impl Surveying<'_> {
    fn row(&mut self, line: &[u8]) {
        match self.kept.is_none_or(|kept| kept.keeps(self.surveyor.rows())) {
            true => self.surveyor.row(line, &mut self.gatherer),
            false => self.surveyor.dropped(line, &mut self.gatherer),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let title = &self.program.title;
        let mut problems: Vec<Problem> = self
            .surveyor
            .troubles
            .iter()
            .map(|(trouble, count)| {
                let rows = if *count == 1 { "1 row" } else { &format!("{count} rows") };
                let what = format!(
                    "{rows} cannot be rewritten, first {} (number {}): {}",
                    trouble.row, trouble.number, trouble.reason
                );
                Problem::column(title, &trouble.column, what)
            })
            .collect();
        for (column, unlisted) in self.program.columns.iter().zip(&self.surveyor.unlisted) {
            for path in unlisted.paths() {
                let what = format!("no rule names the JSON key `{path}`");
                let line = format!(
                    "\"{path}\" = {{ todo = \"in [table.{title}.{}.json]\" }}",
                    column.name
                );
                problems.push(Problem::column(title, &column.name, what).suggesting(line));
            }
        }
        problems
    }
}

/// A table in the archive that is being looked at. Nothing comes out of it.
struct SurveyFilter<'a, 's> {
    pass: &'s Pass<'a>,
    surveying: Option<Surveying<'a>>,
    lines: Lines,
    check: Check,
}

impl RowsFilter for SurveyFilter<'_, '_> {
    fn push(&mut self, bytes: &[u8], _: &mut Vec<u8>) -> io::Result<()> {
        self.check.push(bytes);
        if let Some(surveying) = &mut self.surveying {
            return self.lines.push(bytes, |line| {
                surveying.row(line);
                Ok(())
            });
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.check.finish()?;
        match self.surveying.take() {
            Some(surveying) => {
                self.pass.end(surveying).map_err(|e| io::Error::other(e.to_string()))
            }
            None => Ok(()),
        }
    }
}
