//! Names as people see them. A name may hold any byte: written as it is, it could move the cursor of a
//! terminal, hide what follows, or read backwards.

/// `path` fit to print: control characters, characters that change the direction of text or have no
/// width, and bytes that are no UTF-8 become `\xHH`, a backslash becomes `\\`. [`parse_path`] undoes it.
pub fn display_path(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for piece in path.utf8_chunks() {
        for character in piece.valid().chars() {
            if character == '\\' {
                text.push_str("\\\\");
            } else if is_unfit(character) {
                let mut buffer = [0; 4];
                escape(character.encode_utf8(&mut buffer).as_bytes(), &mut text);
            } else {
                text.push(character);
            }
        }
        escape(piece.invalid(), &mut text);
    }
    text
}

/// The bytes of a path that [`display_path`] wrote; `None` if a backslash begins nothing it writes.
pub fn parse_path(text: &str) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            path.push(byte);
            continue;
        }
        let (&kind, after) = rest.split_first()?;
        rest = after;
        match kind {
            b'\\' => path.push(b'\\'),
            b'x' => {
                let (digits, after) = rest.split_at_checked(2)?;
                let [byte] = crate::id::from_hex(std::str::from_utf8(digits).ok()?)?;
                path.push(byte);
                rest = after;
            }
            _ => return None,
        }
    }
    Some(path)
}

fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        text.push_str("\\x");
        text.push_str(&crate::id::to_hex(&[*byte]));
    }
}

/// Control characters (C0, DEL, C1), line separators, and what reorders or hides text.
fn is_unfit(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn terminals_get_nothing_but_text() {
        let cases: [(&[u8], &str); 6] = [
            (b"etc/hosts", "etc/hosts"),
            ("Grüße/日本".as_bytes(), "Grüße/日本"),
            (b"a\x1b[2Jb\n\x07\x7f", r"a\x1b[2Jb\x0a\x07\x7f"),
            (b"caf\xe9 \\x41", r"caf\xe9 \\x41"),
            ("\u{202e}cod.exe".as_bytes(), r"\xe2\x80\xaecod.exe"),
            ("\u{9b}31m".as_bytes(), r"\xc2\x9b31m"),
        ];
        for (path, shown) in cases {
            assert_eq!(display_path(path), shown);
            assert_eq!(parse_path(shown).as_deref(), Some(path));
        }
    }

    #[test]
    fn what_was_never_written_is_not_read() {
        for text in [r"a\", r"\n", r"\x4", r"\xzz", r"\x+1"] {
            assert_eq!(parse_path(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_path_reads_back(path in prop::collection::vec(any::<u8>(), 0..40)) {
            let shown = display_path(&path);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert_eq!(parse_path(&shown), Some(path));
        }
    }
}
