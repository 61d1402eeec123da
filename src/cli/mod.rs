//! The command line: one file a command, each of them thin.
//!
//! A command says what was done ([`Done`]) or why not ([`CliError`]); the exit code, the hint and the
//! last JSON line are made of that here and nowhere else.

mod adopt;
mod after;
mod args;
mod ask;
mod backup;
mod check;
mod clone;
mod completions;
mod config;
mod context;
mod copy;
mod database_error;
mod deploy;
mod deploy_error;
mod deployments;
mod diff;
mod doctor;
mod down;
mod dump;
mod error;
mod exec;
mod exit;
mod expire;
mod extend;
mod find;
mod forget;
mod format;
mod heal;
mod hint;
mod home;
mod home_error;
mod hosts;
mod index;
mod init;
mod key;
mod ls;
mod man;
mod migrate;
mod mount;
mod notify;
mod output;
mod password;
mod pin;
mod prune;
mod reencrypt;
mod repair;
mod restore;
mod restore_database;
mod restore_table;
mod rollback;
mod run;
mod schedule;
mod serve;
mod settings;
mod sheet;
mod signals;
mod snapshots;
mod stats;
mod status;
mod store;
mod test_restore;
mod undo;
mod units;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;

use clap::{CommandFactory, Parser, Subcommand};
use serde_json::{Map, Value, json};

pub use error::CliError;
pub use exit::Exit;

use crate::instance::config::{Config, process_environment};

use args::Global;
use context::Context;

const AFTER_HELP: &str = "\
Examples:
  mrs-backup init mrs-production            make the repository of an instance
  mrs-backup run --all                      back up every instance of the configuration
  mrs-backup status                         how everything stands
  mrs-backup snapshots                      what there is
  mrs-backup restore latest /srv/restored   bring it back
  mrs-backup deploy mrs-production --plan   what a new version would change
  mrs-backup status root@one root@two       the same on other machines, by ssh

Exit codes: 0 done; 1 failed, or damage found, or nothing found; 2 wrong options or
configuration; 3 snapshot incomplete, or items not restored; 10 no repository; 11 instance
locked; 12 wrong password or key file; 20 a copy is not up to date; 21 a test restore failed;
30 a deployment failed and the earlier one is back; 31 a deployment failed and needs somebody;
32 an anonymized copy was refused; 130 interrupted.

The password comes from --password-file, --password-command or --key-file, from
MRS_BACKUP_PASSWORD_FILE, MRS_BACKUP_PASSWORD_COMMAND, MRS_BACKUP_KEY_FILE or
MRS_BACKUP_PASSWORD, from the configuration, or is asked for on a terminal.";

/// Most characters in a line of help: longer ones are folded, and an example that is folded cannot be copied.
const WIDTH: usize = 100;

/// Encrypted, deduplicating snapshots of applications and their databases
#[derive(Debug, Parser)]
#[command(name = "mrs-backup", version, after_help = AFTER_HELP, max_term_width = WIDTH)]
#[command(propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Run(run::Args),
    Schedule(schedule::Args),
    Status(status::Args),
    Serve(serve::Args),
    Notify(notify::Args),
    Units(units::Args),
    Doctor(doctor::Args),
    Backup(backup::Args),
    Snapshots(snapshots::Args),
    Ls(ls::Args),
    Find(find::Args),
    Diff(diff::Args),
    Dump(dump::Args),
    Mount(mount::Args),
    Stats(stats::Args),
    Restore(Box<restore::Args>),
    Clone(Box<clone::Args>),
    Undo(undo::Args),
    TestRestore(test_restore::Args),
    Forget(forget::Args),
    Pin(pin::PinArgs),
    Unpin(pin::UnpinArgs),
    Check(check::Args),
    Prune(prune::Args),
    Copy(copy::Args),
    Deploy(deploy::Args),
    Rollback(rollback::Args),
    Deployments(deployments::Args),
    Down(down::Args),
    Exec(exec::Args),
    Expire(expire::Args),
    Extend(extend::Args),
    Repair(repair::Args),
    Index(index::Args),
    Store(store::Args),
    Key(key::Args),
    Config(config::Args),
    Migrate(migrate::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    exit: Exit,
    summary: Map<String, Value>,
}

