//! A real PostgreSQL: migrations are read from its table, and `rollback --with-data` brings its rows back.

use std::process::Stdio;

use super::killed::wait_for_step;
use super::stack::{Generation, Stack};
use super::support::docker::{Docker, IMAGE};

const COMPOSE: &str = "version: '3.7'
services:
  django:
    image: app:v1
    command: [sleep, '86400']
    stop_signal: SIGKILL
  postgres:
    image: IMAGE
    user: postgres
    stop_signal: SIGINT
    healthcheck: {test: [CMD, psql, -U, postgres, -c, SELECT 1], interval: 1s}
";

#[test]
fn data_comes_back_with_the_version_that_wrote_it() {
    let stack = Stack::with(Docker::start(), Generation::Second);
    stack.write("checkout/docker-compose.yml", &COMPOSE.replace("IMAGE", IMAGE));
    let path = stack.work.path().display();
    stack.write(
        "config.toml",
        &format!(
            "version = 1\nstate_dir = \"{path}/state\"\n[instance.mrs]\nhome = \"{path}/home/mrs\"\nrepository = \"{path}/repo\"\n\
             key = {{ file = \"{path}/password\" }}\npaths = [\"docker-compose.yml\"]\n\
             [instance.mrs.postgres]\ndatabases = [\"mrs\"]\ncontainer = {{ service = \"postgres\" }}\n\
             [instance.mrs.deploy]\ntimeout = \"30s\"\n"
        ),
    );
    stack.expect(0, &["init", "--kdf-memory", "8"]);
    stack.expect(0, &["deploy", "mrs"]);
    let id = |stack: &Stack| {
        let filters = ["--filter", "label=com.docker.compose.service=postgres"];
        stack.docker.run(&[&["ps", "-q"][..], &filters].concat())
    };
    stack.docker.psql(&id(&stack), "postgres", "CREATE DATABASE mrs");
    let sql = |text: &str| stack.docker.psql(&id(&stack), "mrs", text);
    sql("CREATE TABLE django_migrations (id serial PRIMARY KEY, app text, name text); \
         INSERT INTO django_migrations (app, name) VALUES ('mrs', '0001_initial'); CREATE TABLE claim AS SELECT 1 AS n");

    // The new version migrates, and fails.
    let postdeploy = "postdeploy=docker compose exec -T postgres psql -U postgres -d mrs -qc \"\
        INSERT INTO django_migrations (app, name) VALUES ('mrs', '0002_broken'); DROP TABLE claim\" && exit 9";
    let last = stack.expect(31, &["deploy", "mrs", "compose_django_image=app:v2", postdeploy]);
    assert_eq!(last["migrations"], serde_json::json!(["mrs.mrs.0002_broken"]), "{last}");
    assert!(last["loss"]["snapshot"].is_string() && last["back_to"] == 1, "{last}");

    stack.expect(2, &["rollback", "mrs", "--with-data"]);
    // Killed before the swap, the live database is as it was; the next call does it.
    let migrations = "SELECT count(*) FROM django_migrations";
    for step in ["stop", "rows"] {
        killed_at(&stack, step, &["rollback", "mrs", "--with-data", "--yes"]);
        assert_eq!(sql(migrations), "2", "{step}");
    }
    let last = stack.expect(0, &["rollback", "mrs", "--with-data", "--yes"]);
    assert_eq!((&last["with_data"], &last["to"]), (&true.into(), &1.into()), "{last}");
    assert_eq!(sql("SELECT string_agg(name, ',') FROM django_migrations"), "0001_initial");
    assert_eq!(sql("SELECT n FROM claim"), "1");
    assert!(stack.deployed().contains("mrs-django:deploy-1"));
    // Even that can be taken back.
    stack.expect(0, &["undo", "--database", "mrs", "--yes"]);
    assert_eq!(sql(migrations), "2");
    // Killed when the database is back and the application is not yet: the next call goes on from there.
    killed_at(&stack, "up", &["rollback", "mrs", "1", "--with-data", "--yes"]);
    assert_eq!(sql(migrations), "1");
    stack.expect(0, &["rollback", "mrs", "1", "--with-data", "--yes"]);
    assert_eq!((sql(migrations), sql("SELECT n FROM claim")), ("1".to_owned(), "1".to_owned()));
    assert_eq!(stack.containers("mrs").len(), 2);
}

fn killed_at(stack: &Stack, step: &str, arguments: &[&str]) {
    let mut command = stack.command(arguments);
    let mut child = command.arg("--json").stdout(Stdio::piped()).spawn().unwrap();
    wait_for_step(&mut child, step);
    child.kill().unwrap();
    child.wait().unwrap();
}
