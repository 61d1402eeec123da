//! The copies: reachable, of this repository, and elsewhere.

use jiff::SignedDuration;

use crate::instance::config::CopyConfig;
use crate::instance::require_mount;
use crate::status::{Language, long_duration};
use crate::store::{
    ByteRange, ObjectKind, ObjectName, Place, Store, StoreError, StoreOptions, Survey, Watch,
    Written, list_all,
};

use super::{Finding, Patient};

/// Longest `config` object.
const LONGEST: u64 = 1 << 20;
/// Clocks differ by this without harm.
const SMALL: SignedDuration = SignedDuration::from_mins(5);

/// Looks at each.
pub(super) fn copies(patient: &Patient<'_>) -> Vec<Finding> {
    let instance = patient.instance;
    if instance.copies.is_empty() {
        let is_here = instance.repository.value.directory().is_some();
        return vec![match is_here {
            true => Finding::warning(
                "there is no copy elsewhere: a fire, a thief or a root shell takes all of it",
                format!(
                    "write [instance.{}.copy.NAME] into the configuration, then mrs-backup copy",
                    instance.name
                ),
            ),
            false => Finding::ok("the repository is on another machine"),
        }];
    }
    let mut found = Vec::new();
    for copy in instance.copies.values() {
        found.extend(one(patient, copy));
    }
    found
}

fn one(patient: &Patient<'_>, copy: &CopyConfig) -> Vec<Finding> {
    let (name, place) = (&copy.name, copy.location.value.to_string());
    let again = format!("mrs-backup copy {} --to {name}", patient.instance.name);
    if let Some(mount) = &copy.require_mount
        && let Err(error) = require_mount(&mount.value)
    {
        let mend = format!("mount {}", mount.value.display());
        return vec![Finding::error(format!("copy {name}: {error}"), mend)];
    }
    let watch = Watch { observer: patient.observer.clone(), stop: patient.stop.clone() };
    // Somebody waits: it is no night, in which a server may be away for a while.
    let options = StoreOptions { is_question: true, ..watch.into() };
    let opened = Place::parse(copy.location.value.as_str(), Written::Privately)
        .and_then(|place| place.open(&options));
    let store = match opened {
        Ok(store) => store,
        Err(error) => {
            let mend = error.hint().to_owned();
            return vec![Finding::error(format!("copy {name}: {error}"), mend)];
        }
    };
    let mut found = vec![match survey(patient, store.as_ref()) {
        Ok(None) => Finding::ok(format!("copy {name} at {place} answers")),
        Ok(Some(wrong)) => Finding::error(format!("copy {name} at {place} {wrong}"), again),
        Err(error) => {
            let text = format!("copy {name} cannot be reached: {error}");
            let mend =
                format!("look whether its server is up and the address is right, then: {again}");
            return vec![Finding::error(text, mend)];
        }
    }];
    let newest = list_all(store.as_ref(), ObjectKind::Snapshot)
        .ok()
        .and_then(|listed| listed.into_iter().filter_map(|info| info.modified).max());
    let ahead = newest.map(|time| time.duration_since(patient.clock.now()));
    if let Some(ahead) = ahead.filter(|ahead| *ahead > SMALL) {
        let by = long_duration(ahead, Language::En);
        found.push(Finding::warning(
            format!("the clock of copy {name} is {by} ahead of this machine's"),
            "timedatectl status, here and there",
        ));
    }
    found
}

/// What is wrong with what is there, if anything.
fn survey(patient: &Patient<'_>, store: &dyn Store) -> Result<Option<&'static str>, StoreError> {
    match store.survey()? {
        Survey::Repository => {}
        Survey::Missing | Survey::Empty => return Ok(Some("holds nothing yet")),
        _ => return Ok(Some("is no repository")),
    }
    let Ok(repository) = &patient.repository else { return Ok(None) };
    let range = || ByteRange::Whole { limit: LONGEST };
    let there = store.get(&ObjectName::Config, range())?;
    let here = repository.store().get(&ObjectName::Config, range())?;
    Ok((there != here).then_some("is a copy of another repository"))
}
