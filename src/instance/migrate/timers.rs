//! The old timers: units of systemd, read as text.

use std::path::{Path, PathBuf};

use crate::calendar::CronLine;

use super::read_text;

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerJob {
    /// The backup of the night.
    Backup,
    /// Forgetting and pruning.
    Prune,
}

/// A timer with its service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldTimer {
    /// Name without its kind (`mrs-production-backup`).
    pub name: String,
    /// What for.
    pub job: TimerJob,
    /// Its files that are there.
    pub files: Vec<PathBuf>,
    /// `OnCalendar`, as written.
    pub calendar: Vec<String>,
}

impl OldTimer {
    /// When it is, as a crontab line, with the time zone that stands in it; `None` if there is no such line.
    pub fn line(&self) -> Option<(String, Option<String>)> {
        match self.calendar.as_slice() {
            [one] => cron_of(one),
            _ => None,
        }
    }
}

/// The timers of the instance `name` in `directory` that were not written by this program.
pub(super) fn find(name: &str, directory: &Path, is_ours: &dyn Fn(&str) -> bool) -> Vec<OldTimer> {
    let candidates = [
        (format!("{name}-backup"), TimerJob::Backup),
        (format!("backup-{name}"), TimerJob::Backup),
        (format!("{name}-prune"), TimerJob::Prune),
        (format!("prune-{name}"), TimerJob::Prune),
    ];
    let mut found = Vec::new();
    for (name, job) in candidates {
        let mut timer = OldTimer { name, job, files: Vec::new(), calendar: Vec::new() };
        for kind in ["timer", "service"] {
            let path = directory.join(format!("{}.{kind}", timer.name));
            let Ok(Some(text)) = read_text(&path) else { continue };
            if is_ours(&text) {
                continue;
            }
            let values = text.lines().filter_map(|line| line.trim().strip_prefix("OnCalendar="));
            timer.calendar.extend(values.map(|value| value.trim().to_owned()));
            timer.files.push(path);
        }
        if !timer.files.is_empty() {
            found.push(timer);
        }
    }
    found
}

/// The crontab line for a value of `OnCalendar` that names hours and minutes, and perhaps weekdays or a day of the month.
fn cron_of(text: &str) -> Option<(String, Option<String>)> {
    let whole = match text {
        "hourly" | "daily" | "weekly" | "monthly" => Some(format!("@{text}")),
        _ => None,
    };
    if let Some(line) = whole {
        return Some((line, None));
    }
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let is_zone = |word: &&str| word.contains('/') || *word == "UTC";
    let zone = words.last().copied().filter(is_zone).filter(|word| !word.contains(':'));
    if zone.is_some() {
        words.pop();
    }
    let time = words.pop()?;
    let mut parts = time.split(':');
    let (hour, minute) = (number(parts.next()?, 23)?, number(parts.next()?, 59)?);
    if parts.next().is_some_and(|second| number(second, 59).is_none()) || parts.next().is_some() {
        return None;
    }
    let (mut day, mut weekdays) = ("*".to_owned(), "*".to_owned());
    for word in words {
        match word.strip_prefix("*-*-") {
            Some("*") => {}
            Some(written) => day = number(written, 31)?.to_string(),
            None => weekdays = weekdays_of(word)?,
        }
    }
    let line = format!("{minute} {hour} {day} * {weekdays}");
    line.parse::<CronLine>().is_ok().then(|| (line, zone.map(str::to_owned)))
}

fn number(text: &str, most: u32) -> Option<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
    text.parse().ok().filter(|number| is_plain && *number <= most)
}

/// `Mon,Wed` and `Mon..Fri` as crontab numbers, Monday 1.
fn weekdays_of(text: &str) -> Option<String> {
    let day = |word: &str| {
        let start = word.get(..3)?.to_ascii_lowercase();
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        names.iter().position(|name| *name == start).map(|at| at + 1)
    };
    let mut parts = Vec::new();
    for part in text.split(',') {
        parts.push(match part.split_once("..") {
            Some((first, last)) => format!("{}-{}", day(first)?, day(last)?),
            None => day(part)?.to_string(),
        });
    }
    Some(parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_of_timers_become_lines_of_crontab() {
        for (text, line, zone) in [
            ("*-*-* 23:00:00", "0 23 * * *", None),
            ("*-*-* 04:30", "30 4 * * *", None),
            ("04:05", "5 4 * * *", None),
            ("Sun *-*-* 5:00:00 Europe/Paris", "0 5 * * 7", Some("Europe/Paris")),
            ("Mon..Fri,Sun 01:00", "0 1 * * 1-5,7", None),
            ("*-*-01 02:00:00 UTC", "0 2 1 * *", Some("UTC")),
            ("daily", "@daily", None),
        ] {
            let found = cron_of(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((found.0.as_str(), found.1.as_deref()), (line, zone), "{text}");
        }
        for text in
            ["", "*-*-* *:*:*", "*-*-* 25:00", "*-*-* 1/2:00", "never", "*-1-1 00:00", "Éte 01:00"]
        {
            assert_eq!(cron_of(text), None, "{text}");
        }
    }
}
