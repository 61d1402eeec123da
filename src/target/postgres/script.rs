//! Scripts of `pg_dumpall` and of plain `pg_dump`, run by PostgreSQL's own `psql` in a server that has nothing else in it.

use std::io::{self, BufRead, BufReader, Read};

use crate::postgres::conninfo;

use super::cluster::{Cluster, Input};
use super::error::DatabaseError;

/// Longest line that is looked at as a whole; rows may be longer, commands of such scripts are not.
const LONGEST: u64 = 64 << 10;
/// A setting of old servers that newer ones do not know.
const OUTDATED: &[u8] = b"SET default_with_oids = false;";
/// Databases every server has.
const USUAL: [&[u8]; 2] = [b"postgres", b"template1"];

/// Runs a script; any error in it ends it. What it would take away from a server that had it already is passed over, and so is the
/// superuser `owner`, who is there.
pub fn load_script(
    cluster: &Cluster,
    script: &mut (dyn Read + Send),
    owner: &str,
) -> Result<(), DatabaseError> {
    let mut reader = Script::new(script, owner);
    let to = format!("--dbname={}", conninfo("postgres"));
    let arguments = [
        "--no-psqlrc",
        "--quiet",
        "--no-password",
        "--set=ON_ERROR_STOP=1",
        "--output=/dev/null",
        &to,
    ];
    let input = Input::Stream { what: "the dump", reader: &mut reader };
    cluster.run("load the dump", "psql", "postgres", &arguments, input).map(drop)
}

/// A script without the lines that only make sense where it was loaded before.
struct Script<R> {
    inner: BufReader<R>,
    /// `CREATE ROLE owner;`
    create_owner: Vec<u8>,
    is_line_start: bool,
    /// Rows of a table pass as they are.
    is_in_rows: bool,
    part: Vec<u8>,
    at: usize,
}

impl<R: Read> Script<R> {
    fn new(inner: R, owner: &str) -> Self {
        Self {
            inner: BufReader::with_capacity(256 << 10, inner),
            create_owner: format!("CREATE ROLE {owner};").into_bytes(),
            is_line_start: true,
            is_in_rows: false,
            part: Vec::new(),
            at: 0,
        }
    }

    /// Whether a line, without its end, is passed over.
    fn is_left_out(&self, line: &[u8]) -> bool {
        if let Some(name) = line.strip_prefix(b"DROP DATABASE ") {
            let name = name.strip_prefix(b"IF EXISTS ").unwrap_or(name);
            return !USUAL.iter().any(|usual| name.strip_suffix(b";") == Some(usual));
        }
        line.starts_with(b"DROP ROLE ") || line == OUTDATED || line == self.create_owner
    }
}

impl<R: Read> Read for Script<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.part.len() {
            self.part.clear();
            self.at = 0;
            (&mut self.inner).take(LONGEST).read_until(b'\n', &mut self.part)?;
            if self.part.is_empty() {
                return Ok(0);
            }
            let was_line_start = self.is_line_start;
            let is_whole = self.part.ends_with(b"\n");
            self.is_line_start = is_whole;
            if !was_line_start {
                continue;
            }
            let line = self.part.strip_suffix(b"\n").unwrap_or(&self.part);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if self.is_in_rows {
                self.is_in_rows = line != b"\\.";
            } else if line.starts_with(b"COPY ") && line.ends_with(b" FROM stdin;") {
                self.is_in_rows = true;
            } else if self.is_left_out(line) {
                self.part.clear();
            }
        }
        let rest = self.part.get(self.at..).unwrap_or_default();
        let count = rest.len().min(out.len());
        if let (Some(target), Some(bytes)) = (out.get_mut(..count), rest.get(..count)) {
            target.copy_from_slice(bytes);
        }
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(text: &str) -> String {
        let mut out = String::new();
        Script::new(text.as_bytes(), "postgres").read_to_string(&mut out).expect("it is read");
        out
    }

    #[test]
    fn what_would_be_taken_away_is_passed_over_and_rows_are_not() {
        let text = "DROP DATABASE mrs;\nDROP DATABASE IF EXISTS \"a b\";\nDROP DATABASE template1;\nDROP ROLE django;\n\
            CREATE ROLE django;\nCREATE ROLE postgres;\nSET default_with_oids = false;\r\n\
            COPY public.t (a) FROM stdin;\nDROP ROLE django;\n\\.\nDROP ROLE IF EXISTS x;\nSELECT 1;";
        assert_eq!(
            passed(text),
            "DROP DATABASE template1;\nCREATE ROLE django;\nCOPY public.t (a) FROM stdin;\nDROP ROLE django;\n\\.\nSELECT 1;"
        );
        let long = format!("COPY t FROM stdin;\n{}\nDROP ROLE x;\n\\.\n", "x".repeat(200_000));
        assert_eq!(passed(&long), long);
        assert_eq!(passed(""), "");
    }
}
