//! Names of databases in a compose file.

use serde_json::Value;

/// Variables that name a database, of the image of PostgreSQL and of Django's settings.
const NAMES: [&str; 3] = ["POSTGRES_DB", "DB_NAME", "POSTGRES_USER"];

/// The databases `text`, a compose file, names. What cannot be read names none.
pub(super) fn databases(text: &str) -> Option<String> {
    let file: Value = serde_saphyr::from_str(text).ok()?;
    let services = file.get("services")?.as_object()?;
    // The image makes a database of the role's name where no other is named.
    NAMES.iter().find_map(|name| {
        let environments = services.values().filter_map(|service| service.get("environment"));
        environments.filter_map(|environment| variable(environment, name)).next()
    })
}

/// A variable of a mapping, or of a list of `NAME=VALUE`; none that only compose knows.
fn variable(environment: &Value, name: &str) -> Option<String> {
    let value = match environment {
        Value::Object(map) => map.get(name)?.as_str()?,
        Value::Array(list) => list
            .iter()
            .filter_map(Value::as_str)
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?,
        _ => return None,
    };
    let value = value.trim_matches('"');
    (!value.is_empty() && !value.contains('$')).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_lists_and_mappings() {
        for (environment, name) in [
            ("{POSTGRES_DB: mrs}", Some("mrs")),
            ("[\"POSTGRES_USER=django\"]", Some("django")),
            ("[\"POSTGRES_USER=django\", 'DB_NAME=\"mrs\"']", Some("mrs")),
            ("[\"POSTGRES_DB=${DB_NAME}\"]", None),
            ("[POSTGRES_DB]", None),
            ("7", None),
        ] {
            let text = format!("services:\n  db:\n    environment: {environment}\n");
            assert_eq!(databases(&text).as_deref(), name, "{environment}");
        }
        assert_eq!(databases("a: [b"), None);
        assert_eq!(databases("services: {}"), None);
    }
}
