//! Who listens to events: a terminal, a log, a program that reads JSON.
//!
//! Nothing here fails an operation: when a listener's pipe is closed, the backup goes on.

mod json;
mod progress;
mod public_file;
mod sheet;

pub use json::JsonLines;
pub use progress::{Terminal, Verbosity};
pub use public_file::replace_public_file;
pub use sheet::Sheet;

/// `text` with its control characters escaped, so that a hostile file name cannot move the cursor
/// or fake a line of a log.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for letter in text.chars() {
        // What reorders text on a terminal misleads as well as what moves the cursor.
        let reorders = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if letter.is_control() || reorders {
            cleaned.extend(letter.escape_default());
        } else {
            cleaned.push(letter);
        }
    }
    cleaned
}

/// Bytes as people read them: `1.4 GiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let exponent = (63 - bytes.leading_zeros()) / 10;
    let index = usize::try_from(exponent).unwrap_or(1).saturating_sub(1);
    // One digit, rounded down: a size is never told larger than it is.
    let tenths = (u128::from(bytes) * 10) >> (10 * exponent);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS.get(index).unwrap_or(&"EiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_once() {
        assert_eq!(clean("a\n\u{1b}[2Jé"), "a\\n\\u{1b}[2Jé");
        assert_eq!(clean("x\u{202e}gpj"), "x\\u{202e}gpj");
        let once = clean("a\rb");
        assert_eq!(clean(&once), once);
    }

    #[test]
    fn sizes_keep_one_digit() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1023.9 KiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "15.9 EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
