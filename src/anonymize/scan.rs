//! Looks for what was removed in everything that is copied.
//!
//! A text is folded once; the polynomials of all its beginnings give that of any part of it with one
//! multiplication. Where nothing that was removed has the six letters that follow, nothing can begin, and one look is all
//! it takes. Looked up are: the whole text; every run of up to eight words with at most two characters
//! between them (`1 85 05 78 006 084`, `jean.dupont@example.org`); within longer words that have digits every part
//! as long as an identifier is; and, for names, runs of two to six words, single ones only in free text.

use super::fold::{Folded, fold};
use super::originals::{Fingerprints, LONGEST, Originals, SHORTEST};

/// Words of one identifier.
const MOST_WORDS: usize = 8;
/// Words of a first and a last name.
const MOST_NAME_WORDS: usize = 6;
/// Characters between the words of one identifier or name.
const WIDEST_GAP: usize = 2;
/// Shortest identifier that is looked for within a word: shorter ones are met by chance.
const SHORTEST_WITHIN: usize = 12;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hit {
    /// An identifier, or a text as a whole.
    Identifier,
    /// A first name with its last name.
    FullName,
    /// A name in free text.
    Name,
}

impl Hit {
    /// For people.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Identifier => "a value that was removed elsewhere",
            Self::FullName => "the full name of somebody that was removed elsewhere",
            Self::Name => "a name that was removed elsewhere",
        }
    }
}

/// How closely a text is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Only the whole of it: it was made here.
    Whole,
    /// Everything, but for single names.
    Parts,
    /// Everything.
    FreeText,
}

/// Scans one text after the other; its room is used again.
#[derive(Debug, Default)]
pub struct Scanner {
    folded: Folded,
    /// The polynomial of the first n letters.
    sums: Vec<u64>,
    /// Texts looked at.
    pub texts: u64,
}

impl Scanner {
    /// The polynomial of the letters from `start` to `end`.
    fn part(&self, start: usize, end: usize, originals: &Originals) -> Option<u64> {
        let (before, whole) = (self.sums.get(start)?, self.sums.get(end)?);
        match start {
            0 => Some(*whole),
            _ => originals.key().point().part(*before, *whole, end - start),
        }
    }

    /// Whether the letters from `start` to `end` are in `set`.
    fn is_in(&self, set: &Fingerprints, start: usize, end: usize, originals: &Originals) -> bool {
        if !set.has_length(end - start) {
            return false;
        }
        let Some(polynomial) = self.part(start, end, originals) else { return false };
        let letters = self.folded.letters.get(start..end).unwrap_or_default();
        set.has(originals.key(), polynomial, letters)
    }

    /// The first thing found in `text`.
    pub fn scan(&mut self, text: &str, depth: Depth, originals: &Originals) -> Option<Hit> {
        if text.len() < SHORTEST {
            return None;
        }
        self.texts += 1;
        if depth == Depth::Whole {
            return originals.has_identifier(text).then_some(Hit::Identifier);
        }
        fold(text, &mut self.folded);
        originals.key().point().beginnings(&self.folded.letters, &mut self.sums);
        let len = self.folded.letters.len();
        if self.is_in(&originals.identifiers, 0, len, originals) {
            return Some(Hit::Identifier);
        }
        let found = self.words(originals).or_else(|| self.within(originals));
        found.or_else(|| if depth == Depth::FreeText { self.names(originals) } else { None })
    }

    fn words(&self, originals: &Originals) -> Option<Hit> {
        let tokens = &self.folded.tokens;
        for (at, first) in tokens.iter().enumerate() {
            let beginning = self.part(first.start, first.start + SHORTEST, originals);
            let Some(beginning) = beginning else { break };
            let may_be_one = originals.identifiers.may_begin(beginning);
            let may_be_name = originals.pairs.may_begin(beginning);
            if !may_be_one && !may_be_name {
                continue;
            }
            for (count, last) in tokens.iter().skip(at).take(MOST_WORDS).enumerate() {
                let len = last.end - first.start;
                if count > 0 && last.gap > WIDEST_GAP || len > LONGEST {
                    break;
                }
                if len < SHORTEST {
                    continue;
                }
                let (start, end) = (first.start, last.end);
                if may_be_one && self.is_in(&originals.identifiers, start, end, originals) {
                    return Some(Hit::Identifier);
                }
                if may_be_name
                    && (1..MOST_NAME_WORDS).contains(&count)
                    && self.is_in(&originals.pairs, start, end, originals)
                {
                    return Some(Hit::FullName);
                }
            }
        }
        None
    }

