//! The database of `nasty.sql`: everything that makes dumps and restores go wrong.

use std::fs;
use std::path::PathBuf;

use super::postgres::{TestServer, run};

/// A role that may do what a backup needs, and nothing else: `pg_read_all_data` and `BYPASSRLS`. It cannot read
/// large objects, user mappings and roles' passwords.
pub const BACKUP_ROLE: &str = "nasty_backup";

/// Makes `database` with `small_tables` small tables besides the others.
pub fn create(server: &TestServer, database: &str, small_tables: u32) {
    roles(server);
    let name = database.replace('"', "\"\"");
    server.psql("postgres", &format!("CREATE DATABASE \"{name}\" TEMPLATE template0"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/nasty.sql");
    let mut command = server.command("psql");
    command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-v", &format!("many={small_tables}")]);
    run(command.args(["-o", "/dev/null", "-f", script, "-d", database]));
    if let Some(directory) = extension_directory(server) {
        // One that declares a table of its own as configuration, of which only a part is dumped.
        let files = [
            (
                "nasty_extension.control",
                "default_version = '1.0'\nrelocatable = false\nschema = public\n",
            ),
            (
                "nasty_extension--1.0.sql",
                "CREATE TABLE nasty_config (id integer PRIMARY KEY, v text);\n\
                 INSERT INTO nasty_config VALUES (1, 'shipped');\n\
                 CREATE TABLE nasty_internal (id integer);\n\
                 INSERT INTO nasty_internal VALUES (1);\n\
                 SELECT pg_catalog.pg_extension_config_dump('nasty_config', 'WHERE id > 1');\n",
            ),
        ];
        for (name, content) in files {
            fs::write(directory.join(name), content).expect("the extension is written");
        }
        server.psql(
            database,
            "CREATE EXTENSION nasty_extension; INSERT INTO public.nasty_config VALUES (2, 'ours')",
        );
    }
}

/// The roles its objects belong to; a restore has to make them where they are missing.
pub fn roles(server: &TestServer) {
    let exists = server.psql("postgres", "SELECT 1 FROM pg_roles WHERE rolname = 'nasty_owner'");
    if exists.is_empty() {
        server.psql(
            "postgres",
            "CREATE ROLE nasty_owner LOGIN PASSWORD 'it''s secret'; CREATE ROLE \"Nasty Reader\"; \
             CREATE ROLE nasty_backup LOGIN BYPASSRLS PASSWORD 'read only'; \
             GRANT pg_read_all_data TO nasty_backup; GRANT nasty_owner TO \"Nasty Reader\"",
        );
    }
}

/// Where extensions are, if the installation is this project's own and not the system's.
fn extension_directory(server: &TestServer) -> Option<PathBuf> {
    let share = server.bin_dir().parent()?.join("share/postgresql/extension");
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target");
    (share.starts_with(own) && share.exists()).then_some(share)
}

/// All of a database as plain SQL, by `pg_dump`, without the words that are new in every dump.
pub fn dump(server: &TestServer, database: &str) -> String {
    dump_with(server, database, &["--create"])
}

/// The same without the properties and rights of the database itself.
pub fn dump_objects(server: &TestServer, database: &str) -> String {
    dump_with(server, database, &[])
}

fn dump_with(server: &TestServer, database: &str, options: &[&str]) -> String {
    let mut command = server.command("pg_dump");
    let text = run(command.args(options).args(["-d", database]));
    let is_random =
        |line: &&str| line.starts_with("\\restrict") || line.starts_with("\\unrestrict");
    text.lines().filter(|line| !is_random(line)).collect::<Vec<_>>().join("\n")
}

/// Fails at the first line that differs, and shows it only.
pub fn assert_same_lines(left: &str, right: &str) {
    let short = |line: Option<&str>| line.map(|line| line.chars().take(200).collect::<String>());
    for (number, (a, b)) in left.lines().zip(right.lines()).enumerate() {
        assert!(a == b, "line {number}: {:?} / {:?}", short(Some(a)), short(Some(b)));
    }
    let (a, b) = (left.lines().count(), right.lines().count());
    let more = if a > b { left.lines().nth(b) } else { right.lines().nth(a) };
    assert!(a == b, "{a} and {b} lines, {:?}", short(more));
}

/// Tables with their rows, as `COPY` gives them, one line a table: name and digest.
pub fn contents(server: &TestServer, database: &str) -> Vec<String> {
    let tables = server.psql(
        database,
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
         WHERE relkind = 'r' AND nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1",
    );
    let digest = |table: &str| {
        let mut command = server.command("psql");
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database]);
        let sql = format!(
            "SET synchronize_seqscans = off; SET DateStyle = ISO; SET extra_float_digits = 3; COPY {table} TO STDOUT"
        );
        let rows = run(command.arg("-c").arg(sql));
        format!("{table} {}", blake3::hash(rows.as_bytes()).to_hex())
    };
    tables.lines().map(digest).collect()
}
