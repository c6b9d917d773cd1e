//! The election thread's one select: what has happened, or that it is time.

use std::time::Duration;

use super::{Engine, Serves};
use crate::clock::Instant;
use crate::elector::inbox::Input;
use crate::sync::channel::{Receiver, Select, never};

/// While a term is held no wait is longer, since a channel's timer stops in a suspend.
const LONGEST_WAIT_AS_LEADER: Duration = Duration::from_millis(250);

/// No operation of the select.
const NONE: usize = usize::MAX;

/// What the select found ready.
pub(super) enum Ready {
    Input(Input),
    Task(Option<bool>),
    Stop,
    /// The record may have changed; or nobody will tell so any more.
    WakeUp(bool),
    Timer,
}

impl Engine {
    /// Waits for anything, but not beyond the next deadline nor `look_again`.
    pub(super) fn wait(&self, look_again: Option<Instant>) -> Ready {
        let timer = self.timer(look_again);
        let leading = self.leaders > 0;
        let mut select = Select::new();
        let input = select.recv(&self.inbox);
        let time = select.recv(&timer);
        let foreign = match &self.serves {
            Serves::One(foreign) => Some(foreign),
            Serves::Many(_) => None,
        };
        let (mut task, mut stop, mut wake_up) = (NONE, NONE, NONE);
        if let Some(foreign) = foreign {
            task = select.recv(&foreign.task);
            stop = select.recv(&foreign.stop);
            wake_up = if leading { NONE } else { select.recv(&foreign.wake_ups) };
        }
        let operation = select.select();
        match (operation.index(), foreign) {
            (index, Some(foreign)) if index == task => {
                Ready::Task(operation.recv(&foreign.task).ok())
            }
            (index, Some(foreign)) if index == stop => {
                let _ = operation.recv(&foreign.stop);
                Ready::Stop
            }
            (index, Some(foreign)) if index == wake_up => {
                Ready::WakeUp(operation.recv(&foreign.wake_ups).is_ok())
            }
            (index, _) if index == input => {
                operation.recv(&self.inbox).map_or(Ready::Timer, Ready::Input)
            }
            (index, _) => {
                debug_assert_eq!(index, time);
                let _ = operation.recv(&timer);
                Ready::Timer
            }
        }
    }

    fn timer(&self, look_again: Option<Instant>) -> Receiver<std::time::Instant> {
        // Without a deadline nothing is awaited but the end of the work.
        let deadlines = self.deadlines.next().into_iter().chain(look_again);
        let Some(deadline) = deadlines.min() else {
            return never();
        };
        let longest = if self.leaders > 0 { LONGEST_WAIT_AS_LEADER } else { Duration::MAX };
        self.clock.wake_at(deadline, longest)
    }
}
