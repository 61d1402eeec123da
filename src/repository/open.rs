//! Making and opening a repository.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::clock::Clock;
use crate::crypto::random::random_bytes;
use crate::crypto::slot::{Credential, KdfCost, SlotError, open_slot, write_slot};
use crate::crypto::{Keyring, Randomness};
use crate::event::counted;
use crate::id::{ObjectId, PackId, RepositoryId};
use crate::index::{Index, Opened};
use crate::store::{
    ByteRange, Location, ObjectInfo, ObjectKind, ObjectName, Store, StoreErrorKind, Survey, each,
    list_all,
};

use super::config::{CONFIG_LIMIT, ConfigError, RepositoryConfig};
use super::error::RepositoryError;
use super::fallback::Fallback;
use super::objects::object_id;

/// Longest key slot object in bytes (format.md section 4).
pub(super) const SLOT_LIMIT: u64 = 2 << 20;

/// What the engine is given instead of asking the system: time, randomness, names, places.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Randomness>,
    /// Name of this machine.
    pub host: String,
    /// Where local indexes are kept; `None` keeps them in memory.
    pub state_dir: Option<PathBuf>,
}

/// Choices at the making of a repository.
#[derive(Debug, Clone, Default)]
pub struct InitOptions {
    /// How hard guessing the password is made.
    pub cost: KdfCost,
    /// Label of the repository and of the first key slot.
    pub label: String,
    /// Largest pack in bytes; `None` for the default of 16 MiB.
    pub pack_len: Option<u64>,
    /// Average chunk of what compresses, in bytes: a power of two within [`CHUNK_LEN_BOUNDS`](super::CHUNK_LEN_BOUNDS); `None` for the default
    /// of 256 KiB.
    pub chunk_len: Option<u32>,
    /// No segment is ever compressed against another one.
    pub no_deltas: bool,
}

/// An open repository.
#[derive(Debug)]
pub struct Repository {
    pub(super) store: Arc<dyn Store>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) config: RepositoryConfig,
    pub(super) index: Index,
    pub(super) environment: Environment,
    pub(super) index_opened: Opened,
    pub(super) slot: ObjectId,
    /// The slots there were when it was opened, before ours was read.
    pub(super) slots_before: Vec<ObjectId>,
    pub(super) fallback: Fallback,
    /// Condemned objects that were read and listed last, and what they name.
    pub(super) condemned_read: Mutex<HashMap<ObjectId, Vec<PackId>>>,
}

impl Repository {
    /// Makes a repository at an empty place. The key slot is written before the config, so that
    /// a place with a config always has its keys.
    pub fn init(
        store: Arc<dyn Store>,
        credential: &Credential,
        options: &InitOptions,
        environment: Environment,
    ) -> Result<Self, RepositoryError> {
        let location = store.location().clone();
        let refuse = |found: &str| RepositoryError::NotEmpty {
            location: location.clone(),
            found: found.to_owned(),
        };
        match store.survey()? {
            Survey::Missing | Survey::Empty => {}
            Survey::Repository => return Err(refuse("a repository is already there")),
            Survey::Restic => return Err(RepositoryError::Restic { location }),
            // A killed `init` leaves its key slot and empty directories, nothing else.
            Survey::Headless if is_unfinished_init(store.as_ref())? => {}
            Survey::Headless => {
                return Err(refuse("objects of a repository are there whose `config` is missing"));
            }
            Survey::Foreign(names) => {
                return Err(refuse(&format!("it holds something else ({})", names.join(", "))));
            }
            Survey::Unusable(reason) => return Err(refuse(&reason)),
        }
        let random = environment.random.as_ref();
        let created = environment.clock.now().as_second();
        let id = RepositoryId::new(random_bytes(random));
        let keyring = Keyring::generate(id, created, random);
        let mut config = RepositoryConfig::new(id, created, options.label.clone());
        if let Some(len) = options.pack_len {
            config.pack_len = len;
        }
        if let Some(len) = options.chunk_len {
            config.set_chunk_len(len);
        }
        config.deltas = !options.no_deltas;
        store.create()?;
        let slot = write_slot(&keyring, credential, options.cost, &options.label, created, random)?;
        let slot_id = object_id(&slot);
        store.put(&ObjectName::Key(slot_id), &[&slot])?;
        store.sync()?;
        store.put(&ObjectName::Config, &[&config.encode(&keyring)?])?;
        store.sync()?;
        let way_in = WayIn { keyring, slot: slot_id, slots_before: vec![slot_id] };
        Self::assemble(store, way_in, config, environment)
    }

    /// Looks whether there is a repository, before anybody is asked for a password.
    pub fn find(store: Arc<dyn Store>) -> Result<FoundRepository, RepositoryError> {
        let reads = [ObjectKind::Config, ObjectKind::Key];
        // The slots will be needed, too: where that is a trip, they are listed in the same one.
        let mut found = each(store.as_ref(), &reads, |kind| match kind {
            ObjectKind::Key if store.is_far() => {
                Found::Slots(list_all(store.as_ref(), ObjectKind::Key).ok())
            }
            ObjectKind::Key => Found::Slots(None),
            _ => Found::Config(Box::new(read_config(store.as_ref()))),
        })
        .into_iter();
        let (Some(Found::Config(config)), Some(Found::Slots(slots))) = (found.next(), found.next())
        else {
            return Err(RepositoryError::Internal("what was read at once came in disorder"));
        };
        let (config, bytes) = (*config)?;
        Ok(FoundRepository { store, config, bytes, slots })
    }

