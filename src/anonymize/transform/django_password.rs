//! `django_password = "unusable" | "hash"`: nobody logs in with the password of production.
//!
//! `unusable` is what Django's `set_unusable_password` writes: `!` and 40 letters. `hash` is the `hash` that stands in
//! the rule (`pbkdf2_sha256$...`), one known password for all; a password in clear is refused.

use crate::anonymize::key::DomainKey;
use crate::anonymize::rule::Rule;

use super::{Building, Class, Made, Place, Transformer, Unfit, Verb};

/// The verb.
pub const VERB: Verb =
    Verb { name: "django_password", options: &["hash"], has_domain: false, build };

const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

#[derive(Debug)]
enum Password {
    Unusable(DomainKey),
    Known(String),
}

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    if rule.word("django_password", &["unusable", "hash"])? == "unusable" {
        building.needs_text(41)?;
        return Ok(Box::new(Password::Unusable(building.key.domain("django_password"))));
    }
    let hash = rule.needed("hash")?;
    let parts: Vec<&str> = hash.split('$').collect();
    if parts.len() < 3 || parts.iter().any(|part| part.is_empty() && parts.len() != 5) {
        return Err("`hash` is no hash of Django's; make one with make_password()".to_owned());
    }
    building.needs_text(hash.len())?;
    Ok(Box::new(Password::Known(hash.to_owned())))
}

impl Transformer for Password {
    fn apply(&self, value: &str, _: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        match self {
            Self::Unusable(key) => {
                out.push('!');
                key.draw(value, 0).letters(LETTERS, 40, out);
            }
            Self::Known(hash) => out.push_str(hash),
        }
        Ok(Made::Value)
    }

    fn class(&self) -> Class {
        Class::Identifier
    }

    fn may_stay(&self) -> bool {
        matches!(self, Self::Known(_))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{applied, contract, made, some, try_made};

    #[test]
    fn it_keeps_the_contract() {
        let values = some("pbkdf2_sha256\\$260000\\$[A-Za-z0-9]{12}\\$[A-Za-z0-9+/]{43}=", 100);
        contract("django_password = \"unusable\"", "character varying(128)", &values);
        let known = "django_password = \"hash\"\nhash = \"pbkdf2_sha256$1$salt$aGFzaA==\"";
        contract(known, "character varying(128)", &values);
        let value = applied(&*made("django_password = \"unusable\"", "text"), &values[0]).unwrap();
        assert!(value.starts_with('!') && value.len() == 41);
    }

    #[test]
    fn a_password_in_clear_is_refused() {
        for rule in ["django_password = \"hash\"\nhash = \"secret\"", "django_password = \"hash\""]
        {
            assert!(try_made(rule, "text", 1).is_err());
        }
    }
}
