//! An archive of `pg_dump` restored section by section, with PostgreSQL's own `pg_restore`.
//!
//! Only the section with the rows reads the archive itself. What comes before and after the rows is
//! made from its table of contents alone, which `pg_restore` gets as a file in memory: so it may use
//! several sessions at once, and nothing is written to any disk but the server's.

use std::io::Read;

use crate::postgres::conninfo;
use crate::source::archive::Toc;

use super::cluster::{Cluster, Input};
use super::error::DatabaseError;

/// Where an archive goes, and how.
pub struct ArchiveRestore<'a> {
    /// Where to.
    pub cluster: &'a Cluster,
    /// The database, as it is called now.
    pub database: &'a str,
    /// What is in the archive.
    pub toc: &'a Toc,
    /// Sessions at once.
    pub workers: usize,
    /// Everything into the default tablespace.
    pub without_tablespaces: bool,
}

impl ArchiveRestore<'_> {
    /// Types, functions, tables, views: everything rows need.
    pub fn before_rows(&self) -> Result<(), DatabaseError> {
        let doing = self.doing("the definitions");
        self.run(&doing, "pre-data", Input::Bytes(&self.toc.bytes), 1)
    }

    /// The rows the archive has, and values of sequences and large objects.
    pub fn rows(&self, archive: &mut (dyn Read + Send)) -> Result<(), DatabaseError> {
        let what = format!("archive of database {}", self.toc.database_tag());
        let doing = self.doing("the rows of the archive");
        self.run(&doing, "data", Input::Stream { what: &what, reader: archive }, 1)
    }

    /// Indexes, constraints, triggers, policies, materialized views.
    pub fn after_rows(&self) -> Result<(), DatabaseError> {
        let doing = self.doing("indexes and constraints");
        self.run(&doing, "post-data", Input::Bytes(&self.toc.bytes), self.workers)
    }

    fn doing(&self, what: &str) -> String {
        format!("restore {what} of database {}", self.toc.database_tag())
    }

    fn run(
        &self,
        doing: &str,
        section: &str,
        input: Input<'_>,
        workers: usize,
    ) -> Result<(), DatabaseError> {
        let mut arguments = vec![
            "--exit-on-error".to_owned(),
            "--no-password".to_owned(),
            format!("--section={section}"),
            format!("--dbname={}", conninfo(self.database)),
        ];
        if self.without_tablespaces {
            arguments.push("--no-tablespaces".to_owned());
        }
        if matches!(input, Input::Bytes(_)) {
            if workers > 1 {
                arguments.push(format!("--jobs={workers}"));
            }
            arguments.push("/dev/stdin".to_owned());
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.cluster.run(doing, "pg_restore", self.database, &arguments, input).map(|_| ())
    }
}

/// Major version of a version text (`15.18 (Debian)`, `18beta1`, `9.6.2`).
pub fn major(version: &str) -> Option<u32> {
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Whether `pg_restore` can read the archive and speak to the server of version `server`.
pub fn check_program(cluster: &Cluster, toc: &Toc, server: &str) -> Result<String, DatabaseError> {
    let doing = "ask pg_restore for its version";
    let output = cluster.run(doing, "pg_restore", "", &["--version"], Input::Nothing)?;
    let text = String::from_utf8_lossy(&output);
    let version = text
        .split_once("(PostgreSQL) ")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .unwrap_or_default()
        .to_owned();
    let wrong = |reason: String| DatabaseError::WrongProgram {
        program: cluster.server().program_name("pg_restore"),
        version: version.clone(),
        reason,
    };
    let Some(own) = major(&version) else {
        return Err(wrong(format!("which is no version: {:?}", text.trim())));
    };
    let dump = major(&toc.dump_version).unwrap_or(0);
    if own < dump {
        return Err(wrong(format!("and does not read what pg_dump {dump} wrote")));
    }
    // From 17 on it sets things that older servers do not know.
    let server = major(server).unwrap_or(0);
    if own > server && own >= 17 {
        return Err(wrong(format!("and does not speak to a server of version {server}")));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_majors() {
        for (text, wanted) in [
            ("15.18 (Debian 15.18-0)", Some(15)),
            ("18beta1", Some(18)),
            ("9.6.2", Some(9)),
            ("x", None),
        ] {
            assert_eq!(major(text), wanted, "{text}");
        }
    }
}
