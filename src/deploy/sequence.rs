//! The order of a deployment, as types: what is not saved cannot be replaced.
//!
//! `Begun` → `Saved` → `Ready` → `Replacing` → an end. Each step that changes something is in the record before
//! it is taken. Killed before `Replacing`, nothing was replaced, and the next deployment begins anew. Killed
//! after it, the next deployment goes on from what is there, and knows by the record which one was good last,
//! with which snapshot and which migrations.

use std::path::PathBuf;

use crate::compose::{Container, Document, Status, make_directories};
use crate::crypto::Secret;
use crate::event::Event;
use crate::instance::config::{Instance, Migrations, PostgresConfig};
use crate::instance::{PlanOptions, run as run_instance};
use crate::repository::Repository;

use super::adopt::adopt;
use super::failure::{self, Ending};
use super::history::History;
use super::migrations::{Applied, applied};
use super::plan::Plan;
use super::settings::DeploySettings;
use super::{BEAT, DeployError, Kind, Record, State, Tools, files, health, http, images};

/// Where snapshots go, and of what.
pub struct Vault<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// The instance.
    pub instance: &'a Instance,
    /// Go on with a snapshot that lacks something.
    pub accepts_incomplete: bool,
}

/// What a deployment may lean on.
pub struct Means<'a> {
    /// `None`: nothing is saved, because somebody wants it so or there is nothing yet.
    pub vault: Option<Vault<'a>>,
    /// The databases whose migrations are looked at.
    pub postgres: Option<&'a PostgresConfig>,
    /// `user:password` for the page that is checked.
    pub login: Option<Secret>,
}

/// It began; nothing is saved yet.
#[derive(Debug)]
pub struct Begun;
/// What was there is saved.
#[derive(Debug)]
pub struct Saved;
/// Images are here, and the file that is to be deployed is made.
#[derive(Debug)]
pub struct Ready {
    document: Document,
}
/// The file and the containers are being replaced.
#[derive(Debug)]
pub struct Replacing {
    services: Vec<String>,
}

/// A deployment on its way.
pub struct Deployment<'t, S> {
    pub(super) tools: &'t Tools,
    pub(super) settings: &'t DeploySettings,
    pub(super) history: &'t mut History,
    pub(super) record: Record,
    state: S,
}

/// Does what the plan says.
pub fn deploy(
    tools: &Tools,
    settings: &DeploySettings,
    history: &mut History,
    plan: &Plan,
    means: &Means<'_>,
) -> Result<Ending, DeployError> {
    tools.begin("prepare");
    files::make_directory(&settings.project.directory)?;
    wake_database(tools, settings, means)?;
    adopt(tools, settings, history)?;
    let begun = Deployment::begin(tools, settings, history, Kind::Deploy, means)?;
    let saved = begun.save(means)?;
    let replacing = saved.images(plan)?.replace(plan)?;
    replacing.conclude(means)
}

/// Starts the database of a stack that is down, as it is deployed now: otherwise it could not be saved.
pub(super) fn wake_database(
    tools: &Tools,
    settings: &DeploySettings,
    means: &Means<'_>,
) -> Result<(), DeployError> {
    let container = means.postgres.and_then(|postgres| postgres.container.as_ref());
    let (Some(container), true) =
        (container, means.vault.is_some() && settings.project.file().is_file())
    else {
        return Ok(());
    };
    let service = container.value.service.clone();
    let containers = tools.engine.containers(&settings.project.name)?;
    let is_running = |one: &Container| one.service == service && one.status == Status::Running;
    if containers.iter().any(is_running) {
        return Ok(());
    }
    tools.notice("database", &format!("service {service} is down; it is started, to be saved"));
    tools.compose.start(&settings.project, &service)?;
    health::wait(tools, &settings.project.name, &[service], settings.timeout)?;
    let begun = tools.clock.elapsed();
    // A server that has just been started takes a while to answer.
    while let Applied::Unknown(reason) =
        applied(tools, &settings.project, &Migrations::Table, means.postgres)
    {
        if tools.clock.elapsed().saturating_sub(begun) > settings.timeout {
            tools.warn("database", &reason);
            return Ok(());
        }
        tools.pause(BEAT)?;
    }
    Ok(())
}

