//! What can go wrong with a store, told with the verb, the object and the place.

use std::fmt;

use super::{Location, ObjectName};

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Preparing the place.
    Create,
    /// Looking what lies there.
    Survey,
    /// Writing an object.
    Put,
    /// Reading an object.
    Get,
    /// Asking for an object's size.
    Size,
    /// Listing objects.
    List,
    /// Removing an object.
    Delete,
    /// Moving a staged object to its name.
    Publish,
    /// Waiting until all is durable.
    Sync,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Survey => "look at",
            Self::Put => "write",
            Self::Get => "read",
            Self::Size => "read the size of",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Publish => "publish",
            Self::Sync => "make durable",
        })
    }
}

/// Why it failed, as far as callers decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The object or the place is not there.
    NotFound,
    /// The object is already there.
    Exists,
    /// The object is longer than acceptable.
    TooLong,
    /// The object ends before the wanted range.
    TooShort,
    /// Nothing more can be written: disk full or quota reached.
    NoSpace,
    /// Not allowed.
    Denied,
    /// The server's name has no address; hardly worth another try.
    NoAddress,
    /// Somebody asked for a stop while it was waited for another try.
    Interrupted,
    /// Something else; worth another try.
    Temporary,
    /// Something else; another try will not help.
    Permanent,
}

/// A failed call of a store.
#[derive(Debug)]
pub struct StoreError {
    /// Why, as far as callers decide by it.
    pub kind: StoreErrorKind,
    /// What was being done.
    pub verb: Verb,
    /// With which object.
    pub object: Option<ObjectName>,
    /// Where.
    pub location: Location,
    /// In the words of whoever reported it.
    pub reason: String,
}

impl Location {
    /// What failed there.
    pub(crate) fn error(
        &self,
        kind: StoreErrorKind,
        verb: Verb,
        object: Option<&ObjectName>,
        reason: impl Into<String>,
    ) -> StoreError {
        let (object, location) = (object.copied(), self.clone());
        StoreError { kind, verb, object, location, reason: reason.into() }
    }
}

/// Whether a resolver said that there is no such name, in the words of the C library or of musl. One that could not be
/// asked ("Temporary failure in name resolution") says nothing about the name.
pub(super) fn is_unknown_name(said: &str) -> bool {
    [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "Name has no usable address",
    ]
    .iter()
    .any(|words| said.contains(words))
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} ", self.verb)?;
        if let Some(object) = &self.object {
            write!(f, "{object} at ")?;
        }
        write!(f, "{}: {}", self.location, self.reason)
    }
}

impl std::error::Error for StoreError {}
