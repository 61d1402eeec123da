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
use super::{Channel, Message, Undelivered, open};

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
    pub result: Result<usize, Undelivered>,
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
            let _ = told.send((number, Err(error.to_string().into())));
        }
    }
    drop(sender);
    let mut found: Vec<Option<Result<usize, Undelivered>>> = vec![None; count];
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
    let late = || Err(format!("no answer within {} s", LONGEST.as_secs()).into());
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
) -> Result<usize, Undelivered> {
    let reader = KeyReader { environment: &process_environment, stop: Arc::new(StopFlag::new()) };
    let channel = match open(config, &reader) {
        Ok(channel) => channel,
        Err(error) => {
            // The secret may be there the next time. What is kept is not known without it; all is.
            drop(keep(outbox, &messages));
            return Err(error.into());
        }
    };
    if !channel.keeps() {
        for message in &messages {
            try_often(channel.as_ref(), message, config.timeout)?;
        }
        return Ok(messages.len());
    }
    let unwritten = keep(outbox, &messages);
    let mut sending =
        Sending { channel: channel.as_ref(), timeout: config.timeout, count: 0, refused: None };
    // What the disk has no room for is delivered now or never, and the disk is likely what it tells of.
    for message in &unwritten {
        sending.send(message)?;
    }
    let _lock = match outbox.lock() {
        Ok(lock) => lock,
        Err(_) if !unwritten.is_empty() => return sending.end(),
        Err(error) => return Err(format!("cannot lock its messages: {error}").into()),
    };
    for (path, message) in outbox.list(now) {
        sending.send(&message)?;
        // Told twice is better than not at all.
        let _ = std::fs::remove_file(path);
    }
    sending.end()
}

/// Messages on their way to one channel, one after the other.
struct Sending<'c> {
    channel: &'c dyn Channel,
    timeout: Duration,
    count: usize,
    /// Why the first one of those that are never taken was not.
    refused: Option<Undelivered>,
}

impl Sending<'_> {
    /// Sends one. One that is refused for itself must not hold up those behind it.
    fn send(&mut self, message: &Message) -> Result<(), Undelivered> {
        match try_often(self.channel, message, self.timeout) {
            Ok(()) => self.count += 1,
            Err(error) if error.is_final => {
                let reason = format!("`{}` is not taken: {}", message.title, error.reason);
                self.refused.get_or_insert(Undelivered { reason, is_final: true });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn end(self) -> Result<usize, Undelivered> {
        self.refused.map_or(Ok(self.count), Err)
    }
}

/// Writes messages down. Gives those that cannot be.
fn keep(outbox: &Outbox, messages: &[Message]) -> Vec<Message> {
    messages.iter().filter(|message| outbox.put(message).is_err()).cloned().collect()
}

fn try_often(
    channel: &dyn Channel,
    message: &Message,
    timeout: Duration,
) -> Result<(), Undelivered> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let error = match channel.deliver(message, timeout) {
            Ok(()) => return Ok(()),
            Err(error) if error.is_final => return Err(error),
            Err(error) => error,
        };
        let Some(pause) = pauses.next() else { return Err(error) };
        std::thread::sleep(pause);
    }
}
