use std::path::Path;

use crate::crypto::random::SeededRandom;

use super::super::compile::compile;
use super::super::key::test_key;
use super::super::originals::{Classes, FingerprintKey};
use super::super::program::Program;
use super::super::rules::Rules;
use super::super::scan::Hit;
use super::super::schema::{Column, Schema, Table};
use super::super::transform::NoFiles;
use super::*;

const RULES: &str = r#"
version = 1
[defaults]
null = "keep"
empty = "keep"
[table.person]
id = { keep = "a number" }
first_name = { fake = "first_name" }
last_name = { fake = "last_name" }
nir = { nir = "fpe" }
user = { pattern = "user-{id}" }
note = { keep = "for the test" }
"#;

fn program(rules: &str) -> Program {
    let column = |(name, type_name): (&str, &str)| Column {
        name: name.to_owned(),
        type_name: type_name.to_owned(),
        is_nullable: true,
    };
    let columns = [
        ("id", "integer"),
        ("first_name", "text"),
        ("last_name", "text"),
        ("nir", "character varying(13)"),
        ("user", "text"),
        ("note", "text"),
    ];
    let table = Table {
        schema: "public".to_owned(),
        name: "person".to_owned(),
        columns: columns.map(column).to_vec(),
        primary: vec!["id".to_owned()],
        ..Table::default()
    };
    let rules = Rules::parse(rules, Path::new("rules.toml")).unwrap();
    compile(&rules, &Schema { tables: vec![table], ..Schema::default() }, &test_key(1)).unwrap()
}

fn surveyed(program: &Program, rows: &str) -> (Originals, Vec<(Trouble, u64)>) {
    let key = FingerprintKey::new(&SeededRandom::new(1));
    let mut gatherer = Gatherer::new(key, Classes { identifiers: true, names: true });
    let mut surveyor = Surveyor::new(&program.tables[0], Charset::Utf8);
    rows.lines().for_each(|line| surveyor.row(line.as_bytes(), &mut gatherer));
    (gatherer.seal().unwrap(), surveyor.troubles)
}

fn rewritten(program: &Program, originals: &Originals, rows: &[u8]) -> io::Result<String> {
    let rewriter = Rewriter::new(&program.tables[0], Charset::Utf8, originals, &NoFiles);
    let mut out = String::new();
    Rewritten::new(rows, rewriter).read_to_string(&mut out).map(|_| out)
}

const ROWS: &str = "1\tJean\tDupont\t1850578006084\tjdupont\tnothing\n\
                    2\t\\N\t\t\\N\t\\N\ta\\tb\n";

#[test]
fn rows_are_rewritten_and_missing_values_stay_missing() {
    let program = program(RULES);
    let (originals, troubles) = surveyed(&program, ROWS);
    assert_eq!(troubles, []);
    let out = rewritten(&program, &originals, ROWS.as_bytes()).unwrap();
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!((rows[0][0], rows[0][4], rows[0][5]), ("1", "user-1", "nothing"));
    assert_eq!(rows[1], ["2", "\\N", "", "\\N", "\\N", "a\\tb"]);
    for original in ["Jean", "Dupont", "1850578006084", "jdupont"] {
        assert!(!out.contains(original), "{original}");
    }
}

#[test]
fn pieces_of_any_size_give_the_same() {
    let program = program(RULES);
    let (originals, _) = surveyed(&program, ROWS);
    let whole = rewritten(&program, &originals, ROWS.as_bytes()).unwrap();
    for size in 1..40 {
        let rewriter = Rewriter::new(&program.tables[0], Charset::Utf8, &originals, &NoFiles);
        let (mut stream, mut out) = (RowStream::new(rewriter), Vec::new());
        ROWS.as_bytes().chunks(size).for_each(|piece| stream.push(piece, &mut out).unwrap());
        assert!(stream.is_whole());
        assert_eq!((String::from_utf8(out).unwrap(), stream.rows()), (whole.clone(), 2), "{size}");
    }
    let cut = &ROWS.as_bytes()[..ROWS.len() - 1];
    assert!(rewritten(&program, &originals, cut).is_err());
}

#[test]
fn what_was_removed_elsewhere_stops_the_copy_and_is_not_told() {
    let strict = program(RULES);
    for (note, hit) in [
        ("his number is 1 85 05 78 006 084", Hit::Identifier),
        ("to Mr Dupont, Jean", Hit::FullName),
        ("ask Dupont", Hit::Name),
    ] {
        let leaking = format!("{ROWS}3\tA\tBcdefgh\t\\N\tx\t{note}\n");
        let (originals, _) = surveyed(&strict, &leaking);
        let error = rewritten(&strict, &originals, leaking.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("table person, column note"), "{error}");
        assert!(error.contains(hit.describe()), "{error}");
        assert!(!error.contains("Dupont") && !error.contains("1850"), "{error}");
    }
    let quiet =
        RULES.replace("keep = \"for the test\"", "keep = \"for the test\", names = \"ignore\"");
    let leaking = format!("{ROWS}3\tA\tBcdefgh\t\\N\tx\task Dupont\n");
    let program = program(&quiet);
    let (originals, _) = surveyed(&program, &leaking);
    rewritten(&program, &originals, leaking.as_bytes()).unwrap();
}

#[test]
fn a_row_that_cannot_be_rewritten_is_named_by_a_pseudonym() {
    let program = program(RULES);
    let rows = "1\tA\tB\t1850578006084\tx\ty\n77\tA\tB\tnonsense\tx\ty\n78\tA\tB\tnonsense\tx\ty\n79\ttoo few\n";
    let (originals, troubles) = surveyed(&program, rows);
    assert_eq!(troubles.len(), 2);
    let (trouble, count) = &troubles[0];
    assert_eq!((trouble.column.as_str(), trouble.number, *count), ("nir", 2, 2));
    assert_eq!(trouble.row, program.tables[0].row_name("77"));
    let told = trouble.to_string();
    assert!(!told.contains("nonsense") && !told.contains("77"), "{told}");
    let error = rewritten(&program, &originals, rows.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, told);
}

#[test]
fn of_an_emptied_table_nothing_comes_out() {
    let text = "version = 1\ntruncate = [\"person\"]";
    let program = program(text);
    let (originals, _) = surveyed(&program, "");
    assert_eq!(rewritten(&program, &originals, ROWS.as_bytes()).unwrap(), "");
}
