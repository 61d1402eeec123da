//! A few rows as they were and as they will be. What they were is shown by its first letter and about how long it
//! is, no more.

use std::io::{BufRead as _, BufReader};

use crate::anonymize::transform::NoFiles;
use crate::anonymize::{
    Action, Charset, RewriteError, Rewriter, RowStream, TableProgram, copy_text,
};

use super::apply::CloneWork;
use super::error::CloneError;

/// Lengths that are told apart: up to so many letters.
const CLASSES: [usize; 6] = [4, 8, 16, 32, 64, 256];

/// A column of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewColumn {
    /// Name.
    pub name: String,
    /// What it was, masked.
    pub before: String,
    /// What it will be; `None`: NULL.
    pub after: Option<String>,
    /// It is kept.
    pub is_kept: bool,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewRow {
    /// Its table.
    pub table: String,
    /// Its number in the table's stream, from 1.
    pub number: u64,
    /// Its columns.
    pub columns: Vec<PreviewColumn>,
}

/// The first letter of a value, and about how many it has; `None`: NULL.
pub fn masked(value: Option<&str>) -> String {
    let Some(value) = value else { return "NULL".to_owned() };
    let mut letters = value.chars();
    let Some(first) = letters.next() else { return "empty".to_owned() };
    let count = letters.count() + 1;
    let class = CLASSES.iter().position(|most| count <= *most);
    let from = match class {
        Some(0) => 1,
        Some(at) => CLASSES.get(at - 1).map_or(1, |most| most + 1),
        None => CLASSES.last().map_or(1, |most| most + 1),
    };
    match class.and_then(|at| CLASSES.get(at)) {
        Some(most) => format!("{first}… ({from}-{most})"),
        None => format!("{first}… ({from} or more)"),
    }
}

/// The first `count` copied rows of every table.
pub fn preview(work: &CloneWork<'_>, count: usize) -> Result<Vec<PreviewRow>, CloneError> {
    let CloneWork { contents, program, charset, kept, surveyed } = *work;
    let mut rows = Vec::new();
    for table in &program.tables {
        let manifest = contents.manifest.tables.iter();
        let mut manifest =
            manifest.filter(|found| found.schema == table.schema && found.name == table.name);
        let (Some(manifest), false) = (manifest.next(), table.is_emptied) else { continue };
        let what = format!("rows of table {}", table.title);
        let stream = contents.open(manifest).map_err(|reason| CloneError::io(&what, &reason))?;
        let mut stream = BufReader::new(stream);
        let rewriter = Rewriter::new(table, charset, &surveyed.originals, &NoFiles);
        let mut rewritten = RowStream::new(rewriter.keeping(kept.of(&table.title)));
        let (mut line, mut made, mut number, mut shown) = (Vec::new(), Vec::new(), 0_u64, 0);
        while shown < count {
            line.clear();
            let read = stream.read_until(b'\n', &mut line);
            read.map_err(|error| CloneError::io(&what, &error))?;
            if line.last() != Some(&b'\n') {
                break;
            }
            number += 1;
            made.clear();
            rewritten.push(&line, &mut made).map_err(failed)?;
            // Nothing comes out of a row that stays behind.
            if let (Some(after), Some(before)) =
                (made.strip_suffix(b"\n"), line.strip_suffix(b"\n"))
            {
                shown += 1;
                rows.push(row(table, number, before, after, charset));
            }
        }
    }
    Ok(rows)
}

fn failed(error: RewriteError) -> CloneError {
    match error {
        RewriteError::Leak(leak) => CloneError::Leak(leak),
        RewriteError::Trouble(trouble) => CloneError::Trouble(trouble),
    }
}

fn row(
    table: &TableProgram,
    number: u64,
    line: &[u8],
    made: &[u8],
    charset: Charset,
) -> PreviewRow {
    let text = |raw: &[u8]| {
        let value = copy_text::decode(raw)?;
        let mut text = String::new();
        // Bytes that are no text are shown as far as they are.
        if charset.decode(&value, &mut text).is_none() {
            text = String::from_utf8_lossy(&value).into_owned();
        }
        Some(text)
    };
    let fields = copy_text::fields(line).zip(copy_text::fields(made));
    let columns = table.columns.iter().zip(fields).map(|(column, (before, after))| PreviewColumn {
        name: column.name.clone(),
        before: masked(text(before).as_deref()),
        after: text(after),
        is_kept: matches!(column.action, Action::Keep),
    });
    PreviewRow { table: table.title.clone(), number, columns: columns.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_tells_a_letter_and_a_class() {
        for (value, told) in [
            (None, "NULL"),
            (Some(""), "empty"),
            (Some("Eve"), "E… (1-4)"),
            (Some("Élodie"), "É… (5-8)"),
            (Some("1850578006084"), "1… (9-16)"),
        ] {
            assert_eq!(masked(value), told);
        }
        assert_eq!(masked(Some(&"x".repeat(257))), "x… (257 or more)");
    }
}
