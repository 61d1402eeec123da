//! The words of a condition.

use std::fmt;

/// Longest condition, in bytes.
const LONGEST: usize = 10_000;
/// Signs, longer ones first.
const SIGNS: [&str; 13] = ["<>", "!=", "<=", ">=", "=", "<", ">", "(", ")", ",", "%", "-", "+"];

/// A word of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A word or a column.
    Name(String),
    /// A column, in quotes.
    Quoted(String),
    /// A text.
    Text(String),
    /// A number without its sign.
    Number(String),
    /// A sign.
    Sign(&'static str),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(text) | Self::Number(text) => write!(f, "`{text}`"),
            Self::Quoted(text) => write!(f, "`\"{text}\"`"),
            Self::Text(text) => write!(f, "`'{text}'`"),
            Self::Sign(sign) => write!(f, "`{sign}`"),
        }
    }
}

/// Takes a condition apart.
pub fn tokens(text: &str) -> Result<Vec<Token>, String> {
    if text.len() > LONGEST {
        return Err(format!("it has more than {LONGEST} bytes"));
    }
    let (mut found, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let length_of = |fits: fn(char) -> bool| rest.find(|c| !fits(c)).unwrap_or(rest.len());
        let (token, len) = if first.is_alphabetic() || first == '_' {
            let len = length_of(|c| c.is_alphanumeric() || c == '_' || c == '$');
            (Token::Name(rest.get(..len).unwrap_or_default().to_owned()), len)
        } else if first.is_ascii_digit() {
            let len = length_of(|c| c.is_ascii_digit() || c == '.');
            (Token::Number(rest.get(..len).unwrap_or_default().to_owned()), len)
        } else if first == '\'' || first == '"' {
            let (inner, len) = quoted(rest, first)?;
            (if first == '"' { Token::Quoted(inner) } else { Token::Text(inner) }, len)
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| format!("`{first}` means nothing in a condition"))?;
            (Token::Sign(sign), sign.len())
        };
        found.push(token);
        rest = rest.get(len..).unwrap_or_default().trim_start();
    }
    match found.is_empty() {
        true => Err("it is empty".to_owned()),
        false => Ok(found),
    }
}

/// What is in quotes, which are doubled inside; and the length of it all.
fn quoted(text: &str, quote: char) -> Result<(String, usize), String> {
    let mut inner = String::new();
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter != quote {
            inner.push(letter);
        } else if letters.next_if(|(_, next)| *next == quote).is_some() {
            inner.push(quote);
        } else {
            return Ok((inner, at + 1));
        }
    }
    Err(format!("a {quote} has no end"))
}
