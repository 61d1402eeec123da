//! Compose's part that needs no engine, with both real programs.

use super::*;
use crate::compose::{Programs, base_environment};
use crate::event::StopFlag;
use std::fs;

const BASE: &str = "version: '3.7'\nservices:\n  django:\n    build: ./\n    image: betagouv/mrs:master\n    environment:\n    - SECRET_KEY=notsecret\n    - SHA=5e12345\n    - ODD=yes\n    - DOLLAR=a$$b\n    volumes:\n    - ./log:/app/log\n";
const MORE: &str = "version: '3.7'\nservices:\n  django:\n    environment:\n    - SECRET_KEY\n    - UNSET\n    - URL=https://${HOST}/$MISSING\n    networks: [default, web]\nnetworks:\n  web: {external: true}\n";

/// One of both, or the test fails: they are what the tests' first stage installs.
fn real(form: Form) -> Compose {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let plugins = std::env::var_os("MRS_BACKUP_TEST_COMPOSE2")
        .map_or_else(|| root.join("target/compose2/config"), PathBuf::from);
    let plugins = if form == Form::Plugin { plugins } else { root.join("target/no-plugins") };
    let environment = base_environment([
        ("DOCKER_CONFIG".into(), plugins.into()),
        ("HOME".into(), "/nonexistent".into()),
    ]);
    let compose =
        Compose::detect(Arc::new(Programs { stop: Arc::new(StopFlag::new()) }), environment);
    let compose = compose.expect("tests/run.sh installs both generations of compose");
    assert_eq!(compose.form(), form, "{}", compose.told());
    compose
}

fn source(directory: &Path) -> Source {
    fs::write(directory.join("docker-compose.yml"), BASE).unwrap();
    fs::write(directory.join("more.yml"), MORE).unwrap();
    let variables = [("SECRET_KEY", "s3cret!"), ("HOST", "mrs.example")];
    Source {
        files: vec![directory.join("docker-compose.yml"), directory.join("more.yml")],
        variables: variables.map(|(name, value)| (name.to_owned(), value.into())).into(),
        scratch: directory.join("scratch"),
    }
}

#[test]
fn both_generations_merge_with_the_final_name_and_directory() {
    for form in [Form::Plugin, Form::Standalone] {
        let compose = real(form);
        let directory = tempfile::tempdir().unwrap();
        let project = Project { name: "mrs".to_owned(), directory: "/home/mrs-none".into() };
        let source = source(directory.path());
        let Rendered { document, unset } = compose.render(&project, &source).unwrap();
        assert_eq!(unset, ["MISSING"], "{form:?}");
        assert!(!source.scratch.exists());
        let django = document.service("django").unwrap();
        let value = |name: &str| django.get("environment").unwrap().get(name).unwrap();
        assert_eq!(value("SECRET_KEY").as_str(), Some("s3cret!"));
        assert_eq!(value("URL").as_str(), Some("https://mrs.example/"));
        assert_eq!(value("DOLLAR").as_str(), Some("a$$b"));
        assert!(value("UNSET").is_null());
        let context = django.get("build").unwrap().get("context").unwrap();
        assert_eq!(context.as_str(), directory.path().to_str(), "builds are where the files are");
        let text = document.to_yaml();
        assert!(text.contains("/home/mrs-none/log"), "{text}");
        assert!(text.contains("SHA: 5e12345\n") && text.contains("ODD: \"yes\"\n"), "{text}");
        compose.validate(&project, &text).unwrap();
        // Once more: nothing is interpolated, nothing lost.
        fs::write(directory.path().join("again.yml"), &text).unwrap();
        let again = Source {
            files: vec![directory.path().join("again.yml")],
            variables: Variables::new(),
            ..source
        };
        let again = compose.render(&project, &again).unwrap();
        assert_eq!(again.document.to_yaml(), text, "{form:?}");
    }
}

#[test]
fn compose_says_itself_what_is_wrong() {
    for form in [Form::Plugin, Form::Standalone] {
        let compose = real(form);
        let project = Project { name: "mrs".to_owned(), directory: "/home/mrs-none".into() };
        let text = "services:\n  django:\n    image: x\n    imagee: y\n";
        let error = compose.validate(&project, text).unwrap_err().to_string();
        assert!(error.contains("imagee"), "{form:?}: {error}");
    }
}

#[test]
fn unset_variables_are_read_out_of_warnings() {
    let second = r#"time="x" level=warning msg="The \"HOST\" variable is not set. Defaulting to a blank string.""#;
    let first =
        "The HOST variable is not set. Defaulting to a blank string.\nThe A variable is not set.";
    assert_eq!(unset_variables(second), ["HOST"]);
    assert_eq!(unset_variables(first), ["A", "HOST"]);
}

struct Nothing;

impl Runner for Nothing {
    fn run(&self, call: &Call<'_>) -> Result<Said, ComposeError> {
        match call.program {
            "docker" => Ok(Said {
                code: Some(1),
                err: b"is not a docker command".to_vec(),
                ..Said::default()
            }),
            program => Err(ComposeError::Start {
                program: program.to_owned(),
                reason: "not there".to_owned(),
            }),
        }
    }
}

#[test]
fn without_any_compose_what_was_tried_is_told() {
    let error = Compose::detect(Arc::new(Nothing), Variables::new()).err().unwrap().to_string();
    assert!(
        error.contains("docker compose version") && error.contains("docker-compose"),
        "{error}"
    );
}
