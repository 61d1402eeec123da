//! One rule as it is written: `{ verb = ..., option = ... }`.

use std::cell::RefCell;
use std::collections::BTreeSet;

use toml::{Table, Value};

/// What NULL or an empty text becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// What it is.
    Keep,
    /// NULL.
    Null,
    /// An empty text.
    Empty,
    /// A pseudonym, as of any other value.
    Transform,
    /// It must not be there.
    Refuse,
}

/// What holds for columns that do not say it themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defaults {
    /// For NULL.
    pub null: Option<Missing>,
    /// For empty texts.
    pub empty: Option<Missing>,
}

impl Missing {
    /// What a rule may say of NULL.
    pub fn of_null(text: &str) -> Result<Self, String> {
        match text {
            "keep" => Ok(Self::Keep),
            "empty" => Ok(Self::Empty),
            "refuse" => Ok(Self::Refuse),
            _ => Err("`null` is `keep`, `empty` or `refuse`".to_owned()),
        }
    }

    /// What a rule may say of an empty text.
    pub fn of_empty(text: &str) -> Result<Self, String> {
        match text {
            "keep" => Ok(Self::Keep),
            "null" => Ok(Self::Null),
            "transform" => Ok(Self::Transform),
            "refuse" => Ok(Self::Refuse),
            _ => Err("`empty` is `keep`, `null`, `transform` or `refuse`".to_owned()),
        }
    }
}

/// A rule. Options that are asked for count as known; what is left over is a mistake.
pub struct Rule<'t> {
    table: &'t Table,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'t> Rule<'t> {
    /// Reads `table`.
    pub fn new(table: &'t Table) -> Self {
        Self { table, asked: RefCell::default() }
    }

    /// All its keys.
    pub fn keys(&self) -> impl Iterator<Item = &'t str> {
        self.table.keys().map(String::as_str)
    }

    /// Whether it has a key.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn get(&self, key: &'static str) -> Option<&'t Value> {
        self.asked.borrow_mut().insert(key);
        self.table.get(key)
    }

    /// A text.
    pub fn text(&self, key: &'static str) -> Result<Option<&'t str>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text)),
            Some(_) => Err(format!("`{key}` has to be a text that is not empty")),
        }
    }

    /// A text that has to be there.
    pub fn needed(&self, key: &'static str) -> Result<&'t str, String> {
        self.text(key)?.ok_or_else(|| format!("`{key}` is missing"))
    }

    /// One of `words`.
    pub fn word(&self, key: &'static str, words: &[&'static str]) -> Result<&'static str, String> {
        let text = self.needed(key)?;
        words.iter().find(|word| **word == text).copied().ok_or_else(|| {
            let hint = nearest(text, words.iter().copied());
            format!("`{key} = \"{text}\"` is not known; {hint}")
        })
    }

    /// A whole number between two.
    pub fn number(&self, key: &'static str, least: i64, most: i64) -> Result<Option<i64>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integer(number)) if (least..=most).contains(number) => Ok(Some(*number)),
            Some(_) => Err(format!("`{key}` has to be a number from {least} to {most}")),
        }
    }

    /// `true`, which is all that can be said.
    pub fn flag(&self, key: &'static str) -> Result<(), String> {
        match self.get(key) {
            Some(Value::Boolean(true)) => Ok(()),
            _ => Err(format!("write `{key} = true`")),
        }
    }

    /// True or false.
    pub fn boolean(&self, key: &'static str) -> Result<Option<bool>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Boolean(value)) => Ok(Some(*value)),
            Some(_) => Err(format!("`{key}` is true or false")),
        }
    }

    /// A table of further rules.
    pub fn rules(&self, key: &'static str) -> Result<&'t Table, String> {
        match self.get(key) {
            Some(Value::Table(table)) if !table.is_empty() => Ok(table),
            _ => Err(format!("`{key}` has to be a table of rules")),
        }
    }

    /// The domain of the pseudonyms, or the verb's own.
    pub fn domain(&self, own: &str) -> Result<String, String> {
        Ok(self.text("domain")?.unwrap_or(own).to_owned())
    }

    /// Keys nobody asked for.
    pub fn unknown(&self) -> Vec<&'t str> {
        let asked = self.asked.borrow();
        self.table.keys().map(String::as_str).filter(|key| !asked.contains(key)).collect()
    }
}

/// "did you mean ...?", or all there are.
pub fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let close = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(unknown, name), *name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4);
    match close {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "there are none".to_owned(),
        None if known.len() > 30 => format!("there are {}", known.len()),
        None => format!("known: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asked_for_is_told() {
        let table: Table = toml::from_str("email = \"x\"\ndomian = \"d\"\nn = 3").unwrap();
        let rule = Rule::new(&table);
        assert_eq!(rule.text("email"), Ok(Some("x")));
        assert_eq!(rule.number("n", 1, 5), Ok(Some(3)));
        assert_eq!(rule.domain("own").unwrap(), "own");
        assert_eq!(rule.unknown(), ["domian"]);
        assert!(rule.number("n", 4, 5).is_err());
        assert!(rule.needed("null").unwrap_err().contains("missing"));
        assert!(rule.word("email", &["y", "z"]).unwrap_err().contains("did you mean `y`?"));
    }
}
