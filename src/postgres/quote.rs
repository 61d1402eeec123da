//! Names and texts inside SQL.

/// A name as SQL wants it: always quoted.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table with its schema.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
}

/// A text as SQL wants it, whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!(" E'{}'", quoted.replace('\\', r"\\")),
        false => format!("'{quoted}'"),
    }
}

/// A connection string that names `database` and nothing else, whatever its name looks like: for the
/// `--dbname` of PostgreSQL's programs.
pub fn conninfo(database: &str) -> String {
    let quoted = database.replace('\\', r"\\").replace('\'', r"\'");
    format!("dbname='{quoted}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_connection_string() {
        assert_eq!(conninfo("mrs"), "dbname='mrs'");
        assert_eq!(conninfo("host=evil"), "dbname='host=evil'");
        assert_eq!(conninfo(r"a' host='evil\"), r"dbname='a\' host=\'evil\\'");
        assert_eq!(conninfo("postgres://evil/x"), "dbname='postgres://evil/x'");
    }

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(qualified(r#"a"b"#, "c.d"), r#""a""b"."c.d""#);
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r" E'a\\''b'");
    }
}
