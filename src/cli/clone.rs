//! `clone`: an anonymized copy of one instance in the place of another's data.

mod authorize;
mod exchange;
mod landing;
mod line;
mod local;
mod pull;
mod push;
mod rules;
mod shown;
mod source;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use crate::anonymize::{Charset, Problem, PseudonymKey};
use crate::clone::{CloneError, Place, Refusal};
use crate::event::Event;
use crate::instance::config::{CloneConfig, Instance, KeyReader, KeySource, process_environment};
use crate::instance::database_server;
use crate::report::clean;
use crate::target::postgres::Cluster;

use super::context::Context;
use super::{CliError, Done};

pub use exchange::{drop_all_put_aside, drop_put_aside, exchange_back, settle};

/// Bytes of opened segments kept while rows are read.
const CONTENT_CACHE: usize = 48 << 20;

/// Put an anonymized copy of an instance in the place of another one's data
///
/// A stored snapshot of FROM is read, its rows and files are rewritten by the rules that the configuration of TO names, and
/// only what is rewritten goes to TO's server. Everything that can be wrong is found before the first byte is written. The data that
/// is replaced is kept for `undo`. Either may be on another machine, as ssh://[USER@]HOST[:PORT]/INSTANCE: rules and key of
/// the pseudonyms are where FROM is.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
Examples:
  mrs-backup clone mrs-production mrs-staging --plan    look at everything, write nothing
  mrs-backup clone mrs-production mrs-staging --preview 3    and show three rows of each table
  mrs-backup clone mrs-production mrs-staging --fresh --yes  of now, not of the last night
  mrs-backup clone ssh://backup@db.example/mrs-production mrs-staging --yes   pulled
  mrs-backup clone mrs-production ssh://backup@staging.example/mrs-staging \\
      --rules clone.toml --pseudonym-key staging.key        pushed; --preview 3 only looks, here
  mrs-backup clone rules init mrs-production > /etc/mrs-backup/clone.toml
  mrs-backup clone rules check mrs-production --rules /etc/mrs-backup/clone.toml
  mrs-backup undo -i mrs-staging --database mrs         back to what was there")]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Instance that is copied; ssh://HOST/NAME: pulled from another machine
    #[arg(required = true)]
    from: Option<String>,

    /// Instance whose data is replaced; ssh://HOST/NAME: pushed to another machine
    #[arg(required = true)]
    to: Option<String>,

    /// Which snapshot of FROM
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,

    /// Take a snapshot of FROM first, as `run` does
    #[arg(long, conflicts_with_all = ["snapshot", "plan", "preview"])]
    fresh: bool,

    /// Other rules than those the configuration names
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,

    /// Pushed: file with the key of the pseudonyms of that target
    #[arg(long, value_name = "FILE")]
    pseudonym_key: Option<PathBuf>,

    /// With another machine: the private key of ssh
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,

    /// The database of the snapshot, if there are several
    #[arg(long, value_name = "NAME")]
    database: Option<String>,

    /// The name of a protected target, typed
    #[arg(long, value_name = "TO")]
    confirm: Option<String>,

    /// Only look: rules, rows and target; nothing is written
    #[arg(short = 'n', long, visible_alias = "dry-run")]
    plan: bool,

    /// Only look, and show N rows of each table as they were (first letter and about how long) and as they will be
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    preview: Option<u16>,
}

impl Args {
    /// Refuses options that mean nothing for `what`.
    fn has_not(&self, options: &[(&str, bool)], what: &str) -> Result<(), CliError> {
        match options.iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => Err(CliError::usage(format!("{name} means nothing for {what}"))),
            None => Ok(()),
        }
    }

    /// Nothing is written.
    const fn only_looks(&self) -> bool {
        self.plan || self.preview.is_some()
    }
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Rules: draft, check, compare with a schema
    #[command(
        subcommand,
        after_help = "\
Examples:
  mrs-backup clone rules init mrs-production > /etc/mrs-backup/clone.toml
  mrs-backup clone rules check mrs-production --rules /etc/mrs-backup/clone.toml"
    )]
    Rules(rules::Command),
    Serve(push::ServeArgs),
    Receive(pull::ReceiveArgs),
}

