//! `serve`: metrics, the page and, where that is wanted, what is in snapshots, over HTTP.

use std::time::Duration;

use serde_json::json;

use crate::instance::config::{ListenAddress, Origin, ServeConfig, Setting};

use super::context::Context;
use super::{CliError, Done};

mod address;
mod answer;
mod attempts;
mod browse;
mod guard;
mod limited;
mod server;

pub use server::Server;

/// How often we look whether somebody asked to stop.
const PATIENCE: Duration = Duration::from_millis(100);

/// Serve metrics and the status page over HTTP until it is stopped
///
/// Answers at /metrics and with the status page at /, from what the runs noted down: no repository is opened. With
/// `browse = true` in [serve] of the configuration, whoever gives its password or token can look into snapshots at /browse/INSTANCE and
/// take single files and databases; nothing can be changed. `schedule` does the same where the
/// configuration has [serve]. Listens on 127.0.0.1:9479, and on docker0 where Prometheus runs in a container;
/// anything that other machines can reach needs a password or a token in the configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup serve
  mrs-backup serve --listen 127.0.0.1:8080
  curl http://127.0.0.1:9479/metrics
  xdg-open http://127.0.0.1:9479/")]
pub struct Args {
    /// Listen here (may be repeated); an interface means its address: docker0:9479
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = ListenAddress::parse)]
    listen: Vec<ListenAddress>,
}

pub fn run(context: &Context, args: &Args) -> Result<Done, CliError> {
    let sources = context.sources()?;
    let Some(config) = &sources.config else {
        return Err(CliError::usage_hint(
            "there is no configuration, and `serve` tells of its instances",
            "name it with --config FILE",
        ));
    };
    let mut serve = config.telling.serve.clone().unwrap_or_else(ServeConfig::usual);
    if !args.listen.is_empty() {
        serve.listen = Setting::new(args.listen.clone(), Origin::Flag);
        if let Some(message) = serve.refusal() {
            return Err(CliError::usage_hint(
                message.replace("`serve.listen` has", "--listen names"),
                "write [serve] with `user` and `password`, or `token`, into the configuration",
            ));
        }
    }
    let server = Server::start(context, &serve)?;
    tell(context, &server)?;
    while !context.stop.is_stopped() {
        std::thread::sleep(PATIENCE);
    }
    let addresses: Vec<String> = server.addresses().iter().map(ToString::to_string).collect();
    drop(server);
    context.out.note("stopped")?;
    Ok(Done::ok(json!({ "addresses": addresses })))
}

/// Says where it listens.
pub fn tell(context: &Context, server: &Server) -> Result<(), CliError> {
    for address in server.addresses() {
        context.out.note(&format!("serving at http://{address}/"))?;
        context.out.record("serving", &json!({ "address": address.to_string() }))?;
    }
    context.out.flush()
}
