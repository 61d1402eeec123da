//! Directories that labels ask for: `io.yourlabs.compose.mkdir=log,spooler/mail:1000:1000:0750`.
//!
//! They are made in the home, with that owner and mode, before containers start; otherwise docker makes them
//! root's. What a label says may come from anybody who can change a compose file: nothing outside of the home
//! is touched, not through `..` and not through a symbolic link.

use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chownat, fchmod, mkdirat, openat, statat};

use super::redact::pairs;
use super::{ComposeError, Document};

/// The label.
const LABEL: &str = "io.yourlabs.compose.mkdir";
/// Most directories of one label.
const MOST: usize = 100;

/// A directory to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Which service asks for it.
    pub service: String,
    /// Below the home.
    pub path: PathBuf,
    /// Owner and group; `None`: whoever owns it.
    pub owner: Option<(u32, u32)>,
    /// Mode; `None`: 0755 when it is made.
    pub mode: Option<u32>,
}

/// The directories a document asks for.
pub fn directories(document: &Document) -> Result<Vec<Directory>, ComposeError> {
    let mut found = Vec::new();
    for (service, node) in document.services() {
        let labels = node.get("labels").map(pairs).unwrap_or_default();
        for (_, value) in labels.iter().filter(|(name, _)| name == LABEL) {
            found.extend(
                of_label(service, value)
                    .map_err(|reason| ComposeError::Mkdir { service: service.clone(), reason })?,
            );
        }
    }
    Ok(found)
}

fn of_label(service: &str, value: &str) -> Result<Vec<Directory>, String> {
    let show =
        |text: &str| text.chars().take(80).flat_map(char::escape_default).collect::<String>();
    let mut parts = value.split(':');
    let paths = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let number = |text: &str| {
        text.parse::<u32>()
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| format!("`{}` is no number of a user or group", show(text)))
    };
    let (owner, mode) = match rest[..] {
        [] => (None, None),
        [user, group] => (Some((number(user)?, number(group)?)), None),
        [user, group, mode] => {
            let bits =
                u32::from_str_radix(mode, 8).ok().filter(|bits| *bits <= 0o777 && !mode.is_empty());
            let bits =
                bits.ok_or_else(|| format!("`{}` is no mode between 0000 and 0777", show(mode)))?;
            (Some((number(user)?, number(group)?)), Some(bits))
        }
        _ => return Err(format!("`{}` is not written like `log,data:UID:GID:MODE`", show(value))),
    };
    let paths: Vec<&str> = paths.split(',').map(str::trim).collect();
    if paths.len() > MOST {
        return Err(format!("it asks for more than {MOST} directories"));
    }
    let directory = |text: &str| {
        let path: PathBuf =
            Path::new(text).components().filter(|part| *part != Component::CurDir).collect();
        let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if path.as_os_str().is_empty()
            || !is_plain
            || text.contains('\0')
            || text.chars().any(char::is_control)
        {
            return Err(format!(
                "`{}` is no directory below the home; write it like `log` or `./log/admin`",
                show(text)
            ));
        }
        Ok(Directory { service: service.to_owned(), path, owner, mode })
    };
    paths.into_iter().map(directory).collect()
}

/// Makes the directories below `home`; gives what was made or changed, one line each.
pub fn make_directories(home: &Path, wanted: &[Directory]) -> Result<Vec<String>, ComposeError> {
    let mut told = Vec::new();
    for directory in wanted {
        let line = make(home, directory);
        let refused = |error: io::Error| match error.raw_os_error() {
            Some(code)
                if code == rustix::io::Errno::LOOP.raw_os_error()
                    || code == rustix::io::Errno::NOTDIR.raw_os_error() =>
            {
                ComposeError::Mkdir {
                    service: directory.service.clone(),
                    reason: format!(
                        "{} is, or leads through, something that is no directory (a symbolic link?); nothing was changed there",
                        home.join(&directory.path).display()
                    ),
                }
            }
            _ => ComposeError::io("make", home.join(&directory.path), &error),
        };
        told.extend(line.map_err(refused)?);
    }
    Ok(told)
}

