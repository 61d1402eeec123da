//! `digits = "same_length"`: as many digits, different ones for different numbers; what is no digit stays.
//!
//! A permutation of all numbers of that length and form, up to 18 digits; longer ones are permuted in groups of nine. Also for
//! columns of whole numbers, where the first digit is never a zero. A value without digits is not taken. Option: `domain`.

use crate::anonymize::permutation::Permutation;
use crate::anonymize::rule::Rule;
use crate::anonymize::schema::Kind;

use super::{Building, Class, Injective, Made, Place, Survey, Transformer, Unfit, Verb};

/// The verb.
pub const VERB: Verb = Verb { name: "digits", options: &["domain"], has_domain: true, build };

/// Digits that are permuted as one number.
const GROUP: usize = 18;

#[derive(Debug)]
struct Digits {
    key: [u8; 32],
    /// For texts: one for each number of digits.
    permutations: Vec<Permutation>,
    is_number: bool,
}

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    rule.word("digits", &["same_length"])?;
    let is_number = match building.kind {
        Kind::Text(_) | Kind::Other => false,
        Kind::Integer => true,
        _ => return Err("it makes digits, and the column holds something else".to_owned()),
    };
    let key = building.key.derive(&format!("digits {}", rule.domain("digits")?));
    let bounds = (1..=GROUP as u32).map(|count| 10_u64.pow(count));
    let permutations = bounds.map(|bound| Permutation::new(&key, bound)).collect();
    Ok(Box::new(Digits { key, permutations, is_number }))
}

/// What else of the text decides: how its other characters stand.
fn form(value: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for letter in value.chars() {
        let letter = if letter.is_ascii_digit() { '0' } else { letter };
        hash = (hash ^ u64::from(u32::from(letter))).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

impl Digits {
    fn permuted(&self, digits: &str, form: u64) -> Result<String, Unfit> {
        let mut made = String::with_capacity(digits.len());
        let mut tweak = form;
        let mut rest = digits;
        while !rest.is_empty() {
            let (group, after) = rest.split_at(rest.len().min(GROUP));
            let number: u64 = group.parse().map_err(|_| "it is no number")?;
            let permutation = self.permutations.get(group.len() - 1).ok_or("it has no digits")?;
            made.push_str(&format!(
                "{:0width$}",
                permutation.derange(number, tweak, 1),
                width = group.len()
            ));
            // Different beginnings permute the rest differently; the same ones keep it one to one.
            tweak = tweak.rotate_left(7) ^ number;
            rest = after;
        }
        Ok(made)
    }

    /// Whole numbers of one length exchanged among each other.
    fn number(&self, value: &str) -> Result<String, Unfit> {
        let (sign, digits) = match value.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", value),
        };
        let number: u64 = digits.parse().map_err(|_| "it is no whole number")?;
        let count = u32::try_from(digits.len()).unwrap_or(GROUP as u32);
        if count > GROUP as u32 {
            return Err("it has more than 18 digits".into());
        }
        let first = if count == 1 { 0 } else { 10_u64.pow(count - 1) };
        let bound = 10_u64.pow(count) - first;
        let permutation = Permutation::new(&self.key, bound);
        let made = first + permutation.derange(number - first, u64::from(count), 1);
        Ok(format!("{sign}{made}"))
    }
}

impl Transformer for Digits {
    fn apply(&self, value: &str, _: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        if self.is_number {
            out.push_str(&self.number(value)?);
            return Ok(Made::Value);
        }
        let digits: String = value.chars().filter(char::is_ascii_digit).collect();
        if digits.is_empty() {
            return Err("it has no digits".into());
        }
        let made = self.permuted(&digits, form(value))?;
        let mut made = made.chars();
        for letter in value.chars() {
            out.push(if letter.is_ascii_digit() { made.next().unwrap_or('0') } else { letter });
        }
        Ok(Made::Value)
    }

    fn survey(&self, value: &str, survey: &mut Survey<'_>) -> Result<(), Unfit> {
        if !value.bytes().any(|byte| byte.is_ascii_digit()) {
            return Err("it has no digits".into());
        }
        survey.gatherer.identifier(value);
        Ok(())
    }

    fn class(&self) -> Class {
        Class::Identifier
    }

    fn injective(&self) -> Injective {
        Injective::Always
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{applied, contract, made, some, try_made};

    #[test]
    fn it_keeps_the_contract() {
        contract("digits = \"same_length\"", "character varying(40)", &some("[0-9]{2,5}", 400));
        contract("digits = \"same_length\"", "text", &some("[A-Z]{2}-[0-9]{2}/[0-9]{30}", 200));
        contract("digits = \"same_length\"", "integer", &some("-?[1-9][0-9]{0,7}", 400));
    }

    #[test]
    fn forms_stay_and_all_numbers_of_a_length_change_places() {
        let digits = made("digits = \"same_length\"", "text");
        let value = applied(&*digits, "AB-12/345").unwrap();
        assert!(value.starts_with("AB-") && value.as_bytes()[5] == b'/' && value.len() == 9);
        let mut all: Vec<String> =
            (0..100).map(|n| applied(&*digits, &format!("{n:02}")).unwrap()).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 100);
        assert!(applied(&*digits, "none").is_err());
        assert!(try_made("digits = \"same_length\"", "date", 1).is_err());
    }
}
