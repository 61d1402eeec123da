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
    configure(&stack);
    stack.write("home/mrs/mrsattachments/bill.pdf", "a bill");
    stack.expect(0, &["init", "--kdf-memory", "8"]);
    stack.expect(0, &["deploy", "mrs"]);
    let id = |stack: &Stack| {
        let filters = ["--filter", "label=com.docker.compose.service=postgres"];
        stack.docker.run(&[&["ps", "-q"][..], &filters].concat())
    };
    stack.docker.psql(&id(&stack), "postgres", "CREATE DATABASE mrs");
    stack.docker.psql(&id(&stack), "postgres", "CREATE DATABASE second");
    let second = |text: &str| stack.docker.psql(&id(&stack), "second", text);
    second("CREATE TABLE t AS SELECT 1 AS n");
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
    // Files are not touched; how those of then come back is said.
    let plan = ["rollback", "mrs", "--with-data", "--plan"];
    let (code, _, said) = stack.run_command(&mut stack.command(&plan));
    let line = said.lines().find(|line| line.contains("files stay as they are")).unwrap_or(&said);
    let files: Vec<String> =
        line.split(' ').skip_while(|word| *word != "restore").map(str::to_owned).collect();
    assert!(code == 0 && !files.is_empty(), "{said}");
    second("UPDATE t SET n = 2");
    // Killed before the swap, both live databases are as they were; the next call does it.
    let migrations = "SELECT count(*) FROM django_migrations";
    for step in ["stop", "rows"] {
        killed_at(&stack, step, &["rollback", "mrs", "--with-data", "--yes"]);
        assert_eq!(sql(migrations), "2", "{step}");
    }
    // One is whole, the other one on its way: none is exchanged yet.
    killed_in_second(&stack, &["rollback", "mrs", "--with-data", "--yes"]);
    assert_eq!((sql(migrations), second("SELECT n FROM t")), ("2".to_owned(), "2".to_owned()));
    let last = stack.expect(0, &["rollback", "mrs", "--with-data", "--yes"]);
    assert_eq!((&last["with_data"], &last["to"]), (&true.into(), &1.into()), "{last}");
    assert_eq!(sql("SELECT string_agg(name, ',') FROM django_migrations"), "0001_initial");
    assert_eq!((sql("SELECT n FROM claim"), second("SELECT n FROM t")), ("1".into(), "1".into()));
    assert!(stack.deployed().contains("mrs-django:deploy-1"));
    let uploads = stack.home().join("mrsattachments");
    std::fs::rename(uploads.join("bill.pdf"), uploads.join("new.pdf")).unwrap();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    stack.expect(0, &[&files[..], &["--yes"]].concat());
    assert!(uploads.join("bill.pdf").exists() && uploads.join("new.pdf").exists());
    // Even that can be taken back.
    stack.expect(0, &["undo", "--database", "mrs", "--yes"]);
    assert_eq!(sql(migrations), "2");
    // Killed when the database is back and the application is not yet: the next call goes on from there.
    killed_at(&stack, "up", &["rollback", "mrs", "1", "--with-data", "--yes"]);
    assert_eq!(sql(migrations), "1");
    stack.expect(0, &["rollback", "mrs", "1", "--with-data", "--yes"]);
    assert_eq!((sql(migrations), sql("SELECT n FROM claim")), ("1".to_owned(), "1".to_owned()));
    assert_eq!(stack.containers("mrs").len(), 2);
    sql("CREATE TABLE person AS SELECT 1 AS id, 'anne@example.org' AS email");
    copied_into_staging(&stack);
}

/// An instance with two databases in a container, and files.
fn configure(stack: &Stack) {
    let path = stack.work.path().display();
    stack.write(
        "config.toml",
        &format!(
            "version = 1\nstate_dir = \"{path}/state\"\n[instance.mrs]\nhome = \"{path}/home/mrs\"\nrepository = \"{path}/repo\"\n\
             key = {{ file = \"{path}/password\" }}\npaths = [\"docker-compose.yml\", \"mrsattachments\"]\n\
             [instance.mrs.postgres]\ndatabases = [\"mrs\", \"second\"]\ncontainer = {{ service = \"postgres\" }}\n\
             [instance.mrs.deploy]\ntimeout = \"30s\"\n"
        ),
    );
}

