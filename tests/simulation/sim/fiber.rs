//! The file lock that ships, stopped at each of its system calls.
//!
//! The lock blocks in a call, so it has a stack of its own: it is a coroutine, which runs only
//! while the simulation waits for it to stop.

use std::fmt;
use std::time::Duration;

use generator::{Generator, Gn};
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

enum Order {
    Do(Task),
    Go(Reply),
    /// What has been taken note of is not an order.
    Next,
    /// The process is gone.
    End,
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

/// In words of eight bytes. Tests without optimization need much of it.
const STACK: usize = 0x1_0000;

/// A file lock in a process.
pub struct Fiber {
    lock: Generator<'static, Order, Stopped>,
    clock: Clock,
}

/// The store of the lock: each of its calls is a stop.
struct Calls;

impl Fiber {
    /// A lock whose nonces come from `seed`, on a host of that name.
    pub fn start(seed: u64, host: &str) -> Self {
        let clock = Clock::simulated();
        let options = FileLock::options().clock(clock.clone()).seed(seed).boot(host);
        let lock = options.open_store("simulated.lock", Calls);
        let mut lock = Gn::new_opt(STACK, move || serve(lock));
        // The first resumption takes no order.
        lock.resume();
        Self { lock, clock }
    }

    /// Gives it a task, at `now`.
    pub fn begin(&mut self, now: Instant, task: Task) -> Stopped {
        self.clock.advance(now.since(self.clock.now()));
        self.lock.send(Order::Do(task))
    }

    /// Gives it the result of its call.
    pub fn go_on(&mut self, now: Instant, reply: Reply) -> Stopped {
        self.clock.advance(now.since(self.clock.now()));
        self.lock.send(Order::Go(reply))
    }

    /// Where it stops after an answer.
    pub fn next(&mut self) -> Stopped {
        self.lock.send(Order::Next)
    }
}

impl Drop for Fiber {
    fn drop(&mut self) {
        // The call under way fails, as do all that follow it.
        while !self.lock.is_done() {
            self.lock.send(Order::End);
        }
    }
}

impl fmt::Debug for Fiber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fiber").finish_non_exhaustive()
    }
}

/// Stops the lock that runs, and waits for what is next.
#[expect(deprecated, reason = "the scope that replaces it can't live in a store that a lock owns")]
fn stop(stopped: Stopped) -> Order {
    generator::yield_(stopped).unwrap_or(Order::End)
}

impl Store for Calls {
    fn perform(&mut self, op: &Op) -> Reply {
        match stop(Stopped::Call(op.clone())) {
            Order::Go(reply) => reply,
            _ => GONE,
        }
    }
}

/// As the lock thread of an elector.
fn serve(mut lock: FileLock) -> Stopped {
    while let Order::Do(task) = stop(Stopped::Idle) {
        let event = carry_out(&mut lock, task);
        let written = matches!(event, Event::Written(WriteReply::Written(_)));
        if let Order::End = stop(Stopped::Answer(event)) {
            break;
        }
        if written {
            lock.tidy();
        }
    }
    Stopped::Idle
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
