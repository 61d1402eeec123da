//! The strip of nights, and the line of snapshots with marks. States differ in shape, not only in color.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use crate::instance::config::Language;
use crate::status::{Catalogue, InstanceStatus, Night, NightState};

use super::svg::{escaped, open};

/// Days on the line of snapshots.
const DAYS: i64 = 90;
/// Most marks that have a text of their own.
const MOST_MARKS: usize = 12;

/// Words for a state.
pub fn word(state: NightState, lang: Language) -> &'static str {
    match state {
        NightState::Ok => lang.pick("ok", "bonne"),
        NightState::Running => lang.pick("at work", "en cours"),
        NightState::Incomplete => lang.pick("incomplete", "incomplète"),
        NightState::Failed => lang.pick("failed", "échouée"),
        NightState::Missing => lang.pick("missing", "manquée"),
        NightState::Pending => lang.pick("about to begin", "à venir"),
        NightState::NotDue => lang.pick("nothing due", "rien de prévu"),
        NightState::Unknown => lang.pick("not known", "inconnue"),
    }
}

/// A square a night.
pub fn nights(nights: &[Night], lang: Language) -> String {
    let mut text = open(nights.len() as f64 * 10.0, 10.0, &told(nights, lang));
    for state in NightState::ALL {
        let (class, shape) = match state {
            NightState::Ok | NightState::Running => ("s0", "l8 4l-8 4z"),
            NightState::Incomplete => ("s1", "v8h8z"),
            NightState::Failed => ("s2", "l8 8m0-8l-8 8"),
            NightState::Missing => ("s3", "h8v8h-8z"),
            NightState::Pending | NightState::NotDue => ("s4", "m3 3h2v2h-2z"),
            NightState::Unknown => continue,
        };
        if state == NightState::Ok {
            text.push_str(&good(nights));
            continue;
        }
        let mut path = String::new();
        for (number, _) in nights.iter().enumerate().filter(|(_, night)| night.state == state) {
            // Writing into a string does not fail.
            let _ = write!(path, "M{} 1{shape}", number * 10 + 1);
        }
        if !path.is_empty() {
            let _ = write!(text, "<path class=\"{class}\" d=\"{path}\"/>");
        }
    }
    text.push_str("</svg>");
    text
}

/// Good nights in a row are one line; its dashes are the squares.
fn good(nights: &[Night]) -> String {
    let mut path = String::new();
    let mut number = 0;
    for run in nights.chunk_by(|a, b| (a.state == NightState::Ok) == (b.state == NightState::Ok)) {
        if run.first().is_some_and(|night| night.state == NightState::Ok) {
            // Writing into a string does not fail.
            let _ = write!(path, "M{} 5h{}", number * 10 + 1, run.len() * 10 - 2);
        }
        number += run.len();
    }
    if path.is_empty() { path } else { format!("<path class=\"r\" d=\"{path}\"/>") }
}

/// The strip in words: how many of each, and the days of those that are not good.
pub fn told(nights: &[Night], lang: Language) -> String {
    let states = [NightState::Ok, NightState::Incomplete, NightState::Failed, NightState::Missing];
    let mut parts = Vec::new();
    for state in states {
        let dates: Vec<String> = nights
            .iter()
            .filter(|night| night.state == state)
            .map(|night| night.date.strftime("%m-%d").to_string())
            .collect();
        match (dates.len(), state) {
            (0, _) => {}
            (count, NightState::Ok) => parts.push(format!("{count} {}", word(state, lang))),
            (count, _) => {
                parts.push(format!("{count} {} ({})", word(state, lang), dates.join(", ")));
            }
        }
    }
    if parts.is_empty() {
        lang.pick("nothing known", "rien de connu").to_owned()
    } else {
        parts.join(", ")
    }
}

/// Snapshots of the last months as ticks, with marks for what else was done.
pub fn timeline(
    status: &InstanceStatus,
    catalogue: &Catalogue,
    now: Timestamp,
    lang: Language,
) -> String {
    const WIDTH: f64 = 900.0;
    let begin = now.saturating_sub(SignedDuration::from_hours(24 * DAYS)).unwrap_or(now);
    let place = |time: Timestamp| -> Option<f64> {
        let share = time.duration_since(begin).as_secs_f64() / (DAYS * 86_400) as f64;
        (0.0..=1.0).contains(&share).then_some(share * WIDTH)
    };
    let (mut good, mut bad) = (String::new(), String::new());
    let mut count = 0;
    for snapshot in &catalogue.snapshots {
        let Some(x) = place(snapshot.time) else { continue };
        count += 1;
        let path = if snapshot.is_complete { &mut good } else { &mut bad };
        let _ = write!(path, "M{x:.0} 8v12");
    }
    let label = match lang {
        Language::En => format!("{count} snapshots of the last {DAYS} days"),
        Language::Fr => format!("{count} sauvegardes des {DAYS} derniers jours"),
    };
    let mut text = open(WIDTH, 26.0, &label);
    let _ = write!(text, "<path class=\"x\" d=\"M0 20h{WIDTH}\"/><path class=\"t\" d=\"{good}\"/>");
    if !bad.is_empty() {
        let _ = write!(text, "<path class=\"t w\" d=\"{bad}\"/>");
    }
    let happened = status.happened.iter().map(|one| {
        (one.time, format!("{} {} ({}): {}", day(one.time, status), one.kind, one.result, one.text))
    });
    let tests =
        catalogue.receipts.iter().filter(|one| one.kind == "test-restore").map(|one| {
            (one.time, format!("{} test-restore ({})", day(one.time, status), one.result))
        });
    let mut marks: Vec<(Timestamp, String)> = happened.chain(tests).collect();
    marks.sort();
    for (time, title) in marks.iter().rev().take(MOST_MARKS) {
        let Some(x) = place(*time) else { continue };
        let title = escaped(title);
        let _ = write!(
            text,
            "<path class=\"m\" d=\"M{x:.0} 7l-5-6h10z\"><title>{title}</title></path>"
        );
    }
    text.push_str("</svg>");
    text
}

fn day(time: Timestamp, status: &InstanceStatus) -> String {
    time.to_zoned(status.zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
}
