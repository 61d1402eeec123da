//! What a deployment is about: an instance of the configuration, or a home that no configuration knows.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, LocalClock, SystemClock};
use crate::compose::{
    Compose, Engine, Programs, Project, Redactor, Runner, base_environment, project_name,
};
use crate::deploy::Tools;
use crate::deploy::request::Request;
use crate::deploy::review::Reviews;
use crate::deploy::sequence::{Means, Vault};
use crate::deploy::settings::{DeploySettings, Surroundings};
use crate::event::Event;
use crate::instance::config::{
    Config, DeployConfig, Instance, KeyReader, Origin, ReviewConfig, Setting, parse_duration,
    process_environment,
};
use crate::repository::Repository;

use super::super::CliError;
use super::super::context::{Context, new_run_id};
use super::super::settings::{Settings, Sources};

/// Options about what is saved before.
#[derive(Debug, clap::Args)]
pub struct Saving {
    /// Make no snapshot first: there is no way back for data
    #[arg(long)]
    pub no_snapshot: bool,

    /// Go on with a snapshot that lacks something
    #[arg(long, conflicts_with = "no_snapshot")]
    pub accept_incomplete: bool,

    /// How long to wait for somebody else who works on the instance (`90s`, `15m`)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub lock_wait: Option<Duration>,
}

/// What it is about.
pub struct Target {
    /// Name, for lock, snapshots and messages.
    pub name: String,
    /// The compose project.
    pub project: Project,
    /// How it is deployed.
    pub config: DeployConfig,
    /// The instance; for a home no configuration knows, one made of it.
    pub instance: Option<Instance>,
    /// Where its repository is, if anything says so.
    pub settings: Option<Settings>,
    /// A stack that goes by itself.
    pub review: Option<ReviewTarget>,
    /// Locks and copies.
    pub state_dir: PathBuf,
}

/// A stack that goes by itself.
pub struct ReviewTarget {
    /// Where all of them are.
    pub reviews: Reviews,
    /// What it was called.
    pub asked: String,
    /// How long it stays.
    pub lifetime: Duration,
}

impl Target {
    /// The one that name and request mean.
    pub fn find(
        context: &Context,
        name: Option<&str>,
        request: &Request,
    ) -> Result<Self, CliError> {
        let sources = context.sources()?;
        let state_dir = sources.state_dir()?;
        let name = name.or(context.global.instance.as_deref());
        if let (None, None, Some(project)) = (name, &request.home, &request.project) {
            return Self::of_review(context, &sources, project, request, state_dir);
        }
        if request.lifetime.is_some() {
            return Err(CliError::usage_hint(
                "an instance never expires",
                "leave out lifetime=, or deploy a review stack with project=NAME and without an instance",
            ));
        }
        let instance = instance(sources.config.as_ref(), name, request)?;
        match instance {
            Some(instance) => Self::of_instance(context, &sources, instance, request, state_dir),
            None => Self::of_home(&sources, request, state_dir),
        }
    }

    /// The one a single word means: an instance, `home=DIR`, or the only instance there is.
    pub fn named(context: &Context, word: Option<&str>) -> Result<Self, CliError> {
        match word {
            Some(word) if word.contains('=') => {
                Self::find(context, None, &Request::parse(&[word])?)
            }
            name => Self::find(context, name, &Request::default()),
        }
    }

    fn of_instance(
        context: &Context,
        sources: &Sources,
        instance: &Instance,
        request: &Request,
        state_dir: PathBuf,
    ) -> Result<Self, CliError> {
        let settings = context.settle(sources, Some(&instance.name))?;
        let config = instance.deploy.clone().unwrap_or_default();
        let home = &instance.home.value;
        let named =
            request.project.clone().or_else(|| config.project.clone().map(|name| name.value));
        Ok(Self {
            name: instance.name.clone(),
            project: project(home, named.as_deref())?,
            config,
            instance: settings.instance.clone(),
            settings: Some(settings),
            review: None,
            state_dir,
        })
    }

    fn of_review(
        context: &Context,
        sources: &Sources,
        asked: &str,
        request: &Request,
        state_dir: PathBuf,
    ) -> Result<Self, CliError> {
        let config = sources.config.as_ref();
        let reviews = reviews(config)?;
        let project = reviews.project(asked);
        for one in config.iter().flat_map(|config| config.instances.values()) {
            let own = self::project(
                &one.home.value,
                one.deploy
                    .as_ref()
                    .and_then(|deploy| deploy.project.as_ref())
                    .map(|name| name.value.as_str()),
            );
            if one.name == project.name || own.is_ok_and(|own| own.name == project.name) {
                return Err(CliError::usage_hint(
                    format!(
                        "`{}` is an instance of the configuration: it cannot be a review stack, too",
                        project.name
                    ),
                    "choose another project=NAME, or deploy the instance by its name",
                ));
            }
        }
        let lifetime = lifetime(context, config, request.lifetime);
        Ok(Self {
            name: project.name.clone(),
            config: config.map(|config| config.review.deploy.clone()).unwrap_or_default(),
            project,
            instance: None,
            settings: None,
            review: Some(ReviewTarget { reviews, asked: asked.to_owned(), lifetime }),
            state_dir,
        })
    }

