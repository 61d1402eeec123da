//! Events for people: lines on standard error, and a bar while somebody watches.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::event::{Event, Observer, counted};

use super::clean;

/// How often the bar is drawn, in times a second: over a slow line more is a burden.
const DRAWS_PER_SECOND: u8 = 5;
const KNOWN_TOTAL: &str =
    "{prefix} {bytes}/{total_bytes} ({percent}%) {binary_bytes_per_sec}, {eta} left  {wide_msg}";
const UNKNOWN_TOTAL: &str = "{prefix} {bytes} {binary_bytes_per_sec} in {elapsed}  {wide_msg}";

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Verbosity {
    /// Only failures.
    Quiet,
    /// Warnings and failures.
    #[default]
    Normal,
    /// Notices too.
    Verbose,
}

#[derive(Debug, Default)]
struct State {
    bar: Option<ProgressBar>,
    step: &'static str,
    items: u64,
}

/// Writes to standard error.
#[derive(Debug)]
pub struct Terminal {
    verbosity: Verbosity,
    has_bar: bool,
    has_color: bool,
    state: Mutex<State>,
}

impl Terminal {
    /// With a bar if `has_bar`, which only makes sense where standard error is a terminal.
    pub fn new(verbosity: Verbosity, has_bar: bool, has_color: bool) -> Self {
        Self { verbosity, has_bar, has_color, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bar(step: &str, total_bytes: Option<u64>) -> ProgressBar {
        let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
        let bar = ProgressBar::with_draw_target(total_bytes, target);
        let template = if total_bytes.is_some() { KNOWN_TOTAL } else { UNKNOWN_TOTAL };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(format!("{step}:"));
        bar.enable_steady_tick(Duration::from_millis(500));
        bar
    }

    fn say(&self, state: &State, label: &str, color: &str, item: &str, message: &str) {
        let (item, message) = (clean(item), clean(message));
        let write = || {
            // There is nobody to tell that nobody listens.
            let _ = if self.has_color {
                writeln!(io::stderr(), "\u{1b}[{color}m{label}:\u{1b}[0m {item}: {message}")
            } else {
                writeln!(io::stderr(), "{label}: {item}: {message}")
            };
        };
        match &state.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl Observer for Terminal {
    fn event(&self, event: &Event) {
        let mut state = self.lock();
        match event {
            Event::StepStarted { step, total_bytes } => {
                (state.step, state.items) = (step, 0);
                state.bar = self.has_bar.then(|| Self::bar(step, *total_bytes));
            }
            Event::Progress { bytes, items } => {
                state.items = state.items.saturating_add(*items);
                if let Some(bar) = &state.bar {
                    bar.inc(*bytes);
                    bar.set_prefix(format!("{}: {},", state.step, counted(state.items, "item")));
                }
            }
            Event::Working { item } => {
                if let Some(bar) = &state.bar {
                    bar.set_message(clean(item));
                }
            }
            Event::Notice { item, message } => {
                if self.verbosity == Verbosity::Verbose {
                    self.say(&state, "notice", "36", item, message);
                }
            }
            Event::Warning { item, message } => {
                if self.verbosity >= Verbosity::Normal {
                    self.say(&state, "warning", "33", item, message);
                }
            }
            Event::ItemFailed { item, message } => self.say(&state, "failed", "31", item, message),
            Event::StepFinished { .. } => {
                if let Some(bar) = state.bar.take() {
                    bar.finish_and_clear();
                }
            }
        }
    }
}
