//! The contract that every transformer is held to.

use std::collections::HashMap;

use crate::anonymize::key::test_key;
use crate::anonymize::originals::{Classes, FingerprintKey, Gatherer, Originals};
use crate::anonymize::row::{Cell, Cells};
use crate::anonymize::rule::{Defaults, Missing, Rule};
use crate::anonymize::schema::{Column, Kind, Table};
use crate::crypto::random::SeededRandom;

use super::{Building, Class, Injective, Made, NoFiles, Place, Survey, Transformer, Unfit, verb};

/// A table whose first column is `id`; `value` is of `type_name`.
pub fn table(type_name: &str) -> Table {
    let column = |name: &str, type_name: &str| Column {
        name: name.to_owned(),
        type_name: type_name.to_owned(),
        is_nullable: true,
    };
    Table {
        schema: "public".to_owned(),
        name: "person".to_owned(),
        columns: vec![
            column("id", "integer"),
            column("value", type_name),
            column("birth_date", "date"),
        ],
        primary: vec!["id".to_owned()],
        unique: vec![vec!["id".to_owned()]],
        ..Table::default()
    }
}

/// The transformer that `rule` asks for, under the key `seed`.
pub fn try_made(rule: &str, type_name: &str, seed: u8) -> Result<Box<dyn Transformer>, String> {
    let parsed: toml::Table = toml::from_str(rule).unwrap();
    let rule = Rule::new(&parsed);
    let name = rule.keys().find(|key| verb(key).is_some()).unwrap();
    let (table, kind, key) = (table(type_name), Kind::of(type_name), test_key(seed));
    let roots = std::collections::BTreeSet::from(["uploads".to_owned(), "r".to_owned()]);
    let defaults = Defaults { null: Some(Missing::Keep), empty: Some(Missing::Keep) };
    let building = Building {
        key: &key,
        locale: "fr_FR",
        kind: &kind,
        table: &table,
        roots: &roots,
        defaults,
    };
    (verb(name).unwrap().build)(&rule, &building)
}

/// The same, which has to be possible.
#[track_caller]
pub fn made(rule: &str, type_name: &str) -> Box<dyn Transformer> {
    try_made(rule, type_name, 1).unwrap_or_else(|error| panic!("{rule}: {error}"))
}

/// Cells of a row in which `id` and `birth_date` are these.
pub fn cells(id: &str, birth_date: &str) -> Cells {
    let cell = |text: &str| Cell { is_null: false, text: text.to_owned() };
    let all = vec![cell(id), Cell::default(), cell(birth_date)];
    Cells { originals: all.clone(), made: all }
}

/// Nothing was removed.
pub fn no_originals() -> Originals {
    Originals::none(&SeededRandom::new(1))
}

/// What becomes of `value` in the row 1.
pub fn applied(transformer: &dyn Transformer, value: &str) -> Result<String, Unfit> {
    applied_in(transformer, value, &cells("1", "1985-05-17"), &no_originals())
}

/// The same in this row, with these originals. NULL is `\N`.
pub fn applied_in(
    transformer: &dyn Transformer,
    value: &str,
    cells: &Cells,
    originals: &Originals,
) -> Result<String, Unfit> {
    let mut out = String::new();
    let place = Place { cells, originals, files: &NoFiles };
    match transformer.apply(value, &place, &mut out)? {
        Made::Value => Ok(out),
        Made::Null => Ok("\\N".to_owned()),
    }
}

/// All that a survey of `values` finds.
pub fn surveyed(transformer: &dyn Transformer, values: &[&str]) -> Originals {
    let key = FingerprintKey::new(&SeededRandom::new(3));
    let mut gatherer = Gatherer::new(key, Classes { identifiers: true, names: true });
    let mut unlisted = super::UnlistedKeys::default();
    for value in values {
        let mut survey = Survey { gatherer: &mut gatherer, unlisted: &mut unlisted };
        transformer.survey(value, &mut survey).unwrap();
    }
    gatherer.seal().unwrap()
}

/// Holds the transformer of `rule` to the contract, with values that it takes.
#[track_caller]
pub fn contract(rule: &str, type_name: &str, values: &[String]) {
    let one = made(rule, type_name);
    let again = made(rule, type_name);
    let other_key = try_made(rule, type_name, 2).unwrap();
    let kind = Kind::of(type_name);
    let mut seen: HashMap<String, String> = HashMap::new();
    let mut differs = false;
    for value in values {
        let first = applied(&*one, value).unwrap_or_else(|error| panic!("{rule}: {error:?}"));
        assert_eq!(first, applied(&*again, value).unwrap(), "{rule}: not the same again");
        differs |= first != applied(&*other_key, value).unwrap();
        assert!(one.may_stay() || first != *value, "{rule}: `{value}` stays");
        assert!(fits(&kind, &first), "{rule}: `{first}` is no {type_name}");
        if one.injective() == Injective::Always
            && let Some(before) = seen.insert(first.clone(), value.clone())
        {
            assert_eq!(before, *value, "{rule}: both give `{first}`");
        }
        surveyed(&*one, &[value]);
    }
    assert!(one.may_stay() || differs, "{rule}: does not depend on the key");
    if one.class() == Class::Nothing {
        assert!(surveyed(&*one, &[&values[0]]).identifiers.is_empty());
    }
}

fn fits(kind: &Kind, value: &str) -> bool {
    if value == "\\N" {
        return true;
    }
    match kind {
        Kind::Text(Some(limit)) => value.chars().count() <= *limit,
        Kind::Text(None) | Kind::Other | Kind::Bytes => true,
        Kind::Integer => value.parse::<i64>().is_ok(),
        Kind::Number => value.parse::<f64>().is_ok(),
        Kind::Boolean => ["t", "f"].contains(&value),
        Kind::Date => value.parse::<jiff::civil::Date>().is_ok() && value.len() == 10,
        Kind::Timestamp => {
            value.get(..19).is_some_and(|day| day.parse::<jiff::civil::DateTime>().is_ok())
        }
        Kind::Uuid => {
            value.len() == 36 && value.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
        }
        Kind::Address => {
            value.split('/').next().is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_ok())
        }
        Kind::Json => serde_json::from_str::<serde_json::Value>(value).is_ok(),
        Kind::Array(_) => value.starts_with('{') && value.ends_with('}'),
    }
}

/// `count` texts of a pattern, the same in every run.
pub fn some(pattern: &str, count: usize) -> Vec<String> {
    use proptest::strategy::{Strategy as _, ValueTree as _};
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = proptest::string::string_regex(pattern).unwrap();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}
