use std::path::Path;

use super::super::key::test_key;
use super::*;

fn column(name: &str, type_name: &str) -> Column {
    Column { name: name.to_owned(), type_name: type_name.to_owned(), is_nullable: true }
}

/// A person, a request that belongs to one, and sessions.
fn schema() -> Schema {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let person = Table {
        schema: "public".to_owned(),
        name: "person".to_owned(),
        columns: vec![
            column("id", "integer"),
            column("first_name", "character varying(30)"),
            column("last_name", "character varying(30)"),
            column("nir", "character varying(13)"),
            column("birth_date", "date"),
            column("created", "timestamp with time zone"),
        ],
        primary: names(&["id"]),
        unique: vec![names(&["id"]), names(&["nir"])],
        ..Table::default()
    };
    let request = Table {
        schema: "public".to_owned(),
        name: "request".to_owned(),
        columns: vec![
            column("id", "uuid"),
            column("person_id", "integer"),
            column("data", "jsonb"),
        ],
        primary: names(&["id"]),
        unique: vec![names(&["id"])],
        references: vec![crate::anonymize::schema::Reference {
            columns: names(&["person_id"]),
            table: ("public".to_owned(), "person".to_owned()),
            to: names(&["id"]),
        }],
        ..Table::default()
    };
    let session = Table {
        schema: "app".to_owned(),
        name: "session".to_owned(),
        columns: vec![column("key", "text")],
        ..Table::default()
    };
    Schema { tables: vec![person, request, session], ..Schema::default() }
}

fn group(names: &[&str], table: &str) -> String {
    let schema = schema();
    let table = schema.tables.iter().find(|known| known.name == table).unwrap();
    let columns = table.columns.iter().filter(|column| names.contains(&column.name.as_str()));
    let pinned = fingerprint(columns);
    format!("\"*\" = {{ keep = \"they identify nobody\", fingerprint = \"{pinned}\" }}")
}

/// Rules that fit.
fn good() -> String {
    format!(
        "version = 1\ntruncate = [\"app.*\"]\n[defaults]\nnull = \"keep\"\nempty = \"keep\"\n\
         [table.person]\n{}\nfirst_name = {{ fake = \"first_name\" }}\nlast_name = {{ fake = \"last_name\" }}\n\
         nir = {{ nir = \"fpe\" }}\nbirth_date = {{ birth_month = true, min = \"1900-01-01\" }}\n\
         [table.request]\n{}\n[table.request.data.json]\nnir = {{ nir = \"fpe\" }}\n",
        group(&["id", "created"], "person"),
        group(&["id", "person_id"], "request"),
    )
}

fn compiled(text: &str, schema: &Schema) -> Result<Program, Vec<String>> {
    let rules = Rules::parse(text, Path::new("rules.toml")).unwrap();
    compile(&rules, schema, &test_key(1)).map_err(|problems| {
        problems
            .iter()
            .map(|problem| {
                format!("{problem} | {}", problem.suggestion.clone().unwrap_or_default())
            })
            .collect()
    })
}

#[track_caller]
fn refused(text: &str, schema: &Schema, why: &[&str]) {
    let problems = compiled(text, schema).unwrap_err();
    for why in why {
        assert!(problems.iter().any(|problem| problem.contains(why)), "{why}: {problems:#?}");
    }
    assert_eq!(problems.len(), why.len(), "{problems:#?}");
}

#[test]
fn rules_that_name_everything_fit() {
    let program = compiled(&good(), &schema()).unwrap();
    assert_eq!(program.tables.len(), 3);
    let person = program.table("public", "person").unwrap();
    assert_eq!((person.names, person.key_columns.as_slice()), (Some((1, 2)), &[0][..]));
    assert_eq!(person.order, [1, 2, 3, 4]);
    assert!(program.table("app", "session").unwrap().is_emptied);
    assert!(person.needs_survey());
    let depths: Vec<_> = person.columns.iter().map(|column| column.depth).collect();
    assert_eq!(
        depths,
        [None, Some(Depth::Whole), Some(Depth::Whole), Some(Depth::Whole), None, None]
    );
}

#[test]
fn everything_that_does_not_fit_is_told_at_once_with_what_to_write() {
    let mut changed = schema();
    changed.tables[0].columns.push(column("email", "character varying(254)"));
    changed.tables[1].columns[1].type_name = "bigint".to_owned();
    changed.tables[2].name = "sessions_of_others".to_owned();
    changed.tables.push(Table {
        schema: "public".to_owned(),
        name: "new".to_owned(),
        columns: vec![column("phone", "text"), column("n", "integer")],
        ..Table::default()
    });
    let text = good().replace("app.*", "app.session");
    refused(
        &text,
        &changed,
        &[
            "table new: no rule names it | [table.new]\n# n\n\"*\" = { keep = \"\", fingerprint",
            "table app.sessions_of_others: no rule names it",
            "table person, column *: the columns kept together are not those",
            "table request, column *: the columns kept together are not those",
            "truncate: there is no table `app.session`",
        ],
    );
}

