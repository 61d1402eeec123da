//! A part of the rows: conditions, and what follows from them over foreign keys.

use crate::stage::{Stage, names};

/// One person in five, offices that are needed, agents that are not.
const SUBSET: &str = "
[subset.person_person]
where = \"id % 5 = 0 AND birth_date >= '1900-01-01'\"
[subset.caisse_caisse]
referenced = true
where = \"code = '000000003'\"
[subset.caisse_email]
where = \"caisse_id = 2\"
[subset.auth_user]
where = \"id = 1\"
[subset.mrsrequest_mrsrequestlogentry]
erase = [\"user_id\"]
";

/// Adds rules for a reference of persons to themselves, and those above.
fn with_subset(persons: u32) -> Stage {
    let stage = Stage::with_persons(persons);
    stage.production("ALTER TABLE person_person ADD mother_id integer REFERENCES person_person");
    // Mothers that come, and mothers that do not: with those their children stay behind.
    stage.production(
        "UPDATE person_person SET mother_id = CASE WHEN id % 20 = 0 THEN id - 1 ELSE id - 10 END WHERE id % 10 = 0 AND id > 10",
    );
    // Two that are each other's.
    stage.production("UPDATE person_person SET mother_id = 15 WHERE id = 5");
    stage.production("UPDATE person_person SET mother_id = 5 WHERE id = 15");
    stage.edit_rules(
        "[table.person_person]\n",
        "[table.person_person]\nmother_id = { keep = \"a number\" }\n",
    );
    let rules = std::fs::read_to_string(stage.path("rules.toml")).unwrap();
    stage.write("rules.toml", &format!("{rules}{SUBSET}"));
    stage.backup();
    stage
}

#[test]
fn a_part_of_the_rows_is_copied_and_nothing_in_it_references_what_is_not_there() {
    let stage = with_subset(400);
    // By SQL, in another way: whoever hangs on somebody who does not come.
    stage.production(
        "CREATE VIEW coming AS WITH RECURSIVE gone AS (SELECT id FROM person_person WHERE id % 5 <> 0 \
         UNION SELECT p.id FROM person_person p JOIN gone g ON p.mother_id = g.id) \
         SELECT id FROM person_person WHERE id NOT IN (SELECT id FROM gone)",
    );
    let persons = stage.production("SELECT string_agg(id::text, ' ' ORDER BY id) FROM coming");
    let ran = stage.ok(&["clone", "production", "staging", "--plan"]);
    let count = persons.split(' ').count();
    assert!(
        ran.stdout.contains(&format!("table person_person: {count} of 400 rows copied")),
        "{ran:?}"
    );
    stage.is_untouched();

    let ran = stage.copy(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(
        stage.staging("SELECT string_agg(id::text, ' ' ORDER BY id) FROM person_person"),
        persons
    );
    assert!(persons.starts_with("5 10 15 25"), "the ring came, 20 did not: {persons}");
    let requests = |filter: &str| {
        format!("SELECT string_agg(id::text, ' ' ORDER BY id) FROM mrsrequest_mrsrequest {filter}")
    };
    let coming = requests("WHERE insured_id IN (SELECT id FROM coming)");
    assert_eq!(stage.staging(&requests("")), stage.production(&coming));
    // Offices that requests or addresses name, and the one that was asked for.
    let offices = "SELECT string_agg(DISTINCT id::text, ' ') FROM caisse_caisse";
    assert_eq!(stage.staging(offices), "1 2 3 6");
    let mails = "SELECT string_agg(DISTINCT caisse_id::text, ' ') FROM caisse_email";
    assert_eq!(stage.staging(mails), "2");
    // References to agents who stay behind are gone; the lines are not.
    let lines = "SELECT count(*) FROM mrsrequest_mrsrequestlogentry";
    let of_coming = format!(
        "{lines} WHERE mrsrequest_id IN (SELECT id FROM mrsrequest_mrsrequest WHERE insured_id IN (SELECT id FROM coming))"
    );
    assert_eq!(stage.staging(lines), stage.production(&of_coming));
    let agents = "SELECT string_agg(DISTINCT coalesce(user_id::text, 'none'), ' ' ORDER BY coalesce(user_id::text, 'none')) \
                  FROM mrsrequest_mrsrequestlogentry";
    assert_eq!(stage.staging(agents), "1 none");
    // Tables nothing binds are whole; files are those of the rows that came.
    let contacts = "SELECT count(*) FROM contact_contact";
    assert_eq!(stage.staging(contacts), stage.production(contacts));
    let named = stage.staging("SELECT count(*) FROM mrsattachment_mrsattachment");
    assert_eq!(names(&stage.path("staging/mrsattachments")).len().to_string(), named);

    // Nobody is left, those who stayed behind neither.
    let dump = stage.dump(&stage.staging);
    let nirs = stage.production("SELECT nir FROM person_person");
    assert!(nirs.lines().all(|nir| !dump.contains(nir)));

    let report = ran.summary()["report"].as_str().unwrap().replace(".html", ".json");
    let report = std::fs::read_to_string(report).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let tables = report["tables"].as_array().unwrap();
    let told = |name: &str| tables.iter().find(|table| table["name"] == name).unwrap().clone();
    assert_eq!(told("person_person")["rows"], count);
    assert_eq!(told("person_person")["dropped"], 400 - count);
    assert!(told("mrsrequest_mrsrequestlogentry")["references_erased"].as_u64().unwrap() > 0);
    assert_eq!(ran.summary()["subset"]["caisse_caisse"]["kept"], 4);
}

#[test]
fn who_stays_behind_is_looked_for_all_the_same() {
    let stage = with_subset(60);
    stage.production("UPDATE rating_rating SET comment = NULL");
    // 20 stays behind; her number is in a text that would be copied.
    stage.production(
        "UPDATE rating_rating SET comment = 'voir ' || (SELECT nir FROM person_person WHERE id = 20) WHERE id = 1",
    );
    stage.edit_rules(
        "comment = { text = \"lorem\" }\n\n[subset",
        "comment = { keep = \"a trial\" }\n\n[subset",
    );
    stage.backup();
    stage.copy(&[]).fails(32, &["table rating_rating, column comment"]);
    stage.is_untouched();
}

#[test]
fn what_nobody_can_rewrite_may_stay_behind() {
    let stage = with_subset(60);
    stage.production("UPDATE person_person SET nir = 'A85057800608' WHERE id = 7");
    stage.backup();
    let ran = stage.copy(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // Of a row that comes it is told.
    stage.production("UPDATE person_person SET nir = 'A85057800609' WHERE id = 5");
    stage.backup();
    stage.copy(&[]).fails(32, &["1 row cannot be rewritten"]);
}

#[test]
fn conditions_that_mean_nothing_are_told_with_everything_else() {
    let stage = with_subset(20);
    stage.edit_rules("id % 5 = 0 AND", "idd % 5 = 0 AND");
    stage.edit_rules("erase = [\"user_id\"]", "erase = [\"mrsrequest_id\"]");
    stage.edit_rules("[table.rating_rating]", "[table.rating_ratin]");
    stage.copy(&[]).fails(
        32,
        &[
            "subset of table person_person",
            "`where`: there is no column `idd`; did you mean `id`?",
            "`erase`: mrsrequest_id cannot be NULL",
            "there is no such table",
        ],
    );
    stage.is_untouched();
}

#[test]
fn values_that_become_the_same_in_a_unique_index_stop_the_copy() {
    let stage = with_subset(20);
    stage.production(
        "CREATE TABLE seat (id int PRIMARY KEY, user_id int REFERENCES auth_user, UNIQUE NULLS NOT DISTINCT (user_id))",
    );
    stage.production("INSERT INTO seat VALUES (1, 2), (2, 3)");
    let rules = std::fs::read_to_string(stage.path("rules.toml")).unwrap();
    stage.write(
        "rules.toml",
        &format!("{rules}\n[table.seat]\nid = {{ keep = \"a number\" }}\nuser_id = {{ keep = \"a number\" }}\n[subset.seat]\nerase = [\"user_id\"]\n"),
    );
    stage.backup();
    // Both become NULL, which may be there only once.
    stage.copy(&[]).fails(1, &["could not create unique index"]);
    stage.is_untouched();
}
