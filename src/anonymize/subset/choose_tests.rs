use std::collections::BTreeSet;
use std::path::Path;

use crate::crypto::random::{Randomness as _, SeededRandom};

use super::super::super::compile::compile;
use super::super::super::key::test_key;
use super::super::super::problem::Problem;
use super::super::super::rules::Rules;
use super::super::super::schema::{Column, Reference, Schema, Table};
use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Tables with a number, a mark, and references to others.
fn table(name: &str, references: &[(&str, &str)]) -> Table {
    let column = |name: &str| Column {
        name: name.to_owned(),
        type_name: "integer".to_owned(),
        is_nullable: name != "id",
    };
    let mut columns = vec![column("id"), column("mark")];
    columns.extend(references.iter().map(|(own, _)| column(own)));
    Table {
        schema: "public".to_owned(),
        name: name.to_owned(),
        columns,
        primary: names(&["id"]),
        unique: vec![names(&["id"])],
        references: references
            .iter()
            .map(|(own, other)| Reference {
                columns: names(&[own]),
                table: ("public".to_owned(), (*other).to_owned()),
                to: Vec::new(),
            })
            .collect(),
        rows: 0,
    }
}

/// An office, persons with a mother among them, requests with an earlier one, a ring of two tables, and a log.
fn schema() -> Schema {
    let tables = vec![
        table("office", &[("boss", "person")]),
        table("person", &[("mother", "person"), ("office", "office")]),
        table("request", &[("person", "person"), ("earlier", "request")]),
        table("log", &[("request", "request"), ("person", "person")]),
        table("tag", &[]),
    ];
    Schema { tables, ..Schema::default() }
}

fn compiled(subset: &str) -> Result<Subset, Vec<Problem>> {
    let mut text = String::from("version = 1\n[defaults]\nnull = \"keep\"\nempty = \"keep\"\n");
    for table in &schema().tables {
        text.push_str(&format!("[table.{}]\n", table.name));
        for column in &table.columns {
            text.push_str(&format!("{} = {{ keep = \"a number\" }}\n", column.name));
        }
    }
    text.push_str(subset);
    let rules = Rules::parse(&text, Path::new("rules.toml")).unwrap();
    let program = compile(&rules, &schema(), &test_key(1))?;
    Ok(program.subset.unwrap())
}

type Line = Vec<Option<u32>>;

fn text(line: &Line) -> String {
    let field = |value: &Option<u32>| value.map_or("\\N".to_owned(), |value| value.to_string());
    line.iter().map(field).collect::<Vec<_>>().join("\t")
}

fn chosen(subset: &Subset, rows: &dyn Fn(&str) -> Vec<Line>) -> Kept {
    let mut choosing = Choosing::new(subset, Charset::Utf8, 0);
    let mut is_settled = false;
    for (at, table) in subset.tables.iter().enumerate() {
        if table.is_late && !is_settled {
            choosing.settle();
            is_settled = true;
        }
        rows(&table.title).iter().for_each(|line| choosing.row(at, text(line).as_bytes()).unwrap());
    }
    if !is_settled {
        choosing.settle();
    }
    choosing.finish()
}

/// The numbers of the rows of a table that are copied.
fn numbers(kept: &Kept, title: &str) -> Vec<u64> {
    let rows = kept.of(title).unwrap();
    (0..rows.kept.len()).filter(|row| rows.keeps(*row)).collect()
}

