//! `iban = "same_country"`: an account number with valid check digits, of the same country and form.
//!
//! Behind the check digits each digit becomes a digit and each letter a letter; the check digits are computed (ISO 7064,
//! mod 97-10), in French and Monegasque numbers the two of the bank (`clé RIB`), too. Spaces stay. Option: `domain`.

use crate::anonymize::key::DomainKey;
use crate::anonymize::rule::Rule;

use super::short::Short;
use super::{ATTEMPTS, Building, Class, Made, Place, Survey, Transformer, Unfit, Verb};

/// The verb.
pub const VERB: Verb = Verb { name: "iban", options: &["domain"], has_domain: true, build };

#[derive(Debug)]
struct Iban(DomainKey);

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    rule.word("iban", &["same_country"])?;
    building.needs_text(15)?;
    Ok(Box::new(Iban(building.key.domain(&rule.domain("iban")?))))
}

/// Texts of digits and letters (A = 10 ... Z = 35), one behind the other, as a number, modulo 97.
fn modulo_97(texts: &[&str]) -> u64 {
    texts.iter().flat_map(|text| text.chars()).fold(0, |rest, letter| {
        let value = u64::from(letter.to_digit(36).unwrap_or(0));
        if value > 9 { (rest * 100 + value) % 97 } else { (rest * 10 + value) % 97 }
    })
}

/// The check digits of an account in a country.
fn check_digits(country: &str, account: &str) -> u64 {
    98 - modulo_97(&[account, country, "00"])
}

/// Whether an IBAN without spaces has the right check digits.
pub fn is_valid(iban: &str) -> bool {
    match (iban.get(..4), iban.get(4..)) {
        (Some(head), Some(account)) => modulo_97(&[account, head]) == 1,
        _ => false,
    }
}

/// The clé RIB of 21 characters: letters count as the digit of their key on a telephone of old (A, J = 1; B, K, S = 2).
fn rib_key(account: &str) -> u64 {
    let digits = account.chars().map(|letter| match letter {
        'A'..='I' => char::from(b'1' + (letter as u8 - b'A')),
        'J'..='R' => char::from(b'1' + (letter as u8 - b'J')),
        'S'..='Z' => char::from(b'2' + (letter as u8 - b'S')),
        other => other,
    });
    let digits = Short::collect(digits).unwrap_or_default();
    97 - modulo_97(&[digits.text(), "00"])
}

fn compact(value: &str) -> Result<Short, Unfit> {
    let letters = value.chars().filter(|letter| *letter != ' ' && *letter != '-');
    let all = Short::collect(letters.map(|c| c.to_ascii_uppercase())).ok_or("it is no IBAN")?;
    let letters = all.text();
    let head = letters.as_bytes().first_chunk::<4>().ok_or("it is no IBAN")?;
    let is_one = head[..2].iter().all(u8::is_ascii_uppercase)
        && head[2..].iter().all(u8::is_ascii_digit)
        && letters.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && (15..=34).contains(&letters.len());
    if is_one { Ok(all) } else { Err("it is no IBAN".into()) }
}

impl Iban {
    fn account(&self, country: &str, old: &str, attempt: u32, account: &mut String) {
        account.clear();
        account.push_str(country);
        account.push_str(old);
        let mut draw = self.0.draw(account, attempt);
        account.clear();
        for letter in old.bytes() {
            let bits = draw.next_bits();
            account.push(char::from(match letter {
                b'0'..=b'9' => b'0' + (bits % 10) as u8,
                _ => b'A' + (bits % 26) as u8,
            }));
        }
        if ["FR", "MC"].contains(&country) && account.len() == 23 {
            account.truncate(21);
            let key = rib_key(account);
            account.push_str(Short::number(key, 2).text());
        }
    }
}

impl Transformer for Iban {
    fn apply(&self, value: &str, place: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        let letters = compact(value)?;
        let letters = letters.text();
        let (country, account) = (letters.get(..2), letters.get(4..));
        let (country, account) = country.zip(account).ok_or("it is no IBAN")?;
        let mut drawn = String::with_capacity(letters.len());
        for attempt in 0..ATTEMPTS {
            out.clear();
            self.account(country, account, attempt, &mut drawn);
            let mut made = Short::new();
            made.push(country);
            made.push_number(check_digits(country, &drawn), 2);
            made.push(&drawn);
            if made.text() == letters || place.originals.has_identifier(made.text()) {
                continue;
            }
            let mut letters = made.text().chars();
            for letter in value.chars() {
                let is_separator = letter == ' ' || letter == '-';
                out.push(if is_separator { letter } else { letters.next().unwrap_or('0') });
            }
            return Ok(Made::Value);
        }
        Err("no account is left for it".into())
    }

    fn survey(&self, value: &str, survey: &mut Survey<'_>) -> Result<(), Unfit> {
        let letters = compact(value)?;
        let letters = letters.text();
        survey.gatherer.identifier(letters);
        // As it is known in France: without country and check digits.
        if let Some(account) = letters.get(4..).filter(|_| letters.starts_with("FR")) {
            survey.gatherer.identifier(account);
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
    use super::*;

    #[test]
    fn it_keeps_the_contract() {
        contract(
            "iban = \"same_country\"",
            "character varying(34)",
            &some("FR[0-9]{12}[0-9A-Z]{11}[0-9]{2}", 300),
        );
        contract("iban = \"same_country\"", "text", &some("NO[0-9]{13}", 200));
    }

    #[test]
    fn check_digits_are_those_of_published_examples() {
        for iban in ["GB82WEST12345698765432", "FR1420041010050500013M02606", "NO9386011117947"] {
            assert!(is_valid(iban), "{iban}");
            assert_eq!(format!("{:02}", check_digits(&iban[..2], &iban[4..])), iban[2..4]);
        }
        assert_eq!(rib_key("20041010050500013M026"), 6);
        assert!(!is_valid("FR1420041010050500013M02607") && !is_valid("FR"));
    }

    #[test]
    fn what_is_made_is_valid_and_written_alike() {
        let iban = made("iban = \"same_country\"", "text");
        for value in ["FR14 2004 1010 0505 0001 3M02 606", "GB82-WEST-1234-5698-7654-32"] {
            let made = applied(&*iban, value).unwrap();
            let plain = compact(&made).unwrap();
            let plain = plain.text();
            assert!(is_valid(plain), "{made}");
            assert_eq!(made.len(), value.len());
            assert_eq!(made.find([' ', '-']), value.find([' ', '-']));
            if plain.starts_with("FR") {
                assert_eq!(plain[25..].parse(), Ok(rib_key(&plain[4..25])));
            }
        }
        let plain = applied(&*iban, "FR1420041010050500013M02606").unwrap();
        let spaced = applied(&*iban, "FR14 2004 1010 0505 0001 3M02 606").unwrap();
        assert_eq!(spaced.replace(' ', ""), plain);
        let found = surveyed(&*iban, &["FR14 2004 1010 0505 0001 3M02 606"]);
        assert!(found.has_identifier("20041010050500013M02606"));
        for wrong in
            ["", "FR", "1234567890123456", "FR14éé41010050500013M02606", "FRXX20041010050500"]
        {
            assert!(applied(&*iban, wrong).is_err(), "{wrong}");
        }
    }
}
