//! How fast bytes may go, perhaps by the time of day.

use std::str::FromStr;

use jiff::tz::TimeZone;

use crate::clock::{Clock, SystemClock};

/// Bytes a second: one rate, or a timetable of them.
///
/// `2MiB`, `500KiB`, a plain number of bytes; or `08:00,512KiB 19:00,off`: from each time on until the next, every
/// day, by the clock of this machine. Before the first time of a day the last one holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// From which minute of the day on, in order, never empty; `None`: as fast as it goes.
    from: Vec<(u16, Option<u64>)>,
}

impl Rate {
    /// The rate at a minute of the day.
    pub(super) fn at(&self, minute: u16) -> Option<u64> {
        let begun = self.from.iter().rev().find(|(from, _)| *from <= minute);
        begun.or_else(|| self.from.last()).and_then(|(_, rate)| *rate)
    }

    /// The rate now.
    pub(super) fn now(&self) -> Option<u64> {
        match &self.from[..] {
            [(_, always)] => *always,
            _ => {
                let now = SystemClock.now().to_zoned(TimeZone::system()).time();
                let (hour, minute) = (now.hour().unsigned_abs(), now.minute().unsigned_abs());
                self.at(u16::from(hour) * 60 + u16::from(minute))
            }
        }
    }
}

/// Text is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write bytes a second, like 500KiB or 2MiB, or a timetable, like `08:00,512KiB 19:00,off`")]
pub struct RateError;

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        if !text.contains(',') {
            return Ok(Self { from: vec![(0, Some(bytes_a_second(text)?))] });
        }
        let mut from = Vec::new();
        for word in text.split_whitespace() {
            let (time, rate) = word.split_once(',').ok_or(RateError)?;
            let rate = match rate {
                "off" => None,
                rate => Some(bytes_a_second(rate)?),
            };
            from.push((minute(time)?, rate));
        }
        let is_in_order =
            from.windows(2).all(|two| matches!(two, [(one, _), (next, _)] if one < next));
        if is_in_order { Ok(Self { from }) } else { Err(RateError) }
    }
}

fn bytes_a_second(text: &str) -> Result<u64, RateError> {
    let text = text.trim().trim_end_matches("/s");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" | "K" | "k" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        _ => return Err(RateError),
    };
    let number: u64 = number.parse().map_err(|_| RateError)?;
    number.checked_mul(1 << shift).filter(|rate| *rate > 0).ok_or(RateError)
}

/// `HH:MM` as a minute of the day.
fn minute(text: &str) -> Result<u16, RateError> {
    let (hours, minutes) = text.split_once(':').ok_or(RateError)?;
    let number = |text: &str, below: u16| {
        // A sign would be a number, too.
        let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if is_plain { text.parse::<u16>().ok() } else { None };
        number.filter(|number| *number < below).ok_or(RateError)
    };
    Ok(number(hours, 24)? * 60 + number(minutes, 60)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn one_rate_holds_always() {
        for (text, bytes) in
            [("500KiB", 500 << 10), ("2M", 2 << 20), ("1GiB/s", 1 << 30), (" 77 ", 77)]
        {
            assert_eq!(rate(text).at(0), Some(bytes), "{text}");
            assert_eq!(rate(text).now(), Some(bytes), "{text}");
        }
    }

    #[test]
    fn a_timetable_goes_round_the_day() {
        let day = rate("08:00,512KiB 12:30,2MiB 19:00,off");
        let at = |hours: u16, minutes: u16| day.at(hours * 60 + minutes);
        assert_eq!(at(7, 59), None);
        assert_eq!(at(8, 0), Some(512 << 10));
        assert_eq!(at(12, 29), Some(512 << 10));
        assert_eq!(at(12, 30), Some(2 << 20));
        assert_eq!((at(19, 0), at(23, 59), at(0, 0)), (None, None, None));
        assert_eq!(
            rate("19:00,off 20:00,1K").at(0),
            Some(1024),
            "the evening's goes on until the next"
        );
    }

    #[test]
    fn other_words_are_refused() {
        for text in [
            "",
            "0",
            "fast",
            "12XiB",
            "99999999999G",
            "8:00,1K",
            "08:00,",
            "24:00,1K",
            "08:60,1K",
            ",1K",
            "off",
            "08:00,1K 07:00,off",
            "08:00,1K 08:00,off",
            "08:00,1K;09:00,off",
            "-1:00,1K",
            "+8:00,1K",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(RateError), "{text}");
        }
    }
}
