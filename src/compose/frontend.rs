//! Compose, of whichever version is there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use regex::Regex;

use super::sources::{self, File};
use super::{Call, ComposeError, Document, Project, Runner, Said, Variables};

/// How long an answer may take that needs no engine.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// How long images may take to be pulled or built, or containers to be made.
const WORK_LIMIT: Duration = Duration::from_secs(3600);

/// How compose is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `docker compose`: 2.x.
    Plugin,
    /// `docker-compose`: 1.29, or 2.x under the old name.
    Standalone,
}

impl Form {
    const ALL: [Self; 2] = [Self::Plugin, Self::Standalone];

    const fn program(self) -> &'static str {
        match self {
            Self::Plugin => "docker",
            Self::Standalone => "docker-compose",
        }
    }

    fn arguments(self, words: &[&str]) -> Vec<String> {
        let first: &[&str] = if self == Self::Plugin { &["compose"] } else { &[] };
        first.iter().chain(words).map(|word| (*word).to_owned()).collect()
    }
}

/// Compose.
#[derive(Clone)]
pub struct Compose {
    runner: Arc<dyn Runner>,
    environment: Variables,
    form: Form,
    version: String,
}

/// The compose files that are merged.
#[derive(Debug, Clone)]
pub struct Source {
    /// The files, absolute.
    pub files: Vec<PathBuf>,
    /// What they may ask for, besides a file `.env` beside the first one.
    pub variables: Variables,
    /// A directory of our own for copies; need not be there.
    pub scratch: PathBuf,
}

impl Source {
    /// Where the first file is.
    pub fn directory(&self) -> &Path {
        self.files.first().and_then(|file| file.parent()).unwrap_or(Path::new("/"))
    }
}

/// What compose made of the files.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The merged document.
    pub document: Document,
    /// Variables that were asked for and are not set: replaced by nothing.
    pub unset: Vec<String>,
}

impl Compose {
    /// Finds the compose that is there: 2.x before 1.29.
    pub fn detect(runner: Arc<dyn Runner>, environment: Variables) -> Result<Self, ComposeError> {
        let mut tried = Vec::new();
        for form in Form::ALL {
            let arguments = form.arguments(&["version", "--short"]);
            let call = Call {
                program: form.program(),
                arguments,
                environment: &environment,
                directory: None,
                input: None,
                limit: ANSWER_LIMIT,
            };
            match runner.run(&call) {
                Ok(said) if said.code == Some(0) => {
                    let version = said.text().trim().trim_start_matches('v').to_owned();
                    return Ok(Self { runner, environment, form, version });
                }
                Ok(said) => {
                    // Docker's client without the plugin goes on with all of its help.
                    let complaint = said.complaint();
                    let first = complaint.lines().next().unwrap_or_default();
                    tried.push(format!("`{}` ({first})", call.told()));
                }
                Err(error @ (ComposeError::Interrupted | ComposeError::TimedOut { .. })) => {
                    return Err(error);
                }
                Err(error) => tried.push(error.to_string()),
            }
        }
        Err(ComposeError::NoCompose { tried: tried.join(" and ") })
    }

    /// Its name and version: `docker compose 2.26.1`.
    pub fn told(&self) -> String {
        let name = if self.form == Form::Plugin { "docker compose" } else { "docker-compose" };
        format!("{name} {}", self.version)
    }

    /// How it is called.
    pub const fn form(&self) -> Form {
        self.form
    }

    /// Whether it is of the first generation: no `name:`, other names of containers.
    pub fn is_first(&self) -> bool {
        self.version.starts_with("1.")
    }

    /// Merges files into the document of `project`.
    pub fn render(&self, project: &Project, source: &Source) -> Result<Rendered, ComposeError> {
        let files: Vec<File> =
            source.files.iter().map(|path| sources::read(path)).collect::<Result<_, _>>()?;
        let prepared = sources::prepare(&files, source.directory(), &source.scratch)?;
        let mut words = Words::of(project);
        let beside = source.directory().join(".env");
        if beside.is_file() {
            words.add("--env-file", beside.display());
        }
        for path in &prepared.paths {
            words.add("-f", path.display());
        }
        words.0.push("config".to_owned());
        let mut environment = source.variables.clone();
        environment.extend(self.environment.clone());
        let said = self.call(&words.0, &environment, None, ANSWER_LIMIT)?;
        let complaint = said.complaint();
        let document = Document::parse(&said.text(), &format!("{} config", self.told()))?;
        Ok(Rendered { document, unset: unset_variables(&complaint) })
    }