impl Done {
    /// All was done; `summary` (an object) is for programs.
    fn ok(summary: Value) -> Self {
        Self::with(Exit::Ok, summary)
    }

    /// It ended as `exit` says.
    fn with(exit: Exit, summary: Value) -> Self {
        let summary = match summary {
            Value::Object(summary) => summary,
            _ => Map::new(),
        };
        Self { exit, summary }
    }
}

/// The tree of commands, for completions and man pages.
fn command() -> clap::Command {
    Cli::command()
}

/// Parses the arguments, does what they say and gives the exit code.
pub fn main() -> u8 {
    // Whatever is made (indexes, locks, key files, restored files before their modes) is ours alone.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(call) = hosts::of(&arguments, takes_value) {
        return elsewhere(&call).code();
    }
    match Cli::try_parse() {
        Ok(cli) if cli.global.install.is_some() || is_for_nobody(&cli) => {
            let error = CliError::usage_hint(
                "--install and --ssh-config are for other machines, and no host is named",
                "name them last: mrs-backup status --install root@host",
            );
            finish(&output::Output::new(output::Style::default(), ""), Err(error), false).code()
        }
        Ok(cli) => {
            crate::store::limit_process(
                cli.global.limit_upload.clone(),
                cli.global.limit_download.clone(),
            );
            match cli.command {
                Some(command) => start(cli.global, command).code(),
                None => without_command(cli.global).code(),
            }
        }
        Err(error) if error.use_stderr() && is_check(&arguments) => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            let out = output::Output::new(output::Style::default(), "");
            // Whoever asks reads one line.
            let told = out.line(&format!("UNKNOWN - {}", crate::report::clean(line)));
            finish(&out, told.map(|()| Done::with(status::CHECK_UNKNOWN, json!({}))), false).code()
        }
        Err(error) => misused(&error).code(),
    }
}

/// Whether ssh is configured, and the command uses none.
fn is_for_nobody(cli: &Cli) -> bool {
    cli.global.ssh_config.is_some() && !matches!(cli.command, Some(Command::Clone(_)))
}

/// Why these arguments, the program's name aside, would be refused; `None` if they would not. Nothing is done: it is for tests of
/// what documents tell people to type.
pub fn refusal(arguments: &[OsString]) -> Option<String> {
    let words = match hosts::of(arguments, takes_value) {
        Some(call) => call.words,
        None => arguments.to_vec(),
    };
    let words = std::iter::once(OsString::from("mrs-backup")).chain(words);
    let is_help = |error: &clap::Error| {
        !error.use_stderr()
            || error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    };
    let error = Cli::try_parse_from(words).err().filter(|error| !is_help(error))?;
    Some(error.to_string())
}

/// Whether a program of the Nagios kind asks, to which 2 would mean that data are at risk.
fn is_check(arguments: &[OsString]) -> bool {
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    has("status") && has("--check")
}

/// The command on other machines, once it is known to be one.
fn elsewhere(call: &hosts::Call) -> Exit {
    let words = std::iter::once(OsString::from("mrs-backup")).chain(call.words.iter().cloned());
    if let Err(error) = Cli::try_parse_from(words) {
        return misused(&error);
    }
    match no_password_is_told() {
        Ok(()) => call.run(),
        Err(error) => finish(&output::Output::new(output::Style::default(), ""), Err(error), false),
    }
}

/// Whether the last of `words` is an option that the next word is the value of.
fn takes_value(words: &[OsString]) -> bool {
    let root = command();
    let mut deepest = &root;
    for word in words.iter().filter_map(|word| word.to_str()) {
        deepest = deepest.find_subcommand(word).unwrap_or(deepest);
    }
    let Some(last) = words.last().and_then(|word| word.to_str()) else { return false };
    let is_it = |argument: &clap::Arg| match last.strip_prefix("--") {
        Some(long) => argument.get_long() == Some(long),
        None => {
            let short = last.strip_prefix('-').and_then(|letters| letters.chars().last());
            short.is_some() && argument.get_short() == short
        }
    };
    let mut all = deepest.get_arguments().chain(root.get_arguments());
    // A value that has to follow an equals sign is no word of its own.
    all.any(|one| is_it(one) && one.get_action().takes_values() && !one.is_require_equals_set())
}

