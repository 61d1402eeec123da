//! `pattern = "user-{id}"`, `pattern = "[A-Z0-9]{14}"`: a text of a fixed form.
//!
//! Letters stand for themselves; `[A-Z0-9_]` is one of these letters and `\d` a digit, with `{N}` behind it N of
//! them; `{hmac:N}` are N lower-case letters and digits; `{column}` is what another column of the row will hold;
//! `{ext}` is the ending of the old value (`.pdf`) if it is one of a common file. What is drawn follows from the old value.

use crate::anonymize::key::{DomainKey, Draw};
use crate::anonymize::rule::Rule;

use super::{ATTEMPTS, Building, Class, Injective, Made, Place, Transformer, Unfit, Verb};

/// The verb.
pub const VERB: Verb = Verb { name: "pattern", options: &["domain"], has_domain: true, build };

/// What `{hmac:N}` is drawn from: letters and digits that are not mistaken for others, 32 of them.
const DRAWN: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Most letters of one part.
const LONGEST: usize = 255;

#[derive(Debug, Clone)]
enum Part {
    Literal(String),
    Letters { alphabet: Vec<u8>, count: usize },
    Column { at: usize, is_key: bool },
    Ending,
}

/// A pattern, read.
#[derive(Debug, Clone)]
pub struct Pattern {
    key: DomainKey,
    parts: Vec<Part>,
    limit: Option<usize>,
    /// How many are drawn.
    bits: u32,
}

#[derive(Debug)]
struct Formed(Pattern);

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    let text = rule.needed("pattern")?;
    let domain = rule.domain(&format!("pattern {text}"))?;
    let pattern = Pattern::parse(text, building.key.domain(&domain), building)?;
    if pattern.bits == 0 && pattern.columns().is_empty() {
        return Err("nothing in it is drawn or different; for a constant use `set`".to_owned());
    }
    building.needs_text(pattern.longest())?;
    Ok(Box::new(Formed(pattern)))
}

/// The letters of `A-Z0-9_`.
fn alphabet(text: &str) -> Result<Vec<u8>, String> {
    let letters: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = letters.get(at) {
        let last = match (letters.get(at + 1), letters.get(at + 2)) {
            (Some('-'), Some(last)) => {
                at += 3;
                *last
            }
            _ => {
                at += 1;
                *first
            }
        };
        if !first.is_ascii_graphic() || !last.is_ascii_graphic() || last < *first {
            return Err(format!("`[{text}]` is no set of letters"));
        }
        found.extend(*first as u8..=last as u8);
    }
    found.sort_unstable();
    found.dedup();
    if found.is_empty() { Err("`[]` has no letters".to_owned()) } else { Ok(found) }
}

/// The text up to the next `end`, and what is behind it.
fn until<'t>(text: &'t str, end: char, what: &str) -> Result<(&'t str, &'t str), String> {
    text.split_once(end).ok_or_else(|| format!("`{what}` is not closed"))
}

fn count_of(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=LONGEST) => Ok(count),
        _ => Err(format!("`{{{text}}}` is no number of letters up to {LONGEST}")),
    }
}

impl Pattern {
    /// Reads `text`.
    pub fn parse(text: &str, key: DomainKey, building: &Building<'_>) -> Result<Self, String> {
        let mut parts: Vec<Part> = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            match first {
                '[' => {
                    let (inside, after) = until(rest, ']', "[")?;
                    parts.push(Part::Letters { alphabet: alphabet(inside)?, count: 1 });
                    rest = after;
                }
                '\\' if rest.starts_with('d') => {
                    parts.push(Part::Letters { alphabet: b"0123456789".to_vec(), count: 1 });
                    rest = rest.get(1..).unwrap_or_default();
                }
                '{' => {
                    let (inside, after) = until(rest, '}', "{")?;
                    rest = after;
                    Self::braces(inside, &mut parts, building)?;
                }
                letter => match parts.last_mut() {
                    Some(Part::Literal(literal)) => literal.push(letter),
                    _ => parts.push(Part::Literal(letter.to_string())),
                },
            }
        }
        let limit = match building.kind {
            crate::anonymize::schema::Kind::Text(limit) => *limit,
            _ => None,
        };
        let bits = Self::bits(&parts);
        Ok(Self { key, parts, limit, bits })
    }

    fn braces(inside: &str, parts: &mut Vec<Part>, building: &Building<'_>) -> Result<(), String> {
        if inside.bytes().all(|byte| byte.is_ascii_digit()) {
            let repeated = count_of(inside)?;
            match parts.last_mut() {
                Some(Part::Letters { count, .. }) => *count = repeated,
                _ => return Err(format!("`{{{inside}}}` has no set of letters before it")),
            }
            return Ok(());
        }
        if let Some(count) = inside.strip_prefix("hmac:") {
            parts.push(Part::Letters { alphabet: DRAWN.to_vec(), count: count_of(count)? });
            return Ok(());
        }
        if inside == "ext" {
            parts.push(Part::Ending);
            return Ok(());
        }
        let name = inside.strip_prefix("row.").unwrap_or(inside);
        let at = building.column(name)?;
        let is_key = building.table.unique.iter().any(|columns| columns.as_slice() == [name]);
        parts.push(Part::Column { at, is_key });
        Ok(())
    }

    /// Most letters it makes, as far as that is known: a column's text may be longer.
    pub fn longest(&self) -> usize {
        let letters = |part: &Part| match part {
            Part::Literal(text) => text.chars().count(),
            Part::Letters { count, .. } => *count,
            Part::Column { .. } => 1,
            Part::Ending => 5,
        };
        self.parts.iter().map(letters).sum()
    }

    fn bits(parts: &[Part]) -> u32 {
        let bits = |part: &Part| match part {
            Part::Letters { alphabet, count } => {
                (alphabet.len() as f64).log2() * f64::from(u32::try_from(*count).unwrap_or(255))
            }
            _ => 0.0,
        };
        let all: f64 = parts.iter().map(bits).sum();
        all.min(256.0) as u32
    }

    /// Whether different values get different texts. One that holds a unique column of the row does, whatever
    /// the values were.
    pub fn injective(&self) -> Injective {
        let has_key = |part: &Part| matches!(part, Part::Column { is_key: true, .. });
        match self.bits {
            _ if self.parts.iter().any(has_key) => Injective::Always,
            0 => Injective::No,
            bits => Injective::Bits(bits),
        }
    }

    /// Columns whose pseudonyms it takes.
    pub fn columns(&self) -> Vec<usize> {
        let column = |part: &Part| match part {
            Part::Column { at, .. } => Some(*at),
            _ => None,
        };
        self.parts.iter().filter_map(column).collect()
    }

    /// Appends the text for `value` to `out`.
    pub fn write(&self, value: &str, place: &Place<'_>, out: &mut String) -> Result<(), Unfit> {
        for attempt in 0..ATTEMPTS {
            out.clear();
            self.form(&mut self.key.draw(value, attempt), value, place, out)?;
            let is_too_long = |limit| out.len() > limit && out.chars().count() > limit;
            if self.limit.is_some_and(is_too_long) {
                return Err("what the pattern makes is too long for the column".into());
            }
            let is_drawn = self.bits > 0;
            if out != value && !(is_drawn && place.originals.has_identifier(out)) {
                return Ok(());
            }
            if !is_drawn {
                return Err("the pattern makes of it what it is".into());
            }
        }
        Err("the pattern makes nothing but what is there already".into())
    }

    fn form(
        &self,
        draw: &mut Draw<'_>,
        value: &str,
        place: &Place<'_>,
        out: &mut String,
    ) -> Result<(), Unfit> {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Letters { alphabet, count } => draw.letters(alphabet, *count, out),
                Part::Column { at, .. } => {
                    out.push_str(place.cells.made(*at).ok_or("a column of the pattern is NULL")?);
                }
                Part::Ending => out.push_str(super::file::ending(value)),
            }
        }
        Ok(())
    }
}

