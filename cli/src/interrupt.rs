//! Ctrl-C for commands that keep what they have done until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Failure;
use crate::output::note;

/// Whether Ctrl-C was pressed.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on the first Ctrl-C asks to stop soon, and the second stops at once. Fails if the process already listens.
    pub fn listen() -> Result<Self, Failure> {
        let pressed = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&pressed);
        let handler = move || {
            if seen.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
            note("stopping after this workload; Ctrl-C again stops at once and keeps nothing");
        };
        match ctrlc::set_handler(handler) {
            Ok(()) => Ok(Self(pressed)),
            Err(error) => Err(Failure::Check(format!("cannot listen for Ctrl-C: {error}"))),
        }
    }

    /// Whether to stop.
    pub fn is_pressed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
