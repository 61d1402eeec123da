//! `uuid = true`: a random-looking UUID (version 4), the same for the same one. Option: `domain`.

use crate::anonymize::key::DomainKey;
use crate::anonymize::rule::Rule;
use crate::anonymize::schema::Kind;

use super::{Building, Class, Injective, Made, Place, Transformer, Unfit, Verb};

/// The verb.
pub const VERB: Verb = Verb { name: "uuid", options: &["domain"], has_domain: true, build };

#[derive(Debug)]
struct Uuid(DomainKey);

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    rule.flag("uuid")?;
    if *building.kind != Kind::Uuid {
        building.needs_text(36)?;
    }
    Ok(Box::new(Uuid(building.key.domain(&rule.domain("uuid")?))))
}

impl Transformer for Uuid {
    fn apply(&self, value: &str, _: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        // The same UUID may be written with and without hyphens, in large and small letters.
        let plain: String =
            value.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
        let mut draw = self.0.draw(&plain, 0);
        let high = (draw.next_bits() & 0xffff_ffff_ffff_0fff) | 0x4000;
        let low = (draw.next_bits() & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
        let digits = format!("{high:016x}{low:016x}");
        for (at, digit) in digits.chars().enumerate() {
            if [8, 12, 16, 20].contains(&at) && (value.contains('-') || value.len() != 32) {
                out.push('-');
            }
            out.push(digit);
        }
        Ok(Made::Value)
    }

    fn class(&self) -> Class {
        Class::Identifier
    }

    fn injective(&self) -> Injective {
        Injective::Bits(122)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{applied, contract, made, some};

    #[test]
    fn it_keeps_the_contract() {
        let values =
            some("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", 200);
        contract("uuid = true", "uuid", &values);
        contract("uuid = true", "character varying(36)", &values);
    }

    #[test]
    fn it_is_of_version_four_however_it_is_written() {
        let uuid = made("uuid = true", "text");
        let made = applied(&*uuid, "123E4567-e89b-12d3-a456-426614174000").unwrap();
        assert_eq!(made.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&made.as_bytes()[19]));
        let plain = applied(&*uuid, "123e4567e89b12d3a456426614174000").unwrap();
        assert_eq!(plain, made.replace('-', ""));
    }
}
