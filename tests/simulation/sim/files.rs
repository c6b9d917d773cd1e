//! A candidate's file lock: its calls go to the directory and back, one at a time.

use leaderelection::testing::file::{Errno, Op, Reply};
use leaderelection::testing::{Event, Instant, ReadReply, WriteReply};

use super::fiber::{Fiber, Stopped, Task};
use super::network::{Answer, Call, Excuse};
use super::plan::StoreKind;
use super::time::{MICRO, True, nanos};
use super::world::World;

/// The lock of a process, and what waits for it.
#[derive(Debug, Default)]
pub(super) struct FileNode {
    fiber: Option<Fiber>,
    busy: bool,
    /// The run that is owed an answer.
    for_run: u32,
    /// A request that came while the lock was busy, and whose it is.
    waiting: Option<(u32, Call, Instant)>,
    /// When the directory was opened last.
    pub(super) opened: True,
}

impl World {
    /// A process has started.
    pub(super) fn file_started(&mut self, node: usize) {
        if self.plan.store.kind == StoreKind::Files && self.files[node].fiber.is_none() {
            let seed = self.rng.next();
            let (host, boot) = (self.plan.nodes[node].host, self.nodes[node].boot);
            let host = format!("host-{host}-{boot}");
            self.files[node].fiber = Some(Fiber::start(seed, &host, self.mutant));
        }
    }

    pub(super) fn file_crashed(&mut self, node: usize) {
        self.files[node] = FileNode::default();
    }

    /// A request of the machine. A busy lock takes it later, unless its run is over by then.
    pub(super) fn file_send(&mut self, node: usize, call: Call, deadline: Instant) {
        let run = self.nodes[node].run_id;
        if self.files[node].busy {
            self.files[node].waiting = Some((run, call, deadline));
            return;
        }
        self.file_begin(node, run, call, deadline);
    }

    fn file_begin(&mut self, node: usize, run: u32, call: Call, deadline: Instant) {
        let now = self.clocks[node].local(self.now);
        let budget = deadline.since(now);
        if budget.is_zero() {
            let answer = Excuse::Unavailable.answer(&call);
            return self.answer_soon(node, run, call, answer);
        }
        let task = match call {
            Call::Write { intent, record, expected } => {
                Task::Write { intent, record, expected, budget }
            }
            _ => Task::Read { budget },
        };
        let files = &mut self.files[node];
        (files.busy, files.for_run) = (true, run);
        if let Some(fiber) = &mut files.fiber {
            let stopped = fiber.begin(now, task);
            self.file_stopped(node, stopped);
        }
    }

    /// A call has returned.
    pub(super) fn file_goes_on(&mut self, node: usize, reply: Reply) {
        let now = self.clocks[node].local(self.now);
        if let Some(fiber) = &mut self.files[node].fiber {
            let stopped = fiber.go_on(now, reply);
            self.file_stopped(node, stopped);
        }
    }

    fn file_stopped(&mut self, node: usize, mut stopped: Stopped) {
        if let Stopped::Answer(event) = stopped {
            let run = self.files[node].for_run;
            self.answer_soon(node, run, Call::Read, Answer::Lock(event.into()));
            let Some(fiber) = &mut self.files[node].fiber else {
                return;
            };
            stopped = fiber.next();
        }
        match stopped {
            Stopped::Call(op) => self.file_call(node, op),
            Stopped::Idle | Stopped::Answer(_) => {
                self.files[node].busy = false;
                if let Some((run, call, deadline)) = self.files[node].waiting.take()
                    && self.is_running(node, run)
                {
                    self.file_begin(node, run, call, deadline);
                }
            }
        }
    }

    /// A system call, which fares as any request does. One of which nothing is heard in time was
    /// perhaps carried out; some are even carried out twice.
    fn file_call(&mut self, node: usize, op: Op) {
        let retry = nanos(self.plan.nodes[node].settings.retry_period);
        let patience = self.rng.spread(retry / 8, 3 * self.plan.longest_lease());
        self.stats.calls += 1;
        let epoch = self.nodes[node].epoch;
        self.request(node, epoch, Call::System(op), self.now + patience);
    }

    fn answer_soon(&mut self, node: usize, run: u32, call: Call, answer: Answer) {
        self.give_answer(node, run, call, answer, self.now + MICRO);
    }
}

/// The error number that a failure is seen as.
pub(super) fn errno(excuse: Excuse, roll: u64) -> Reply {
    // EIO, ENOSPC, EDQUOT and EACCES say, or may be taken to say, that nothing was done.
    let number = match excuse {
        Excuse::Unavailable => [5, 28, 122, 13][roll as usize % 4],
        Excuse::Unknown => [110, 5][roll as usize % 2],
        Excuse::Fatal => 116,
    };
    Reply::Failed(Errno(number))
}

/// What a lock says that has nothing to say.
pub(super) fn excused(excuse: Excuse, is_read: bool) -> Event {
    match (is_read, excuse) {
        (true, Excuse::Fatal) => Event::Read(ReadReply::Fatal),
        (true, _) => Event::Read(ReadReply::Unavailable),
        (false, Excuse::Fatal) => Event::Written(WriteReply::Fatal),
        (false, Excuse::Unavailable) => Event::Written(WriteReply::Unavailable),
        (false, Excuse::Unknown) => Event::Written(WriteReply::Indeterminate),
    }
}
