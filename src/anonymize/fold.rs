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

/// Folds `text` into `folded`, whose room is used again.
pub fn fold(text: &str, folded: &mut Folded) {
    folded.letters.clear();
    folded.tokens.clear();
    let mut token: Option<Token> = None;
    let mut gap = 0;
    for letter in text.chars() {
        let start = folded.letters.len();
        if letter.is_ascii_alphanumeric() {
            folded.letters.push(letter.to_ascii_lowercase() as u8);
        } else if letter.is_ascii() {
            // Neither letter nor digit.
        } else if let Some(plain) = plain(letter) {
            folded.letters.extend_from_slice(plain.as_bytes());
        } else if is_combining(letter) {
            continue;
        } else if letter.is_alphanumeric() {
            let mut buffer = [0; 4];
            for lower in letter.to_lowercase() {
                folded.letters.extend_from_slice(lower.encode_utf8(&mut buffer).as_bytes());
            }
        }
        let end = folded.letters.len();
        if end == start {
            if let Some(done) = token.take() {
                folded.tokens.push(done);
                gap = 0;
            }
            gap += 1;
            continue;
        }
        let current = token.get_or_insert(Token { start, end, gap, has_digit: false });
        current.end = end;
        current.has_digit |= letter.is_ascii_digit();
    }
    folded.tokens.extend(token);
}

#[cfg(test)]
mod tests {
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
}
