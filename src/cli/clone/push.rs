//! The side of a copy between machines that has the originals: it pushes, or serves who pulls.

use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;

use crate::clone::{CloneError, Forced, Outgoing, Place, Sent, refuse, send};
use crate::instance::config::{EventKind, KeySource};
use crate::report::clean;

use super::super::context::Context;
use super::super::run::fresh_snapshot;
use super::super::{CliError, Done, Exit, after, ask};
use super::Args;
use super::authorize::{self, Word};
use super::landing::LOOK_FIRST;
use super::line::Line;
use super::shown::show_preview;
use super::source::{Wanted, outgoing};

/// Bytes written at once.
const PIECE: usize = 256 << 10;

/// Write the anonymized copy of an instance to standard output, for who pulls it by ssh
///
/// This is what a key does that may only pull: --authorize tells its line for authorized_keys. Rows are rewritten here, and
/// what is written has nobody in it. What is asked for by ssh is only compared with this.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Where the originals are, once; the line goes to ~backup/.ssh/authorized_keys.

Examples:
  mrs-backup clone serve mrs-production --to mrs-staging \\
      --rules /etc/mrs-backup/clone.toml \\
      --pseudonym-key /etc/mrs-backup/clone-staging.key --authorize staging.pub")]
pub struct ServeArgs {
    /// Instance that is copied
    from: String,

    /// The target it is for, as it is called there
    #[arg(long, value_name = "NAME")]
    to: String,

    /// File of rules
    #[arg(long, value_name = "FILE")]
    rules: PathBuf,

    /// File with the key of the pseudonyms of that target
    #[arg(long, value_name = "FILE")]
    pseudonym_key: PathBuf,

    /// The database of the snapshot, if there are several
    #[arg(long, value_name = "NAME")]
    database: Option<String>,

    /// Take a snapshot first, as `run` does
    #[arg(long)]
    fresh: bool,

    /// Only tell the line of authorized_keys that lets this public key do it
    #[arg(long, value_name = "FILE")]
    authorize: Option<PathBuf>,
}

pub fn serve(context: &Context, args: &ServeArgs) -> Result<Done, CliError> {
    if let Some(public) = &args.authorize {
        return authorize_serve(context, args, public);
    }
    if context.out.is_json() {
        return Err(CliError::usage("standard output is for the copy; leave --json out"));
    }
    if io::stdout().is_terminal() {
        return Err(CliError::usage_hint(
            "a copy is nothing for a terminal",
            "--authorize KEY.pub tells the line that lets another machine pull it",
        ));
    }
    context.out.divert();
    let served = serve_rows(context, args);
    match served {
        Ok(sent) => {
            let text = format!("an anonymized copy was given to {}", args.to);
            after::happened(context, &args.from, EventKind::Clone, true, &text);
            Ok(Done::ok(json!({ "rows": sent.rows, "files": sent.files })))
        }
        Err(error) => {
            let text = format!("no anonymized copy was given to {}: {}", args.to, error.message());
            after::happened(context, &args.from, EventKind::Clone, false, &text);
            Err(error)
        }
    }
}

fn authorize_serve(context: &Context, args: &ServeArgs, public: &Path) -> Result<Done, CliError> {
    // What cannot work is told now, not when somebody pulls.
    crate::anonymize::Rules::load(&args.rules).map_err(CloneError::Rules)?;
    super::pseudonym_key(context, &KeySource::File(args.pseudonym_key.clone()))?;
    context.settle(&context.sources()?, Some(&args.from))?;
    let mut options = vec![
        Word::Plain("--rules"),
        Word::File(&args.rules),
        Word::Plain("--pseudonym-key"),
        Word::File(&args.pseudonym_key),
    ];
    if let Some(database) = &args.database {
        options.extend([Word::Plain("--database"), Word::Plain(database)]);
    }
    if args.fresh {
        options.push(Word::Plain("--fresh"));
    }
    let allowed = Forced::Serve { from: &args.from, to: &args.to };
    authorize::tell(context, &allowed, &options, public)
}

/// What is told of an error to the other side: nothing before it was sent.
fn told_there(error: &CliError, out: impl Write) {
    // If that does not arrive, the missing end says enough.
    let _ = refuse(out, &error.message(), error.exit() == Exit::CloneRefused);
}

fn serve_rows(context: &Context, args: &ServeArgs) -> Result<Sent, CliError> {
    let key = KeySource::File(args.pseudonym_key.clone());
    let wanted = Wanted {
        from: &args.from,
        to: &args.to,
        snapshot: "latest",
        database: args.database.as_deref(),
        rules: &args.rules,
        key: &key,
    };
    let mut out = BufWriter::with_capacity(PIECE, io::stdout());
    let mut has_begun = false;
    let mut serve = || {
        authorize::check(&Forced::Serve { from: &args.from, to: &args.to })
            .map_err(|what| CloneError::refused(format!("instance {}", args.from), what))?;
        if args.fresh {
            fresh(context, &args.from)?;
        }
        outgoing(context, &wanted, |outgoing, _| {
            has_begun = true;
            Ok(send(outgoing, &mut out)?)
        })
    };
    let sent = serve();
    if let (Err(error), false) = (&sent, has_begun) {
        told_there(error, &mut out);
    }
    sent
}

