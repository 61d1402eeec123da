//! What every command works with: options, the way out, the stop flag, and open repositories.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::clock::{Clock, LocalClock, SystemClock};
use crate::crypto::SystemRandom;
use crate::crypto::random::random_bytes;
use crate::event::{Event, Observer, StopFlag};
use crate::id::to_hex;
use crate::instance::require_mount;
use crate::report::Verbosity;
use crate::repository::{Environment, Repository};
use crate::snapshot::{Selected, Selector};
use crate::store::{Place, Store, StoreOptions, Watch};

use super::args::{Filter, Global};
use super::output::{Output, Style};
use super::settings::{Settings, Sources};
use super::{CliError, heal, password, signals};

/// Shared by all commands.
pub struct Context {
    /// Options of every command.
    pub global: Global,
    /// The way out.
    pub out: Output,
    /// Set when somebody asks to stop.
    pub stop: Arc<StopFlag>,
    /// Who listens.
    pub observer: Arc<dyn Observer>,
    /// The name of this run.
    pub run_id: String,
}

/// A name for this run, in every JSON line.
pub fn new_run_id() -> String {
    to_hex(&random_bytes::<8>(&SystemRandom))
}

impl Context {
    /// For these options.
    pub fn new(global: Global) -> Result<Self, CliError> {
        let verbosity = match (global.quiet, global.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        };
        let style = Style { json: global.json, verbosity, no_color: global.no_color };
        let run_id = new_run_id();
        let out = Output::new(style, &run_id);
        let stop =
            signals::stop_flag().map_err(|error| CliError::io("wait for signals", &error))?;
        let observer = out.observer();
        Ok(Self { global, out, stop, observer, run_id })
    }

    /// What flags, environment and file say.
    pub fn sources(&self) -> Result<Sources, CliError> {
        let sources = Sources::gather(&self.global)?;
        if let Some(config) = &sources.config {
            for message in &config.warnings {
                let item = config.path.display().to_string();
                self.observer.event(&Event::Warning { item, message: message.clone() });
            }
        }
        Ok(sources)
    }

    /// What holds for the repository the options name.
    pub fn settings(&self) -> Result<Settings, CliError> {
        let settings = self.settle(&self.sources()?, self.global.instance.as_deref())?;
        self.out.set_instance(settings.instance.as_ref().map(|instance| instance.name.as_str()));
        Ok(settings)
    }

    /// What holds for instance `name`, or see [`Sources::settle`]. What variables say instead of the file is told.
    pub fn settle(&self, sources: &Sources, name: Option<&str>) -> Result<Settings, CliError> {
        let settings = sources.settle(name)?;
        for message in &settings.overridden {
            let item = settings.instance.as_ref().map_or_else(String::new, |one| one.name.clone());
            self.observer.event(&Event::Warning { item, message: message.clone() });
        }
        Ok(settings)
    }

    /// The store, once its disk is known to be there.
    pub fn store(&self, settings: &Settings) -> Result<Arc<dyn Store>, CliError> {
        store(settings, &self.watch().into())
    }

    /// Who watches while a server does not answer.
    pub fn watch(&self) -> Watch {
        Watch { observer: Arc::clone(&self.observer), stop: Arc::clone(&self.stop) }
    }

    /// Time, randomness, names and places for the engine.
    pub fn environment(&self, settings: &Settings) -> Result<Environment, CliError> {
        environment(settings)
    }

    /// The repository.
    pub fn open(&self, settings: &Settings) -> Result<Repository, CliError> {
        self.open_in(self.store(settings)?, settings)
    }

    /// The same for somebody who only asks how it is: a server that does not answer soon is given up.
    pub fn open_soon(&self, settings: &Settings) -> Result<Repository, CliError> {
        let options = StoreOptions { is_question: true, ..self.watch().into() };
        self.open_in(store(settings, &options)?, settings)
    }

