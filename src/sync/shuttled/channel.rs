//! Crossbeam's channels, as far as they are used here, on shuttle's locks.
//!
//! A channel without a buffer hands over only to a thread that waits in `recv`, not in a select.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

pub use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};
use shuttle::sync::Condvar;
use shuttle::thread;

use super::{Mutant, Mutex, is_broken, random};

/// Wakes one thread from one wait. Shuttle's `park` would not do: it returns without a reason now
/// and then, and so hides that somebody forgot to wake it.
#[derive(Default)]
struct Alarm {
    rang: Mutex<bool>,
    changed: Condvar,
}

impl Alarm {
    fn ring(&self) {
        *self.rang.lock() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut rang = self.rang.lock();
        while !*rang {
            rang = self.changed.wait(rang).unwrap_or_else(PoisonError::into_inner);
        }
        *rang = false;
    }
}

struct Channel<T>(Mutex<State<T>>);

struct State<T> {
    queue: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receivers: usize,
    /// Threads that wait in `recv`.
    hungry: usize,
    /// To be rung at any change.
    waiting: Vec<Arc<Alarm>>,
}

impl<T> State<T> {
    fn wake_all(&mut self) {
        self.waiting.drain(..).for_each(|alarm| alarm.ring());
    }

    fn rings(&mut self, alarm: &Arc<Alarm>) {
        // Those that only this channel still has belong to a wait that is over.
        self.waiting.retain(|other| Arc::strong_count(other) > 1 && !Arc::ptr_eq(other, alarm));
        self.waiting.push(Arc::clone(alarm));
    }

    fn may_send(&self) -> bool {
        let room = if self.capacity == 0 { self.hungry } else { self.capacity };
        self.receivers == 0 || self.queue.len() < room
    }

    fn may_recv(&self) -> bool {
        self.senders == 0 || !self.queue.is_empty()
    }

    fn push(&mut self, message: T) -> Result<(), TrySendError<T>> {
        if self.receivers == 0 {
            return Err(TrySendError::Disconnected(message));
        }
        if !self.may_send() {
            return Err(TrySendError::Full(message));
        }
        if is_broken(Mutant::ForgetfulChannel) && random().is_multiple_of(8) {
            return Ok(());
        }
        self.queue.push_back(message);
        self.wake_all();
        Ok(())
    }

    fn pop(&mut self) -> Result<T, TryRecvError> {
        match self.queue.pop_front() {
            Some(message) => {
                self.wake_all();
                Ok(message)
            }
            None if self.senders == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }
}

/// Waits until `poll` says something.
fn block<T, R>(channel: &Channel<T>, mut poll: impl FnMut(&mut State<T>) -> Option<R>) -> R {
    let alarm = Arc::default();
    loop {
        let mut state = channel.0.lock();
        if let Some(result) = poll(&mut state) {
            return result;
        }
        if is_broken(Mutant::LateRegistration) {
            drop(state);
            state = channel.0.lock();
        }
        state.rings(&alarm);
        drop(state);
        alarm.wait();
    }
}

/// A channel with room for `capacity` messages.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let state = State {
        queue: VecDeque::new(),
        capacity,
        senders: 1,
        receivers: 1,
        hungry: 0,
        waiting: Vec::new(),
    };
    let channel = Arc::new(Channel(Mutex::new(state)));
    (Sender(Arc::clone(&channel)), Receiver(Some(channel)))
}

/// A channel that is never full.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    bounded(usize::MAX)
}

/// A channel on which nothing ever arrives.
pub fn never<T>() -> Receiver<T> {
    Receiver(None)
}

/// The same: here no time passes but the simulated.
pub fn after(_: Duration) -> Receiver<Instant> {
    never()
}

/// The sending end.
pub struct Sender<T>(Arc<Channel<T>>);

impl<T> Sender<T> {
    /// Sends, where there is room.
    ///
    /// # Errors
    ///
    /// As crossbeam's.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.0.0.lock().push(message)
    }

    /// Sends, as soon as there is room.
    ///
    /// # Errors
    ///
    /// As crossbeam's.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        let mut message = Some(message);
        block(&self.0, |state| match state.push(message.take()?) {
            Ok(()) => Some(Ok(())),
            Err(TrySendError::Disconnected(message)) => Some(Err(SendError(message))),
            Err(TrySendError::Full(refused)) => {
                message = Some(refused);
                None
            }
        })
    }
}

impl<T> Sender<T> {
    /// Whether nothing waits to be received.
    pub fn is_empty(&self) -> bool {
        self.0.0.lock().queue.is_empty()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.senders -= 1;
        if state.senders == 0 && !is_broken(Mutant::SilentDisconnect) {
            state.wake_all();
        }
    }
}

/// The receiving end; without a channel nothing ever arrives.
pub struct Receiver<T>(Option<Arc<Channel<T>>>);

