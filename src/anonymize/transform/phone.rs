//! `phone = "fr"`: a number that is kept for films and books, so that nobody is ever called.
//!
//! The regulator (ARCEP, decision 2018-0881) keeps 01 99 00, 02 61 91, 03 53 01, 04 65 71, 05 36 49 and 06 39 98 for
//! that; four digits behind them are drawn. Spaces, points and `+33` stay as they are. What is no French number becomes one.
//! Options: `domain`.

use crate::anonymize::key::DomainKey;
use crate::anonymize::rule::Rule;

use super::short::Short;
use super::{ATTEMPTS, Building, Class, Made, Place, Survey, Transformer, Unfit, Verb, cut};

/// The verb.
pub const VERB: Verb = Verb { name: "phone", options: &["domain"], has_domain: true, build };

#[derive(Debug)]
struct Phone {
    key: DomainKey,
    limit: Option<usize>,
}

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    rule.word("phone", &["fr"])?;
    let limit = building.needs_text(10)?;
    Ok(Box::new(Phone { key: building.key.domain(&rule.domain("phone")?), limit }))
}

/// The nine digits behind the 0 of a French number, however it is written.
fn national(value: &str) -> Option<Short> {
    let digits = Short::collect(value.chars().filter(char::is_ascii_digit))?;
    let digits = digits.text();
    let rest = match value.trim_start().starts_with('+') {
        true => digits.strip_prefix("33")?,
        false => digits.strip_prefix("0033").unwrap_or(digits),
    };
    let rest = rest.strip_prefix('0').unwrap_or(rest);
    match rest.len() == 9 && !rest.starts_with('0') {
        true => Short::collect(rest.chars()),
        false => None,
    }
}

/// What stands for numbers that begin so.
const fn reserved(first: u8) -> &'static str {
    match first {
        b'1' => "19900",
        b'2' => "26191",
        b'3' => "35301",
        b'4' => "46571",
        b'5' => "53649",
        _ => "63998",
    }
}

impl Transformer for Phone {
    fn apply(&self, value: &str, place: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        let national = national(value);
        // The same number written otherwise is the same number.
        let canonical = national.as_ref().map_or(value, Short::text);
        let first = canonical.bytes().next().unwrap_or(b'6');
        let mut made = String::with_capacity(9);
        for attempt in 0..ATTEMPTS {
            out.clear();
            made.clear();
            let mut draw = self.key.draw(canonical, attempt);
            made.push_str(reserved(first));
            draw.letters(b"0123456789", 4, &mut made);
            if national.is_none() {
                out.push('0');
                out.push_str(&made);
            } else {
                // The last nine digits are replaced where they stand.
                let mut left = value.bytes().filter(u8::is_ascii_digit).count();
                let mut made = made.chars();
                for letter in value.chars() {
                    let is_digit = letter.is_ascii_digit();
                    let is_replaced = is_digit && left <= 9;
                    left -= usize::from(is_digit);
                    out.push(if is_replaced { made.next().unwrap_or('0') } else { letter });
                }
            }
            cut(out, self.limit);
            if out != value && !place.originals.has_identifier(out) {
                return Ok(Made::Value);
            }
        }
        Err("there are not enough reserved numbers".into())
    }

    fn survey(&self, value: &str, survey: &mut Survey<'_>) -> Result<(), Unfit> {
        survey.gatherer.identifier(value);
        if let Some(national) = national(value) {
            for prefix in ["0", "33"] {
                let mut whole = Short::new();
                whole.push(prefix);
                whole.push(national.text());
                survey.gatherer.identifier(whole.text());
            }
        }
        Ok(())
    }

    fn class(&self) -> Class {
        Class::Identifier
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{applied, contract, made, some, surveyed};

    #[test]
    fn it_keeps_the_contract() {
        contract("phone = \"fr\"", "character varying(20)", &some("0[1-9]( [0-9]{2}){4}", 300));
        contract("phone = \"fr\"", "character varying(12)", &some("\\+33[67][0-9]{8}", 300));
        contract("phone = \"fr\"", "text", &some("[a-z0-9+ ]{3,20}", 100));
    }

    #[test]
    fn it_is_a_reserved_number_written_alike_and_the_same_for_the_same_number() {
        let phone = made("phone = \"fr\"", "text");
        let made = |value: &str| applied(&*phone, value).unwrap();
        let plain = made("0612345678");
        assert!(plain.starts_with("063998") && plain.len() == 10, "{plain}");
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        let spaced = made("06 12 34 56 78");
        assert_eq!((digits(&spaced), spaced.len()), (plain.clone(), 14));
        assert_eq!(digits(&made("+33 6 12 34 56 78")), format!("33{}", &plain[1..]));
        assert_eq!(digits(&made("+33 (0)6.12.34.56.78")), format!("330{}", &plain[1..]));
        assert!(made("01 42 00 00 00").starts_with("01 99 00"));
        assert!(made("n/a").starts_with("063998"));
        let found = surveyed(&*phone, &["+33 6 12 34 56 78"]);
        assert!(found.has_identifier("06.12.34.56.78") && found.has_identifier("+33612345678"));
    }
}
