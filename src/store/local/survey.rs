//! Tells what lies in a directory from names alone and the first bytes of `config`: what `init`
//! may fill, what is ours, and what belongs to somebody else and must stay as it is.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use super::disk::{self, Trouble};
use super::kind_directories;
use crate::store::{CONFIG_MAGIC, ObjectKind, ObjectName, Survey};

/// Names told of a place that is somebody else's.
const FOREIGN_NAMES: usize = 5;

/// What every restic repository has besides its `config`.
const RESTIC_DIRECTORIES: [&str; 4] = ["data", "keys", "snapshots", "index"];

/// What lies in the directory `root`.
pub(super) fn survey(root: &Path) -> Result<Survey, Trouble> {
    let names = match names_in(root) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(match fs::symlink_metadata(root) {
                Ok(_) => Survey::Unusable("it is a symbolic link to nothing".to_owned()),
                Err(_) => Survey::Missing,
            });
        }
        Err(error) => return Ok(Survey::Unusable(error.to_string())),
    };
    if names.contains("config") {
        match begins_as_ours(&root.join("config")) {
            Ok(true) => return Ok(Survey::Repository),
            Ok(false) => {}
            Err(error) => return Ok(Survey::Unusable(format!("config: {error}"))),
        }
        // Before looking for objects: keys, snapshots and indexes of restic have names like ours.
        let is_directory = |name: &&str| root.join(name).is_dir();
        if RESTIC_DIRECTORIES.iter().all(is_directory) && !names.contains("packs") {
            return Ok(Survey::Restic);
        }
    }
    survey_headless(root, &names)
}

/// What a directory without a config of ours is.
fn survey_headless(root: &Path, names: &BTreeSet<String>) -> Result<Survey, Trouble> {
    let mut foreign: Vec<_> = names
        .iter()
        .filter(|name| *name != "lost+found" && disk::temporary_of(name).is_none())
        .cloned()
        .collect();
    // With `data` it is rather a restic repository that lost its config.
    let ours = names.contains("packs") || !names.contains("data");
    for kind in ObjectKind::ALL {
        let directory = kind.directory();
        if kind == ObjectKind::Config || !root.join(directory).is_dir() {
            continue;
        }
        match contents(root, kind)? {
            Contents::Objects if ours => return Ok(Survey::Headless),
            Contents::Objects | Contents::Other => {}
            Contents::Nothing => foreign.retain(|name| name != directory),
        }
    }
    if foreign.is_empty() {
        return Ok(Survey::Empty);
    }
    // Names that tell whose it is come first.
    foreign.sort_by_key(|name| kind_directories().any(|ours| ours == name));
    foreign.truncate(FOREIGN_NAMES);
    Ok(Survey::Foreign(foreign))
}

enum Contents {
    Nothing,
    Objects,
    Other,
}

fn contents(root: &Path, kind: ObjectKind) -> Result<Contents, Trouble> {
    let mut contents = Contents::Nothing;
    disk::walk(root, kind, &mut |path, _| {
        if ObjectName::parse(path).is_some() {
            contents = Contents::Objects;
            return Ok(ControlFlow::Break(()));
        }
        if disk::temporary_of(path).is_none() {
            contents = Contents::Other;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(contents)
}

fn names_in(root: &Path) -> io::Result<BTreeSet<String>> {
    fs::read_dir(root)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn begins_as_ours(config: &Path) -> io::Result<bool> {
    let file = disk::open_object(config)?;
    if file.metadata()?.len() < CONFIG_MAGIC.len() as u64 {
        return Ok(false);
    }
    Ok(disk::read_exactly(&file, 0, CONFIG_MAGIC.len() as u64)? == CONFIG_MAGIC)
}
