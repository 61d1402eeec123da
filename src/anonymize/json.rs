//! JSON as it is written: numbers keep their digits, members their order.

use std::borrow::Cow;

/// Deepest nesting read.
const DEEPEST: usize = 128;

/// A value of JSON, borrowed from its text.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'t> {
    /// `null`.
    Null,
    /// `true`, `false`.
    Boolean(bool),
    /// A number, as it is written.
    Number(Cow<'t, str>),
    /// A text.
    Text(Cow<'t, str>),
    /// `[...]`.
    Array(Vec<Json<'t>>),
    /// `{...}`, in order, also with the same name twice.
    Object(Vec<(Cow<'t, str>, Json<'t>)>),
}

/// That a text is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoJson;

impl<'t> Json<'t> {
    /// Reads all of `text`.
    pub fn parse(text: &'t str) -> Result<Self, NoJson> {
        let mut parser = Parser { text, at: 0 };
        let value = parser.value(DEEPEST)?;
        parser.spaces();
        if parser.at == text.len() { Ok(value) } else { Err(NoJson) }
    }

    /// Appends it to `out`, with a space where PostgreSQL has one in `jsonb`.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Boolean(true) => out.push_str("true"),
            Self::Boolean(false) => out.push_str("false"),
            Self::Number(digits) => out.push_str(digits),
            Self::Text(text) => write_text(text, out),
            Self::Array(elements) => {
                out.push('[');
                for (at, element) in elements.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    element.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    write_text(name, out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// Appends a text in quotes.
pub fn write_text(text: &str, out: &mut String) {
    out.push('"');
    let is_special = |byte: u8| byte == b'"' || byte == b'\\' || byte < 0x20;
    if !text.bytes().fold(false, |found, byte| found | is_special(byte)) {
        out.push_str(text);
        out.push('"');
        return;
    }
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if u32::from(control) < 0x20 => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Whether `text` is a number as JSON writes it.
pub fn is_number(text: &str) -> bool {
    let mut parser = Parser { text, at: 0 };
    parser.number().is_ok() && parser.at == text.len()
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, word: &str) -> Result<(), NoJson> {
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            return Ok(());
        }
        Err(NoJson)
    }

    fn value(&mut self, depth: usize) -> Result<Json<'t>, NoJson> {
        let depth = depth.checked_sub(1).ok_or(NoJson)?;
        self.spaces();
        match self.peek().ok_or(NoJson)? {
            b'n' => self.take("null").map(|()| Json::Null),
            b't' => self.take("true").map(|()| Json::Boolean(true)),
            b'f' => self.take("false").map(|()| Json::Boolean(false)),
            b'"' => self.string().map(Json::Text),
            b'[' => self.array(depth),
            b'{' => self.object(depth),
            _ => self.number().map(|digits| Json::Number(Cow::Borrowed(digits))),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json<'t>, NoJson> {
        self.take("[")?;
        let mut elements = Vec::new();
        self.spaces();
        if self.take("]").is_ok() {
            return Ok(Json::Array(elements));
        }
        loop {
            elements.push(self.value(depth)?);
            self.spaces();
            if self.take("]").is_ok() {
                return Ok(Json::Array(elements));
            }
            self.take(",")?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'t>, NoJson> {
        self.take("{")?;
        let mut members = Vec::new();
        self.spaces();
        if self.take("}").is_ok() {
            return Ok(Json::Object(members));
        }
        loop {
            self.spaces();
            let name = self.string()?;
            self.spaces();
            self.take(":")?;
            members.push((name, self.value(depth)?));
            self.spaces();
            if self.take("}").is_ok() {
                return Ok(Json::Object(members));
            }
            self.take(",")?;
        }
    }

    fn digits(&mut self) -> Result<(), NoJson> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(NoJson) }
    }

    fn number(&mut self) -> Result<&'t str, NoJson> {
        let start = self.at;
        let _ = self.take("-");
        let first = self.peek();
        let whole = self.at;
        self.digits()?;
        if first == Some(b'0') && self.at > whole + 1 {
            return Err(NoJson);
        }
        if self.take(".").is_ok() {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.text.get(start..self.at).ok_or(NoJson)
    }

    fn string(&mut self) -> Result<Cow<'t, str>, NoJson> {
        self.take("\"")?;
        let rest = self.text.get(self.at..).ok_or(NoJson)?;
        let special = |byte: u8| byte == b'"' || byte == b'\\' || byte < 0x20;
        let len = rest.bytes().position(special).ok_or(NoJson)?;
        let plain = rest.get(..len).ok_or(NoJson)?;
        self.at += len;
        if self.take("\"").is_ok() {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        loop {
            let letter = self.text.get(self.at..).and_then(|rest| rest.chars().next());
            let letter = letter.ok_or(NoJson)?;
            self.at += letter.len_utf8();
            match letter {
                '"' => return Ok(Cow::Owned(text)),
                '\\' => text.push(self.escape()?),
                control if u32::from(control) < 0x20 => return Err(NoJson),
                other => text.push(other),
            }
        }
    }

    fn escape(&mut self) -> Result<char, NoJson> {
        let letter = self.peek().ok_or(NoJson)?;
        self.at += 1;
        Ok(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return char::from_u32(first).ok_or(NoJson);
                }
                self.take("\\u")?;
                let second = self.hex()?;
                if !(0xdc00..0xe000).contains(&second) {
                    return Err(NoJson);
                }
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return char::from_u32(code).ok_or(NoJson);
            }
            _ => return Err(NoJson),
        })
    }

    fn hex(&mut self) -> Result<u32, NoJson> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(NoJson)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoJson);
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| NoJson)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn again(text: &str) -> Result<String, NoJson> {
        let mut out = String::new();
        Json::parse(text)?.write(&mut out);
        Ok(out)
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in [
            "null",
            "[]",
            "{}",
            "{\"a\": 12345678901234567890.10, \"b\": [true, false, null, -0.5e+10], \"a\": \"é\\\"\\\\\\n\"}",
        ] {
            assert_eq!(again(text).as_deref(), Ok(text));
        }
        assert_eq!(again(" { \"a\" :\t[1 ,2] } ").as_deref(), Ok("{\"a\": [1, 2]}"));
        assert_eq!(again("\"\\u00e9\\ud83d\\ude00\\/\"").as_deref(), Ok("\"é😀/\""));
        assert_eq!(again("\"\\u0001\"").as_deref(), Ok("\"\\u0001\""));
    }

    #[test]
    fn what_is_none_is_refused() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for text in [
            "",
            "nul",
            "01",
            "1.",
            "-",
            "+1",
            "[1,]",
            "{\"a\"}",
            "{a: 1}",
            "\"",
            "\"\n\"",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\u12\"",
            "1 2",
            "[",
            "{\"a\":",
            "'a'",
            &deep,
        ] {
            assert_eq!(again(text), Err(NoJson), "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_another_parser(text in "[\\[\\]{}\",:0-9a-c\\\\ u.eE+-]{0,24}") {
            let other: Result<serde_json::Value, _> = serde_json::from_str(&text);
            match again(&text) {
                Ok(written) => {
                    let own: serde_json::Value = serde_json::from_str(&written).unwrap();
                    // The other one refuses numbers that are too large for it.
                    if let Ok(other) = other {
                        prop_assert_eq!(own, other);
                    }
                }
                Err(NoJson) => prop_assert!(other.is_err(), "{}", text),
            }
        }
    }
}
