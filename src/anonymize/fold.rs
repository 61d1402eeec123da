//! The form in which values are compared: lower case, without accents, spaces and punctuation.

/// A text, folded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folded {
    /// Its letters and digits. Letters that are not Latin are kept as their bytes.
    pub letters: Vec<u8>,
    /// Its words: where each begins and ends in `letters`, and how many other characters were before it.
    pub tokens: Vec<Token>,
}

/// A word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Token {
    /// First letter.
    pub start: usize,
    /// Behind the last one.
    pub end: usize,
    /// Characters between it and the word before, that are neither letters nor digits.
    pub gap: usize,
    /// It has a digit.
    pub has_digit: bool,
}

/// Latin letters with accents, as plain ones; `None`: not such a letter.
const fn plain(letter: char) -> Option<&'static str> {
    Some(match letter {
        'à'..='å' | 'À'..='Å' | 'ā' | 'Ā' | 'ă' | 'Ă' | 'ą' | 'Ą' => "a",
        'æ' | 'Æ' => "ae",
        'ç' | 'Ç' | 'ć' | 'Ć' | 'č' | 'Č' | 'ĉ' | 'Ĉ' => "c",
        'ď' | 'Ď' | 'đ' | 'Đ' => "d",
        'è'..='ë' | 'È'..='Ë' | 'ē' | 'Ē' | 'ę' | 'Ę' | 'ě' | 'Ě' | 'ė' | 'Ė' => "e",
        'ğ' | 'Ğ' => "g",
        'ì'..='ï' | 'Ì'..='Ï' | 'ī' | 'Ī' | 'ı' | 'İ' => "i",
        'ł' | 'Ł' => "l",
        'ñ' | 'Ñ' | 'ń' | 'Ń' | 'ň' | 'Ň' => "n",
        'ò'..='ö' | 'Ò'..='Ö' | 'ø' | 'Ø' | 'ō' | 'Ō' | 'ő' | 'Ő' => "o",
        'œ' | 'Œ' => "oe",
        'ř' | 'Ř' => "r",
        'ś' | 'Ś' | 'š' | 'Š' | 'ş' | 'Ş' | 'ș' | 'Ș' => "s",
        'ß' => "ss",
        'ť' | 'Ť' | 'ţ' | 'Ţ' | 'ț' | 'Ț' => "t",
        'ù'..='ü' | 'Ù'..='Ü' | 'ū' | 'Ū' | 'ů' | 'Ů' | 'ű' | 'Ű' => "u",
        'ý' | 'Ý' | 'ÿ' | 'Ÿ' => "y",
        'ź' | 'Ź' | 'ż' | 'Ż' | 'ž' | 'Ž' => "z",
        _ => return None,
    })
}

/// Whether a character is an accent that stands by itself behind its letter.
const fn is_combining(letter: char) -> bool {
    matches!(letter, '\u{300}'..='\u{36f}')
}

/// ASCII letters in lower case and digits; 0 for all else. Bytes of longer characters are not asked for.
const PLAIN: [u8; 256] = {
    let mut plain = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() {
            plain[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    plain
};

fn plain_ascii(byte: u8) -> u8 {
    PLAIN.get(usize::from(byte)).copied().unwrap_or(0)
}

/// The first letters of a text, as [`fold`] makes them; `None`: there are fewer, or something that is not ASCII is among them.
pub fn fold_first<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut letters = [0; N];
    let mut len = 0;
    for byte in text.bytes() {
        if !byte.is_ascii() {
            return None;
        }
        let letter = plain_ascii(byte);
        if letter != 0 {
            *letters.get_mut(len)? = letter;
            len += 1;
        }
        if len == N {
            return Some(letters);
        }
    }
    None
}

/// The letters of a text that is ASCII and has at most as many as fit, as [`fold`] makes them, and nothing else of it.
pub fn fold_short<'b, const N: usize>(text: &str, buffer: &'b mut [u8; N]) -> Option<&'b [u8]> {
    if text.len() > N || !text.is_ascii() {
        return None;
    }
    let mut len = 0;
    for byte in text.bytes() {
        let letter = plain_ascii(byte);
        if let Some(place) = buffer.get_mut(len) {
            *place = letter;
        }
        len += usize::from(letter != 0);
    }
    buffer.get(..len)
}

/// Letters that are put one behind the other into room that is there already.
struct Put<'b> {
    room: &'b mut [u8],
    len: usize,
}

impl Put<'_> {
    #[inline]
    fn letter(&mut self, letter: u8) {
        if let Some(place) = self.room.get_mut(self.len) {
            *place = letter;
            self.len += 1;
        }
    }

    /// What a character that is not ASCII becomes; `None`: it is an accent by itself, and counts as nothing.
    fn other(&mut self, letter: char) -> Option<()> {
        if let Some(plain) = plain(letter) {
            plain.bytes().for_each(|byte| self.letter(byte));
        } else if is_combining(letter) {
            return None;
        } else if letter.is_alphanumeric() {
            let mut buffer = [0; 4];
            for lower in letter.to_lowercase() {
                lower.encode_utf8(&mut buffer).bytes().for_each(|byte| self.letter(byte));
            }
        }
        Some(())
    }
}

