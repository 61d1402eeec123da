//! Where a credential of systemd lies.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The directory systemd hands them over in.
pub const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// Whose credentials come first there: the scheduler, which has those of many instances, says so to its jobs.
pub const OWNER: &str = "MRS_BACKUP_CREDENTIALS_OF";

/// The file of credential `name` (which has no `/`): `OWNER.NAME` if there is one, or `NAME`. `None`: nothing was handed over.
pub fn credential_path(
    environment: &dyn Fn(&str) -> Option<OsString>,
    name: &str,
) -> Option<PathBuf> {
    let directory = PathBuf::from(environment(DIRECTORY)?);
    let own = environment(OWNER).filter(|owner| !owner.is_empty()).map(|owner| {
        let mut file = owner;
        file.push(".");
        file.push(name);
        directory.join(file)
    });
    Some(own.filter(|path| path.exists()).unwrap_or_else(|| directory.join(name)))
}

/// What a process is told that works for instance `owner` alone, by one that was handed `directory`: variables with their values.
/// Where systemd hands over nothing, the files of each instance lie in a directory of its own.
pub fn credentials_of(directory: &Path, owner: &str) -> (&'static str, OsString) {
    let own = directory.join(owner);
    match own.is_dir() {
        true => (DIRECTORY, own.into_os_string()),
        false => (OWNER, owner.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_the_instance_comes_first() {
        let place = tempfile::tempdir().unwrap();
        for file in ["mrs.key", "key", "slack"] {
            std::fs::write(place.path().join(file), file).unwrap();
        }
        let found = |owner: Option<&str>, name: &str| {
            let environment = |variable: &str| match variable {
                DIRECTORY => Some(place.path().as_os_str().to_owned()),
                OWNER => owner.map(OsString::from),
                _ => None,
            };
            let path = credential_path(&environment, name).unwrap();
            path.strip_prefix(place.path()).unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(found(Some("mrs"), "key"), "mrs.key");
        assert_eq!(found(Some("mrs"), "slack"), "slack", "everybody's");
        assert_eq!(found(Some("school"), "key"), "key");
        assert_eq!(found(None, "key"), "key");
        assert_eq!(found(Some(""), "key"), "key");
        assert!(credential_path(&|_| None, "key").is_none());
        assert_eq!(credentials_of(place.path(), "mrs"), (OWNER, "mrs".into()));
        let own = place.path().join("school");
        std::fs::create_dir(&own).unwrap();
        assert_eq!(credentials_of(place.path(), "school"), (DIRECTORY, own.into_os_string()));
    }
}