#[test]
fn what_does_not_exist_is_told_with_what_was_meant() {
    let text = good()
        .replace("last_name = {", "lastname = {")
        .replace("[table.request", "[table.requests");
    refused(
        &text,
        &schema(),
        &[
            "table requests: there is no such table; did you mean `request`?",
            "table request: no rule names it",
            "table person, column lastname: there is no such column; without a rule: did you mean `last_name`?",
            "table person, column *: the columns kept together",
        ],
    );
}

#[test]
fn a_column_without_any_rule_is_refused_with_a_suggestion() {
    let text = good().replace(&group(&["id", "created"], "person"), "id = { keep = \"a number\" }");
    refused(
        &text,
        &schema(),
        &["table person, column created: no rule names it | created = { keep = \"REASON\""],
    );
}

#[test]
fn each_column_has_one_verb_and_options_that_mean_something() {
    for (rule, why) in [
        ("nir = { todo = \"?\" }", "still to be decided"),
        ("nir = { keep = \"\" }", "not empty"),
        ("nir = { nir = \"fpe\", uuid = true }", "several verbs"),
        ("nir = { nirr = \"fpe\" }", "no verb; did you mean `nir`?"),
        (
            "nir = { nir = \"fpe\", domian = \"x\" }",
            "`domian` means nothing beside `nir`; did you mean `domain`?",
        ),
        ("nir = { nir = \"fpe\", type = \"text\" }", "its type is `character varying(13)`"),
        ("nir = { nir = \"fpe\", null = \"x\" }", "`null` is `keep`"),
        ("nir = { uuid = true }", "makes up to 36 letters, and the column takes 13"),
        ("nir = { keep = \"x\", names = \"look\" }", "`names` can only be"),
    ] {
        let text = good().replace("nir = { nir = \"fpe\" }\nbirth", &format!("{rule}\nbirth"));
        refused(&text, &schema(), &[why]);
    }
}

#[test]
fn null_and_empty_are_explicit() {
    let text = good().replace("null = \"keep\"\nempty = \"keep\"\n", "empty = \"keep\"\n");
    let problems = compiled(&text, &schema()).unwrap_err();
    assert_eq!(problems.len(), 5, "{problems:#?}");
    assert!(problems.iter().all(|problem| problem.contains("it may be NULL")));
    let text = good().replace("null = \"keep\"\nempty = \"keep\"\n", "null = \"keep\"\n");
    let problems = compiled(&text, &schema()).unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:#?}");
    // Both at once where both are missing.
    let problems = compiled(&good().replace("null = \"keep\"\nempty = \"keep\"\n", ""), &schema())
        .unwrap_err();
    assert_eq!(problems.len(), 5, "{problems:#?}");
    assert_eq!(problems.iter().filter(|one| one.contains("it may be NULL or empty")).count(), 3);
    let mut strict = schema();
    strict.tables.iter_mut().flat_map(|t| &mut t.columns).for_each(|c| c.is_nullable = false);
    compiled(&good().replace("null = \"keep\"\n", ""), &strict).unwrap();
}

#[test]
fn unique_indexes_need_one_to_one_rules() {
    let text = good().replace(
        "nir = { nir = \"fpe\" }\nbirth",
        "nir = { nir = \"fpe\", with = \"birth_date\" }\nbirth",
    );
    refused(&text, &schema(), &["a unique index (nir) needs different values"]);
    let text =
        good().replace("nir = { nir = \"fpe\" }\nbirth", "nir = { pattern = '\\d{9}' }\nbirth");
    refused(&text, &schema(), &["is drawn from only 2^29"]);
}

#[test]
fn both_ends_of_a_foreign_key_have_the_same_rule() {
    let pinned = group(&["id", "person_id"], "request");
    let own = format!("{}\nperson_id = {{ digits = \"same_length\" }}", group(&["id"], "request"));
    refused(
        &good().replace(&pinned, &own),
        &schema(),
        &["it references person.id, which has another rule"],
    );
    let both = good().replace(&pinned, &own).replace(
        &group(&["id", "created"], "person"),
        &format!("{}\nid = {{ digits = \"same_length\" }}", group(&["created"], "person")),
    );
    compiled(&both, &schema()).unwrap();
    let good = good().replace("\"app.*\"", "\"app.*\", \"person\"");
    let (before, rest) = good.split_once("[table.person]").unwrap();
    let (_, request) = rest.split_once("[table.request]").unwrap();
    let text = format!("{before}[table.request]{request}");
    refused(&text, &schema(), &["it references table person, which is emptied"]);
}

#[test]
fn columns_that_wait_for_each_other_are_told() {
    let text = good()
        .replace(
            "first_name = { fake = \"first_name\" }",
            "first_name = { pattern = \"{last_name}\" }",
        )
        .replace(
            "last_name = { fake = \"last_name\" }",
            "last_name = { pattern = \"{first_name}\" }",
        );
    refused(&text, &schema(), &["these columns wait for each other: first_name, last_name"]);
}

#[test]
fn patterns_of_tables_fit_as_one_expects() {
    for (pattern, name, wanted) in [
        ("explorer_*", "explorer_query", true),
        ("explorer_*", "explorers", false),
        ("*", "x", true),
        ("a*b*c", "a1b2c", true),
        ("a*b*c", "acb", false),
        ("x", "xy", false),
        ("*log", "audit_log", true),
    ] {
        assert_eq!(fits(pattern, name), wanted, "{pattern} {name}");
    }
}
