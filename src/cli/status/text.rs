//! The overview for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::CliError;
use crate::cli::context::Context;
use crate::cli::format::local_time;
use crate::event::counted;
use crate::report::{clean, human_bytes};
use crate::status::{
    Anomaly, ErrorTold, InstanceStatus, Language, Night, NightState, Overview, Severity, age,
    long_duration, sentence,
};

const LEGEND: &str =
    "# ok  ~ incomplete  x failed  ! missing  > at work  . nothing due or not known";
/// Points of a sparkline.
const WIDTH: usize = 30;
/// Lines of an error that are shown.
const ERROR_LINES: usize = 3;
const ERROR_WIDTH: usize = 160;

pub fn show(context: &Context, overview: &Overview) -> Result<(), CliError> {
    let out = &context.out;
    let bars = Bars { is_plain: !is_utf8() };
    for status in &overview.instances {
        let (name, text) = (&status.name, sentence(status, overview.now, Language::En));
        let line = format!("{name}: {}", clean(&text));
        out.line(&out.colored(&line, color(status.severity())))?;
        if out.is_quiet() {
            continue;
        }
        for (label, text) in rows(status, overview.now, &bars) {
            out.line(&format!("  {label:<11} {text}"))?;
        }
    }
    let is_shown = overview.instances.iter().any(|one| !is_unknown(&one.nights));
    if is_shown { out.note(&format!("\n{LEGEND}")) } else { Ok(()) }
}

const fn color(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "32",
        Severity::Warning => "33",
        Severity::Critical => "31",
    }
}

fn is_utf8() -> bool {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = variable("LC_ALL").or_else(|| variable("LC_CTYPE")).or_else(|| variable("LANG"));
    locale.is_some_and(|locale| locale.to_uppercase().replace('-', "").contains("UTF8"))
}

fn is_unknown(nights: &[Night]) -> bool {
    nights.iter().all(|night| night.state == NightState::Unknown)
}

/// What is told of one instance below its sentence.
fn rows(status: &InstanceStatus, now: Timestamp, bars: &Bars) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut put = |label: &str, text: String| rows.push((clean(label), text));
    if !is_unknown(&status.nights) {
        put("nights", format!("{}  {}", strip(&status.nights), counts(&status.nights)));
    }
    for copy in &status.copies {
        let text = match (copy.known.copied, copy.known.behind) {
            (None, _) => "never completed".to_owned(),
            (Some(time), 0) => format!("up to date, {} ago", age(now, time, Language::En)),
            (Some(_), behind) => format!("{behind} behind"),
        };
        put(&copy.known.name, format!("{}  {text}", strip(&copy.nights)));
    }
    if let Some(tests) = &status.tests {
        let text = match &status.proof {
            None => "no restore was proven yet".to_owned(),
            Some(proof) => format!("proven {} ago", age(now, proof.time, Language::En)),
        };
        put("restores", format!("{}  {text}", strip(tests)));
    }
    sizes(status, bars, &mut put);
    if let Some((step, since)) = status.running {
        let step = step.map_or("run", |step| step.name());
        put("at work", format!("{step}, for {}", age(now, since, Language::En)));
    }
    if !status.next.is_empty() {
        put("next", next(status, now));
    }
    if let Some(error) = &status.last_error {
        last_error(error, &status.zone, &mut put);
    }
    rows
}

fn strip(nights: &[Night]) -> String {
    let letter = |night: &Night| match night.state {
        NightState::Ok => '#',
        NightState::Incomplete => '~',
        NightState::Failed => 'x',
        NightState::Missing => '!',
        NightState::Running => '>',
        NightState::Pending | NightState::NotDue | NightState::Unknown => '.',
    };
    nights.iter().map(letter).collect()
}

