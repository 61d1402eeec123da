//! What lies at a place on a server, told from names and the first bytes of `config`.

use std::ops::ControlFlow;

use super::{Failure, FileStore, Files, PROBE, temporary_of};
use crate::store::{CONFIG_MAGIC, ObjectKind, ObjectName, StoreErrorKind, Survey};

const FOREIGN_NAMES: usize = 5;
const RESTIC_DIRECTORIES: [&str; 4] = ["data", "keys", "snapshots", "index"];

pub(super) fn survey<F: Files>(store: &FileStore<F>) -> Result<Survey, Failure> {
    let entries = match store.files.list("") {
        Err(failure) if failure.kind == StoreErrorKind::NotFound => return Ok(Survey::Missing),
        listed => listed?,
    };
    if entries.is_empty() {
        let is_there = store.files.has_directory("")?;
        return Ok(if is_there { Survey::Empty } else { Survey::Missing });
    }
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    let is_directory =
        |name: &str| entries.iter().any(|entry| entry.name == name && entry.is_directory);
    if has("config") {
        let begin = store.files.read("config", 0, CONFIG_MAGIC.len() as u64)?;
        if begin == CONFIG_MAGIC {
            return Ok(Survey::Repository);
        }
        if RESTIC_DIRECTORIES.iter().all(|name| is_directory(name)) && !has("packs") {
            return Ok(Survey::Restic);
        }
    }
    let mut foreign: Vec<String> = entries
        .iter()
        .map(|entry| entry.name.clone())
        .filter(|name| temporary_of(name).is_none() && name != PROBE)
        .collect();
    // With `data` it is rather a restic repository that lost its config.
    let ours = has("packs") || !has("data");
    for kind in ObjectKind::ALL {
        let directory = kind.directory();
        if kind == ObjectKind::Config || !is_directory(directory) {
            continue;
        }
        let (mut objects, mut others) = (false, false);
        store.walk(kind, &mut |path, _| {
            objects |= ObjectName::parse(path).is_some();
            others |= ObjectName::parse(path).is_none() && temporary_of(path).is_none();
            if objects { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if objects && ours {
            return Ok(Survey::Headless);
        }
        if !objects && !others {
            foreign.retain(|name| name != directory);
        }
    }
    if foreign.is_empty() {
        return Ok(Survey::Empty);
    }
    let is_ours = |name: &String| ObjectKind::ALL.iter().any(|kind| kind.directory() == name);
    foreign.sort_by_key(is_ours);
    foreign.truncate(FOREIGN_NAMES);
    Ok(Survey::Foreign(foreign))
}
