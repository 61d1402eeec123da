//! Reading falls back: what cannot be read here is read from copies of the same repository.
//!
//! A copy has the same packs under the same names, so the same bytes are asked for there. They need not be trusted: the
//! seal proves who wrote them. What was read so is remembered, to be stored anew here.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::id::PackId;
use crate::store::{Store, StoreErrorKind};

use super::open::Repository;

/// Opens the stores of copies, when they are needed first.
pub type OpenCopies = Box<dyn Fn() -> Vec<Arc<dyn Store>> + Send + Sync>;

/// Where else to read, and what had to be read there.
#[derive(Default)]
pub(super) struct Fallback {
    open: OnceLock<OpenCopies>,
    stores: OnceLock<Vec<Arc<dyn Store>>>,
    wounded: Mutex<BTreeSet<PackId>>,
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback").field("stores", &self.stores).finish_non_exhaustive()
    }
}

impl Fallback {
    fn stores(&self) -> &[Arc<dyn Store>] {
        match self.open.get() {
            Some(open) => self.stores.get_or_init(open),
            None => &[],
        }
    }
}

/// Why something could not be read.
pub(super) struct Unread {
    /// For people.
    pub reason: String,
    /// Whether it is damaged or missing, as opposed to the place being out of reach.
    pub is_wound: bool,
}

impl From<crate::store::StoreError> for Unread {
    fn from(error: crate::store::StoreError) -> Self {
        use StoreErrorKind as K;
        let is_wound = matches!(error.kind, K::NotFound | K::TooShort | K::TooLong);
        Self { reason: error.reason, is_wound }
    }
}

impl Repository {
    /// What cannot be read here is read from now on from the stores that `open` gives, in this order: they hold
    /// copies of this repository. They are opened when they are needed, for a password may have to be asked for.
    /// Said once; later calls change nothing.
    pub fn read_also_from(&self, open: OpenCopies) {
        let _ = self.fallback.open.set(open);
    }

    /// Packs of which something had to be read elsewhere because it is damaged or missing here.
    pub fn wounded_packs(&self) -> Vec<PackId> {
        let wounded = self.fallback.wounded.lock().unwrap_or_else(PoisonError::into_inner);
        wounded.iter().copied().collect()
    }

    /// `read`s a part of `pack` here, or else in a copy.
    pub(super) fn read_anywhere<T>(
        &self,
        pack: PackId,
        read: impl Fn(&dyn Store) -> Result<T, Unread>,
    ) -> Result<T, String> {
        let unread = match read(self.store.as_ref()) {
            Ok(value) => return Ok(value),
            Err(unread) => unread,
        };
        for store in self.fallback.stores() {
            if let Ok(value) = read(store.as_ref()) {
                if unread.is_wound {
                    let mut wounded =
                        self.fallback.wounded.lock().unwrap_or_else(PoisonError::into_inner);
                    wounded.insert(pack);
                }
                return Ok(value);
            }
        }
        Err(unread.reason)
    }
}