/// Help, version, or a wrong option.
fn misused(error: &clap::Error) -> Exit {
    let is_json = std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json");
    // Nothing can be done if the text of an error cannot be written.
    let _ = error.print();
    if !error.use_stderr() {
        return Exit::Ok;
    }
    if is_json {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let style = output::Style { json: true, ..output::Style::default() };
        let out = output::Output::new(style, &context::new_run_id());
        let _ = finish(&out, Err(CliError::usage(message.to_owned())), true);
    }
    Exit::Usage
}

/// How everything stands; where nothing is configured, how to begin.
fn without_command(global: Global) -> Exit {
    let is_configured =
        Config::find(global.config.as_deref(), &process_environment).is_some() || global.json;
    if is_configured {
        return start(global, Command::Status(status::Args::default()));
    }
    // Nothing can be done if it cannot be written.
    let _ = io::stderr().write_all(command().render_help().to_string().as_bytes());
    Exit::Usage
}

fn start(global: Global, command: Command) -> Exit {
    let context = match Context::new(global) {
        Ok(context) => context,
        Err(error) => {
            let out = output::Output::new(output::Style::default(), "");
            return finish(&out, Err(error), false);
        }
    };
    let may_repeat = may_repeat(&command);
    let result = no_password_is_told().and_then(|()| dispatch(&context, command));
    if may_repeat && result.as_ref().is_err_and(CliError::is_damaged_index) {
        start_again(&context);
    }
    finish(&context.out, result, false)
}

/// Set in a program that was started again.
const REPEATED: &str = "MRS_BACKUP_REPEATED";

/// Whether the command can be done once more from its beginning, unseen.
fn may_repeat(command: &Command) -> bool {
    let can = match command {
        Command::Backup(args) => !args.reads_stdin(),
        Command::Check(_) | Command::Prune(_) | Command::Forget(_) | Command::Copy(_) => true,
        _ => false,
    };
    can && std::env::var_os(REPEATED).is_none()
}

/// Starts the program again in our place, which makes the damaged index anew. Comes back only if it cannot.
fn start_again(context: &Context) {
    let item = "index".to_owned();
    let message = "the local index is damaged; starting again".to_owned();
    context.observer.event(&crate::event::Event::Warning { item, message });
    let _ = context.out.flush();
    if let Ok(program) = std::env::current_exe() {
        let mut again = std::process::Command::new(program);
        let _ = again.args(std::env::args_os().skip(1)).env(REPEATED, "1").exec();
    }
}

/// Fails if an argument is a location with a password in it, whichever option or command it is for.
fn no_password_is_told() -> Result<(), CliError> {
    for argument in std::env::args_os().skip(1) {
        let Some(text) = argument.to_str() else { continue };
        let value = text.split_once('=').filter(|(name, _)| name.starts_with("--"));
        crate::store::Place::refuse_password(value.map_or(text, |(_, value)| value))?;
    }
    Ok(())
}

