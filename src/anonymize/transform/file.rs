//! `file = "placeholder"`: a column that names a file. The row names another one, which is made: a real PDF, PNG, JPEG or
//! DOCX with nothing in it.
//!
//! `root` is the directory, as `[files]` names it, below which paths of the column lie. The new name is drawn from the old
//! path; `directory` is put before it. The ending stays if it is one of a common file. Options: `root`, `directory`,
//! `domain`.

use crate::anonymize::key::DomainKey;
use crate::anonymize::rule::{Rule, nearest};

use super::{Building, Class, Injective, Made, Place, Survey, Transformer, Unfit, Verb};

/// The verb.
pub const VERB: Verb =
    Verb { name: "file", options: &["root", "directory", "domain"], has_domain: true, build };

/// What a placeholder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PlaceholderKind {
    /// One page.
    Pdf,
    /// Eight pixels by eight.
    Png,
    /// The same.
    Jpeg,
    /// One word.
    Docx,
    /// Nothing.
    Empty,
}

/// A file to be made.
#[derive(Debug, Clone, Copy)]
pub struct Placeholder<'a> {
    /// As `[files]` names it.
    pub root: &'a str,
    /// Path below it.
    pub path: &'a str,
    /// What.
    pub kind: PlaceholderKind,
}

impl PlaceholderKind {
    /// By the ending of a name, with its point.
    pub fn of(ending: &str) -> Self {
        match ending {
            ".pdf" => Self::Pdf,
            ".png" | ".gif" => Self::Png,
            ".jpg" | ".jpeg" => Self::Jpeg,
            ".docx" | ".doc" | ".odt" => Self::Docx,
            _ => Self::Empty,
        }
    }

    /// Its bytes.
    pub const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Pdf => include_bytes!("../placeholders/page.pdf"),
            Self::Png => include_bytes!("../placeholders/image.png"),
            Self::Jpeg => include_bytes!("../placeholders/image.jpg"),
            Self::Docx => include_bytes!("../placeholders/page.docx"),
            Self::Empty => b"",
        }
    }
}

/// Endings that say nothing about anybody.
const ENDINGS: &[&str] =
    &[".pdf", ".png", ".gif", ".jpg", ".jpeg", ".docx", ".doc", ".odt", ".txt", ".csv", ".zip"];

/// The ending of a file's name in small letters, if it is a common one; otherwise nothing.
pub fn ending(name: &str) -> &'static str {
    let base = name.rsplit('/').next().unwrap_or(name);
    let Some(at) = base.rfind('.') else { return "" };
    let found = base.get(at..).unwrap_or_default();
    ENDINGS.iter().find(|known| known.eq_ignore_ascii_case(found)).copied().unwrap_or("")
}

#[derive(Debug)]
struct FileName {
    key: DomainKey,
    root: String,
    directory: String,
}

fn build(rule: &Rule<'_>, building: &Building<'_>) -> Result<Box<dyn Transformer>, String> {
    rule.word("file", &["placeholder"])?;
    let root = rule.needed("root")?.to_owned();
    if !building.roots.contains(&root) {
        let hint = nearest(&root, building.roots.iter().map(String::as_str));
        return Err(format!("`root = \"{root}\"`: no [files.{root}] makes placeholders; {hint}"));
    }
    let directory = rule.text("directory")?.map_or_else(String::new, |text| format!("{text}/"));
    let is_below = |part: &str| !part.is_empty() && part != "." && part != "..";
    if !directory.is_empty() && !directory.trim_end_matches('/').split('/').all(is_below) {
        return Err("`directory` has to be a path below `root`".to_owned());
    }
    building.needs_text(directory.chars().count() + 21)?;
    let key = building.key.domain(&rule.domain(&format!("file {root}"))?);
    Ok(Box::new(FileName { key, root, directory }))
}

impl Transformer for FileName {
    fn apply(&self, value: &str, place: &Place<'_>, out: &mut String) -> Result<Made, Unfit> {
        let ending = ending(value);
        out.push_str(&self.directory);
        self.key.draw(value, 0).letters(b"abcdefghijkmnpqrstuvwxyz23456789", 16, out);
        out.push_str(ending);
        let kind = PlaceholderKind::of(ending);
        place.files.placeholder(Placeholder { root: &self.root, path: out, kind })?;
        Ok(Made::Value)
    }

