//! The databases: reachable, readable by the role, with programs that are new enough.

use crate::instance::database_source;
use crate::source::postgres::Examined;

use super::{Finding, Patient};

/// How many tables are named.
const NAMED: usize = 5;

/// Asks the server what a dump would ask before it starts.
pub(super) fn database(patient: &Patient<'_>) -> Vec<Finding> {
    let instance = patient.instance;
    let Some(config) = &instance.postgres else { return Vec::new() };
    let examined = database_source(instance, config, &patient.stop, &patient.observer)
        .and_then(|mut source| Ok(source.examine()?));
    match examined {
        Ok(examined) => tell(&examined),
        // The message says what to do.
        Err(error) => {
            vec![Finding::error(
                error.to_string(),
                format!("mrs-backup run {} --dry-run", instance.name),
            )]
        }
    }
}

fn tell(examined: &Examined) -> Vec<Finding> {
    let (server, role) = (&examined.place, &examined.role);
    let mut found = vec![Finding::ok(format!(
        "PostgreSQL {} answers ({server}), pg_dump is {}",
        examined.server_version, examined.client_version
    ))];
    for database in &examined.databases {
        let name = &database.name;
        let before = found.len();
        if !database.forbidden.is_empty() {
            found.push(Finding::error(
                format!(
                    "role {role} may not read {} in database {name}",
                    some_of(&database.forbidden)
                ),
                format!("psql -d {name} -c 'GRANT pg_read_all_data TO {role}'"),
            ));
        }
        if !database.hidden.is_empty() {
            found.push(Finding::error(
                format!(
                    "policies hide rows of {} in database {name} from role {role}",
                    some_of(&database.hidden)
                ),
                format!("psql -c 'ALTER ROLE {role} BYPASSRLS'"),
            ));
        }
        if found.len() == before {
            found.push(Finding::ok(format!(
                "role {role} may read all {} tables of database {name}",
                database.tables
            )));
        }
    }
    if !examined.is_superuser {
        found.push(Finding::hint(
            format!(
                "role {role} is no superuser: it can back up, but `restore --database` needs one"
            ),
            "name one for the restore: PGUSER=postgres, or `user` of the configuration",
        ));
    }
    found
}

/// The first few of many.
fn some_of(names: &[String]) -> String {
    let mut text = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED {
        text.push_str(&format!(" and {} more", names.len() - NAMED));
    }
    text
}
