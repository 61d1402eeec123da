//! Brings messages to their channels: all at once, a few tries each, within a bounded time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use jiff::Timestamp;

use crate::clock::Clock;
use crate::event::StopFlag;
use crate::instance::config::{KeyReader, NotifyConfig, process_environment};

use super::outbox::Outbox;
use super::{Channel, Message, open};

/// Tries of one message, and the pauses between them.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// Nobody waits longer than this for all channels together.
const LONGEST: Duration = Duration::from_secs(30);

/// How it went at one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its name.
    pub channel: String,
    /// Messages that arrived, or why the first one that did not.
    pub result: Result<usize, String>,
}

/// Delivers what waits and `messages`, each to its channel. What cannot be delivered waits for the next time.
pub fn deliver(
    state_dir: &Path,
    messages: Vec<(NotifyConfig, Vec<Message>)>,
    clock: &dyn Clock,
) -> Vec<Delivery> {
    let count = messages.len();
    let (sender, receiver) = bounded(count);
    let now = clock.now();
    let names: Vec<String> = messages.iter().map(|(config, _)| config.name.clone()).collect();
    for (number, (config, messages)) in messages.into_iter().enumerate() {
        let outbox = Outbox::new(state_dir, &config.name);
        let (results, told) = (sender.clone(), sender.clone());
        let work = move || {
            let result = to_one(&config, &outbox, messages, now);
            // Nobody listens any more if it took too long.
            let _ = results.send((number, result));
        };
        if let Err(error) = std::thread::Builder::new().name("notify".to_owned()).spawn(work) {
            let _ = told.send((number, Err(error.to_string())));
        }
    }
    drop(sender);
    let mut found: Vec<Option<Result<usize, String>>> = vec![None; count];
    let begun = clock.elapsed();
    loop {
        let left = LONGEST.saturating_sub(clock.elapsed().saturating_sub(begun));
        match receiver.recv_timeout(left) {
            Ok((number, result)) => {
                if let Some(place) = found.get_mut(number) {
                    *place = Some(result);
                }
            }
            Err(_) => break,
        }
    }
    let late = || Err(format!("no answer within {} s; it is tried again later", LONGEST.as_secs()));
    names
        .into_iter()
        .zip(found)
        .map(|(channel, result)| Delivery { channel, result: result.unwrap_or_else(late) })
        .collect()
}

/// Messages of a channel that wait for it.
pub fn waiting(state_dir: &Path, name: &str, now: Timestamp) -> usize {
    Outbox::new(state_dir, name).list(now).len()
}

fn to_one(
    config: &NotifyConfig,
    outbox: &Outbox,
    messages: Vec<Message>,
    now: Timestamp,
) -> Result<usize, String> {
    let reader = KeyReader { environment: &process_environment, stop: Arc::new(StopFlag::new()) };
    let channel = match open(config, &reader) {
        Ok(channel) => channel,
        Err(error) => {
            // The secret may be there the next time. What is kept is not known without it; all is.
            keep(outbox, &messages);
            return Err(error);
        }
    };
    if !channel.keeps() {
        for message in &messages {
            try_often(channel.as_ref(), message, config.timeout)?;
        }
        return Ok(messages.len());
    }
    keep(outbox, &messages);
    let _lock = outbox.lock().map_err(|error| format!("cannot lock its messages: {error}"))?;
    let mut count = 0;
    for (path, message) in outbox.list(now) {
        try_often(channel.as_ref(), &message, config.timeout)?;
        // Told twice is better than not at all.
        let _ = std::fs::remove_file(path);
        count += 1;
    }
    Ok(count)
}

/// A message that cannot even be written down is delivered now or never; the disk's trouble is told by others.
fn keep(outbox: &Outbox, messages: &[Message]) {
    for message in messages {
        let _ = outbox.put(message);
    }
}

fn try_often(channel: &dyn Channel, message: &Message, timeout: Duration) -> Result<(), String> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let error = match channel.deliver(message, timeout) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let Some(pause) = pauses.next() else { return Err(error) };
        std::thread::sleep(pause);
    }
}
