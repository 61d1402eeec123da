//! A whole copy, looked at by other means than the program's own.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::stage::{Stage, names};

/// Persons in the test of every day; a hundred thousand take minutes.
const PERSONS: u32 = if cfg!(feature = "long-tests") { 100_000 } else { 3_000 };

/// Everything in production that identifies somebody: one a line.
const IDENTIFIERS: &str = "
    SELECT nir FROM person_person UNION SELECT email FROM person_person UNION SELECT phone FROM person_person
    UNION SELECT iban FROM mrsrequest_mrsrequest UNION SELECT token FROM mrsrequest_mrsrequest
    UNION SELECT pel FROM mrsrequest_mrsrequest UNION SELECT username FROM auth_user
    UNION SELECT password FROM auth_user UNION SELECT email FROM auth_user
    UNION SELECT email FROM contact_contact UNION SELECT unnest(cc) FROM contact_contact
    UNION SELECT email FROM caisse_email UNION SELECT habilitation_email FROM caisse_caisse
    UNION SELECT liquidation_email FROM caisse_caisse UNION SELECT phone FROM caisse_caisse
    UNION SELECT filename FROM mrsattachment_mrsattachment
    UNION SELECT replace(attachment_file, 'mrsattachments/', '') FROM mrsattachment_mrsattachment
    UNION SELECT data->'changed'->'nir'->>0 FROM mrsrequest_mrsrequestlogentry
    UNION SELECT first_name || ' ' || last_name FROM person_person
    UNION SELECT last_name || ' ' || first_name FROM person_person
    UNION SELECT first_name || '\", \"last_name\": \"' || last_name FROM person_person
    UNION SELECT first_name || ''', ''' || replace(last_name, '''', '''''') FROM person_person";

/// How many of `patterns` are in a file, by grep: it knows nothing of us.
fn found(stage: &Stage, patterns: &[&str], path: &std::path::Path) -> String {
    let list: String = patterns.iter().map(|pattern| format!("{pattern}\n")).collect();
    stage.write("patterns", &list);
    let mut grep = Command::new("grep");
    grep.env("LC_ALL", "C").args(["-r", "-i", "-a", "-o", "-F", "-f"]);
    let output = grep.arg(stage.path("patterns")).arg(path).output().expect("grep");
    assert!(output.status.code().is_some_and(|code| code < 2), "{output:?}");
    String::from_utf8_lossy(&output.stdout).lines().take(5).collect::<Vec<_>>().join("\n")
}

#[test]
fn nothing_of_the_originals_is_in_the_copy_and_everything_fits_together() {
    let stage = Stage::with_persons(PERSONS);
    let ran = stage.copy(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");

    // No identifier and no full name is anywhere in the database or the files.
    let originals = stage.production(&format!(
        "SELECT DISTINCT x FROM ({IDENTIFIERS}) AS f(x) WHERE length(x) >= 6"
    ));
    let patterns: Vec<&str> = originals.lines().collect();
    assert!(patterns.len() > PERSONS as usize * 4, "{}", patterns.len());
    stage.write("production.sql", &stage.dump(&stage.production));
    assert_ne!(
        found(&stage, &patterns, &stage.path("production.sql")),
        "",
        "grep finds them there"
    );
    stage.write("staging.sql", &stage.dump(&stage.staging));
    assert_eq!(found(&stage, &patterns, &stage.path("staging.sql")), "");
    assert_eq!(found(&stage, &patterns, &stage.path("staging/mrsattachments")), "");
    assert_eq!(found(&stage, &patterns, &stage.path("reports")), "");
    let listed: String = names(&stage.path("staging/mrsattachments")).join("\n");
    stage.write("names", &listed);
    assert_eq!(found(&stage, &patterns, &stage.path("names")), "");

    rows_fit(&stage);
    validations_hold(&stage);
    files_fit(&stage);
    let report = ran.summary()["report"].as_str().unwrap().to_owned();
    report_says_it(&stage, &report);
}

/// As many rows; joins join.
fn rows_fit(stage: &Stage) {
    for table in [
        "person_person",
        "mrsrequest_mrsrequest",
        "mrsrequest_mrsrequestlogentry",
        "mrsattachment_mrsattachment",
        "contact_contact",
        "rating_rating",
        "auth_user",
        "caisse_caisse",
    ] {
        let count = format!("SELECT count(*) FROM {table}");
        assert_eq!(stage.staging(&count), stage.production(&count), "{table}");
    }
    for table in
        ["django_session", "django_admin_log", "djcall_call", "djcall_caller", "explorer_query"]
    {
        assert_eq!(stage.staging(&format!("SELECT count(*) FROM {table}")), "0", "{table}");
    }
    let joined = "SELECT count(*) FROM mrsrequest_mrsrequest r JOIN person_person p ON p.id = r.insured_id \
                  WHERE r.data->>'nir' = p.nir AND r.data->>'last_name' = p.last_name \
                  AND r.data->>'first_name' = p.first_name \
                  AND coalesce(nullif(r.data->>'email', ''), '') = coalesce(p.email, '') \
                  AND to_date(r.data->>'birth_date', 'DD/MM/YYYY') = p.birth_date";
    assert_eq!(stage.staging(joined), stage.production(joined));
    assert_eq!(stage.staging(joined), PERSONS.to_string());
    let logged = "SELECT count(*) FROM mrsrequest_mrsrequestlogentry l JOIN mrsrequest_mrsrequest r \
                  ON r.id = l.mrsrequest_id JOIN person_person p ON p.id = r.insured_id \
                  WHERE l.data->'changed'->'nir'->>1 = p.nir";
    assert_eq!(stage.staging(logged), stage.production(logged));
    let mailed = "SELECT count(*) FROM contact_contact c JOIN person_person p ON p.email = c.email";
    assert_eq!(stage.staging(mailed), stage.production(mailed));
    let lengths = "SELECT sum(length(comment)), count(*) FILTER (WHERE comment = '') FROM mrsrequest_mrsrequestlogentry";
    assert_eq!(stage.staging(lengths), stage.production(lengths));
    let missing = "SELECT count(email), count(*) FILTER (WHERE phone = '') FROM person_person";
    assert_eq!(stage.staging(missing), stage.production(missing));
}

/// What the application checks when it saves.
fn validations_hold(stage: &Stage) {
    let odd = "SELECT count(*) FROM person_person WHERE nir !~ \
               '^[12][0-9]{2}(0[1-9]|1[0-2])(0[1-9]|1[0-9]|2[1-9AB]|[3-8][0-9]|9[0-57-9])[0-9]{6}$'";
    assert_eq!(stage.staging(odd), "0");
    let incoherent =
        "SELECT count(*) FROM person_person WHERE substr(nir, 2, 4) <> to_char(birth_date, 'YYMM')";
    assert_eq!(stage.staging(incoherent), "0");
    let kept = "SELECT string_agg(substr(nir, 1, 3), ',' ORDER BY id) FROM person_person";
    assert_eq!(stage.staging(kept), stage.production(kept), "sex and year stay");
    let unique = "SELECT count(*) - count(DISTINCT email) - count(*) FILTER (WHERE email IS NULL), \
                  count(*) - count(DISTINCT nir) FROM person_person";
    assert_eq!(stage.staging(unique), "0|0");
    let ibans = "SELECT count(iban), count(*) FILTER (WHERE (substr(iban, 5) || '1527' || substr(iban, 3, 2))::numeric % 97 = 1) \
                 FROM mrsrequest_mrsrequest WHERE iban IS NOT NULL";
    let ibans = stage.staging(ibans);
    let (all, valid) = ibans.split_once('|').unwrap();
    assert!(all != "0" && all == valid, "{ibans}");
    let mails = "SELECT count(*) FROM auth_user WHERE email !~ '^[a-z0-9]{16}@example[.]invalid$' OR password !~ '^!'";
    assert_eq!(stage.staging(mails), "0");
}

/// Rows name files that are there, and real ones.
fn files_fit(stage: &Stage) {
    let named = stage.staging("SELECT attachment_file FROM mrsattachment_mrsattachment ORDER BY 1");
    let named: BTreeSet<&str> = named.lines().collect();
    let there = names(&stage.path("staging/mrsattachments"));
    assert_eq!(there.iter().map(String::as_str).collect::<BTreeSet<_>>(), named);
    assert_eq!(named.len(), (PERSONS as usize).div_ceil(2));
    for (ending, start) in
        [(".pdf", &b"%PDF-"[..]), (".png", b"\x89PNG"), (".jpg", b"\xff\xd8\xff"), (".docx", b"PK")]
    {
        let name = there.iter().find(|name| name.ends_with(ending));
        let name = name.unwrap_or_else(|| panic!("no {ending}"));
        let bytes = fs::read(stage.path("staging/mrsattachments").join(name)).unwrap();
        assert!(bytes.starts_with(start), "{name}");
    }
    assert!(!stage.path("staging/log").exists(), "logs are never copied");
}

fn report_says_it(stage: &Stage, page: &str) {
    let html = fs::read_to_string(page).unwrap();
    assert!(
        html.contains("Anonymized copy of production in staging") && html.contains("person_person")
    );
    let json = fs::read_to_string(page.replace(".html", ".json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let tables = report["tables"].as_array().unwrap();
    let person = tables.iter().find(|table| table["name"] == "person_person").unwrap();
    assert_eq!(person["rows"], PERSONS);
    let column = |name: &str| {
        let columns = person["columns"].as_array().unwrap();
        columns.iter().find(|column| column["name"] == name).unwrap().clone()
    };
    assert_eq!(
        (column("nir")["made"].clone(), column("id")["is_kept"].clone()),
        (PERSONS.into(), true.into())
    );
    assert_eq!(column("email")["missing"], PERSONS / 10);
    assert!(report["groups"][0]["smallest"].as_array().unwrap().len() == 5, "{}", report["groups"]);
    assert!(report["identifiers_looked_for"].as_u64().unwrap() > u64::from(PERSONS));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(page).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(stage.path("reports")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn two_copies_with_one_key_agree_and_undo_brings_back_what_was_there() {
    let stage = Stage::with_persons(200);
    let rows = "SELECT string_agg(p::text, '|' ORDER BY id) FROM person_person p";
    assert_eq!(stage.copy(&[]).code, Some(0));
    let first = (stage.staging(rows), names(&stage.path("staging/mrsattachments")));
    assert_eq!(stage.databases().len(), 2);
    // What staging had comes back, files too; and the copy after that.
    stage.ok(&["-i", "staging", "undo", "--database", "app", "--yes"]);
    assert_eq!(stage.staging("SELECT n FROM of_staging"), "1");
    assert_eq!(names(&stage.path("staging/mrsattachments")), ["old.pdf"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    stage.ok(&["-i", "staging", "undo", "--database", "app", "--yes"]);
    assert_eq!((stage.staging(rows), names(&stage.path("staging/mrsattachments"))), first);

    assert_eq!(stage.copy(&[]).code, Some(0));
    assert_eq!((stage.staging(rows), names(&stage.path("staging/mrsattachments"))), first);
    // A later snapshot: who was there is called the same.
    stage.production("DELETE FROM mrsattachment_mrsattachment WHERE id % 2 = 0; UPDATE person_person SET use_email = false");
    stage.backup();
    assert_eq!(stage.copy(&[]).code, Some(0));
    let pseudonyms =
        "SELECT string_agg(nir || email || last_name, '|' ORDER BY id) FROM person_person";
    let third = stage.staging(pseudonyms);
    // With another key nobody is.
    stage.write("clone.key", "another-key-of-at-least-sixteen-bytes");
    assert_eq!(stage.copy(&[]).code, Some(0));
    assert_ne!(stage.staging(pseudonyms), third);
}

#[test]
fn a_plan_looks_at_everything_and_writes_nothing() {
    let stage = Stage::with_persons(50);
    let ran = stage.ok(&["clone", "production", "staging", "--plan"]);
    assert!(ran.stdout.contains("REPLACES the database that is there"), "{ran:?}");
    assert!(ran.stdout.contains("nothing was written"), "{ran:?}");
    stage.is_untouched();
    // Without assent it is a plan, too.
    stage.run(&["clone", "production", "staging"]).fails(2, &["is to be replaced"]);
    stage.is_untouched();
    let ran = stage.ok(&[
        "clone",
        "rules",
        "check",
        "production",
        "--rules",
        stage.path("rules.toml").to_str().unwrap(),
    ]);
    assert!(ran.stdout.contains("the rules fit snapshot"), "{ran:?}");
}

#[test]
fn a_draft_names_everything_and_refuses_until_people_have_decided() {
    let stage = Stage::with_persons(50);
    let draft = stage.ok(&["clone", "rules", "init", "production"]).stdout;
    for line in [
        "nir = { nir = \"fpe\" }",
        "password = { django_password = \"unusable\" }",
        "[table.mrsrequest_mrsrequest.data.json]",
        "\"transports[*].city\" = { todo = \"\" }",
        "\"django_session\"",
        "[files.mrsattachments]",
        "iban = { iban = \"same_country\" }",
    ] {
        assert!(draft.contains(line), "{line}: {draft}");
    }
    let originals = stage.production(
        "SELECT nir FROM person_person UNION SELECT email FROM person_person WHERE email <> ''",
    );
    assert!(originals.lines().all(|original| !draft.contains(original)), "a draft holds no values");
    stage.write("rules.toml", &draft);
    stage.copy(&[]).fails(32, &["still to be decided"]);
    stage.is_untouched();
}
