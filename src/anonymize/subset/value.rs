//! Values that a condition compares, as `COPY` writes them.

use jiff::civil::{Date, Time};

use super::super::schema::{Column, Kind};

/// Microseconds of a day.
pub const DAY: i128 = 86_400_000_000;

/// How values of a column are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Whole numbers.
    Integer,
    /// Other numbers, with fifteen digits.
    Number,
    /// True or false.
    Boolean,
    /// Text, letter by letter as in the collation `C`.
    Text,
    /// The same; spaces at the end say nothing.
    Padded,
    /// Equal or not, small and capital letters being the same.
    Uuid,
    /// Days.
    Day,
    /// Moments; without an offset they are in UTC.
    Moment,
    /// Equal or not, as it is written.
    Word,
    /// Nothing but whether it is there.
    Presence,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number.
    Integer(i64),
    /// Another number.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// Text.
    Text(String),
    /// Microseconds since 1970.
    Moment(i128),
}

impl Value {
    /// Which of two values of one scale is the greater.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Moment(a), Self::Moment(b)) => a.cmp(b),
            // Both are read by one scale.
            _ => std::cmp::Ordering::Less,
        }
    }
}

impl Scale {
    /// Of a column.
    pub fn of(column: &Column) -> Self {
        match Kind::of(&column.type_name) {
            Kind::Integer => Self::Integer,
            Kind::Number if column.type_name != "money" => Self::Number,
            Kind::Boolean => Self::Boolean,
            Kind::Text(_) if is_padded(&column.type_name) => Self::Padded,
            Kind::Text(_) => Self::Text,
            Kind::Uuid => Self::Uuid,
            Kind::Date => Self::Day,
            Kind::Timestamp => Self::Moment,
            Kind::Other => Self::Word,
            Kind::Number | Kind::Address | Kind::Json | Kind::Bytes | Kind::Array(_) => {
                Self::Presence
            }
        }
    }

    /// Whether one value can be less than another.
    pub const fn is_ordered(self) -> bool {
        !matches!(self, Self::Boolean | Self::Uuid | Self::Word | Self::Presence)
    }

    /// Reads a value; `None`: it is none of this scale.
    pub fn read(self, text: &str) -> Option<Value> {
        match self {
            Self::Integer => text.parse().ok().map(Value::Integer),
            Self::Number => text.parse().ok().map(Value::Number),
            Self::Boolean => match text {
                "t" | "true" => Some(Value::Boolean(true)),
                "f" | "false" => Some(Value::Boolean(false)),
                _ => None,
            },
            Self::Text | Self::Word => Some(Value::Text(text.to_owned())),
            Self::Padded => Some(Value::Text(text.trim_end_matches(' ').to_owned())),
            Self::Uuid => Some(Value::Text(text.to_ascii_lowercase())),
            Self::Day | Self::Moment => moment(text).map(Value::Moment),
            Self::Presence => None,
        }
    }
}

/// Whether a type fills its values up with spaces.
pub fn is_padded(type_name: &str) -> bool {
    type_name.starts_with("character(") || type_name == "bpchar"
}

/// A day or a moment, in microseconds since 1970. What is before the year 0 or behind 9999 is before or behind
/// everything.
fn moment(text: &str) -> Option<i128> {
    match text {
        "infinity" => return Some(i128::MAX),
        "-infinity" => return Some(i128::MIN),
        _ if text.ends_with(" BC") => return Some(i128::MIN + 1),
        _ => {}
    }
    let (day, rest) = text.split_once([' ', 'T']).unwrap_or((text, ""));
    let year = day.split('-').next().unwrap_or_default();
    if year.len() > 4 && year.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(i128::MAX - 1);
    }
    let day: Date = day.parse().ok()?;
    let days = Date::constant(1970, 1, 1).until(day).ok()?.get_days();
    let micros = i128::from(days) * DAY;
    if rest.is_empty() {
        return Some(micros);
    }
    let end = rest.find(['+', '-', 'Z']).unwrap_or(rest.len());
    let (time, offset) = rest.split_at_checked(end)?;
    let time: Time = time.trim_end().parse().ok()?;
    let seconds =
        i128::from(time.hour()) * 3600 + i128::from(time.minute()) * 60 + i128::from(time.second());
    let within = seconds * 1_000_000 + i128::from(time.subsec_nanosecond() / 1000);
    Some(micros + within - offset_of(offset)? * 1_000_000)
}

/// `+02`, `-03:30`, `Z`, in seconds.
fn offset_of(text: &str) -> Option<i128> {
    let (sign, digits) = match text.split_at_checked(1) {
        None | Some(("Z", "")) => return Some(0),
        Some(("+", digits)) => (1, digits),
        Some(("-", digits)) => (-1, digits),
        Some(_) => return None,
    };
    let mut seconds = 0;
    for (part, unit) in digits.split(':').zip([3600, 60, 1]) {
        seconds += part.parse::<u8>().ok().map(i128::from)? * unit;
    }
    Some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_compared_over_offsets_and_eras() {
        let at = |text: &str| moment(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(at("1970-01-02"), DAY);
        assert_eq!(at("2024-05-06 09:08:09.5+02"), at("2024-05-06T07:08:09.500"));
        assert_eq!(at("2024-05-06 03:38:09-03:30"), at("2024-05-06 07:08:09Z"));
        let ordered = [
            "-infinity",
            "0044-03-15 BC",
            "0001-01-01",
            "1969-12-31 23:59:59",
            "1970-01-01",
            "9999-12-31 23:59:59",
            "12024-01-01",
            "infinity",
        ];
        for pair in ordered.windows(2) {
            assert!(at(pair[0]) < at(pair[1]), "{pair:?}");
        }
        for wrong in ["", "yesterday", "2024-13-01", "2024-01-01 25:00", "2024-01-01 10:00+x"] {
            assert_eq!(moment(wrong), None, "{wrong}");
        }
    }
}
