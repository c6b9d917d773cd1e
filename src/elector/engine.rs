//! The election thread: any number of elections, each of which is looked at when something happens
//! to it, or when it is time.
//!
//! It waits for nothing but its one select.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::clock::{Clock, Instant, entropy};
use crate::election::Event;
use crate::elector::deadlines::{Deadlines, rounded_up};
use crate::elector::inbox::{Input, SeatId};
use crate::elector::lock_threads::{Load, LockThreads};
use crate::elector::seat::{Seat, Tools};
use crate::sync::channel::{Receiver, TryRecvError, never};
use crate::sync::{AtomicU64, Ordering};

mod wait;

use wait::Ready;

/// So many results, or inputs, are taken before whatever else is ready. A channel that is never
/// empty must not keep the election from anything.
const RESULTS_AT_ONCE: usize = 16;
const INPUTS_AT_ONCE: usize = 1024;

/// Looks and renewals of a pool that are due within this are taken together.
const GRAIN: Duration = Duration::from_millis(5);

/// So many locks wait to be asked before further elections begin: a thousand at once would need the
/// memory for a thousand answers.
const BACKLOG: usize = 256;

/// If no lock thread has taken anything for so long while locks wait, all of them hang.
const STALL: Duration = Duration::from_millis(10);

/// Channels that others have made, which only an election with a thread of its own can wait for.
pub(super) struct Foreign {
    pub(super) task: Receiver<bool>,
    pub(super) stop: Receiver<()>,
    pub(super) wake_ups: Receiver<()>,
}

/// How many elections of a pool have not ended.
pub(super) type Population = Arc<AtomicU64>;

/// What the thread serves.
pub(super) enum Serves {
    /// One election, and the channels of its caller.
    One(Foreign),
    /// Those that come in, until no further come.
    Many(Population),
}

/// The elections of one thread.
pub(super) struct Engine {
    clock: Clock,
    inbox: Receiver<Input>,
    lock_threads: LockThreads,
    /// Have not begun.
    arrivals: VecDeque<Box<Seat>>,
    seats: BTreeMap<SeatId, Box<Seat>>,
    deadlines: Deadlines,
    due: Vec<(Instant, SeatId)>,
    tray: Vec<Input>,
    tools: Tools,
    leaders: usize,
    serves: Serves,
    /// No further election comes.
    closed: bool,
    /// What the lock threads had taken when they last took something, and when that was noticed.
    stalled: Option<(u64, Instant)>,
}

impl Engine {
    pub(super) fn new(
        clock: Clock,
        inbox: Receiver<Input>,
        lock_threads: LockThreads,
        serves: Serves,
    ) -> Self {
        Self {
            clock,
            inbox,
            lock_threads,
            arrivals: VecDeque::new(),
            seats: BTreeMap::new(),
            deadlines: Deadlines::default(),
            due: Vec::new(),
            tray: Vec::new(),
            tools: Tools {
                rng: SmallRng::seed_from_u64(entropy()),
                actions: Vec::new(),
                feedback: Vec::new(),
                quiet: false,
            },
            leaders: 0,
            closed: matches!(serves, Serves::One(_)),
            serves,
            stalled: None,
        }
    }

    /// Adds an election, and lets it begin.
    pub(super) fn add(&mut self, seat: Box<Seat>) {
        let id = seat.id();
        self.seats.insert(id, seat);
        self.with(id, Seat::begin);
    }

    /// Serves until no election is left, nor comes. What remains then is the user's in part, and to
    /// drop it may take any time.
    pub(super) fn run(&mut self) {
        while !(self.closed && self.seats.is_empty() && self.arrivals.is_empty()) {
            let look_again = self.supervise();
            let ready = self.wait(look_again);
            self.take(ready);
            self.take_inputs();
            self.admit(BACKLOG);
            self.take_tray();
            self.take_deadlines();
        }
    }

