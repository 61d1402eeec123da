//! The server: a thread of its own, until it is dropped.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::sync::watch;

use crate::cli::CliError;
use crate::cli::args::Global;
use crate::cli::context::Context;
use crate::clock::SystemClock;
use crate::event::Event;
use crate::instance::config::{Origin, ServeConfig};

use super::address;
use super::answer::{Served, answer};
use super::browse::Browser;
use super::guard::Guard;
use super::limited::Limited;

/// Threads that read files for answers.
const READERS: usize = 4;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

impl Connected<IncomingStream<'_, Limited>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Limited>) -> Self {
        Self(stream.remote_addr().ip())
    }
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens as the configuration says. Of the usual addresses one may be missing; one that was asked for may not.
    pub fn start(context: &Context, config: &ServeConfig) -> Result<Self, CliError> {
        let guard = Guard::new(config, &context.stop, Arc::new(SystemClock))?;
        let listeners = listen(config)?;
        let failed = |error: io::Error| CliError::io("serve", &error);
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>();
        // Only what leads to the configuration; every instance is told of.
        let global = Global {
            config: context.global.config.clone(),
            state_dir: context.global.state_dir.clone(),
            ..Global::default()
        };
        // Asked when it starts: a guard that was not there then is not there now.
        let browser = config
            .browse
            .then(|| Browser::new(Arc::clone(&context.observer), Arc::clone(&context.stop)));
        let observer = Arc::clone(&context.observer);
        let served = Arc::new(Served { global, guard, browser, observer });
        let (stop, stopped) = watch::channel(false);
        let observer = Arc::clone(&context.observer);
        let serve = move || {
            if let Err(error) = serve(listeners, &served, &stopped) {
                let (item, message) = ("serve".to_owned(), error.to_string());
                observer.event(&Event::Warning { item, message });
            }
        };
        let thread =
            std::thread::Builder::new().name("serve".to_owned()).spawn(serve).map_err(failed)?;
        Ok(Self { addresses: addresses.map_err(failed)?, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.stop.send(true);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn listen(config: &ServeConfig) -> Result<Vec<TcpListener>, CliError> {
    let is_usual = config.listen.origin == Origin::Default;
    let mut listeners = Vec::new();
    let mut problem = None;
    for address in &config.listen.value {
        let failed =
            |reason: &dyn std::fmt::Display| CliError::io(format!("listen at {address}"), reason);
        let bound = match address::resolve(address) {
            None => Err(failed(&"there is no such interface with an address")),
            Some(found) => TcpListener::bind(found).map_err(|error| failed(&error)),
        };
        match bound {
            Ok(listener) => {
                listener.set_nonblocking(true).map_err(|error| failed(&error))?;
                listeners.push(listener);
            }
            Err(error) if is_usual => problem = Some(error),
            Err(error) => return Err(error),
        }
    }
    match problem {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

fn serve(
    listeners: Vec<TcpListener>,
    served: &Arc<Served>,
    stopped: &watch::Receiver<bool>,
) -> io::Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().max_blocking_threads(READERS).build()?;
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for listener in listeners {
            let listener = Limited::new(tokio::net::TcpListener::from_std(listener)?);
            let router = Router::new().fallback(answer).with_state(Arc::clone(served));
            let service = router.into_make_service_with_connect_info::<Peer>();
            let serving = axum::serve(listener, service);
            let mut stopped = stopped.clone();
            tasks.push(tokio::spawn(async move {
                tokio::select! {
                    _ = serving => {}
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                }
            }));
        }
        for task in tasks {
            // One that panicked serves no more; the others do.
            let _ = task.await;
        }
        Ok(())
    })
}
