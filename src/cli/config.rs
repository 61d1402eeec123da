//! `config`: what the configuration says.

use clap::Subcommand;
use serde_json::json;

use crate::event::counted;
use crate::instance::config::{Config, process_environment};

use super::context::Context;
use super::format::table;
use super::{CliError, Done};

/// The configuration: validate, show, schema
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mrs-backup config validate
  mrs-backup config show
  mrs-backup config schema > mrs-backup.schema.json")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say whether the file can be used, or which line is wrong
    #[command(after_help = "\
Examples:
  mrs-backup config validate -c /etc/mrs-backup/config.toml

A small file:
  version = 1

  [instance.mrs-production]
  home       = \"/home/mrs-production\"
  repository = \"/mnt/backup/mrs-production/repo\"
  key        = { file = \"/etc/mrs-backup/mrs-production.password\" }
  paths      = [\"docker-compose.yml\", \"mrsattachments\", \"log\"]")]
    Validate,
    /// Show every value and where it comes from; secrets are left out
    #[command(after_help = "\
Examples:
  mrs-backup config show
  mrs-backup config show --instance mrs-production")]
    Show,
    /// Print the JSON Schema of the file, for editors
    #[command(after_help = "\
Examples:
  mrs-backup config schema > mrs-backup.schema.json")]
    Schema,
}

pub fn run(context: &Context, args: Args) -> Result<Done, CliError> {
    match args.command {
        Command::Validate => validate(context),
        Command::Show => show(context),
        Command::Schema => {
            let schema = Config::schema();
            context.out.line(&schema)?;
            let value: serde_json::Value = serde_json::from_str(&schema).unwrap_or_default();
            context.out.record("schema", &json!({ "schema": value }))?;
            Ok(Done::ok(json!({})))
        }
    }
}

fn validate(context: &Context) -> Result<Done, CliError> {
    let sources = context.sources()?;
    let Some(config) = &sources.config else { return Err(no_file()) };
    if let Some(name) = &context.global.instance {
        config.instance(name)?;
    }
    let path = config.path.display();
    let instances = counted(config.instances.len(), "instance");
    context.out.note(&format!("{path} is good: {instances}"))?;
    let names: Vec<&String> = config.instances.keys().collect();
    Ok(Done::ok(json!({ "file": path.to_string(), "instances": names })))
}

fn show(context: &Context) -> Result<Done, CliError> {
    let sources = context.sources()?;
    let Some(config) = &sources.config else { return Err(no_file()) };
    let shown = match &context.global.instance {
        Some(name) => config.instance(name)?.clone().with(&sources.access).show(),
        // Flags and environment name one repository; with several instances they are for none.
        None => {
            let mut config = Config { state_dir: sources.state_dir_setting()?, ..config.clone() };
            if config.instances.len() == 1 {
                for instance in config.instances.values_mut() {
                    *instance = instance.clone().with(&sources.access);
                }
            }
            config.show()
        }
    };
    let mut rows = Vec::new();
    for line in &shown {
        context.out.record("setting", &json!(line))?;
        rows.push(vec![line.key.clone(), line.value.clone(), line.origin.clone()]);
    }
    context.out.line(&table(&["KEY", "VALUE", "FROM"], &[], rows))?;
    Ok(Done::ok(json!({ "file": config.path.display().to_string() })))
}

fn no_file() -> CliError {
    let usual = Config::find(None, &process_environment).map_or_else(
        || crate::instance::config::DEFAULT_PATH.to_owned(),
        |path| path.value.display().to_string(),
    );
    CliError::usage_hint(
        "there is no configuration",
        format!(
            "write {usual}, or name a file with --config; mrs-backup config validate --help shows one"
        ),
    )
}