#[test]
fn children_of_what_is_left_out_are_left_out_over_cycles_too() {
    let subset = compiled("[subset.person]\nwhere = \"mark = 1\"\n").unwrap();
    let titles: Vec<&str> = subset.tables.iter().map(|table| table.title.as_str()).collect();
    assert!(!titles.contains(&"tag"), "nothing binds it: {titles:?}");
    assert!(subset.tables.iter().all(|table| table.is_late == (table.title == "log")));
    let rows = |title: &str| -> Vec<Line> {
        match title {
            "office" => vec![vec![Some(1), None, Some(10)], vec![Some(2), None, Some(12)]],
            // 10 and office 1 hold each other; 11 is not marked; 12's mother is 11; 13's office falls with 12.
            "person" => vec![
                vec![Some(10), Some(1), None, Some(1)],
                vec![Some(11), Some(0), None, None],
                vec![Some(12), Some(1), Some(11), None],
                vec![Some(13), Some(1), None, Some(2)],
            ],
            "request" => vec![
                vec![Some(1), None, Some(10), None],
                vec![Some(2), None, Some(10), Some(3)],
                vec![Some(3), None, Some(13), None],
                vec![Some(4), None, Some(10), Some(4)],
            ],
            _ => vec![
                vec![Some(1), None, Some(1), None],
                vec![Some(2), None, Some(2), Some(10)],
                vec![Some(3), None, None, Some(11)],
                vec![Some(4), None, None, Some(99)],
            ],
        }
    };
    let kept = chosen(&subset, &rows);
    assert_eq!(numbers(&kept, "person"), [0]);
    assert_eq!(numbers(&kept, "office"), [0]);
    assert_eq!(numbers(&kept, "request"), [0, 3]);
    assert_eq!(numbers(&kept, "log"), [0]);
    assert_eq!(kept.rows_of("log", 4), 1);
    assert_eq!(kept.rows_of("tag", 7), 7);
}

#[test]
fn what_references_is_erased_where_rules_say_so() {
    let subset =
        compiled("[subset.person]\nwhere = \"mark = 1\"\n[subset.log]\nerase = [\"person\"]\n");
    let rows = |title: &str| -> Vec<Line> {
        match title {
            "person" => {
                vec![vec![Some(10), Some(1), None, None], vec![Some(11), Some(0), None, None]]
            }
            "log" => vec![
                vec![Some(1), None, None, Some(10)],
                vec![Some(2), None, None, Some(11)],
                vec![Some(3), None, None, None],
            ],
            _ => Vec::new(),
        }
    };
    let kept = chosen(&subset.unwrap(), &rows);
    assert_eq!(numbers(&kept, "log"), [0, 1, 2]);
    let log = kept.of("log").unwrap();
    assert_eq!((log.erases(0), log.erases(1), log.erases(2)), (false, true, false));
    assert!(log.erases_column(1, 3) && !log.erases_column(1, 2));
    assert_eq!((log.references_erased(), log.dropped()), (1, 0));
}

/// What is copied, by the words of the documentation: slowly, and in another way. Rows that must not come are
/// gathered until there are no more of them.
fn expected(
    subset: &Subset,
    rows: &dyn Fn(&str) -> Vec<Line>,
    marked: &BTreeSet<&str>,
    erased: bool,
) -> BTreeSet<(String, u32)> {
    let schema = schema();
    let titles: Vec<String> = subset.tables.iter().map(|table| table.title.clone()).collect();
    let references = |title: &str, line: &Line| -> Vec<(String, u32, bool)> {
        let table = schema.tables.iter().find(|table| table.name == title).unwrap();
        let to = |reference: &Reference| {
            let own = &reference.columns[0];
            let value = line[table.position(own).unwrap()]?;
            let is_known = titles.contains(&reference.table.1);
            let is_erased = erased && title == "log" && own == "person";
            is_known.then(|| (reference.table.1.clone(), value, is_erased))
        };
        table.references.iter().filter_map(to).collect()
    };
    let is_referenced =
        |title: &str| subset.tables.iter().any(|table| table.title == title && table.is_referenced);
    let every: Vec<(String, Line)> = titles
        .iter()
        .flat_map(|title| rows(title).into_iter().map(move |row| (title.clone(), row)))
        .collect();
    let own = |title: &str, line: &Line| match (marked.contains(title), is_referenced(title)) {
        (true, _) => line[1] == Some(1),
        (false, is_referenced) => !is_referenced,
    };
    let mut banned: BTreeSet<(String, u32)> = BTreeSet::new();
    loop {
        let mut copied: BTreeSet<(String, u32)> = every
            .iter()
            .filter(|(title, line)| own(title, line))
            .map(|(title, line)| (title.clone(), line[0].unwrap()))
            .filter(|row| !banned.contains(row))
            .collect();
        loop {
            let mut more = Vec::new();
            for (title, line) in &every {
                if copied.contains(&(title.clone(), line[0].unwrap())) {
                    for (other, value, is_erased) in references(title, line) {
                        let row = (other, value);
                        if !is_erased && is_referenced(&row.0) && !banned.contains(&row) {
                            more.push(row);
                        }
                    }
                }
            }
            let before = copied.len();
            copied.extend(more);
            if copied.len() == before {
                break;
            }
        }
        let before = banned.len();
        for (title, line) in &every {
            let row = (title.clone(), line[0].unwrap());
            let is_whole = references(title, line)
                .into_iter()
                .all(|(other, value, is_erased)| is_erased || copied.contains(&(other, value)));
            if copied.contains(&row) && !is_whole {
                banned.insert(row);
            }
        }
        if banned.len() == before {
            return copied;
        }
    }
}

