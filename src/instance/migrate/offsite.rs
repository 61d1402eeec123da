//! Where the old scripts mirrored the repository to, as a location of a copy.

use percent_encoding::percent_decode_str;

use crate::crypto::Secret;
use crate::store::{Place, Written};

use super::scripts::Mirror;

/// A place elsewhere and the password for it.
pub(super) struct Offsite {
    /// Without a password, and without the option that says where one is.
    pub location: String,
    /// The password.
    pub password: Option<Secret>,
    /// What people should know about it.
    pub notes: Vec<String>,
}

/// The directory of the instance there, for a repository beside the old one.
pub(super) fn offsite(mirror: &Mirror, instance: &str) -> Result<Offsite, String> {
    // lftp takes a word without a scheme for a host of FTP.
    let (scheme, rest) = mirror.dsn.split_once("://").unwrap_or(("ftp", &mirror.dsn));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login.to_owned()), host),
        None => (mirror.login.as_ref().map(|login| login.replacen(',', ":", 1)), authority),
    };
    let (user, password) = match login.as_deref().map(|login| login.split_once(':').ok_or(login)) {
        None => (None, None),
        Some(Err(user)) => (Some(user.to_owned()), None),
        Some(Ok((user, password))) => (Some(user.to_owned()), Some(password.to_owned())),
    };
    let mut notes = Vec::new();
    let to = mirror.to.as_deref().unwrap_or(instance).trim_end_matches('/');
    let directory = match to.rsplit_once('/') {
        Some((directory, _)) => directory,
        None => instance,
    };
    let path: Vec<&str> = [path.trim_end_matches('/'), directory, "repo"]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let location = format!("{scheme}://{user}{host}/{}", path.join("/"));
    let decode = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let mut password = password.map(|password| Secret::new(decode(&password)));
    match scheme {
        "ftp" | "ftps" => notes.push(
            "the server's certificate is verified from now on, which the old script did not: try it with mrs-backup store test, and see pin= and ca= in docs/stores.md"
                .to_owned(),
        ),
        "sftp" if password.take().is_some() => notes.push(
            "SFTP takes a key of ssh, not the old script's password: ssh-keygen, then ssh-copy-id".to_owned(),
        ),
        _ => {}
    }
    Place::parse(&location, Written::Privately).map_err(|error| error.to_string())?;
    Ok(Offsite { location, password, notes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(dsn: &str, to: &str) -> Mirror {
        Mirror { dsn: dsn.to_owned(), to: Some(to.to_owned()), ..Mirror::default() }
    }

    #[test]
    fn places_of_lftp_become_locations() {
        for (dsn, to, location, password) in [
            ("ftp://u:p@h", "mrs/restic", "ftp://u@h/mrs/repo", Some("p")),
            (
                "ftps://u:p%40q@h:990/base/",
                "mrs/restic",
                "ftps://u@h:990/base/mrs/repo",
                Some("p@q"),
            ),
            ("u:p@h", "restic", "ftp://u@h/mrs/repo", Some("p")),
            ("sftp://u:p@h", "a/b/restic", "sftp://u@h/a/b/repo", None),
            ("ftp://localhost", "mrs/restic", "ftp://localhost/mrs/repo", None),
        ] {
            let found = offsite(&mirror(dsn, to), "mrs").unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(found.location, location);
            let found = found.password.map(|found| found.expose().to_vec());
            assert_eq!(found.as_deref(), password.map(str::as_bytes), "{dsn}");
        }
        let told = Mirror { login: Some("u,p".to_owned()), ..mirror("h", "x/restic") };
        let told = offsite(&told, "mrs").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(told.location, "ftp://u@h/x/repo");
    }

    #[test]
    fn what_is_no_place_is_told_without_its_password() {
        for dsn in [
            "gopher://u:hunter2@h",
            "ftp://u:hunter2@",
            "ftp://u:hunter2@-oProxy",
            "ftp://u:hunter2@h/../x",
        ] {
            let error = offsite(&mirror(dsn, "x/restic"), "mrs").err().unwrap_or_default();
            assert!(!error.is_empty() && !error.contains("hunter2"), "{dsn}: {error}");
        }
    }
}
