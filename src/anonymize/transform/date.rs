//! `date_shift = 180`, `date_truncate = "month"`, `birth_month = true`: another day.
//!
//! `date_shift` moves by up to so many days, never by none; `by` names a column whose value decides by how many, so that all
//! dates of a person move together. `date_truncate` goes back to the first day of the month or year. `birth_month` keeps the
//! year and exchanges the months of each year among each other, which is what `nir` does too: both stay coherent,
//! wherever they are. The day is drawn anew. `min` and `max` are bounds: what would fall out of them is
//! moved to the other side, or to the bound. Times of day stay. Columns of text need a `format` (`%d/%m/%Y`).

use jiff::civil::Date;
use jiff::{Span, ToSpan as _};

use crate::anonymize::key::DomainKey;
use crate::anonymize::permutation::Permutation;
use crate::anonymize::rule::Rule;
use crate::anonymize::schema::Kind;

use super::short::Short;
use super::{Building, Class, Made, Place, Survey, Transformer, Unfit, Verb};

/// By days.
pub const SHIFT: Verb = Verb {
    name: "date_shift",
    options: &["by", "min", "max", "format", "domain"],
    has_domain: true,
    build: |rule, building| build(rule, building, "date_shift"),
};
/// To the first of the month or year.
pub const TRUNCATE: Verb = Verb {
    name: "date_truncate",
    options: &["min", "max", "format"],
    has_domain: false,
    build: |rule, building| build(rule, building, "date_truncate"),
};
/// To another month of the year.
pub const BIRTH_MONTH: Verb = Verb {
    name: "birth_month",
    options: &["min", "max", "format", "domain"],
    has_domain: true,
    build: |rule, building| build(rule, building, "birth_month"),
};

/// The domain in which months are exchanged: that of `nir`, too.
pub const MONTHS_DOMAIN: &str = "birth_month";

/// Months of a year.
const MONTHS: usize = 12;

/// The months of each year of a century exchanged among each other: who takes the place of each, year after year.
#[derive(Debug, Clone)]
pub struct Months(Vec<u8>);

impl Months {
    /// Of a domain.
    pub fn new(building: &Building<'_>, domain: &str) -> Self {
        let key = building.key.derive(&format!("months {domain}"));
        let permutation = Permutation::new(&key, MONTHS as u64);
        let year = |year| (0..MONTHS as u64).map(move |month| (year, month));
        let other = |(year, month)| permutation.derange(month, year, 1) as u8 + 1;
        Self((0..100).flat_map(year).map(other).collect())
    }

    /// Which month takes the place of `month` (1 to 12) in the year with these last two digits.
    pub fn exchange(&self, year: u64, month: u64) -> u64 {
        let (year, month) = ((year % 100) as usize, month.saturating_sub(1) as usize % MONTHS);
        self.0.get(year * MONTHS + month).copied().map_or(1, u64::from)
    }
}

#[derive(Debug)]
enum How {
    Shift { key: DomainKey, days: i64, by: Option<usize> },
    Truncate { is_year: bool },
    Months { months: Months, key: DomainKey },
}

#[derive(Debug)]
struct Other {
    how: How,
    format: Option<Format>,
    min: Option<Date>,
    max: Option<Date>,
}

fn bound(rule: &Rule<'_>, key: &'static str) -> Result<Option<Date>, String> {
    let Some(text) = rule.text(key)? else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| format!("`{key} = \"{text}\"` is no day; write `1900-01-31`"))
}

