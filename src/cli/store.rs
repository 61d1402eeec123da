//! `store test`: tries out what a place can do.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clap::Subcommand;
use serde_json::json;

use crate::clock::{Clock, SystemClock};
use crate::crypto::SystemRandom;
use crate::crypto::random::random_bytes;
use crate::id::{ObjectId, to_hex};
use crate::store::contract::check_contract;
use crate::store::{ObjectKind, ObjectName, Place, Store, StoreError, Written, list_all};

use super::context::Context;
use super::{CliError, Done, Exit};

/// Places where repositories can be kept
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup store test sftp://backup@host/srv/mrs")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try out what a place can do
    ///
    /// Works in a directory of its own below the place, which it removes again; a repository that is there
    /// is not touched. About 25 MiB are sent and received.
    #[command(after_help = "\
Examples:
  mrs-backup store test /mnt/backup
  mrs-backup store test env:LFTP_DSN
  mrs-backup store test 'ftpes://user@backup.example/mrs?password-file=/etc/mrs-backup/offsite'
  mrs-backup store test s3://bucket/mrs
  mrs-backup store test sftp://backup@host/srv/mrs")]
    Test {
        /// Where
        #[arg(value_name = "LOCATION")]
        location: String,
    },
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    let Command::Test { location } = args.command;
    let nonce = to_hex(&random_bytes::<6>(&SystemRandom));
    let place = Place::parse(&location, Written::InArguments)?;
    let store = place.below(&format!("mrs-backup-test-{nonce}")).open(&context.watch().into())?;
    let out = &context.out;
    out.note(&format!("trying out {}", store.location()))?;
    let found = try_out(store.as_ref());
    let cleaned = clean(store.as_ref());
    let found = found?;
    out.line(&format!("publishing a snapshot   {}", store.publishing()))?;
    out.line(&format!(
        "deleting                {}",
        if found.refuses_deletes { "refused: an append-only place" } else { "allowed" }
    ))?;
    out.line(&format!(
        "clock there             {}",
        found.clock_ahead.map_or_else(
            || "not told".to_owned(),
            |seconds| format!("{seconds:+} s from this machine's"),
        )
    ))?;
    out.line(&format!("one question            {:.0} ms", found.round_trip_ms))?;
    out.line(&format!("writing 4 MiB           {:.1} MiB/s", found.mib_per_second))?;
    out.line(&format!("connections             {}", store.connections()))?;
    let exit = match (&found.broken, found.refuses_deletes) {
        (None, false) => {
            out.line("the contract of stores is kept")?;
            Exit::Ok
        }
        (None, true) => {
            out.line("what else it can do cannot be tried where nothing may be deleted")?;
            Exit::Ok
        }
        (Some(what), _) => {
            out.line(&format!("the contract of stores is BROKEN: {what}"))?;
            Exit::Failed
        }
    };
    if let Err(error) = cleaned.as_ref()
        && !found.refuses_deletes
    {
        out.complain(&format!("what was written stays: {error}"), None);
    }
    Ok(Done::with(
        exit,
        json!({
            "location": store.location().to_string(),
            "publishing": store.publishing(),
            "refuses_deletes": found.refuses_deletes,
            "clock_ahead_seconds": found.clock_ahead,
            "round_trip_ms": found.round_trip_ms,
            "mib_per_second": found.mib_per_second,
            "broken": found.broken,
        }),
    ))
}

#[derive(Debug)]
struct Found {
    refuses_deletes: bool,
    clock_ahead: Option<i64>,
    round_trip_ms: f64,
    mib_per_second: f64,
    /// What the place does otherwise than it should.
    broken: Option<String>,
}

fn try_out(store: &dyn Store) -> Result<Found, StoreError> {
    store.create()?;
    let name = ObjectName::Receipt(ObjectId::new(random_bytes(&SystemRandom)));
    let bytes = vec![0x5a; 4 << 20];
    let began = Instant::now();
    store.put(&name, &[&bytes])?;
    let mib_per_second = 4.0 / began.elapsed().as_secs_f64().max(0.001);
    let now = SystemClock.now();
    let began = Instant::now();
    store.size(&name)?;
    let round_trip_ms = began.elapsed().as_secs_f64() * 1000.0;
    let listed = list_all(store, ObjectKind::Receipt)?;
    let clock_ahead = listed
        .iter()
        .find(|info| info.name == name)
        .and_then(|info| info.modified)
        .map(|there| there.as_second() - now.as_second());
    let refuses_deletes = store.refuses_deletes()?;
    let mut broken = None;
    if !refuses_deletes {
        store.delete(&name)?;
        broken = contract(store);
    }
    Ok(Found { refuses_deletes, clock_ahead, round_trip_ms, mib_per_second, broken })
}

/// Runs the suite every store of this program has to pass; what was not as it should be.
fn contract(store: &dyn Store) -> Option<String> {
    let first = Arc::new(Mutex::new(None::<String>));
    let before = take_hook();
    {
        let first = Arc::clone(&first);
        set_hook(Box::new(move |info| {
            let text = info.payload_as_str().map_or_else(|| info.to_string(), str::to_owned);
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(text.split_whitespace().collect::<Vec<_>>().join(" "));
        }));
    }
    let ended = catch_unwind(AssertUnwindSafe(|| check_contract(store)));
    set_hook(before);
    let told = first.lock().unwrap_or_else(PoisonError::into_inner).take();
    match ended {
        Ok(()) => None,
        Err(_) => Some(told.unwrap_or_else(|| "it ended without a word".to_owned())),
    }
}

/// Removes all that was written.
fn clean(store: &dyn Store) -> Result<(), StoreError> {
    for kind in ObjectKind::ALL {
        for info in list_all(store, kind)? {
            store.delete(&info.name)?;
        }
    }
    store.remove_empty_place()
}