impl<'t, S> Deployment<'t, S> {
    fn into<T>(self, state: T) -> Deployment<'t, T> {
        let Self { tools, settings, history, record, .. } = self;
        Deployment { tools, settings, history, record, state }
    }

    pub(super) fn put(&mut self, state: State) -> Result<(), DeployError> {
        self.record.state = state;
        if state.is_ended() {
            self.record.ended = Some(self.tools.clock.now());
        }
        self.history.put(&self.record)
    }

    /// Notes that nothing was replaced, and gives the error back. A wish to stop is no end of it.
    pub(super) fn dropped(&mut self, error: DeployError) -> DeployError {
        let error = self.tools.hidden(error);
        if !error.is_stop() {
            self.record.reason = Some(error.to_string());
            if let Err(second) = self.put(State::Dropped) {
                self.tools.warn("record", &second.to_string());
            }
        }
        error
    }
}

impl<'t> Deployment<'t, Begun> {
    /// Writes the first record.
    pub fn begin(
        tools: &'t Tools,
        settings: &'t DeploySettings,
        history: &'t mut History,
        kind: Kind,
        means: &Means<'_>,
    ) -> Result<Self, DeployError> {
        if let Some(mut killed) =
            history.unfinished().filter(|last| last.state == State::Begun).cloned()
        {
            killed.state = State::Dropped;
            killed.reason = Some("it was interrupted before anything was replaced".to_owned());
            history.put(&killed)?;
        }
        let since = history.good().map_or(0, |record| record.number);
        // What was applied before the first of those that left things changed is what counts.
        let earlier = history.open_ends().first().map(|first| first.migrations.clone());
        let migrations = match earlier {
            Some(known) => known,
            None => applied(tools, &settings.project, &settings.migrations, means.postgres).names(),
        };
        let record = Record {
            v: 1,
            number: history.next_number(),
            kind,
            state: State::Begun,
            begun: tools.clock.now(),
            ended: None,
            commit: None,
            images: std::collections::BTreeMap::new(),
            snapshot: None,
            saved: None,
            migrations,
            since,
            reason: None,
        };
        let mut begun = Self { tools, settings, history, record, state: Begun };
        begun.put(State::Begun)?;
        Ok(begun)
    }

    /// Makes a snapshot of what is there.
    pub fn save(mut self, means: &Means<'_>) -> Result<Deployment<'t, Saved>, DeployError> {
        if let Some(vault) = &means.vault {
            self.tools.begin("snapshot");
            match self.snapshot(vault) {
                Ok(id) => {
                    self.record.snapshot = Some(id);
                    self.record.saved = Some(self.tools.clock.now());
                    self.put(State::Begun)?;
                }
                Err(error) => return Err(self.dropped(error)),
            }
        }
        Ok(self.into(Saved))
    }

    fn snapshot(&self, vault: &Vault<'_>) -> Result<String, DeployError> {
        let word = match self.record.kind {
            Kind::Deploy => "deploy",
            Kind::Rollback { .. } => "rollback",
        };
        let number = self.record.number;
        let tags = vec![format!("reason=before-{word}"), format!("deploy={number}")];
        let options = PlanOptions { tags, ..PlanOptions::default() };
        let made = run_instance(
            vault.repository,
            vault.instance,
            &options,
            &self.tools.stop,
            &self.tools.observer,
        );
        let outcome = made.map_err(|error| DeployError::Save(Box::new(error)))?;
        let id = outcome.backup.commit.id;
        if !outcome.backup.snapshot.is_complete {
            let lacks = outcome.backup.incomplete().join("; ");
            if !vault.accepts_incomplete {
                return Err(DeployError::IncompleteSave(lacks));
            }
            self.tools.warn("snapshot", &format!("it is incomplete: {lacks}"));
        }
        let message = format!("snapshot {} is what was there before", id.short());
        self.tools.observer.event(&Event::Notice { item: "snapshot".to_owned(), message });
        Ok(id.to_string())
    }
}

impl<'t> Deployment<'t, Saved> {
    /// Builds and pulls, and makes the document that is deployed.
    pub fn images(mut self, plan: &Plan) -> Result<Deployment<'t, Ready>, DeployError> {
        self.tools.begin("images");
        let (tools, number) = (self.tools, self.record.number);
        let good = self.history.good().cloned();
        match images::resolve(tools, self.settings, &plan.document, number, good.as_ref()) {
            Ok((document, used)) => {
                self.record.images = used;
                Ok(self.into(Ready { document }))
            }
            Err(error) => Err(self.dropped(error)),
        }
    }

    /// Takes the document of an earlier deployment as it is.
    pub fn earlier(mut self, record: &Record, document: Document) -> Deployment<'t, Ready> {
        self.record.images.clone_from(&record.images);
        self.into(Ready { document })
    }
}

impl<'t> Deployment<'t, Ready> {
    /// Makes directories and networks.
    fn surround(&self, plan: &Plan) -> Result<(), DeployError> {
        self.tools.begin("directories");
        for line in make_directories(&self.settings.project.directory, &plan.directories)? {
            self.tools.notice("directory", &line);
        }
        for network in &plan.networks {
            self.tools.engine.create_network(network)?;
            self.tools.notice("network", &format!("{network} is made"));
        }
        Ok(())
    }