    /// Lets compose look at a document; its own words are the error.
    pub fn validate(&self, project: &Project, text: &str) -> Result<(), ComposeError> {
        self.on_text(project, text, &["config", "-q"], ANSWER_LIMIT).map(|_| ())
    }

    /// Builds images of a document.
    pub fn build(
        &self,
        project: &Project,
        text: &str,
        services: &[String],
    ) -> Result<(), ComposeError> {
        let mut words = vec!["build"];
        words.extend(services.iter().map(String::as_str));
        self.on_text(project, text, &words, WORK_LIMIT).map(|_| ())
    }

    /// Pulls images of a document.
    pub fn pull(&self, project: &Project, text: &str, service: &str) -> Result<(), ComposeError> {
        self.on_text(project, text, &["pull", "-q", service], WORK_LIMIT).map(|_| ())
    }

    /// Makes containers be as the deployed file says; others of the project go.
    pub fn up(&self, project: &Project) -> Result<(), ComposeError> {
        let words = ["up", "-d", "--remove-orphans", "--no-build"];
        self.on_file(project, &words, WORK_LIMIT).map(|_| ())
    }

    /// Starts one service, and none that it depends on.
    pub fn start(&self, project: &Project, service: &str) -> Result<(), ComposeError> {
        let words = ["up", "-d", "--no-deps", "--no-build", service];
        self.on_file(project, &words, WORK_LIMIT).map(|_| ())
    }

    /// Stops services.
    pub fn stop(&self, project: &Project, services: &[String]) -> Result<(), ComposeError> {
        let mut words = vec!["stop"];
        words.extend(services.iter().map(String::as_str));
        self.on_file(project, &words, WORK_LIMIT).map(|_| ())
    }

    /// Removes containers and networks, and volumes if asked.
    pub fn down(&self, project: &Project, with_volumes: bool) -> Result<(), ComposeError> {
        let mut words = vec!["down", "--remove-orphans"];
        if with_volumes {
            words.push("--volumes");
        }
        self.on_file(project, &words, WORK_LIMIT).map(|_| ())
    }

    fn on_file(
        &self,
        project: &Project,
        words: &[&str],
        limit: Duration,
    ) -> Result<Said, ComposeError> {
        let mut all = Words::of(project);
        all.add("-f", project.file().display());
        all.0.extend(words.iter().map(|word| (*word).to_owned()));
        self.call(&all.0, &self.environment, None, limit)
    }

    fn on_text(
        &self,
        project: &Project,
        text: &str,
        words: &[&str],
        limit: Duration,
    ) -> Result<Said, ComposeError> {
        let mut all = Words::of(project);
        all.add("-f", "-");
        all.0.extend(words.iter().map(|word| (*word).to_owned()));
        self.call(&all.0, &self.environment, Some(text.as_bytes()), limit)
    }

    fn call(
        &self,
        words: &[String],
        environment: &Variables,
        input: Option<&[u8]>,
        limit: Duration,
    ) -> Result<Said, ComposeError> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut environment = environment.clone();
        // What is drawn for people on a terminal is of no use in a message.
        environment.insert("COMPOSE_ANSI".to_owned(), OsString::from("never"));
        environment.insert("COMPOSE_PROGRESS".to_owned(), OsString::from("plain"));
        let call = Call {
            program: self.form.program(),
            arguments: self.form.arguments(&words),
            environment: &environment,
            directory: None,
            input,
            limit,
        };
        self.runner.run(&call)?.good(&call)
    }
}

struct Words(Vec<String>);

impl Words {
    fn of(project: &Project) -> Self {
        let mut words = Self(Vec::new());
        words.add("-p", &project.name);
        words.add("--project-directory", project.directory.display());
        words
    }

    fn add(&mut self, option: &str, value: impl std::fmt::Display) {
        self.0.extend([option.to_owned(), value.to_string()]);
    }
}

/// Names in compose's warnings, of both generations.
fn unset_variables(complaint: &str) -> Vec<String> {
    static WARNING: OnceLock<Option<Regex>> = OnceLock::new();
    let pattern = WARNING.get_or_init(|| {
        Regex::new(r#"The \\?"?([A-Za-z_][A-Za-z0-9_]*)\\?"? variable is not set"#).ok()
    });
    let found = pattern.iter().flat_map(|pattern| pattern.captures_iter(complaint));
    let mut names: Vec<String> =
        found.filter_map(|found| Some(found.get(1)?.as_str().to_owned())).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
#[path = "frontend_tests.rs"]
mod tests;
