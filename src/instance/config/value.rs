//! Values that are checked while they are read, so that an error knows its line.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, Error};

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
Percent(u8) from i64,
|share| match u8::try_from(share) {
    Ok(share @ 0..=100) => Ok(share),
    _ => Err(format!("{share} is no share in percent; choose 0 to 100")),
});

checked!(
/// A length of time.
#[schemars(with = "String")]
Wait(Duration) from String,
|text| {
    let duration = text.parse::<SignedDuration>().ok();
    duration.and_then(|duration| Duration::try_from(duration).ok()).ok_or_else(|| {
        format!("`{}` is no length of time; write it like `90s` or `10m`", text.escape_debug())
    })
});

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