    /// From here on what was there is replaced.
    pub fn replace(mut self, plan: &Plan) -> Result<Deployment<'t, Replacing>, DeployError> {
        if let Err(error) = self.surround(plan) {
            return Err(self.dropped(error));
        }
        self.put_in_place()
    }

    /// Writes the compose file: into the history first, then into the home.
    pub fn put_in_place(mut self) -> Result<Deployment<'t, Replacing>, DeployError> {
        self.tools.begin("write");
        let text = self.state.document.to_yaml();
        let services = health::expected(&self.state.document);
        let kept =
            self.tools.compose.validate(&self.settings.project, &text).map_err(DeployError::from);
        let kept = kept.and_then(|()| self.history.put_compose_file(self.record.number, &text));
        if let Err(error) = kept {
            return Err(self.dropped(error));
        }
        self.put(State::Replacing)?;
        files::replace(&self.settings.project.file(), text.as_bytes())?;
        Ok(self.into(Replacing { services }))
    }
}

impl Deployment<'_, Replacing> {
    /// Brings the containers up and looks whether all is well; gives the end of it.
    pub fn conclude(mut self, means: &Means<'_>) -> Result<Ending, DeployError> {
        match self.bring_up(means) {
            Ok(()) => {
                self.record.commit = images::commit(self.tools, &self.settings.project.name);
                self.put(State::Good)?;
                self.forget_old();
                Ok(Ending::Good(self.record))
            }
            // The next call finds it unfinished.
            Err(error) if error.is_stop() => Err(error),
            Err(error) => failure::follow(self, &error, means),
        }
    }

    fn bring_up(&self, means: &Means<'_>) -> Result<(), DeployError> {
        let (tools, settings) = (self.tools, self.settings);
        let project = &settings.project;
        tools.begin("up");
        tools.compose.up(project)?;
        health::wait(tools, &project.name, &self.state.services, settings.timeout)?;
        // An earlier version need not write the line, and its commands were run when it came.
        if self.record.kind == Kind::Deploy {
            if let Some(pattern) = &settings.wait_grep {
                health::wait_for_line(tools, &project.name, pattern, settings.timeout)?;
            }
            self.postdeploy()?;
        }
        if let Some(check) = &settings.check {
            http::check(tools, check, means.login.as_ref())?;
        }
        health::still_good(tools, &project.name, &self.state.services)
    }

    fn postdeploy(&self) -> Result<(), DeployError> {
        let project = &self.settings.project;
        for line in &self.settings.postdeploy {
            self.tools.begin("postdeploy");
            let said = self.tools.engine.shell(project, &project.directory, line)?;
            if said.code != Some(0) {
                let (line, told) =
                    (self.tools.redactor.hide(line), self.tools.redactor.hide(&said.told()));
                let code = said
                    .code
                    .map_or_else(|| "a signal".to_owned(), |code| format!("exit status {code}"));
                let reason = format!("`{line}` ended with {code}: {told}");
                return Err(DeployError::Step { step: "postdeploy", reason });
            }
            self.tools.notice("postdeploy", &said.told());
        }
        Ok(())
    }

    /// Deployments that are too old, with the names we gave their images. It went well all the same.
    fn forget_old(&mut self) {
        match self.history.prune(self.settings.keep) {
            Ok(references) => {
                for reference in references.iter().filter(|name| name.starts_with("mrs-backup/")) {
                    // Whoever still uses it keeps it.
                    let _ = self.tools.engine.remove_image(reference);
                }
            }
            Err(error) => self.tools.warn("history", &error.to_string()),
        }
    }

    /// Puts the compose file of deployment `to` back, and its containers.
    pub(super) fn put_back(&mut self, to: u32, means: &Means<'_>) -> Result<(), DeployError> {
        let (tools, settings) = (self.tools, self.settings);
        tools.begin("roll back");
        let text = self.history.compose_file(to)?;
        let path: PathBuf = settings.project.file();
        let document = Document::parse(&text, &path.display().to_string())?;
        self.put(State::RollingBack { to })?;
        files::replace(&path, text.as_bytes())?;
        tools.compose.up(&settings.project)?;
        health::wait(
            tools,
            &settings.project.name,
            &health::expected(&document),
            settings.timeout,
        )?;
        if let Some(check) = &settings.check {
            http::check(tools, check, means.login.as_ref())?;
        }
        self.put(State::RolledBack { to })
    }
}
