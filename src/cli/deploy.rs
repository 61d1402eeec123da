//! `deploy`: a new version of an instance, or a stack for a branch.

mod ending;
mod show;
pub mod target;

use serde_json::json;

use crate::clock::{Clock, SystemClock};
use crate::deploy::history::History;
use crate::deploy::plan::{Plan, plan};
use crate::deploy::request::Request;
use crate::deploy::review::objection;
use crate::deploy::sequence::deploy;
use crate::instance::lock;

use super::context::Context;
use super::format::local_seconds;
use super::{CliError, Done, home};

pub use ending::{describe, tell as tell_ending};
use target::{Saving, Target};

/// Deploy an instance: merge its compose files, save what is there, replace it, look whether all is well
///
/// Everything can come from the configuration ([instance.NAME.deploy]) or as KEY=VALUE. Nothing is replaced before
/// a snapshot of it is made. If a check fails afterwards, the earlier code comes back by itself, unless a migration
/// ran: then it stays, and the command that takes back code and data is shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Keys: home=DIR (persistent), compose=FILE,FILE, pull=1, build=1, wait_grep=REGEX,
postdeploy=COMMANDS, timeout=SECONDS, check=URL, check_status=200, project=NAME,
lifetime=SECONDS, compose_SERVICE_KEY=VALUE (empty removes the key, += appends, [..] and {..}
are JSON).

With project=NAME and without an instance or home= it is a review stack: it lives in
~/.yourlabs.compose, and goes by itself after its lifetime. NAME may be any text, like that of
a branch.

Exit codes: 30 it failed, and the earlier version is back; 31 it failed and was left as it is:
see the message.

Examples:
  mrs-backup deploy mrs-production --plan
  mrs-backup deploy mrs-production compose_django_image=betagouv/mrs:master pull=1
  mrs-backup deploy home=/home/mrs-production \\
      compose=docker-compose.yml,docker-compose.persist.yml \\
      compose_django_build= compose_django_image=betagouv/mrs:master timeout=120
  mrs-backup deploy project=test-feature/x lifetime=604800 compose_django_image=betagouv/mrs:x")]
pub struct Args {
    /// Instance of the configuration, and KEY=VALUE
    #[arg(value_name = "INSTANCE|KEY=VALUE")]
    words: Vec<String>,

    /// Say what would be done, without secrets; nothing is changed
    #[arg(long, short = 'n', visible_alias = "dry-run")]
    plan: bool,

    /// Let a review stack send mail through a server that is no part of it
    #[arg(long)]
    allow_mail: bool,

    #[command(flatten)]
    saving: Saving,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let (name, pairs) = named(&args.words);
    let request = Request::parse(pairs)?;
    let target = Target::find(context, name, &request)?;
    context.out.set_instance(Some(&target.name));
    let settings = target.deploy_settings(&request)?;
    let mut tools = target.tools(context, settings.redactor())?;
    if args.plan {
        let history = History::open(&settings.project.directory)?;
        let plan = plan(&mut tools, &settings, &history)?;
        may_be_reviewed(&target, &plan, args.allow_mail)?;
        show::plan(context, &tools, &settings, &plan)?;
        context.out.note("nothing was changed")?;
        return Ok(Done::ok(json!({ "dry_run": true, "changes": plan.changes.len() })));
    }
    let wait = target.lock_wait(args.saving.lock_wait);
    let _lock = lock(&target.state_dir, &target.name, wait, &SystemClock, &context.stop)?;
    if let Some(instance) = &target.instance {
        home::refuse_half(context, instance, "there is nothing to save and to replace")?;
    }
    let mut history = History::open(&settings.project.directory)?;
    for message in &history.damaged {
        context.out.complain(message, None);
    }
    let plan = plan(&mut tools, &settings, &history)?;
    may_be_reviewed(&target, &plan, args.allow_mail)?;
    show::plan(context, &tools, &settings, &plan)?;
    if let Some(review) = &target.review {
        // Before its first container: one that is killed goes at its time, too.
        let state =
            review.reviews.extend(&review.asked, review.lifetime, SystemClock.now(), true)?;
        let until = local_seconds(state.remove_at.as_second(), &SystemClock.zone());
        context.out.note(&format!("  it goes by itself at {until}"))?;
    }
    let vault = target.open_vault(context, &args.saving, plan.is_first)?;
    let means = target.means(context, vault.as_ref(), &settings)?;
    let ending = deploy(&tools, &settings, &mut history, &plan, &means)?;
    ending::tell(context, &target, vault.as_ref(), &ending)
}

/// Fails if a review stack would share something with others, or write to people.
fn may_be_reviewed(target: &Target, plan: &Plan, may_mail: bool) -> Result<(), CliError> {
    match target.review.as_ref().and_then(|_| objection(&plan.document, &target.project, may_mail))
    {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// The first word is an instance if it is no pair.
fn named(words: &[String]) -> (Option<&str>, &[String]) {
    match words.split_first() {
        Some((first, rest)) if !first.contains(['=', '@', ' ']) => (Some(first), rest),
        _ => (None, words),
    }
}
