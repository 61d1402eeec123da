//! Files with secrets, and those that decide what root runs: who else can read or change them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::instance::config::KeySource;

use super::docker::COMPOSE_FILES;
use super::{Finding, Patient};

/// What others must not do with a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Private {
    /// Read it: it is a secret.
    Secret,
    /// Read it, if it is a file with secrets among other things.
    MayHoldSecrets,
    /// Change it: it says what is done as root.
    Instructions,
}

/// Looks at each.
pub(super) fn secrets(patient: &Patient<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let files = files(patient);
    for (path, what, private) in &files {
        found.extend(one(path, what, *private));
    }
    let repository = patient.instance.repository.value.directory();
    for (path, what, private) in &files {
        if *private == Private::Secret && repository.is_some_and(|place| path.starts_with(place)) {
            found.push(Finding::error(
                format!("{} ({what}) lies in the repository it opens", path.display()),
                format!("mv {} /etc/mrs-backup/", path.display()),
            ));
        }
    }
    if found.is_empty() {
        found.push(Finding::ok("nobody else can read secrets or change the configuration"));
    }
    found
}

fn files(patient: &Patient<'_>) -> Vec<(PathBuf, &'static str, Private)> {
    let instance = patient.instance;
    let mut files = vec![
        (patient.config.to_owned(), "configuration", Private::Instructions),
        (patient.state_dir.to_owned(), "state directory", Private::MayHoldSecrets),
    ];
    let password = instance.postgres.as_ref().and_then(|postgres| postgres.password.as_ref());
    for source in instance.key.iter().chain(password) {
        if let KeySource::File(path) | KeySource::KeyFile(path) = &source.value {
            files.push((path.clone(), "password or key", Private::Secret));
        }
    }
    let copies = instance.copies.values().map(|copy| &copy.location);
    for place in std::iter::once(&instance.repository).chain(copies) {
        let options = place.value.as_str().split_once('?').map_or("", |(_, options)| options);
        let named = options.split('&').filter_map(|option| option.strip_prefix("password-file="));
        files.extend(named.map(|path| (PathBuf::from(path), "password", Private::Secret)));
    }
    let home = &instance.home.value;
    for name in COMPOSE_FILES.into_iter().chain([".env"]) {
        files.push((home.join(name), "compose file", Private::MayHoldSecrets));
    }
    files
}

fn one(path: &Path, what: &str, private: Private) -> Option<Finding> {
    // One that is not there is missed by whoever needs it.
    let found = fs::metadata(path).ok()?;
    let (mode, place) = (found.mode(), path.display());
    let own = rustix::process::geteuid().as_raw();
    if ![0, own].contains(&found.uid()) && private != Private::MayHoldSecrets {
        return Some(Finding::warning(
            format!("{place} ({what}) belongs to user {}", found.uid()),
            format!("chown root {place}"),
        ));
    }
    match private {
        Private::Secret if mode & 0o077 != 0 => Some(Finding::error(
            format!("{place} ({what}) can be read by others (mode {:03o})", mode & 0o777),
            format!("chmod 600 {place}"),
        )),
        Private::MayHoldSecrets if mode & 0o007 != 0 => Some(Finding::warning(
            format!("{place} ({what}) can be read by everybody (mode {:03o})", mode & 0o777),
            format!("chmod o= {place}"),
        )),
        _ if mode & 0o022 != 0 => Some(Finding::error(
            format!("{place} ({what}) can be changed by others (mode {:03o})", mode & 0o777),
            format!("chmod go-w {place}"),
        )),
        _ => None,
    }
}
