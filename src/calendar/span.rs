//! Spans of the calendar as restic's users write them: `2y5m7d3h`, in which `m` are months.

use std::fmt;
use std::str::FromStr;

use jiff::{Span, Timestamp, tz::TimeZone};

/// Largest number of each unit: a span that reaches beyond the calendar keeps everything.
const MOST: u32 = 9_999;

/// Years, months, weeks, days and hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CalendarSpan {
    years: u32,
    months: u32,
    weeks: u32,
    days: u32,
    hours: u32,
}

/// Why a text is no span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no span of the calendar: {reason}; write it like `14d`, `6m` or `2y5m7d3h` (y years, m months, w weeks, d days, h hours)"
)]
pub struct SpanError {
    text: String,
    reason: &'static str,
}

impl FromStr for CalendarSpan {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let refuse = |reason| SpanError {
            text: text.chars().take(60).collect::<String>().escape_debug().to_string(),
            reason,
        };
        let mut span = Self::default();
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(refuse("it is empty"));
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            if number.is_empty() {
                return Err(refuse("a number is missing"));
            }
            let number = number.parse::<u32>().ok().filter(|number| *number <= MOST);
            let number = number.ok_or_else(|| refuse("a number is larger than 9999"))?;
            let unit = tail.chars().next().ok_or_else(|| refuse("a unit is missing"))?;
            let place = match unit {
                'y' => &mut span.years,
                'm' => &mut span.months,
                'w' => &mut span.weeks,
                'd' => &mut span.days,
                'h' => &mut span.hours,
                _ => return Err(refuse("it has an unknown unit")),
            };
            if *place != 0 {
                return Err(refuse("a unit comes twice"));
            }
            *place = number;
            rest = &tail[unit.len_utf8()..];
        }
        if span == Self::default() {
            return Err(refuse("it is nothing"));
        }
        Ok(span)
    }
}

impl fmt::Display for CalendarSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.years, 'y'),
            (self.months, 'm'),
            (self.weeks, 'w'),
            (self.days, 'd'),
            (self.hours, 'h'),
        ];
        for (number, unit) in parts.into_iter().filter(|(number, _)| *number > 0) {
            write!(f, "{number}{unit}")?;
        }
        Ok(())
    }
}

impl CalendarSpan {
    fn as_jiff(self) -> Option<Span> {
        Span::new()
            .try_years(self.years)
            .and_then(|span| span.try_months(self.months))
            .and_then(|span| span.try_weeks(self.weeks))
            .and_then(|span| span.try_days(self.days))
            .and_then(|span| span.try_hours(self.hours))
            .ok()
    }

    /// So much before `time`, as the calendar of `zone` counts; the beginning of time if that is earlier.
    pub fn before(self, time: Timestamp, zone: &TimeZone) -> Timestamp {
        self.as_jiff()
            .and_then(|span| time.to_zoned(zone.clone()).checked_sub(span).ok())
            .map_or(Timestamp::MIN, |zoned| zoned.timestamp())
    }

    /// So much after `time`; the end of time if that is later.
    pub fn after(self, time: Timestamp, zone: &TimeZone) -> Timestamp {
        self.as_jiff()
            .and_then(|span| time.to_zoned(zone.clone()).checked_add(span).ok())
            .map_or(Timestamp::MAX, |zoned| zoned.timestamp())
    }
}
