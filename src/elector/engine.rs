//! The election thread: looks at its elections when something happens to one, or when it is time.
//!
//! It waits for nothing but its one select.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::elector::elections::{Elections, Received, Wait};
use crate::elector::inbox::{Input, Line};
use crate::sync::channel::{Receiver, Select, never};

/// While a term is held no wait is longer, since a channel's timer stops in a suspend.
const LONGEST_WAIT_AS_LEADER: Duration = Duration::from_millis(250);

/// No operation of the select.
const NONE: usize = usize::MAX;

/// The thread's hold of its elections, from before it starts.
pub(super) struct Engine {
    clock: Clock,
    line: Arc<Line>,
    inbox: Receiver<Input>,
}

impl Engine {
    pub(super) fn new(
        clock: Clock,
        line: Arc<Line>,
        inbox: Receiver<Input>,
        elections: Elections,
    ) -> Self {
        line.open(elections);
        Self { clock, line, inbox }
    }

    /// Serves until no election is left, nor comes. What remains then is the user's in part, and to
    /// drop it may take any time.
    pub(super) fn run(&mut self) {
        let mut received = Received::Nothing;
        while let Some(wait) = self.turn(received) {
            received = self.wait(&wait);
        }
    }

    fn turn(&self, received: Received) -> Option<Wait> {
        let (left, wait) = self.line.with(|elections| {
            elections.turn(received);
            (elections.take_left(), elections.next_wait())
        })?;
        // Nobody waits for it meanwhile.
        drop(left);
        wait
    }

    /// Waits for anything, but not beyond the deadline.
    fn wait(&self, wait: &Wait) -> Received {
        let longest = if wait.leading { LONGEST_WAIT_AS_LEADER } else { Duration::MAX };
        let timer = match wait.deadline {
            Some(deadline) => self.clock.wake_at(deadline, longest),
            None => never(),
        };
        let mut select = Select::new();
        let input = select.recv(&self.inbox);
        select.recv(&timer);
        let (mut task, mut stop, mut wake_up) = (NONE, NONE, NONE);
        if let Some(foreign) = &wait.foreign {
            task = select.recv(&foreign.task);
            stop = select.recv(&foreign.stop);
            wake_up = if wait.leading { NONE } else { select.recv(&foreign.wake_ups) };
        }
        if !wait.is_handed_over {
            // Whatever it is stays there until this thread has its elections in its hands: what
            // another thread tells them meanwhile does not overtake it.
            select.ready();
            return Received::Nothing;
        }
        let operation = select.select();
        match (operation.index(), &wait.foreign) {
            (index, Some(foreign)) if index == task => {
                Received::Task(operation.recv(&foreign.task).ok())
            }
            (index, Some(foreign)) if index == stop => {
                let _ = operation.recv(&foreign.stop);
                Received::Stop
            }
            (index, Some(foreign)) if index == wake_up => {
                Received::WakeUp(operation.recv(&foreign.wake_ups).is_ok())
            }
            (index, _) if index == input => {
                operation.recv(&self.inbox).map_or(Received::Nothing, Received::Input)
            }
            _ => {
                let _ = operation.recv(&timer);
                Received::Nothing
            }
        }
    }
}

/// After a panic, a defect of this crate, all are told before anything of the user's is dropped.
impl Drop for Engine {
    fn drop(&mut self) {
        let Some(mut elections) = self.line.close() else {
            return;
        };
        let mut seats = elections.give_up();
        for seat in &mut seats {
            seat.abandon();
        }
        for seat in seats {
            let worker = seat.worker().clone();
            worker.drop_later(seat);
        }
    }
}
