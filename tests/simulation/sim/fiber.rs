//! The file lock that ships, stopped at each of its system calls.
//!
//! The lock blocks in a call, so it has a thread of its own; but only one of that thread and the
//! simulation runs at any time, and so nothing depends on how threads are scheduled.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use leaderelection::testing::file::{Errno, Op, Reply, Store};
use leaderelection::testing::{Clock, Event, Instant, ReadReply, WriteReply};
use leaderelection::{FileLock, Intent, LeaderElectionRecord, Lock, LockError, Revision};

/// The process is gone, and its lock need not make sense of that.
const GONE: Reply = Reply::Failed(Errno(5));

/// What the lock is asked to do.
#[derive(Debug)]
pub enum Task {
    Read {
        budget: Duration,
    },
    Write {
        intent: Intent,
        record: Box<LeaderElectionRecord>,
        expected: Option<Revision>,
        budget: Duration,
    },
}

#[derive(Debug)]
enum Order {
    Do(Task),
    Go(Reply),
}

/// Why the lock has stopped.
#[derive(Debug)]
pub enum Stopped {
    /// It waits for the result of this call.
    Call(Op),
    /// It has an answer, and goes on.
    Answer(Event),
    /// It waits for a task.
    Idle,
}

/// A file lock in a process.
#[derive(Debug)]
pub struct Fiber {
    orders: Option<SyncSender<Order>>,
    stops: Receiver<Stopped>,
    clock: Clock,
    thread: Option<JoinHandle<()>>,
}

struct Calls {
    orders: Receiver<Order>,
    stops: SyncSender<Stopped>,
}

/// Shared by the lock, which makes calls, and the thread's loop, which takes tasks.
struct Gate(std::sync::Arc<std::sync::Mutex<Calls>>);

impl Fiber {
    /// A lock whose nonces come from `seed`, on a host of that name.
    pub fn start(seed: u64, host: &str) -> Self {
        let (orders, taken) = sync_channel(1);
        let (stop, stops) = sync_channel(1);
        let clock = Clock::simulated();
        let calls = Calls { orders: taken, stops: stop };
        let gate = Gate(std::sync::Arc::new(std::sync::Mutex::new(calls)));
        let lock = FileLock::options()
            .clock(clock.clone())
            .seed(seed)
            .boot(host)
            .open_store("simulated.lock", gate.clone());
        let thread = std::thread::spawn(move || serve(lock, &gate));
        Self { orders: Some(orders), stops, clock, thread: Some(thread) }
    }

    /// Gives it a task, at `now`.
    pub fn begin(&mut self, now: Instant, task: Task) -> Stopped {
        self.order(now, Order::Do(task))
    }

    /// Gives it the result of its call.
    pub fn go_on(&mut self, now: Instant, reply: Reply) -> Stopped {
        self.order(now, Order::Go(reply))
    }

    fn order(&mut self, now: Instant, order: Order) -> Stopped {
        self.clock.advance(now.since(self.clock.now()));
        if let Some(orders) = &self.orders {
            orders.send(order).expect("a lock that does not panic takes orders");
        }
        self.next()
    }

    /// Where it stops after an answer.
    pub fn next(&mut self) -> Stopped {
        self.stops.recv().expect("a lock that does not panic stops somewhere")
    }
}

impl Drop for Fiber {
    fn drop(&mut self) {
        // Without an order the call under way fails, as do all that follow it.
        self.orders = None;
        // A stop that nobody has taken must not keep the thread.
        let (_, closed) = sync_channel(0);
        self.stops = closed;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Clone for Gate {
    fn clone(&self) -> Self {
        Self(std::sync::Arc::clone(&self.0))
    }
}

impl Gate {
    /// Stops, and waits for what is next; `None` where the process is gone.
    fn stop(&self, stopped: Stopped) -> Option<Order> {
        let calls = self.0.lock().ok()?;
        calls.stops.send(stopped).ok()?;
        calls.orders.recv().ok()
    }

    fn tell(&self, stopped: Stopped) -> Option<()> {
        self.0.lock().ok()?.stops.send(stopped).ok()
    }

    fn first(&self) -> Option<Order> {
        self.0.lock().ok()?.orders.recv().ok()
    }
}

impl Store for Gate {
    fn perform(&mut self, op: &Op) -> Reply {
        match self.stop(Stopped::Call(op.clone())) {
            Some(Order::Go(reply)) => reply,
            _ => GONE,
        }
    }
}

/// As the lock thread of an elector.
fn serve(mut lock: FileLock, gate: &Gate) {
    let mut next = gate.first();
    while let Some(Order::Do(task)) = next {
        let event = carry_out(&mut lock, task);
        let written = matches!(event, Event::Written(WriteReply::Written(_)));
        if gate.tell(Stopped::Answer(event)).is_none() {
            return;
        }
        if written {
            lock.tidy();
        }
        next = gate.stop(Stopped::Idle);
    }
}

fn carry_out(lock: &mut FileLock, task: Task) -> Event {
    match task {
        Task::Read { budget } => Event::Read(match lock.get(budget) {
            Ok(None) => ReadReply::Absent,
            Ok(Some(observed)) => ReadReply::Found { observed, holder_is_dead: false },
            Err(LockError::Corrupt { revision, nonce, .. }) => {
                ReadReply::Corrupt { revision, nonce }
            }
            Err(LockError::Fatal(_)) => ReadReply::Fatal,
            Err(_) => ReadReply::Unavailable,
        }),
        Task::Write { intent, record, expected, budget } => {
            Event::Written(match lock.write(intent, &record, expected, budget) {
                Ok(revision) => WriteReply::Written(revision),
                Err(LockError::Conflict(_)) => WriteReply::Conflict,
                Err(LockError::Unavailable(_)) => WriteReply::Unavailable,
                Err(LockError::Fatal(_)) => WriteReply::Fatal,
                Err(_) => WriteReply::Indeterminate,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_stops_at_each_call_and_ends_with_its_process() {
        let mut fiber = Fiber::start(1, "host");
        let now = Instant::from_nanos(5_000_000_000);
        let task = Task::Read { budget: Duration::from_secs(1) };
        assert!(matches!(fiber.begin(now, task), Stopped::Call(Op::Open)));
        let Stopped::Answer(event) = fiber.go_on(now, Reply::Missing) else {
            panic!("a directory that is missing is an answer");
        };
        assert_eq!(event, Event::Read(ReadReply::Absent));
        assert!(matches!(fiber.next(), Stopped::Idle));
        let task = Task::Read { budget: Duration::from_secs(1) };
        assert!(matches!(fiber.begin(now, task), Stopped::Call(Op::Open)));
        drop(fiber);
    }
}