    /// Single names: looked for last, since a full name or a number says more.
    fn names(&self, originals: &Originals) -> Option<Hit> {
        let is_name = |token: &super::fold::Token| {
            token.end - token.start >= SHORTEST
                && self.is_in(&originals.names, token.start, token.end, originals)
        };
        self.folded.tokens.iter().any(is_name).then_some(Hit::Name)
    }

    /// Parts of words that have digits.
    fn within(&self, originals: &Originals) -> Option<Hit> {
        let set = &originals.identifiers;
        for token in self.folded.tokens.iter().filter(|token| token.has_digit) {
            let len = token.end - token.start;
            let longest = len.saturating_sub(1).min(LONGEST);
            for start in token.start..=token.end.saturating_sub(SHORTEST_WITHIN) {
                let beginning = self.part(start, start + SHORTEST, originals);
                if !beginning.is_some_and(|beginning| set.may_begin(beginning)) {
                    continue;
                }
                for part in SHORTEST_WITHIN..=longest.min(token.end - start) {
                    if self.is_in(set, start, start + part, originals) {
                        return Some(Hit::Identifier);
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::crypto::random::SeededRandom;

    use super::super::originals::{Classes, FingerprintKey, Gatherer};
    use super::super::transform::Class;
    use super::*;

    fn originals() -> Originals {
        let key = FingerprintKey::new(&SeededRandom::new(9));
        let mut gatherer = Gatherer::new(key, Classes { identifiers: true, names: true });
        for value in
            ["1850578006084", "jean.dupont@example.org", "FR76 3000 6000 0112 3456 7890 189"]
        {
            gatherer.identifier(value);
        }
        gatherer.identifier("0612345678");
        gatherer.pair("Jean-Pierre", "de la Tour");
        gatherer.pair("Zoé", "Lô");
        gatherer.take(Class::LastName, "Quincampoix");
        gatherer.seal().unwrap()
    }

    fn found(text: &str, depth: Depth) -> Option<Hit> {
        Scanner::default().scan(text, depth, &originals())
    }

    #[test]
    fn identifiers_are_found_however_they_are_written() {
        for text in [
            "1850578006084",
            "NIR : 1 85 05 78 006 084 (clé 36)",
            "voir 185057800608436.",
            "x1850578006084y",
            "[\"1850578006084\", null]",
            "écrire à Jean.Dupont@Example.org svp",
            "<jean.dupont@example.org>",
            "FR7630006000011234567890189",
            "iban=FR76-3000-6000-0112-3456-7890-189;",
            "tél. 06.12.34.56.78",
        ] {
            assert_eq!(found(text, Depth::Parts), Some(Hit::Identifier), "{text}");
        }
        for text in [
            "",
            "185057800608",
            "1850578006085",
            "jean dupont",
            "06 12 34 56 79",
            // In a longer number ten digits may be anything.
            "9906123456789",
            "it is 1 85 ... 05 78 006 084",
        ] {
            assert_eq!(found(text, Depth::FreeText), None, "{text}");
        }
    }

    #[test]
    fn full_names_are_found_as_pairs_and_single_ones_in_free_text_alone() {
        for text in
            ["M. DE LA TOUR Jean Pierre", "jean-pierre.de-la-tour", "Jean-Pierre de la Tour, né"]
        {
            assert_eq!(found(text, Depth::Parts), Some(Hit::FullName), "{text}");
        }
        assert_eq!(found("Jean-Pierre; de la Tour", Depth::Parts), Some(Hit::FullName));
        for text in ["Jean-Pierre", "de la Tour", "Zoé Lô", "la Tour Jean"] {
            assert_eq!(found(text, Depth::FreeText), None, "{text}");
        }
        assert_eq!(found("Mme Quincampoix a appelé", Depth::FreeText), Some(Hit::Name));
        assert_eq!(found("Mme Quincampoix a appelé", Depth::Parts), None);
    }

    #[test]
    fn what_was_made_here_is_looked_at_as_a_whole() {
        assert_eq!(found("1 85 05 78 006 084", Depth::Whole), Some(Hit::Identifier));
        assert_eq!(found("x 1850578006084", Depth::Whole), None);
    }
}
