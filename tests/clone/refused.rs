//! What must stop a copy before its first byte.

use std::os::unix::fs::symlink;

use crate::stage::Stage;

/// Refused, saying all of this, and nothing was written.
#[track_caller]
fn refused(stage: &Stage, words: &[&str]) {
    let ran = stage.copy(&[]);
    ran.fails(32, words);
    stage.is_untouched();
    // No value of anybody is told.
    let all = format!("{}{}", ran.stdout, ran.stderr);
    for original in stage.production("SELECT nir FROM person_person LIMIT 20").lines() {
        assert!(!all.contains(original), "{all}");
    }
}

#[test]
fn a_schema_that_changed_is_refused_with_everything_that_is_needed() {
    let stage = Stage::with_persons(50);
    // A column, a table, a type, a name, a directory, a key of JSON: all at once.
    stage.production("ALTER TABLE person_person ADD second_email text");
    stage.production("CREATE TABLE newcomer (id int PRIMARY KEY, phone text)");
    stage.production("ALTER TABLE contact_contact ALTER subject TYPE bigint");
    stage.production("ALTER TABLE rating_rating RENAME TO rating");
    stage.write("production/exports/all.csv", "everybody");
    let config = std::fs::read_to_string(stage.path("config.toml")).unwrap();
    stage.write(
        "config.toml",
        &config.replace("\"mrsattachments\"]", "\"mrsattachments\", \"exports\"]"),
    );
    stage.backup();
    refused(
        &stage,
        &[
            "table person_person, column *",
            "second_email text",
            "second_email = { email =",
            "table newcomer",
            "[table.newcomer]",
            "table contact_contact, column *",
            "table rating_rating",
            "there is no such table; known: newcomer, rating",
            "files exports",
        ],
    );
    let ran = stage.run(&[
        "clone",
        "rules",
        "diff",
        "production",
        "--rules",
        stage.path("rules.toml").to_str().unwrap(),
    ]);
    ran.fails(32, &["phone = { phone = \\\"fr\\\" }".replace('\\', "").as_str(), "second_email"]);
}

#[test]
fn what_only_rows_tell_is_found_before_anything_is_written() {
    let stage = Stage::with_persons(50);
    stage.production(
        "UPDATE mrsrequest_mrsrequest SET data = data || '{\"mother\": {\"name\": \"x\"}}' WHERE insured_id = 7",
    );
    stage.production("UPDATE person_person SET nir = 'A85057800608' WHERE id = 9");
    stage.backup();
    refused(
        &stage,
        &[
            "no rule names the JSON key `mother.name`",
            "table person_person, column nir",
            "1 row cannot be rewritten",
            "it is no NIR",
        ],
    );
}

#[test]
fn rules_for_another_version_of_the_schema_name_what_is_not_there() {
    let stage = Stage::with_persons(20);
    stage.edit_rules("number = { digits", "numero = { digits");
    stage.edit_rules("\"explorer_*\"", "\"explorer_*\", \"silk_*\"");
    stage.edit_rules("[files.log]", "[files.logs]");
    refused(
        &stage,
        &[
            "table auth_user, column numero",
            "there is no such column; without a rule: did you mean `number`?",
            "there is no table `silk_*`",
            "files logs",
            "the snapshot has no such directory",
            "files log\"",
        ],
    );
}

#[test]
fn a_unique_index_needs_a_rule_that_keeps_values_different() {
    let stage = Stage::with_persons(20);
    stage.edit_rules("pel = { pattern = \"[A-Z0-9]{14}\" }", "pel = { pattern = \"[A-Z]{4}\" }");
    refused(&stage, &["a unique index (pel) needs different values"]);
}

#[test]
fn a_value_that_slips_through_stops_the_copy_before_it_leaves() {
    let stage = Stage::with_persons(50);
    // A kept column that nobody would suspect.
    stage.production("UPDATE caisse_caisse SET name = 'voir ' || (SELECT nir FROM person_person WHERE id = 3) WHERE id = 2");
    stage.backup();
    refused(&stage, &["table caisse_caisse, column name: a value that was removed elsewhere"]);
    stage.production("UPDATE caisse_caisse SET name = (SELECT 'M. ' || last_name || ' ' || first_name FROM person_person WHERE id = 3) WHERE id = 2");
    stage.backup();
    refused(&stage, &["table caisse_caisse, column name: the full name of somebody"]);
}

#[test]
fn a_target_has_to_look_like_one() {
    let stage = Stage::with_persons(10);
    stage.edit_rules("must_match = \"staging\"", "must_match = \"^recette\"");
    refused(&stage, &["its name does not fit [target] must_match"]);
    stage.edit_rules("must_match = \"^recette\"", "");
    refused(&stage, &["the rules do not say what a target is called"]);
    stage.write("rules.toml", crate::stage::RULES);

    stage.configure("require = [{ file = \".env\", matches = \"^EMAIL_HOST=mailhog$\" }]");
    refused(&stage, &["no line of", "EMAIL_HOST=mailhog"]);
    stage.configure("protected = true");
    stage.copy(&[]).fails(2, &["staging is protected"]);
    stage.is_untouched();
    stage.copy(&["--confirm", "stagign"]).fails(2, &["add --confirm staging"]);
    stage.is_untouched();
    assert_eq!(stage.copy(&["--confirm", "staging"]).code, Some(0));
}

#[test]
fn the_source_is_never_the_target() {
    let stage = Stage::with_persons(10);
    let config = std::fs::read_to_string(stage.path("config.toml")).unwrap();
    let root = stage.path("").display().to_string();
    let root = root.trim_end_matches('/');
    // The same cluster, by its socket and by its port.
    let socket =
        |server: &crate::support::postgres::TestServer| server.socket_dir().display().to_string();
    let same = config.replace(&socket(&stage.staging), &socket(&stage.production)).replace(
        &format!("port = {}", stage.staging.port()),
        &format!("port = {}", stage.production.port()),
    );
    stage.write("config.toml", &same);
    refused(&stage, &["its database is in the cluster of the source"]);
    // The same home, by a link.
    symlink(stage.path("production"), stage.path("link")).unwrap();
    stage.write(
        "config.toml",
        &config.replace(&format!("home = \"{root}/staging\""), &format!("home = \"{root}/link\"")),
    );
    refused(&stage, &["is that of the source"]);
    // Itself.
    stage.write("config.toml", &config);
    stage
        .run(&["clone", "production", "production", "--yes"])
        .fails(32, &["does not allow copies"]);
    stage.write("config.toml", &config.replace("from = [\"production\"]", "from = [\"other\"]"));
    refused(&stage, &["does not let production be copied into it"]);
    stage.write("config.toml", &config);
    stage.is_untouched();
}
