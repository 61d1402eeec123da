//! Killed at every step, two at once, ports and names that are taken: the next call goes on or takes back.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use super::stack::{Generation, Stack};

/// Waits until the program says that `step` begins.
pub fn wait_for_step(child: &mut Child, step: &str) {
    let wanted = format!("\"step\":\"{step}\"");
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains(&wanted)), "{step} never began");
}

#[test]
fn killed_at_any_step_the_next_call_goes_on_or_goes_back() {
    let stack = Stack::start(Generation::Second);
    stack.expect(0, &["init", "--kdf-memory", "8"]);
    stack.expect(0, &["deploy", "mrs"]);
    let next = ["deploy", "mrs", "compose_django_image=app:v2", "postdeploy=sleep 0.5"];
    for step in
        ["snapshot", "images", "directories", "write", "up", "health", "postdeploy", "check"]
    {
        let mut command = stack.command(&next);
        let mut child = command.arg("--json").stdout(Stdio::piped()).spawn().unwrap();
        wait_for_step(&mut child, step);
        child.kill().unwrap();
        child.wait().unwrap();
        // Going on and going back, in turns.
        if matches!(step, "snapshot" | "write" | "postdeploy") {
            stack.expect(0, &next);
            assert_eq!(stack.page().as_deref(), Some("app:v2"), "{step}");
            stack.expect(0, &["rollback", "mrs"]);
        } else if !matches!(step, "images" | "directories") {
            stack.expect(0, &["rollback", "mrs"]);
        }
        assert_eq!(stack.page().as_deref(), Some("app:v1"), "{step}");
        assert_eq!(stack.containers("mrs").len(), 2, "{step}");
    }
    two_at_once(&stack);
    taken(&stack);
}

fn two_at_once(stack: &Stack) {
    let mut command = stack.command(&["deploy", "mrs", "compose_django_image=app:v2"]);
    let mut first = command.arg("--json").stdout(Stdio::piped()).spawn().unwrap();
    wait_for_step(&mut first, "prepare");
    let (code, _, said) = stack.run(&["deploy", "mrs", "compose_django_image=app:v1"]);
    assert!(code == 11 && said.contains("--lock-wait"), "{said}");
    // Its pipe is gone; it goes on all the same.
    assert!(first.wait().unwrap().success());
    assert_eq!(stack.page().as_deref(), Some("app:v2"));
}

/// A port that somebody else has fails, and goes back; a name that somebody else has is refused.
fn taken(stack: &Stack) {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let ports = format!("compose_django_ports=[\"127.0.0.1:{port}:8000\"]");
    let (code, last, said) = stack.run(&["deploy", "mrs", &ports, "check="]);
    assert_eq!(code, 30, "{said}");
    assert!(last["reason"].as_str().unwrap().contains("address already in use"), "{last}");
    assert_eq!(stack.page().as_deref(), Some("app:v2"));
    let home = format!("home={}", stack.path("elsewhere").display());
    let (code, _, said) = stack.run(&["deploy", &home, "project=mrs", "compose_django_build="]);
    assert!(code == 1 && said.contains("already another stack's"), "{said}");
    assert!(!stack.path("elsewhere").exists());
}
