//! What is told, in words.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::history::{Run, RunState};
use crate::instance::config::{EventKind, Language};
use crate::status::{InstanceStatus, Overview, Severity, concern, sentence};

/// Longest log that is sent along: what healthchecks.io takes.
const LONGEST_LOG: usize = 100_000;

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Version of this form: 1.
    pub v: u8,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// How bad it is: `ok`, `warning`, `critical`.
    pub severity: String,
    /// On which machine.
    pub host: String,
    /// To which instance.
    pub instance: Option<String>,
    /// When.
    pub time: Timestamp,
    /// One line.
    pub title: String,
    /// More, for people.
    pub text: String,
    /// The run it is about.
    pub run: Option<String>,
    /// Its exit code.
    pub exit_code: Option<u8>,
    /// What each step did.
    pub log: String,
}

/// A message about an instance, or about all. `extra` is what is told of a deployment and the like.
pub fn compose(
    kind: EventKind,
    instance: Option<&InstanceStatus>,
    overview: &Overview,
    extra: Option<(bool, &str)>,
    language: Language,
) -> Message {
    let name = instance.map(|one| one.name.clone());
    let run = instance.and_then(|one| one.runs.last());
    let subject = name.clone().unwrap_or_else(|| overview.host.clone());
    let severity = match (kind, extra) {
        (_, Some((false, _))) => Severity::Critical,
        (EventKind::Failure | EventKind::Stale, _) => {
            instance.map_or(Severity::Critical, |one| one.severity().max(Severity::Warning))
        }
        (EventKind::Warning, _) => Severity::Warning,
        (EventKind::Digest, _) => overview.severity(),
        _ => Severity::Ok,
    };
    Message {
        v: 1,
        kind,
        severity: word(severity).to_owned(),
        host: overview.host.clone(),
        time: overview.now,
        title: format!("{subject}: {}", headline(kind, extra, language)),
        text: body(kind, instance, overview, extra, language),
        run: run.map(|run| run.begun.run.clone()),
        exit_code: run.and_then(|run| Some(run.ended.as_ref()?.exit_code)),
        log: run.map(log).unwrap_or_default(),
        instance: name,
    }
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "ok",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

fn headline(kind: EventKind, extra: Option<(bool, &str)>, language: Language) -> &'static str {
    let is_bad = extra.is_some_and(|(is_good, _)| !is_good);
    let (english, french) = match kind {
        EventKind::Start => ("the backup begins", "la sauvegarde commence"),
        EventKind::Success => ("backed up", "sauvegardée"),
        EventKind::Failure => ("the backup FAILED", "la sauvegarde a ÉCHOUÉ"),
        EventKind::Recovery => ("good again", "de nouveau en ordre"),
        EventKind::Stale => ("NOT BACKED UP lately", "PAS SAUVEGARDÉE récemment"),
        EventKind::Warning => ("something is odd", "quelque chose d'inhabituel"),
        EventKind::Deploy if is_bad => ("a deployment FAILED", "un déploiement a ÉCHOUÉ"),
        EventKind::Deploy => ("deployed", "déployée"),
        EventKind::Clone if is_bad => {
            ("an anonymized copy FAILED", "une copie anonymisée a ÉCHOUÉ")
        }
        EventKind::Clone => ("copied and anonymized", "copiée et anonymisée"),
        EventKind::Restore if is_bad => ("a restore FAILED", "une restauration a ÉCHOUÉ"),
        EventKind::Restore => ("restored", "restaurée"),
        EventKind::Digest => ("the week", "la semaine"),
        EventKind::Test => ("a test", "un essai"),
    };
    language.pick(english, french)
}

fn body(
    kind: EventKind,
    instance: Option<&InstanceStatus>,
    overview: &Overview,
    extra: Option<(bool, &str)>,
    language: Language,
) -> String {
    match (kind, instance) {
        (EventKind::Digest, _) => return digest(overview, language),
        (EventKind::Test, _) => {
            let text = "If you can read this, messages arrive.";
            return language.pick(text, "Si vous lisez ceci, les messages arrivent.").to_owned();
        }
        _ => {}
    }
    let mut text = String::new();
    if let Some((_, extra)) = extra {
        text.push_str(extra);
        text.push('\n');
    }
    let Some(one) = instance else { return text };
    if kind == EventKind::Start {
        return text;
    }
    if extra.is_none() {
        text.push_str(&sentence(one, overview.now, language));
        text.push('\n');
    }
    let is_bad = matches!(kind, EventKind::Failure | EventKind::Stale | EventKind::Warning);
    if let Some(error) = one.last_error.as_ref().filter(|_| is_bad) {
        let step = error.step.map_or("run", |step| step.name());
        let next = language.pick("next", "ensuite");
        // Writing into a string does not fail.
        let _ = write!(text, "{step}: {}\n{next}: {}\n", error.message, error.next);
    }
    text
}

/// One line an instance.
pub fn digest(overview: &Overview, language: Language) -> String {
    let mut text = String::new();
    for one in &overview.instances {
        let sign = match one.severity() {
            Severity::Ok => "✓",
            Severity::Warning => "!",
            Severity::Critical => "✗",
        };
        let worst = one.concerns.first().map(|worst| concern(worst, language));
        let tail = worst.map_or_else(String::new, |worst| format!(" ({worst})"));
        let _ = writeln!(text, "{sign} {}: {}{tail}", one.name, week(one, language));
    }
    text
}

/// The last seven nights in numbers.
fn week(one: &InstanceStatus, language: Language) -> String {
    use crate::status::NightState as S;
    let nights = &one.nights[one.nights.len().saturating_sub(7)..];
    let of = |states: &[S]| nights.iter().filter(|night| states.contains(&night.state)).count();
    let good = of(&[S::Ok]);
    let due = nights.len() - of(&[S::NotDue, S::Unknown, S::Pending]);
    match (due, language) {
        (0, _) => language.pick("no night was due", "aucune nuit n'était prévue").to_owned(),
        (1, Language::En) => format!("{good} of 1 night good"),
        (_, Language::En) => format!("{good} of {due} nights good"),
        (_, Language::Fr) if good > 1 => format!("{good} nuits bonnes sur {due}"),
        (_, Language::Fr) => format!("{good} nuit bonne sur {due}"),
    }
}

/// What each step did, a line each.
fn log(run: &Run) -> String {
    let mut text = format!("run {} begun {}\n", run.begun.run, run.begun.time);
    for done in &run.steps {
        let bytes = done.bytes.map_or_else(String::new, |bytes| format!(", {bytes} bytes"));
        let _ =
            writeln!(text, "{}: {}, {:.1} s{bytes}", done.step.name(), done.result, done.seconds);
        for line in [&done.message, &done.hint].into_iter().flatten() {
            let _ = writeln!(text, "  {line}");
        }
    }
    match (&run.ended, run.state()) {
        (Some(ended), _) => {
            let _ = writeln!(
                text,
                "ended {}: {} (exit code {})",
                ended.time, ended.result, ended.exit_code
            );
            if let Some(message) = &ended.message {
                let _ = writeln!(text, "  {message}");
            }
        }
        (None, RunState::Killed) => text.push_str("killed\n"),
        (None, _) => text.push_str("at work\n"),
    }
    let mut end = text.len().min(LONGEST_LOG);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
