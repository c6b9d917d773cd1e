//! The elections of one thread, and what happens to them.
//!
//! Whoever has the mutex around this may have an election take a step: the election thread as a
//! rule, but also a thread that has something to tell it, while nobody else is at it and nothing
//! that came before waits. So a change of the record leads to a claim, and the end of the work to a
//! release, without waking further threads. It waits for nothing and runs no user code.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::clock::{Clock, Instant, entropy};
use crate::election::Event;
use crate::elector::deadlines::{Deadlines, rounded_up};
use crate::elector::desk::Desk;
use crate::elector::inbox::{Input, SeatId};
use crate::elector::lock_threads::{Load, LockThreads};
use crate::elector::population::Population;
use crate::elector::seat::{Asking, Seat, Tools};
use crate::sync::channel::{Receiver, TryRecvError, never};

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
#[derive(Clone)]
pub(super) struct Foreign {
    pub(super) task: Receiver<bool>,
    pub(super) stop: Receiver<()>,
    pub(super) wake_ups: Receiver<()>,
}

impl Foreign {
    /// Whether a sender may need somebody who is just receiving: nothing is sent to a channel
    /// without room but into the hands of who waits there.
    pub(super) fn is_handed_over(&self) -> bool {
        is_handed_over(&self.task) || is_handed_over(&self.stop) || is_handed_over(&self.wake_ups)
    }
}

fn is_handed_over<T>(receiver: &Receiver<T>) -> bool {
    receiver.capacity() == Some(0) && !receiver.same_channel(&never())
}

/// What the thread serves.
pub(super) enum Serves {
    /// One election, and the channels of its caller.
    One(Foreign),
    /// Those that come in, until no further come.
    Many(Arc<Population>),
}

/// What the election thread has received while it had no hold of the elections.
pub(super) enum Received {
    /// Whatever is ready is still where it was.
    Nothing,
    Input(Input),
    Task(Option<bool>),
    Stop,
    /// The record may have changed; or nobody will tell so any more.
    WakeUp(bool),
}

/// The elections of one thread.
pub(super) struct Elections {
    clock: Clock,
    inbox: Receiver<Input>,
    lock_threads: LockThreads,
    /// Have not begun.
    arrivals: VecDeque<Box<Seat>>,
    seats: BTreeMap<SeatId, Box<Seat>>,
    /// Are over. What is left is the user's in part, and to drop it may take any time.
    left: Vec<Seat>,
    deadlines: Deadlines,
    due: Vec<(Instant, SeatId)>,
    tray: Vec<Input>,
    tools: Tools,
    leaders: usize,
    serves: Serves,
    /// What the caller has sent may be in the hands of the election thread, and on its way here.
    is_handed_over: bool,
    /// No further election comes.
    closed: bool,
    /// What the lock threads had taken when they last took something, and when that was noticed.
    stalled: Option<(u64, Instant)>,
    /// Until when the election thread sleeps; `None` while it doesn't, or was told to look.
    sleeps_until: Option<Instant>,
    /// That is so soon because it looks after the lock threads.
    supervises: bool,
    /// Another thread than that has them in its hands.
    visited: bool,
}

/// For what the election thread is to wait.
pub(super) struct Wait {
    /// Without one, nothing is awaited but the end of the work.
    pub(super) deadline: Option<Instant>,
    pub(super) leading: bool,
    pub(super) foreign: Option<Foreign>,
    pub(super) is_handed_over: bool,
}

/// What a step by another thread has led to.
pub(super) struct Visit {
    /// What the election thread must look at again.
    pub(super) look: Option<SeatId>,
    /// The lock to be asked.
    pub(super) desk: Option<Arc<Desk>>,
}