    fn take(&mut self, ready: Ready) {
        match ready {
            Ready::Input(input) => self.take_input(input),
            Ready::Task(Some(success)) => self.with_all(|seat, tools| {
                seat.step(tools, Event::Task(success));
            }),
            Ready::Task(None) => self.task_gone(),
            Ready::Stop => {
                // What was reported before it comes first.
                self.take_inputs();
                self.take_results();
                self.with_foreign(|foreign| foreign.stop = never());
                self.with_all(Seat::stop);
            }
            // A lock that has stopped pushing is polled.
            Ready::WakeUp(false) => self.with_foreign(|foreign| foreign.wake_ups = never()),
            Ready::WakeUp(true) => self.with_all(|seat, tools| seat.step(tools, Event::WakeUp)),
            Ready::Timer => {}
        }
    }

    fn take_inputs(&mut self) {
        for _ in 0..INPUTS_AT_ONCE {
            match self.inbox.try_recv() {
                Ok(input) => self.take_input(input),
                Err(_) => return,
            }
        }
    }

    fn take_input(&mut self, input: Input) {
        // The select picks any that is ready. Neither a stop nor a limit nor a return may overtake
        // a result that was reported before it.
        self.take_results();
        match input {
            Input::Spawn(seat) => self.arrivals.push_back(seat),
            Input::Reply(id, ticket, reply) => {
                self.with(id, |seat, tools| seat.on_reply(tools, ticket, *reply));
            }
            Input::Returned(id, returned) => {
                self.with(id, |seat, tools| seat.on_returned(tools, returned));
            }
            Input::Report(id, success) => {
                self.with(id, |seat, tools| seat.on_report(tools, success));
            }
            Input::Stop(id) => self.with(id, Seat::stop),
            Input::Awaited(id) => self.with(id, Seat::on_awaited),
            Input::WakeUp(id) => self.with(id, Seat::on_wake_up),
            Input::StopAll => {
                self.admit(usize::MAX);
                self.with_all(Seat::stop);
            }
            Input::Close => self.closed = true,
            #[cfg(test)]
            Input::Panic => panic!("a defect, for a test"),
        }
    }

    fn take_results(&mut self) {
        for _ in 0..RESULTS_AT_ONCE {
            let Serves::One(foreign) = &self.serves else {
                return;
            };
            match foreign.task.try_recv() {
                Ok(success) => self.with_all(|seat, tools| {
                    seat.step(tools, Event::Task(success));
                }),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => return self.task_gone(),
            }
        }
    }

    fn task_gone(&mut self) {
        self.with_foreign(|foreign| foreign.task = never());
        self.with_all(|seat, tools| seat.step(tools, Event::TaskGone));
    }

    fn with_foreign(&mut self, change: impl FnOnce(&mut Foreign)) {
        if let Serves::One(foreign) = &mut self.serves {
            change(foreign);
        }
    }

    /// Takes the answers to what was asked quietly.
    fn take_tray(&mut self) {
        let mut tray = std::mem::take(&mut self.tray);
        self.lock_threads.take_tray(&mut tray);
        for input in tray.drain(..) {
            self.take_input(input);
        }
        self.tray = tray;
    }

    fn take_deadlines(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.deadlines.take(self.clock.now(), &mut due);
        if !due.is_empty() {
            self.take_results();
        }
        let many = self.serves_many();
        for (at, id) in due.drain(..) {
            self.with(id, |seat, tools| {
                if seat.armed == Some(at) {
                    seat.armed = None;
                    // What was put off by so much is not urgent.
                    tools.quiet = !grain(seat, many).is_zero();
                    seat.step(tools, Event::Tick);
                    tools.quiet = false;
                }
            });
        }
        self.due = due;
    }

    /// Lets elections begin while no more than so many locks wait.
    fn admit(&mut self, backlog: usize) {
        while !self.arrivals.is_empty() && self.lock_threads.waiting() < backlog {
            self.arrivals.pop_front().into_iter().for_each(|seat| self.add(seat));
        }
        if self.arrivals.is_empty() {
            self.arrivals = VecDeque::new();
        }
    }

