use super::*;

fn parse(text: &str) -> Document {
    Document::parse(text, "the test").unwrap()
}

#[test]
fn what_is_read_is_written_so_that_it_reads_the_same() {
    let text = "name: mrs\nservices:\n  django:\n    environment:\n      SHA: 5e12345\n      ODD: \"yes\"\n      \
                EMPTY: ''\n      NOTHING: null\n      OCTAL: 0440\n      LIST: ',www.'\n      KEY: |\n        a\n        b\n    \
                labels: {on: 'Host: x', \"8080\": y}\n    ports: [\"8000:8000\", 22]\n    command: []\n    networks: {}\n  two:\n    \
                image: betagouv/mrs:master\n";
    let first = parse(text);
    let written = first.to_yaml();
    let second = parse(&written);
    assert_eq!(second.to_yaml(), written);
    for line in [
        "SHA: 5e12345\n",
        "ODD: \"yes\"\n",
        "EMPTY: \"\"\n",
        "NOTHING: null\n",
        "OCTAL: 0440\n",
        "KEY: \"a\\nb\\n\"\n",
        "\"on\": \"Host: x\"\n",
        "- 22\n",
        "- \"8000:8000\"\n",
        "command: []\n",
        "networks: {}\n",
        "image: betagouv/mrs:master\n",
        "LIST: \",www.\"\n",
    ] {
        assert!(written.contains(line), "{line:?} is not in\n{written}");
    }
    let django = first.service("django").unwrap();
    assert!(django.get("environment").unwrap().get("NOTHING").unwrap().is_null());
    assert_eq!(django.get("environment").unwrap().get("EMPTY").unwrap().as_str(), Some(""));
}

#[test]
fn aliases_are_what_they_stand_for_and_know_where_that_is() {
    let text = "x: &a {build: ./}\nservices: {d: *a}\n";
    let found = parse(text);
    let build = found.service("d").unwrap().get("build").unwrap();
    let Node::Scalar { span: Some((from, to)), .. } = build else { panic!("{build:?}") };
    assert_eq!(&text[*from..*to], "./");
}

#[test]
fn hostile_documents_are_refused() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let before = format!("*a{},", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    let deep = "[".repeat(5000);
    for (text, told) in [
        (bomb.as_str(), "more than"),
        (&deep, ""),
        ("a: 1\n---\nb: 2\n", "several"),
        ("? [a]\n: b\n", "key"),
        ("a: [", ""),
    ] {
        let error = Document::parse(text, "the test").unwrap_err().to_string();
        assert!(error.contains("the test") && error.contains(told), "{error}");
    }
    assert_eq!(parse("").root, Node::Mapping(Vec::new()));
}

#[test]
fn keys_are_set_and_removed() {
    let mut node = Node::text("x");
    node.set("a", Node::plain("1"));
    node.set("a", Node::plain("2"));
    assert_eq!(node.entries(), [("a".to_owned(), Node::plain("2"))]);
    node.remove("a");
    assert!(node.entries().is_empty());
}
