//! The election thread's one select: what has happened, or that it is time.

use std::time::Duration;

use super::Driver;
use crate::elector::lock_thread::{Reply, Request};
use crate::elector::threads::Returned;
use crate::sync::channel::{Receiver, Select, SendError, never};

/// While a term is held no wait is longer, since a channel's timer stops in a suspend.
const LONGEST_WAIT_AS_LEADER: Duration = Duration::from_millis(250);

/// No operation of the select.
const NONE: usize = usize::MAX;

/// What the select found ready.
pub(super) enum Ready {
    Task(Option<bool>),
    Report(Option<bool>),
    Stop,
    Reply(Reply),
    Returned(Returned),
    GuardGone,
    WakeUp(bool),
    /// The lock thread has taken the request.
    Sent,
    /// There is no lock thread to take it.
    Refused(Request),
    Timer,
}

impl Driver {
    pub(super) fn wait(&mut self) -> Ready {
        let leading = self.run.election.is_leading();
        let timer = self.timer(leading);
        let mut select = Select::new();
        let task = select.recv(&self.run.inputs.task);
        let report = select.recv(&self.run.inputs.reports);
        let stop = select.recv(&self.run.inputs.stop);
        let reply = select.recv(&self.replies);
        let returned = select.recv(&self.returned);
        let guard_gone = select.recv(&self.run.inputs.guard_gone);
        let time = select.recv(&timer);
        let wake_up = if leading { NONE } else { select.recv(&self.run.wake_ups) };
        let sent = if self.outbox.is_none() { NONE } else { select.send(&self.run.requests) };
        let operation = select.select();
        match operation.index() {
            index if index == task => Ready::Task(operation.recv(&self.run.inputs.task).ok()),
            index if index == report => {
                Ready::Report(operation.recv(&self.run.inputs.reports).ok())
            }
            index if index == stop => {
                let _ = operation.recv(&self.run.inputs.stop);
                Ready::Stop
            }
            index if index == reply => {
                operation.recv(&self.replies).map_or(Ready::Timer, Ready::Reply)
            }
            index if index == returned => {
                operation.recv(&self.returned).map_or(Ready::Timer, Ready::Returned)
            }
            index if index == guard_gone => {
                let _ = operation.recv(&self.run.inputs.guard_gone);
                Ready::GuardGone
            }
            index if index == wake_up => Ready::WakeUp(operation.recv(&self.run.wake_ups).is_ok()),
            index if index == sent => {
                let request = self.outbox.take().expect("the select sends what is there");
                match operation.send(&self.run.requests, request) {
                    Ok(()) => Ready::Sent,
                    Err(SendError(request)) => Ready::Refused(request),
                }
            }
            index => {
                debug_assert_eq!(index, time);
                let _ = operation.recv(&timer);
                Ready::Timer
            }
        }
    }

    fn timer(&self, leading: bool) -> Receiver<std::time::Instant> {
        // Without a deadline nothing is awaited but the end of the work.
        let Some(deadline) = self.run.election.next_deadline() else {
            return never();
        };
        let longest = if leading { LONGEST_WAIT_AS_LEADER } else { Duration::MAX };
        self.run.clock.wake_at(deadline, longest)
    }
}
