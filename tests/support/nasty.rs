//! The database of `nasty.sql`: everything that makes dumps and restores go wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// A copy of each installation there is, to which extensions may be added; the system's own stay as
/// they are. PostgreSQL finds all its files from where its program is.
pub fn installations() -> Vec<PathBuf> {
    super::postgres::installations().iter().map(|bin| own_copy(bin)).collect()
}

/// The copy of the installation in `bin`, made once and then used by all.
fn own_copy(bin: &Path) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    if bin.starts_with(&target) {
        return bin.to_owned();
    }
    let output =
        run(Command::new(bin.join("pg_config")).args(["--version", "--sharedir", "--pkglibdir"]));
    let lines: Vec<&str> = output.lines().collect();
    let [version, share, lib] = lines[..] else { panic!("{output}") };
    let name: String = version.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
    let (place, made) = (target.join("extensible").join(&name), bin.strip_prefix("/").unwrap());
    if !place.join(made).exists() {
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        let work = tempfile::tempdir_in(place.parent().unwrap()).unwrap();
        fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for part in [bin, Path::new(share), Path::new(lib)] {
            let to = work.path().join(part.strip_prefix("/").unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            if !to.exists() {
                run(Command::new("cp").arg("-rL").arg(part).arg(&to));
            }
        }
        // Whoever comes first has made it.
        let _ = fs::rename(work.path(), &place);
        assert!(place.join(made).exists());
    }
    place.join(made)
}

/// Where an installation of ours has its extensions.
fn extension_directory(server: &TestServer) -> Option<PathBuf> {
    let output = run(Command::new(server.bin_dir().join("pg_config")).arg("--sharedir"));
    let share = PathBuf::from(output.trim()).join("extension");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
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
    // Whether the database's own settings are there or not, the same things are written the same way.
    command.env("PGOPTIONS", "-c TimeZone=GMT -c bytea_output=hex");
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
    // All in one session, each table's rows behind a line that is no row of any.
    let mut script =
        "SET synchronize_seqscans = off; SET DateStyle = ISO; SET extra_float_digits = 3; \
                      SET IntervalStyle = postgres; SET bytea_output = hex; SET TimeZone = 'GMT';\n"
            .to_owned();
    for (number, table) in tables.lines().enumerate() {
        script.push_str(&format!("\\echo {MARK}{number}\nCOPY {table} TO STDOUT;\n"));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), script).unwrap();
    let mut command = server.command("psql");
    command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-f"]).arg(file.path());
    let output = run(&mut command);
    let mut rows = output.split(MARK).skip(1);
    let lines = tables.lines().enumerate().map(|(number, table)| {
        let rows = rows.next().and_then(|rows| rows.strip_prefix(&format!("{number}\n")));
        let rows = rows.unwrap_or_else(|| panic!("no rows of {table}"));
        format!("{table} {}", blake3::hash(rows.as_bytes()).to_hex())
    });
    lines.collect()
}

/// What stands before each table's rows in [`contents`].
const MARK: &str = "-- rows of table number ";
