//! What people are told to type exists: commands and options in code of the documents, the
//! configurations they show, and the files they lead to.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

#[path = "support/documents.rs"]
mod documents;

use documents::{documents, read, refused, root, typed};

/// Documents whose commands are tried.
const FOR_USERS: &[&str] = &[
    "README.md",
    "docs/operations.md",
    "docs/fr/exploitation.md",
    "docs/migration.md",
    "docs/monitoring.md",
    "docs/recovery.md",
    "docs/fr/secours.md",
];

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mrs-backup"));
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["MRS_BACKUP_", "RESTIC_", "POSTGRES_BACKUP"].iter().any(|p| name.starts_with(p)) {
            command.env_remove(&*name);
        }
    }
    command.output().expect("the program starts")
}

/// The words after each `mrs-backup`, up to what ends a command.
fn invocations(text: &str) -> Vec<Vec<String>> {
    let is_program = |word: &str| word == "mrs-backup" || word.ends_with("/mrs-backup");
    let mut found = Vec::new();
    let mut is_fenced = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
            continue;
        }
        let is_code = is_fenced || line.starts_with("    ");
        let parts: Vec<&str> = match is_code {
            true => vec![line],
            false => line.split('`').skip(1).step_by(2).collect(),
        };
        for part in parts {
            // What the program itself says (`hint: mrs-backup ...`) is held to the same.
            for command in part.split(['|', ';', '(', ')']) {
                let words = command.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
                let mut words =
                    words.skip_while(|word| !is_program(word.trim_start_matches("ExecStart=")));
                if words.next().is_some() {
                    found.push(words.map(str::to_owned).collect());
                }
            }
        }
    }
    found
}

/// The help of a command, or `None` if there is no such command.
fn help(path: &[&str], known: &mut BTreeMap<String, Option<String>>) -> Option<String> {
    let key = path.join(" ");
    known
        .entry(key)
        .or_insert_with(|| {
            let output = run(&[path, &["--help"]].concat());
            let text = String::from_utf8(output.stdout).expect("UTF-8");
            output.status.success().then_some(text)
        })
        .clone()
}

/// What is wrong with one command of a document.
fn wrong(words: &[String], known: &mut BTreeMap<String, Option<String>>) -> Option<String> {
    const TAKES_VALUE: [&str; 4] = ["-c", "-i", "--repo", "--password-file"];
    let mut path: Vec<&str> = Vec::new();
    let mut is_value = false;
    let has_children = |path: &[&str]| {
        matches!(
            path,
            [] | ["index" | "key" | "config" | "migrate" | "repair" | "store" | "units" | "clone"]
                | ["clone", "rules"]
        )
    };
    for word in words.iter().take_while(|word| *word != "--") {
        let is_option = word.starts_with('-') && word.len() > 1;
        // `COMMAND` stands for any; `...` for what is left out.
        let is_command = word.chars().all(|c| c.is_ascii_lowercase());
        if !is_option && !is_value && has_children(&path) && is_command {
            path.push(word);
            if help(&path, known).is_none() {
                return Some(format!("there is no command `{}`", path.join(" ")));
            }
        }
        is_value = TAKES_VALUE.contains(&word.as_str());
    }
    let help = help(&path, known)?;
    let is_told = |option: &str| {
        help.split(|c: char| c.is_whitespace() || matches!(c, ',' | '=' | '[' | ']' | '`'))
            .any(|word| word == option)
    };
    let mut options = words
        .iter()
        .take_while(|word| *word != "--")
        .map(|word| word.trim_end_matches([',', '.', ':']));
    options
        .find(|word| {
            let option = word.split('=').next().unwrap_or_default();
            word.starts_with('-') && *word != "-" && !is_told(option)
        })
        .map(|option| format!("`{}` has no option {option}", path.join(" ")))
}

