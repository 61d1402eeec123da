//! Crontab lines, as people know them from `crontab(5)`.
//!
//! The `cron` crate computes with seven fields, of which seconds come first and Sunday is 1, and
//! takes days of the month *and* of the week where crontab takes either. So each field is read here into
//! the set of its values, and the crate is given these sets and nothing else.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Longest line; nobody writes longer ones by hand.
const LONGEST: usize = 200;

/// One of the five fields.
#[derive(Debug)]
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    /// Names of the values from `min` on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", min: 0, max: 59, names: &[] },
    Field { name: "hour", min: 0, max: 23, names: &[] },
    Field { name: "day of the month", min: 1, max: 31, names: &[] },
    Field {
        name: "month",
        min: 1,
        max: 12,
        names: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    },
    Field {
        name: "day of the week",
        min: 0,
        max: 7,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];
/// Sunday has two numbers.
const SUNDAY: u32 = 7;

/// Words that stand for a line.
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// Longest each month can be.
const MONTH_LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Why a line is none. Names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{line}`: {place}{reason}")]
pub struct CronError {
    line: String,
    place: String,
    reason: String,
}

impl CronError {
    fn whole(line: &str, reason: impl Into<String>) -> Self {
        let line = line.chars().take(LONGEST).collect::<String>().escape_debug().to_string();
        Self { line, place: String::new(), reason: reason.into() }
    }

    fn field(line: &str, number: usize, reason: impl Into<String>) -> Self {
        let name = FIELDS.get(number).map_or("", |field| field.name);
        Self { place: format!("{name} (field {}): ", number + 1), ..Self::whole(line, reason) }
    }
}

/// A line, read.
#[derive(Debug, Clone)]
pub struct CronLine {
    text: String,
    pub(super) minutes: BTreeSet<u32>,
    pub(super) hours: BTreeSet<u32>,
    /// `None`: every day of the month.
    pub(super) days: Option<BTreeSet<u32>>,
    pub(super) months: BTreeSet<u32>,
    /// From 0, Sunday. `None`: every day of the week.
    pub(super) weekdays: Option<BTreeSet<u32>>,
    /// Whether one of the two kinds of days is enough.
    pub(super) is_either: bool,
    /// What the crate computes with: one, or two of which either will do.
    pub(super) parts: Vec<cron::Schedule>,
}

impl PartialEq for CronLine {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CronLine {}

impl fmt::Display for CronLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for CronLine {
    type Err = CronError;

    fn from_str(line: &str) -> Result<Self, CronError> {
        let words = fields(line)?;
        let set = |number: usize| parse_field(line, number, words[number]);
        let (minutes, hours, months) = (set(0)?, set(1)?, set(3)?);
        let restricted =
            |number: usize, values: BTreeSet<u32>| (words[number] != "*").then_some(values);
        let days = restricted(2, set(2)?);
        let weekdays = restricted(4, set(4)?);
        // As crontab has it: with a star in either field (`*/2`) both have to fit.
        let has_star = |number: usize| words[number].contains('*');
        let is_either = !has_star(2) && !has_star(4);
        if let Some(days) = days.as_ref().filter(|_| !is_either) {
            let exists = |month: &u32| {
                let longest = MONTH_LENGTHS.get(*month as usize - 1).copied().unwrap_or(31);
                days.first().is_some_and(|day| *day <= longest)
            };
            if !months.iter().any(exists) {
                let reason = "none of the months in field 4 has such a day, so it would never run";
                return Err(CronError::field(line, 2, reason));
            }
        }
        let mut read = Self {
            text: line.split_whitespace().collect::<Vec<_>>().join(" "),
            minutes,
            hours,
            days,
            months,
            weekdays,
            is_either,
            parts: Vec::new(),
        };
        read.parts = read.for_the_crate().map_err(|reason| CronError::whole(line, reason))?;
        Ok(read)
    }
}

impl CronLine {
    /// Whether it is meant for every hour of the day, and so for the time that passes rather than
    /// for what the clock on the wall shows.
    pub(super) fn is_every_hour(&self) -> bool {
        self.hours.len() == 24
    }

    /// The line in the crate's words: seconds first, Sunday 1.
    fn for_the_crate(&self) -> Result<Vec<cron::Schedule>, String> {
        let either = [(self.days.as_ref(), None), (None, self.weekdays.as_ref())];
        let both = [(self.days.as_ref(), self.weekdays.as_ref())];
        let pairs = if self.is_either { &either[..] } else { &both[..] };
        let list = |values: &BTreeSet<u32>, shift: u32| {
            values.iter().map(|value| (value + shift).to_string()).collect::<Vec<_>>().join(",")
        };
        let or_star = |values: Option<&BTreeSet<u32>>, shift| {
            values.map_or_else(|| "*".to_owned(), |values| list(values, shift))
        };
        let schedule = |(days, weekdays): &(Option<&_>, Option<&_>)| {
            let text = format!(
                "0 {} {} {} {} {}",
                list(&self.minutes, 0),
                list(&self.hours, 0),
                or_star(*days, 0),
                list(&self.months, 0),
                or_star(*weekdays, 1),
            );
            cron::Schedule::from_str(&text).map_err(|error| error.to_string())
        };
        pairs.iter().map(schedule).collect()
    }
}

/// The five fields of a line.
fn fields(line: &str) -> Result<[&str; 5], CronError> {
    let refuse = |reason: &str| Err(CronError::whole(line, reason));
    if line.len() > LONGEST {
        return refuse("a crontab line has five short fields, and this is longer");
    }
    let trimmed = line.trim();
    if trimmed.eq_ignore_ascii_case("@reboot") {
        return refuse(
            "a start of the machine is no time; missed jobs are caught up after it anyway. Write when it should run, like `0 23 * * *`",
        );
    }
    let line_of_word = WORDS.iter().find(|(word, _)| trimmed.eq_ignore_ascii_case(word));
    if line_of_word.is_none() && trimmed.starts_with('@') {
        return refuse("the words are @hourly, @daily, @weekly, @monthly and @yearly");
    }
    let text = line_of_word.map_or(trimmed, |(_, line)| *line);
    let words: Vec<&str> = text.split_whitespace().collect();
    match <[&str; 5]>::try_from(words) {
        Ok(words) => Ok(words),
        Err(words) => {
            let found = match words.len() {
                0 => "it is empty".to_owned(),
                1 => "it has 1 field".to_owned(),
                6 => {
                    "it has 6 fields (seconds and years are not part of a crontab line)".to_owned()
                }
                many => format!("it has {many} fields"),
            };
            let reason = format!(
                "{found}; write five: minute, hour, day of the month, month, day of the week, like `0 23 * * *`"
            );
            refuse(&reason)
        }
    }
}

fn parse_field(line: &str, number: usize, text: &str) -> Result<BTreeSet<u32>, CronError> {
    let field = &FIELDS[number];
    let refuse = |reason: String| CronError::field(line, number, reason);
    let mut values = BTreeSet::new();
    for item in text.split(',') {
        if item.is_empty() {
            return Err(refuse(format!("`{text}` has a comma with nothing beside it")));
        }
        let (range, step) = match item.split_once('/') {
            None => (item, 1),
            Some((range, step)) => (range, parse_step(field, item, step).map_err(refuse)?),
        };
        let (from, to) = parse_range(field, range, item.contains('/')).map_err(refuse)?;
        values.extend((from..=to).step_by(step as usize).map(|value| match number {
            4 if value == SUNDAY => 0,
            _ => value,
        }));
    }
    Ok(values)
}

fn parse_step(field: &Field, item: &str, step: &str) -> Result<u32, String> {
    let span = field.max - field.min;
    match step.parse::<u32>() {
        Ok(0) => Err(format!("`{item}` has a step of 0; write 1 or more")),
        Ok(step) if step > span => Err(format!(
            "`{item}` has a step larger than the whole field; write one value, or a step up to {span}"
        )),
        Ok(step) => Ok(step),
        Err(_) => Err(format!("`{item}` has no number after `/`; write it like `*/15`")),
    }
}

fn parse_range(field: &Field, range: &str, has_step: bool) -> Result<(u32, u32), String> {
    if range == "*" {
        // Sunday once.
        let max = if field.max == SUNDAY { SUNDAY - 1 } else { field.max };
        return Ok((field.min, max));
    }
    let Some((from, to)) = range.split_once('-') else {
        let value = parse_value(field, range)?;
        if has_step {
            return Err(format!(
                "a step needs a range; write `{range}-{}/...` or `*/...`",
                field.max
            ));
        }
        return Ok((value, value));
    };
    let (from, mut to) = (parse_value(field, from)?, parse_value(field, to)?);
    // `fri-sun`
    if field.max == SUNDAY && to == 0 && from > 0 {
        to = SUNDAY;
    }
    if from > to {
        return Err(format!(
            "`{range}` runs backwards; write `{from}-{},{}-{to}`",
            field.max, field.min
        ));
    }
    Ok((from, to))
}

fn parse_value(field: &Field, text: &str) -> Result<u32, String> {
    let word = text.to_ascii_lowercase();
    if let Some(at) = field.names.iter().position(|name| *name == word) {
        return Ok(field.min + u32::try_from(at).unwrap_or(0));
    }
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value = text.parse::<u32>().ok().filter(|_| is_number);
    match value {
        Some(value) if (field.min..=field.max).contains(&value) => Ok(value),
        Some(_) => Err(format!("`{text}` is not within {}-{}", field.min, field.max)),
        None if is_number => Err(format!("`{text}` is not within {}-{}", field.min, field.max)),
        None => {
            let names = match field.names {
                [first, .., last] => format!(" or {first}-{last}"),
                _ => String::new(),
            };
            Err(format!(
                "`{}` is not understood; use {}-{}{names}, `*`, lists `1,2`, ranges `1-5` and steps `*/5`",
                text.escape_debug(),
                field.min,
                field.max
            ))
        }
    }
}