impl<T> Receiver<T> {
    /// Takes a message that is there.
    ///
    /// # Errors
    ///
    /// As crossbeam's.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match &self.0 {
            Some(channel) => channel.0.lock().pop(),
            None => Err(TryRecvError::Empty),
        }
    }

    /// Waits for a message.
    ///
    /// # Errors
    ///
    /// As crossbeam's.
    pub fn recv(&self) -> Result<T, RecvError> {
        let Some(channel) = &self.0 else {
            loop {
                Alarm::default().wait();
            }
        };
        {
            let mut state = channel.0.lock();
            state.hungry += 1;
            state.wake_all();
        }
        block(channel, |state| {
            let result = match state.pop() {
                Ok(message) => Ok(message),
                Err(TryRecvError::Disconnected) => Err(RecvError),
                Err(TryRecvError::Empty) => return None,
            };
            state.hungry -= 1;
            Some(result)
        })
    }

    /// How many messages there is room for; one that never gets any has none.
    pub fn capacity(&self) -> Option<usize> {
        let capacity = self.0.as_ref().map_or(0, |channel| channel.0.lock().capacity);
        (capacity < usize::MAX).then_some(capacity)
    }

    /// Whether nothing waits to be received.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|channel| channel.0.lock().queue.is_empty())
    }

    /// Whether both receive from one channel, or never anything.
    pub fn same_channel(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }

    /// Waits for a message, or until the patience of the schedule is over.
    ///
    /// # Errors
    ///
    /// As crossbeam's.
    pub fn recv_timeout(&self, _: Duration) -> Result<T, RecvTimeoutError> {
        for _ in 0..random() % 8 {
            match self.try_recv() {
                Ok(message) => return Ok(message),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => thread::yield_now(),
            }
        }
        Err(RecvTimeoutError::Timeout)
    }

    /// The messages, until the channel is disconnected.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.recv().ok())
    }

    /// The messages that are there.
    pub fn try_iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.try_recv().ok())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        if let Some(channel) = &self.0 {
            channel.0.lock().receivers += 1;
        }
        Self(self.0.clone())
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let Some(channel) = &self.0 else {
            return;
        };
        let mut state = channel.0.lock();
        state.receivers -= 1;
        if state.receivers == 0 {
            state.wake_all();
            // What nobody can take any more goes at once, as with crossbeam, and may itself be the
            // end of a channel.
            let unread = std::mem::take(&mut state.queue);
            drop(state);
            drop(unread);
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender { .. }")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver { .. }")
    }
}

/// An operation that a select waits for.
trait Operation {
    /// Whether it is ready; if not, the alarm rings when that may have changed.
    fn is_ready_or_rings(&self, alarm: &Arc<Alarm>) -> bool;
}

fn is_ready_or_rings<T>(
    channel: &Channel<T>,
    is_ready: fn(&State<T>) -> bool,
    alarm: &Arc<Alarm>,
) -> bool {
    let mut state = channel.0.lock();
    if is_ready(&state) {
        return true;
    }
    if is_broken(Mutant::LateRegistration) {
        drop(state);
        state = channel.0.lock();
    }
    state.rings(alarm);
    false
}

impl<T> Operation for Receiver<T> {
    fn is_ready_or_rings(&self, alarm: &Arc<Alarm>) -> bool {
        self.0.as_ref().is_some_and(|channel| is_ready_or_rings(channel, State::may_recv, alarm))
    }
}

impl<T> Operation for Sender<T> {
    fn is_ready_or_rings(&self, alarm: &Arc<Alarm>) -> bool {
        is_ready_or_rings(&self.0, State::may_send, alarm)
    }
}

/// Waits for one of several operations, any of those that are ready.
#[derive(Default)]
pub struct Select<'a> {
    operations: Vec<&'a dyn Operation>,
}

impl<'a> Select<'a> {
    /// Waits for nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a receiver, and returns its index.
    pub fn recv<T>(&mut self, receiver: &'a Receiver<T>) -> usize {
        self.operations.push(receiver);
        self.operations.len() - 1
    }

    /// Adds a sender, and returns its index.
    pub fn send<T>(&mut self, sender: &'a Sender<T>) -> usize {
        self.operations.push(sender);
        self.operations.len() - 1
    }

    /// Waits, and receives nothing.
    pub fn ready(&mut self) -> usize {
        self.select().index
    }

    /// Waits.
    pub fn select(&mut self) -> SelectedOperation {
        let count = self.operations.len();
        let alarm = Arc::default();
        loop {
            let first = random() as usize % count;
            let mut order = (first..count).chain(0..first);
            if let Some(index) =
                order.find(|index| self.operations[*index].is_ready_or_rings(&alarm))
            {
                return SelectedOperation { index };
            }
            alarm.wait();
        }
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select").field("operations", &self.operations.len()).finish()
    }
}

/// An operation that was ready, and still is: nobody else has that end of its channel.
#[derive(Debug)]
pub struct SelectedOperation {
    index: usize,
}

impl SelectedOperation {
    /// The index of the operation.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Receives.
    ///
    /// # Errors
    ///
    /// As crossbeam's.
    pub fn recv<T>(self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        receiver.try_recv().map_err(|error| {
            assert_eq!(error, TryRecvError::Disconnected, "somebody else took the message");
            RecvError
        })
    }

    /// Sends.
    ///
    /// # Errors
    ///
    /// As crossbeam's.
    pub fn send<T>(self, sender: &Sender<T>, message: T) -> Result<(), SendError<T>> {
        sender.try_send(message).map_err(|error| match error {
            TrySendError::Disconnected(message) => SendError(message),
            TrySendError::Full(_) => unreachable!("somebody else took the room"),
        })
    }
}
