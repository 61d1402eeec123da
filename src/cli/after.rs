//! After something was done: whoever wants to be told is told.
//!
//! Nothing here changes how a run ended, or holds it up for long: what goes wrong is a warning.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use jiff::SignedDuration;

use crate::clock::{Clock, SystemClock};
use crate::event::{Event, Observer};
use crate::history::{Happened, History, Record};
use crate::instance::config::{EventKind, Language, NotifyConfig};
use crate::metrics;
use crate::notify::{
    Delivery, MemoryFile, Message, Occurrence, compose, decide, deliver, interest,
};
use crate::status::{self, Overview};

use super::CliError;
use super::context::Context;
use super::settings::Sources;
use super::status::read;

/// How far back the page shows nights.
const PAGE_BACK: SignedDuration = SignedDuration::from_hours(120 * 24);

/// A run of `instance` ended: files that tell of all are written anew, and people are told what is new.
pub fn ended(context: &Context, sources: &Sources, instance: &str) {
    let observer = context.observer.as_ref();
    for one in tell(sources, observer, Some(instance)) {
        warn_of(observer, &one);
    }
}

/// Somebody looks: the same without a run, and what waits is sent.
pub fn look(sources: &Sources, observer: &dyn Observer) -> Vec<Delivery> {
    tell(sources, observer, None)
}

/// A deployment, an anonymized copy, a restore or its undoing was done to `instance`, well or not, as `text` says in one line: it becomes a
/// mark beside the snapshots, and people are told.
pub fn happened(context: &Context, instance: &str, kind: EventKind, is_good: bool, text: &str) {
    let observer = context.observer.as_ref();
    let Ok(sources) = context.sources() else { return };
    let Ok(state_dir) = sources.state_dir() else { return };
    let result = if is_good { "ok" } else { "failed" }.to_owned();
    let record = Record::Happened(Happened {
        time: SystemClock.now(),
        kind: kind.name().to_owned(),
        result,
        text: text.to_owned(),
    });
    if let Err(error) = History::new(&state_dir).add(instance, &record) {
        warn(observer, error.to_string());
    }
    let Some(config) = &sources.config else { return };
    let Ok(overview) = read::of_sources(&sources, None, None, read::BACK) else { return };
    let occurrence = Occurrence { kind, instance: Some(instance.to_owned()), is_change: true };
    let extra = Some((is_good, text));
    let messages = messages(config.telling.notify.values(), &[occurrence], &overview, extra);
    for one in deliver(&state_dir, messages, &SystemClock) {
        warn_of(observer, &one);
    }
}

/// A run of `instance` begins. The thread that tells whoever wants to know is waited for when it ends.
pub fn began(context: &Context, sources: &Sources, instance: &str) -> Option<JoinHandle<()>> {
    let config = sources.config.as_ref()?;
    let wants = |config: &&NotifyConfig| config.wants(EventKind::Start, Some(instance));
    let wanting: Vec<NotifyConfig> =
        config.telling.notify.values().filter(wants).cloned().collect();
    if wanting.is_empty() {
        return None;
    }
    let overview = read::of_sources(sources, None, None, read::BACK).ok()?;
    let state_dir = sources.state_dir().ok()?;
    let kind = EventKind::Start;
    let occurrence = Occurrence { kind, instance: Some(instance.to_owned()), is_change: true };
    let messages = messages(wanting.iter(), &[occurrence], &overview, None);
    let observer = Arc::clone(&context.observer);
    let tell = move || {
        for one in deliver(&state_dir, messages, &SystemClock) {
            warn_of(observer.as_ref(), &one);
        }
    };
    std::thread::Builder::new().name("notify".to_owned()).spawn(tell).ok()
}

/// The metrics as text.
pub fn metrics(sources: &Sources, named: Option<&str>) -> Result<String, CliError> {
    Ok(metrics_text(&read::of_sources(sources, named, None, read::BACK)?))
}