fn build(
    rule: &Rule<'_>,
    building: &Building<'_>,
    verb: &'static str,
) -> Result<Box<dyn Transformer>, String> {
    let format = rule.text("format")?.map(str::to_owned);
    match (building.kind, &format) {
        (Kind::Date | Kind::Timestamp, None) => {}
        (Kind::Date | Kind::Timestamp, Some(_)) => {
            return Err("`format` is for columns of text".to_owned());
        }
        (Kind::Text(_) | Kind::Other, Some(format)) => {
            let example = jiff::civil::date(2001, 2, 3);
            let written = jiff::fmt::strtime::format(format, example);
            let read = written.and_then(|text| Date::strptime(format, text));
            if read.ok() != Some(example) {
                return Err(format!("`{format}` is no format of a whole date"));
            }
        }
        (Kind::Text(_), None) => return Err("a date in text needs a `format`".to_owned()),
        _ => return Err("the column holds no dates".to_owned()),
    }
    let how = match verb {
        "date_shift" => {
            let days = rule.number("date_shift", 1, 36_500)?.ok_or("`date_shift` is missing")?;
            let by = rule.text("by")?.map(|name| building.column(name)).transpose()?;
            let key = building.key.domain(&rule.domain("date_shift")?);
            How::Shift { key, days, by }
        }
        "date_truncate" => {
            How::Truncate { is_year: rule.word("date_truncate", &["month", "year"])? == "year" }
        }
        _ => {
            rule.flag("birth_month")?;
            let domain = rule.domain(MONTHS_DOMAIN)?;
            let key = building.key.domain(&format!("days {domain}"));
            How::Months { months: Months::new(building, &domain), key }
        }
    };
    let (min, max) = (bound(rule, "min")?, bound(rule, "max")?);
    if let (Some(min), Some(max)) = (min, max)
        && max <= min
    {
        return Err("`max` is not after `min`".to_owned());
    }
    Ok(Box::new(Other { how, format: format.map(Format::new), min, max }))
}

fn shifted(date: Date, days: i64) -> Result<Date, Unfit> {
    let span: Span = days.days();
    date.checked_add(span).map_err(|_| "it is too far away to be moved".into())
}

/// Appends a date as `2024-12-31`.
fn write(date: Date, out: &mut String) {
    match u64::try_from(date.year()) {
        Ok(year) => {
            let mut written = Short::number(year, 4);
            for part in [date.month(), date.day()] {
                written.push("-");
                written.push_number(u64::from(part.unsigned_abs()), 2);
            }
            out.push_str(written.text());
        }
        Err(_) => out.push_str(&date.to_string()),
    }
}

/// How a date is written in text.
#[derive(Debug)]
struct Format {
    /// As for `strptime`.
    text: String,
    /// Days, months and years in full, each once, and nothing else but signs between them: read and written here.
    simple: Option<Vec<FormatPart>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FormatPart {
    Day,
    Month,
    Year,
    Sign(u8),
}

impl FormatPart {
    const fn len(self) -> usize {
        match self {
            Self::Day | Self::Month => 2,
            Self::Year => 4,
            Self::Sign(_) => 1,
        }
    }
}

impl Format {
    fn new(text: String) -> Self {
        Self { simple: Self::simple(&text), text }
    }

    fn simple(text: &str) -> Option<Vec<FormatPart>> {
        let mut parts = Vec::new();
        let mut letters = text.bytes();
        while let Some(letter) = letters.next() {
            let part = match letter {
                b'%' => match letters.next()? {
                    b'd' => FormatPart::Day,
                    b'm' => FormatPart::Month,
                    b'Y' => FormatPart::Year,
                    _ => return None,
                },
                sign if sign.is_ascii_punctuation() => FormatPart::Sign(sign),
                _ => return None,
            };
            if !matches!(part, FormatPart::Sign(_)) && parts.contains(&part) {
                return None;
            }
            parts.push(part);
        }
        Some(parts)
    }

    /// A date written with all its digits.
    fn read_simple(parts: &[FormatPart], value: &str) -> Option<Date> {
        let (mut day, mut month, mut year) = (None, None, None);
        let mut rest = value;
        for part in parts {
            let (text, behind) = rest.split_at_checked(part.len())?;
            rest = behind;
            if let FormatPart::Sign(sign) = part {
                if text.as_bytes() != [*sign] {
                    return None;
                }
                continue;
            }
            let number = text.bytes().try_fold(0_i16, |number, digit| {
                digit.is_ascii_digit().then(|| number * 10 + i16::from(digit - b'0'))
            })?;
            match part {
                FormatPart::Day => day = i8::try_from(number).ok(),
                FormatPart::Month => month = i8::try_from(number).ok(),
                _ => year = Some(number),
            }
        }
        if rest.is_empty() { Date::new(year?, month?, day?).ok() } else { None }
    }

