//! What goes wrong on the way.

use crate::stage::Stage;
use crate::support::postgres::TestServer;

#[test]
fn a_target_with_open_sessions_is_swapped_all_the_same() {
    let stage = Stage::with_persons(20);
    let mut other = stage.staging.command("psql");
    let mut other = other
        .args(["-Xqc", "SELECT pg_sleep(60)", "app"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let open = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND datname = 'app'";
    while stage.staging.psql("postgres", open) == "0" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let ran = stage.copy(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!other.wait().unwrap().success(), "its session was ended");
    assert_eq!(stage.staging("SELECT count(*) FROM person_person"), "20");
}

#[test]
fn an_assertion_that_fails_leaves_the_target_as_it_was() {
    let stage = Stage::with_persons(20);
    stage.edit_rules("assertions = [", "assertions = [\n    \"SELECT false\",");
    stage.copy(&[]).fails(1, &["the assertion `SELECT false` does not hold"]);
    stage.is_untouched();
}

#[test]
fn values_of_rows_are_in_no_error() {
    let stage = Stage::with_persons(20);
    // What the target's server refuses: its message would quote the row.
    stage
        .production("ALTER TABLE contact_contact ADD CONSTRAINT c CHECK (message LIKE 'Bonjour%')");
    stage.backup();
    let ran = stage.copy(&[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let all = format!("{}{}", ran.stdout, ran.stderr);
    assert!(all.contains("violates check constraint"), "{all}");
    for word in ["CONTEXT", "DETAIL", "Failing row", "example.invalid", "lorem"] {
        assert!(!all.contains(word), "{word}: {all}");
    }
    stage.is_untouched();
}

#[test]
fn values_that_collide_leave_the_target_as_it_was_and_are_not_told() {
    let stage = Stage::with_persons(20);
    // A constraint that is no unique index, so that no rule is held against it.
    stage.production("ALTER TABLE auth_user ADD CONSTRAINT one EXCLUDE USING btree (email WITH =)");
    stage.edit_rules(
        "password = { django_password = \"unusable\" }\nfirst_name = { fake = \"first_name\" }\nlast_name = { fake = \"last_name\" }\nemail = { email = \"{hmac:16}@example.invalid\" }",
        "password = { django_password = \"unusable\" }\nfirst_name = { fake = \"first_name\" }\nlast_name = { fake = \"last_name\" }\nemail = { set = \"same@example.invalid\" }",
    );
    stage.backup();
    let ran = stage.copy(&[]);
    ran.fails(1, &["exclusion constraint"]);
    let all = format!("{}{}", ran.stdout, ran.stderr);
    for word in ["DETAIL", "conflicts with key", "same@"] {
        assert!(!all.contains(word), "{word}: {all}");
    }
    stage.is_untouched();
}

#[test]
fn a_database_in_latin_1_is_copied_in_latin_1() {
    let stage = Stage::on(TestServer::start(), TestServer::start(), 60, "LATIN1");
    let ran = stage.copy(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(stage.staging("SHOW server_encoding"), "LATIN1");
    let joined = "SELECT count(*) FROM mrsrequest_mrsrequest r JOIN person_person p ON p.id = r.insured_id \
                  WHERE r.data->>'last_name' = p.last_name AND r.data->>'first_name' = p.first_name";
    assert_eq!(stage.staging(joined), "60");
    assert_ne!(
        stage.staging("SELECT count(*) FROM person_person WHERE first_name ~ '[^ -~]'"),
        "0"
    );
}

#[test]
fn a_damaged_snapshot_is_found_before_anything_is_written() {
    let stage = Stage::with_persons(400);
    let mut packs: Vec<_> = std::fs::read_dir(stage.path("repo/packs"))
        .unwrap()
        .flat_map(|entry| std::fs::read_dir(entry.unwrap().path()).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    packs.sort_by_key(|path| std::fs::metadata(path).unwrap().len());
    let largest = packs.pop().unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle..middle + 4096].iter_mut().for_each(|byte| *byte ^= 0x5a);
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&largest, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&largest, bytes).unwrap();
    let ran = stage.copy(&[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    stage.is_untouched();
}

#[test]
fn secrets_in_definitions_stay_behind() {
    let stage = Stage::with_persons(10);
    stage.production("ALTER DATABASE app SET app.secret TO 'key-of-production'");
    stage.production("ALTER DATABASE app SET search_path TO public, pg_catalog");
    stage.production("SELECT lo_from_bytea(0, 'a scan')");
    stage.backup();
    stage.copy(&[]).fails(32, &["it has large objects"]);
    stage.is_untouched();
    stage.edit_rules("truncate =", "large_objects = \"empty\"\ntruncate =");
    let ran = stage.copy(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let settings = stage.staging("SELECT string_agg(setconfig::text, ' ') FROM pg_db_role_setting");
    assert!(
        !settings.contains("key-of-production") && settings.contains("search_path"),
        "{settings}"
    );
    assert_eq!(stage.staging("SELECT count(*) FROM pg_largeobject_metadata"), "1");
    assert_eq!(stage.staging("SELECT count(*) FROM pg_largeobject WHERE length(data) > 0"), "0");
}