impl Elections {
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
            left: Vec::new(),
            deadlines: Deadlines::default(),
            due: Vec::new(),
            tray: Vec::new(),
            tools: Tools {
                rng: SmallRng::seed_from_u64(entropy()),
                actions: Vec::new(),
                feedback: Vec::new(),
                asking: Asking::default(),
            },
            leaders: 0,
            closed: matches!(serves, Serves::One(_)),
            is_handed_over: matches!(&serves, Serves::One(foreign) if foreign.is_handed_over()),
            serves,
            stalled: None,
            sleeps_until: None,
            supervises: false,
            visited: false,
        }
    }

    /// Adds an election, which begins when it is first looked at.
    pub(super) fn arrive(&mut self, seat: Box<Seat>) {
        self.arrivals.push_back(seat);
    }

    /// Adds an election, and lets it begin.
    fn add(&mut self, seat: Box<Seat>) {
        let id = seat.id();
        self.seats.insert(id, seat);
        self.with(id, Seat::begin);
    }

    /// Takes all that has happened; by the election thread.
    pub(super) fn turn(&mut self, received: Received) {
        self.sleeps_until = None;
        self.take(received);
        self.take_inputs();
        self.take_results();
        self.take_stop();
        self.take_wake_ups();
        self.admit(BACKLOG);
        self.take_tray();
        self.take_deadlines();
    }

    /// For what to wait next; `None` once no election is left, nor comes.
    pub(super) fn next_wait(&mut self) -> Option<Wait> {
        if self.closed && self.seats.is_empty() && self.arrivals.is_empty() {
            return None;
        }
        let look_again = self.supervise();
        self.supervises = look_again.is_some();
        let deadline = self.deadlines.next().into_iter().chain(look_again).min();
        self.sleeps_until = Some(deadline.unwrap_or(Instant::from_nanos(u64::MAX)));
        let foreign = match &self.serves {
            Serves::One(foreign) => Some(foreign.clone()),
            Serves::Many(_) => None,
        };
        let (leading, is_handed_over) = (self.leaders > 0, self.is_handed_over);
        Some(Wait { deadline, leading, foreign, is_handed_over })
    }

    /// Takes `input` on a thread that is not the election thread: as the next one, or not at all
    /// and gives it back. With `serves_itself` that thread will ask the lock, if it is to be asked.
    pub(super) fn visit(&mut self, input: Input, serves_itself: bool) -> Result<Visit, Input> {
        // What has come before must not be overtaken. That all elections begin is for who has the
        // time for it.
        let before = !self.inbox.is_empty() || !self.arrivals.is_empty();
        if before || self.must_wait(&input) {
            return Err(input);
        }
        let id = input.seat();
        let led = self.leaders;
        self.visited = true;
        self.tools.asking.serves_itself = serves_itself;
        self.take_input(input);
        self.tools.asking.serves_itself = false;
        self.visited = false;
        let is_over = self.seats.get(&id).is_some_and(|seat| seat.is_done());
        let earlier = self.deadlines.next().is_some_and(|at| self.sleeps_until > Some(at));
        let look = is_over || earlier || self.leaders != led || self.may_hang_unseen();
        if look {
            self.sleeps_until = None;
        }
        Ok(Visit { look: look.then_some(id), desk: self.tools.asking.desk.take() })
    }

    /// Whether only the election thread may take it. It may have something in its hands that comes
    /// before: a result before the return of the work that has sent it, or before the answer that
    /// begins a term. And a thread of the user's, whose priority may be low, must not hold up other
    /// elections than its own.
    fn must_wait(&self, input: &Input) -> bool {
        let of_the_lock = matches!(input, Input::Reply(..) | Input::WakeUp(_));
        match &self.serves {
            Serves::One(foreign) => {
                self.is_handed_over && (!of_the_lock || is_handed_over(&foreign.task))
            }
            Serves::Many(_) => !of_the_lock,
        }
    }

    /// Whether a lock waits for threads after which nobody looks.
    fn may_hang_unseen(&self) -> bool {
        let asleep = self.sleeps_until.is_some() && !self.supervises;
        asleep && self.serves_many() && self.lock_threads.may_hang()
    }

    /// Those that have ended.
    pub(super) fn take_left(&mut self) -> Vec<Seat> {
        std::mem::take(&mut self.left)
    }

    /// All elections, after a panic; none is left here, nor counted.
    #[expect(clippy::vec_box, reason = "they are in boxes")]
    pub(super) fn give_up(&mut self) -> Vec<Box<Seat>> {
        while let Ok(input) = self.inbox.try_recv() {
            if let Input::Spawn(seat) = input {
                self.arrivals.push_back(seat);
            }
        }
        let mut seats: Vec<_> = std::mem::take(&mut self.seats).into_values().collect();
        seats.extend(self.arrivals.drain(..));
        if let Serves::Many(population) = &self.serves {
            population.give_up();
        }
        seats
    }

    fn take(&mut self, received: Received) {
        match received {
            Received::Nothing => {}
            Received::Input(input) => self.take_input(input),
            Received::Task(Some(success)) => self.take_result(success),
            Received::Task(None) => self.task_gone(),
            Received::Stop => self.stop(),
            Received::WakeUp(pushed) => self.take_wake_up(pushed),
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
        // Neither a stop nor a limit nor a return may overtake a result that was reported before.
        self.take_results();
        match input {
            Input::Spawn(seat) => self.arrive(seat),
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
            Input::Look(id) => self.settle(id),
            Input::StopAll => self.with_all(Seat::stop),
            Input::Close => self.closed = true,
            Input::Panic => panic!("a defect: a step on another thread has panicked"),
        }
    }

    fn take_results(&mut self) {
        for _ in 0..RESULTS_AT_ONCE {
            let Serves::One(foreign) = &self.serves else {
                return;
            };
            match foreign.task.try_recv() {
                Ok(success) => self.take_result(success),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => return self.task_gone(),
            }
        }
    }

    fn take_result(&mut self, success: bool) {
        self.with_all(|seat, tools| seat.step(tools, Event::Task(success)));
    }

    fn task_gone(&mut self) {
        self.with_foreign(|foreign| foreign.task = never());
        self.with_all(|seat, tools| seat.step(tools, Event::TaskGone));
    }

    fn take_stop(&mut self) {
        if let Serves::One(foreign) = &self.serves
            && foreign.stop.try_recv() != Err(TryRecvError::Empty)
        {
            self.stop();
        }
    }

    fn stop(&mut self) {
        // What was reported before it comes first.
        self.take_inputs();
        self.take_results();
        self.with_foreign(|foreign| foreign.stop = never());
        self.with_all(Seat::stop);
    }

    fn take_wake_ups(&mut self) {
        // In a term nothing is to be learned from them.
        if self.leaders > 0 {
            return;
        }
        if let Serves::One(foreign) = &self.serves {
            match foreign.wake_ups.try_recv() {
                Ok(()) => self.take_wake_up(true),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.take_wake_up(false),
            }
        }
    }

    fn take_wake_up(&mut self, pushed: bool) {
        if pushed {
            self.with_all(|seat, tools| seat.step(tools, Event::WakeUp));
        } else {
            // A lock that has stopped pushing is polled.
            self.with_foreign(|foreign| foreign.wake_ups = never());
        }
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
                    tools.asking.quiet = !grain(seat, many).is_zero();
                    seat.step(tools, Event::Tick);
                    tools.asking.quiet = false;
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
        // Those that have not begun are told, too.
        self.admit(usize::MAX);
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
        if self.visited && seat.is_done() {
            // The election thread is told to look, and does this.
            return;
        }
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
            population.leave();
        }
        seat.finish();
        match &self.serves {
            // Its thread ends with it, and may take any time for that.
            Serves::One(_) => self.left.push(*seat),
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

/// By how much the next tick of an election may be late. Less would not be worth it.
fn grain(seat: &Seat, many: bool) -> Duration {
    match many && seat.election().slack() >= GRAIN {
        true => GRAIN,
        false => Duration::ZERO,
    }
}