    fn read(&self, value: &str) -> Option<Date> {
        let simple = self.simple.as_ref().and_then(|parts| Self::read_simple(parts, value));
        // What is written with fewer digits may be one all the same.
        simple.or_else(|| Date::strptime(&self.text, value).ok())
    }

    fn write(&self, date: Date, out: &mut String) -> Result<(), Unfit> {
        let (Some(parts), Ok(year)) = (&self.simple, u64::try_from(date.year())) else {
            let written = jiff::fmt::strtime::format(&self.text, date);
            out.push_str(&written.map_err(|_| "it cannot be written")?);
            return Ok(());
        };
        for part in parts {
            let number = match part {
                FormatPart::Day => u64::from(date.day().unsigned_abs()),
                FormatPart::Month => u64::from(date.month().unsigned_abs()),
                FormatPart::Year => year,
                FormatPart::Sign(sign) => {
                    out.push(char::from(*sign));
                    continue;
                }
            };
            out.push_str(Short::number(number, part.len()).text());
        }
        Ok(())
    }
}

impl Other {
    fn parse<'v>(&self, value: &'v str) -> Result<(Date, &'v str), Unfit> {
        if let Some(format) = &self.format {
            return Ok((format.read(value).ok_or("it is no date of the format")?, ""));
        }
        if value.ends_with("BC") {
            return Err("dates before year 1 are not moved".into());
        }
        let (day, rest) = value.split_at_checked(10).ok_or("it is no date")?;
        Ok((day.parse().map_err(|_| "it is no date")?, rest))
    }

    fn is_within(&self, date: Date) -> bool {
        self.min.is_none_or(|min| date >= min) && self.max.is_none_or(|max| date <= max)
    }

    fn other(&self, date: Date, value: &str, place: &Place<'_>) -> Result<Date, Unfit> {
        match &self.how {
            How::Shift { key, days, by } => {
                let decides = match by {
                    Some(column) => place.cells.original(*column).unwrap_or(value),
                    None => value,
                };
                let drawn = i64::try_from(key.draw(decides, 0).below(2 * *days as u64));
                let drawn = drawn.unwrap_or(0) - days;
                let by = if drawn >= 0 { drawn + 1 } else { drawn };
                let (one, two) = (shifted(date, by)?, shifted(date, -by)?);
                Ok(if self.is_within(one) || !self.is_within(two) { one } else { two })
            }
            How::Truncate { is_year } => {
                let month = if *is_year { 1 } else { date.month() };
                Date::new(date.year(), month, 1).map_err(|_| "it is no date".into())
            }
            How::Months { months, key } => {
                let year = u64::from(date.year().unsigned_abs());
                let month = months.exchange(year, date.month().unsigned_abs().into());
                // Of the day, however it is written.
                let mut written = String::with_capacity(10);
                write(date, &mut written);
                let day = key.draw(&written, 0).below(28) + 1;
                let (month, day) = (i8::try_from(month), i8::try_from(day));
                let made = Date::new(date.year(), month.unwrap_or(1), day.unwrap_or(1));
                made.map_err(|_| "it is no date".into())
            }
        }
    }
}

/// What PostgreSQL writes for the ends of time.
fn is_infinite(value: &str) -> bool {
    ["infinity", "-infinity"].contains(&value)
}

impl Transformer for Other {
    fn apply(&self, value: &str, place: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        if is_infinite(value) {
            out.push_str(value);
            return Ok(Made::Value);
        }
        let (date, rest) = self.parse(value)?;
        let mut made = self.other(date, value, place)?;
        if let Some(min) = self.min {
            made = made.max(min);
        }
        if let Some(max) = self.max {
            made = made.min(max);
        }
        match &self.format {
            None => {
                write(made, out);
                out.push_str(rest);
            }
            Some(format) => format.write(made, out)?,
        }
        Ok(Made::Value)
    }