#[test]
fn commands_and_options_of_the_documents_exist() {
    let mut known = BTreeMap::new();
    for document in FOR_USERS {
        let commands = invocations(&read(document));
        assert!(commands.len() > 8, "{document}: {} commands found", commands.len());
        let wrong: Vec<String> =
            commands.iter().filter_map(|words| wrong(words, &mut known)).collect();
        assert_eq!(wrong, [""; 0], "{document}");
    }
}

#[test]
fn commands_of_the_documents_are_taken_by_the_program() {
    let (mut count, mut wrong) = (0, Vec::new());
    // What benchmarks print is no command.
    for document in documents().iter().filter(|name| !name.ends_with("/benchmarks.md")) {
        let commands = typed(&read(document));
        count += commands.len();
        let refused = commands.iter().filter_map(|(command, is_own)| refused(command, *is_own));
        wrong.extend(refused.map(|why| format!("{document}: {why}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 300, "{count} commands");
}

/// The names below a command, as its help lists them.
fn children(help: &str) -> Vec<String> {
    let listed = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
    let lines = listed.lines().take_while(|line| !line.is_empty());
    lines
        .filter_map(|line| {
            line.strip_prefix("  ")?.split_whitespace().next().filter(|_| !line.starts_with("   "))
        })
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// The examples of a help, in the form of a document's code.
fn examples(help: &str) -> String {
    let after = help.split_once("\nExamples:\n").map_or("", |(_, rest)| rest);
    let lines = after.lines().take_while(|line| line.is_empty() || line.starts_with("  "));
    lines.map(|line| format!("  {line}\n")).collect()
}

#[test]
fn examples_of_every_help_are_taken_by_the_program() {
    let (mut pending, mut known) = (vec![Vec::<String>::new()], BTreeMap::new());
    let (mut commands, mut wrong) = (0, Vec::new());
    while let Some(path) = pending.pop() {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let help = help(&words, &mut known).unwrap_or_else(|| panic!("no help of {path:?}"));
        let found = typed(&examples(&help));
        commands += 1;
        if found.is_empty() {
            wrong.push(format!("{path:?} has no examples: {help}"));
        }
        let refused = found.iter().filter_map(|(command, _)| refused(command, true));
        wrong.extend(refused.map(|why| format!("{path:?}: {why}")));
        pending.extend(children(&help).into_iter().map(|name| [&path[..], &[name]].concat()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(commands > 50, "{commands} commands");
}

#[test]
fn a_command_the_program_refuses_is_found() {
    for (text, words) in [
        ("    mrs-backup status --max-age soon", "invalid value 'soon'"),
        ("    mrs-backup ls", "required arguments"),
        ("see `mrs-backup ls`", ""),
        ("see `mrs-backup ls --shiny`", "unexpected argument"),
        ("    mrs-backup dump latest x -a zip | tar", "invalid value 'zip'"),
        ("    mrs-backup status     the sentences", ""),
        ("```console\n$ mrs-backup frobnicate\nmrs-backup x\n```", "unrecognized subcommand"),
    ] {
        let commands = typed(text);
        assert_eq!(commands.len(), 1, "{text}: {commands:?}");
        let found = refused(&commands[0].0, commands[0].1).unwrap_or_default();
        assert!(
            if words.is_empty() { found.is_empty() } else { found.contains(words) },
            "{text}: {found}"
        );
    }
}

#[test]
fn a_wrong_command_or_option_is_found() {
    let mut known = BTreeMap::new();
    for (text, expected) in [
        ("`mrs-backup frobnicate`", Some("there is no command `frobnicate`")),
        ("    $ x | mrs-backup -i a key burn", Some("there is no command `key burn`")),
        ("`mrs-backup ls latest --shiny`", Some("`ls` has no option --shiny")),
        ("    mrs-backup backup --command a -- tar --shiny", None),
        ("    ExecStart=/usr/local/bin/mrs-backup run --all -q", None),
    ] {
        let commands = invocations(text);
        assert_eq!(commands.len(), 1, "{text}");
        assert_eq!(wrong(&commands[0], &mut known).as_deref(), expected, "{text}");
    }
}

#[test]
fn configurations_of_the_documents_are_valid() {
    let scratch = tempfile::tempdir().expect("a directory");
    let file = scratch.path().join("config.toml");
    let mut count = 0;
    for document in documents() {
        for block in read(&document).split("```toml\n").skip(1) {
            let text = block.split("```").next().unwrap_or_default();
            fs::write(&file, text).expect("a file");
            let output = run(&["-c", &file.display().to_string(), "config", "validate"]);
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{document}: {error}\n{text}");
            count += 1;
        }
    }
    assert!(count >= 4, "{count} configurations");
}

/// Headings of a document of this level, in order.
fn headings(document: &str, level: &str) -> Vec<String> {
    let text = read(document);
    let mut is_fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        is_fenced ^= line.starts_with("```");
        let heading = line.strip_prefix(level).and_then(|rest| rest.strip_prefix(' '));
        found.extend(heading.filter(|_| !is_fenced).map(str::to_owned));
    }
    found
}

#[test]
fn the_cookbook_follows_the_chapter_in_both_languages() {
    // Those of the operations chapter that people come from, with the level they have here.
    const CHAPTER: [(&str, &str, &str); 14] = [
        ("##", "Architecture système", "System architecture"),
        ("###", "Utilisateurs", "Users"),
        ("###", "Partitions", "Partitions"),
        ("###", "Services", "Services"),
        ("##", "Architecture d'une instance", "Architecture of an instance"),
        ("###", "Compose", "Compose"),
        ("###", "Docker", "Docker"),
        ("###", "Persistence", "Persistence"),
        ("###", "Cron", "Cron"),
        ("##", "Opérations courantes", "Everyday operations"),
        ("###", "Ajouter un utilisateur sudo", "Add a sudo user"),
        ("###", "Envoyer un mail de test", "Send a test mail"),
        ("###", "Copier les données de prod en staging", "Copy production's data to staging"),
        ("##", "Développement", "Development"),
    ];
    for level in ["##", "###"] {
        let wanted = || CHAPTER.iter().filter(|one| one.0 == level);
        let (french, english): (Vec<&str>, Vec<&str>) =
            (wanted().map(|one| one.1).collect(), wanted().map(|one| one.2).collect());
        for (document, wanted) in
            [("docs/fr/exploitation.md", french), ("docs/operations.md", english)]
        {
            let there = headings(document, level);
            let found: Vec<&str> =
                there.iter().map(String::as_str).filter(|one| wanted.contains(one)).collect();
            assert_eq!(found, wanted, "{document}");
        }
    }
    // Whatever else one of them has, the other has too.
    let count = |document| headings(document, "##").len();
    assert_eq!(count("docs/fr/exploitation.md"), count("docs/operations.md"));
    for (french, english) in [("Local", "Local"), ("Vagrant", "Vagrant")] {
        assert!(headings("docs/fr/exploitation.md", "###").iter().any(|one| one == french));
        assert!(headings("docs/operations.md", "###").iter().any(|one| one == english));
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let folder = root().join(&document).parent().expect("a folder").to_owned();
        for link in read(&document).split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap_or_default();
            if !target.contains("://") && !folder.join(target).exists() {
                broken.push(format!("{document}: {target}"));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

#[test]
fn no_figure_is_left_to_be_filled_in() {
    let is_name = |part: &str| {
        let is_one = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit();
        !part.is_empty() && part.chars().all(is_one)
    };
    let mut left = Vec::new();
    for document in documents() {
        let text = read(&document);
        let parts: Vec<&str> = text.split('@').collect();
        let between = parts.get(1..parts.len() - 1).unwrap_or_default();
        let found = between.iter().filter(|part| is_name(part));
        left.extend(found.map(|part| format!("{document}: @{part}@")));
    }
    assert_eq!(left, [""; 0]);
}