#[test]
fn at_random_what_is_copied_is_what_the_words_say() {
    let random = SeededRandom::new(5);
    let number = |below: u64| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % below) as u32
    };
    for round in 0..120 {
        let mut rules = String::new();
        let mut marked = BTreeSet::new();
        let erased = number(2) == 0;
        for title in ["office", "person", "request", "log"] {
            let (has_where, referenced) = (number(3) > 0, title != "log" && number(4) == 0);
            let erases = erased && title == "log";
            if has_where || referenced || erases {
                rules.push_str(&format!("[subset.{title}]\n"));
            }
            if has_where {
                marked.insert(title);
                rules.push_str("where = \"mark = 1\"\n");
            }
            if referenced {
                rules.push_str("referenced = true\n");
            }
            if erases {
                rules.push_str("erase = [\"person\"]\n");
            }
        }
        if rules.is_empty() {
            continue;
        }
        let subset = compiled(&rules).unwrap();
        let counts = [3 + number(6), 5 + number(20), 5 + number(20), 5 + number(20)];
        let mut made: Vec<(&str, Vec<Line>)> = Vec::new();
        for (title, count) in ["office", "person", "request", "log"].into_iter().zip(counts) {
            let ends: &[usize] = match title {
                "office" => &[1],
                "person" => &[1, 0],
                "request" => &[1, 2],
                _ => &[2, 1],
            };
            let mut lines = Vec::new();
            for id in 0..count {
                let mut line = vec![Some(id), Some(u32::from(number(4) > 0))];
                for end in ends {
                    let value = number(u64::from(counts[*end]));
                    line.push((number(3) > 0).then_some(value));
                }
                lines.push(line);
            }
            made.push((title, lines));
        }
        let rows = |title: &str| {
            made.iter()
                .find(|(name, _)| *name == title)
                .map_or_else(Vec::new, |(_, rows)| rows.clone())
        };
        let kept = chosen(&subset, &rows);
        let found: BTreeSet<(String, u32)> = subset
            .tables
            .iter()
            .flat_map(|table| {
                let title = table.title.clone();
                numbers(&kept, &table.title).into_iter().map(move |row| (title.clone(), row as u32))
            })
            .collect();
        assert_eq!(found, expected(&subset, &rows, &marked, erased), "round {round}: {rules}");
    }
}

#[test]
fn what_cannot_be_followed_is_refused_at_once() {
    let told = |subset: &str| -> String {
        let problems = compiled(subset).map(|_| ()).unwrap_err();
        problems.iter().map(|problem| format!("{problem}\n")).collect()
    };
    let all = told(
        "[subset.persn]\nwhere = \"true\"\n[subset.person]\nwhere = \"mrk = 1\"\nerase = [\"id\", \"mothr\"]\n\
         [subset.tag]\nreferenced = true\n[subset.log]\nreferenced = false\n",
    );
    for why in [
        "subset of table persn: there is no such table; did you mean `person`?",
        "`where`: there is no column `mrk`; did you mean `mark`?",
        "`erase`: id references nothing",
        "`erase`: there is no column `mothr`; did you mean `mother`?",
        "subset of table tag: `referenced`, but no table references it",
        "subset of table log: it says nothing",
    ] {
        assert!(all.contains(why), "{why}: {all}");
    }
}

#[test]
fn memory_is_known_before_it_is_taken() {
    let subset = compiled("[subset.person]\nwhere = \"mark = 1\"\n").unwrap();
    let bytes = Choosing::bytes(&subset, |table| if table.title == "log" { 8_000_000 } else { 0 });
    assert!(bytes <= 3_000_000, "rows nothing hangs on take bits: {bytes}");
    let bytes =
        Choosing::bytes(&subset, |table| if table.title == "person" { 10_000_000 } else { 0 });
    assert!(bytes > MOST_BYTES, "{bytes}");
}
