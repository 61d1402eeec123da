//! Events as JSON, one object a line, for programs.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::event::{Event, Observer};

/// Version of the lines. A new type or field is no new version.
const VERSION: u32 = 1;
/// Progress is told this often at most.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    #[serde(rename = "type")]
    kind: &'a str,
    run_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    #[serde(flatten)]
    fields: &'a Map<String, Value>,
}

struct State {
    out: Box<dyn Write + Send>,
    instance: Option<String>,
    step: &'static str,
    total_bytes: Option<u64>,
    bytes: u64,
    items: u64,
    last_progress: Option<Instant>,
}

/// Writes JSON lines.
pub struct JsonLines {
    run_id: String,
    state: Mutex<State>,
}

impl JsonLines {
    /// Lines to `out`, all marked with `run_id`.
    pub fn new(out: Box<dyn Write + Send>, run_id: String) -> Self {
        let state = State {
            out,
            instance: None,
            step: "",
            total_bytes: None,
            bytes: 0,
            items: 0,
            last_progress: None,
        };
        Self { run_id, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the lines that follow with the name of an instance.
    pub fn set_instance(&self, instance: Option<String>) {
        self.lock().instance = instance;
    }

    /// Writes one line. `fields` that are not an object are left out.
    pub fn emit(&self, kind: &str, fields: &Value) -> io::Result<()> {
        self.write(&mut self.lock(), kind, fields)
    }

    fn write(&self, state: &mut State, kind: &str, fields: &Value) -> io::Result<()> {
        let none = Map::new();
        let line = Line {
            v: VERSION,
            kind,
            run_id: &self.run_id,
            instance: state.instance.as_deref(),
            fields: fields.as_object().unwrap_or(&none),
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        state.out.write_all(&text)?;
        state.out.flush()
    }

    fn progress(&self, state: &mut State, is_last: bool) -> io::Result<()> {
        let is_due = state.last_progress.is_none_or(|last| last.elapsed() >= PROGRESS_INTERVAL);
        if !is_due && !is_last {
            return Ok(());
        }
        state.last_progress = Some(Instant::now());
        let fields = json!({
            "step": state.step,
            "bytes": state.bytes,
            "items": state.items,
            "total_bytes": state.total_bytes,
        });
        self.write(state, "progress", &fields)
    }

    fn told(&self, event: &Event) -> io::Result<()> {
        let mut state = self.lock();
        let state = &mut *state;
        let about = |item: &str, message: &str| json!({ "item": item, "message": message });
        match event {
            Event::StepStarted { step, total_bytes } => {
                (state.step, state.total_bytes) = (step, *total_bytes);
                (state.bytes, state.items, state.last_progress) = (0, 0, None);
                self.progress(state, true)
            }
            Event::Progress { bytes, items } => {
                state.bytes = state.bytes.saturating_add(*bytes);
                state.items = state.items.saturating_add(*items);
                self.progress(state, false)
            }
            // Names of what is read are not told to programs: they would be a second copy of the tree.
            Event::Working { .. } => Ok(()),
            Event::Notice { item, message } => self.write(state, "notice", &about(item, message)),
            Event::Warning { item, message } => self.write(state, "warning", &about(item, message)),
            Event::ItemFailed { item, message } => {
                let fields = json!({ "item": item, "message": message, "result": "failed" });
                self.write(state, "item", &fields)
            }
            Event::StepFinished { .. } => self.progress(state, true),
        }
    }
}

impl Observer for JsonLines {
    fn event(&self, event: &Event) {
        // A reader that went away does not stop a backup.
        let _ = self.told(event);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_an_object_with_its_type() {
        let shared = Shared::default();
        let lines = JsonLines::new(Box::new(shared.clone()), "r1".to_owned());
        lines.set_instance(Some("mrs".to_owned()));
        lines.event(&Event::StepStarted { step: "backup", total_bytes: None });
        lines.event(&Event::Progress { bytes: 5, items: 1 });
        let (item, message) = ("a\nb".to_owned(), "gone".to_owned());
        lines.event(&Event::Warning { item, message });
        lines.event(&Event::StepFinished { step: "backup" });
        lines.emit("summary", &json!({ "result": "ok" })).unwrap();
        let text = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
        let found: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let types: Vec<&str> = found.iter().map(|line| line["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["progress", "warning", "progress", "summary"]);
        assert_eq!(found[2]["bytes"], 5);
        assert!(found.iter().all(|line| line["instance"] == "mrs" && line["v"] == 1));
    }
}
