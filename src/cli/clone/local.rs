//! A copy between two instances that one machine reaches.

use std::path::Path;

use serde_json::json;

use crate::anonymize::{PseudonymKey, Rules};
use crate::clock::{Clock as _, SystemClock};
use crate::clone::{
    CloneError, CloneWork, FilesPlan, Guard, Outgoing, apply, check_name, check_target, groupings,
    tables,
};
use crate::instance::config::{CloneConfig, Instance};
use crate::ops::restore_database::{Contents, DatabasePlan, Offered, choose, plan_of};
use crate::repository::Fetcher;
use crate::snapshot::DatabaseManifest;
use crate::source::archive::Toc;
use crate::target::postgres::{Cluster, size_of};

use super::super::context::{Context, zone};
use super::super::restore_database::lock_instance;
use super::super::run::fresh_snapshot;
use super::super::{CliError, Done, Exit, ask};
use super::landing::{Landing, assent, options, target_database};
use super::shown::{Shown, show_preview};
use super::source::{Looking, Source, definitions, fit};
use super::{Args, CONTENT_CACHE, charset, clone_config, pseudonym_key, refuse, server, unnamed};

/// What is missing in the configuration.
fn needed<'a, T>(value: &'a Option<T>, to: &str, name: &str) -> Result<&'a T, CliError> {
    value.as_ref().ok_or_else(|| {
        CliError::usage_hint(
            format!(
                "instance {to}: `clone.{name}` is missing, and both instances are on this machine"
            ),
            format!("add {name} to [instance.{to}.clone]"),
        )
    })
}

pub(super) fn clone(
    context: &Context,
    args: &Args,
    from: &str,
    to: &str,
) -> Result<Done, CliError> {
    let target = context.settle(&context.sources()?, Some(to))?;
    let to_instance = target.instance.as_ref().ok_or_else(unnamed)?;
    let config = clone_config(to_instance)?;
    let rules = match &args.rules {
        Some(rules) => rules,
        None => needed(&config.rules, to, "rules")?,
    };
    let rules = Rules::load(rules).map_err(CloneError::Rules)?;
    let key = pseudonym_key(context, needed(&config.key, to, "key")?)?;
    let cluster = server(context, to_instance, "clone")?;
    if args.fresh {
        assent_to_fresh(context, args, from, to_instance, config, &cluster)?;
        if fresh_snapshot(context, from)? != Exit::Ok {
            let what = "its fresh snapshot lacks something, as was told; without --fresh the last one is copied";
            return Err(CloneError::refused(format!("instance {from}"), what).into());
        }
    }
    let source = Source::open(context, from, &args.snapshot)?;
    context.out.set_instance(Some(to));
    let _lock = if args.only_looks() { None } else { lock_instance(context, &target)? };
    let manifest = choose(&source.selected.0, &source.selected.1, args.database.as_deref())?;
    guard(context, &source, to_instance, config, &rules, manifest, &cluster)?;
    let copying = Copying {
        context,
        args,
        source: &source,
        manifest,
        to: to_instance,
        config,
        rules: &rules,
        key: &key,
        cluster: &cluster,
        state_dir: &target.state_dir,
    };
    copying.run()
}

/// A copy that source and target allow.
struct Copying<'a> {
    context: &'a Context,
    args: &'a Args,
    source: &'a Source,
    manifest: &'a DatabaseManifest,
    to: &'a Instance,
    config: &'a CloneConfig,
    rules: &'a Rules,
    key: &'a PseudonymKey,
    cluster: &'a Cluster,
    state_dir: &'a Path,
}

