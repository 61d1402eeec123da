//! Encodings of databases: rows are read and written in the one the source has.

/// An encoding that rows may be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// `UTF8`.
    Utf8,
    /// `LATIN1`.
    Latin1,
    /// `LATIN9`: with the euro and œ.
    Latin9,
    /// `WIN1252`.
    Windows1252,
}

/// Where Latin-9 differs from Latin-1.
const LATIN9: [(u8, char); 8] = [
    (0xa4, '€'),
    (0xa6, 'Š'),
    (0xa8, 'š'),
    (0xb4, 'Ž'),
    (0xb8, 'ž'),
    (0xbc, 'Œ'),
    (0xbd, 'œ'),
    (0xbe, 'Ÿ'),
];
/// Where Windows-1252 differs from Latin-1.
const WINDOWS_1252: [(u8, char); 27] = [
    (0x80, '€'),
    (0x82, '‚'),
    (0x83, 'ƒ'),
    (0x84, '„'),
    (0x85, '…'),
    (0x86, '†'),
    (0x87, '‡'),
    (0x88, 'ˆ'),
    (0x89, '‰'),
    (0x8a, 'Š'),
    (0x8b, '‹'),
    (0x8c, 'Œ'),
    (0x8e, 'Ž'),
    (0x91, '‘'),
    (0x92, '’'),
    (0x93, '“'),
    (0x94, '”'),
    (0x95, '•'),
    (0x96, '–'),
    (0x97, '—'),
    (0x98, '˜'),
    (0x99, '™'),
    (0x9a, 'š'),
    (0x9b, '›'),
    (0x9c, 'œ'),
    (0x9e, 'ž'),
    (0x9f, 'Ÿ'),
];

impl Charset {
    /// The one PostgreSQL calls so. Others are not read here.
    pub fn of_postgres(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            // Of SQL_ASCII nobody knows what it is: it is taken if it is UTF-8.
            "UTF8" | "UNICODE" | "SQL_ASCII" => Some(Self::Utf8),
            "LATIN1" | "ISO88591" => Some(Self::Latin1),
            "LATIN9" | "ISO885915" => Some(Self::Latin9),
            "WIN1252" => Some(Self::Windows1252),
            _ => None,
        }
    }

    const fn differences(self) -> &'static [(u8, char)] {
        match self {
            Self::Utf8 | Self::Latin1 => &[],
            Self::Latin9 => &LATIN9,
            Self::Windows1252 => &WINDOWS_1252,
        }
    }

    /// Appends `bytes` to `text`; `None` if they are no text in this encoding.
    pub fn decode(self, bytes: &[u8], text: &mut String) -> Option<()> {
        if self == Self::Utf8 || bytes.is_ascii() {
            text.push_str(str::from_utf8(bytes).ok()?);
            return Some(());
        }
        for byte in bytes {
            let other = self.differences().iter().find(|(code, _)| code == byte);
            text.push(other.map_or(char::from(*byte), |(_, letter)| *letter));
        }
        Some(())
    }

    /// Appends `text` to `bytes`. A letter the encoding does not have becomes `?`.
    pub fn encode(self, text: &str, bytes: &mut Vec<u8>) {
        if self == Self::Utf8 || text.is_ascii() {
            bytes.extend_from_slice(text.as_bytes());
            return;
        }
        for letter in text.chars() {
            let differences = self.differences();
            let other = differences.iter().find(|(_, other)| *other == letter);
            let plain = u8::try_from(u32::from(letter)).ok();
            let plain = plain.filter(|code| !differences.iter().any(|(other, _)| other == code));
            bytes.push(other.map(|(code, _)| *code).or(plain).unwrap_or(b'?'));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_single_byte_encoding_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        for charset in [Charset::Latin1, Charset::Latin9, Charset::Windows1252] {
            let (mut text, mut bytes) = (String::new(), Vec::new());
            charset.decode(&all, &mut text).unwrap();
            charset.encode(&text, &mut bytes);
            assert_eq!(bytes, all, "{charset:?}");
        }
    }

    #[test]
    fn letters_are_those_of_the_encoding() {
        let read = |charset: Charset, bytes: &[u8]| {
            let mut text = String::new();
            charset.decode(bytes, &mut text).map(|()| text)
        };
        assert_eq!(read(Charset::Latin1, b"\xe9\xa4").unwrap(), "é¤");
        assert_eq!(read(Charset::Latin9, b"\xe9\xa4\xbd").unwrap(), "é€œ");
        assert_eq!(read(Charset::Windows1252, b"\x80\x9c").unwrap(), "€œ");
        assert_eq!(read(Charset::Utf8, b"\xe9"), None);
        let mut bytes = Vec::new();
        Charset::Latin1.encode("é€", &mut bytes);
        assert_eq!(bytes, b"\xe9?");
        assert_eq!(Charset::of_postgres("EUC_JP"), None);
        assert_eq!(Charset::of_postgres("UTF8"), Some(Charset::Utf8));
    }
}
