//! What a target has to be: another instance, another cluster, other directories, and made to be overwritten.

use std::path::{Path, PathBuf};

use regex::Regex;

use crate::anonymize::{Problem, Rules};
use crate::instance::config::{CloneConfig, Instance};
use crate::snapshot::DatabaseManifest;
use crate::target::postgres::Cluster;

/// Longest file that is looked into, in bytes.
const LONGEST: u64 = 1 << 20;

/// What is known of source and target before anything is done.
pub struct Guard<'a> {
    /// The instance that is copied.
    pub from: &'a str,
    /// The same, if it is one of this machine.
    pub source: Option<&'a Instance>,
    /// The instance that is overwritten.
    pub to: &'a Instance,
    /// What the configuration says of that.
    pub config: &'a CloneConfig,
    /// The database in the snapshot.
    pub manifest: &'a DatabaseManifest,
}

/// What keeps a target of this name from getting a copy by these rules.
pub fn check_name(rules: &Rules, to: &str) -> Option<Problem> {
    let what = match rules.target.must_match.as_deref().map(Regex::new) {
        None => "the rules do not say what a target is called; add [target] must_match = \"...\""
            .to_owned(),
        Some(Err(_)) => "[target] must_match is no regular expression".to_owned(),
        Some(Ok(pattern)) if !pattern.is_match(to) => {
            format!("its name does not fit [target] must_match = \"{pattern}\"")
        }
        Some(Ok(_)) => return None,
    };
    Some(Problem::of(format!("target {to}"), what))
}

/// A path without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut place = path.to_owned();
    loop {
        if let Ok(real) = place.canonicalize() {
            return missing.iter().rev().fold(real, |path, name| path.join(name));
        }
        match (place.file_name().map(ToOwned::to_owned), place.pop()) {
            (Some(name), true) => missing.push(name),
            _ => return path.to_owned(),
        }
    }
}

/// Whether one of both directories is the other, or in it.
fn overlap(one: &Path, other: &Path) -> bool {
    let (one, other) = (real(one), real(other));
    one.starts_with(&other) || other.starts_with(&one)
}

/// Everything that keeps `guard.to` from being overwritten.
pub fn check_target(guard: &Guard<'_>, source: Option<&Cluster>, target: &Cluster) -> Vec<Problem> {
    let mut problems = Vec::new();
    let name = &guard.to.name;
    let mut wrong = |what: String| problems.push(Problem::of(format!("target {name}"), what));
    if guard.from == *name && guard.source.is_some() {
        wrong("it is the source itself".to_owned());
    }
    if !guard.config.from.iter().any(|from| from == guard.from) {
        wrong(format!(
            "its configuration does not let {} be copied into it; name it in `clone.from`",
            guard.from
        ));
    }
    if guard.source.is_some_and(|source| overlap(&source.home.value, &guard.to.home.value)) {
        wrong(format!("its home {} is that of the source", guard.to.home.value.display()));
    }
    for required in &guard.config.require {
        if let Err(reason) =
            required_line(&guard.to.home.value.join(&required.file), &required.matches)
        {
            wrong(reason);
        }
    }
    if let Err(reason) = other_cluster(guard.manifest, source, target) {
        wrong(reason);
    }
    problems
}

/// Whether a file of the target has a line that fits: mail goes to a catcher, say.
fn required_line(path: &Path, pattern: &str) -> Result<(), String> {
    let file = path.display();
    let pattern =
        Regex::new(pattern).map_err(|_| format!("`{pattern}` is no regular expression"))?;
    let unreadable = |error: std::io::Error| format!("{file} cannot be read: {error}");
    let len = std::fs::metadata(path).map_err(unreadable)?.len();
    if len > LONGEST {
        return Err(format!("{file} has more than {LONGEST} bytes"));
    }
    let text = std::fs::read(path).map_err(unreadable)?;
    match String::from_utf8_lossy(&text).lines().any(|line| pattern.is_match(line)) {
        true => Ok(()),
        false => Err(format!("no line of {file} fits `{pattern}`")),
    }
}

/// The number of a cluster; empty where the role may not ask.
fn system_identifier(cluster: &Cluster) -> Result<String, String> {
    let query = "SELECT system_identifier FROM pg_catalog.pg_control_system()";
    let mut session = cluster.maintenance("").map_err(|error| error.to_string())?;
    Ok(session.value("ask for the system identifier", query).unwrap_or_default())
}

fn other_cluster(
    manifest: &DatabaseManifest,
    source: Option<&Cluster>,
    target: &Cluster,
) -> Result<(), String> {
    let here = system_identifier(target)?;
    if here.is_empty() {
        return Err("its cluster does not say which one it is; its role needs EXECUTE on \
                    pg_control_system()"
            .to_owned());
    }
    if manifest.system_identifier.is_empty() {
        return Err("the snapshot does not say from which cluster it is".to_owned());
    }
    // The source may have moved since the snapshot was taken.
    let now = source.and_then(|source| system_identifier(source).ok()).unwrap_or_default();
    let place = |cluster: &Cluster| cluster.place();
    if here == manifest.system_identifier || here == now {
        return Err(format!("its database is in the cluster of the source ({})", place(target)));
    }
    if source.map(place) == Some(place(target)) {
        return Err(format!("its database is reached as that of the source ({})", place(target)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn directories_that_are_the_same_by_a_link_overlap() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("production/uploads")).unwrap();
        std::fs::create_dir(at("staging")).unwrap();
        symlink(at("production"), at("link")).unwrap();
        assert!(overlap(&at("production"), &at("link")));
        assert!(overlap(&at("production"), &at("link/uploads/not-there")));
        assert!(overlap(&at("production/uploads"), &at("production")));
        assert!(!overlap(&at("production"), &at("staging")));
        assert!(!overlap(&at("production"), &at("production-2")));
    }

    #[test]
    fn a_line_that_has_to_be_there_is_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        let wanted = "^EMAIL_HOST=(mailpit|mailhog)$";
        assert!(required_line(&path, wanted).unwrap_err().contains("cannot be read"));
        std::fs::write(&path, "A=1\nEMAIL_HOST=smtp.example.org\n").unwrap();
        assert!(required_line(&path, wanted).unwrap_err().contains("no line of"));
        std::fs::write(&path, "A=1\nEMAIL_HOST=mailpit\n").unwrap();
        assert_eq!(required_line(&path, wanted), Ok(()));
        assert!(required_line(&path, "(").is_err());
    }
}
