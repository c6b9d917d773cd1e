//! What the elections of one thread are told, and the ends by which they are told.
//!
//! The channel has no bound of its own, so that nobody who tells anything ever waits. Each run puts
//! a bound on what there may be of it: one request, two callbacks, one stop, a holder that leaves
//! twice, a few reports and one wake-up.

use std::sync::Arc;

use crate::elector::desk::{Desk, Reply};
use crate::elector::elections::{Elections, Visit};
use crate::elector::seat::Seat;
use crate::elector::threads::{Returned, caught};
use crate::sync::Mutex;
use crate::sync::channel::{Receiver, Sender, unbounded};
#[cfg(shuttle)]
use crate::sync::{Mutant, is_broken};

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
    /// Another thread has had it take a step.
    Look(SeatId),
    /// All runs shall end.
    StopAll,
    /// No further election comes.
    Close,
    /// A defect of this crate.
    Panic,
}

/// The way to the elections of one thread, for all that have something to tell them.
pub(super) struct Line {
    inbox: Sender<Input>,
    /// Until the election thread has ended.
    elections: Mutex<Option<Box<Elections>>>,
}

impl Line {
    pub(super) fn new() -> (Arc<Self>, Receiver<Input>) {
        let (inbox, unread) = unbounded();
        (Arc::new(Self { inbox, elections: Mutex::default() }), unread)
    }

    /// Lets elections be told on the thread of who tells.
    pub(super) fn open(&self, elections: Elections) {
        *self.elections.lock() = Some(Box::new(elections));
    }

    /// Ends that. Nobody else reaches them from now on.
    pub(super) fn close(&self) -> Option<Box<Elections>> {
        self.elections.lock().take()
    }

    /// For the election thread.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Elections) -> T) -> Option<T> {
        self.elections.lock().as_deref_mut().map(act)
    }

    /// Tells the election thread, and gives back what can't be told any more.
    pub(super) fn send(&self, input: Input) -> Result<(), Input> {
        self.inbox.try_send(input).map_err(|refused| refused.into_inner())
    }

    /// Has the election take a step on this thread, if nobody else is at it and nothing waits;
    /// otherwise tells the election thread. Never waits. Returns the lock that this thread is to
    /// ask, if it says that it can.
    fn tell(&self, input: Input, serves_itself: bool) -> Option<Arc<Desk>> {
        let Some(mut elections) = self.elections.try_lock() else {
            let _ = self.send(input);
            return None;
        };
        let visit = match elections.as_deref_mut() {
            Some(elections) => caught(|| elections.visit(input, serves_itself)),
            None => Ok(Err(input)),
        };
        if visit.is_err() {
            // Before anybody else has them in its hands. The election thread sees to it that all
            // are told.
            let _ = self.send(Input::Panic);
        }
        drop(elections);
        match visit {
            #[cfg(shuttle)]
            Ok(Ok(Visit { desk, .. })) if is_broken(Mutant::SilentVisit) => desk,
            Ok(Ok(Visit { look, desk })) => {
                look.into_iter().for_each(|id| drop(self.send(Input::Look(id))));
                desk
            }
            Ok(Err(input)) => {
                let _ = self.send(input);
                None
            }
            Err(_) => None,
        }
    }
}

/// Tells one election. Never waits, and is not heard once that is over.
#[derive(Clone)]
pub(super) struct Outlet {
    line: Arc<Line>,
    id: SeatId,
}

impl Outlet {
    pub(super) fn new(line: Arc<Line>, id: SeatId) -> Self {
        Self { line, id }
    }

    pub(super) fn id(&self) -> SeatId {
        self.id
    }

    pub(super) fn reply(&self, ticket: u64, reply: Reply) {
        self.line.tell(self.the_reply(ticket, reply), false);
    }

    pub(super) fn the_reply(&self, ticket: u64, reply: Reply) -> Input {
        Input::Reply(self.id, ticket, Box::new(reply))
    }

    /// Says so, and then asks the lock on this thread, if that is to be done next.
    pub(super) fn returned(&self, returned: Returned) {
        if let Some(desk) = self.line.tell(Input::Returned(self.id, returned), true) {
            desk.serve_through();
        }
    }

    pub(super) fn report(&self, success: bool) {
        self.line.tell(Input::Report(self.id, success), false);
    }

    pub(super) fn stop(&self) {
        self.line.tell(Input::Stop(self.id), false);
    }

    pub(super) fn awaited(&self) {
        self.line.tell(Input::Awaited(self.id), false);
    }

    /// Returns the lock that this thread is to ask, if it says that it can.
    pub(super) fn wake_up(&self, serves_itself: bool) -> Option<Arc<Desk>> {
        self.line.tell(Input::WakeUp(self.id), serves_itself)
    }
}

impl Input {
    /// Whom it is about. What is about all of them is never told but to the election thread.
    pub(super) fn seat(&self) -> SeatId {
        match self {
            Self::Spawn(seat) => seat.id(),
            Self::Reply(id, ..)
            | Self::Returned(id, _)
            | Self::Report(id, _)
            | Self::Stop(id)
            | Self::Awaited(id)
            | Self::WakeUp(id)
            | Self::Look(id) => *id,
            Self::StopAll | Self::Close | Self::Panic => SeatId::MAX,
        }
    }
}
