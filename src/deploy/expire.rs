//! Taking review stacks away: containers, their own networks and volumes, images nobody else uses, and the
//! directory if it is marked as ours. What cannot be understood stays, and one failure does not stop others.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::compose::Project;

use super::history::History;
use super::review::{Review, Reviews, Standing};
use super::{DeployError, Tools, files};

/// Beginning of the name of a directory that is being removed: no project's name begins so.
const REMOVING: &str = ".removing-";
/// Where the clock was last.
const CLOCK: &str = ".mrs-backup-clock.json";
/// A clock that differs by more from the time that passed was set.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(30);

/// What is due.
#[derive(Debug, Default)]
pub struct Due {
    /// Stacks whose time is over.
    pub due: Vec<Review>,
    /// Stacks that stay.
    pub stay: Vec<Review>,
    /// The clock was set since the last look: nothing is taken away this time.
    pub is_clock_odd: bool,
}

/// Finds out what is due now.
pub fn due(reviews: &Reviews, clock: &dyn Clock) -> Result<Due, DeployError> {
    let now = clock.now();
    let is_over = |one: &Review| matches!(one.standing, Standing::Until(time) if time <= now);
    let (due, stay) = reviews.list(now)?.into_iter().partition(is_over);
    Ok(Due { due, stay, is_clock_odd: has_jumped(reviews, clock, &boot_id()) })
}

#[derive(Serialize, Deserialize)]
struct Seen {
    boot: String,
    wall: Timestamp,
    elapsed_seconds: i64,
}

/// Which start of the machine this is.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Whether the wall clock went another way than time, since the last look of this start of the machine.
fn has_jumped(reviews: &Reviews, clock: &dyn Clock, boot: &str) -> bool {
    let bytes = files::read(&reviews.base.join(CLOCK), 4096).ok().flatten();
    let Some(seen) = bytes.and_then(|bytes| serde_json::from_slice::<Seen>(&bytes).ok()) else {
        return false;
    };
    if seen.boot != boot || boot.is_empty() {
        return false;
    }
    let passed = seconds(clock).saturating_sub(seen.elapsed_seconds);
    let told = clock.now().duration_since(seen.wall);
    (told - SignedDuration::from_secs(passed)).abs() > TOLERANCE
}

fn seconds(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.elapsed().as_secs()).unwrap_or(i64::MAX)
}

/// Notes where the clock is. A clock that stays where it was set to is believed at the next look.
pub fn note_clock(reviews: &Reviews, clock: &dyn Clock) -> Result<(), DeployError> {
    if !reviews.base.is_dir() {
        return Ok(());
    }
    let seen = Seen { boot: boot_id(), wall: clock.now(), elapsed_seconds: seconds(clock) };
    let text = serde_json::to_vec(&seen).unwrap_or_default();
    files::replace(&reviews.base.join(CLOCK), &text)
}

/// What was taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Project.
    pub project: String,
    /// Containers.
    pub containers: usize,
    /// Names of images.
    pub images: Vec<String>,
    /// Whether its directory is gone; one without our mark stays.
    pub directory: bool,
}

/// Takes a stack away. The caller has its lock. Killed anywhere, the next call does the rest.
pub fn remove(tools: &Tools, review: &Review) -> Result<Removed, DeployError> {
    let project = &review.project;
    let containers = tools.engine.containers(&project.name)?;
    let own = project.directory.display().to_string();
    if let Some(other) = containers.iter().find(|one| one.working_dir != own) {
        return Err(DeployError::Taken {
            project: project.name.clone(),
            directory: other.working_dir.clone(),
        });
    }
    tools.begin("remove");
    let names = image_names(project);
    let ids: Vec<String> = containers.iter().map(|one| one.image.clone()).collect();
    if project.file().is_file() {
        // A file that compose does not understand is no reason to keep containers.
        if let Err(error) = tools.compose.down(project, true) {
            if DeployError::from(error.clone()).is_stop() {
                return Err(error.into());
            }
            tools.warn(&project.name, &error.to_string());
        }
    }
    tools.engine.sweep(&project.name, true)?;
    let images = remove_images(tools, names, &ids)?;
    let directory = remove_directory(review)?;
    Ok(Removed { project: project.name.clone(), containers: containers.len(), images, directory })
}

/// Names of the images that the stack's deployments used: ours first.
fn image_names(project: &Project) -> Vec<String> {
    let Ok(history) = History::open(&project.directory) else { return Vec::new() };
    let all = history.records().iter().flat_map(|record| record.images.values());
    let (mut references, mut names): (Vec<String>, Vec<String>) =
        all.map(|image| (image.reference.clone(), image.name.clone())).unzip();
    for list in [&mut references, &mut names] {
        list.sort();
        list.dedup();
    }
    references.append(&mut names);
    references
}

