//! What the template shows of an instance, in words.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::instance::config::Language;
use crate::report::human_bytes;
use crate::status::{
    Anomaly, Catalogue, InstanceStatus, Overview, Severity, age, long_duration, sentence,
};

use super::{browse, calendar, strip, svg};

/// Receipts that are shown.
const MOST_RECEIPTS: usize = 8;
/// Nights that stand out and are told of.
const MOST_ODD: usize = 3;
/// Tables whose rows are shown.
const MOST_TABLES: usize = 5;

/// A strip with its name.
pub struct Row {
    pub name: String,
    pub svg: String,
    pub text: String,
}

/// One instance.
pub struct InstanceView {
    pub name: String,
    pub severity: &'static str,
    pub sentence: String,
    pub strips: Vec<Row>,
    pub charts: Vec<Row>,
    pub timeline: Option<String>,
    pub facts: Vec<(String, String)>,
    pub error: Option<(String, String, String)>,
    pub calendar: Option<(String, String)>,
    pub tables: Vec<Row>,
    pub receipts: Vec<(String, String, String)>,
    /// Where its snapshots can be looked into.
    pub browse: Option<String>,
}

/// Its word in classes of the style.
pub const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "ok",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// One sentence on everything.
pub fn headline(overview: &Overview, lang: Language) -> String {
    let of = |severity| overview.instances.iter().filter(|one| one.severity() == severity).count();
    let (all, bad) = (overview.instances.len(), of(Severity::Critical));
    let odd = of(Severity::Warning);
    if let [one] = &overview.instances[..] {
        let text = match one.severity() {
            Severity::Ok => lang.pick("is safe.", "est en sécurité."),
            Severity::Warning => {
                lang.pick("is safe; look at it.", "est en sécurité, mais à regarder.")
            }
            Severity::Critical => lang.pick("is AT RISK.", "est EN DANGER."),
        };
        return format!("{} {text}", one.name);
    }
    match (lang, bad, odd) {
        (Language::En, 0, 0) => format!("All {all} instances are safe."),
        (Language::Fr, 0, 0) => format!("Les {all} instances sont en sécurité."),
        (Language::En, 0, _) => format!("{all} instances are safe; look at {odd} of them."),
        (Language::Fr, 0, _) => format!("{all} instances en sécurité, dont {odd} à regarder."),
        (Language::En, _, _) => format!("{bad} of {all} instances are AT RISK."),
        (Language::Fr, _, _) => format!("{bad} instances sur {all} sont EN DANGER."),
    }
}

/// Bytes with the unit's name in the language.
pub(super) fn bytes(value: u64, lang: Language) -> String {
    let text = human_bytes(value);
    match lang {
        Language::En => text,
        Language::Fr => text.replace("iB", "io").replace(" B", " o").replace('.', ","),
    }
}

impl InstanceView {
    pub fn new(
        status: &InstanceStatus,
        catalogue: &Catalogue,
        now: Timestamp,
        lang: Language,
    ) -> Self {
        let has_snapshots = !catalogue.snapshots.is_empty();
        Self {
            name: status.name.clone(),
            severity: word(status.severity()),
            sentence: sentence(status, now, lang),
            strips: strips(status, lang),
            charts: charts(status, lang),
            timeline: has_snapshots.then(|| strip::timeline(status, catalogue, now, lang)),
            facts: facts(status, now, lang),
            error: status.last_error.as_ref().map(|error| {
                let step = error.step.map_or("run", |step| step.name());
                let head = format!("{} {step}", local(error.time, status));
                (head, error.message.clone(), error.next.clone())
            }),
            calendar: has_snapshots.then(|| retention(status, catalogue, lang)),
            tables: tables(catalogue),
            receipts: catalogue
                .receipts
                .iter()
                .rev()
                .take(MOST_RECEIPTS)
                .map(|one| (local(one.time, status), one.kind.clone(), one.result.clone()))
                .collect(),
            browse: None,
        }
    }

    /// With a link to what is in its snapshots, if they are served.
    pub fn browsed(mut self, can_browse: bool) -> Self {
        let place = || format!("/browse/{}", browse::encoded(self.name.as_bytes()));
        self.browse = can_browse.then(place);
        self
    }
}