/// One of the two is not in the configuration.
fn unnamed() -> CliError {
    CliError::usage_hint(
        "both instances have to be in the configuration",
        "mrs-backup config show lists those that are; name the file with --config FILE",
    )
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    match &args.command {
        Some(Command::Rules(command)) => return rules::run(context, command),
        Some(Command::Serve(serve)) => return push::serve(context, serve),
        Some(Command::Receive(receive)) => return pull::receive(context, receive),
        None => {}
    }
    let (Some(from), Some(to)) = (&args.from, &args.to) else {
        return Err(CliError::usage_hint(
            "name the instance that is copied and the one that is replaced",
            "mrs-backup clone FROM TO --plan looks at everything first",
        ));
    };
    let place = |text: &str| Place::parse(text).transpose().map_err(CliError::usage);
    match (place(from)?, place(to)?) {
        (None, None) => {
            args.has_not(&[("--identity", args.identity.is_some())], "a copy on this machine")?;
            args.has_not(
                &[("--pseudonym-key", args.pseudonym_key.is_some())],
                "a copy on this machine",
            )?;
            local::clone(context, &args, from, to)
        }
        (Some(place), None) => pull::pull(context, &args, &place, to),
        (None, Some(place)) => push::push(context, &args, from, &place),
        (Some(_), Some(_)) => Err(CliError::usage_hint(
            "one of both has to be on this machine",
            "run it where the one or the other is",
        )),
    }
}

/// The encoding of rows, if they can be read here.
pub(super) fn charset(encoding: &str) -> Result<Charset, CliError> {
    Charset::of_postgres(encoding).ok_or_else(|| {
        let what = format!(
            "its encoding {encoding} is not read here; UTF8, LATIN1, LATIN9 and WIN1252 are"
        );
        CloneError::refused("database", what).into()
    })
}

fn clone_config(to: &Instance) -> Result<&CloneConfig, CliError> {
    to.clone.as_ref().ok_or_else(|| {
        let name = &to.name;
        CliError::from(CloneError::refused(
            format!("target {name}"),
            format!("its configuration does not allow copies; add [instance.{name}.clone]"),
        ))
    })
}

fn pseudonym_key(context: &Context, source: &KeySource) -> Result<PseudonymKey, CliError> {
    let reader = KeyReader { environment: &process_environment, stop: Arc::clone(&context.stop) };
    let read = reader.read(source)?;
    for message in read.warnings {
        context.observer.event(&Event::Warning { item: "clone.key".to_owned(), message });
    }
    PseudonymKey::new(&read.secret).map_err(|error| {
        CliError::usage_hint(error.to_string(), "head -c 32 /dev/urandom | base64 > KEYFILE")
    })
}

fn server(context: &Context, instance: &Instance, work: &str) -> Result<Cluster, CliError> {
    let config = instance.postgres.as_ref();
    let server = database_server(config, work, &context.stop, &context.observer)?;
    Ok(Cluster::new(server, Arc::clone(&context.stop)))
}

/// Tells all problems, with what to write, and gives the error.
pub(super) fn refuse(context: &Context, problems: Vec<Problem>) -> Result<CliError, CliError> {
    for problem in &problems {
        context.out.record(
            "problem",
            &json!({
                "place": problem.place, "problem": problem.what, "suggestion": problem.suggestion,
            }),
        )?;
        context.out.line(&format!("{}: {}", clean(&problem.place), clean(&problem.what)))?;
        for line in problem.suggestion.iter().flat_map(|lines| lines.lines()) {
            context.out.line(&format!("    {}", clean(line)))?;
        }
    }
    Ok(CloneError::Refused(Refusal(problems)).into())
}

/// The same, of an error that lists problems.
pub(super) fn told(context: &Context, error: CloneError) -> CliError {
    match error {
        CloneError::Refused(Refusal(problems)) => {
            refuse(context, problems).unwrap_or_else(|error| error)
        }
        error => error.into(),
    }
}

fn unconfirmed(to: &str) -> CliError {
    CliError::usage_hint(
        format!("{to} is protected, and its name was not typed; nothing was changed"),
        format!("add --confirm {to} if that is what you mean"),
    )
}