const RULES: &str = "version = 1
[target]
must_match = \"staging\"
[files.mrsattachments]
drop = \"scans of people\"
[files.\"docker-compose.yml\"]
drop = \"it has passwords\"
[table.django_migrations]
id = { keep = \"a number\" }
app = { keep = \"a name of code\" }
name = { keep = \"a name of code\" }
[table.claim]
n = { keep = \"a number\" }
[table.person]
id = { keep = \"a number\" }
email = { email = \"{hmac:16}@example.invalid\", null = \"keep\", empty = \"keep\" }
";

/// Production's data into another stack with a server of its own: nobody is in it, and there is a way back.
fn copied_into_staging(stack: &Stack) {
    let path = stack.work.path().display();
    let config = std::fs::read_to_string(stack.path("config.toml")).unwrap();
    stack.write("rules.toml", RULES);
    stack.write("clone.key", "0123456789abcdef0123456789abcdef");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let staging = format!(
        "[instance.staging]\nhome = \"{path}/home/staging\"\nrepository = \"{path}/staging-repo\"\n\
         [instance.staging.postgres]\ndatabases = [\"mrs\"]\ncontainer = {{ service = \"postgres\" }}\n\
         [instance.staging.deploy]\ntimeout = \"30s\"\n\
         [instance.staging.clone]\nfrom = [\"mrs\"]\nrules = \"{path}/rules.toml\"\n\
         key = {{ file = \"{path}/clone.key\" }}\n\
         after = [[\"docker\", \"compose\", \"restart\", \"django\"]]\n\
         [notify.hook]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:{port}/\"\non = [\"clone\"]\n"
    );
    // A copy is of one database.
    let config = config.replace("[\"mrs\", \"second\"]", "[\"mrs\"]");
    stack.write("config.toml", &format!("{config}{staging}"));
    stack.expect(0, &["deploy", "staging"]);
    let filters = ["project=staging", "service=postgres"]
        .map(|label| format!("label=com.docker.compose.{label}"));
    let id = stack.docker.run(&["ps", "-q", "--filter", &filters[0], "--filter", &filters[1]]);
    stack.docker.psql(&id, "postgres", "CREATE DATABASE mrs");
    stack.docker.psql(&id, "mrs", "CREATE TABLE of_staging AS SELECT 5 AS n");
    let heard = std::thread::spawn(move || super::told::body(&listener));
    let last = stack.expect(0, &["clone", "mrs", "staging", "--fresh", "--yes"]);
    assert!(!last.to_string().contains("anne@"), "{last}");
    let told = heard.join().unwrap();
    assert!(told.contains("staging: copied and anonymized") && !told.contains("anne"), "{told}");
    let email = stack.docker.psql(&id, "mrs", "SELECT email FROM person");
    assert!(email.ends_with("@example.invalid") && !email.contains("anne"), "{email}");
    assert_eq!(stack.docker.psql(&id, "mrs", "SELECT n FROM claim"), "1");
    assert_eq!(stack.containers("staging").len(), 2);
    stack.expect(0, &["-i", "staging", "undo", "--database", "mrs", "--yes"]);
    assert_eq!(stack.docker.psql(&id, "mrs", "SELECT n FROM of_staging"), "5");
}

/// Killed when the rows of the second database come.
fn killed_in_second(stack: &Stack, arguments: &[&str]) {
    use std::io::{BufRead, BufReader};
    let mut command = stack.command(arguments);
    let mut child = command.arg("--json").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    for step in ["rows", "gates", "rows"] {
        let wanted = format!("\"step\":\"{step}\"");
        assert!(lines.any(|line| line.contains(&wanted)), "{step} never began");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn killed_at(stack: &Stack, step: &str, arguments: &[&str]) {
    let mut command = stack.command(arguments);
    let mut child = command.arg("--json").stdout(Stdio::piped()).spawn().unwrap();
    wait_for_step(&mut child, step);
    child.kill().unwrap();
    child.wait().unwrap();
}
