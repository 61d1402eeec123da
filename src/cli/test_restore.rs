//! `test-restore`: the proof that databases restore.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::clock::SystemClock;
use crate::crypto::SystemRandom;
use crate::crypto::random::random_bytes;
use crate::id::to_hex;
use crate::ops::test_restore::{Proof, ProofOptions, chosen, prove, receipt};
use crate::postgres::Image;
use crate::report::{clean, human_bytes};
use crate::target::postgres::major;
use crate::target::scratch::{Maker, ScratchError, ScratchServer, destroy_dead, find_programs};

use super::args::{Filter, SNAPSHOT_HELP};
use super::context::Context;
use super::restore_database::restore_config;
use super::settings::Settings;
use super::{CliError, Done, Exit};

/// Prove that the databases of a snapshot restore
///
/// A throw-away server is made of the image of the instance's container, without a network, or of the
/// PostgreSQL programs of this host, reached by a socket of its own and by nothing else. Every database is restored into it, every table copied out again and compared with
/// what was saved, definitions, indexes and the assertions of the configuration checked; a receipt goes
/// into the repository. The server and its files are destroyed in any case.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
{SNAPSHOT_HELP}

Examples:
  mrs-backup test-restore
  mrs-backup test-restore 2026-11-22 --database mrs
  mrs-backup test-restore latest:mrs-production --scratch-directory /dev/shm/mrs-scratch"))]
pub struct Args {
    /// Snapshot
    #[arg(default_value = "latest")]
    snapshot: String,

    /// Only this database
    #[arg(long, value_name = "NAME")]
    database: Option<String>,

    /// Where the throw-away server lives; made if it is not there
    #[arg(long, value_name = "DIR")]
    scratch_directory: Option<PathBuf>,

    /// Sessions at once
    #[arg(short = 'j', long, value_name = "COUNT")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: Option<u8>,

    #[command(flatten)]
    filter: Filter,
}

/// Where throw-away servers live unless somebody says otherwise: not in the state directory, which the
/// server's own user may not enter.
pub fn default_base(settings: &Settings) -> PathBuf {
    let mut name = settings.state_dir.clone().into_os_string();
    name.push("-scratch");
    PathBuf::from(name)
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let settings = context.settings()?;
    let config = restore_config(&settings);
    let base = match args.scratch_directory {
        Some(directory) => std::path::absolute(&directory)
            .map_err(|error| CliError::io(format!("find {}", directory.display()), &error))?,
        None => config
            .scratch_directory
            .as_ref()
            .map_or_else(|| default_base(&settings), |directory| directory.value.clone()),
    };
    // Whatever else goes wrong: data of one that was killed lies about no longer.
    for directory in destroy_dead(&base)? {
        context.out.note(&format!("destroyed what a killed one left: {}", directory.display()))?;
    }
    let repository = context.open_to_read(&settings)?;
    let (id, snapshot) = context.select(&repository, &settings, &args.filter, &args.snapshot)?;
    let databases = chosen(&id, &snapshot, args.database.as_deref())?;
    let wanted = databases.iter().filter_map(|found| major(&found.server_version)).max();
    let maker = maker(context, &settings, wanted.unwrap_or(0))?;
    context.out.note(&format!(
        "restore {} of snapshot {} of {} into a throw-away PostgreSQL ({}) below {}",
        names(databases.iter().map(|found| found.name.as_str())),
        id.short(),
        clean(&snapshot.instance),
        match &maker {
            Maker::Host(programs) => programs.version.clone(),
            Maker::Image(image) => format!("image {}", clean(&image.name)),
        },
        base.display()
    ))?;
    let options = ProofOptions {
        database: args.database.clone(),
        workers: usize::from(args.jobs.unwrap_or(config.jobs.value)),
        assertions: config.assertions.value.clone(),
    };
    let proof = {
        let server = start(context, &base, maker, wanted.unwrap_or(0))?;
        let way = server.server("test-restore").map_err(crate::instance::RunError::from)?;
        let (stop, observer) = (&context.stop, &context.observer);
        prove(&repository, id, &snapshot, &way, &options, stop, observer)?
    };
    let failure = proof.failure.as_ref().map(ToString::to_string);
    let told = receipt(&repository, &snapshot, &proof, failure.as_deref());
    let left = repository.put_receipt(&told)?;
    report(context, &proof, &snapshot.instance)?;
    let mut fields = describe(&proof, failure.as_deref());
    fields["receipt"] = json!(left);
    match &proof.failure {
        None => Ok(Done::ok(fields)),
        Some(error) => {
            context.out.complain(
                &format!("snapshot {} did NOT restore: {}", id.short(), clean(&error.to_string())),
                super::database_error::restore_hint(error).as_deref(),
            );
            Ok(Done::with(Exit::ProofFailed, fields))
        }
    }
}

fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    clean(&names.collect::<Vec<_>>().join(", "))
}

/// Of what the server is made: what the configuration says; else the image of the instance's container,
/// which has the same extensions; else what is installed here.
pub fn maker(context: &Context, settings: &Settings, wanted: u32) -> Result<Maker, CliError> {
    let config = restore_config(settings);
    let of_source = settings.instance.as_ref().and_then(|instance| instance.postgres.as_ref());
    let chosen: Vec<PathBuf> = config
        .scratch_bin_dir
        .iter()
        .chain(of_source.and_then(|postgres| postgres.bin_dir.as_ref()))
        .map(|directory| directory.value.clone())
        .collect();
    let container = of_source.and_then(|postgres| postgres.container.as_ref());
    let Some(container) = container.filter(|_| chosen.is_empty()) else {
        return Ok(Maker::Host(find_programs(&chosen, wanted)?));
    };
    match Image::of(&container.value) {
        Ok(image) => Ok(Maker::Image(image)),
        // On another machine, after a loss, there is none.
        Err(error) => match find_programs(&chosen, wanted) {
            Ok(programs) => {
                context.out.note(&format!("programs of this host are used: {error}"))?;
                Ok(Maker::Host(programs))
            }
            Err(_) => Err(crate::instance::RunError::from(error).into()),
        },
    }
}

/// Starts one, of at least the version that is `wanted`.
pub fn start(
    context: &Context,
    base: &Path,
    maker: Maker,
    wanted: u32,
) -> Result<ScratchServer, CliError> {
    let name = to_hex(&random_bytes::<6>(&SystemRandom));
    let server = ScratchServer::start(base, &name, maker, &SystemClock, &context.stop)?;
    if major(server.version()).unwrap_or(0) < wanted {
        let looked = format!("the image of the container has {}", server.version());
        return Err(ScratchError::NoPrograms { major: wanted, looked }.into());
    }
    Ok(server)
}

fn report(context: &Context, proof: &Proof, instance: &str) -> Result<(), CliError> {
    for one in &proof.databases {
        context.out.note(&format!(
            "  {}: {} tables with {} rows ({}) copied again and equal, {} objects valid; {}; pg_amcheck: {}; {} assertions hold",
            clean(&one.database),
            one.tables,
            one.rows,
            human_bytes(one.bytes),
            one.objects,
            one.schema,
            clean(&one.amcheck),
            one.assertions
        ))?;
    }
    if proof.failure.is_none() {
        context.out.note(&format!(
            "snapshot {} of {} restores: proven in {:.1} s",
            proof.snapshot.short(),
            clean(instance),
            proof.duration.as_secs_f64()
        ))?;
    }
    context.out.flush()
}

fn describe(proof: &Proof, failure: Option<&str>) -> Value {
    let databases: Vec<Value> = proof
        .databases
        .iter()
        .map(|one| {
            json!({
                "database": one.database,
                "tables": one.tables,
                "rows": one.rows,
                "bytes": one.bytes,
                "objects": one.objects,
                "schema": one.schema,
                "amcheck": one.amcheck,
                "assertions": one.assertions,
            })
        })
        .collect();
    json!({
        "snapshot": proof.snapshot,
        "is_proven": failure.is_none(),
        "failure": failure,
        "databases": databases,
        "server_version": proof.server_version,
        "seconds": proof.duration.as_secs_f64(),
    })
}
