//! The life of a review stack: named after any branch, deployed again, prolonged, taken away with all that is its own
//! and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use super::stack::{Generation, Stack};

const BRANCH: &str = "project=test-feature/\u{1f680} x";

fn arguments<'a>(stack: &'a str, lifetime: &'a str) -> Vec<&'a str> {
    vec![
        "deploy",
        stack,
        lifetime,
        "compose=docker-compose.yml,docker-compose.maildev.yml",
        "compose_django_build=",
        "compose_django_image=app:v2",
    ]
}

/// Sets the time at which a stack goes.
fn set_time(directory: &Path, seconds: i64) {
    fs::write(directory.join("removeat"), seconds.to_string()).unwrap();
    let path = directory.join(".mrs-backup/review.json");
    let mut state: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let time = jiff::Timestamp::from_second(seconds).unwrap().to_string();
    for key in ["created", "deployed", "remove_at"] {
        state[key] = time.clone().into();
    }
    fs::write(&path, state.to_string()).unwrap();
}

fn removeat(directory: &Path) -> i64 {
    fs::read_to_string(directory.join("removeat")).unwrap().trim().parse().unwrap()
}

fn volumes(stack: &Stack) -> String {
    stack.docker.run(&["volume", "ls", "--format", "{{.Name}}"])
}

#[test]
fn a_review_stack_lives_and_goes_alone() {
    let stack = Stack::start(Generation::Second);
    stack.configure(
        "\n[review]\nmax_lifetime = \"10d\"\ndeploy = { migrates = false, timeout = \"20s\" }\n",
    );
    let mut homes: Vec<PathBuf> = Vec::new();
    for branch in [BRANCH, "project=test-other"] {
        let last = stack.expect(0, &arguments(branch, "lifetime=604800"));
        assert_eq!(last["ending"], "good", "{last}");
    }
    let base = stack.path(".yourlabs.compose");
    for entry in fs::read_dir(&base).unwrap() {
        homes.push(entry.unwrap().path());
    }
    homes.sort();
    let [feature, other] = &homes[..] else { panic!("{homes:?}") };
    let name = feature.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.starts_with("test-feature-x-"), "{name}");
    let now = jiff::Timestamp::now().as_second();
    assert!((604_700..604_801).contains(&(removeat(feature) - now)));

    // Longer by a redeployment and on request, up to the limit; never shorter.
    stack.expect(0, &arguments(BRANCH, "lifetime=8640000"));
    assert!((863_900..864_002).contains(&(removeat(feature) - now)), "cut to ten days");
    stack.expect(0, &["extend", &name, "1d"]);
    assert!(removeat(feature) - now > 863_900);
    let last = stack.expect(0, &["expire"]);
    assert_eq!(last["removed"], serde_json::json!([]));

    refused(&stack);

    // Only the one that is due, with what is its own; the image is used by the other.
    set_time(feature, now - 10);
    assert!(volumes(&stack).contains(&format!("{name}_data")));
    let last = stack.expect(0, &["expire"]);
    assert_eq!(last["removed"][0]["project"], name, "{last}");
    assert!(!feature.exists() && stack.containers(&name).is_empty());
    assert!(!volumes(&stack).contains(&name) && volumes(&stack).contains("test-other_data"));
    assert_eq!(stack.containers("test-other").len(), 3);
    stack.docker.run(&["image", "inspect", "app:v2"]);

    odd_ones(&stack);
    killed_removal(&stack, now);
    stack.expect(0, &["down", "project=test-other", "--yes"]);
    assert!(!other.exists() && stack.containers("test-other").is_empty());
    let images = stack.docker.run(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(!images.contains("mrs-backup/") && !images.contains("app:v2"), "{images}");
    assert!(images.contains("app:sick"), "what nobody deployed is not ours: {images}");
}