    /// Opens an existing repository.
    pub fn open(
        store: Arc<dyn Store>,
        credential: &Credential,
        environment: Environment,
    ) -> Result<Self, RepositoryError> {
        Self::find(store)?.open(credential, environment)
    }

    /// The same repository in another store, opened with the keys of this one. Its index is empty and in
    /// memory: on disk it would be taken for that of this store.
    pub fn twin(&self, store: Arc<dyn Store>) -> Result<Self, RepositoryError> {
        let (config, bytes) = read_config(store.as_ref())?;
        let location = store.location().clone();
        if config.id != self.config.id {
            let (found, expected) = (config.id.to_hex(), self.config.id.to_hex());
            return Err(RepositoryError::OtherRepository { location, found, expected });
        }
        if !RepositoryConfig::is_authentic(&bytes, &self.keyring) {
            return Err(RepositoryError::Damaged {
                object: ObjectName::Config,
                location,
                reason: "it was changed by somebody without the keys, or damaged".to_owned(),
            });
        }
        let environment = Environment { state_dir: None, ..self.environment.clone() };
        let keyring = (*self.keyring).clone();
        let way_in = WayIn { keyring, slot: self.slot, slots_before: self.slots_before.clone() };
        Self::assemble(store, way_in, config, environment)
    }

    fn assemble(
        store: Arc<dyn Store>,
        way_in: WayIn,
        config: RepositoryConfig,
        environment: Environment,
    ) -> Result<Self, RepositoryError> {
        let WayIn { keyring, slot, slots_before } = way_in;
        let (index, index_opened) = match &environment.state_dir {
            Some(directory) => Index::open(&directory.join(config.id.to_hex()), config.id)?,
            None => (Index::in_memory(config.id)?, Opened::default()),
        };
        Ok(Self {
            store,
            keyring: Arc::new(keyring),
            config,
            index,
            environment,
            index_opened,
            slot,
            slots_before,
            fallback: Fallback::default(),
            condemned_read: Mutex::default(),
        })
    }

    /// Replaces a local index whose file is damaged somewhere by a new, empty one. Gives where the old
    /// file is now, or `None` if it is whole.
    pub fn replace_damaged_index(&mut self) -> Result<Option<PathBuf>, RepositoryError> {
        let Some(state_dir) = &self.environment.state_dir else { return Ok(None) };
        if self.index.is_sound()? {
            return Ok(None);
        }
        let directory = state_dir.join(self.config.id.to_hex());
        // Ours has to be closed first: nobody may have the file open.
        self.index = Index::in_memory(self.config.id)?;
        let aside = Index::set_aside(&directory)?;
        (self.index, self.index_opened) = Index::open(&directory, self.config.id)?;
        Ok(Some(aside))
    }

    /// Its store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The directories of this machine that it writes to by itself: where it is, and its index. Links in their
    /// paths are followed.
    pub fn own_directories(&self) -> Vec<PathBuf> {
        let index = self.environment.state_dir.as_ref();
        let index = index.map(|directory| directory.join(self.config.id.to_hex()));
        let place = self.store.directory().map(Path::to_owned);
        place.into_iter().chain(index).filter_map(|path| path.canonicalize().ok()).collect()
    }

    /// Its keys.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// What it is.
    pub fn config(&self) -> &RepositoryConfig {
        &self.config
    }

    /// Its local index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// How opening the local index went.
    pub fn index_opened(&self) -> &Opened {
        &self.index_opened
    }

    /// Time, randomness and names it works with.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The slot that opened it.
    pub fn slot(&self) -> ObjectId {
        self.slot
    }
}

