//! The life of an instance, from its first deployment on.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::stack::{Generation, SECRET, Stack};

#[test]
fn an_instance_is_deployed_fails_and_goes_back_with_compose_2() {
    life(Generation::Second);
}

#[test]
fn an_instance_is_deployed_fails_and_goes_back_with_compose_1() {
    life(Generation::First);
}

fn life(generation: Generation) {
    let stack = Stack::start(generation);
    first(&stack);
    next(&stack);
    nights(&stack);
    failed_without_migration(&stack);
    // The rest is not compose's.
    match generation {
        Generation::Second => {
            super::told::without_secrets(&stack);
            never_said(&stack);
            failed_with_migration(&stack);
            incomplete(&stack);
            refused(&stack);
        }
        Generation::First => on_the_own_machine(&stack),
    }
    down(&stack);
    if generation == Generation::First {
        adopted(&stack);
    }
}

fn first(stack: &Stack) {
    let (code, last, said) = stack.run(&["deploy", "mrs", "--plan"]);
    assert_eq!((code, &last["dry_run"]), (0, &true.into()), "{said}");
    assert!(
        said.contains("\"unset\":[\"NOT_SET\"]") && said.contains("django.UNSET_ONE"),
        "{said}"
    );
    assert!(said.contains("\"networks\":[\"web\"]"), "{said}");
    assert!(!stack.home().exists() && stack.containers("mrs").is_empty(), "a plan changes nothing");

    let last = stack.expect(0, &["deploy", "mrs"]);
    assert_eq!((&last["number"], &last["ending"]), (&1.into(), &"good".into()), "{last}");
    assert_eq!(last["commit"], "c0ffee6");
    assert_eq!(stack.page().as_deref(), Some("app:v1"));
    let mode = |name: &str| fs::metadata(stack.home().join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("docker-compose.yml"), mode(""), mode("log/admin")), (0o600, 0o700, 0o750));
    let text = stack.deployed();
    assert!(text.contains("SECRET_KEY: ") && text.contains(&SECRET.replace('$', "$$")), "{text}");
    assert!(!text.contains("not to be seen") && !text.contains("build"), "{text}");
    let inside = stack.docker.run(&[
        "exec",
        &stack.containers("mrs")[0],
        "sh",
        "-c",
        "echo $SECRET_KEY$UNSET_ONE",
    ]);
    assert!(inside.is_empty() || inside == SECRET, "{inside}");
}

fn next(stack: &Stack) {
    stack.expect(0, &["init", "--kdf-memory", "8"]);
    let before = stack.containers("mrs").len();
    let files = "compose=docker-compose.yml,docker-compose.persist.yml,docker-compose.traefik.yml,docker-compose.maildev.yml";
    let last = stack.expect(0, &["deploy", "mrs", files, "compose_django_image=app:v2"]);
    assert_eq!(last["number"], 2, "{last}");
    assert_eq!(stack.containers("mrs").len(), before + 1, "with a server of mail");
    let snapshot = last["snapshot"].as_str().unwrap().to_owned();
    assert_eq!(stack.page().as_deref(), Some("app:v2"));
    // What was replaced is in the snapshot.
    let saved =
        stack.command(&["dump", &snapshot[..8], "docker-compose.yml"]).output().unwrap().stdout;
    assert!(String::from_utf8_lossy(&saved).contains("mrs-django:deploy-1"));

    let last = stack.expect(0, &["rollback", "mrs"]);
    assert_eq!((&last["kind"], &last["to"]), (&"rollback".into(), &1.into()), "{last}");
    assert_eq!(stack.page().as_deref(), Some("app:v1"));
    assert_eq!(stack.containers("mrs").len(), before, "a service that is in no file goes");
    stack.expect(0, &["deploy", "mrs", "compose_django_image=app:v2"]);
}