impl Transformer for Formed {
    fn apply(&self, value: &str, place: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        self.0.write(value, place, out).map(|()| Made::Value)
    }

    fn class(&self) -> Class {
        Class::Identifier
    }

    fn injective(&self) -> Injective {
        match self.0.injective() {
            // Unique in its table, whatever the values are; but equal values differ then.
            Injective::Always => Injective::Bits(64),
            other => other,
        }
    }

    fn after(&self) -> Vec<usize> {
        self.0.columns()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        applied, applied_in, cells, contract, made, no_originals, some, surveyed, try_made,
    };
    use super::*;

    #[test]
    fn it_keeps_the_contract() {
        contract("pattern = \"[A-Z0-9]{14}\"", "character varying(14)", &some("[A-Z0-9]{14}", 300));
        contract("pattern = \"x\\\\d{6}-{hmac:8}\"", "text", &some("\\PC{1,20}", 300));
    }

    #[test]
    fn forms_are_as_written() {
        let formed = |pattern: &str, value: &str| {
            applied(&*made(&format!("pattern = '{pattern}'"), "text"), value).unwrap()
        };
        let pel = formed("[A-Z0-9]{14}", "x");
        assert_eq!(pel.len(), 14);
        assert!(pel.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()));
        assert_eq!(formed("user{id}", "x"), "user1");
        assert_eq!(formed("document-{row.id}{ext}", "Ordonnance Dupont.PDF"), "document-1.pdf");
        assert_eq!(formed("document-{id}{ext}", "secret.dupont"), "document-1");
        assert!(formed("a\\d{3}", "x").starts_with('a'));
    }

    #[test]
    fn another_column_is_taken_as_it_will_be_and_never_the_value_itself() {
        let rule = "pattern = 'user{id}'";
        let user = made(rule, "text");
        assert_eq!(user.after(), [0]);
        let error = applied_in(&*user, "user1", &cells("1", ""), &no_originals()).unwrap_err();
        assert_eq!(error, Unfit::from("the pattern makes of it what it is"));
        assert_eq!(applied_in(&*user, "user1", &cells("2", ""), &no_originals()).unwrap(), "user2");
    }

    #[test]
    fn a_text_that_somebody_had_is_drawn_again() {
        let rule = "pattern = '\\d{9}'";
        let transformer = made(rule, "text");
        let first = applied(&*transformer, "a").unwrap();
        let originals = surveyed(&*transformer, &[first.as_str()]);
        let second = applied_in(&*transformer, "a", &cells("1", ""), &originals).unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (pattern, why) in [
            ("[A-", "not closed"),
            ("{hmac:0}", "no number of letters"),
            ("{hmac:999}", "no number of letters"),
            ("x{3}", "no set of letters"),
            ("[z-a]", "no set of letters"),
            ("{nothing}", "no column `nothing`"),
            ("constant", "for a constant use `set`"),
        ] {
            let error = try_made(&format!("pattern = '{pattern}'"), "text", 1).unwrap_err();
            assert!(error.contains(why), "{pattern}: {error}");
        }
    }

    #[test]
    fn it_says_how_different_its_texts_are() {
        let injective = |pattern: &str| made(&format!("pattern = '{pattern}'"), "text").injective();
        assert_eq!(injective("\\d{2}"), Injective::Bits(6));
        assert_eq!(injective("{hmac:13}"), Injective::Bits(65));
        assert!(injective("user{id}").is_enough());
        assert!(!injective("born-{birth_date}").is_enough());
    }
}
