//! Values that are checked while they are read, so that an error knows its line.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, Error};

use crate::calendar::{CalendarSpan, CronError, CronLine, SpanError};

/// A value made of a plainer one, checked.
macro_rules! checked {
    ($(#[$doc:meta])* $name:ident($inner:ty) from $plain:ty, $check:expr) => {
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
        $(#[$doc])*
        pub(super) struct $name(pub $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let check: fn($plain) -> Result<$inner, String> = $check;
                check(<$plain>::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
            }
        }
    };
}

checked!(
/// A path without `..`, of which nobody could say what it means after a link.
PlainPath(PathBuf) from String,
|text| {
    plain(&text)?;
    Ok(PathBuf::from(text))
});

checked!(
/// A path that does not depend on anything.
AbsolutePath(PathBuf) from String,
|text| {
    plain(&text)?;
    if !Path::new(&text).is_absolute() {
        return Err(format!("`{text}` is not an absolute path; begin it with `/`"));
    }
    Ok(PathBuf::from(text))
});

checked!(
/// A path or a URL.
RepositoryText(String) from String,
|text| {
    if !text.contains("://") {
        plain(&text)?;
    }
    Ok(text)
});

checked!(
/// A text that is not empty and stays on its line.
Line(String) from String,
|text| {
    if text.trim().is_empty() {
        return Err("an empty text stands here; write a value or remove it".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{text:?} holds a control character; remove it"));
    }
    Ok(text)
});

checked!(
/// Name of an instance: fit for files, units and snapshots.
InstanceName(String) from String,
|text| {
    let is_start = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_rest = |c: char| is_start(c) || matches!(c, '.' | '_' | '-');
    if text.len() > 63 || !text.starts_with(is_start) || !text.chars().all(is_rest) {
        return Err(format!(
            "`{}` cannot be the name of an instance: use up to 63 of a-z, 0-9, `.`, `_` and `-`, \
             first a letter or a digit",
            text.escape_debug()
        ));
    }
    Ok(text)
});

checked!(
/// Level of zstd.
#[schemars(extend("minimum" = 1, "maximum" = 19))]
Level(u8) from i64,
|level| match u8::try_from(level) {
    Ok(level @ 1..=19) => Ok(level),
    _ => Err(format!("{level} is no compression level; choose 1 (fast) to 19 (small)")),
});

checked!(
/// A connection string without a password.
Conninfo(String) from String,
|text| {
    crate::postgres::check_conninfo(&text).map_err(|error| error.to_string())?;
    Ok(text)
});

checked!(
/// Sessions at once.
#[schemars(extend("minimum" = 1, "maximum" = 32))]
Workers(u8) from i64,
|count| match u8::try_from(count) {
    Ok(count @ 1..=32) => Ok(count),
    _ => Err(format!("{count} workers are not possible; choose 1 to 32")),
});

checked!(
/// A share in percent.
#[schemars(extend("minimum" = 0, "maximum" = 100))]
Share(u8) from i64,
|share| match u8::try_from(share) {
    Ok(share @ 0..=100) => Ok(share),
    _ => Err(format!("{share} is no share in percent; choose 0 to 100")),
});

/// A kind of source whose changed pieces are compressed against the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeltaSource {
    /// Files.
    Files,
    /// Databases.
    Databases,
}

impl DeltaSource {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Databases => "databases",
        }
    }
}

/// A time zone by its name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Zone(pub TimeZone);

impl TryFrom<String> for Zone {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        TimeZone::get(&name).map(Self).map_err(|_| {
            format!(
                "`{}` is no time zone; write a name like `Europe/Paris` or `UTC`",
                name.escape_debug()
            )
        })
    }
}

fn plain(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("an empty path stands here; write one or remove it".to_owned());
    }
    if text.contains('\0') {
        return Err(format!("{text:?} holds a NUL byte; remove it"));
    }
    if Path::new(text).components().any(|part| part == Component::ParentDir) {
        return Err(format!("`{text}` leads upwards with `..`; write the path without it"));
    }
    Ok(())
}

/// A text that is parsed into something of ours.
macro_rules! parsed {
    ($(#[$doc:meta])* $vis:vis $name:ident($inner:ty), $parse:expr) => {
        #[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
        $(#[$doc])*
        pub(super) struct $name(#[schemars(with = "String")] $vis $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let parse: fn(&str) -> Result<$inner, String> = $parse;
                parse(&String::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
            }
        }
    };
}

parsed!(
/// A crontab line.
pub CronText(CronLine), |text| text.parse().map_err(|error: CronError| error.to_string()));

parsed!(
/// A span of the calendar.
pub SpanText(CalendarSpan), |text| text.parse().map_err(|error: SpanError| error.to_string()));

parsed!(
/// A duration (`90s`, `15m`, `1h`).
pub DurationText(Duration), parse_duration);

parsed!(
/// A share, in hundredths of a percent.
pub Percent(u32), |text| {
    text.strip_suffix('%')
        .and_then(|number| number.trim().parse::<f64>().ok())
        .filter(|percent| (0.01..=100.0).contains(percent))
        .map(|percent| (percent * 100.0).round() as u32)
        .ok_or_else(|| format!("`{}` is no share; write it like `2%`, up to 100%", text.escape_debug()))
});

parsed!(
/// A number of bytes.
pub Size(u64), parse_size);

fn parse_size(text: &str) -> Result<u64, String> {
    let refuse =
        || format!("`{}` is no size; write it like `500MiB` or `2GiB`", text.escape_debug());
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" | "K" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        "TiB" | "T" => 40,
        _ => return Err(refuse()),
    };
    let number: u64 = number.parse().map_err(|_| refuse())?;
    number.checked_mul(1 << shift).ok_or_else(refuse)
}

impl Size {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse_size(text).map(Self)
    }

    /// In the largest unit that leaves no rest.
    pub fn show(bytes: u64) -> String {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let fits = |(shift, _): &(u32, &str)| bytes > 0 && bytes.is_multiple_of(1 << shift);
        match units.into_iter().find(fits) {
            Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
            None => format!("{bytes}B"),
        }
    }
}

/// A duration as options and configuration have it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refuse =
        || format!("`{}` is no duration; write it like `90s`, `15m` or `1h`", text.escape_debug());
    let duration: SignedDuration = text.parse().map_err(|_| refuse())?;
    Duration::try_from(duration).map_err(|_| refuse())
}