    /// A home that stands in no configuration: what can be saved, is saved where the environment says.
    fn of_home(sources: &Sources, request: &Request, state_dir: PathBuf) -> Result<Self, CliError> {
        let Some(home) = &request.home else {
            return Err(CliError::usage_hint(
                "nothing says which instance is meant",
                "name an instance of the configuration, or home=/home/NAME",
            ));
        };
        let project = project(home, request.project.as_deref())?;
        let made = instance_of(&project)?;
        let settings = match sources.access.repository {
            Some(_) => Some(Settings {
                instance: Some(made.clone().with(&sources.access)),
                ..sources.settle(None)?
            }),
            None => None,
        };
        let (name, config) = (project.name.clone(), DeployConfig::default());
        let instance = Some(made);
        Ok(Self { name, project, config, instance, settings, review: None, state_dir })
    }

    /// Request and configuration together.
    pub fn deploy_settings(&self, request: &Request) -> Result<DeploySettings, CliError> {
        let directory =
            std::env::current_dir().map_err(|error| CliError::io("find this directory", &error))?;
        let around = Surroundings {
            directory: &directory,
            variables: std::env::vars_os().collect(),
            scratch: self.state_dir.join("compose").join(new_run_id()),
        };
        Ok(DeploySettings::settle(&self.name, self.project.clone(), request, &self.config, around)?)
    }

    /// The same for what was deployed already: no compose files are read.
    pub fn settled(&self) -> Result<DeploySettings, CliError> {
        let mut known = self.config.clone();
        known.env = Some(Setting::new(Vec::new(), Origin::Default));
        let (request, scratch) = (Request::default(), self.state_dir.join("compose"));
        let around = Surroundings { directory: Path::new("/"), variables: Vec::new(), scratch };
        let project = self.project.clone();
        Ok(DeploySettings::settle(&self.name, project, &request, &known, around)?)
    }

    /// Docker, compose and all that.
    pub fn tools(&self, context: &Context, redactor: Redactor) -> Result<Tools, CliError> {
        let zone = self
            .instance
            .as_ref()
            .map_or_else(|| SystemClock.zone(), |one| one.timezone.value.clone());
        tools(context, Arc::new(LocalClock::new(zone)), redactor)
    }

    /// How long to wait for somebody else.
    pub fn lock_wait(&self, asked: Option<Duration>) -> Duration {
        asked.or_else(|| self.instance.as_ref().map(|one| one.lock_wait.value)).unwrap_or_default()
    }

    /// The repository in which what is there is saved. `None`: nothing is to be saved.
    pub fn open_vault(
        &self,
        context: &Context,
        saving: &Saving,
        is_first: bool,
    ) -> Result<Option<Safe>, CliError> {
        // A review stack is made anew from its branch: nothing of it is saved.
        if is_first || saving.no_snapshot || self.review.is_some() {
            return Ok(None);
        }
        let (Some(settings), Some(instance)) = (&self.settings, &self.instance) else {
            return Err(CliError::usage_hint(
                format!(
                    "{} is there already, and nothing says where to save it",
                    self.project.directory.display()
                ),
                "write an instance with this home into the configuration, name a repository with --repo, or give --no-snapshot",
            ));
        };
        let repository = context.open(settings)?;
        let accepts_incomplete = saving.accept_incomplete;
        Ok(Some(Safe { repository, instance: instance.clone(), accepts_incomplete }))
    }

    /// What the deployment leans on.
    pub fn means<'a>(
        &'a self,
        context: &Context,
        safe: Option<&'a Safe>,
        settings: &DeploySettings,
    ) -> Result<Means<'a>, CliError> {
        let source = settings.check.as_ref().and_then(|check| check.basic_auth.as_ref());
        let login = match source {
            None => None,
            Some(source) => {
                let reader = KeyReader {
                    environment: &process_environment,
                    stop: Arc::clone(&context.stop),
                };
                let read = reader.read(source)?;
                for message in read.warnings {
                    context
                        .observer
                        .event(&Event::Warning { item: "basic_auth".to_owned(), message });
                }
                Some(read.secret)
            }
        };
        let postgres = self.instance.as_ref().and_then(|instance| instance.postgres.as_ref());
        Ok(Means { vault: safe.map(Safe::vault), postgres, login })
    }
}

