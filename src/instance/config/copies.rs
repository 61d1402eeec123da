//! Copies of an instance's repository: other places where everything is kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, Error};

use crate::ops::copy::{CopyOptions, DELAY, Sample};

use super::restore::parse_kept;
use super::value::{InstanceName, Percent, PlainPath, RepositoryText};
use super::{Origin, Repository, Setting};

/// Name that means the repository itself, where a copy could be named.
pub const PRIMARY: &str = "primary";

/// Another place where everything is kept.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CopyFile {
    /// Where: as `repository`.
    location: RepositoryText,
    /// Refuse to write unless this is a mount point.
    require_mount: Option<PlainPath>,
    /// How long what is deleted here stays there: `30d`, `12h`, or `never`. Default: `30d`.
    delete_after: Option<DelayText>,
    /// Nothing is ever deleted there. Default: false, and where the place itself refuses it, true.
    append_only: Option<bool>,
    /// How much of it is read back after each copy (`2%`). Default: `2%`.
    sample: Option<Percent>,
    /// Most objects that are read back. Default: 32.
    sample_limit: Option<u32>,
}

/// How long deletions take.
#[derive(Debug, Clone, Copy, JsonSchema)]
struct DelayText(#[schemars(with = "String")] Option<Duration>);

impl<'de> Deserialize<'de> for DelayText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_delay(&String::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

/// `30d`, `12h`, `never`.
pub fn parse_delay(text: &str) -> Result<Option<Duration>, String> {
    if text == "never" {
        return Ok(None);
    }
    let duration = parse_kept(text).map_err(|error| format!("{error}, or `never`"))?;
    Ok(Some(duration.unsigned_abs()))
}

/// One copy, resolved.
#[derive(Debug, Clone)]
pub struct CopyConfig {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub location: Setting<Repository>,
    /// Must be a mount point before anything is written.
    pub require_mount: Option<Setting<PathBuf>>,
    /// How long what is deleted at the repository stays there; `None`: for ever.
    pub delete_after: Setting<Option<Duration>>,
    /// Nothing is ever deleted there.
    pub append_only: Setting<bool>,
    /// How much of it is read back.
    pub sample: Setting<Sample>,
}

impl CopyConfig {
    /// A place that no configuration names.
    pub fn unnamed(location: &str) -> Self {
        let options = CopyOptions::default();
        let location = Repository::new(location);
        Self {
            // Without a password: it is told and remembered.
            name: location.to_string(),
            location: Setting::new(location, Origin::Flag),
            require_mount: None,
            delete_after: Setting::new(options.delay, Origin::Default),
            append_only: Setting::new(false, Origin::Default),
            sample: Setting::new(options.sample, Origin::Default),
        }
    }

    /// What a copy to it needs to know.
    pub fn options(&self) -> CopyOptions {
        CopyOptions {
            delay: self.delete_after.value,
            append_only: self.append_only.value,
            sample: self.sample.value,
            ..CopyOptions::default()
        }
    }
}

/// All copies of one instance.
pub(super) fn resolve(
    written: BTreeMap<InstanceName, CopyFile>,
    home: &Path,
) -> Result<BTreeMap<String, CopyConfig>, String> {
    let mut copies = BTreeMap::new();
    for (name, file) in written {
        if name.0 == PRIMARY {
            return Err(format!(
                "`{PRIMARY}` means the repository itself; name the copy otherwise"
            ));
        }
        copies.insert(name.0.clone(), copy(name.0, file, home));
    }
    Ok(copies)
}

fn copy(name: String, file: CopyFile, home: &Path) -> CopyConfig {
    let default = Sample::default();
    let is_default = file.sample.is_none() && file.sample_limit.is_none();
    let sample = Sample {
        share: file.sample.map_or(default.share, |share| share.0),
        most: file.sample_limit.map_or(default.most, u64::from),
    };
    let origin = if is_default { Origin::Default } else { Origin::File };
    CopyConfig {
        name,
        location: Setting::new(super::resolve::at_home(home, file.location.0), Origin::File),
        require_mount: file.require_mount.map(|path| Setting::new(home.join(path.0), Origin::File)),
        delete_after: super::resolve::or_default(file.delete_after.map(|delay| delay.0), || {
            Some(DELAY)
        }),
        append_only: super::resolve::or_default(file.append_only, || false),
        sample: Setting::new(sample, origin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<String, CopyConfig>, String> {
        let written: BTreeMap<InstanceName, CopyFile> =
            toml::from_str(text).map_err(|error| error.message().to_owned())?;
        resolve(written, Path::new("/srv/app"))
    }

    #[test]
    fn defaults_are_safe() {
        let copies = read("[nas]\nlocation = \"second\"").unwrap();
        let nas = &copies["nas"];
        assert_eq!(nas.location.value.as_str(), "/srv/app/second");
        assert_eq!(nas.delete_after.value, Some(Duration::from_secs(30 * 86_400)));
        assert!(!nas.append_only.value);
        assert_eq!(nas.sample.value, Sample { share: 200, most: 32 });
        assert_eq!(nas.options().delay, Some(DELAY));
    }

    #[test]
    fn everything_can_be_said() {
        let text = "[cellar]\nlocation = \"file:///mnt/cellar\"\nrequire_mount = \"/mnt/cellar\"\n\
                    delete_after = \"never\"\nappend_only = true\nsample = \"10%\"\nsample_limit = 5";
        let copies = read(text).unwrap();
        let cellar = &copies["cellar"];
        assert_eq!(cellar.location.value.as_str(), "/mnt/cellar");
        assert_eq!(cellar.require_mount.as_ref().unwrap().value, Path::new("/mnt/cellar"));
        assert_eq!(cellar.delete_after.value, None);
        assert_eq!(cellar.sample.value, Sample { share: 1000, most: 5 });
        assert!(cellar.options().append_only);
    }

    #[test]
    fn places_elsewhere_are_left_as_they_are_written() {
        for text in [
            "ftps://me@host/x?password-credential=off",
            "sftp:me@host:x",
            "s3:endpoint/bucket",
            "credential:off",
        ] {
            let copies = read(&format!("[x]\nlocation = \"{text}\"")).unwrap();
            let location = &copies["x"].location.value;
            assert_eq!((location.as_str(), location.directory()), (text, None));
            assert_eq!(location.credential().is_some(), text.contains("credential"), "{text}");
        }
        let copies = read("[x]\nlocation = \"./like:this\"").unwrap();
        assert!(copies["x"].location.value.directory().is_some());
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, why) in [
            ("[primary]\nlocation = \"x\"", "means the repository itself"),
            ("[x]\nlocation = \"x\"\ndelete_after = \"soon\"", "`never`"),
            ("[x]\nlocation = \"x\"\ndelete_after = \"-1d\"", "`never`"),
            ("[x]\nlocation = \"../x\"", "upwards"),
            ("[x]\nlocation = \"x\"\nsample = \"200%\"", "share"),
            ("[x]\nlocatoin = \"x\"", "locatoin"),
            ("[X]\nlocation = \"x\"", "cannot be the name"),
            ("[x]\nappend_only = true", "location"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
