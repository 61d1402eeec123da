//! `set = "text"`: the same for all. `erase = "null" | "empty"`: nothing.

use crate::anonymize::rule::Rule;
use crate::anonymize::schema::Kind;

use super::{Building, Class, Made, Place, Transformer, Unfit, Verb};

/// The same for all.
pub const SET: Verb = Verb { name: "set", options: &[], has_domain: false, build: set };
/// Nothing.
pub const ERASE: Verb = Verb { name: "erase", options: &[], has_domain: false, build: erase };

#[derive(Debug)]
enum Constant {
    Text(String),
    Null,
}

fn set(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    let text = rule.needed("set")?;
    let is_fit = match building.kind {
        Kind::Text(limit) => limit.is_none_or(|limit| text.chars().count() <= limit),
        Kind::Integer => text.parse::<i64>().is_ok(),
        Kind::Number => text.parse::<f64>().is_ok(),
        Kind::Boolean => ["true", "false", "t", "f"].contains(&text),
        Kind::Date => text.parse::<jiff::civil::Date>().is_ok(),
        Kind::Json => crate::anonymize::json::Json::parse(text).is_ok(),
        Kind::Address => text.parse::<std::net::IpAddr>().is_ok(),
        // PostgreSQL is the judge.
        _ => true,
    };
    match is_fit {
        true => Ok(Box::new(Constant::Text(text.to_owned()))),
        false => Err("the column cannot hold that".to_owned()),
    }
}

fn erase(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    if rule.word("erase", &["null", "empty"])? == "null" {
        return Ok(Box::new(Constant::Null));
    }
    match building.kind {
        Kind::Text(_) | Kind::Other => Ok(Box::new(Constant::Text(String::new()))),
        Kind::Array(_) => Ok(Box::new(Constant::Text("{}".to_owned()))),
        Kind::Json => Ok(Box::new(Constant::Text("{}".to_owned()))),
        Kind::Bytes => Ok(Box::new(Constant::Text("\\x".to_owned()))),
        _ => {
            Err("only texts, bytes, JSON and arrays can be empty; use `erase = \"null\"`"
                .to_owned())
        }
    }
}

impl Constant {
    /// Whether it is NULL.
    const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl Transformer for Constant {
    fn apply(&self, _: &str, _: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        if self.is_null() {
            return Ok(Made::Null);
        }
        if let Self::Text(text) = self {
            out.push_str(text);
        }
        Ok(Made::Value)
    }

    fn class(&self) -> Class {
        // What was removed for good is looked for like anything else, if it is long enough to be told.
        Class::Text
    }

    fn may_stay(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{applied, contract, made, some, try_made};

    #[test]
    fn they_keep_the_contract() {
        let values = some("[a-z]{3}", 20);
        contract("set = \"same\"", "character varying(4)", &values);
        contract("erase = \"null\"", "date", &values);
        contract("erase = \"empty\"", "text", &values);
        contract("erase = \"empty\"", "integer[]", &values);
        contract("erase = \"empty\"", "jsonb", &values);
    }

    #[test]
    fn only_what_fits_is_taken() {
        assert_eq!(applied(&*made("erase = \"null\"", "integer"), "5").unwrap(), "\\N");
        for (rule, type_name) in [
            ("set = \"abc\"", "character varying(2)"),
            ("set = \"abc\"", "integer"),
            ("set = \"{\"", "jsonb"),
            ("erase = \"empty\"", "integer"),
            ("erase = \"all\"", "text"),
        ] {
            assert!(try_made(rule, type_name, 1).is_err(), "{rule} {type_name}");
        }
    }
}
