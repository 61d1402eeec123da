//! Where a server is, said in libpq's ways: a URI or `keyword=value` text, a service file, `PG*`
//! variables. What is said in words comes before the service, this before the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::ServerError;

/// Gives environment variables: the process's, or a test's.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// libpq's keywords with their values.
pub(super) type Parameters = BTreeMap<String, String>;

/// Keywords that decide where we go and how, with their environment variables.
const KEYWORDS: [(&str, &str); 12] = [
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("service", "PGSERVICE"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
];
/// Keywords of libpq that change nothing here: what they are about we decide ourselves.
const WITHOUT_EFFECT: [&str; 11] = [
    "dbname",
    "application_name",
    "fallback_application_name",
    "client_encoding",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "gssencmode",
    "sslcompression",
];

/// Reads a URI or `keyword=value` text.
pub(super) fn parse(text: &str) -> Result<Parameters, ServerError> {
    let uri = ["postgresql://", "postgres://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let parameters = match uri {
        Some(rest) => parse_uri(rest)?,
        None => parse_words(text)?,
    };
    check(parameters, "the connection string")
}

/// Error if `text` is no connection string, or has a password: it would be seen wherever it is shown.
pub fn check_conninfo(text: &str) -> Result<(), ServerError> {
    if parse(text)?.contains_key("password") {
        return Err(ServerError::settings(
            "the connection string has a password in it",
            "take it out and use `password`, or a password file",
        ));
    }
    Ok(())
}

fn check(parameters: Parameters, place: &str) -> Result<Parameters, ServerError> {
    for (keyword, value) in &parameters {
        let is_known = KEYWORDS.iter().any(|(known, _)| known == keyword)
            || WITHOUT_EFFECT.contains(&keyword.as_str());
        if !is_known {
            return Err(ServerError::settings(
                format!("{place} has the keyword `{}`, which is not known here", clean(keyword)),
                "remove it; supported are host, hostaddr, port, user, password, passfile, service, \
                 sslmode, sslrootcert, sslcert, sslkey and connect_timeout",
            ));
        }
        if value.contains('\0') {
            return Err(ServerError::settings(
                format!("`{keyword}` in {place} holds a NUL byte"),
                "remove it",
            ));
        }
        if matches!(keyword.as_str(), "host" | "hostaddr" | "port") && value.contains(',') {
            return Err(ServerError::settings(
                format!("`{keyword}` in {place} names several servers"),
                "name the one to read from",
            ));
        }
    }
    Ok(parameters)
}

fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

fn malformed(what: &str) -> ServerError {
    // Not the text itself: there may be a password in it.
    ServerError::settings(
        format!("the connection string is malformed: {what}"),
        "write it like `postgresql://user@host:5432/` or `host=... user=...`",
    )
}

fn decode(text: &str) -> Result<String, ServerError> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let digits = text.get(at + 1..at + 3).ok_or_else(|| malformed("`%` without digits"))?;
            let byte =
                u8::from_str_radix(digits, 16).map_err(|_| malformed("`%` without digits"))?;
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(decoded).map_err(|_| malformed("it is not UTF-8"))
}

/// What follows `postgresql://`.
fn parse_uri(rest: &str) -> Result<Parameters, ServerError> {
    let mut parameters = Parameters::new();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, place)) => (user, place),
        None => ("", authority),
    };
    let mut put = |keyword: &str, value: &str| -> Result<(), ServerError> {
        if !value.is_empty() {
            parameters.insert(decode(keyword)?, decode(value)?);
        }
        Ok(())
    };
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    put("user", user)?;
    put("password", password)?;
    let (host, port) = match place.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']').ok_or_else(|| malformed("`[` without `]`"))?;
            (host, rest.strip_prefix(':').unwrap_or(""))
        }
        None => place.rsplit_once(':').unwrap_or((place, "")),
    };
    put("host", host)?;
    put("port", port)?;
    put("dbname", database)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (keyword, value) =
            pair.split_once('=').ok_or_else(|| malformed("a parameter without `=`"))?;
        put(keyword, value)?;
    }
    Ok(parameters)
}

