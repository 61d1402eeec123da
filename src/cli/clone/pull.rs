//! The side of a copy between machines that is replaced: it pulls, or receives what is pushed.

use std::io::{self, BufReader, IsTerminal, Read};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use crate::clock::{Clock as _, SystemClock};
use crate::clone::{
    Announced, CloneError, FilesPlan, Forced, Guard, Place, check_target, receive as receive_rows,
};
use crate::event::StopFlag;
use crate::instance::config::Instance;
use crate::ops::restore_database::{Offered, plan_of};

use super::super::context::{Context, zone};
use super::super::restore_database::lock_instance;
use super::super::settings::Settings;
use super::super::{CliError, Done};
use super::authorize::{self, Word};
use super::landing::{Landing, assent, options, target_database};
use super::line::{Line, Patient};
use super::shown::Shown;
use super::{Args, clone_config, refuse, server};

/// Bytes read at once.
const PIECE: usize = 256 << 10;

/// Put the anonymized copy that comes on standard input in the place of an instance's data
///
/// This is what a key does that may only push: --authorize tells its line for authorized_keys. What comes was rewritten where it
/// comes from; it is looked at all the same, and without its last word nothing is replaced.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Where the target is, once; the line goes to ~backup/.ssh/authorized_keys.

Examples:
  mrs-backup clone receive mrs-staging --from mrs-production --authorize production.pub")]
pub struct ReceiveArgs {
    /// Instance whose data is replaced
    to: String,

    /// The instance it has to be of
    #[arg(long, value_name = "NAME")]
    from: String,

    /// The name of a protected target
    #[arg(long, value_name = "TO")]
    confirm: Option<String>,

    /// Only tell the line of authorized_keys that lets this public key do it
    #[arg(long, value_name = "FILE")]
    authorize: Option<PathBuf>,
}

/// What is to be replaced, and how.
struct Arriving<'a> {
    context: &'a Context,
    target: &'a Settings,
    to: &'a Instance,
    from: &'a str,
    confirm: Option<&'a str>,
    only_looks: bool,
}

fn target(target: &Settings) -> Result<&Instance, CliError> {
    let unnamed =
        || CliError::usage("the instance that is replaced has to be in the configuration");
    let to = target.instance.as_ref().ok_or_else(unnamed)?;
    clone_config(to)?;
    Ok(to)
}

pub fn receive(context: &Context, args: &ReceiveArgs) -> Result<Done, CliError> {
    let settings = context.settle(&context.sources()?, Some(&args.to))?;
    let to = target(&settings)?;
    let allowed = Forced::Receive { from: &args.from, to: &args.to };
    if let Some(public) = &args.authorize {
        let mut options = vec![Word::Plain("--yes")];
        if let Some(confirm) = &args.confirm {
            options.extend([Word::Plain("--confirm"), Word::Plain(confirm)]);
        }
        return authorize::tell(context, &allowed, &options, public);
    }
    authorize::check(&allowed)
        .map_err(|what| CloneError::refused(format!("target {}", args.to), what))?;
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(CliError::usage_hint(
            "a copy is nothing that is typed",
            "--authorize KEY.pub tells the line that lets another machine push it",
        ));
    }
    context.out.set_instance(Some(&args.to));
    // Whoever pushes may go away; what is done is done all the same.
    context.out.go_on_unread();
    let arriving = Arriving {
        context,
        target: &settings,
        to,
        from: &args.from,
        confirm: args.confirm.as_deref(),
        only_looks: false,
    };
    // Not by Rust's own buffer: it may hold what `poll` then does not see.
    let stdin = std::os::fd::AsFd::as_fd(&stdin).try_clone_to_owned();
    let stdin = stdin.map_err(|error| CliError::io("read standard input", &error))?;
    let stop: Arc<StopFlag> = Arc::clone(&context.stop);
    arriving.arrive(BufReader::with_capacity(
        PIECE,
        Patient::within_limit(std::fs::File::from(stdin), stop),
    ))
}