/// A stack that would share something, write to people, or be an instance.
fn refused(stack: &Stack) {
    let count = || fs::read_dir(stack.path(".yourlabs.compose")).unwrap().count();
    let before = count();
    stack.write(
        "checkout/shared.yml",
        "services: {django: {image: 'app:v1', volumes: ['shared:/s']}}\nvolumes: {shared: {name: fixed}}\n",
    );
    let (code, _, said) = stack.run(&["deploy", "project=test-shared", "compose=shared.yml"]);
    assert!(code == 2 && said.contains("fixed"), "{said}");
    stack.write(
        "checkout/mail.yml",
        "services: {django: {image: 'app:v1', environment: [EMAIL_HOST=smtp.example]}}\n",
    );
    let (code, _, said) = stack.run(&["deploy", "project=test-mail", "compose=mail.yml"]);
    assert!(code == 2 && said.contains("docker-compose.maildev.yml"), "{said}");
    let (code, _, said) = stack.run(&["deploy", "project=mrs", "compose=mail.yml"]);
    assert!(code == 2 && said.contains("is an instance"), "{said}");
    stack.expect(2, &["deploy", "mrs", "lifetime=60"]);
    let last = stack
        .expect(0, &["deploy", "project=test-mail", "compose=mail.yml", "--allow-mail", "--plan"]);
    assert_eq!(last["dry_run"], true);
    assert_eq!(count(), before);
}

/// What is odd stays, is told, and does not stop others.
fn odd_ones(stack: &Stack) {
    // A directory of an older tool, with containers of its own: these go, it stays.
    let old = stack.path(".yourlabs.compose/test-old");
    fs::create_dir(&old).unwrap();
    fs::write(old.join("removeat"), "1700000000").unwrap();
    fs::write(old.join("note"), "somebody's").unwrap();
    let label = format!("com.docker.compose.project.working_dir={}", old.display());
    stack.docker.run(&[
        "run",
        "-d",
        "--network=none",
        "--label",
        "com.docker.compose.project=test-old",
        "--label",
        &label,
        "--label",
        "com.docker.compose.service=x",
        "--label",
        "com.docker.compose.oneoff=False",
        "app:v1",
        "sleep",
        "1000",
    ]);
    // Containers of somebody else under the name of a stack.
    let taken = stack.path(".yourlabs.compose/test-taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("removeat"), "1700000000").unwrap();
    stack.docker.run(&[
        "run",
        "-d",
        "--network=none",
        "--label",
        "com.docker.compose.project=test-taken",
        "--label",
        "com.docker.compose.project.working_dir=/elsewhere",
        "--label",
        "com.docker.compose.service=x",
        "--label",
        "com.docker.compose.oneoff=False",
        "app:v1",
        "sleep",
        "1000",
    ]);
    let odd = stack.path(".yourlabs.compose/test-odd");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("removeat"), "").unwrap();
    let (code, last, said) = stack.run(&["expire"]);
    assert_eq!(code, 1, "{said}");
    assert_eq!(last["removed"][0]["project"], "test-old", "{said}");
    assert!(said.contains("test-odd stays") && said.contains("already another stack's"), "{said}");
    assert!(stack.containers("test-old").is_empty() && old.join("note").exists() && odd.exists());
    assert_eq!(stack.containers("test-taken").len(), 1);
    for id in stack.containers("test-taken") {
        stack.docker.run(&["rm", "-f", &id]);
    }
    fs::remove_dir_all(&taken).unwrap();
}

/// A killed removal is finished by the next.
fn killed_removal(stack: &Stack, now: i64) {
    // A compose file that nobody understands any more is no reason to stay; nor is a killed removal.
    stack.expect(0, &arguments("project=test-killed", "lifetime=600"));
    let killed = stack.path(".yourlabs.compose/test-killed");
    set_time(&killed, now - 10);
    fs::write(killed.join("docker-compose.yml"), "{ what").unwrap();
    let mut child =
        stack.command(&["expire", "--json"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    super::killed::wait_for_step(&mut child, "remove");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(killed.exists());
    stack.expect(0, &["expire"]);
    assert!(!killed.exists() && stack.containers("test-killed").is_empty());
    assert_eq!(stack.containers("test-other").len(), 3);
}