/// A night knows what the containers wrote since the one before, and what they run.
fn nights(stack: &Stack) {
    // Containers are found by what compose wrote on them, whatever they are called.
    for (number, id) in stack.containers("mrs").iter().enumerate() {
        stack.docker.run(&["rename", id, &format!("renamed-{number}-django")]);
    }
    let log = |snapshot: &serde_json::Value| {
        let snapshot = &snapshot["snapshot"].as_str().unwrap()[..8];
        let (_, _, listed) =
            stack.run_command(&mut stack.command(&["ls", snapshot, "compose/logs"]));
        let name =
            listed.split_whitespace().find(|word| word.contains("django")).unwrap().to_owned();
        let path = format!("compose/logs/{}", name.rsplit('/').next().unwrap());
        String::from_utf8(stack.command(&["dump", snapshot, &path]).output().unwrap().stdout)
            .unwrap()
    };
    let first = stack.expect(0, &["run", "mrs"]);
    assert!(log(&first).lines().any(|line| line.ends_with(" ready")), "{first}");
    let tags: Vec<&str> =
        first["tags"].as_array().unwrap().iter().filter_map(|tag| tag.as_str()).collect();
    assert!(tags.contains(&"commit=c0ffee6"), "{tags:?}");
    assert!(tags.iter().any(|tag| tag.starts_with("image=database@sha256:")), "{tags:?}");
    let in_container = |words: &[&str]| {
        let output = stack.command(&[&["exec", "mrs"][..], words].concat()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(in_container(&["--", "cat", "/www/health"]), (Some(0), "app:v2".to_owned()));
    assert_eq!(in_container(&["--service", "database", "--", "sh", "-c", "exit 5"]).0, Some(5));
    assert_eq!(in_container(&["--service", "redis", "--", "true"]).0, Some(2));
    let second = stack.expect(0, &["run", "mrs"]);
    assert_eq!(log(&second), "", "nothing was written meanwhile");
}

fn failed_without_migration(stack: &Stack) {
    for image in ["app:sick", "app:crash"] {
        let image = format!("compose_django_image={image}");
        let (code, last, said) = stack.run(&["deploy", "mrs", &image]);
        assert_eq!((code, &last["ending"]), (30, &"rolled-back".into()), "{said}");
        assert_eq!(stack.page().as_deref(), Some("app:v2"), "{said}");
        // The log of the failed one is shown, without the secret that it says.
        assert!(last["logs"]["django"].as_str().unwrap().contains("starting with ***"), "{last}");
    }
    stack.configure("on_failure = \"stop\"\n");
    let last = stack.expect(31, &["deploy", "mrs", "compose_django_image=app:sick"]);
    assert!(last["why_not_rolled_back"].as_str().unwrap().contains("on_failure"), "{last}");
    assert_eq!(stack.page(), None, "it was left as it is");
    stack.configure("");
    stack.expect(0, &["rollback", "mrs"]);
    assert_eq!(stack.page().as_deref(), Some("app:v2"));
}

/// A line that no log of this deployment has.
fn never_said(stack: &Stack) {
    let (image, line) = ("compose_django_image=app:v1", "wait_grep=^never said$");
    let (code, last, said) = stack.run(&["deploy", "mrs", image, line, "timeout=3"]);
    assert_eq!(code, 30, "{said}");
    let reason = last["reason"].as_str().unwrap();
    assert!(reason.contains("no line fits `^never said$` after 3 s"), "{last}");
    assert_eq!(stack.page().as_deref(), Some("app:v2"));
}

/// What cannot be saved whole is not replaced, unless somebody wants it so.
fn incomplete(stack: &Stack) {
    let path = stack.path("config.toml");
    let config = fs::read_to_string(&path).unwrap();
    let (paths, more) = ("\"data\", \"log\"]", "\"data\", \"log\", \"lost\"]");
    stack.write("config.toml", &config.replace(paths, more));
    let before = (stack.deployed(), stack.containers("mrs"));
    let deploy = ["deploy", "mrs", "compose_django_image=app:migrates"];
    let (code, _, said) = stack.run(&deploy);
    assert!(
        code == 3 && said.contains("the snapshot is incomplete (") && said.contains("/lost: "),
        "{said}"
    );
    assert!(said.contains("--accept-incomplete"), "{said}");
    assert_eq!((stack.deployed(), stack.containers("mrs")), before);
    let last = stack.expect(0, &[&deploy[..], &["--accept-incomplete"]].concat());
    assert!(last["snapshot"].is_string(), "{last}");
    stack.write("config.toml", &config);
}

fn failed_with_migration(stack: &Stack) {
    let migrations = || fs::read_to_string(stack.home().join("data/migrations")).unwrap();
    assert_eq!(migrations(), "0001_first\n");
    stack.expect(0, &["deploy", "mrs", "compose_django_image=app:migrates"]);
    let last = stack.expect(31, &["deploy", "mrs", "compose_django_image=app:migrates-sick"]);
    assert_eq!(last["migrations"], serde_json::json!(["0003_third"]), "{last}");
    assert!(
        last["loss"]["snapshot"].is_string() && last["why_not_rolled_back"] == "a migration ran",
        "{last}"
    );
    // A second try of the same does not forget what ran.
    let last = stack.expect(31, &["deploy", "mrs", "compose_django_image=app:migrates-sick"]);
    assert_eq!(last["migrations"], serde_json::json!(["0003_third"]), "{last}");
    let (_, _, said) = stack.run_command(&mut stack.command(&["deployments", "mrs"]));
    assert!(said.contains("FAILED") && said.contains("rolled back"), "{said}");
    let good = stack.expect(0, &["rollback", "mrs"]);
    assert_eq!(stack.page().as_deref(), Some("app:migrates"), "{good}");
}

/// Nothing is replaced.
fn refused(stack: &Stack) {
    let before = (stack.deployed(), stack.containers("mrs"));
    let (code, _, said) = stack.run(&["deploy", "mrs", "compose_django_image=missing:none"]);
    assert!(code == 1 && said.contains("image missing:none of service django"), "{said}");
    stack.write("checkout/wrong.yml", "services:\n  django:\n    imagee: x\n");
    let (code, _, said) = stack.run(&["deploy", "mrs", "compose=docker-compose.yml,wrong.yml"]);
    assert!(code == 1 && said.contains("imagee"), "{said}");
    let (code, _, said) =
        stack.run_command(stack.command(&["deploy", "mrs"]).env_remove("SECRET_KEY"));
    assert!(code == 2 && said.contains("SECRET_KEY"), "{said}");
    let (code, _, said) =
        stack.run_command(stack.command(&["deploy", "mrs"]).env("DOCKER_HOST", "unix:///none"));
    assert!(code == 1 && said.contains("systemctl start docker"), "{said}");
    stack.write("checkout/mkdir.yml", "services: {django: {image: 'app:v1', labels: ['io.yourlabs.compose.mkdir=../../x:0:0:0777']}}\n");
    let (code, _, said) =
        stack.run(&["deploy", "mrs", "compose=mkdir.yml", "compose_django_ports="]);
    assert!(code == 2 && said.contains("mkdir") && said.contains("below the home"), "{said}");
    fs::rename(stack.path("repo"), stack.path("away")).unwrap();
    stack.expect(10, &["deploy", "mrs", "compose_django_image=app:v1"]);
    fs::rename(stack.path("away"), stack.path("repo")).unwrap();
    assert_eq!((stack.deployed(), stack.containers("mrs")), before);
}

/// Without a configuration: compose files say which variables they want, and the home is asked for.
fn on_the_own_machine(stack: &Stack) {
    let home = stack.path("testmrs");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ports = format!("compose_django_ports=[\"127.0.0.1:{port}:8000\"]");
    let deploy = |more: &[&str]| {
        let mut command = stack.command(&["deploy", "--json", "--state-dir"]);
        command.arg(stack.path("own-state")).arg(format!("home={}", home.display())).arg(&ports);
        command.args(["compose_django_build=", "compose_django_image=app:v2", "wait_grep=ready"]);
        command.arg("compose=docker-compose.yml,docker-compose.persist.yml").args(more);
        stack.run_command(&mut command)
    };
    fs::rename(stack.path("config.toml"), stack.path("config.kept")).unwrap();
    stack.write("config.toml", "version = 1\n");
    let (code, last, said) = deploy(&[]);
    assert_eq!((code, &last["ending"]), (0, &"good".into()), "{said}");
    let text = fs::read_to_string(home.join("docker-compose.yml")).unwrap();
    assert!(text.contains("not to be seen"), "the files name UNSET_ONE: {text}");
    let (code, _, said) = deploy(&[]);
    assert!(code == 2 && said.contains("--no-snapshot"), "{said}");
    assert_eq!(deploy(&["--no-snapshot"]).0, 0);
    stack.expect(0, &["down", &format!("home={}", home.display()), "--yes"]);
    fs::rename(stack.path("config.kept"), stack.path("config.toml")).unwrap();
}

fn down(stack: &Stack) {
    stack.expect(2, &["down", "mrs"]);
    stack.expect(0, &["down", "mrs", "--yes"]);
    assert!(stack.containers("mrs").is_empty() && stack.home().join("data/migrations").exists());
    assert!(
        stack.docker.run(&["network", "ls", "--format", "{{.Name}}"]).contains("web"),
        "others' networks stay"
    );
    // A night starts nothing that somebody stopped.
    let (code, _, said) = stack.run(&["run", "mrs", "--only", "snapshot"]);
    assert!(code == 0 && said.contains("is down, and stays so"), "{said}");
    assert!(stack.containers("mrs").is_empty());
    stack.expect(0, &["deploy", "mrs", "compose_django_image=app:migrates"]);
    assert_eq!(stack.page().as_deref(), Some("app:migrates"));
    stack.expect(0, &["down", "mrs", "--yes"]);
}

/// What another tool started becomes the first deployment, and there is a way back to it.
fn adopted(stack: &Stack) {
    fs::remove_dir_all(stack.home().join(".mrs-backup")).unwrap();
    let mut by_hand = std::process::Command::new("docker-compose");
    by_hand
        .args(["-p", "mrs", "up", "-d"])
        .current_dir(stack.home())
        .env("DOCKER_HOST", stack.docker.host());
    assert!(by_hand.output().unwrap().status.success());
    let last = stack.expect(30, &["deploy", "mrs", "compose_django_image=app:sick"]);
    assert_eq!((&last["number"], &last["back_to"]), (&2.into(), &1.into()), "{last}");
    assert_eq!(stack.page().as_deref(), Some("app:migrates"));
    stack.expect(0, &["down", "mrs", "--yes"]);
}
