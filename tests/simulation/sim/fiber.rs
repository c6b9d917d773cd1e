//! The file lock that ships, stopped at each of its system calls.
//!
//! The lock blocks in a call, so it has a stack of its own: it is a coroutine, which runs only
//! while the simulation waits for it to stop.

use std::fmt;
use std::time::Duration;

use generator::{Generator, Gn};
use leaderelection::testing::file::{Decoded, Errno, Op, Reply, Store, Text, decode};
use leaderelection::testing::{Clock, Event, Instant, ReadReply, WriteReply};
use leaderelection::{
    FileLock, Incarnation, Intent, LeaderElectionRecord, Liveness, Lock, LockError, Revision,
};

use super::mutant::Mutant;

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
struct Calls {
    mutant: Option<Mutant>,
    /// The claim that is being proven: its name and text.
    claim: Option<(u64, Text)>,
}

impl Fiber {
    /// A lock whose nonces come from `seed`, on a host of that name.
    pub fn start(seed: u64, host: &str, mutant: Option<Mutant>) -> Self {
        let clock = Clock::simulated();
        let options =
            FileLock::options().clock(clock.clone()).seed(seed).boot(host).same_host(false);
        let lock = options.open_store("simulated.lock", Calls { mutant, claim: None });
        let mut lock = Gn::new_opt(STACK, move || serve(lock, mutant));
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
        match self.mutant {
            None => call(op.clone()),
            Some(mutant) => self.perform_otherwise(mutant, op),
        }
    }
}

impl Calls {
    /// What a mutant answers in place of the directory.
    fn perform_otherwise(&mut self, mutant: Mutant, op: &Op) -> Reply {
        let claim = self.claim.take();
        if let (Mutant::NoListingAfterAClaim, Op::List, Some((name, _))) = (mutant, op, &claim) {
            return Reply::Listed([*name].into());
        }
        let reply = call(op.clone());
        if let Op::Create(name, text) = op {
            self.claim = Some((*name, text.clone()));
            return reply;
        }
        let Some((name, own)) = claim else {
            return reply;
        };
        let reply = match (mutant, op, reply) {
            (Mutant::ClaimNotReadBack, Op::Read(read), _) if *read == name => {
                Reply::Text(own.clone())
            }
            (Mutant::MineByIncarnation, Op::Read(read), Reply::Text(text))
                if *read == name && incarnation(&own) == incarnation(&text) =>
            {
                Reply::Text(own.clone())
            }
            (_, _, reply) => reply,
        };
        let goes_on = match (op, &reply) {
            (Op::Read(read), Reply::Text(text)) => *read != name || *text == own,
            (Op::Sync | Op::Open, Reply::Done | Reply::Opened(_)) => true,
            _ => false,
        };
        self.claim = goes_on.then_some((name, own));
        reply
    }
}

fn incarnation(text: &Text) -> Option<Incarnation> {
    match decode(text) {
        Decoded::Entry(entry) => Some(entry.record.incarnation),
        _ => None,
    }
}

/// Stops at a call.
fn call(op: Op) -> Reply {
    match stop(Stopped::Call(op)) {
        Order::Go(reply) => reply,
        _ => GONE,
    }
}

/// As the lock thread of an elector.
fn serve(mut lock: FileLock, mutant: Option<Mutant>) -> Stopped {
    while let Order::Do(task) = stop(Stopped::Idle) {
        let event = carry_out(&mut lock, task);
        let written = matches!(event, Event::Written(WriteReply::Written(_)));
        if let Order::End = stop(Stopped::Answer(event)) {
            break;
        }
        match mutant {
            Some(Mutant::SweepWithoutItsWait | Mutant::NoListingAfterAClaim) if written => {
                sweep_at_once();
            }
            _ if written => lock.tidy(),
            _ => {}
        }
    }
    Stopped::Idle
}

/// Removes all below the highest name, however new that is.
fn sweep_at_once() {
    let Reply::Listed(names) = call(Op::List) else {
        return;
    };
    if let Some((_, below)) = names.split_last() {
        for name in below {
            call(Op::Remove(*name));
        }
    }
}

fn carry_out(lock: &mut FileLock, task: Task) -> Event {
    match task {
        Task::Read { budget } => Event::Read(match lock.get(budget) {
            Ok(None) => ReadReply::Absent,
            Ok(Some(observed)) => ReadReply::Found { observed, liveness: Liveness::Unknown },
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
        let mut fiber = Fiber::start(1, "host", None);
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