fn local(time: Timestamp, status: &InstanceStatus) -> String {
    time.to_zoned(status.zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
}

fn strips(status: &InstanceStatus, lang: Language) -> Vec<Row> {
    let row = |name: &str, nights: &[crate::status::Night]| Row {
        name: name.to_owned(),
        svg: strip::nights(nights, lang),
        text: strip::told(nights, lang),
    };
    let mut rows = vec![row(lang.pick("nights", "nuits"), &status.nights)];
    rows.extend(status.copies.iter().map(|copy| row(&copy.known.name, &copy.nights)));
    if let Some(tests) = &status.tests {
        rows.push(row(lang.pick("restores", "restaurations"), tests));
    }
    rows
}

fn charts(status: &InstanceStatus, lang: Language) -> Vec<Row> {
    let mut rows = Vec::new();
    let sizes: Vec<u64> = status.sizes.iter().map(|size| size.repository_bytes).collect();
    if let Some(last) = sizes.last() {
        let (name, text) = (lang.pick("size", "taille"), bytes(*last, lang));
        rows.push(Row { name: name.to_owned(), svg: svg::line(&sizes, &text), text });
    }
    if let Some(last) = status.points.last() {
        let name = lang.pick("added", "ajouté");
        let text = format!("{}{}", bytes(last.added, lang), odd_nights(status, lang));
        rows.push(Row { name: name.to_owned(), svg: svg::bars(&status.points, &text), text });
    }
    rows
}

/// The nights that stand out, the newest first: when, and how.
fn odd_nights(status: &InstanceStatus, lang: Language) -> String {
    let one = |(time, anomaly): (Timestamp, Anomaly)| {
        let what = match anomaly {
            Anomaly::Spike => lang.pick("far more than usual", "bien plus que d'habitude"),
            Anomaly::Shrunk => {
                lang.pick("half of the usual is gone", "la moitié de l'habituel manque")
            }
        };
        format!("; {}: {what}", time.to_zoned(status.zone.clone()).strftime("%m-%d"))
    };
    let odd = status.points.iter().rev().filter_map(|point| Some((point.time, point.anomaly?)));
    odd.take(MOST_ODD).map(one).collect()
}

fn facts(status: &InstanceStatus, now: Timestamp, lang: Language) -> Vec<(String, String)> {
    let mut facts: Vec<(&str, String)> = Vec::new();
    if let Some(known) = &status.known {
        facts.push((lang.pick("snapshots", "sauvegardes"), known.snapshots.to_string()));
        if let Some(free) = known.free_bytes {
            let full = status.days_until_full.map_or_else(String::new, |days| match lang {
                Language::En => format!(", full in about {days:.0} days"),
                Language::Fr => format!(", plein dans {days:.0} jours environ"),
            });
            facts.push((lang.pick("free", "libre"), format!("{}{full}", bytes(free, lang))));
        }
    }
    if let Some((step, since)) = status.running {
        let step = step.map_or("run", |step| step.name());
        let text = format!("{step}, {}", age(now, since, lang));
        facts.push((lang.pick("at work", "en cours"), text));
    }
    for next in &status.next {
        let text = match next.due {
            None => lang.pick("never", "jamais").to_owned(),
            Some(due) if due <= now => lang.pick("is due", "à faire").to_owned(),
            Some(due) => {
                let wait = long_duration(due.duration_since(now), lang);
                format!("{} ({wait})", local(due, status))
            }
        };
        facts.push((next.job.name(), text));
    }
    facts.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
}

fn retention(status: &InstanceStatus, catalogue: &Catalogue, lang: Language) -> (String, String) {
    let (svg, left_out) = calendar::calendar(catalogue, &status.zone, lang);
    let going = catalogue.snapshots.iter().filter(|one| one.reasons.is_empty()).count();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in catalogue.snapshots.iter().flat_map(|one| &one.reasons) {
        // What stands behind the first word is dates and tags.
        let word = reason.split([',', ':']).next().unwrap_or_default();
        let word = word.split(" until ").next().unwrap_or_default();
        *counts.entry(word).or_default() += 1;
    }
    let reasons: Vec<String> =
        counts.iter().take(10).map(|(reason, count)| format!("{reason} {count}")).collect();
    let stay = catalogue.snapshots.len() - going;
    let mut text = match lang {
        Language::En => format!("{stay} stay, {going} go next: {}", reasons.join(", ")),
        Language::Fr => format!("{stay} restent, {going} partent : {}", reasons.join(", ")),
    };
    if left_out > 0 {
        text.push_str(&match lang {
            Language::En => format!("; {left_out} older ones are not drawn"),
            Language::Fr => format!(" ; {left_out} plus anciennes ne sont pas dessinées"),
        });
    }
    (svg, text)
}

/// Rows of the largest tables over the last snapshots.
fn tables(catalogue: &Catalogue) -> Vec<Row> {
    let mut series: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for snapshot in &catalogue.snapshots {
        for (table, rows) in &snapshot.rows {
            series.entry(table).or_default().push(*rows);
        }
    }
    let mut series: Vec<(&str, Vec<u64>)> = series.into_iter().collect();
    series.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.last().copied()));
    series
        .into_iter()
        .take(MOST_TABLES)
        .map(|(table, rows)| {
            let text = rows.last().copied().unwrap_or(0).to_string();
            Row { name: table.to_owned(), svg: svg::line(&rows, &text), text }
        })
        .collect()
}
