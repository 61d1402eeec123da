//! Files of the copy: made anew in directories beside those of the target, which they then take the place of.
//!
//! Nothing of a snapshot's files is copied but what a rule keeps; where a row names a file there is a placeholder.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use crate::anonymize::transform::{FileSink, Placeholder, Unfit};
use crate::anonymize::{FileRules, Problem, Rules};
use crate::snapshot::Snapshot;

use super::error::CloneError;

/// Behind the name of a directory while it is filled.
const NEW: &str = "__new";
/// Behind the name of a directory that was put aside, before the time.
const OLD: &str = "__old_";

/// What becomes of the directories of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesPlan {
    /// Directories that are made anew, by their name in the rules: where they are in the target.
    pub made: BTreeMap<String, PathBuf>,
    /// Those of which nothing is copied, and why.
    pub dropped: BTreeMap<String, String>,
}

impl FilesPlan {
    /// Holds the rules against what the snapshot has.
    pub fn new(rules: &Rules, snapshot: &Snapshot, home: &Path) -> Result<Self, Vec<Problem>> {
        let sources: Vec<String> = snapshot
            .sources
            .iter()
            .filter(|source| source.kind == "files")
            .map(|source| String::from_utf8_lossy(&source.path).into_owned())
            .collect();
        let mut problems = Vec::new();
        for source in sources.iter().filter(|source| !rules.files.contains_key(*source)) {
            let name = crate::anonymize::toml_key(source);
            problems.push(
                Problem::of(format!("files {source}"), "no rule names them")
                    .suggesting(format!("[files.{name}]\ndrop = \"REASON\"")),
            );
        }
        let mut plan = Self::default();
        for (name, rule) in &rules.files {
            if !sources.contains(name) {
                let what = "the snapshot has no such directory or file; remove the rule";
                problems.push(Problem::of(format!("files {name}"), what));
                continue;
            }
            match place_of(name, rule, home) {
                Ok(Some(place)) => drop(plan.made.insert(name.clone(), place)),
                Ok(None) => {
                    let reason = rule.drop.clone().unwrap_or_default();
                    plan.dropped.insert(name.clone(), reason);
                }
                Err(what) => problems.push(Problem::of(format!("files {name}"), what)),
            }
        }
        if problems.is_empty() { Ok(plan) } else { Err(problems) }
    }
}

/// Where a directory is made anew; `None`: it is dropped.
fn place_of(name: &str, rule: &FileRules, home: &Path) -> Result<Option<PathBuf>, String> {
    let reason = rule.drop.as_deref().map(str::trim);
    match (reason, rule.placeholders, rule.keep.is_empty()) {
        (Some(""), _, _) => Err("`drop` needs a reason".to_owned()),
        (Some(_), false, true) => Ok(None),
        (Some(_), _, _) => {
            Err("it is dropped and has further rules; remove one of both".to_owned())
        }
        (None, _, false) => {
            Err("`keep` is not possible in this version: files are placeholders or dropped"
                .to_owned())
        }
        (None, false, true) => Err("write `drop = \"REASON\"` or `placeholders = true`".to_owned()),
        (None, true, true) => {
            let path = Path::new(name);
            let is_below = path.components().all(|part| matches!(part, Component::Normal(_)));
            if !is_below || path.file_name().is_none() {
                return Err("only directories below the home can be made anew".to_owned());
            }
            Ok(Some(home.join(path)))
        }
    }
}

/// Directories being filled.
#[derive(Debug)]
pub struct StagedFiles {
    directories: BTreeMap<String, Staged>,
    written: AtomicU64,
}

#[derive(Debug)]
struct Staged {
    live: PathBuf,
    new: PathBuf,
    owner: Option<(u32, u32)>,
}

/// A directory that took the place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwappedDirectory {
    /// Its name.
    pub live: PathBuf,
    /// What the one before is called now.
    pub kept: Option<PathBuf>,
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Behind the name of a directory that was put aside at `time`; no two times give the same.
fn old_suffix(time: Timestamp) -> String {
    format!("{OLD}{}", time.strftime("%Y%m%dT%H%M%S.%6fZ"))
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    fs::File::open(path)?.sync_all()
}

