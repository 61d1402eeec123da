//! `nir = "fpe"`: a French social security number (NIR) that is valid, and different for different ones.
//!
//! Sex and year of birth stay. The month is exchanged within its year as `birth_month` does, so that the number fits the birth
//! date of its row, and of any other row or JSON where both are. Place and order of birth (department with 2A and 2B, commune,
//! number) are permuted under the key; numbers of departments that exist stay such. The key of two digits, if
//! it is written, is computed. With `with = "COLUMN"` year and month are taken from what that column will hold
//! instead; two numbers may then become one, so that a unique index rules it out. Spaces stay. Option: `domain`.
//!
//! A made-up number is never one that was removed: what would be is permuted further, in a way that keeps different ones
//! different. It may be the number of somebody who is not in the data.

use crate::anonymize::permutation::Permutation;
use crate::anonymize::rule::Rule;
use crate::anonymize::schema::Kind;

use super::date::{MONTHS_DOMAIN, Months};
use super::short::Short;
use super::{Building, Class, Injective, Made, Place, Survey, Transformer, Unfit, Verb};

/// The verb.
pub const VERB: Verb =
    Verb { name: "nir", options: &["with", "domain", "months"], has_domain: true, build };

/// Departments: 00 to 99, 2A, 2B.
const DEPARTMENTS: u64 = 102;
/// Communes of one, numbers of one commune.
const THOUSAND: u64 = 1000;
/// Departments that numbers are issued for: 01 to 19, 2A, 2B, 21 to 95, 97, 98, 99 (abroad).
const ISSUED: u64 = 99;
/// How often a number that was removed is permuted further.
const FURTHER: u64 = 8;

#[derive(Debug)]
struct Nir {
    months: Months,
    issued: Permutation,
    others: Permutation,
    with: Option<usize>,
}

/// A number, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Number {
    sex: u8,
    year: u64,
    month: u64,
    department: u64,
    commune: u64,
    order: u64,
}

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    rule.word("nir", &["fpe"])?;
    match building.kind {
        Kind::Text(limit) if limit.is_none_or(|limit| limit >= 13) => {}
        Kind::Other => {}
        _ => return Err("a NIR needs a column of text of 13 letters or more".to_owned()),
    }
    let domain = rule.domain("nir")?;
    let months = rule.text("months")?.unwrap_or(MONTHS_DOMAIN);
    let permutation = |name: &str, bound| {
        Permutation::new(&building.key.derive(&format!("nir {name} {domain}")), bound)
    };
    Ok(Box::new(Nir {
        months: Months::new(building, months),
        issued: permutation("issued", ISSUED * THOUSAND * THOUSAND),
        others: permutation("others", (DEPARTMENTS - ISSUED) * THOUSAND * THOUSAND),
        with: rule.text("with")?.map(|name| building.column(name)).transpose()?,
    }))
}

/// The key of 13 characters: 97 less the rest of their number, in which 2A is 19 and 2B is 18.
pub fn check_key(number: &str) -> Option<u64> {
    let department = match number.get(5..7)? {
        "2A" => "19",
        "2B" => "18",
        plain => plain,
    };
    let digits = [number.get(..5)?, department, number.get(7..)?];
    let rest = digits.iter().flat_map(|part| part.chars()).try_fold(0, |rest, digit| {
        digit.to_digit(10).map(|digit| (rest * 10 + u64::from(digit)) % 97)
    });
    Some(97 - rest?)
}

impl Number {
    fn parse(letters: &str) -> Option<Self> {
        let bytes = letters.as_bytes();
        let digits = |from: usize, to: usize| letters.get(from..to)?.parse::<u64>().ok();
        if bytes.len() != 13 || !bytes.iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        let department = match letters.get(5..7)? {
            "2A" => 100,
            "2B" => 101,
            _ => digits(5, 7)?,
        };
        Some(Self {
            sex: *bytes.first()?,
            year: digits(1, 3)?,
            month: digits(3, 5)?,
            department,
            commune: digits(7, 10)?,
            order: digits(10, 13)?,
        })
        .filter(|number| number.sex.is_ascii_digit())
    }

    fn write(self) -> Short {
        let Self { sex, year, month, department, commune, order } = self;
        let mut letters = Short::number(u64::from(sex.saturating_sub(b'0')), 1);
        letters.push_number(year, 2);
        letters.push_number(month, 2);
        match department {
            100 => letters.push("2A"),
            101 => letters.push("2B"),
            plain => letters.push_number(plain, 2),
        }
        letters.push_number(commune, 3);
        letters.push_number(order, 3);
        letters
    }

    /// The departments that numbers are issued for, in their order.
    const fn issued_place(department: u64) -> Option<u64> {
        match department {
            1..=19 => Some(department - 1),
            21..=95 => Some(department - 2),
            100 | 101 => Some(department - 6),
            97..=99 => Some(department - 1),
            _ => None,
        }
    }

