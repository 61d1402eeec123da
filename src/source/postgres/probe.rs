//! Versions of both sides.

/// Everything about server and database, separated by 0x1F (`psql -F`).
pub(super) const QUERY: &str = "SELECT current_setting('server_version'), \
     current_setting('server_version_num'), pg_catalog.pg_encoding_to_char(encoding), datcollate \
     FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()";

/// Apart from the rest because a cautious administrator may forbid it.
pub(super) const SYSTEM_IDENTIFIER: &str =
    "SELECT system_identifier FROM pg_catalog.pg_control_system()";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub text: String,
    pub major: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Versions {
    pub server: String,
    pub major: u32,
    pub encoding: String,
    pub collation: String,
}

/// `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `... 18beta1`.
pub(super) fn parse_client(output: &[u8]) -> Option<Client> {
    let text = std::str::from_utf8(output).ok()?;
    let (_, rest) = text.lines().next()?.split_once("(PostgreSQL) ")?;
    let version = rest.split_whitespace().next()?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    Some(Client { text: version.to_owned(), major: digits.parse().ok()? })
}

pub(super) fn parse_versions(output: &[u8]) -> Option<Versions> {
    let text = std::str::from_utf8(output).ok()?;
    let mut fields = text.strip_suffix('\n')?.split('\x1f');
    let server = fields.next()?.to_owned();
    let number: u32 = fields.next()?.parse().ok()?;
    let encoding = fields.next()?.to_owned();
    let collation = fields.next()?.to_owned();
    fields.next().is_none().then_some(Versions {
        server,
        major: number / 10_000,
        encoding,
        collation,
    })
}