/// `keyword = value` pairs, values perhaps in quotes.
fn parse_words(text: &str) -> Result<Parameters, ServerError> {
    let mut parameters = Parameters::new();
    let mut letters = text.chars().peekable();
    loop {
        while letters.next_if(|c| c.is_whitespace()).is_some() {}
        if letters.peek().is_none() {
            return Ok(parameters);
        }
        let mut keyword = String::new();
        while let Some(letter) = letters.next_if(|c| *c != '=' && !c.is_whitespace()) {
            keyword.push(letter);
        }
        while letters.next_if(|c| c.is_whitespace()).is_some() {}
        if letters.next() != Some('=') {
            return Err(malformed("a keyword without `=`"));
        }
        while letters.next_if(|c| c.is_whitespace()).is_some() {}
        let is_quoted = letters.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match letters.peek() {
                None if is_quoted => return Err(malformed("a quote is not closed")),
                None => break,
                Some('\'') if is_quoted => {
                    letters.next();
                    break;
                }
                Some(c) if !is_quoted && c.is_whitespace() => break,
                Some(_) => {}
            }
            match letters.next() {
                Some('\\') => value.extend(letters.next()),
                other => value.extend(other),
            }
        }
        parameters.insert(keyword, value);
    }
}

/// Adds what a service file and the environment say where nothing is said yet.
pub(super) fn complete(
    mut parameters: Parameters,
    environment: Environment<'_>,
) -> Result<Parameters, ServerError> {
    let variable = |name: &str| {
        environment(name).and_then(|value| value.into_string().ok()).filter(|v| !v.is_empty())
    };
    let service = parameters.get("service").cloned().or_else(|| variable("PGSERVICE"));
    if let Some(service) = service {
        for (keyword, value) in service_entry(&service, environment)? {
            parameters.entry(keyword).or_insert(value);
        }
    }
    // One of both decides where it goes; the environment must not add the other.
    let has_host = parameters.contains_key("host") || parameters.contains_key("hostaddr");
    for (keyword, name) in KEYWORDS {
        if has_host && keyword.starts_with("host") {
            continue;
        }
        if let (false, Some(value)) = (parameters.contains_key(keyword), variable(name)) {
            parameters.insert(keyword.to_owned(), value);
        }
    }
    check(parameters, "the environment")
}

fn home(environment: Environment<'_>) -> Option<PathBuf> {
    environment("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

/// A file below the home directory.
pub(super) fn at_home(name: &str, environment: Environment<'_>) -> Option<PathBuf> {
    home(environment).map(|home| home.join(name))
}

fn service_entry(name: &str, environment: Environment<'_>) -> Result<Parameters, ServerError> {
    let own = environment("PGSERVICEFILE")
        .map(PathBuf::from)
        .or_else(|| at_home(".pg_service.conf", environment));
    let directory = environment("PGSYSCONFDIR")
        .map_or_else(|| PathBuf::from("/etc/postgresql-common"), PathBuf::from);
    for path in own.into_iter().chain([directory.join("pg_service.conf")]) {
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                if let Some(found) = service_in(&text, name, &path)? {
                    return check(found, &path.display().to_string());
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(ServerError::settings(
                    format!("cannot read {}: {error}", path.display()),
                    "make it readable or remove it",
                ));
            }
        }
    }
    Err(ServerError::settings(
        format!("there is no service `{}` in the service files", clean(name)),
        "add it to ~/.pg_service.conf, or set PGSERVICEFILE",
    ))
}

fn service_in(text: &str, name: &str, path: &Path) -> Result<Option<Parameters>, ServerError> {
    let mut found: Option<Parameters> = None;
    let mut is_inside = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            is_inside = section.strip_suffix(']') == Some(name);
            if is_inside {
                found.get_or_insert_default();
            }
        } else if let (true, Some(found)) = (is_inside, &mut found) {
            let Some((keyword, value)) = line.split_once('=') else {
                return Err(ServerError::settings(
                    format!("line {} of {} has no `=`", number + 1, path.display()),
                    "write `keyword=value`",
                ));
            };
            found.entry(keyword.trim().to_owned()).or_insert_with(|| value.trim().to_owned());
        }
    }
    Ok(found)
}

/// The password of the first line of a password file that fits, in libpq's form.
pub(super) fn passfile_entry(
    text: &str,
    host: &str,
    port: u16,
    database: &str,
    user: &str,
) -> Option<String> {
    let port = port.to_string();
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = vec![String::new()];
        let mut letters = line.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => fields.last_mut()?.extend(letters.next()),
                ':' if fields.len() < 5 => fields.push(String::new()),
                other => fields.last_mut()?.push(other),
            }
        }
        let wanted = [host, port.as_str(), database, user];
        let fits = fields.len() == 5
            && fields.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted);
        fits.then(|| fields.swap_remove(4))
    })
}

#[cfg(test)]
#[path = "parameters_tests.rs"]
mod tests;
