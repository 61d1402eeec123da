//! `fake = "first_name" | "last_name" | "full_name"`: a name of nobody.
//!
//! First names come from a list. Last names are put together from syllables, so that there are enough of them to
//! step past every last name that was removed: a made-up full name is never that of somebody in the data. Capitals are
//! as in the original (`DUPONT` gives capitals). Options: `domain`.

use crate::anonymize::key::{DomainKey, Draw};
use crate::anonymize::rule::Rule;

use super::{ATTEMPTS, Building, Class, Made, Place, Transformer, Unfit, Verb, cut};

/// The verb.
pub const VERB: Verb = Verb { name: "fake", options: &["domain"], has_domain: true, build };

/// First names of a locale, one a line.
const FIRST_FR: &str = include_str!("../lists/first_names.fr.txt");
/// The same for others.
const FIRST_EN: &str = include_str!("../lists/first_names.en.txt");

const HEADS_FR: &[&str] = &[
    "Bel", "Mar", "Vau", "Lan", "Char", "Bré", "Col", "Dau", "Fer", "Gar", "Hau", "Jar", "Lor",
    "Mon", "Nor", "Per", "Rou", "Sau", "Tri", "Val", "Ber", "Cor", "Del", "Fon", "Gri", "Lam",
    "Mau", "Pon", "Ras", "Ver", "Cha", "Tour", "Bas", "Gau", "Ler", "Quin", "San", "Vil", "Bour",
    "Cla",
];
const MIDDLES_FR: &[&str] = &[
    "a", "i", "o", "ber", "mo", "lan", "vi", "ro", "da", "le", "ne", "ti", "cha", "ri", "ma",
    "che", "lo", "dé", "gui", "pi",
];
const TAILS_FR: &[&str] = &[
    "net", "tier", "lin", "dot", "ville", "reau", "gnon", "rel", "sson", "mard", "quet", "llard",
    "gny", "court", "zac", "lot", "tel", "ron", "mont", "vier", "bois", "cher", "let", "tin",
];
const HEADS_EN: &[&str] = &[
    "Ash", "Black", "Brad", "Carl", "Dun", "Elling", "Fair", "Glen", "Hart", "Kel", "Lang", "Marl",
    "Nor", "Oak", "Pem", "Rad", "Stan", "Thorn", "Under", "Whit",
];
const MIDDLES_EN: &[&str] =
    &["a", "er", "ing", "en", "ber", "by", "le", "o", "ro", "mar", "wel", "ming", "i", "ston"];
const TAILS_EN: &[&str] = &[
    "ley", "ford", "ton", "well", "by", "wick", "ham", "field", "more", "worth", "stead", "bourne",
    "den", "gate", "shaw", "combe", "wood", "thorpe", "dale", "ridge",
];

/// Which syllables and names.
#[derive(Debug, Clone, Copy)]
pub struct Language {
    firsts: &'static str,
    heads: &'static [&'static str],
    middles: &'static [&'static str],
    tails: &'static [&'static str],
}

impl Language {
    /// Of a locale (`fr_FR`).
    pub fn of(locale: &str) -> Self {
        if locale.starts_with("fr") {
            return Self {
                firsts: FIRST_FR,
                heads: HEADS_FR,
                middles: MIDDLES_FR,
                tails: TAILS_FR,
            };
        }
        Self { firsts: FIRST_EN, heads: HEADS_EN, middles: MIDDLES_EN, tails: TAILS_EN }
    }

    /// A made-up last name, also for towns and companies. Later attempts have more syllables.
    pub fn last(self, draw: &mut Draw<'_>, attempt: u32, out: &mut String) {
        out.push_str(draw.pick(self.heads));
        let middles = if attempt < 20 { draw.below(2) } else { 1 + draw.below(2) };
        for _ in 0..=middles {
            out.push_str(draw.pick(self.middles));
        }
        out.push_str(draw.pick(self.tails));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    First,
    Last,
    Full,
}

#[derive(Debug)]
struct Name {
    key: DomainKey,
    which: Which,
    language: Language,
    /// First names, so that a draw needs no counting.
    firsts: Vec<&'static str>,
    limit: Option<usize>,
}

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    let which = match rule.word("fake", &["first_name", "last_name", "full_name"])? {
        "first_name" => Which::First,
        "last_name" => Which::Last,
        _ => Which::Full,
    };
    let limit = building.needs_text(10)?;
    let own = match which {
        Which::First => "first_name",
        Which::Last => "last_name",
        Which::Full => "full_name",
    };
    let key = building.key.domain(&rule.domain(own)?);
    let language = Language::of(building.locale);
    Ok(Box::new(Name { key, which, language, firsts: language.firsts.lines().collect(), limit }))
}

/// Writes `name` in capitals where `model` is, or in small letters.
fn like(model: &str, name: &mut String) {
    let has = |test: fn(char) -> bool| model.chars().any(test);
    match (has(char::is_uppercase), has(char::is_lowercase)) {
        (true, false) if model.chars().count() > 1 => *name = name.to_uppercase(),
        (false, true) => *name = name.to_lowercase(),
        _ => {}
    }
}

impl Transformer for Name {
    fn apply(&self, value: &str, place: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        for attempt in 0..ATTEMPTS {
            out.clear();
            let mut draw = self.key.draw(value, attempt);
            if self.which != Which::Last {
                out.push_str(draw.pick(&self.firsts));
            }
            if self.which == Which::Full {
                out.push(' ');
            }
            let first = out.len();
            if self.which != Which::First {
                self.language.last(&mut draw, attempt, out);
            }
            let has_name = |name: &str| place.originals.has_name(name);
            let is_full = self.which == Which::Full;
            let is_taken = is_full && has_name(out.get(first..).unwrap_or_default());
            like(value, out);
            cut(out, self.limit);
            let is_taken = is_taken || self.which == Which::Last && has_name(out);
            if out != value && !is_taken {
                return Ok(Made::Value);
            }
        }
        Err("there are not enough made-up names".into())
    }

    fn class(&self) -> Class {
        match self.which {
            Which::First => Class::FirstName,
            Which::Last => Class::LastName,
            Which::Full => Class::FullName,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{applied, applied_in, cells, contract, made, some, surveyed};

    #[test]
    fn it_keeps_the_contract() {
        let names = some("[A-Z][a-zéè]{2,9}", 300);
        for which in ["first_name", "last_name", "full_name"] {
            contract(&format!("fake = \"{which}\""), "character varying(30)", &names);
            contract(&format!("fake = \"{which}\""), "character varying(10)", &names);
        }
    }

    #[test]
    fn capitals_are_as_they_were() {
        let last = made("fake = \"last_name\"", "text");
        let made = |value: &str| applied(&*last, value).unwrap();
        assert!(!made("DUPONT").chars().any(char::is_lowercase));
        assert!(!made("dupont").chars().any(char::is_uppercase));
        assert!(made("Dupont").starts_with(char::is_uppercase));
    }

    #[test]
    fn a_made_up_last_name_is_nobodys() {
        let last = made("fake = \"last_name\"", "text");
        let first = applied(&*last, "Dupont").unwrap();
        let originals = surveyed(&*last, &[first.as_str()]);
        let second = applied_in(&*last, "Dupont", &cells("1", ""), &originals).unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn there_are_enough_last_names() {
        let last = made("fake = \"last_name\"", "text");
        let mut all: Vec<String> =
            (0..20_000).map(|n| applied(&*last, &format!("x{n}")).unwrap()).collect();
        all.sort_unstable();
        all.dedup();
        assert!(all.len() > 12_000, "{}", all.len());
    }
}
