//! `company = true`: the name of a company that is not there. Options: `domain`.

use crate::anonymize::key::DomainKey;
use crate::anonymize::rule::Rule;

use super::name::Language;
use super::{ATTEMPTS, Building, Class, Made, Place, Transformer, Unfit, Verb, cut};

/// The verb.
pub const VERB: Verb = Verb { name: "company", options: &["domain"], has_domain: true, build };

const FORMS_FR: &[&str] = &["SARL", "SAS", "Établissements", "Société", "Ateliers", "Cabinet"];
const FORMS_EN: &[&str] = &["Ltd", "Group", "Works", "Partners", "Services"];

#[derive(Debug)]
struct Company {
    key: DomainKey,
    is_french: bool,
    language: Language,
    limit: Option<usize>,
}

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    rule.flag("company")?;
    let limit = building.needs_text(20)?;
    let key = building.key.domain(&rule.domain("company")?);
    let is_french = building.locale.starts_with("fr");
    Ok(Box::new(Company { key, is_french, language: Language::of(building.locale), limit }))
}

impl Transformer for Company {
    fn apply(&self, value: &str, _: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        for attempt in 0..ATTEMPTS {
            out.clear();
            let mut draw = self.key.draw(value, attempt);
            if self.is_french {
                out.push_str(&format!("{} ", draw.pick(FORMS_FR)));
            }
            self.language.last(&mut draw, attempt, out);
            if !self.is_french {
                out.push_str(&format!(" {}", draw.pick(FORMS_EN)));
            }
            cut(out, self.limit);
            if out != value {
                return Ok(Made::Value);
            }
        }
        Err("there are not enough made-up companies".into())
    }

    fn class(&self) -> Class {
        Class::Text
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{contract, some, try_made};

    #[test]
    fn it_keeps_the_contract() {
        contract("company = true", "character varying(40)", &some("[A-Z][a-z]{3,9} SA", 200));
        assert!(try_made("company = 3", "text", 1).is_err());
    }
}
