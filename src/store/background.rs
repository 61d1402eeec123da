//! The one place where others' asynchronous code runs: a thread of its own turns the wheel, and callers wait.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};

use super::StoreErrorKind;
use super::files::Failure;

static HANDLE: OnceLock<Option<Handle>> = OnceLock::new();

fn handle() -> Option<&'static Handle> {
    HANDLE
        .get_or_init(|| {
            let runtime = Builder::new_current_thread().enable_all().build().ok()?;
            let handle = runtime.handle().clone();
            std::thread::Builder::new()
                .name("network".to_owned())
                .spawn(move || runtime.block_on(std::future::pending::<()>()))
                .ok()?;
            Some(handle)
        })
        .as_ref()
}

/// Waits for `work`.
pub(super) fn wait<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let Some(handle) = handle() else {
        let reason = "no thread for the network can be started";
        return Err(Failure::new(StoreErrorKind::Permanent, reason));
    };
    handle.block_on(work)
}

/// Waits for `work`, but not for ever.
pub(super) fn wait_at_most<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    wait(async {
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            let reason = "the server did not answer in time";
            Err(Failure::new(StoreErrorKind::Temporary, reason))
        })
    })
}