fn is_unfinished_init(store: &dyn Store) -> Result<bool, RepositoryError> {
    for kind in ObjectKind::ALL {
        if !matches!(kind, ObjectKind::Key | ObjectKind::Config)
            && !list_all(store, kind)?.is_empty()
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What is read first.
enum Found {
    Config(Box<Result<(RepositoryConfig, Vec<u8>), RepositoryError>>),
    Slots(Option<Vec<ObjectInfo>>),
}

/// A repository that is there and not opened yet.
#[derive(Debug)]
pub struct FoundRepository {
    store: Arc<dyn Store>,
    config: RepositoryConfig,
    bytes: Vec<u8>,
    /// Its key slots, if they were listed on the way.
    slots: Option<Vec<ObjectInfo>>,
}

impl FoundRepository {
    /// Where it is.
    pub fn location(&self) -> &Location {
        self.store.location()
    }

    /// Opens it.
    pub fn open(
        self,
        credential: &Credential,
        environment: Environment,
    ) -> Result<Repository, RepositoryError> {
        let Self { store, config, bytes, slots } = self;
        let slots = match slots {
            Some(slots) => slots,
            None => list_all(store.as_ref(), ObjectKind::Key)?,
        };
        let way_in = open_any_slot(store.as_ref(), slots, config.id, credential)?;
        if !RepositoryConfig::is_authentic(&bytes, &way_in.keyring) {
            return Err(RepositoryError::Damaged {
                object: ObjectName::Config,
                location: store.location().clone(),
                reason: "it was changed by somebody without the keys, or damaged".to_owned(),
            });
        }
        Repository::assemble(store, way_in, config, environment)
    }
}

/// The keys, the slot they came from, and all the slots there were just before.
pub(super) struct WayIn {
    pub keyring: Keyring,
    slot: ObjectId,
    slots_before: Vec<ObjectId>,
}

/// The config object, or a clear word on what lies there instead.
fn read_config(store: &dyn Store) -> Result<(RepositoryConfig, Vec<u8>), RepositoryError> {
    let location = store.location().clone();
    let bytes = match store.get(&ObjectName::Config, ByteRange::Whole { limit: CONFIG_LIMIT }) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind, StoreErrorKind::NotFound) => {
            return Err(nothing_there(store));
        }
        Err(error) => {
            return Err(match store.survey() {
                Ok(Survey::Repository) | Err(_) => error.into(),
                Ok(_) => nothing_there(store),
            });
        }
    };
    match RepositoryConfig::decode(&bytes) {
        Ok(config) => Ok((config, bytes)),
        Err(ConfigError::UnknownVersion(version)) => {
            Err(RepositoryError::UnknownVersion { location, version })
        }
        Err(ConfigError::Malformed(reason)) => match store.survey() {
            Ok(Survey::Restic) => Err(RepositoryError::Restic { location }),
            _ => Err(RepositoryError::Damaged { object: ObjectName::Config, location, reason }),
        },
    }
}

fn nothing_there(store: &dyn Store) -> RepositoryError {
    let location = store.location().clone();
    let found = match store.survey() {
        Ok(Survey::Restic) => return RepositoryError::Restic { location },
        Ok(Survey::Missing) => "nothing is there".to_owned(),
        Ok(Survey::Empty) => "the directory is empty".to_owned(),
        Ok(Survey::Headless) => {
            "objects of a repository are there, but its `config` is missing".to_owned()
        }
        Ok(Survey::Foreign(names)) => format!("it holds something else ({})", names.join(", ")),
        Ok(Survey::Unusable(reason)) => reason,
        Ok(Survey::Repository) => "its `config` just appeared; try again".to_owned(),
        Err(error) => return error.into(),
    };
    RepositoryError::NoRepository { location, found }
}

/// Tries the credential on every one of `slots` that could fit it.
fn open_any_slot(
    store: &dyn Store,
    slots: Vec<ObjectInfo>,
    repository: RepositoryId,
    credential: &Credential,
) -> Result<WayIn, RepositoryError> {
    let location = store.location().clone();
    let what = credential.kind();
    let (mut tried, mut others, mut strangers) = (0, 0, 0);
    let mut problems = Vec::new();
    let slots_before: Vec<ObjectId> = slots
        .into_iter()
        .filter_map(|info| match info.name {
            ObjectName::Key(id) => Some(id),
            _ => None,
        })
        .collect();
    // Near, the next one is read only if those before do not fit.
    let together = if store.is_far() { store.small_calls().get() } else { 1 };
    for some in slots_before.chunks(together) {
        let read = each(store, some, |id| {
            store.get(&ObjectName::Key(*id), ByteRange::Whole { limit: SLOT_LIMIT })
        });
        for (id, bytes) in some.iter().zip(read) {
            let name = ObjectName::Key(*id);
            match bytes.map(|bytes| open_slot(&bytes, repository, credential)) {
                Ok(Ok(keyring)) => {
                    let slot = *id;
                    return Ok(WayIn { keyring, slot, slots_before });
                }
                Ok(Err(SlotError::WrongPassword)) => tried += 1,
                Ok(Err(SlotError::OtherCredential)) => others += 1,
                Ok(Err(error)) => {
                    strangers += usize::from(error == SlotError::OtherRepository);
                    problems.push(format!("{name}: {error}"));
                }
                Err(error) => problems.push(error.to_string()),
            }
        }
    }
    // A killed `init` leaves a slot of a repository that never came to be.
    if tried > 0 && strangers == problems.len() {
        problems.clear();
    }
    if problems.is_empty() {
        match (tried, others) {
            (0, 0) => problems.push("there is none".to_owned()),
            (0, _) => return Err(RepositoryError::OtherCredential { location, credential: what }),
            _ => {
                let slots = tried;
                return Err(RepositoryError::WrongPassword { location, credential: what, slots });
            }
        }
    } else if tried > 0 {
        problems.insert(0, format!("{} with another {what}", counted(tried, "slot")));
    }
    let reason = problems.join("; ");
    Err(RepositoryError::NoKeySlot { location, reason })
}
