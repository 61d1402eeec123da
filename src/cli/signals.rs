//! Ctrl-C and SIGTERM: the first asks for a stop at the next safe place, a second Ctrl-C does not wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::event::StopFlag;

use super::exit::Exit;

/// A flag that is set when somebody asks to stop.
pub fn stop_flag() -> io::Result<Arc<StopFlag>> {
    let stop = Arc::new(StopFlag::new());
    // In this order: the first signal finds the flag unset, arms it, and the second one exits. A
    // backup that is cut here leaves packs nobody names, and nothing worse.
    let is_armed = Arc::new(AtomicBool::new(false));
    flag::register_conditional_shutdown(
        SIGINT,
        i32::from(Exit::Interrupted.code()),
        Arc::clone(&is_armed),
    )?;
    flag::register(SIGINT, is_armed)?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let asked = Arc::clone(&stop);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            asked.stop();
        }
    })?;
    Ok(stop)
}
