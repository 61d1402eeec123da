//! Adds to generated scripts that names of instances and snapshots are asked of the program.

use clap::Command;
use clap_complete::Shell;

/// What positional arguments are called that are snapshots, and instances.
const SNAPSHOTS: [&str; 5] = ["snapshot", "snapshots", "ids", "old", "new"];
const INSTANCES: [&str; 4] = ["instance", "name", "words", "target"];

/// Which commands take which names in place of paths.
struct Takers {
    snapshots: Vec<String>,
    instances: Vec<String>,
}

impl Takers {
    fn of(command: &Command) -> Self {
        let with = |names: &[&str]| -> Vec<String> {
            // What comes first is what is completed.
            let first = |command: &Command| {
                let first = command.get_positionals().next();
                first.is_some_and(|one| names.contains(&one.get_id().as_str()))
            };
            let commands = command.get_subcommands().filter(|command| first(command));
            commands.map(|command| command.get_name().to_owned()).collect()
        };
        Self { snapshots: with(&SNAPSHOTS), instances: with(&INSTANCES) }
    }
}

/// The script with what completes names.
pub(super) fn with_names(shell: Shell, command: &Command, script: &str) -> String {
    let takers = Takers::of(command);
    match shell {
        Shell::Bash => bash(&takers, script),
        Shell::Zsh => zsh(script),
        Shell::Fish => fish(&takers, script),
        _ => script.to_owned(),
    }
}

fn bash(takers: &Takers, script: &str) -> String {
    let script = script.replace("complete -F _mrs__backup ", "complete -F _mrs_backup_names ");
    // clap_complete takes the dash of our name for a subcommand in one of two places, which then do not meet.
    let script = script.replace("mrs__subcmd__backup", "mrs__backup");
    let wrapper = include_str!("names.bash")
        .replace("@SNAPSHOTS@", &takers.snapshots.join("|"))
        .replace("@INSTANCES@", &takers.instances.join("|"));
    // It has to be there before it is named.
    format!("{wrapper}\n{script}")
}

fn zsh(script: &str) -> String {
    let mut lines = Vec::new();
    for line in script.lines() {
        if line.starts_with("if [ \"$funcstack[1]\"") {
            lines.push(include_str!("names.zsh").to_owned());
        }
        let is_of = |ids: &[&str]| {
            ids.iter().any(|id| {
                ["':", "'::", "'*:", "'*::"]
                    .iter()
                    .any(|mark| line.starts_with(&format!("{mark}{id} -- ")))
            })
        };
        let kind = if line.starts_with("'-i+[")
            || line.starts_with("'--instance=[")
            || is_of(&["instance", "name"])
        {
            Some("instances")
        } else if is_of(&SNAPSHOTS) {
            Some("snapshots")
        } else {
            None
        };
        lines.push(match kind {
            Some(kind) => line.replacen(":_default'", &format!(":_mrs_backup_{kind}'"), 1),
            None => line.to_owned(),
        });
    }
    lines.join("\n") + "\n"
}

fn fish(takers: &Takers, script: &str) -> String {
    let ask = |kind: &str| format!("(mrs-backup completions --values {kind} 2>/dev/null)");
    let (snapshots, instances) = (ask("snapshots"), ask("instances"));
    let of = |names: &[String]| format!("__fish_mrs_backup_using_subcommand {}", names.join(" "));
    format!(
        "{script}\n# Names that only this machine knows.\n\
         complete -c mrs-backup -s i -l instance -x -a '{instances}'\n\
         complete -c mrs-backup -n '{}' -a '{snapshots}'\n\
         complete -c mrs-backup -n '{}' -f -a '{instances}'\n",
        of(&takers.snapshots),
        of(&takers.instances)
    )
}
