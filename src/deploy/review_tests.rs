use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-11-30T12:00:00Z")
}

const WEEK: Duration = Duration::from_secs(604_800);

#[test]
fn every_branch_has_a_name_of_its_own() {
    let names = [
        "test-feature/x",
        "test-feature-x",
        "test-Feature-x",
        "test-feature_x",
        "..",
        "../../etc",
        "/",
        "",
        "test-\u{1f680}\u{1f980}",
        "test-\u{1f680}",
        "-",
        "é",
        "a b",
        "a\nb",
        "$(reboot)",
        "-rf",
    ]
    .map(str::to_owned);
    let long =
        [format!("test-{}", "x".repeat(195)), format!("test-{}", "x".repeat(196)), "ÿ".repeat(200)];
    let slugs: Vec<String> = names.iter().chain(&long).map(|name| slug(name)).collect();
    for (name, slug) in names.iter().chain(&long).zip(&slugs) {
        assert!(project_name(slug).is_ok() && slug.len() <= LONGEST_SLUG + 9, "{name:?}: {slug}");
    }
    let mut different = slugs.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), slugs.len(), "{slugs:?}");
    assert_eq!(slug("test-feature-x"), "test-feature-x", "what is a name stays it");
    assert!(slug("test-feature/x").starts_with("test-feature-x-"));
}

#[test]
fn a_stack_lives_until_the_later_of_its_times() {
    let base = tempfile::tempdir().unwrap();
    let reviews = Reviews { base: base.path().join("missing/yet") };
    assert!(reviews.list(now()).unwrap().is_empty());
    let state = reviews.extend("test-x", WEEK, now(), true).unwrap();
    assert_eq!(state.remove_at, at("2026-12-07T12:00:00Z"));
    let removeat = reviews.base.join("test-x/removeat");
    assert_eq!(fs::read_to_string(&removeat).unwrap(), "1796644800\n");
    let standing = |reviews: &Reviews| reviews.list(now()).unwrap()[0].standing.clone();
    assert_eq!(standing(&reviews), Standing::Until(state.remove_at));
    // Somebody prolonged it by hand; a redeployment never shortens.
    fs::write(&removeat, "1797000000").unwrap();
    assert_eq!(standing(&reviews), Standing::Until(Timestamp::from_second(1_797_000_000).unwrap()));
    let again = reviews.extend("test-x", Duration::from_secs(60), now(), true).unwrap();
    assert_eq!(again.remove_at.as_second(), 1_797_000_000);
    assert_eq!(again.created, state.created);
    fs::remove_file(&removeat).unwrap();
    assert_eq!(standing(&reviews), Standing::Until(again.remove_at));
}

#[test]
fn what_cannot_be_understood_stays() {
    let base = tempfile::tempdir().unwrap();
    let reviews = Reviews { base: base.path().to_owned() };
    reviews.extend("x", WEEK, now(), true).unwrap();
    let removeat = base.path().join("x/removeat");
    for text in [
        &b""[..],
        b"soon",
        b"-5",
        b"0",
        b"99999999999999999999",
        b"1796644800000",
        b"1.5",
        b"\xff\xfe",
        b"2026-12-07",
        b"17966 44800",
        b"\0",
        &[b'1'; 100_000],
    ] {
        fs::write(&removeat, text).unwrap();
        let found = reviews.read("x", now());
        assert!(
            matches!(found.standing, Standing::Unknown(_)),
            "{:?}",
            &text[..text.len().min(20)]
        );
    }
    fs::remove_file(&removeat).unwrap();
    fs::create_dir(&removeat).unwrap();
    assert!(matches!(reviews.read("x", now()).standing, Standing::Unknown(_)));
    fs::remove_dir(&removeat).unwrap();
    let state = base.path().join("x/.mrs-backup/review.json");
    let good = fs::read_to_string(&state).unwrap();
    let other = good.replace("\"project\": \"x\"", "\"project\": \"y\"");
    let early = good.replace("\"remove_at\": \"2026", "\"remove_at\": \"1996");
    for text in ["", "{", "[]", &other, &early] {
        fs::write(&state, text).unwrap();
        assert!(matches!(reviews.read("x", now()).standing, Standing::Unknown(_)), "{text}");
    }
    fs::write(&state, &good).unwrap();
    // A clock that went back says nothing about what is due.
    assert!(matches!(reviews.read("x", at("2026-11-29T12:00:00Z")).standing, Standing::Unknown(_)));
    // Without any state, a file, a link: none of ours.
    fs::create_dir(base.path().join("bare")).unwrap();
    fs::write(base.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink("/", base.path().join("link")).unwrap();
    let names: Vec<String> =
        reviews.list(now()).unwrap().into_iter().map(|one| one.project.name).collect();
    assert_eq!(names, ["bare", "x"]);
    assert!(matches!(reviews.read("bare", now()).standing, Standing::Unknown(_)));
}

#[test]
fn an_older_tool_left_only_removeat() {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir(base.path().join("test-old")).unwrap();
    fs::write(base.path().join("test-old/removeat"), "1700000000").unwrap();
    let reviews = Reviews { base: base.path().to_owned() };
    let found = reviews.read("test-old", now());
    assert!(
        matches!(found.standing, Standing::Until(time) if time < now()) && found.state.is_none()
    );
}

#[test]
fn stacks_share_nothing_and_write_to_nobody() {
    let project = Project { name: "test-x".to_owned(), directory: "/x".into() };
    let object = |text: &str, may_mail: bool| {
        objection(&Document::parse(text, "the test").unwrap(), &project, may_mail)
            .map(|error| error.to_string())
    };
    let mail = |host: &str| {
        format!("services: {{d: {{environment: {{EMAIL_HOST: '{host}'}}}}, mail: {{}}}}")
    };
    for (text, told) in [
        ("services: {}\nvolumes: {a: {name: shared}}".to_owned(), Some("`shared`")),
        (
            "services: {}\nvolumes: {a: {name: test-x_a}, b: {}, c: {external: true, name: other}}"
                .to_owned(),
            None,
        ),
        (mail("smtp.example"), Some("mail")),
        (mail("mail"), None),
        (mail(""), None),
        (mail("localhost"), None),
    ] {
        let found = object(&text, false);
        assert_eq!(found.is_some(), told.is_some(), "{text}: {found:?}");
        assert!(found.is_none_or(|found| found.contains(told.unwrap())), "{text}");
    }
    assert_eq!(object(&mail("smtp.example"), true), None);
}