impl StagedFiles {
    /// Makes the directories beside those of the target. What an earlier copy left there is removed.
    pub fn begin(plan: &FilesPlan) -> Result<Self, CloneError> {
        let mut directories = BTreeMap::new();
        for (name, live) in &plan.made {
            let new = with_suffix(live, NEW);
            let failed = |error: std::io::Error| {
                CloneError::io(format!("cannot make {}", new.display()), &error)
            };
            if new.symlink_metadata().is_ok() {
                fs::remove_dir_all(&new).map_err(failed)?;
            }
            let found = fs::symlink_metadata(live).ok();
            if found.as_ref().is_some_and(|found| !found.is_dir()) {
                return Err(CloneError::refused(
                    format!("files {name}"),
                    format!("{} is no directory", live.display()),
                ));
            }
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&new).map_err(failed)?;
            let owner = found.map(|found| (found.uid(), found.gid()));
            directories.insert(name.clone(), Staged { live: live.clone(), new, owner });
        }
        Ok(Self { directories, written: AtomicU64::new(0) })
    }

    /// Files written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Removes what is half made.
    pub fn discard(&self) {
        for staged in self.directories.values() {
            // The next copy removes it otherwise.
            let _ = fs::remove_dir_all(&staged.new);
        }
    }

    fn write(&self, staged: &Staged, placeholder: &Placeholder<'_>) -> std::io::Result<()> {
        let path = staged.new.join(placeholder.path);
        let mut missing = Vec::new();
        let mut parent = path.parent();
        while let Some(directory) = parent.filter(|directory| !directory.exists()) {
            missing.push(directory.to_owned());
            parent = directory.parent();
        }
        let own = |path: &Path| match staged.owner {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid)),
            None => Ok(()),
        };
        for directory in missing.iter().rev() {
            match fs::DirBuilder::new().mode(0o755).create(directory) {
                Ok(()) => own(directory)?,
                // Another thread was faster.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o644);
        let mut file = options.open(&path)?;
        file.write_all(placeholder.kind.bytes())?;
        // We are the only ones who may: the program lets nobody else in by default.
        use std::os::unix::fs::PermissionsExt as _;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        own(&path)?;
        self.written.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Puts the new directories into their places; the old ones are kept beside them.
    pub fn swap(&self, time: Timestamp) -> Result<Vec<SwappedDirectory>, CloneError> {
        let mut done = Vec::new();
        for staged in self.directories.values() {
            match staged.swap(time) {
                Ok(swapped) => done.push(swapped),
                Err(error) => {
                    // All or none: those that were exchanged already go back.
                    for swapped in done.iter().rev() {
                        let _ = swap_back(swapped);
                    }
                    let what = format!("cannot put {} into its place", staged.live.display());
                    return Err(CloneError::io(what, &error));
                }
            }
        }
        Ok(done)
    }
}

impl Staged {
    fn swap(&self, time: Timestamp) -> std::io::Result<SwappedDirectory> {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::symlink_metadata(&self.live).map_or(0o755, |found| found.mode() & 0o7777);
        fs::set_permissions(&self.new, fs::Permissions::from_mode(mode))?;
        if let Some((uid, gid)) = self.owner {
            chown(&self.new, Some(uid), Some(gid))?;
        }
        sync_directory(&self.new)?;
        let kept = match self.live.symlink_metadata() {
            Ok(_) => {
                let kept = with_suffix(&self.live, &old_suffix(time));
                fs::rename(&self.live, &kept)?;
                Some(kept)
            }
            Err(_) => None,
        };
        if let Err(error) = fs::rename(&self.new, &self.live) {
            if let Some(kept) = &kept {
                fs::rename(kept, &self.live)?;
            }
            return Err(error);
        }
        if let Some(parent) = self.live.parent() {
            sync_directory(parent)?;
        }
        Ok(SwappedDirectory { live: self.live.clone(), kept })
    }
}

pub(super) fn swap_back(swapped: &SwappedDirectory) -> std::io::Result<()> {
    let aside = with_suffix(&swapped.live, NEW);
    fs::rename(&swapped.live, &aside)?;
    if let Some(kept) = &swapped.kept {
        fs::rename(kept, &swapped.live)?;
    }
    fs::remove_dir_all(aside)
}

impl FileSink for StagedFiles {
    fn placeholder(&self, placeholder: Placeholder<'_>) -> Result<(), Unfit> {
        let Some(staged) = self.directories.get(placeholder.root) else {
            return Err(
                "no rule of [files] makes placeholders below the `root` of the column".into()
            );
        };
        self.write(staged, &placeholder)
            .map_err(|error| Unfit(format!("its file cannot be written: {}", error.kind())))
    }
}

/// Puts back the directories that the copy at `time` put aside, below `home`; gives those it put back.
pub fn undo_files(
    places: &[PathBuf],
    time: Timestamp,
    now: Timestamp,
) -> std::io::Result<Vec<PathBuf>> {
    let mut done = Vec::new();
    for live in places {
        let kept = with_suffix(live, &old_suffix(time));
        if !kept.is_dir() {
            continue;
        }
        if live.symlink_metadata().is_ok() {
            fs::rename(live, with_suffix(live, &old_suffix(now)))?;
        }
        fs::rename(&kept, live)?;
        if let Some(parent) = live.parent() {
            sync_directory(parent)?;
        }
        done.push(live.clone());
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use crate::anonymize::transform::PlaceholderKind;

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn placeholders_take_the_place_of_what_was_there_and_go_back() {
        let home = tempfile::tempdir().unwrap();
        let live = home.path().join("uploads");
        fs::create_dir(&live).unwrap();
        fs::write(live.join("old.pdf"), "old").unwrap();
        let plan = FilesPlan {
            made: BTreeMap::from([("uploads".to_owned(), live.clone())]),
            ..FilesPlan::default()
        };
        let staged = StagedFiles::begin(&plan).unwrap();
        let file = |path| Placeholder { root: "uploads", path, kind: PlaceholderKind::Pdf };
        staged.placeholder(file("a/b/x.pdf")).unwrap();
        staged.placeholder(file("y.pdf")).unwrap();
        assert!(staged.placeholder(Placeholder { root: "other", ..file("z") }).is_err());
        assert_eq!(staged.written(), 2);
        assert!(live.join("old.pdf").exists() && !live.join("y.pdf").exists());
        let when = time("2026-01-02T03:04:05Z");
        let swapped = staged.swap(when).unwrap();
        assert_eq!(fs::read(live.join("a/b/x.pdf")).unwrap(), PlaceholderKind::Pdf.bytes());
        assert!(!live.join("old.pdf").exists());
        assert_eq!(
            swapped[0].kept.as_deref(),
            Some(&*home.path().join("uploads__old_20260102T030405.000000Z"))
        );
        let back =
            undo_files(std::slice::from_ref(&live), when, time("2026-01-03T00:00:00Z")).unwrap();
        assert_eq!(back, std::slice::from_ref(&live));
        assert!(live.join("old.pdf").exists());
        assert!(home.path().join("uploads__old_20260103T000000.000000Z/y.pdf").exists());
    }

    #[test]
    fn what_is_half_made_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let live = home.path().join("uploads");
        let plan = FilesPlan {
            made: BTreeMap::from([("uploads".to_owned(), live.clone())]),
            ..FilesPlan::default()
        };
        let staged = StagedFiles::begin(&plan).unwrap();
        staged
            .placeholder(Placeholder { root: "uploads", path: "x", kind: PlaceholderKind::Empty })
            .unwrap();
        StagedFiles::begin(&plan).unwrap().discard();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn rules_of_files_say_one_thing() {
        let home = Path::new("/srv/x");
        let rule = |text: &str| toml::from_str::<FileRules>(text).unwrap();
        let place = |name: &str, text: &str| place_of(name, &rule(text), home);
        assert_eq!(place("log", "drop = \"never\""), Ok(None));
        assert_eq!(place("a/b", "placeholders = true"), Ok(Some(home.join("a/b"))));
        for (name, text, why) in [
            ("x", "", "write `drop"),
            ("x", "drop = \" \"", "needs a reason"),
            ("x", "drop = \"a\"\nplaceholders = true", "remove one of both"),
            ("/x", "placeholders = true", "below the home"),
            ("x", "keep = { \"*.css\" = \"style\" }", "not possible in this version"),
        ] {
            assert!(place(name, text).unwrap_err().contains(why), "{text}");
        }
    }
}
