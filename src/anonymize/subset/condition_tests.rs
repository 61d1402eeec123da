use super::super::super::key::{PseudonymKey, test_key};
use super::super::super::schema::Column;
use super::*;

fn table() -> Table {
    let column = |(name, type_name): (&str, &str)| Column {
        name: name.to_owned(),
        type_name: type_name.to_owned(),
        is_nullable: true,
    };
    let columns = [
        ("id", "bigint"),
        ("amount", "numeric(8,2)"),
        ("is_open", "boolean"),
        ("name", "character varying(30)"),
        ("code", "character(4)"),
        ("key", "uuid"),
        ("born", "date"),
        ("made", "timestamp with time zone"),
        ("state", "public.state"),
        ("data", "jsonb"),
        ("Odd \"one\"", "text"),
    ];
    Table {
        schema: "public".to_owned(),
        name: "person".to_owned(),
        columns: columns.map(column).to_vec(),
        ..Table::default()
    }
}

fn parse(text: &str) -> Result<Condition, String> {
    let key: PseudonymKey = test_key(1);
    Condition::parse(text, &table(), &key.domain("sample"))
}

fn row(fields: &[&str]) -> Vec<Cell> {
    let cell = |text: &&str| Cell { is_null: *text == "NULL", text: (*text).to_owned() };
    fields.iter().map(cell).collect()
}

const ROW: [&str; 11] = [
    "-7",
    "10.50",
    "t",
    "Élodie 100%",
    "ab  ",
    "0b4b35a1-9b3c-4ee6-8a0e-0a8a4a5ee101",
    "1985-05-06",
    "2024-05-06 09:00:00+02",
    "open",
    "NULL",
    "x'y",
];

#[test]
fn conditions_mean_what_they_mean_in_sql() {
    let time = Scale::Moment.read("2024-06-05 00:00:00+00");
    let Some(Value::Moment(time)) = time else { panic!("{time:?}") };
    for (text, is_true) in [
        ("true", true),
        ("NOT false AND NOT NOT true", true),
        ("id = -7", true),
        ("ID % 5 = -2", true),
        ("id in (1, 2, -7)", true),
        ("id NOT IN (1, 2)", true),
        ("id BETWEEN -8 AND -6 AND id NOT BETWEEN 0 AND 9", true),
        ("amount = 10.5 AND amount > 9 AND amount <> 100", true),
        ("is_open", true),
        ("NOT is_open OR is_open = false", false),
        ("name LIKE '_lodie%' AND name LIKE '%100\\%' AND name NOT LIKE 'E%'", true),
        ("name LIKE '%di%0%' AND NOT name LIKE '%di'", true),
        ("name > 'Z'", true),
        ("code = 'ab'", true),
        ("key = '0B4B35A1-9B3C-4EE6-8A0E-0A8A4A5EE101'", true),
        ("born >= '1985-05-06' AND born < '1985-05-07'", true),
        ("made = '2024-05-06 07:00:00' AND made < '2024-05-06 07:00:01+00'", true),
        ("made >= snapshot - 30 days", true),
        ("made >= snapshot - 29 days", false),
        ("made < snapshot AND born < snapshot - 1 day", true),
        ("state IN ('open', 'closed')", true),
        ("data IS NULL AND id IS NOT NULL", true),
        ("\"Odd \"\"one\"\"\" = 'x''y'", true),
        ("sample(id, 100) AND NOT sample(id, 0)", true),
        ("(id = 1 OR (id = -7 AND (is_open)))", true),
        ("id = 1 OR id = 2 AND is_open", false),
    ] {
        let condition = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(condition.holds(&row(&ROW), time), Ok(is_true), "{text}");
    }
}

#[test]
fn what_is_unknown_is_not_true_and_not_false() {
    let missing = row(&["NULL"; 11]);
    for (text, is_true) in [
        ("id = 1", false),
        ("NOT id = 1", false),
        ("id <> 1", false),
        ("id = 1 OR true", true),
        ("NOT (id = 1 AND false)", true),
        ("is_open OR NOT is_open", false),
        ("name NOT LIKE 'x%'", false),
        ("NOT sample(id, 50)", false),
        ("id IS NULL", true),
    ] {
        assert_eq!(parse(text).unwrap().holds(&missing, 0), Ok(is_true), "{text}");
    }
    // A value that is none of its type is told by its column.
    let mut odd = ROW;
    odd[6] = "someday";
    assert_eq!(parse("born > '2000-01-01'").unwrap().holds(&row(&odd), 0), Err(6));
}

#[test]
fn a_sample_takes_about_its_share_and_always_the_same() {
    let (condition, again) =
        (parse("sample(id, 12.5)").unwrap(), parse("sample(id, 12.5)").unwrap());
    let mut taken = 0;
    for number in 0..4000 {
        let number = number.to_string();
        let mut fields = ROW;
        fields[0] = &number;
        let holds = condition.holds(&row(&fields), 0);
        assert_eq!(holds, again.holds(&row(&fields), 0));
        taken += u32::from(holds == Ok(true));
    }
    assert!((430..570).contains(&taken), "{taken}");
}

#[test]
fn mistakes_are_told() {
    for (text, why) in [
        ("", "it is empty"),
        ("idd = 1", "there is no column `idd`; did you mean `id`?"),
        ("id = 'x'", "cannot be compared with `'x'`"),
        ("id = 1.5", "`1.5` is no value of the column"),
        ("born = '2024-02-30'", "is no value of the column"),
        ("name = 5", "cannot be compared with `5`"),
        ("id = 1 name", "nothing can follow before `name`"),
        ("id", "a comparison is missing at its end"),
        ("(id = 1", "`)` is missing at its end"),
        ("data = '{}'", "it can only be asked whether it IS NULL"),
        ("key < 'x'", "can only be equal or not"),
        ("name % 3 = 1", "`%` is for columns of whole numbers"),
        ("id % 0 = 1", "a number above 0"),
        ("id IS 5", "`IS` is followed by"),
        ("sample(id, 101)", "five per cent"),
        ("made > snapshot - 3", "write `snapshot - 90 days`"),
        ("id = 1; DROP TABLE x", "`;` means nothing"),
        ("name = 'x", "has no end"),
        ("lower(name) = 'x'", "there is no column `lower`"),
        ("id NOT 5", "`NOT` behind a column"),
    ] {
        let error = parse(text).map(|_| ()).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
    let deep = format!("{}true{}", "(".repeat(100), ")".repeat(100));
    assert!(parse(&deep).unwrap_err().contains("parentheses"));
}
