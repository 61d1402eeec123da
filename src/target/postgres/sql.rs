//! Reads as much of the SQL that `pg_dump` wrote as it takes to find the names of databases and roles in it.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::postgres::identifier;

/// A piece of SQL; comments and spaces are none.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// A keyword or a name without quotes, in lower case.
    Word(String),
    /// A name in quotes, without them.
    Quoted(String),
    /// A string, or dollar-quoted text.
    Text,
    /// A number, an operator, a bracket, ...
    Other(char),
}

#[derive(Debug, Clone)]
struct Token {
    kind: Kind,
    place: Range<usize>,
}

impl Token {
    fn is_word(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(found) if found == word)
    }

    fn is_symbol(&self, symbol: char) -> bool {
        self.kind == Kind::Other(symbol)
    }

    fn name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(name) | Kind::Quoted(name) => Some(name),
            Kind::Text | Kind::Other(_) => None,
        }
    }
}

/// Where the quoted piece that begins at `start` ends: behind its closing quote, or at the end.
fn quoted_end(sql: &str, start: usize, quote: u8, has_escapes: bool) -> usize {
    let bytes = sql.as_bytes();
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if has_escapes => at += 2,
            byte if byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Where dollar-quoted text that begins at `start` ends, if it is some.
fn dollar_end(sql: &str, start: usize) -> Option<usize> {
    let tag_len = sql[start + 1..].find('$')? + 2;
    let tag = &sql[start..start + tag_len];
    let is_tag = |c: char| c.is_alphanumeric() || c == '_';
    if !tag[1..tag_len - 1].chars().all(is_tag) || tag[1..].starts_with(|c: char| c.is_numeric()) {
        return None;
    }
    let body = start + tag_len;
    Some(sql[body..].find(tag).map_or(sql.len(), |found| body + found + tag_len))
}

fn tokens(sql: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = sql[at..].chars().next() {
        let rest = &sql[at..];
        let word_len = || {
            let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
            rest.find(|c: char| !is_part(c)).unwrap_or(rest.len())
        };
        let (kind, end) = match first {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '-' if rest.starts_with("--") => {
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            '"' => {
                let end = quoted_end(sql, at, b'"', false);
                let inner = &sql[at + 1..end];
                let inner = inner.strip_suffix('"').unwrap_or(inner).replace("\"\"", "\"");
                (Kind::Quoted(inner), end)
            }
            '\'' => (Kind::Text, quoted_end(sql, at, b'\'', false)),
            'E' | 'e' if rest[1..].starts_with('\'') => {
                (Kind::Text, quoted_end(sql, at + 1, b'\'', true))
            }
            '$' if dollar_end(sql, at).is_some() => {
                (Kind::Text, dollar_end(sql, at).unwrap_or(sql.len()))
            }
            c if c.is_alphabetic() || c == '_' || !c.is_ascii() => {
                let end = at + word_len();
                (Kind::Word(sql[at..end].to_lowercase()), end)
            }
            other => (Kind::Other(other), at + other.len_utf8()),
        };
        found.push(Token { kind, place: at..end.min(sql.len()) });
        at = end.min(sql.len());
    }
    found
}

/// `sql` with the database `from` called `to`, wherever the keyword `DATABASE` stands before it.
pub fn rename_database(sql: &str, from: &str, to: &str) -> String {
    let tokens = tokens(sql);
    let mut renamed = String::with_capacity(sql.len() + 64);
    let (mut done, mut at) = (0, 0);
    while at + 1 < tokens.len() {
        let name = &tokens[at + 1];
        if tokens[at].is_word("database") && name.name() == Some(from) {
            renamed.push_str(&sql[done..name.place.start]);
            renamed.push_str(&identifier(to));
            done = name.place.end;
            at += 1;
        }
        at += 1;
    }
    renamed.push_str(&sql[done..]);
    renamed
}

/// Names in a list that begins at `at`, separated by commas.
fn names(tokens: &[Token], mut at: usize, found: &mut BTreeSet<String>) {
    while let Some(token) = tokens.get(at) {
        if token.is_word("group") {
            at += 1;
            continue;
        }
        match &token.kind {
            // Not roles but words for them.
            Kind::Word(word)
                if ["public", "current_user", "session_user", "current_role", "default"]
                    .contains(&word.as_str()) => {}
            Kind::Word(name) | Kind::Quoted(name) => {
                found.insert(name.clone());
            }
            Kind::Text | Kind::Other(_) => return,
        }
        if !tokens.get(at + 1).is_some_and(|token| token.is_symbol(',')) {
            return;
        }
        at += 2;
    }
}

/// The roles that rights, policies and settings name: what stands behind `TO`, `FROM`, `ROLE` and
/// `AUTHORIZATION`, up to a condition.
pub fn roles_in(sql: &str) -> BTreeSet<String> {
    let tokens = tokens(sql);
    let mut found = BTreeSet::new();
    let mut is_condition = false;
    for (at, token) in tokens.iter().enumerate() {
        let begins = at == 0 || tokens[at - 1].is_symbol(';');
        let Kind::Word(word) = &token.kind else { continue };
        match word.as_str() {
            // `SET name TO 'value'` names no role; `USING` and `WITH CHECK` hold expressions.
            "using" | "with" | "set" if !begins => is_condition = true,
            "to" | "from" | "role" | "authorization" if !is_condition => {
                names(&tokens, at + 1, &mut found);
            }
            _ => {}
        }
        if begins {
            is_condition = false;
        }
    }
    found
}

/// Roles that `pg_dumpall --globals-only` wrote down, and whether each is a superuser.
pub fn globals_roles(sql: &str) -> Vec<(String, bool)> {
    let mut found: Vec<(String, bool)> = Vec::new();
    for line in sql.lines().filter(|line| line.contains(" ROLE ")) {
        let tokens = tokens(line);
        let [verb, role, name, ..] = tokens.as_slice() else { continue };
        let Some(name) = name.name().filter(|_| role.is_word("role")) else { continue };
        if verb.is_word("create") {
            found.push((name.to_owned(), false));
        } else if verb.is_word("alter")
            && tokens.iter().any(|token| token.is_word("superuser"))
            && let Some(known) = found.iter_mut().find(|(known, _)| known == name)
        {
            known.1 = true;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_database_is_renamed_where_it_is_named() {
        let rename = |sql: &str| rename_database(sql, "a", "new\"x");
        assert_eq!(
            rename("CREATE DATABASE a WITH TEMPLATE = template0 ENCODING = 'UTF8';\n"),
            "CREATE DATABASE \"new\"\"x\" WITH TEMPLATE = template0 ENCODING = 'UTF8';\n"
        );
        assert_eq!(
            rename("COMMENT ON DATABASE a IS 'on database a it''s database a';"),
            "COMMENT ON DATABASE \"new\"\"x\" IS 'on database a it''s database a';"
        );
        assert_eq!(
            rename("ALTER ROLE r IN DATABASE \"a\" SET x TO E'\\' database a', '$1';"),
            "ALTER ROLE r IN DATABASE \"new\"\"x\" SET x TO E'\\' database a', '$1';"
        );
        assert_eq!(
            rename("-- DATABASE a\nDO $x$ DATABASE a $x$"),
            "-- DATABASE a\nDO $x$ DATABASE a $x$"
        );
        assert_eq!(rename("ALTER DATABASE ab SET y TO 'z'"), "ALTER DATABASE ab SET y TO 'z'");
        assert_eq!(
            rename_database("GRANT ALL ON DATABASE database TO database;", "database", "n"),
            "GRANT ALL ON DATABASE \"n\" TO database;"
        );
        assert_eq!(
            rename_database("ALTER DATABASE \"\"\"q\" SET a TO b", "\"q", "n"),
            "ALTER DATABASE \"n\" SET a TO b"
        );
        for broken in ["DATABASE \"a", "'x", "E'\\", "$x$ y", "\"", "$", "é", "DATABASE"] {
            rename(broken);
        }
    }

    #[test]
    fn roles_are_found_where_rights_are_given() {
        let acl = "REVOKE ALL ON SCHEMA public FROM PUBLIC;\nGRANT SELECT(\"from x\") ON TABLE public.t \
                   TO r1, \"Role \"\"Two\"\"\" WITH GRANT OPTION;\nSET SESSION AUTHORIZATION boss;\n\
                   GRANT USAGE ON SCHEMA s TO r3;\nRESET SESSION AUTHORIZATION;";
        assert_eq!(roles_in(acl), set(&["r1", "Role \"Two\"", "boss", "r3"]));
        let defaults =
            "ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s REVOKE ALL ON TABLES FROM b;";
        assert_eq!(roles_in(defaults), set(&["a", "b"]));
        let policy = "CREATE POLICY p ON u FOR SELECT TO r1, r2 USING ((d IS DISTINCT FROM x));";
        assert_eq!(roles_in(policy), set(&["r1", "r2"]));
        let settings =
            "ALTER DATABASE a SET search_path TO 'x';\nALTER ROLE r IN DATABASE a SET b TO 'y';";
        assert_eq!(roles_in(settings), set(&["r"]));
    }

    #[test]
    fn globals_tell_roles_and_superusers() {
        let text = "CREATE ROLE django;\nALTER ROLE django WITH NOSUPERUSER LOGIN PASSWORD 'SUPERUSER';\n\
                    CREATE ROLE \"Big Boss\";\nALTER ROLE \"Big Boss\" WITH SUPERUSER INHERIT;\n\
                    GRANT django TO x; -- CREATE ROLE no\n";
        assert_eq!(
            globals_roles(text),
            [("django".to_owned(), false), ("Big Boss".to_owned(), true)]
        );
    }
}