/// The status page as text. `language` is that of the configuration unless somebody asks for another; `can_browse`: whoever
/// gives the page also shows what is in snapshots.
pub fn page(
    sources: &Sources,
    named: Option<&str>,
    language: Option<Language>,
    can_browse: bool,
) -> Result<String, CliError> {
    let overview = read::of_sources(sources, named, None, PAGE_BACK)?;
    let known = status::Store::new(&sources.state_dir()?);
    let mut catalogues = BTreeMap::new();
    for one in &overview.instances {
        catalogues.insert(one.name.clone(), known.catalogue(&one.name)?);
    }
    let of_config = sources.config.as_ref().map(|config| config.telling.language.value);
    let language = language.or(of_config).unwrap_or_default();
    Ok(crate::page::render(&overview, &catalogues, language, can_browse)?)
}

fn metrics_text(overview: &Overview) -> String {
    metrics::render(overview, env!("CARGO_PKG_VERSION"))
}

fn warn(observer: &dyn Observer, message: String) {
    observer.event(&Event::Warning { item: "telling how it stands".to_owned(), message });
}

fn warn_of(observer: &dyn Observer, delivery: &Delivery) {
    if let Err(error) = &delivery.result {
        let channel = &delivery.channel;
        let later = if error.is_final { "" } else { ", and is the next time" };
        let message = format!("{channel} was not told{later}: {}", error.reason);
        warn(observer, message);
    }
}

fn tell(sources: &Sources, observer: &dyn Observer, ended: Option<&str>) -> Vec<Delivery> {
    let Some(config) = &sources.config else { return Vec::new() };
    let telling = &config.telling;
    if telling.textfile.is_none() && telling.page.is_none() && telling.notify.is_empty() {
        return Vec::new();
    }
    let overview = match read::of_sources(sources, None, None, read::BACK) {
        Ok(overview) => overview,
        Err(error) => {
            warn(observer, error.message());
            return Vec::new();
        }
    };
    if let Some(path) = &telling.textfile
        && let Err(error) = metrics::write_textfile(&path.value, &metrics_text(&overview))
    {
        warn(observer, error.to_string());
    }
    if let Some(path) = &telling.page {
        let written = page(sources, None, None, false)
            .and_then(|text| Ok(crate::page::write_page(&path.value, &text)?));
        if let Err(error) = written {
            warn(observer, error.message());
        }
    }
    if telling.notify.is_empty() {
        return Vec::new();
    }
    let Ok(state_dir) = sources.state_dir() else { return Vec::new() };
    let occurrences = match decided(&state_dir, &overview, ended) {
        Ok((occurrences, None)) => occurrences,
        // Told again the next time is better than never, and a full disk is no reason to be silent.
        Ok((occurrences, Some(error))) => {
            warn(observer, format!("it is not remembered who was told: {error}"));
            occurrences
        }
        Err(error) => {
            warn(observer, format!("nobody is told: {error}"));
            return Vec::new();
        }
    };
    let messages = messages(telling.notify.values(), &occurrences, &overview, None);
    deliver(&state_dir, messages, &SystemClock)
}

/// What there is to tell, and why that is not remembered, if so.
fn decided(
    state_dir: &Path,
    overview: &Overview,
    ended: Option<&str>,
) -> Result<(Vec<Occurrence>, Option<String>), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", state_dir.display());
    let mut file = MemoryFile::open(state_dir).map_err(failed)?;
    let occurrences = decide(&mut file.memory, overview, ended);
    Ok((occurrences, file.close().err().map(failed)))
}

/// Each channel with what it is told; also those with nothing, for something may wait for them.
fn messages<'c>(
    channels: impl Iterator<Item = &'c NotifyConfig>,
    occurrences: &[Occurrence],
    overview: &Overview,
    extra: Option<(bool, &str)>,
) -> Vec<(NotifyConfig, Vec<Message>)> {
    let of = |config: &NotifyConfig| -> Vec<Message> {
        let wanted = occurrences.iter().filter(|one| interest(config, one));
        let message = |one: &Occurrence| {
            let instance = overview
                .instances
                .iter()
                .find(|status| one.instance.as_ref() == Some(&status.name));
            compose(one.kind, instance, overview, extra, config.language)
        };
        wanted.map(message).collect()
    };
    channels.map(|config| (config.clone(), of(config))).collect()
}
