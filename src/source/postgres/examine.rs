//! A look at the databases without reading a row: what a dump would stumble over.

use crate::source::SourceError;

use super::{PostgresSource, discover};

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// Where the server is, for people.
    pub place: String,
    /// The role we are.
    pub role: String,
    /// Version of the server.
    pub server_version: String,
    /// Version of `pg_dump`.
    pub client_version: String,
    /// Whether the role may do everything.
    pub is_superuser: bool,
    /// The databases of the settings.
    pub databases: Vec<ExaminedDatabase>,
}

/// One database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExaminedDatabase {
    /// Its name.
    pub name: String,
    /// Its tables.
    pub tables: usize,
    /// Tables the role may not read.
    pub forbidden: Vec<String>,
    /// Tables of which policies hide rows from the role.
    pub hidden: Vec<String>,
}

impl PostgresSource {
    /// Connects to each database and looks which tables the role may read. Nothing is locked.
    pub fn examine(&mut self) -> Result<Examined, SourceError> {
        let server = self.probe()?;
        let mut examined = Examined {
            place: server.place(),
            role: server.user().to_owned(),
            server_version: self.details.get("server").cloned().unwrap_or_default(),
            client_version: self.details.get("pg_dump").cloned().unwrap_or_default(),
            is_superuser: false,
            databases: Vec::new(),
        };
        for name in &self.settings.databases {
            let mut session = server.connect(name, &self.stop)?;
            let version = discover::prepare(&mut session, discover::LOCK_TIMEOUT)?;
            let tables = discover::tables(&mut session, version)?;
            let query = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user";
            examined.is_superuser = session.value("ask about the role", query)? == "t";
            let named = |is_meant: fn(&discover::Table) -> bool| {
                tables.iter().filter(|table| is_meant(table)).map(discover::Table::title).collect()
            };
            examined.databases.push(ExaminedDatabase {
                name: name.clone(),
                tables: tables.len(),
                forbidden: named(|table| table.is_forbidden),
                hidden: named(|table| table.hides_rows),
            });
        }
        Ok(examined)
    }
}