fn counts(nights: &[Night]) -> String {
    let of = |state: NightState| nights.iter().filter(|night| night.state == state).count();
    let words = [
        (NightState::Ok, "ok"),
        (NightState::Incomplete, "incomplete"),
        (NightState::Failed, "failed"),
        (NightState::Missing, "missing"),
    ];
    let told = words.into_iter().map(|(state, word)| (of(state), word));
    let told: Vec<String> = told
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    told.join(", ")
}

fn sizes(status: &InstanceStatus, bars: &Bars, put: &mut impl FnMut(&str, String)) {
    if let Some(known) = &status.known {
        let sizes: Vec<u64> = status.sizes.iter().map(|size| size.repository_bytes).collect();
        let line = bars.line(&sizes);
        put(
            "size",
            format!(
                "{line}  {}, {}",
                human_bytes(known.repository_bytes),
                counted(known.snapshots, "snapshot")
            ),
        );
    }
    if status.points.len() > 1 {
        let added: Vec<u64> = status.points.iter().map(|point| point.added).collect();
        let last = status.points.last();
        let odd = match last.and_then(|point| point.anomaly) {
            Some(Anomaly::Spike) => ", far more than usual",
            Some(Anomaly::Shrunk) => ", and half of the usual is gone",
            None => "",
        };
        let last = human_bytes(last.map_or(0, |point| point.added));
        put("added", format!("{}  {last} the last time{odd}", bars.line(&added)));
    }
    if let Some(free) = status.known.as_ref().and_then(|known| known.free_bytes) {
        let until = match status.days_until_full {
            Some(days) => format!(", full in about {days:.0} days"),
            None => String::new(),
        };
        put("disk", format!("{} free{until}", human_bytes(free)));
    }
}

fn next(status: &InstanceStatus, now: Timestamp) -> String {
    let one = |next: &crate::status::NextRun| {
        let job = next.job.name();
        match next.due {
            None => format!("{job} never"),
            Some(due) if due <= now => format!("{job} is due"),
            Some(due) => {
                format!("{job} in {}", long_duration(due.duration_since(now), Language::En))
            }
        }
    };
    status.next.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn last_error(error: &ErrorTold, zone: &TimeZone, put: &mut impl FnMut(&str, String)) {
    let nanos = i64::try_from(error.time.as_nanosecond()).unwrap_or(0);
    let step = error.step.map_or_else(String::new, |step| format!(" {}", step.name()));
    put("last error", format!("{}{step}", local_time(nanos, zone)));
    let message = clean(&error.message);
    let letters: Vec<char> = message.chars().collect();
    for line in letters.chunks(ERROR_WIDTH).take(ERROR_LINES) {
        put("", line.iter().collect());
    }
    put("  do next", clean(&error.next));
}

/// Small charts of one line.
struct Bars {
    /// Digits in place of blocks.
    is_plain: bool,
}

impl Bars {
    /// The last values, each as high as its share of the largest.
    fn line(&self, values: &[u64]) -> String {
        const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        const DIGITS: [char; 8] = ['0', '1', '2', '3', '4', '5', '6', '7'];
        let letters = if self.is_plain { DIGITS } else { BLOCKS };
        let values = &values[values.len().saturating_sub(WIDTH)..];
        let most = values.iter().copied().max().unwrap_or(0).max(1);
        let letter = |value: &u64| {
            let step = u128::from(*value) * 7 / u128::from(most);
            letters.get(usize::try_from(step).unwrap_or(0)).copied().unwrap_or(' ')
        };
        values.iter().map(letter).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_share() {
        let bars = Bars { is_plain: false };
        assert_eq!(bars.line(&[0, 1, 7, u64::MAX / 2, u64::MAX]), "▁▁▁▄█");
        assert_eq!(bars.line(&[0, 0]), "▁▁");
        assert_eq!(bars.line(&[]), "");
        let plain = Bars { is_plain: true };
        assert_eq!(plain.line(&[1, 2, 4]), "137");
        let long: Vec<u64> = (0..100).collect();
        assert_eq!(plain.line(&long).chars().count(), WIDTH);
    }
}