/// Removes names of images that no container of anybody uses, and images without a name.
fn remove_images(
    tools: &Tools,
    names: Vec<String>,
    ids: &[String],
) -> Result<Vec<String>, DeployError> {
    let used = tools.engine.used_images()?;
    let mut removed = Vec::new();
    let unnamed = ids.iter().filter(|id| !used.contains(id)).cloned();
    for name in names.into_iter().chain(unnamed) {
        let Some(image) = tools.engine.image(&name)? else { continue };
        let is_ours = name.starts_with("mrs-backup/");
        if used.contains(&image.id) && !is_ours {
            continue;
        }
        // One with further names, or that another image is built on, stays: somebody wants it.
        if tools.engine.remove_image(&name).is_ok() {
            removed.push(name);
        }
    }
    Ok(removed)
}

/// Removes the directory if it carries our mark. First it gets another name: half of it must never look like a
/// stack that lost its mark.
fn remove_directory(review: &Review) -> Result<bool, DeployError> {
    let directory = &review.project.directory;
    if review.state.is_none() {
        // It is not due again and again: its containers are gone.
        let removeat = directory.join("removeat");
        return match fs::remove_file(&removeat) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(DeployError::files("remove", removeat, &error))
            }
            _ => Ok(false),
        };
    }
    let base = directory.parent().unwrap_or(Path::new("/"));
    let aside = (0..1000)
        .map(|number| base.join(format!("{REMOVING}{}-{number}", review.project.name)))
        .find(|path| path.symlink_metadata().is_err());
    let aside: PathBuf = aside.unwrap_or_else(|| directory.clone());
    fs::rename(directory, &aside).map_err(|error| DeployError::files("move", directory, &error))?;
    fs::remove_dir_all(&aside).map_err(|error| DeployError::files("remove", &aside, &error))?;
    Ok(true)
}

/// Removes what killed removals left behind; gives how many.
pub fn remove_leftovers(reviews: &Reviews) -> Result<usize, DeployError> {
    let mut count = 0;
    for entry in fs::read_dir(&reviews.base).into_iter().flatten().flatten() {
        let is_left = entry.file_name().to_string_lossy().starts_with(REMOVING);
        if is_left && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = entry.path();
            fs::remove_dir_all(&path)
                .map_err(|error| DeployError::files("remove", &path, &error))?;
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::FixedClock;

    const WEEK: Duration = Duration::from_secs(604_800);

    #[test]
    fn due_is_what_is_over_and_understood() {
        let base = tempfile::tempdir().unwrap();
        let reviews = Reviews { base: base.path().to_owned() };
        let clock = FixedClock::new("2026-11-30T12:00:00Z".parse().unwrap());
        reviews.extend("test-a", WEEK, clock.now(), true).unwrap();
        reviews.extend("test-b", 2 * WEEK, clock.now(), true).unwrap();
        reviews.extend("test-c", WEEK, clock.now(), true).unwrap();
        fs::write(base.path().join("test-c/removeat"), "").unwrap();
        let names =
            |due: &[Review]| due.iter().map(|one| one.project.name.clone()).collect::<Vec<_>>();
        assert!(due(&reviews, &clock).unwrap().due.is_empty());
        clock.advance(WEEK);
        let found = due(&reviews, &clock).unwrap();
        assert_eq!(names(&found.due), ["test-a"]);
        assert_eq!(names(&found.stay), ["test-b", "test-c"]);
    }

    #[test]
    fn a_clock_that_was_set_is_not_believed_at_once() {
        let base = tempfile::tempdir().unwrap();
        let reviews = Reviews { base: base.path().to_owned() };
        let clock = FixedClock::new("2026-11-30T12:00:00Z".parse().unwrap());
        let boot = boot_id();
        assert!(!has_jumped(&reviews, &clock, &boot));
        note_clock(&reviews, &clock).unwrap();
        clock.advance(Duration::from_secs(900));
        assert!(!has_jumped(&reviews, &clock, &boot), "time passed");
        // The same elapsed time, but another hour.
        let jumped = FixedClock::new("2027-11-30T12:00:00Z".parse().unwrap());
        assert!(has_jumped(&reviews, &jumped, &boot));
        assert!(!has_jumped(&reviews, &jumped, "another start"));
        let back = FixedClock::new("2025-11-30T12:00:00Z".parse().unwrap());
        assert!(has_jumped(&reviews, &back, &boot));
        note_clock(&reviews, &jumped).unwrap();
        assert!(!has_jumped(&reviews, &jumped, &boot), "believed the second time");
    }

    #[test]
    fn only_marked_directories_go() {
        let base = tempfile::tempdir().unwrap();
        let reviews = Reviews { base: base.path().to_owned() };
        let now = "2026-11-30T12:00:00Z".parse().unwrap();
        reviews.extend("ours", WEEK, now, true).unwrap();
        fs::create_dir_all(base.path().join("theirs")).unwrap();
        fs::write(base.path().join("theirs/removeat"), "1700000000").unwrap();
        fs::create_dir_all(base.path().join(format!("{REMOVING}killed-0/x"))).unwrap();
        assert!(remove_directory(&reviews.read("ours", now)).unwrap());
        assert!(!remove_directory(&reviews.read("theirs", now)).unwrap());
        assert!(
            base.path().join("theirs").is_dir() && !base.path().join("theirs/removeat").exists()
        );
        assert_eq!(remove_leftovers(&reviews).unwrap(), 1);
        let left: Vec<_> =
            fs::read_dir(base.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["theirs"]);
    }
}