    fn open_in(&self, store: Arc<dyn Store>, settings: &Settings) -> Result<Repository, CliError> {
        // Says what else is there before anybody is asked for a password.
        let found = Repository::find(store)?;
        let place = found.location().to_string();
        let credential = password::existing(self, settings.key.as_ref(), &place)?;
        let opened = found.open(&credential, self.environment(settings)?);
        let repository = opened.map_err(|error| CliError::opening(error, settings.key.as_ref()))?;
        if let Some(path) = &repository.index_opened().set_aside {
            tell_set_aside(self, path);
        }
        heal::read_also_from_copies(&repository, settings.instance.as_ref(), self.watch());
        Ok(repository)
    }

    /// The repository, its index up to date: for reading.
    pub fn open_to_read(&self, settings: &Settings) -> Result<Repository, CliError> {
        let repository = self.open(settings)?;
        for (name, error) in repository.refresh()?.damaged {
            let (item, message) = (name.to_string(), error.to_string());
            self.observer.event(&Event::Warning { item, message });
        }
        Ok(repository)
    }

    /// All snapshots; damaged ones are told.
    pub fn snapshots(&self, repository: &Repository) -> Result<Vec<Selected>, CliError> {
        let listed = repository.snapshots()?;
        for (id, error) in listed.damaged {
            let (item, message) = (format!("snapshot {}", id.short()), error.to_string());
            self.observer.event(&Event::Warning { item, message });
        }
        Ok(listed.snapshots)
    }

    /// What the options say about which snapshots are meant.
    pub fn selector(&self, settings: &Settings, filter: &Filter) -> Selector {
        let of_config = settings.instance.as_ref().map(|instance| instance.name.clone());
        // A repository may hold several instances; one that the file leads to is meant by its name.
        let instance = self.global.instance.clone().or(of_config);
        Selector { instance, tags: filter.tags.clone(), host: filter.host.clone() }
    }

    /// The one snapshot `text` means.
    pub fn select(
        &self,
        repository: &Repository,
        settings: &Settings,
        filter: &Filter,
        text: &str,
    ) -> Result<Selected, CliError> {
        let snapshots = self.snapshots(repository)?;
        let mut selector = self.selector(settings, filter);
        if text.starts_with("latest:") && self.global.instance.is_none() {
            selector.instance = None;
        }
        Ok(selector.find(text, &snapshots, &zone(settings))?.clone())
    }
}

fn store(settings: &Settings, options: &StoreOptions) -> Result<Arc<dyn Store>, CliError> {
    if let Some(mount) = &settings.require_mount {
        require_mount(mount)?;
    }
    let place = Place::parse(&settings.location, settings.written)?;
    Ok(place.open(options)?)
}

fn environment(settings: &Settings) -> Result<Environment, CliError> {
    make_state_dir(&settings.state_dir)?;
    Ok(Environment {
        clock: Arc::new(LocalClock::new(zone(settings))),
        random: Arc::new(SystemRandom),
        host: host_name(),
        state_dir: Some(settings.state_dir.clone()),
    })
}

/// The repository, opened with the key of the configuration where nobody can be asked, its index up to date.
pub fn open_unasked(
    settings: &Settings,
    stop: &Arc<StopFlag>,
    observer: &Arc<dyn Observer>,
) -> Result<Repository, CliError> {
    let watch = Watch { observer: Arc::clone(observer), stop: Arc::clone(stop) };
    let found = Repository::find(store(settings, &watch.clone().into())?)?;
    let credential = password::configured(settings.key.as_ref(), stop, observer.as_ref())?;
    let repository = found.open(&credential, environment(settings)?)?;
    heal::read_also_from_copies(&repository, settings.instance.as_ref(), watch);
    repository.refresh()?;
    Ok(repository)
}

/// Tells that the old local index is kept, and where.
pub fn tell_set_aside(context: &Context, path: &Path) {
    let item = "index".to_owned();
    let place = path.display();
    let message = format!("the local index was unusable and is now {place}; it is made anew");
    context.observer.event(&Event::Warning { item, message });
}

/// The zone in which times are shown and dates are meant.
pub fn zone(settings: &Settings) -> TimeZone {
    settings
        .instance
        .as_ref()
        .map_or_else(|| SystemClock.zone(), |instance| instance.timezone.value.clone())
}

/// What this machine is called.
pub fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

fn make_state_dir(path: &Path) -> Result<(), CliError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| CliError::StateDir { path: path.to_owned(), reason: error.to_string() })
}
