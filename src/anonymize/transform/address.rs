//! `address = "street" | "postcode" | "city" | "full"`: a place that is not there.
//!
//! A street is a number, a kind of street and a made-up name; a postcode keeps its department (the first two
//! characters) and ends in 000; a city is a made-up name; `full` is all three, on one line. Options: `domain`.

use crate::anonymize::key::{DomainKey, Draw};
use crate::anonymize::rule::Rule;

use super::name::Language;
use super::short::Short;
use super::{ATTEMPTS, Building, Class, Made, Place, Transformer, Unfit, Verb, cut};

/// The verb.
pub const VERB: Verb = Verb { name: "address", options: &["domain"], has_domain: true, build };

const STREETS_FR: &[&str] = &["rue", "avenue", "allée", "chemin", "impasse", "place", "boulevard"];
const OF_FR: &[&str] = &[
    "des Tilleuls",
    "du Moulin",
    "de la Fontaine",
    "des Lilas",
    "du Stade",
    "des Acacias",
    "de la Gare",
    "du Lavoir",
    "des Peupliers",
    "de la Source",
    "du Verger",
    "des Vignes",
];
const STREETS_EN: &[&str] = &["Street", "Road", "Lane", "Avenue", "Close", "Way"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Street,
    Postcode,
    City,
    Full,
}

#[derive(Debug)]
struct Address {
    key: DomainKey,
    which: Which,
    is_french: bool,
    language: Language,
    limit: Option<usize>,
}

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    let (which, letters) = match rule.word("address", &["street", "postcode", "city", "full"])? {
        "street" => (Which::Street, 20),
        "postcode" => (Which::Postcode, 5),
        "city" => (Which::City, 10),
        _ => (Which::Full, 40),
    };
    let limit = building.needs_text(letters)?;
    let key = building.key.domain(&rule.domain(&format!("address {which:?}"))?);
    let is_french = building.locale.starts_with("fr");
    let language = Language::of(building.locale);
    Ok(Box::new(Address { key, which, is_french, language, limit }))
}

impl Address {
    fn street(&self, draw: &mut Draw<'_>, out: &mut String) {
        out.push_str(Short::number(1 + draw.below(199), 1).text());
        out.push(' ');
        if self.is_french {
            out.push_str(draw.pick(STREETS_FR));
            out.push(' ');
            out.push_str(draw.pick(OF_FR));
        } else {
            self.language.last(draw, 0, out);
            out.push(' ');
            out.push_str(draw.pick(STREETS_EN));
        }
    }

    /// The first two characters and three zeros; what does not begin with two digits (or 2A, 2B) begins with 00.
    fn postcode(value: &str, out: &mut String) {
        let head = value.get(..2).unwrap_or_default();
        let is_department = head.bytes().all(|byte| byte.is_ascii_digit()) && head.len() == 2
            || ["2A", "2B"].contains(&head);
        out.push_str(if is_department { head } else { "00" });
        out.push_str("000");
    }
}

impl Transformer for Address {
    fn apply(&self, value: &str, _: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        for attempt in 0..ATTEMPTS {
            out.clear();
            let mut draw = self.key.draw(value, attempt);
            match self.which {
                Which::Street => self.street(&mut draw, out),
                Which::Postcode => {
                    Self::postcode(value, out);
                    return Ok(Made::Value);
                }
                Which::City => self.language.last(&mut draw, attempt, out),
                Which::Full => {
                    self.street(&mut draw, out);
                    out.push_str(", 00000 ");
                    self.language.last(&mut draw, attempt, out);
                }
            }
            cut(out, self.limit);
            if out != value {
                return Ok(Made::Value);
            }
        }
        Err("there are not enough made-up places".into())
    }

    fn class(&self) -> Class {
        match self.which {
            Which::Street | Which::Full => Class::Text,
            Which::Postcode | Which::City => Class::Nothing,
        }
    }

    fn may_stay(&self) -> bool {
        self.which == Which::Postcode
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{applied, contract, made, some};

    #[test]
    fn it_keeps_the_contract() {
        let values = some("[0-9]{1,3} rue [A-Z][a-z]{3,9}", 200);
        for which in ["street", "city", "full"] {
            contract(&format!("address = \"{which}\""), "character varying(60)", &values);
        }
        contract("address = \"postcode\"", "character varying(5)", &some("[0-9]{5}", 200));
    }

    #[test]
    fn a_postcode_keeps_its_department_alone() {
        let postcode = made("address = \"postcode\"", "text");
        for (value, wanted) in
            [("75011", "75000"), ("2A004", "2A000"), ("SW1A 2AA", "00000"), ("é", "00000")]
        {
            assert_eq!(applied(&*postcode, value).unwrap(), wanted);
        }
    }
}
