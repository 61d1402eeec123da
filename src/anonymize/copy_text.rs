//! The text that `COPY` writes: rows are lines, fields are separated by tabs, and what would be
//! mistaken for either is escaped.
//!
//! Works on bytes of any encoding that PostgreSQL has on a server: in all of them a byte below 128
//! is itself and never a part of a longer character.

use std::borrow::Cow;

/// How `COPY` writes NULL.
pub const NULL: &[u8] = b"\\N";

/// The raw fields of a row, `line` without its end.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let Some(at) = memchr::memchr(b'\t', line) else { return rest.take() };
        let (field, behind) = line.split_at(at);
        rest = behind.get(1..);
        Some(field)
    })
}

/// Rows out of pieces that end anywhere.
#[derive(Debug, Default)]
pub struct Lines {
    /// Come, but not yet a whole row.
    held: Vec<u8>,
}

impl Lines {
    /// Gives every row that has come to its end to `act`, without that end.
    pub fn push<E>(
        &mut self,
        bytes: &[u8],
        mut act: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, behind) = rest.split_at(end);
            rest = behind.get(1..).unwrap_or_default();
            if self.held.is_empty() {
                act(line)?;
            } else {
                self.held.extend_from_slice(line);
                act(&self.held)?;
                self.held.clear();
            }
        }
        self.held.extend_from_slice(rest);
        Ok(())
    }

    /// Whether the last row has come to its end.
    pub const fn is_whole(&self) -> bool {
        self.held.is_empty()
    }
}

/// What a raw field means; `None`: NULL.
pub fn decode(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    if raw == NULL {
        return None;
    }
    let Some(first) = memchr::memchr(b'\\', raw) else {
        return Some(Cow::Borrowed(raw));
    };
    let mut value = Vec::with_capacity(raw.len());
    value.extend_from_slice(raw.get(..first).unwrap_or_default());
    let mut rest = raw.get(first..).unwrap_or_default().iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            value.push(byte);
            continue;
        }
        let Some(escaped) = rest.next() else {
            value.push(b'\\');
            break;
        };
        value.push(match escaped {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'0'..=b'7' => {
                let mut code = u32::from(escaped - b'0');
                for _ in 0..2 {
                    let Some(digit) = rest.next_if(|next| (b'0'..=b'7').contains(next)) else {
                        break;
                    };
                    code = code * 8 + u32::from(digit - b'0');
                }
                (code & 0xff) as u8
            }
            b'x' => {
                let mut code = None;
                for _ in 0..2 {
                    let Some(digit) = rest.next_if(u8::is_ascii_hexdigit) else { break };
                    let digit = char::from(digit).to_digit(16).unwrap_or(0);
                    code = Some(code.unwrap_or(0) * 16 + digit);
                }
                code.map_or(b'x', |code| (code & 0xff) as u8)
            }
            other => other,
        });
    }
    Some(Cow::Owned(value))
}

/// Whether one of eight bytes is a backslash, or below 14; the highest bit of a byte says so of it, and of none before it
/// wrongly.
const fn has_special(bytes: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = ONES << 7;
    let bytes = u64::from_le_bytes(bytes);
    let slashes = bytes ^ (ONES * b'\\' as u64);
    let low = bytes.wrapping_sub(ONES * 14) & !bytes;
    let slash = slashes.wrapping_sub(ONES) & !slashes;
    (low | slash) & HIGHEST != 0
}

/// Writes a value as a raw field.
pub fn encode(value: &[u8], out: &mut Vec<u8>) {
    let (eights, rest) = value.as_chunks::<8>();
    let mut last = [b' '; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    if !has_special(last) && !eights.iter().any(|bytes| has_special(*bytes)) {
        out.extend_from_slice(value);
        return;
    }
    for byte in value {
        let letter = match byte {
            8 => b'b',
            9 => b't',
            10 => b'n',
            11 => b'v',
            12 => b'f',
            13 => b'r',
            b'\\' => b'\\',
            other => {
                out.push(*other);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', letter]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_mean_what_postgresql_says() {
        let decoded = |raw: &str| decode(raw.as_bytes()).map(Cow::into_owned);
        assert_eq!(decoded("\\N"), None);
        assert_eq!(decoded("").unwrap(), b"");
        assert_eq!(decoded("a\\tb\\nc\\\\d\\re").unwrap(), b"a\tb\nc\\d\re");
        assert_eq!(decoded("\\b\\f\\v").unwrap(), [8, 12, 11]);
        assert_eq!(decoded("\\101\\x41\\x4g\\xg\\8").unwrap(), b"AA\x04gxg8");
        assert_eq!(decoded("end\\").unwrap(), b"end\\");
        // A value that looks like NULL is written so that it is none.
        assert_eq!(decoded("\\\\N").unwrap(), b"\\N");
    }

    #[test]
    fn a_row_is_split_at_tabs() {
        let row: Vec<&[u8]> = fields(b"1\t\\N\t\ta\\tb").collect();
        assert_eq!(row, [&b"1"[..], b"\\N", b"", b"a\\tb"]);
        assert_eq!(fields(b"").count(), 1);
    }

    proptest! {
        #[test]
        fn rows_are_the_same_however_they_come(
            text in "[ab\n]{0,30}",
            cuts in proptest::collection::vec(0_usize..5, 0..20),
        ) {
            let (mut lines, mut found, mut rest) = (Lines::default(), Vec::new(), text.as_bytes());
            let mut push = |piece: &[u8]| lines.push(piece, |line| {
                found.push(line.to_vec());
                Ok::<(), ()>(())
            });
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                push(piece).unwrap();
                rest = behind;
            }
            push(rest).unwrap();
            let mut wanted: Vec<&[u8]> = text.as_bytes().split(|byte| *byte == b'\n').collect();
            let last = wanted.pop().unwrap_or_default();
            prop_assert_eq!(found, wanted);
            prop_assert_eq!(lines.is_whole(), last.is_empty());
        }

        #[test]
        fn whatever_is_written_is_read_back(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut raw = Vec::new();
            encode(&value, &mut raw);
            prop_assert!(!raw.contains(&b'\t') && !raw.contains(&b'\n') && raw != NULL);
            prop_assert_eq!(decode(&raw).map(Cow::into_owned), Some(value));
        }

        #[test]
        fn no_field_makes_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(&raw);
        }
    }
}