/// Folds `text` into `folded`, whose room is used again.
pub fn fold(text: &str, folded: &mut Folded) {
    let Folded { letters, tokens } = folded;
    tokens.clear();
    // A small letter may take more bytes than its capital, by less than one for each.
    letters.resize(2 * text.len(), 0);
    let mut put = Put { room: letters, len: 0 };
    let bytes = text.as_bytes();
    let (mut at, mut gap) = (0, 0);
    // Of the word that has begun: where, and whether it has a digit.
    let (mut begun, mut has_digit) = (None, false);
    while let Some(byte) = bytes.get(at).copied() {
        let start = put.len;
        if byte.is_ascii() {
            at += 1;
            let plain = plain_ascii(byte);
            if plain != 0 {
                put.letter(plain);
                has_digit |= plain.is_ascii_digit();
            }
        } else {
            let Some(letter) = text.get(at..).and_then(|rest| rest.chars().next()) else { break };
            at += letter.len_utf8();
            if put.other(letter).is_none() {
                continue;
            }
        }
        if put.len > start {
            begun.get_or_insert(start);
            continue;
        }
        if let Some(start) = begun.take() {
            tokens.push(Token { start, end: put.len, gap, has_digit });
            (gap, has_digit) = (0, false);
        }
        gap += 1;
    }
    let end = put.len;
    tokens.extend(begun.map(|start| Token { start, end, gap, has_digit }));
    letters.truncate(end);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut folded = Folded::default();
        fold(text, &mut folded);
        let word = |token: &Token| {
            String::from_utf8_lossy(&folded.letters[token.start..token.end]).into_owned()
        };
        folded.tokens.iter().map(word).collect()
    }

    #[test]
    fn case_accents_and_punctuation_make_no_difference() {
        assert_eq!(words("Élodie  d'Œuvre-MÜLLER"), ["elodie", "d", "oeuvre", "muller"]);
        assert_eq!(words("E\u{301}lodie"), ["elodie"]);
        assert_eq!(words("+33 (0)6.12"), ["33", "0", "6", "12"]);
        assert_eq!(words("Иванов, 張"), ["иванов", "張"]);
        assert_eq!(words(" - "), [""; 0]);
    }

    #[test]
    fn gaps_are_counted() {
        let mut folded = Folded::default();
        fold("ab, c1--d", &mut folded);
        let gaps: Vec<usize> = folded.tokens.iter().map(|token| token.gap).collect();
        assert_eq!(gaps, [0, 2, 2]);
        assert!(folded.tokens[1].has_digit && !folded.tokens[2].has_digit);
    }

    /// One character after the other, as it was written down first.
    fn slowly(text: &str) -> Folded {
        let mut folded = Folded::default();
        let (mut token, mut gap): (Option<Token>, usize) = (None, 0);
        for letter in text.chars().filter(|letter| !is_combining(*letter)) {
            let start = folded.letters.len();
            if letter.is_ascii_alphanumeric() {
                folded.letters.push(letter.to_ascii_lowercase() as u8);
            } else if let Some(plain) = plain(letter) {
                folded.letters.extend(plain.bytes());
            } else if letter.is_alphanumeric() {
                folded.letters.extend(letter.to_lowercase().collect::<String>().bytes());
            }
            let end = folded.letters.len();
            if end > start {
                let token = token.get_or_insert(Token { start, end, gap, has_digit: false });
                token.end = end;
                token.has_digit |= letter.is_ascii_digit();
                continue;
            }
            if let Some(done) = token.take() {
                folded.tokens.push(done);
                gap = 0;
            }
            gap += 1;
        }
        folded.tokens.extend(token);
        folded
    }

    proptest! {
        #[test]
        fn the_quick_ways_and_the_plain_one_agree(text in "[ -~]{0,20}[a-zé0-9 É\u{301}œ張,İß\t]{0,20}") {
            let mut folded = Folded::default();
            fold(&text, &mut folded);
            prop_assert_eq!(&folded, &slowly(&text));
            if let Some(first) = fold_first::<6>(&text) {
                prop_assert_eq!(&first[..], &folded.letters[..6]);
            } else {
                prop_assert!(folded.letters.len() < 6 || !text.is_ascii());
            }
            let mut buffer = [7; 40];
            match fold_short(&text, &mut buffer) {
                Some(letters) => prop_assert_eq!(letters, &folded.letters[..]),
                None => prop_assert!(text.len() > 40 || !text.is_ascii()),
            }
        }
    }

    #[test]
    fn no_letter_takes_more_room_than_there_is() {
        let mut folded = Folded::default();
        for letter in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let mut buffer = [0; 4];
            let text: &str = letter.encode_utf8(&mut buffer);
            fold(text, &mut folded);
            assert_eq!(folded, slowly(text), "{letter:?}");
        }
    }
}
