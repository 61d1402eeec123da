//! Where databases are in a snapshot's tree (`docs/format.md` section 10).
//!
//! Names of databases, schemas and tables are nearly free, those of files are not: what cannot stand
//! there is written `%XX`. Different names stay different. Nobody reads these paths back into names;
//! the snapshot's manifest has both.

use std::fmt::Write;

/// Where the roles are.
pub const GLOBALS_PATH: &str = "postgres/globals.sql";
/// The longest name of a file on every file system a snapshot is restored to.
const LONGEST_NAME: usize = 255;

/// A database's directory.
pub fn database_path(database: &str) -> String {
    // The one name that is taken.
    match database {
        "globals.sql" => "postgres/globals%2Esql".to_owned(),
        _ => format!("postgres/{}", path_component(database)),
    }
}

/// A database's archive.
pub fn archive_path(database: &str) -> String {
    format!("{}/rest.dump", database_path(database))
}

/// The rows of a table that is a stream of its own.
pub fn table_path(database: &str, schema: &str, table: &str) -> String {
    let name = |text: &str| path_component(text).replace('.', "%2E");
    let mut file = format!("{}.{}", name(schema), name(table));
    let suffix = ".copy";
    if file.len() + suffix.len() > LONGEST_NAME {
        // Every letter of two long names escaped: a hash keeps different ones different.
        let hash = blake3::hash(file.as_bytes()).to_hex();
        let mut kept = LONGEST_NAME - suffix.len() - 34;
        while !file.is_char_boundary(kept) {
            kept -= 1;
        }
        file.truncate(kept);
        let _ = write!(file, "%~{}", &hash[..32]);
    }
    format!("{}/tables/{file}{suffix}", database_path(database))
}

/// A name as a file name: what cannot stand there is written `%XX`. Different names stay different.
pub fn path_component(name: &str) -> String {
    let is_dots = matches!(name, "." | "..");
    let mut component = String::with_capacity(name.len());
    for character in name.chars() {
        let is_odd = matches!(character, '/' | '%') || (is_dots && character == '.');
        if is_odd || character.is_control() {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a string cannot fail.
                let _ = write!(component, "%{byte:02X}");
            }
        } else {
            component.push(character);
        }
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_become_file_names_that_stay_different() {
        let names = ["mrs", ".", "..", "a/b", "a%2Fb", "a b", "été", "x\ny", "...", "-h evil"];
        let parts: Vec<String> = names.iter().map(|name| path_component(name)).collect();
        let wanted =
            ["mrs", "%2E", "%2E%2E", "a%2Fb", "a%252Fb", "a b", "été", "x%0Ay", "...", "-h evil"];
        assert_eq!(parts, wanted);
        assert_eq!(database_path("globals.sql"), "postgres/globals%2Esql");
        assert_eq!(archive_path("mrs"), "postgres/mrs/rest.dump");
    }

    #[test]
    fn tables_have_paths_of_their_own() {
        let path = |schema: &str, table: &str| table_path("mrs", schema, table);
        assert_eq!(path("public", "bill"), "postgres/mrs/tables/public.bill.copy");
        assert_eq!(path("a.b", "c"), "postgres/mrs/tables/a%2Eb.c.copy");
        assert_ne!(path("a.b", "c"), path("a", "b.c"));
        assert_ne!(path("a%2Eb", "c"), path("a.b", "c"));
        let long = |end: &str| path(&"/".repeat(63), &format!("{}{end}", "/".repeat(62)));
        let longest = |path: &str| path.split('/').map(str::len).max();
        assert!(longest(&long("a")) <= Some(LONGEST_NAME), "{}", long("a"));
        assert_ne!(long("a"), long("b"));
        assert!(longest(&path(&"é".repeat(31), &"\u{1}".repeat(63))) <= Some(LONGEST_NAME));
    }
}