fn make(home: &Path, wanted: &Directory) -> io::Result<Option<String>> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(CWD, home, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut made = false;
    for name in wanted.path.components() {
        let name: &Path = name.as_ref();
        match mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => made = true,
            Err(rustix::io::Errno::EXIST) => made = false,
            Err(error) => return Err(error.into()),
        }
        let next = openat(&at, name, flags, Mode::empty())?;
        if made {
            // The mask of our process is for secrets.
            fchmod(&next, Mode::from_raw_mode(0o755))?;
        }
        at = next;
    }
    let found = statat(&at, "", AtFlags::EMPTY_PATH)?;
    let mut changes = Vec::new();
    if let Some((user, group)) = wanted.owner.filter(|owner| *owner != (found.st_uid, found.st_gid))
    {
        chownat(
            &at,
            "",
            Some(Uid::from_raw(user)),
            Some(Gid::from_raw(group)),
            AtFlags::EMPTY_PATH,
        )?;
        changes.push(format!("owner {}:{} -> {user}:{group}", found.st_uid, found.st_gid));
    }
    let before = found.st_mode & 0o7777;
    if let Some(mode) = wanted.mode.filter(|mode| *mode != before) {
        fchmod(&at, Mode::from_raw_mode(mode))?;
        changes.push(format!("mode {before:04o} -> {mode:04o}"));
    }
    let path = wanted.path.display();
    Ok(match (made, changes.is_empty()) {
        (true, _) => Some(format!("{path} is made")),
        (false, false) => Some(format!("{path}: {}", changes.join(", "))),
        (false, true) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn of(label: &str) -> Result<Vec<Directory>, ComposeError> {
        let label = serde_json::to_string(label).unwrap();
        let text = format!("services: {{d: {{labels: {{io.yourlabs.compose.mkdir: {label}}}}}}}");
        directories(&Document::parse(&text, "the test").unwrap())
    }

    #[test]
    fn labels_say_which_directories() {
        let found = of("./log/admin,spooler:1000:1001:0750").unwrap();
        assert_eq!(found[0].path, Path::new("log/admin"));
        assert_eq!((found[1].owner, found[1].mode), (Some((1000, 1001)), Some(0o750)));
        assert_eq!(of("log").unwrap()[0].owner, None);
        let listed =
            Document::parse("services: {d: {labels: ['io.yourlabs.compose.mkdir=a:1:2']}}", "x")
                .unwrap();
        assert_eq!(directories(&listed).unwrap()[0].owner, Some((1, 2)));
    }

    #[test]
    fn hostile_labels_are_refused() {
        for label in [
            "",
            "..",
            "../x",
            "a/../../etc",
            "/etc",
            "a,,b",
            ".",
            "a:0:0:4755",
            "a:x:0",
            "a:1:2:3:4",
            "a:-1:0",
            "a:4294967295:0",
            "a:0:0:",
            "a\u{1}b",
            "a:1",
            &"a,".repeat(200),
        ] {
            let error = of(label).unwrap_err();
            assert!(
                matches!(&error, ComposeError::Mkdir { service, .. } if service == "d"),
                "{label}: {error}"
            );
        }
    }

    #[test]
    fn directories_are_made_in_the_home_and_nowhere_else() {
        let home = tempfile::tempdir().unwrap();
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let mut wanted = of("log/admin:0:0:0750").unwrap();
        wanted[0].owner = Some(own);
        assert_eq!(make_directories(home.path(), &wanted).unwrap(), ["log/admin is made"]);
        let mode = |name: &str| fs::metadata(home.path().join(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("log"), mode("log/admin")), (0o755, 0o750));
        assert_eq!(make_directories(home.path(), &wanted).unwrap(), [""; 0]);
        wanted[0].mode = Some(0o700);
        assert_eq!(
            make_directories(home.path(), &wanted).unwrap(),
            ["log/admin: mode 0750 -> 0700"]
        );

        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), home.path().join("link")).unwrap();
        fs::write(home.path().join("file"), "").unwrap();
        for path in ["link/x", "link", "file/x", "file"] {
            let error = make_directories(home.path(), &of(&format!("{path}:0:0:0777")).unwrap())
                .unwrap_err();
            assert!(matches!(error, ComposeError::Mkdir { .. }), "{error}");
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        assert_ne!(fs::metadata(outside.path()).unwrap().mode() & 0o7777, 0o777);
    }
}