    /// Which of those it is, and the place and order as one number.
    const fn place(self) -> (bool, u64) {
        let rest = self.commune * THOUSAND + self.order;
        match Self::issued_place(self.department) {
            Some(place) => (true, place * THOUSAND * THOUSAND + rest),
            None => {
                let place = match self.department {
                    0 => 0,
                    20 => 1,
                    _ => 2,
                };
                (false, place * THOUSAND * THOUSAND + rest)
            }
        }
    }

    const fn at(self, is_issued: bool, place: u64) -> Self {
        let (index, rest) = (place / (THOUSAND * THOUSAND), place % (THOUSAND * THOUSAND));
        let department = match (is_issued, index) {
            (true, 0..=18) => index + 1,
            (true, 19..=93) => index + 2,
            (true, 94 | 95) => index + 6,
            (true, _) => index + 1,
            (false, 0) => 0,
            (false, 1) => 20,
            (false, _) => 96,
        };
        Self { department, commune: rest / THOUSAND, order: rest % THOUSAND, ..self }
    }
}

/// The letters of a NIR without what separates them, in capitals.
fn compact(value: &str) -> Result<Short, Unfit> {
    let is_separator = |letter: &char| matches!(letter, ' ' | '.' | '-' | '\u{a0}' | '\u{202f}');
    let letters = value.chars().filter(|letter| !is_separator(letter));
    Ok(Short::collect(letters.map(|c| c.to_ascii_uppercase())).ok_or("it is no NIR")?)
}

fn read(value: &str) -> Result<(Number, bool), Unfit> {
    let letters = compact(value)?;
    let letters = letters.text();
    let head = letters.get(..13).ok_or("it is no NIR")?;
    let number = Number::parse(head).ok_or("it is no NIR")?;
    match letters.get(13..) {
        Some("") => Ok((number, false)),
        Some(key) if key.len() == 2 && key.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok((number, true))
        }
        _ => Err("it is no NIR".into()),
    }
}

impl Nir {
    /// A number whose place is permuted so far that it is none that was removed.
    ///
    /// The k-th further place `c` is taken only if no earlier k would have taken somebody who was removed there
    /// instead: whoever is sent to `c` by an earlier one was not removed. So two removed ones never meet.
    fn elsewhere(&self, from: Number, to: Number, place: &Place<'_>) -> Result<Number, Unfit> {
        let (is_issued, start) = from.place();
        let permutation = if is_issued { &self.issued } else { &self.others };
        let tweak = (u64::from(from.sex) << 16) | (from.year << 8) | from.month;
        let was_removed = |number: Number| place.originals.has_identifier(number.write().text());
        for further in 1..=FURTHER {
            let candidate = permutation.derange(start, tweak, further);
            let number = to.at(is_issued, candidate);
            let is_anothers = (1..further).any(|earlier| {
                let other = permutation.derange_back(candidate, tweak, earlier);
                was_removed(from.at(is_issued, other))
            });
            if !was_removed(number) && !is_anothers {
                return Ok(number);
            }
        }
        Err("no number is left for it".into())
    }

    fn birth(&self, number: Number, place: &Place<'_>) -> Result<(u64, u64), Unfit> {
        if let Some(column) = self.with {
            // Without a birth date the number keeps to the exchange of months.
            if let Some(date) = place.cells.made(column) {
                let part = |from: usize, to: usize| date.get(from..to)?.parse::<u64>().ok();
                let birth = part(2, 4).zip(part(5, 7));
                return birth.ok_or_else(|| "the column of `with` holds no date".into());
            }
        }
        let month = match number.month {
            1..=12 => self.months.exchange(number.year, number.month),
            // Issued where the civil records are incomplete.
            other => other,
        };
        Ok((number.year, month))
    }
}

impl Transformer for Nir {
    fn apply(&self, value: &str, place: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        let (number, has_key) = read(value)?;
        let (year, month) = self.birth(number, place)?;
        let made = self.elsewhere(number, Number { year, month, ..number }, place)?;
        let mut letters = made.write();
        if has_key {
            let key = check_key(letters.text()).ok_or("it is no NIR")?;
            letters.push_number(key, 2);
        }
        let mut letters = letters.text().chars();
        // Where the old one has spaces, the new one has them.
        for letter in value.chars() {
            out.push(match letter {
                separator if !separator.is_ascii_alphanumeric() => separator,
                _ => letters.next().ok_or("it is no NIR")?,
            });
        }
        Ok(Made::Value)
    }

    fn survey(&self, value: &str, survey: &mut Survey<'_>) -> Result<(), Unfit> {
        read(value)?;
        let mut letters = compact(value)?;
        let head = letters.text().get(..13).ok_or("it is no NIR")?;
        survey.gatherer.identifier(head);
        if let Some(key) = check_key(head) {
            letters = Short::collect(head.chars()).unwrap_or(letters);
            letters.push_number(key, 2);
            survey.gatherer.identifier(letters.text());
        }
        Ok(())
    }

    fn class(&self) -> Class {
        Class::Identifier
    }

    fn injective(&self) -> Injective {
        match self.with {
            Some(_) => Injective::No,
            None => Injective::Always,
        }
    }

