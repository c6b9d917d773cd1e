//! A line on a terminal while the doctor works; nothing elsewhere.

use std::cell::Cell;
use std::io::{self, Write};

use crate::waiting;

/// The line. It is gone when this is dropped.
#[derive(Debug)]
pub struct Progress {
    steps: u64,
    begun: Cell<u64>,
    is_shown: bool,
}

impl Progress {
    /// A line for so many steps.
    pub fn new(steps: u64) -> Self {
        Self { steps, begun: Cell::new(0), is_shown: waiting::can_be_shown() }
    }

    /// The next step begins.
    pub fn step(&self, what: &str) {
        self.begun.set(self.begun.get() + 1);
        self.show(&format!("{}/{} {what}", self.begun.get(), self.steps));
    }

    fn show(&self, text: &str) {
        if self.is_shown {
            let line = [waiting::CLEAR, text.as_bytes()].concat();
            // A terminal that is gone shows nothing.
            let _ = io::stderr().write_all(&line);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.show("");
    }
}
