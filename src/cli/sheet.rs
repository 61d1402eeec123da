//! The recovery sheet: what it says of an open repository, and where it is written.

use std::path::Path;

use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use crate::clock::{Clock, SystemClock};
use crate::crypto::random::random_bytes;
use crate::crypto::slot::{Credential, KdfCost};
use crate::crypto::{Secret, SystemRandom};
use crate::instance::config::PRIMARY;
use crate::report::Sheet;
use crate::repository::Repository;
use crate::store::{ByteRange, ObjectName, Place, Written};

use super::CliError;
use super::adopt::{must_be_new, new_private_file};
use super::args::Cost;
use super::context::Context;
use super::copy::absolute;
use super::settings::Settings;

/// Without letters that are taken for others: Crockford's base 32.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Longest of the two objects on the page.
const OBJECT_LIMIT: u64 = 1 << 20;
/// Label of the key slot of a page.
const LABEL: &str = "recovery sheet";

/// Options of commands that write a sheet.
#[derive(Debug, clap::Args)]
pub struct SheetOptions {
    /// Add a password that is only on the page: whoever has the page needs no other
    #[arg(long)]
    pub recovery_key: bool,

    #[command(flatten)]
    pub cost: Cost,
}

/// A password of 160 random bits, in groups of four.
fn new_recovery_key() -> Zeroizing<String> {
    let bytes = Zeroizing::new(random_bytes::<32>(&SystemRandom));
    let mut key = Zeroizing::new(String::with_capacity(40));
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 && at % 4 == 0 {
            key.push('-');
        }
        key.push(char::from(LETTERS[usize::from(byte % 32)]));
    }
    key
}

/// Whether a sheet can be written to `path`: told before anything is changed.
pub fn check_place(path: &Path) -> Result<(), CliError> {
    if path.as_os_str() == "-" {
        return Ok(());
    }
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("pdf")) {
        return Err(CliError::usage_hint(
            "a recovery sheet is text or a drawing, and no PDF",
            "name a file that ends in .svg: any browser prints it, as PDF too",
        ));
    }
    must_be_new(path)
}

/// Writes the sheet of `repository` to `path`: a drawing if it ends in `.svg`, text otherwise, `-` for
/// standard output. A file that is there is not overwritten.
pub fn write(
    context: &Context,
    settings: &Settings,
    repository: &Repository,
    path: &Path,
    recovery_key: Option<KdfCost>,
) -> Result<(), CliError> {
    check_place(path)?;
    let key = recovery_key.map(|cost| (new_recovery_key(), cost));
    let mut slot = repository.slot();
    if let Some((key, cost)) = &key {
        let credential = Credential::Password(Secret::new(key.as_bytes().to_vec()));
        slot = repository.add_key(&credential, *cost, LABEL)?;
    }
    let read =
        |name: ObjectName| repository.store().get(&name, ByteRange::Whole { limit: OBJECT_LIMIT });
    let location = repository.store().location().to_string();
    // The page must not depend on where we are.
    let location = absolute(&location)?;
    let mut places = vec![(PRIMARY.to_owned(), location)];
    for copy in settings.instance.iter().flat_map(|instance| instance.copies.values()) {
        places.push((copy.name.clone(), copy.location.value.to_string()));
    }
    let is_key_file = repository
        .key_slots()?
        .iter()
        .find(|slot| slot.is_current)
        .is_some_and(|slot| slot.info.as_ref().is_ok_and(|info| info.key_file));
    let opened_by = match (key.is_some(), is_key_file) {
        (true, _) => "the recovery key below, or what opened it before",
        (false, true) => "the key file",
        (false, false) => "the password",
    };
    let is_remote = |(_, location): &(String, String)| {
        Place::parse(location, Written::Privately).is_ok_and(|place| place.is_remote())
    };
    let has_logins = places.iter().any(is_remote);
    let sheet = Sheet {
        program: concat!("mrs-backup ", env!("CARGO_PKG_VERSION")).to_owned(),
        date: SystemClock.now().to_zoned(TimeZone::UTC).date().to_string(),
        repository: repository.config().id.to_hex(),
        instance: settings.instance.as_ref().map(|instance| instance.name.clone()),
        places,
        has_logins,
        opened_by: opened_by.to_owned(),
        recovery_key: key.map(|(key, _)| key),
        config: read(ObjectName::Config)?,
        slot: (slot.to_hex(), read(ObjectName::Key(slot))?),
    };
    let is_drawing = path.extension().is_some_and(|extension| extension == "svg");
    let text = if is_drawing { sheet.svg() } else { sheet.text() };
    if path.as_os_str() == "-" {
        return context.out.raw(text.as_bytes());
    }
    new_private_file(path, text.as_bytes())?;
    let path = path.display();
    context.out.note(&format!("{path} is the recovery sheet: print it, then delete the file"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_key_is_long_and_readable() {
        let (one, other) = (new_recovery_key(), new_recovery_key());
        assert_ne!(*one, *other);
        assert_eq!(one.len(), 39);
        let groups: Vec<&str> = one.split('-').collect();
        assert_eq!(groups.len(), 8);
        let is_letter = |letter: char| letter.is_ascii() && LETTERS.contains(&(letter as u8));
        assert!(groups.iter().all(|group| group.len() == 4 && group.chars().all(is_letter)));
    }
}