/// The review stacks of whoever calls.
pub fn reviews(config: Option<&Config>) -> Result<Reviews, CliError> {
    if let Some(home) = config.and_then(|config| config.review.home.as_ref()) {
        return Ok(Reviews { base: home.value.clone() });
    }
    match std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute()) {
        Some(home) => Ok(Reviews { base: home.join(".yourlabs.compose") }),
        None => Err(CliError::usage_hint(
            "HOME is not set, and review stacks are below it",
            "set it, or write `home` into [review] of the configuration",
        )),
    }
}

/// How long a review stack stays: what was asked for, but not longer than the configuration allows.
pub fn lifetime(context: &Context, config: Option<&Config>, asked: Option<Duration>) -> Duration {
    let usual = ReviewConfig::default();
    let review = config.map_or(&usual, |config| &config.review);
    let wanted = asked.unwrap_or(review.lifetime.value);
    let most = review.max_lifetime.value;
    if wanted > most {
        let days = most.as_secs() / 86_400;
        let message =
            format!("it is cut to {days} days, the longest that `review.max_lifetime` allows");
        context.observer.event(&Event::Warning { item: "lifetime".to_owned(), message });
    }
    wanted.min(most)
}

/// An open repository and what it is for.
pub struct Safe {
    pub repository: Repository,
    pub instance: Instance,
    accepts_incomplete: bool,
}

impl Safe {
    fn vault(&self) -> Vault<'_> {
        let accepts_incomplete = self.accepts_incomplete;
        Vault { repository: &self.repository, instance: &self.instance, accepts_incomplete }
    }
}

/// Docker, compose and all that.
pub fn tools(
    context: &Context,
    clock: Arc<dyn Clock>,
    redactor: Redactor,
) -> Result<Tools, CliError> {
    let runner: Arc<dyn Runner> = Arc::new(Programs { stop: Arc::clone(&context.stop) });
    let environment = base_environment(std::env::vars_os());
    let compose = Compose::detect(Arc::clone(&runner), environment.clone())
        .map_err(crate::deploy::DeployError::from)?;
    Ok(Tools {
        compose,
        engine: Engine::new(runner, environment),
        clock,
        observer: Arc::clone(&context.observer),
        stop: Arc::clone(&context.stop),
        redactor,
    })
}

/// The instance of the configuration that is meant, by its name, by its home, or because there is only one.
fn instance<'c>(
    config: Option<&'c Config>,
    name: Option<&str>,
    request: &Request,
) -> Result<Option<&'c Instance>, CliError> {
    let Some(config) = config else {
        return match name {
            None => Ok(None),
            Some(_) => Err(CliError::usage_hint(
                "there is no configuration with that instance",
                "name it with --config FILE, or deploy with home=/home/NAME",
            )),
        };
    };
    if let Some(name) = name {
        let found = config.instance(name)?;
        if request.home.as_ref().is_some_and(|home| *home != found.home.value) {
            return Err(CliError::usage_hint(
                format!(
                    "instance `{name}` has the home {}, not that of home=",
                    found.home.value.display()
                ),
                "leave out one of them",
            ));
        }
        return Ok(Some(found));
    }
    if let Some(home) = &request.home {
        return Ok(config.instances.values().find(|one| one.home.value == *home));
    }
    match config.instances.len() {
        1 => Ok(config.instances.values().next()),
        _ => Err(CliError::usage_hint(
            "there are several instances, and none is named",
            format!("name one of {}", super::super::settings::names(config)),
        )),
    }
}

fn project(home: &Path, name: Option<&str>) -> Result<Project, CliError> {
    let failed = |error| CliError::from(crate::deploy::DeployError::Compose(error));
    match name {
        Some(name) => {
            let name = project_name(name).map_err(failed)?;
            Ok(Project { name, directory: home.to_owned() })
        }
        None => Project::try_from(home).map_err(failed),
    }
}

/// An instance made of a home alone: everything in it but what a server is writing.
fn instance_of(project: &Project) -> Result<Instance, CliError> {
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let text = format!(
        "version = 1\n[instance.{}]\nhome = {}\npaths = [\".\"]\nexclude = [\"/postgres/data\", \"/postgres/run\", \"/.mrs-backup\", \"/repo\"]\n",
        quoted(&project.name),
        quoted(&project.directory.to_string_lossy()),
    );
    let config = Config::parse(&text, Path::new("home="), &|_| None)?;
    config.instance(&project.name).cloned().map_err(CliError::from)
}
