//! What the election thread is told, all by one channel, and the ends by which it is told.
//!
//! The channel has no bound of its own, so that nobody who tells anything ever waits. Each run puts
//! a bound on what there may be of it: one request, two callbacks, one stop, a holder that leaves
//! twice, a few reports and one wake-up.

use crate::elector::desk::Reply;
use crate::elector::seat::Seat;
use crate::elector::threads::Returned;
use crate::sync::channel::{Receiver, Sender, unbounded};

/// Tells the elections of one thread apart. No number is used twice.
pub(super) type SeatId = u64;

/// What has happened.
pub(super) enum Input {
    /// Another election to serve.
    Spawn(Box<Seat>),
    /// The lock has answered the request of that ticket.
    Reply(SeatId, u64, Box<Reply>),
    /// A callback of a term has returned.
    Returned(SeatId, Returned),
    /// The result of the task.
    Report(SeatId, bool),
    /// The run shall end.
    Stop(SeatId),
    /// Who held the handle or the guard works no more: waits for the end, or is gone.
    Awaited(SeatId),
    /// The record may have changed.
    WakeUp(SeatId),
    /// All runs shall end.
    StopAll,
    /// No further election comes.
    Close,
    /// A defect of this crate.
    #[cfg(test)]
    Panic,
}

pub(super) fn inbox() -> (Sender<Input>, Receiver<Input>) {
    unbounded()
}

/// Tells the election thread of one election. Never waits, and is not heard once that is over.
#[derive(Clone)]
pub(super) struct Outlet {
    inbox: Sender<Input>,
    id: SeatId,
}

impl Outlet {
    pub(super) fn new(inbox: Sender<Input>, id: SeatId) -> Self {
        Self { inbox, id }
    }

    pub(super) fn id(&self) -> SeatId {
        self.id
    }

    pub(super) fn reply(&self, ticket: u64, reply: Reply) {
        self.tell(self.the_reply(ticket, reply));
    }

    pub(super) fn the_reply(&self, ticket: u64, reply: Reply) -> Input {
        Input::Reply(self.id, ticket, Box::new(reply))
    }

    pub(super) fn returned(&self, returned: Returned) {
        self.tell(Input::Returned(self.id, returned));
    }

    pub(super) fn report(&self, success: bool) {
        self.tell(Input::Report(self.id, success));
    }

    pub(super) fn stop(&self) {
        self.tell(Input::Stop(self.id));
    }

    pub(super) fn awaited(&self) {
        self.tell(Input::Awaited(self.id));
    }

    pub(super) fn wake_up(&self) {
        self.tell(Input::WakeUp(self.id));
    }

    fn tell(&self, input: Input) {
        let _ = self.inbox.try_send(input);
    }
}