    fn survey(&self, value: &str, _: &mut Survey<'_>) -> Result<(), Unfit> {
        if is_infinite(value) {
            return Ok(());
        }
        self.parse(value).map(|_| ())
    }

    fn class(&self) -> Class {
        Class::Nothing
    }

    fn may_stay(&self) -> bool {
        // What lies at or beyond a bound is moved to it.
        matches!(self.how, How::Truncate { .. }) || self.min.is_some() || self.max.is_some()
    }

    fn looks_at(&self) -> Vec<usize> {
        match &self.how {
            How::Shift { by: Some(column), .. } => vec![*column],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        applied, applied_in, cells, contract, made, no_originals, some, try_made,
    };
    use super::*;

    #[test]
    fn they_keep_the_contract() {
        let days = some("(19[2-9][0-9]|20[01][0-9])-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])", 300);
        let moments = some("20[01][0-9]-0[1-9]-[12][0-9] 1[0-9]:05:59(\\.123)?\\+00", 300);
        for rule in ["date_shift = 180", "date_truncate = \"month\"", "birth_month = true"] {
            contract(rule, "date", &days);
            contract(rule, "timestamp with time zone", &moments);
        }
        let written = some("[12][0-9]/0[1-9]/19[2-9][0-9]", 300);
        contract("date_shift = 30\nformat = \"%d/%m/%Y\"", "text", &written);
        contract("birth_month = true\nformat = \"%d/%m/%Y\"", "character varying(10)", &written);
    }

    #[test]
    fn dates_of_a_person_move_together_and_stay_within_bounds() {
        let shift = made("date_shift = 10\nby = \"id\"\nmin = \"1900-01-01\"", "date");
        assert_eq!(shift.looks_at(), [0]);
        let moved = |value: &str, id: &str| {
            let made = applied_in(&*shift, value, &cells(id, ""), &no_originals()).unwrap();
            made.parse::<Date>().unwrap()
        };
        for id in 0..50 {
            let id = id.to_string();
            let by = |from: &str| (moved(from, &id) - from.parse::<Date>().unwrap()).get_days();
            assert!((1..=10).contains(&by("1985-05-17").abs()));
            assert_eq!(by("1990-01-01"), by("1985-05-17"));
            assert!(moved("1900-01-03", &id) >= "1900-01-01".parse().unwrap());
        }
    }

    #[test]
    fn truncating_goes_back_and_exchanging_keeps_the_year() {
        let at = |rule: &str, value: &str| applied(&*made(rule, "date"), value).unwrap();
        assert_eq!(at("date_truncate = \"month\"", "1985-05-17"), "1985-05-01");
        assert_eq!(at("date_truncate = \"year\"", "1985-05-17"), "1985-01-01");
        assert_eq!(at("date_truncate = \"year\"", "infinity"), "infinity");
        let mut months: Vec<String> = (1..=12)
            .map(|month| at("birth_month = true", &format!("1985-{month:02}-03")))
            .map(|made| made[..7].to_owned())
            .collect();
        months.sort();
        months.dedup();
        assert_eq!(months.len(), 12);
        assert!(months.iter().all(|month| month.starts_with("1985-")));
    }

    #[test]
    fn what_is_no_date_is_told_and_what_fits_no_column_is_refused() {
        let shift = made("date_shift = 10", "date");
        for wrong in ["", "1985", "1985-13-01", "0044-03-15 BC", "hello world"] {
            assert!(applied(&*shift, wrong).is_err(), "{wrong}");
        }
        for (rule, type_name) in [
            ("date_shift = 0", "date"),
            ("date_shift = 10", "text"),
            ("date_shift = 10", "integer"),
            ("date_shift = 10\nformat = \"%d\"", "text"),
            ("date_shift = 10\nmin = \"1900\"", "date"),
            ("date_shift = 10\nby = \"nothing\"", "date"),
            ("date_shift = 10\nmin = \"1900-01-01\"\nmax = \"1900-01-01\"", "date"),
        ] {
            assert!(try_made(rule, type_name, 1).is_err(), "{rule}");
        }
    }
}