fn fresh(context: &Context, from: &str) -> Result<(), CliError> {
    match fresh_snapshot(context, from)? {
        Exit::Ok => Ok(()),
        _ => {
            let what = "its fresh snapshot lacks something, as was told; without --fresh the last one is copied";
            Err(CloneError::refused(format!("instance {from}"), what).into())
        }
    }
}

/// Pushes a copy to another machine.
pub(super) fn push(
    context: &Context,
    args: &Args,
    from: &str,
    place: &Place,
) -> Result<Done, CliError> {
    let other = "a copy to another machine: that is up to its configuration";
    args.has_not(&[("--confirm", args.confirm.is_some())], other)?;
    let needed = |name: &str, what: &str| {
        CliError::usage_hint(format!("{name} is missing: {what}"), format!("add {name} FILE"))
    };
    let rules = args.rules.as_ref();
    let rules = rules.ok_or_else(|| needed("--rules", "what is copied is said here"))?;
    let key = args.pseudonym_key.as_ref();
    let key =
        key.ok_or_else(|| needed("--pseudonym-key", "the key of the pseudonyms stays here"))?;
    let key = KeySource::File(key.clone());
    let to = &place.instance;
    let wanted = Wanted {
        from,
        to,
        snapshot: &args.snapshot,
        database: args.database.as_deref(),
        rules,
        key: &key,
    };
    if !args.only_looks() {
        let needs = format!("the data of {} is to be replaced", clean(&place.to_string()));
        ask::assent(context, &needs, LOOK_FIRST)?;
    }
    if args.fresh {
        fresh(context, from)?;
    }
    outgoing(context, &wanted, |outgoing, _| {
        let header = outgoing.header()?;
        let rows: u64 = header.database.tables.iter().map(|table| table.rows).sum();
        if args.only_looks() {
            context.out.note(&format!("{rows} rows of {} would go to {place}", clean(from)))?;
            // The originals are on this machine, and nothing of them goes to the other one.
            show_preview(context, outgoing.work, args.preview)?;
            return super::local::nothing_written(context, header.rows_surveyed);
        }
        let pushed = push_rows(context, args, outgoing, place);
        let text = match &pushed {
            Ok(_) => format!("an anonymized copy was given to {place}"),
            Err(error) => format!("no anonymized copy was given to {place}: {}", error.message()),
        };
        after::happened(context, from, EventKind::Clone, pushed.is_ok(), &text);
        let sent = pushed?;
        context.out.note(&format!(
            "{place} has an anonymized copy: {} rows, {} files",
            sent.rows, sent.files
        ))?;
        Ok(Done::ok(
            json!({ "snapshot": header.snapshot, "rows": sent.rows, "files_made": sent.files }),
        ))
    })
}

fn push_rows(
    context: &Context,
    args: &Args,
    outgoing: &Outgoing<'_>,
    place: &Place,
) -> Result<Sent, CliError> {
    let wanted = Forced::Receive { from: &outgoing.snapshot.1.instance, to: &place.instance };
    let mut line = Line::open(context, args, place, &wanted, Stdio::piped())?;
    let (input, output) = (line.input()?, line.output(context)?);
    let sent = std::thread::scope(|scope| {
        let host = line.host().to_owned();
        scope.spawn(move || {
            let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
            for text in lines {
                // What is told there is worth telling, and no more.
                let text = String::from_utf8_lossy(&text).into_owned();
                let _ = context.out.note(&format!("{host}: {}", clean(text.trim_end())));
            }
        });
        // Dropped at its end, which is how the other side sees that nothing more comes.
        let mut input = BufWriter::with_capacity(PIECE, input);
        let sent = send(outgoing, &mut input);
        drop(input);
        sent
    });
    let host = line.host().to_owned();
    let (code, said) = line.finish();
    if let Some(error) = Line::unreachable(&host, code, &said) {
        return Err(error);
    }
    match (sent, code) {
        (Ok(sent), Some(0)) => Ok(sent),
        // What stopped it here is the cause of whatever came of it there.
        (Err(error), _) if !matches!(error, CloneError::Line(_)) => Err(error.into()),
        (_, code) => Err(CloneError::Remote {
            reason: if said.is_empty() { "it said nothing".to_owned() } else { said },
            is_refused: code == Some(i32::from(Exit::CloneRefused.code())),
        }
        .into()),
    }
}