    fn with(&mut self, id: SeatId, act: impl FnOnce(&mut Seat, &mut Tools)) {
        if !self.seats.contains_key(&id) && self.arrivals.iter().any(|seat| seat.id() == id) {
            self.admit(usize::MAX);
        }
        if let Some(seat) = self.seats.get_mut(&id) {
            act(seat, &mut self.tools);
            self.settle(id);
        }
    }

    fn with_all(&mut self, act: impl Fn(&mut Seat, &mut Tools)) {
        let ids: Vec<_> = self.seats.keys().copied().collect();
        for id in ids {
            self.with(id, &act);
        }
    }

    /// Sees to what a step has led to.
    fn settle(&mut self, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id) else {
            return;
        };
        let over = seat.is_done() && !seat.begin_again(&mut self.tools);
        let leads = seat.election().is_leading() && !over;
        if leads != seat.counted {
            seat.counted = leads;
            self.leaders = if leads { self.leaders + 1 } else { self.leaders - 1 };
        }
        if over {
            return self.remove(id);
        }
        let grain = grain(seat, matches!(self.serves, Serves::Many(_)));
        let deadline = seat.election().next_deadline().map(|at| rounded_up(at, grain));
        if let Some(at) = deadline.filter(|at| seat.armed.is_none_or(|armed| *at < armed)) {
            if let Some(later) = seat.armed.replace(at) {
                self.deadlines.remove(later, id);
            }
            self.deadlines.add(at, id);
            debug_assert!(self.deadlines.len() <= self.seats.len(), "one deadline a seat");
        }
    }

    fn remove(&mut self, id: SeatId) {
        let Some(mut seat) = self.seats.remove(&id) else {
            return;
        };
        if let Some(at) = seat.armed {
            self.deadlines.remove(at, id);
        }
        if let Serves::Many(population) = &self.serves {
            // Who hears of the end does not find it counted any more.
            population.fetch_sub(1, Ordering::SeqCst);
        }
        seat.finish();
        match &self.serves {
            // Its thread ends with it, and may take any time for that.
            Serves::One(_) => drop(seat),
            Serves::Many(_) => {
                let worker = seat.worker().clone();
                worker.drop_later(seat);
            }
        }
    }

    fn serves_many(&self) -> bool {
        matches!(self.serves, Serves::Many(_))
    }

    /// Looks after the lock threads of a pool: has another help where all of them hang. Says when
    /// to look again.
    fn supervise(&mut self) -> Option<Instant> {
        if !self.serves_many() {
            return None;
        }
        let Load { backlog, busy } = self.lock_threads.load();
        let now = self.clock.now();
        let mut stalled = None;
        if let Some(taken) = backlog {
            let mut since = match self.stalled {
                Some((before, since)) if before == taken => since,
                _ => now,
            };
            if now >= since + STALL {
                self.lock_threads.help();
                since = now;
            }
            stalled = Some((taken, since));
        }
        self.stalled = stalled;
        // One nanosecond on, or it would be this very instant.
        busy.then(|| rounded_up(now + Duration::from_nanos(1), GRAIN))
    }
}

/// After a panic, a defect of this crate, all are told before anything of the user's is dropped.
impl Drop for Engine {
    fn drop(&mut self) {
        while let Ok(input) = self.inbox.try_recv() {
            if let Input::Spawn(seat) = input {
                self.arrivals.push_back(seat);
            }
        }
        let mut seats: Vec<_> = std::mem::take(&mut self.seats).into_values().collect();
        seats.extend(self.arrivals.drain(..));
        for seat in &mut seats {
            seat.abandon();
        }
        if let Serves::Many(population) = &self.serves {
            population.store(0, Ordering::SeqCst);
        }
        for seat in seats {
            let worker = seat.worker().clone();
            worker.drop_later(seat);
        }
    }
}

/// By how much the next tick of an election may be late. Less would not be worth it.
fn grain(seat: &Seat, many: bool) -> Duration {
    match many && seat.election().slack() >= GRAIN {
        true => GRAIN,
        false => Duration::ZERO,
    }
}
