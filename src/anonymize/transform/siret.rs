//! `siret = true`: numbers of companies (SIREN, 9 digits) and of their sites (SIRET, 14 digits), valid and different for
//! different ones. The SIREN in a SIRET becomes what the same SIREN alone becomes. Spaces stay. Option: `domain`.

use crate::anonymize::permutation::Permutation;
use crate::anonymize::rule::Rule;

use super::{Building, Class, Injective, Made, Place, Transformer, Unfit, Verb};

/// The verb.
pub const VERB: Verb = Verb { name: "siret", options: &["domain"], has_domain: true, build };

#[derive(Debug)]
struct Siret {
    companies: Permutation,
    sites: Permutation,
}

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    rule.flag("siret")?;
    building.needs_text(9)?;
    let domain = rule.domain("siret")?;
    let permutation = |name: &str, bound| {
        Permutation::new(&building.key.derive(&format!("{name} {domain}")), bound)
    };
    Ok(Box::new(Siret {
        companies: permutation("companies", 100_000_000),
        sites: permutation("sites", 10_000),
    }))
}

/// The digit that makes `digits` valid when it stands behind them (Luhn).
fn luhn(digits: &str) -> u64 {
    let sum: u64 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u64::from(digit.wrapping_sub(b'0'));
            let weighed = if at % 2 == 0 { digit * 2 } else { digit };
            if weighed > 9 { weighed - 9 } else { weighed }
        })
        .sum();
    (10 - sum % 10) % 10
}

impl Siret {
    /// With the digit that is checked left out and made anew, so a wrong one gives what the right one does.
    fn company(&self, digits: &str) -> Result<String, Unfit> {
        let number: u64 = digits.get(..8).and_then(|d| d.parse().ok()).ok_or("it is no SIREN")?;
        let mut made = format!("{:08}", self.companies.derange(number, 0, 1));
        let check = luhn(&made);
        made.push_str(&check.to_string());
        Ok(made)
    }

    fn made(&self, digits: &str) -> Result<String, Unfit> {
        let mut made = self.company(digits)?;
        if digits.len() == 14 {
            let company: u64 = digits.get(..9).and_then(|d| d.parse().ok()).ok_or("no SIREN")?;
            let site: u64 = digits.get(9..13).and_then(|d| d.parse().ok()).ok_or("no SIRET")?;
            made.push_str(&format!("{:04}", self.sites.derange(site, company, 1)));
            let check = luhn(&made);
            made.push_str(&check.to_string());
        }
        Ok(made)
    }
}

fn digits_of(value: &str) -> Result<String, Unfit> {
    let digits: String = value.chars().filter(|letter| *letter != ' ').collect();
    let is_valid = |len: usize| {
        let (head, last) = (digits.get(..len - 1), digits.get(len - 1..len));
        head.zip(last).is_some_and(|(head, last)| luhn(head).to_string() == last)
    };
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.len() {
        9 if are_digits && is_valid(9) => Ok(digits),
        // Those of the post office are valid otherwise; the SIREN in them has to be.
        14 if are_digits && is_valid(9) => Ok(digits),
        _ => Err("it is no SIREN or SIRET".into()),
    }
}

impl Transformer for Siret {
    fn apply(&self, value: &str, _: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        let made = self.made(&digits_of(value)?)?;
        let mut digits = made.chars();
        for letter in value.chars() {
            out.push(if letter == ' ' { ' ' } else { digits.next().unwrap_or('0') });
        }
        Ok(Made::Value)
    }

    fn survey(&self, value: &str, survey: &mut super::Survey<'_>) -> Result<(), Unfit> {
        let digits = digits_of(value)?;
        survey.gatherer.identifier(&digits);
        Ok(())
    }

    fn class(&self) -> Class {
        Class::Identifier
    }

    fn injective(&self) -> Injective {
        // Of a SIRET the last digit is checked by nobody here: two that differ in it alone are one.
        Injective::Bits(64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{applied, contract, made, some};
    use super::*;

    fn valid(pattern: &str) -> Vec<String> {
        some(pattern, 300)
            .into_iter()
            .map(|head| {
                let siren = format!("{}{}", &head[..8], luhn(&head[..8]));
                let whole = format!("{siren}{}", &head[8..]);
                if head.len() > 8 { format!("{whole}{}", luhn(&whole)) } else { whole }
            })
            .collect()
    }

    #[test]
    fn it_keeps_the_contract() {
        contract("siret = true", "character varying(9)", &valid("[0-9]{8}"));
        contract("siret = true", "character varying(14)", &valid("[0-9]{12}"));
    }

    #[test]
    fn numbers_are_valid_and_a_site_is_of_its_company() {
        // An example of INSEE.
        assert_eq!(luhn("73282932"), 0);
        assert_eq!(luhn("7328293200007"), 4);
        let siret = made("siret = true", "text");
        let company = applied(&*siret, "732829320").unwrap();
        let site = applied(&*siret, "732 829 320 00074").unwrap();
        assert_eq!(site.replace(' ', "")[..9], company);
        for number in [company.clone(), site.replace(' ', "")] {
            let (head, last) = number.split_at(number.len() - 1);
            assert_eq!(luhn(head).to_string(), last);
        }
        for wrong in ["", "732829321", "73282932", "abcdefghi", "7328293200007"] {
            assert!(applied(&*siret, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn different_companies_stay_different() {
        let siret = made("siret = true", "text");
        let all = valid("[0-9]{8}");
        let mut made: Vec<String> = all.iter().map(|v| applied(&*siret, v).unwrap()).collect();
        let mut all = all;
        all.sort();
        all.dedup();
        made.sort();
        made.dedup();
        assert_eq!(made.len(), all.len());
    }
}
