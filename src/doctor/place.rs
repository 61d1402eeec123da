//! The place of the repository: mounted, to be opened, with room for tonight.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::instance::{MountError, require_mount};
use crate::report::human_bytes;

use super::{Finding, Patient};

/// Nights that tell how much room the next one needs.
const NIGHTS: usize = 7;
/// Room the state directory should have, for indexes.
const STATE_ROOM: u64 = 64 << 20;
/// Fewer files than this can be made.
const FEW_FILES: u64 = 2000;

/// The disk is there, and it is not the one that everything else lies on.
pub(super) fn mount(patient: &Patient<'_>) -> Vec<Finding> {
    let instance = patient.instance;
    let Some(directory) = instance.repository.value.directory() else { return Vec::new() };
    if let Some(mount) = &instance.require_mount {
        let path = mount.value.display();
        return vec![match require_mount(&mount.value) {
            Ok(()) => Finding::ok(format!("{path} is mounted")),
            Err(error @ MountError::NotMounted { .. }) => {
                Finding::error(error.to_string(), format!("mount {path}"))
            }
            Err(error) => Finding::error(error.to_string(), format!("ls -ld {path}")),
        }];
    }
    let device = |path: &Path| fs::metadata(nearest(path)).map(|found| found.dev()).ok();
    let home = &instance.home.value;
    if device(directory) == device(home) {
        let text = format!(
            "the repository is on the same disk as {}: what destroys one destroys both",
            home.display()
        );
        return vec![match instance.copies.is_empty() {
            true => Finding::warning(
                text,
                "keep it on another disk, or have a copy elsewhere: [instance.NAME.copy.NAME]",
            ),
            false => Finding::ok("the repository is on the disk of the home; there are copies"),
        }];
    }
    let point = mount_point(directory);
    vec![Finding::warning(
        format!("nothing makes sure that {} is mounted before a run writes there", point.display()),
        format!("write into the configuration: require_mount = \"{}\"", point.display()),
    )]
}

/// The nearest directory upwards that is there.
fn nearest(path: &Path) -> PathBuf {
    path.ancestors().find(|one| one.exists()).unwrap_or(Path::new("/")).to_owned()
}

/// The highest directory on the device of `path`.
fn mount_point(path: &Path) -> PathBuf {
    let mut point = nearest(path);
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    while let Some(parent) = point.parent().filter(|parent| device(parent) == device(&point)) {
        point = parent.to_owned();
    }
    point
}

/// It opens, as a run opens it.
pub(super) fn repository(patient: &Patient<'_>) -> Vec<Finding> {
    vec![match &patient.repository {
        Ok(repository) => Finding::ok(format!(
            "the repository at {} opens with its password",
            repository.store().location()
        )),
        Err(trouble) => Finding::error(
            trouble.message.clone(),
            trouble
                .hint
                .clone()
                .unwrap_or_else(|| format!("mrs-backup snapshots -i {}", patient.instance.name)),
        ),
    }]
}

/// Bytes and files free on the disk of a directory.
fn room(path: &Path) -> Option<(u64, Option<u64>)> {
    let found = rustix::fs::statvfs(nearest(path)).ok()?;
    // A file system without a number of files says none at all.
    let files = (found.f_files > 0).then_some(found.f_favail);
    Some((found.f_bavail.saturating_mul(found.f_frsize), files))
}

/// There is room for tonight, as the last nights were, and for long.
pub(super) fn space(patient: &Patient<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Ok(repository) = &patient.repository {
        let store = repository.store();
        let place = store.location().to_string();
        match store.free_bytes() {
            Some(free) => found.push(tonight(patient, &place, free)),
            None => found.push(Finding::ok(format!("{place} does not tell how much is free"))),
        }
    }
    if let Some(days) = patient.status.days_until_full {
        found.push(Finding::warning(
            format!("at the rate of the last weeks the disk is full in about {days:.0} days"),
            format!("mrs-backup stats -i {}", patient.instance.name),
        ));
    }
    let local = patient.instance.repository.value.directory();
    for (path, what) in [(Some(patient.state_dir), "state directory"), (local, "repository")] {
        let Some((path, (free, files))) = path.and_then(|path| Some((path, room(path)?))) else {
            continue;
        };
        let place = path.display();
        if what == "state directory" && free < STATE_ROOM {
            let free = human_bytes(free);
            found.push(Finding::error(
                format!("only {free} are free for the {what} {place}"),
                format!("df {place}"),
            ));
        }
        if files.is_some_and(|files| files < FEW_FILES) {
            let files = files.unwrap_or(0);
            found.push(Finding::error(
                format!("only {files} files can still be made on the disk of the {what} {place}"),
                format!("df -i {place}"),
            ));
        }
    }
    found
}

fn tonight(patient: &Patient<'_>, place: &str, free: u64) -> Finding {
    let (name, wanted) = (&patient.instance.name, patient.instance.min_free.value);
    let told = human_bytes(free);
    let prune = || format!("mrs-backup prune -i {name}; or a larger disk");
    if free < wanted {
        return Finding::error(
            format!(
                "only {told} are free at {place}, less than `min_free` asks for ({})",
                human_bytes(wanted)
            ),
            prune(),
        );
    }
    let nights = patient.catalogue.snapshots.iter().rev().take(NIGHTS);
    let Some(most) = nights.map(|one| one.stored_bytes).max() else {
        return Finding::ok(format!(
            "{told} are free at {place}; no night tells yet how much it needs"
        ));
    };
    let needs = human_bytes(most);
    let text = format!("{told} are free at {place}; of the last nights the largest stored {needs}");
    match () {
        () if free < most => Finding::error(text, prune()),
        () if free / 3 < most => Finding::warning(text, prune()),
        () => Finding::ok(text),
    }
}
