//! The place of the copy: what lies there, and how a new one is begun.

use std::sync::Arc;

use crate::index::Holdings;
use crate::repository::{Content, Repository, RepositoryError};
use crate::store::{ByteRange, ObjectKind, ObjectName, Store, Survey, list_all};

use super::CopyOptions;
use super::error::CopyError;
use super::source::{Read, read_whole};

const CONFIG_LIMIT: u64 = 1 << 20;

/// What lies at the place of the copy.
#[derive(Debug)]
pub(super) enum Target {
    /// Nothing yet (or what a killed beginning left).
    Empty,
    /// This repository.
    Copy(Box<Repository>),
}

/// Looks what lies at `store`. Anything but nothing or this very repository is an error, and so is nothing
/// where a copy was before.
pub(super) fn look(
    source: &Repository,
    store: &Arc<dyn Store>,
    holdings: &Holdings,
    options: &CopyOptions,
) -> Result<Target, CopyError> {
    let location = store.location().clone();
    if Arc::ptr_eq(store, source.store()) {
        return Err(CopyError::Same { location });
    }
    match source.twin(Arc::clone(store)) {
        Ok(twin) => return Ok(Target::Copy(Box::new(twin))),
        Err(RepositoryError::NoRepository { .. } | RepositoryError::Restic { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let refuse = |found: String| Err(CopyError::NotEmpty { location: location.clone(), found });
    match store.survey()? {
        Survey::Missing | Survey::Empty => {}
        Survey::Headless => {
            for kind in ObjectKind::ALL.into_iter().filter(|kind| *kind != ObjectKind::Config) {
                let found = list_all(store.as_ref(), kind)?;
                if kind != ObjectKind::Key && !found.is_empty() {
                    return refuse(
                        "objects of a repository are there whose `config` is missing".to_owned(),
                    );
                }
                for info in found {
                    let same = source.store().size(&info.name).is_ok_and(|size| size == info.size);
                    if !same {
                        return refuse(format!("{} is of another repository", info.name));
                    }
                }
            }
        }
        Survey::Repository => return refuse("its `config` just appeared; try again".to_owned()),
        Survey::Restic => return refuse("a restic repository is there".to_owned()),
        Survey::Foreign(names) => {
            return refuse(format!("it holds something else ({})", names.join(", ")));
        }
        Survey::Unusable(reason) => return refuse(reason),
    }
    let objects = holdings.all()?.values().filter(|holding| holding.is_there()).count();
    if objects > 0 && !options.start_over {
        return Err(CopyError::Vanished { location, objects });
    }
    Ok(Target::Empty)
}

/// Begins a copy at an empty place: the key slots, then the config, so that a place with a config
/// always has its keys.
pub(super) fn begin(source: &Repository, store: &Arc<dyn Store>) -> Result<Repository, CopyError> {
    // That it is whole, and this repository's own.
    let Content::Config = source.read_object(&ObjectName::Config)? else {
        return Err(RepositoryError::Internal("the config was read as something else").into());
    };
    let limit = ByteRange::Whole { limit: CONFIG_LIMIT };
    let config = source.store().get(&ObjectName::Config, limit)?;
    store.create()?;
    for info in list_all(source.store().as_ref(), ObjectKind::Key)? {
        // One that is damaged opens nothing here either.
        if let Read::Good(bytes) = read_whole(source.store().as_ref(), &info.name)? {
            put_new(store.as_ref(), &info.name, &bytes)?;
        }
    }
    store.sync()?;
    put_new(store.as_ref(), &ObjectName::Config, &config)?;
    store.sync()?;
    Ok(source.twin(Arc::clone(store))?)
}

/// Puts an object that may be there already, from a run that was cut. Its size is looked at afterwards.
/// Gives whether it has the right size.
pub(super) fn put_new(
    store: &dyn Store,
    name: &ObjectName,
    bytes: &[u8],
) -> Result<bool, CopyError> {
    match store.put(name, &[bytes]) {
        Ok(()) => {}
        Err(error) if error.kind == crate::store::StoreErrorKind::Exists => {}
        Err(error) => return Err(error.into()),
    }
    Ok(store.size(name)? == bytes.len() as u64)
}
