//! What a database consists of, as far as a backup must know.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::postgres::{COPY_TEXT, Client, Rows, ServerError, qualified};
use crate::snapshot::{ColumnManifest, DatabaseManifest, DatabaseProperties};

/// A table whose definition and rows are in the backup.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Identifies it while its name may change.
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// Columns of its `COPY`, in order.
    pub columns: Vec<ColumnManifest>,
    /// Ordinary, and nobody else's: its rows may be a stream of their own.
    pub is_plain: bool,
    /// Not partitioned: its rows are its own.
    pub has_rows: bool,
    /// Bytes on disk, without indexes.
    pub size: u64,
    /// Row-level security would hide rows from this role.
    pub hides_rows: bool,
    /// The role may not read it.
    pub is_forbidden: bool,
}

impl Table {
    /// As SQL wants it.
    pub fn sql(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    /// As people read it.
    pub fn title(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The statement for its rows, in the database's encoding.
    pub fn copy_statement(&self, encoding: &str) -> String {
        let names: Vec<String> =
            self.columns.iter().map(|column| crate::postgres::identifier(&column.name)).collect();
        // A table whose columns are all computed, or which has none.
        let columns =
            if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
        let encoding = crate::postgres::literal(encoding);
        format!("COPY {}{columns} TO STDOUT (FORMAT text, ENCODING {encoding})", self.sql())
    }

    /// Whether both are the same table with the same columns.
    fn is_same(&self, other: &Self) -> bool {
        (self.oid, &self.schema, &self.name, &self.columns)
            == (other.oid, &other.schema, &other.name, &other.columns)
    }
}

/// Whether a second look found what the first did.
pub(super) fn are_same(first: &[Table], second: &[Table]) -> bool {
    first.len() == second.len() && first.iter().zip(second).all(|(a, b)| a.is_same(b))
}

/// How long to wait for one lock, and at most to make others wait behind us.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for a lock that another session of ours has already. Who is in the way then waits for us,
/// so that waiting longer helps nobody.
pub(super) const SECOND_LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// Sessions that read: no limit of the server's configuration ends them, nothing changes what they see.
pub(super) const SESSION: &str = "SET statement_timeout = 0; \
     SET idle_in_transaction_session_timeout = 0; SET row_security = off; \
     SET search_path = pg_catalog; SET default_transaction_read_only = on";
/// Parameters that only newer servers have, with the first version that does.
const NEWER: [(u32, &str); 2] =
    [(140_000, "SET idle_session_timeout = 0"), (170_000, "SET transaction_timeout = 0")];

/// Prepares a session for reading, in which nothing waits longer than `lock_timeout` for a lock. Gives the
/// server's version as a number.
pub(super) fn prepare(client: &mut Client, lock_timeout: Duration) -> Result<u32, ServerError> {
    client.run("prepare the session", SESSION)?;
    client.run("prepare the session", COPY_TEXT)?;
    let waiting = format!("SET lock_timeout = {}", lock_timeout.as_millis());
    client.run("prepare the session", &waiting)?;
    let text = client.value("ask the version", "SHOW server_version_num")?;
    let version = text.parse().unwrap_or(0);
    for (first, statement) in NEWER {
        if version >= first {
            client.run("prepare the session", statement)?;
        }
    }
    Ok(version)
}

/// What the server says about the database. `manifest` has its name and paths already.
pub(super) fn describe(
    client: &mut Client,
    version: u32,
    manifest: &mut DatabaseManifest,
) -> Result<(), ServerError> {
    let provider =
        "CASE datlocprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END";
    let (provider, collation_version) = match version {
        150_000.. => (provider, "datcollversion"),
        _ => ("'libc'", "NULL"),
    };
    let locale = match version {
        170_000.. => "datlocale",
        150_000.. => "daticulocale",
        _ => "NULL",
    };
    let rules = if version >= 160_000 { "daticurules" } else { "NULL" };
    let query = format!(
        "SELECT current_setting('server_version'), pg_encoding_to_char(encoding), datcollate, datctype, \
         pg_get_userbyid(datdba), pg_database_size(oid), {provider}, {locale}, {rules}, {collation_version} \
         FROM pg_database WHERE datname = current_database()"
    );
    let rows = client.rows("ask about the database", &query)?;
    let mut fields = rows.into_iter().next().unwrap_or_default().into_iter();
    let mut next = || fields.next().flatten().unwrap_or_default();
    manifest.server_version = next();
    manifest.encoding = next();
    manifest.collation = next();
    manifest.properties = DatabaseProperties {
        server_version_num: version.into(),
        ctype: next(),
        owner: next(),
        disk_bytes: next().parse().unwrap_or(0),
        locale_provider: next(),
        locale: next(),
        icu_rules: next(),
        collation_version: next(),
        pg_dump_version: std::mem::take(&mut manifest.properties.pg_dump_version),
    };
    // A cautious administrator may forbid it; then it is not known.
    let query = "SELECT system_identifier FROM pg_control_system()";
    manifest.system_identifier =
        client.value("ask the system identifier", query).unwrap_or_default();
    Ok(())
}

/// All tables whose rows a backup has: not those of extensions, but the ones they declare as
/// configuration, and no temporary ones. In the order of their names, to be locked in that order.
pub(super) fn tables(client: &mut Client, version: u32) -> Result<Vec<Table>, ServerError> {
    let wanted = "c.relkind IN ('r', 'p') AND c.relpersistence <> 't' \
         AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
         AND (e.member IS NULL OR e.is_config) \
         AND NOT (c.relpersistence = 'u' AND pg_is_in_recovery())";
    let from = "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN LATERAL (SELECT d.objid AS member, d.objid = ANY (x.extconfig) AS is_config \
             FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid \
             WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
             AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' LIMIT 1) e ON true";
    let query = format!(
        "SELECT c.oid, n.nspname, c.relname, c.relkind = 'r' AND e.member IS NULL, c.relkind = 'r', \
         coalesce(pg_table_size(c.oid), 0), \
         c.relrowsecurity AND (c.relforcerowsecurity OR NOT pg_has_role(c.relowner, 'USAGE')) \
         AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user), \
         NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')) \
         {from} WHERE {wanted} ORDER BY 2, 3"
    );
    let listed = client.rows("list the tables", &query)?;
    let generated = if version >= 120_000 { "AND a.attgenerated = ''" } else { "" };
    let query = format!(
        "SELECT c.oid, a.attname, format_type(a.atttypid, a.atttypmod) {from} \
         JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE {wanted} AND a.attnum > 0 AND NOT a.attisdropped {generated} \
         ORDER BY n.nspname, c.relname, a.attnum"
    );
    let columns = client.rows("list the columns", &query)?;
    Ok(assemble(listed, columns))
}

/// Gives each table its columns.
fn assemble(listed: Rows, columns: Rows) -> Vec<Table> {
    let mut of_table: BTreeMap<String, Vec<ColumnManifest>> = BTreeMap::new();
    for row in columns {
        let mut fields = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || fields.next().unwrap_or_default();
        let id = next();
        let column = ColumnManifest { name: next(), type_name: next() };
        of_table.entry(id).or_default().push(column);
    }
    let mut tables = Vec::with_capacity(listed.len());
    for row in listed {
        let mut fields = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || fields.next().unwrap_or_default();
        let id = next();
        let (schema, name) = (next(), next());
        let table = Table {
            oid: id.parse().unwrap_or(0),
            schema,
            name,
            columns: of_table.remove(&id).unwrap_or_default(),
            is_plain: next() == "t",
            has_rows: next() == "t",
            size: next().parse().unwrap_or(0),
            hides_rows: next() == "t",
            is_forbidden: next() == "t",
        };
        tables.push(table);
    }
    tables
}