    fn after(&self) -> Vec<usize> {
        self.with.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::testing::{
        applied, applied_in, cells, contract, made, no_originals, some, surveyed, try_made,
    };
    use super::*;

    const RULE: &str = "nir = \"fpe\"";
    const ANY: &str =
        "[12][0-9]{2}(0[1-9]|1[0-2])(0[1-9]|1[0-9]|2[AB]|[3-8][0-9]|9[0-57-9])[0-9]{6}";

    #[test]
    fn it_keeps_the_contract() {
        contract(RULE, "character varying(13)", &some(ANY, 400));
        contract(RULE, "text", &some("[3478][0-9]{2}[2-9][0-9](00|20|96)[0-9]{6}", 200));
    }

    #[test]
    fn keys_are_those_that_are_published() {
        assert_eq!(check_key("2550814168025"), Some(38));
        assert_eq!(check_key("186022A215325"), Some(23));
        assert_eq!(check_key("186022B215325"), Some(50));
    }

    #[test]
    fn it_is_a_valid_number_of_the_same_sex_and_year() {
        let nir = made(RULE, "text");
        for value in some(ANY, 200) {
            let whole = format!("{value}{:02}", check_key(&value).unwrap());
            let made = applied(&*nir, &whole).unwrap();
            assert_eq!(made[..3], whole[..3]);
            assert_eq!(made.len(), 15);
            assert_eq!(made[13..].parse::<u64>().ok(), check_key(&made[..13]), "{made}");
            assert_eq!(applied(&*nir, &value).unwrap(), made[..13]);
            let (number, _) = read(&made).unwrap();
            assert!(Number::issued_place(number.department).is_some(), "{made}");
        }
    }

    #[test]
    fn it_fits_the_birth_date_of_its_row() {
        let (nir, date) = (made(RULE, "text"), made("birth_month = true", "date"));
        for month in 1..=12 {
            for year in [1923, 1985, 2004] {
                let born = applied(&*date, &format!("{year}-{month:02}-11")).unwrap();
                let old = format!("1{:02}{month:02}75056123", year % 100);
                assert_eq!(applied(&*nir, &old).unwrap()[1..5], born.replace('-', "")[2..6]);
            }
        }
        let with = made("nir = \"fpe\"\nwith = \"birth_date\"", "text");
        let cells = cells("1", "1970-11-30");
        let made = applied_in(&*with, "1850575056123", &cells, &no_originals()).unwrap();
        assert_eq!(made[..5], *"17011");
        assert_eq!((with.injective(), with.after()), (Injective::No, vec![2]));
    }

    #[test]
    fn spaces_stay_and_the_two_ways_of_writing_agree() {
        let nir = made(RULE, "text");
        let plain = applied(&*nir, "186022A215325").unwrap();
        let spaced = applied(&*nir, "1 86 02 2a 215 325").unwrap();
        assert_eq!(compact(&spaced).unwrap().text(), plain);
        assert_eq!(spaced.matches(' ').count(), 5);
        assert!(surveyed(&*nir, &["186022A215325"]).has_identifier("1 86 02 2A 215 325 23"));
    }

    #[test]
    fn places_are_numbered_one_by_one() {
        let base = Number::parse("1850575056123").unwrap();
        let mut seen = HashSet::new();
        for department in (0..=99).chain([100, 101]) {
            let number = Number { department, ..base };
            let (is_issued, place) = number.place();
            assert_eq!(number.at(is_issued, place), number, "{department}");
            assert!(seen.insert((is_issued, place)));
        }
        assert_eq!(seen.iter().filter(|(is_issued, _)| *is_issued).count() as u64, ISSUED);
    }

    /// Originals so dense that the first place is mostly taken: still nobody meets anybody.
    #[test]
    fn removed_numbers_never_meet_and_are_never_made() {
        let nir = made(RULE, "text");
        let mut all: HashSet<String> = some("18505(01|02)05[0-9]{4}", 300).into_iter().collect();
        // Where these go is taken by others that were removed.
        for _ in 0..3 {
            let more: Vec<String> = all.iter().map(|v| applied(&*nir, v).unwrap()).collect();
            all.extend(more);
        }
        let values: Vec<&str> = all.iter().map(String::as_str).collect();
        let originals = surveyed(&*nir, &values);
        let cells = cells("1", "");
        let made: HashSet<String> = values
            .iter()
            .map(|value| applied_in(&*nir, value, &cells, &originals).unwrap())
            .collect();
        assert_eq!(made.len(), all.len());
        assert!(made.is_disjoint(&all));
    }

    #[test]
    fn what_is_no_number_is_told() {
        let nir = made(RULE, "text");
        for wrong in [
            "",
            "185057505612",
            "18505750561234",
            "1850575A56123",
            "X850575056123",
            "185052C056123",
            "ééééééééééééé",
        ] {
            assert!(applied(&*nir, wrong).is_err(), "{wrong}");
            assert!(read(wrong).is_err());
        }
        assert!(try_made(RULE, "bigint", 1).is_err());
        assert!(try_made(RULE, "character varying(12)", 1).is_err());
    }
}
