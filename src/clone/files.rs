//! Files of the copy: made anew in directories beside those of the target, which they then take the place of.
//!
//! Nothing of a snapshot's files is copied but what a rule keeps; where a row names a file there is a placeholder.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown, fchown};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use crate::anonymize::transform::{FileSink, Placeholder, Unfit};
use crate::anonymize::{FileRules, Problem, Rules};
use crate::snapshot::Snapshot;

use super::error::CloneError;
use super::exchange::SwappedDirectory;

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

    /// What another machine says: placeholders in these directories of `home`, nothing of the others.
    pub fn told(
        made: &[String],
        dropped: &BTreeMap<String, String>,
        home: &Path,
    ) -> Result<Self, Problem> {
        let mut plan = Self { dropped: dropped.clone(), ..Self::default() };
        for name in made {
            let place = below(name, home)
                .map_err(|what| Problem::of(format!("files {}", name.escape_debug()), what))?;
            plan.made.insert(name.clone(), place);
        }
        Ok(plan)
    }
}

/// A directory below the home.
fn below(name: &str, home: &Path) -> Result<PathBuf, String> {
    let path = Path::new(name);
    let is_below = path.components().all(|part| matches!(part, Component::Normal(_)));
    match is_below && path.file_name().is_some() {
        true => Ok(home.join(path)),
        false => Err("only directories below the home can be made anew".to_owned()),
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
        (None, true, true) => below(name, home).map(Some),
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
        // There may be tens of thousands: what is right already is left alone.
        let made = file.metadata()?;
        if made.mode() & 0o7777 != 0o644 {
            // We are the only ones who may: the program lets nobody else in by default.
            use std::os::unix::fs::PermissionsExt as _;
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
        }
        match staged.owner {
            Some((uid, gid)) if (made.uid(), made.gid()) != (uid, gid) => {
                fchown(&file, Some(uid), Some(gid))?;
            }
            _ => {}
        }
        self.written.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Makes the new directories ready to take the places of the old ones, which are kept beside them.
    pub fn ready(&self, time: Timestamp) -> Result<Vec<SwappedDirectory>, CloneError> {
        let of = |staged: &Staged| {
            staged.ready(time).map_err(|error| {
                CloneError::io(format!("cannot make {} ready", staged.new.display()), &error)
            })
        };
        self.directories.values().map(of).collect()
    }
}

impl Staged {
    fn ready(&self, time: Timestamp) -> std::io::Result<SwappedDirectory> {
        use std::os::unix::fs::PermissionsExt as _;
        let found = fs::symlink_metadata(&self.live).ok();
        let mode = found.as_ref().map_or(0o755, |found| found.mode() & 0o7777);
        fs::set_permissions(&self.new, fs::Permissions::from_mode(mode))?;
        if let Some((uid, gid)) = self.owner {
            chown(&self.new, Some(uid), Some(gid))?;
        }
        sync_directory(&self.new)?;
        let kept = found.map(|_| with_suffix(&self.live, &old_suffix(time)));
        Ok(SwappedDirectory { live: self.live.clone(), incoming: self.new.clone(), kept })
    }
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

/// How the directories come back that the exchange at `time` put aside; what is there `now` is put aside in its turn.
pub fn back(places: &[PathBuf], time: Timestamp, now: Timestamp) -> Vec<SwappedDirectory> {
    let of = |live: &PathBuf| {
        let incoming = with_suffix(live, &old_suffix(time));
        let is_there = live.symlink_metadata().is_ok();
        incoming.is_dir().then(|| SwappedDirectory {
            kept: is_there.then(|| with_suffix(live, &old_suffix(now))),
            live: live.clone(),
            incoming,
        })
    };
    places.iter().filter_map(of).collect()
}

/// Removes the directories that the exchange at `time` put aside, with the database that is dropped; gives them.
pub fn drop_put_aside(places: &[PathBuf], time: Timestamp) -> std::io::Result<Vec<PathBuf>> {
    let mut dropped = Vec::new();
    for live in places {
        let aside = with_suffix(live, &old_suffix(time));
        // A link is nothing that we put aside.
        if aside.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            fs::remove_dir_all(&aside)?;
            dropped.push(aside);
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use crate::anonymize::transform::PlaceholderKind;
    use crate::clone::Exchange;

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
        exchange(staged.ready(when).unwrap(), when);
        assert_eq!(fs::read(live.join("a/b/x.pdf")).unwrap(), PlaceholderKind::Pdf.bytes());
        assert!(!live.join("old.pdf").exists());
        let aside = home.path().join("uploads__old_20260102T030405.000000Z");
        assert!(aside.join("old.pdf").exists());
        let (places, now) = (std::slice::from_ref(&live), time("2026-01-03T00:00:00Z"));
        assert_eq!(back(places, now, now), [], "nothing was put aside then");
        exchange(back(places, when, now), now);
        assert!(live.join("old.pdf").exists() && !aside.exists());
        let aside = home.path().join("uploads__old_20260103T000000.000000Z");
        assert!(aside.join("y.pdf").exists());
        assert_eq!(drop_put_aside(places, when).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(drop_put_aside(places, now).unwrap(), [aside]);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    fn exchange(directories: Vec<SwappedDirectory>, time: Timestamp) {
        let (database, replaces) = ("app".to_owned(), true);
        Exchange { database, replaces, time, is_made: false, directories }.forward().unwrap();
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