/// Pulls a copy from another machine.
pub(super) fn pull(
    context: &Context,
    args: &Args,
    place: &Place,
    to: &str,
) -> Result<Done, CliError> {
    if args.preview.is_some() {
        return Err(CliError::usage_hint(
            "--preview shows something of what rows were, which does not leave the machine they are on",
            format!(
                "there, and without a connection: mrs-backup clone {} ssh://HERE/{to} --rules FILE \
                 --pseudonym-key FILE --preview N",
                place.instance
            ),
        ));
    }
    let what = "a copy from another machine: that is said there";
    args.has_not(
        &[
            ("--rules", args.rules.is_some()),
            ("--pseudonym-key", args.pseudonym_key.is_some()),
            ("--fresh", args.fresh),
            ("--database", args.database.is_some()),
            ("--snapshot", args.snapshot != "latest"),
        ],
        what,
    )?;
    let settings = context.settle(&context.sources()?, Some(to))?;
    let to = target(&settings)?;
    context.out.set_instance(Some(&to.name));
    let arriving = Arriving {
        context,
        target: &settings,
        to,
        from: &place.instance,
        confirm: args.confirm.as_deref(),
        only_looks: args.plan,
    };
    let wanted = Forced::Serve { from: &place.instance, to: &to.name };
    let mut line = Line::open(context, args, place, &wanted, Stdio::null())?;
    let output = line.output(context)?;
    let arrived = arriving.arrive(BufReader::with_capacity(PIECE, output));
    let host = line.host().to_owned();
    let (code, said) = line.hang_up();
    match arrived {
        Err(CliError::Clone(CloneError::Line(reason))) => {
            Err(Line::unreachable(&host, code, &said)
                .unwrap_or_else(|| CloneError::Line(reason).into()))
        }
        other => other,
    }
}

impl Arriving<'_> {
    /// Reads what comes, and puts it in the place of what is there.
    fn arrive(&self, input: impl Read + Send) -> Result<Done, CliError> {
        let Self { context, target, to, .. } = self;
        let config = clone_config(to)?;
        let _lock = if self.only_looks { None } else { lock_instance(context, target)? };
        let announced =
            Announced::read(input).map_err(|error| match context.stop.is_stopped() {
                true => CloneError::Interrupted,
                false => error,
            })?;
        let Announced { header, manifest, toc, line } = announced;
        if header.from != self.from || header.to != to.name {
            let what = "what comes is a copy of another instance, or for another target";
            return Err(CloneError::refused(format!("target {}", to.name), what).into());
        }
        let cluster = server(context, to, "clone")?;
        // Both may be of one machine all the same.
        let sources = context.sources()?;
        let source = sources.config.as_ref().and_then(|config| config.instances.get(self.from));
        let guard = Guard { from: self.from, source, to, config, manifest: &manifest };
        let origin = source.and_then(|source| server(context, source, "clone").ok());
        let mut problems = check_target(&guard, origin.as_ref(), &cluster);
        let files = FilesPlan::told(&header.made, &header.dropped, &to.home.value);
        let files = files.unwrap_or_else(|problem| {
            problems.push(problem);
            FilesPlan::default()
        });
        if !problems.is_empty() {
            return Err(refuse(context, problems)?);
        }
        let id =
            header.snapshot().ok_or_else(|| CloneError::Line("no snapshot is named".to_owned()))?;
        let archive_bytes = header.database.archive;
        let offered = Offered { id, manifest: manifest.clone(), toc, archive_bytes };
        let rename = target_database(to, &manifest.name)?;
        let options = options(to, &manifest.name, rename, header.assertions.clone());
        let plan = plan_of(offered, &cluster, options, SystemClock.now(), &context.stop)?;
        let zone = zone(target);
        let shown =
            Shown { context, header: &header, to: &to.name, plan: &plan, files: &files, zone };
        shown.show()?;
        if self.only_looks {
            return super::local::nothing_written(context, header.rows_surveyed);
        }
        assent(context, self.confirm, &to.name, config, &plan)?;
        let landing = Landing {
            context,
            instance: to,
            config,
            shown: &shown,
            groupings: &header.groupings,
            cluster: &cluster,
            state_dir: &target.state_dir,
        };
        landing.land(|replacement| {
            let (replaced, summary) = receive_rows(&header, &manifest, line, replacement)?;
            Ok((replaced, summary.tables))
        })
    }
}
