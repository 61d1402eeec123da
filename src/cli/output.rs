//! What is written: results on standard output, as text or as JSON lines; everything else on
//! standard error.
//!
//! Writing may fail, and then the command ends: `mrs-backup ls latest | head` closes the pipe early.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::event::Observer;
use crate::report::{JsonLines, Terminal, Verbosity};

use super::error::CliError;

/// Choices of what is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// JSON lines instead of text.
    pub json: bool,
    /// How much is told on standard error.
    pub verbosity: Verbosity,
    /// Never color.
    pub no_color: bool,
}

/// The way out.
pub struct Output {
    json: Option<Arc<JsonLines>>,
    text: Mutex<BufWriter<Box<dyn Write + Send>>>,
    style: Style,
    has_color: bool,
    /// Whether the work goes on when nobody reads about it any more.
    goes_on: AtomicBool,
}

impl Output {
    /// For this run.
    pub fn new(style: Style, run_id: &str) -> Self {
        let json =
            style.json.then(|| Arc::new(JsonLines::new(Box::new(io::stdout()), run_id.to_owned())));
        let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let has_color =
            !style.json && !style.no_color && !wants_none && !is_dumb && io::stderr().is_terminal();
        Self {
            json,
            text: Mutex::new(BufWriter::new(Box::new(io::stdout()))),
            style,
            has_color,
            goes_on: AtomicBool::new(false),
        }
    }

    /// Who listens to events.
    pub fn observer(&self) -> Arc<dyn Observer> {
        if let Some(json) = &self.json {
            return Arc::clone(json) as Arc<dyn Observer>;
        }
        let is_watched = io::stderr().is_terminal();
        // Somebody who watches sees notices too; a timer's log has only what needs attention.
        let verbosity = match self.style.verbosity {
            Verbosity::Normal if is_watched => Verbosity::Verbose,
            other => other,
        };
        let has_bar = is_watched && verbosity > Verbosity::Quiet;
        Arc::new(Terminal::new(verbosity, has_bar, self.has_color))
    }

    /// Whether results are JSON.
    pub fn is_json(&self) -> bool {
        self.json.is_some()
    }

    /// Whether only failures are to be told.
    pub fn is_quiet(&self) -> bool {
        self.style.verbosity == Verbosity::Quiet
    }

    /// Whether a person can be asked.
    pub fn can_ask(&self) -> bool {
        !self.is_json() && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Marks the JSON lines that follow.
    pub fn set_instance(&self, instance: Option<&str>) {
        if let Some(json) = &self.json {
            json.set_instance(instance.map(str::to_owned));
        }
    }

    /// From now on standard output is the command's own; what is told goes to standard error.
    pub fn divert(&self) {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        *text = BufWriter::new(Box::new(io::stderr()));
    }

    /// From now on a closed pipe does not end the command: a restore is not about its text.
    pub fn go_on_unread(&self) {
        self.goes_on.store(true, Ordering::Relaxed);
    }

    fn written(&self, result: io::Result<()>) -> Result<(), CliError> {
        match result.map_err(CliError::output) {
            Err(CliError::ClosedPipe) if self.goes_on.load(Ordering::Relaxed) => Ok(()),
            other => other,
        }
    }

    /// A line for people; nothing with `--json`.
    pub fn line(&self, text: &str) -> Result<(), CliError> {
        if self.is_json() {
            return Ok(());
        }
        let mut out = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        self.written(writeln!(out, "{text}"))
    }

    /// `text` in a color (a code of ECMA-48 like `32`), where standard output is a terminal that has some.
    pub fn colored(&self, text: &str, code: &str) -> String {
        match self.has_color && io::stdout().is_terminal() {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    /// A line for people who did not ask for quiet.
    pub fn note(&self, text: &str) -> Result<(), CliError> {
        if self.is_quiet() { Ok(()) } else { self.line(text) }
    }

    /// An object for programs; nothing without `--json`.
    pub fn record(&self, kind: &str, fields: &Value) -> Result<(), CliError> {
        match &self.json {
            Some(json) => self.written(json.emit(kind, fields)),
            None => Ok(()),
        }
    }

    /// Bytes as they are, for commands whose result is a file.
    pub fn raw(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        self.written(out.write_all(bytes))
    }

    /// Everything written so far reaches its reader.
    pub fn flush(&self) -> Result<(), CliError> {
        let mut out = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        self.written(out.flush())
    }

    /// A failure, for people.
    pub fn complain(&self, message: &str, hint: Option<&str>) {
        let _ = self.flush();
        let (red, plain) = if self.has_color { ("\u{1b}[31m", "\u{1b}[0m") } else { ("", "") };
        let mut text = format!("{red}error:{plain} {message}\n");
        if let Some(hint) = hint {
            text.push_str(&format!("  hint: {hint}\n"));
        }
        // There is nobody to tell that nobody listens.
        let _ = io::stderr().write_all(text.as_bytes());
    }
}