impl Copying<'_> {
    fn plan(&self, contents: &Contents<'_, '_>, toc: Toc) -> Result<DatabasePlan, CliError> {
        let (to, name) = (self.to, &self.manifest.name);
        let offered = Offered {
            id: self.source.selected.0,
            manifest: self.manifest.clone(),
            toc,
            archive_bytes: contents.archive_bytes(),
        };
        let options = options(to, name, target_database(to, name)?, self.rules.assertions.clone());
        let (now, stop) = (SystemClock.now(), &self.context.stop);
        Ok(plan_of(offered, self.cluster, options, now, stop)?)
    }

    /// Looks at everything, and makes the copy if somebody says yes.
    fn run(&self) -> Result<Done, CliError> {
        let Self { context, args, source, manifest, to, rules, key, .. } = self;
        let (id, snapshot) = &source.selected;
        let fetcher = Fetcher::new(&source.repository, CONTENT_CACHE);
        let contents = Contents::find(&fetcher, snapshot, manifest)?;
        let toc = definitions(&contents, rules)?;
        let files = FilesPlan::new(rules, snapshot, &to.home.value);
        let (program, files) = fit(context, rules, manifest, &toc, key, files)?;
        let plan = self.plan(&contents, toc)?;
        let looking = Looking { contents: &contents, snapshot, toc: &plan.toc, program: &program };
        let looked = looking.look(context, plan.options.workers)?;
        let charset = charset(&manifest.encoding)?;
        let (kept, surveyed) = (&looked.kept, &looked.surveyed);
        let work = CloneWork { contents: &contents, program: &program, charset, kept, surveyed };
        let outgoing = Outgoing {
            work: &work,
            toc: &plan.toc,
            rules,
            files: &files,
            key,
            snapshot: (id, snapshot),
            to: &to.name,
            observer: context.observer.as_ref(),
            stop: &context.stop,
        };
        let header = outgoing.header()?;
        let (name, zone) = (&to.name, zone(&source.settings));
        let shown = Shown { context, header: &header, to: name, plan: &plan, files: &files, zone };
        shown.show()?;
        if args.only_looks() {
            show_preview(context, &work, args.preview)?;
            return nothing_written(context, surveyed.rows);
        }
        if !args.fresh {
            assent(context, args.confirm.as_deref(), name, self.config, &plan)?;
        }
        self.land(&shown, &work)
    }

    fn land(&self, shown: &Shown<'_>, work: &CloneWork<'_>) -> Result<Done, CliError> {
        let groupings = groupings(self.rules, work.program);
        let landing = Landing {
            context: self.context,
            instance: self.to,
            config: self.config,
            shown,
            groupings: &groupings,
            cluster: self.cluster,
            state_dir: self.state_dir,
        };
        landing.land(|replacement| {
            let applied = apply(work, replacement)?;
            Ok((applied.replaced, tables(work.program, &applied.counts, work.kept)))
        })
    }
}

pub(super) fn nothing_written(context: &Context, rows: u64) -> Result<Done, CliError> {
    context.out.note("nothing was written")?;
    Ok(Done::ok(json!({ "dry_run": true, "rows_surveyed": rows })))
}

/// Everything that keeps the target from being overwritten is told.
fn guard(
    context: &Context,
    source: &Source,
    to: &Instance,
    config: &CloneConfig,
    rules: &Rules,
    manifest: &DatabaseManifest,
    cluster: &Cluster,
) -> Result<(), CliError> {
    let from = source.settings.instance.as_ref().ok_or_else(unnamed)?;
    let origin = server(context, from, "clone").ok();
    let guard = Guard { from: &from.name, source: Some(from), to, config, manifest };
    let mut problems = check_target(&guard, origin.as_ref(), cluster);
    problems.extend(check_name(rules, &to.name));
    if problems.is_empty() { Ok(()) } else { Err(refuse(context, problems)?) }
}

/// A snapshot takes its time: who has to say yes, or a name, does it before, once for both.
fn assent_to_fresh(
    context: &Context,
    args: &Args,
    from: &str,
    to: &Instance,
    config: &CloneConfig,
    cluster: &Cluster,
) -> Result<(), CliError> {
    let name = &to.name;
    if !config.from.iter().any(|one| one == from) {
        let what = format!(
            "its configuration does not let {from} be copied into it; name it in `clone.from`"
        );
        return Err(CloneError::refused(format!("target {name}"), what).into());
    }
    if config.is_protected {
        return super::landing::by_name(context, args.confirm.as_deref(), name);
    }
    // Which database that is may only be known with the snapshot.
    let databases = to.postgres.as_ref().map(|postgres| postgres.databases.value.clone());
    let is_new = match databases.unwrap_or_default().as_slice() {
        [one] => size_of(&mut cluster.maintenance(one)?, one)?.is_none(),
        _ => false,
    };
    match is_new {
        true => Ok(()),
        false => {
            let needs = format!(
                "a snapshot of {from} is to be taken, and the data of {name} replaced by it"
            );
            ask::assent(context, &needs, super::landing::LOOK_FIRST)
        }
    }
}