    fn survey(&self, value: &str, survey: &mut Survey<'_>) -> Result<(), Unfit> {
        let base = value.rsplit('/').next().unwrap_or(value);
        survey.gatherer.identifier(base);
        // Without its ending, too: `scan.pdf` is no identifier, `ordonnance dupont` is one.
        let stem = base.rfind('.').and_then(|at| base.get(..at)).unwrap_or(base);
        if stem.len() >= 10 {
            survey.gatherer.identifier(stem);
        }
        Ok(())
    }

    fn class(&self) -> Class {
        Class::Identifier
    }

    fn injective(&self) -> Injective {
        Injective::Bits(80)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::testing::{cells, contract, made, no_originals, some, surveyed, try_made};
    use super::super::{FileSink, Place};
    use super::*;

    const RULE: &str = "file = \"placeholder\"\nroot = \"uploads\"\ndirectory = \"a/b\"";

    #[derive(Default)]
    struct Noted(Mutex<Vec<(String, String, PlaceholderKind)>>);

    impl FileSink for Noted {
        fn placeholder(&self, file: Placeholder<'_>) -> Result<(), Unfit> {
            let noted = (file.root.to_owned(), file.path.to_owned(), file.kind);
            self.0.lock().unwrap().push(noted);
            Ok(())
        }
    }

    #[test]
    fn it_keeps_the_contract() {
        let values = some("[a-z]{3,8}/[a-z]{3,8}\\.(pdf|png|x)", 200);
        contract(RULE, "character varying(100)", &values);
    }

    #[test]
    fn the_file_that_the_row_names_is_made() {
        let file = made(RULE, "text");
        let (noted, mut out) = (Noted::default(), String::new());
        let place = Place { cells: &cells("1", ""), originals: &no_originals(), files: &noted };
        file.apply("2020/Ordonnance Dupont.PDF", &place, &mut out).unwrap();
        assert!(out.starts_with("a/b/") && out.ends_with(".pdf"), "{out}");
        let made = noted.0.into_inner().unwrap();
        assert_eq!(made, [("uploads".to_owned(), out, PlaceholderKind::Pdf)]);
        let found = surveyed(&*file, &["2020/Ordonnance Dupont.PDF"]);
        assert!(found.has_identifier("ordonnance_dupont"));
    }

    #[test]
    fn endings_of_names_say_nothing_of_people() {
        for (name, wanted) in
            [("a/b.c/x.JPG", ".jpg"), ("a.b/x", ""), ("dupont.jean", ""), ("x.pdf.exe", "")]
        {
            assert_eq!(ending(name), wanted, "{name}");
        }
        for directory in ["../x", "/x", "a//b", "."] {
            let rule = format!("file = \"placeholder\"\nroot = \"r\"\ndirectory = \"{directory}\"");
            assert!(try_made(&rule, "text", 1).is_err(), "{directory}");
        }
    }

    #[test]
    fn placeholders_are_what_their_names_say() {
        for (kind, start) in [
            (PlaceholderKind::Pdf, &b"%PDF-1.4\n"[..]),
            (PlaceholderKind::Png, b"\x89PNG\r\n\x1a\n"),
            (PlaceholderKind::Jpeg, b"\xff\xd8\xff\xe0"),
            (PlaceholderKind::Docx, b"PK\x03\x04"),
        ] {
            assert!(kind.bytes().starts_with(start), "{kind:?}");
        }
        // Its table of objects says where they are.
        let pdf = PlaceholderKind::Pdf.bytes();
        let text = String::from_utf8_lossy(pdf);
        let start: usize =
            text.split("startxref\n").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
        assert!(text[start..].starts_with("xref\n0 6\n"));
        for (number, line) in text[start..].lines().skip(3).take(5).enumerate() {
            let at: usize = line.split(' ').next().unwrap().parse().unwrap();
            assert!(text[at..].starts_with(&format!("{} 0 obj", number + 1)), "{line}");
        }
    }
}
