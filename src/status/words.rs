//! Words in the languages of the people who read them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub use crate::instance::config::Language;

/// What a language is used for here.
impl Language {
    /// Its code in HTML and in the configuration.
    pub const fn code(self) -> &'static str {
        self.word()
    }

    /// The one of the two texts that is meant.
    pub const fn pick<'t>(self, english: &'t str, french: &'t str) -> &'t str {
        match self {
            Self::En => english,
            Self::Fr => french,
        }
    }
}

/// The time between two moments in its largest unit: `9 h`, `3 days`.
pub fn age(now: Timestamp, then: Timestamp, language: Language) -> String {
    long_duration(now.duration_since(then), language)
}

/// A duration in its largest unit.
pub fn long_duration(duration: SignedDuration, language: Language) -> String {
    let minutes = duration.as_mins().max(0);
    match minutes {
        0..120 => format!("{minutes} min"),
        120..2880 => format!("{} h", minutes / 60),
        _ => format!("{} {}", minutes / 1440, language.pick("days", "jours")),
    }
}

/// A duration that was measured: `4 min 12 s`.
pub fn measured(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}
