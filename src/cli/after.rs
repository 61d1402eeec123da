//! After a run: whoever wants to be told is told.
//!
//! Nothing here changes how a run ended: what goes wrong is a warning.

use crate::event::Event;
use crate::metrics;
use crate::status::Overview;

use super::CliError;
use super::context::Context;
use super::settings::Sources;
use super::status::read;

/// Something was done to an instance: files that tell of all of them are written anew.
pub fn tell(context: &Context, sources: &Sources) {
    let Some(config) = &sources.config else { return };
    let telling = &config.telling;
    if telling.textfile.is_none() {
        return;
    }
    let warn = |message: String| {
        let item = "telling how it stands".to_owned();
        context.observer.event(&Event::Warning { item, message });
    };
    let overview = match read::of_sources(sources, None, None, read::BACK) {
        Ok(overview) => overview,
        Err(error) => return warn(error.message()),
    };
    if let Some(path) = &telling.textfile
        && let Err(error) = metrics::write_textfile(&path.value, &text(&overview))
    {
        warn(error.to_string());
    }
}

fn text(overview: &Overview) -> String {
    metrics::render(overview, env!("CARGO_PKG_VERSION"))
}

/// The same as a command: writes what the configuration asks for now.
pub fn metrics(sources: &Sources, named: Option<&str>) -> Result<String, CliError> {
    Ok(text(&read::of_sources(sources, named, None, read::BACK)?))
}