/// Whether the text is all there is to the command.
const fn only_tells(command: &Command) -> bool {
    match command {
        Command::Snapshots(_)
        | Command::Ls(_)
        | Command::Find(_)
        | Command::Diff(_)
        | Command::Dump(_)
        | Command::Stats(_)
        | Command::Status(_)
        | Command::Doctor(_)
        | Command::Config(_)
        | Command::Deployments(_)
        | Command::Completions(_)
        | Command::Man(_) => true,
        Command::Init(_)
        | Command::Run(_)
        | Command::Schedule(_)
        | Command::Serve(_)
        | Command::Mount(_)
        | Command::Notify(_)
        | Command::Units(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Clone(_)
        | Command::Undo(_)
        | Command::TestRestore(_)
        | Command::Forget(_)
        | Command::Pin(_)
        | Command::Unpin(_)
        | Command::Check(_)
        | Command::Prune(_)
        | Command::Copy(_)
        | Command::Deploy(_)
        | Command::Rollback(_)
        | Command::Down(_)
        | Command::Exec(_)
        | Command::Expire(_)
        | Command::Extend(_)
        | Command::Repair(_)
        | Command::Index(_)
        | Command::Store(_)
        | Command::Migrate(_)
        | Command::Key(_) => false,
    }
}

fn dispatch(context: &Context, command: Command) -> Result<Done, CliError> {
    if !only_tells(&command) {
        context.out.go_on_unread();
    }
    match command {
        Command::Init(args) => init::run(context, args),
        Command::Run(args) => run::run(context, args),
        Command::Schedule(args) => schedule::run(context, args),
        Command::Mount(args) => mount::run(context, &args),
        Command::Notify(args) => notify::run(context, &args),
        Command::Serve(args) => serve::run(context, &args),
        Command::Status(args) => status::run(context, &args),
        Command::Units(args) => units::run(context, args),
        Command::Doctor(args) => doctor::run(context, &args),
        Command::Backup(args) => backup::run(context, args),
        Command::Snapshots(args) => snapshots::run(context, args),
        Command::Ls(args) => ls::run(context, args),
        Command::Find(args) => find::run(context, args),
        Command::Diff(args) => diff::run(context, args),
        Command::Dump(args) => dump::run(context, args),
        Command::Stats(args) => stats::run(context, args),
        Command::Restore(args) => restore::run(context, *args),
        Command::Clone(args) => clone::run(context, *args),
        Command::Undo(args) => undo::run(context, args),
        Command::TestRestore(args) => test_restore::run(context, args),
        Command::Forget(args) => forget::run(context, args),
        Command::Pin(args) => pin::pin(context, args),
        Command::Unpin(args) => pin::unpin(context, args),
        Command::Check(args) => check::run(context, args),
        Command::Prune(args) => prune::run(context, args),
        Command::Copy(args) => copy::run(context, args),
        Command::Deploy(args) => deploy::run(context, args),
        Command::Rollback(args) => rollback::run(context, args),
        Command::Deployments(args) => deployments::run(context, args),
        Command::Down(args) => down::run(context, args),
        Command::Exec(args) => exec::run(context, args),
        Command::Expire(args) => expire::run(context, args),
        Command::Extend(args) => extend::run(context, args),
        Command::Repair(args) => repair::run(context, args),
        Command::Index(args) => index::run(context, args),
        Command::Store(args) => store::run(context, args),
        Command::Key(args) => key::run(context, args),
        Command::Config(args) => config::run(context, args),
        Command::Migrate(args) => migrate::run(context, args),
        Command::Completions(args) => completions::run(context, &args),
        Command::Man(args) => man::run(context, &args),
    }
}

/// Tells how it ended: the error with its hint, and the last JSON line.
fn finish(out: &output::Output, result: Result<Done, CliError>, is_told: bool) -> Exit {
    let result = result.and_then(|done| out.flush().map(|()| done));
    let (exit, mut summary) = match result {
        Ok(done) => (done.exit, done.summary),
        // Whoever reads `| head` has seen enough.
        Err(CliError::ClosedPipe) => return Exit::Ok,
        Err(error) => {
            let (exit, message, hint) = (error.exit(), error.message(), error.hint());
            if !is_told {
                out.complain(&message, hint.as_deref());
            }
            let fields = json!({ "message": message, "hint": hint, "exit_code": exit.code() });
            let _ = out.record("error", &fields);
            (exit, Map::new())
        }
    };
    summary.insert("result".to_owned(), exit.word().into());
    summary.insert("exit_code".to_owned(), exit.code().into());
    match out.record("summary", &Value::Object(summary)) {
        Ok(()) | Err(CliError::ClosedPipe) => exit,
        Err(_) => exit.and(Exit::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_of_commands_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn every_exit_code_is_told() {
        let readme = include_str!("../../README.md");
        for exit in Exit::ALL {
            let code = exit.code();
            assert!(readme.contains(&format!("\n| {code} | ")), "README.md: {code}");
            let is_code = |word: &str| word == code.to_string();
            assert!(AFTER_HELP.split([' ', '\n']).any(is_code), "--help: {code}");
        }
    }

    /// That the program takes each of them is tried in tests/docs.rs.
    #[test]
    fn every_command_has_examples_that_fit_on_a_line() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.split_once("Examples:\n  ").map_or("", |(_, examples)| examples);
            assert!(examples.contains("mrs-backup "), "{}: {help}", command.get_name());
            let long = help.lines().find(|line| line.chars().count() > WIDTH);
            assert_eq!(long, None, "{}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&command());
    }
}
