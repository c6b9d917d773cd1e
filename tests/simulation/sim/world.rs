//! The world of a run: true time, an agenda of what happens next, and whom it happens to.
//!
//! Nothing here depends on anything but the seed: no clock is read, and nothing is kept in an order
//! that changes from run to run.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use leaderelection::testing::{Action, Event, Instant, Jitter};

use super::check::{Checks, Rule, Violation};
use super::directory::Directory;
use super::files::FileNode;
use super::liveness::Liveness;
use super::mutant::{Machine, Mutant};
use super::network::Requests;
use super::plan::{Plan, StoreKind, WAKE_LAG};
use super::rng::Rng;
use super::stats::{Extra, Stats};
use super::store::Store;
use super::time::{MICRO, MILLI, MINUTE, NodeClock, True};
use super::trace::{Entry, Mark, Trace};

/// How a seed is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The simulated time, but for the calm at its end.
    pub minutes: u64,
    pub mutant: Option<Mutant>,
    /// The store, if the seed is not to choose it.
    pub store: Option<StoreKind>,
    /// Keep a timeline.
    pub traced: bool,
}

/// What came of a seed.
#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    pub plan: Plan,
    pub violation: Option<Violation>,
    pub stats: Stats,
    /// The same for two runs that are the same in every step.
    pub digest: u64,
    pub ended_at: True,
    pub timeline: Vec<Entry>,
}

/// What happens at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    Wake { node: usize, run: u32, alarm: u32 },
    Execute { request: usize },
    Answer { request: usize },
    Tell { node: usize, run: u32, signal: Signal },
    WorkReturns { node: usize, run: u32, panicked: bool },
    WorkReports { node: usize, run: u32, result: Option<bool> },
    Resume { node: usize, epoch: u32 },
    Start { node: usize, epoch: u32 },
    OrphanEnds { node: usize, epoch: u32 },
    Blow,
    PhaseEnds,
}

/// An event of a machine that has no contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    WakeUp,
    Stop,
    Task(Option<bool>),
    WorkReturned { panicked: bool },
    ValidityEnded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Appointment {
    at: True,
    /// In the order in which they were made, where the time is the same.
    number: u64,
    what: Happening,
}

impl Ord for Appointment {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Appointment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A node and what runs on it.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Rises with every start of the process.
    pub(super) epoch: u32,
    pub(super) up: bool,
    /// Rises with every run, over all processes.
    pub(super) run_id: u32,
    pub(super) run: Option<Run>,
    /// The whole process stands still.
    pub(super) frozen_until: True,
    /// Only the election thread does.
    pub(super) stalled_until: True,
    pub(super) requests_cut_until: True,
    pub(super) replies_cut_until: True,
    /// Actions of a step that a pause came after.
    pub(super) deferred: Vec<Action>,
    pub(super) held_back_until: Option<Instant>,
    /// Processes that are gone and whose work goes on.
    pub(super) orphans: Vec<u32>,
    /// Rises with every start of its host.
    pub(super) boot: u32,
    /// What the wall clock is off by, in milliseconds.
    pub(super) wall_error: u64,
}

#[derive(Debug)]
pub(super) struct Run {
    machine: Machine,
    /// Which wake-up is the one that counts.
    alarm: u32,
    alarm_for: Option<Instant>,
    pub(super) term: Option<Term>,
}

#[derive(Debug)]
pub(super) struct Term {
    pub(super) valid_until: Instant,
    pub(super) ended: bool,
    pub(super) works: bool,
    /// Its return is on the agenda.
    pub(super) is_returning: bool,
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) mutant: Option<Mutant>,
    pub(super) rng: Rng,
    pub(super) now: True,
    pub(super) end_at: True,
    agenda: BinaryHeap<Reverse<Appointment>>,
    appointments: u64,
    pub(super) clocks: Vec<NodeClock>,
    pub(super) nodes: Vec<Node>,
    pub(super) store: Store,
    pub(super) directory: Directory,
    pub(super) files: Vec<FileNode>,
    pub(super) requests: Requests,
    pub(super) checks: Checks,
    pub(super) liveness: Liveness,
    pub(super) stats: Stats,
    pub(super) trace: Trace,
    /// Faults may happen.
    pub(super) stormy: bool,
    pub(super) phase_ends: True,
    pub(super) slow_until: True,
    pub(super) errors_until: True,
    /// The record has become unreadable, and nobody has taken over since.
    pub(super) corrupted: bool,
    /// The next write is torn.
    pub(super) tears: bool,
    pub(super) last_leader: Option<usize>,
    pub(super) is_over: bool,
    actions: Vec<Action>,
    digest: u64,
}

/// Runs a seed to its end, or to the first violation.
pub fn run(seed: u64, options: Options) -> Report {
    let mut rng = Rng::new(seed);
    let plan = Plan::new(&mut rng, options.mutant, options.store);
    let mut world = World::new(plan, rng.fork(), options);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    if outcome.is_err() {
        world.checks.broken(world.now, 0, Rule::NoPanic, "a panic; its text is on standard error");
    }
    world.report(seed)
}

impl World {
    fn new(plan: Plan, rng: Rng, options: Options) -> Self {
        let clocks = plan.nodes.iter().map(|n| NodeClock::new(n.clock_start, n.clock_rate));
        let checked = plan.nodes.iter().map(|node| (node.settings.clone(), node.grace));
        Self {
            mutant: options.mutant,
            rng,
            now: 0,
            end_at: options.minutes * MINUTE,
            agenda: BinaryHeap::new(),
            appointments: 0,
            clocks: clocks.collect(),
            nodes: plan.nodes.iter().map(|_| Node::default()).collect(),
            store: Store::new(&plan.store),
            directory: Directory::new(plan.store.stale, plan.store.replaces),
            files: plan.nodes.iter().map(|_| FileNode::default()).collect(),
            requests: Requests::default(),
            checks: Checks::new(checked),
            liveness: Liveness::new(plan.nodes.len()),
            stats: Stats::default(),
            trace: Trace::new(options.traced),
            stormy: false,
            phase_ends: 0,
            slow_until: 0,
            errors_until: 0,
            corrupted: false,
            tears: false,
            last_leader: None,
            is_over: false,
            actions: Vec::new(),
            digest: 0xcbf2_9ce4_8422_2325,
            plan,
        }
    }

    fn run(&mut self) {
        for node in 0..self.nodes.len() {
            let at = self.rng.below(self.plan.nodes[node].habits.rest);
            self.at(at, Happening::Start { node, epoch: 0 });
        }
        self.phase_ended();
        while let Some(Reverse(next)) = self.agenda.pop() {
            debug_assert!(next.at >= self.now, "time goes on");
            self.now = next.at;
            self.stats.events += 1;
            self.happen(next.what);
            if self.is_over || self.checks.violation.is_some() {
                break;
            }
        }
    }

    fn report(mut self, seed: u64) -> Report {
        for node in 0..self.nodes.len() {
            self.belief_ends(node);
        }
        if let Some(Violation { at, node, text, rule }) = &self.checks.violation {
            self.trace.mark(*at, Some(*node), || Mark::Broken(format!("{rule:?}: {text}")));
        }
        self.stats.seeds = 1;
        self.stats.simulated = self.now;
        self.stats.completed = u64::from(self.checks.is_completed());
        self.stats.longest_gap = self.liveness.longest;
        self.stats.checked = self.checks.made;
        let shown = self.directory.counts;
        self.stats.count(Extra::StaleRead, self.store.stale_reads + shown.stale_reads);
        self.stats.count(Extra::TornListing, shown.torn_listings);
        self.stats.count(Extra::TornWrite, shown.torn_writes);
        Report {
            seed,
            violation: self.checks.violation,
            stats: self.stats,
            digest: self.digest,
            ended_at: self.now,
            timeline: self.trace.into_entries(),
            plan: self.plan,
        }
    }

    /// Puts `what` on the agenda.
    pub(super) fn at(&mut self, at: True, what: Happening) {
        self.appointments += 1;
        self.agenda.push(Reverse(Appointment { at, number: self.appointments, what }));
    }

    pub(super) fn mark(&mut self, node: Option<usize>, mark: impl FnOnce() -> Mark) {
        self.trace.mark(self.now, node, mark);
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Wake { node, run, alarm } => self.wake(node, run, alarm, what),
            Happening::Execute { request } => self.execute(request),
            Happening::Answer { request } => self.answer(request, what),
            Happening::Tell { node, run, signal } => self.tell(node, run, signal, what),
            Happening::WorkReturns { node, run, panicked } => {
                self.work_returns(node, run, panicked, what);
            }
            Happening::WorkReports { node, run, result } => {
                self.work_reports(node, run, result, what);
            }
            Happening::Resume { node, epoch } => self.resume(node, epoch),
            Happening::Start { node, epoch } => self.start(node, epoch, what),
            Happening::OrphanEnds { node, epoch } => self.orphan_ends(node, epoch),
            Happening::Blow => self.blow(),
            Happening::PhaseEnds => self.phase_ended(),
        }
    }

    /// Whether `node` stands still; then `what` happens when it no longer does. `thread` is whether
    /// that is for its election thread alone.
    pub(super) fn is_held_up(&mut self, node: usize, thread: bool, what: Happening) -> bool {
        let Node { frozen_until, stalled_until, .. } = self.nodes[node];
        let until = if thread { frozen_until.max(stalled_until) } else { frozen_until };
        // A step is carried out before the next one, though both are due at once.
        let in_a_step = thread && !self.nodes[node].deferred.is_empty();
        if until <= self.now && !in_a_step {
            return false;
        }
        let at = until.max(self.now) + 1 + self.rng.below(MILLI);
        self.at(at, what);
        true
    }

    pub(super) fn is_running(&self, node: usize, run: u32) -> bool {
        let node = &self.nodes[node];
        node.run_id == run && node.run.is_some()
    }

    fn wake(&mut self, node: usize, run: u32, alarm: u32, what: Happening) {
        let counts = self.nodes[node].run.as_ref().is_some_and(|run| run.alarm == alarm);
        if !self.is_running(node, run) || !counts || self.is_held_up(node, true, what) {
            return;
        }
        if let Some(run) = &mut self.nodes[node].run {
            run.alarm_for = None;
        }
        self.step(node, Event::Tick);
    }

    fn tell(&mut self, node: usize, run: u32, signal: Signal, what: Happening) {
        if !self.is_running(node, run) || self.is_held_up(node, true, what) {
            return;
        }
        let event = match signal {
            Signal::WakeUp => Event::WakeUp,
            Signal::Stop => Event::Stop,
            Signal::Task(Some(success)) => Event::Task(success),
            Signal::Task(None) => Event::TaskGone,
            Signal::WorkReturned { panicked } => Event::WorkReturned { panicked },
            Signal::ValidityEnded => Event::ValidityEnded,
        };
        if matches!(signal, Signal::Stop | Signal::Task(Some(true) | None)) {
            self.liveness.willing(node, None);
        }
        if signal == Signal::WakeUp {
            self.checks.woken(node);
        }
        self.step(node, event);
    }

    /// Steps the machine of `node`, carries out what it says, and sets its alarm.
    pub(super) fn step(&mut self, node: usize, event: Event) {
        let local = self.clocks[node].local(self.now);
        let jitter = Jitter(self.rng.next() as u32);
        let Some(run) = &mut self.nodes[node].run else {
            return;
        };
        let mut actions = std::mem::take(&mut self.actions);
        run.machine.step(local, jitter, event, &mut actions);
        self.stats.steps += 1;
        self.checks.stepped(self.now, node);
        self.note(self.now ^ ((node as u64) << 56));
        if !actions.is_empty() && self.pauses_here(node) {
            self.nodes[node].deferred.append(&mut actions);
        }
        for action in actions.drain(..) {
            self.carry_out(node, action);
        }
        self.actions = actions;
        self.set_alarm(node);
    }

    /// A pause between the reading of the clock and what is done about it.
    fn pauses_here(&mut self, node: usize) -> bool {
        if !self.stormy || !self.rng.chance(self.plan.faults.pauses_in_a_step) {
            return false;
        }
        let until = self.some_time_from_now();
        self.stats.count(Extra::PauseInAStep, 1);
        self.freeze(node, until);
        let epoch = self.nodes[node].epoch;
        self.at(until, Happening::Resume { node, epoch });
        true
    }

    fn resume(&mut self, node: usize, epoch: u32) {
        let Node { epoch: current, frozen_until, .. } = self.nodes[node];
        if epoch != current {
            return;
        }
        if frozen_until > self.now {
            return self.at(frozen_until, Happening::Resume { node, epoch });
        }
        let mut deferred = std::mem::take(&mut self.nodes[node].deferred);
        for action in deferred.drain(..) {
            self.carry_out(node, action);
        }
        self.set_alarm(node);
    }

    /// Goes on with what is to be compared between two runs of a seed.
    pub(super) fn note(&mut self, what: u64) {
        self.digest = (self.digest ^ what).wrapping_mul(0x0000_0100_0000_01b3);
    }

    pub(super) fn set_alarm(&mut self, node: usize) {
        let id = self.nodes[node].run_id;
        let Some(run) = &mut self.nodes[node].run else {
            return;
        };
        let deadline = run.machine.next_deadline();
        if deadline == run.alarm_for {
            return;
        }
        run.alarm_for = deadline;
        run.alarm += 1;
        let alarm = run.alarm;
        if let Some(deadline) = deadline {
            let at = self.clocks[node].true_of(deadline).max(self.now) + self.wake_lag();
            self.at(at, Happening::Wake { node, run: id, alarm });
        }
    }

    /// A thread that waits for a time runs a little later, at times much.
    fn wake_lag(&mut self) -> u64 {
        match self.rng.below(64) {
            0 => self.rng.spread(MICRO, WAKE_LAG),
            _ => self.rng.between(MICRO, 100 * MICRO),
        }
    }

    /// The clock of `node` runs at another rate, and what it waits for comes at another time.
    pub(super) fn set_rate(&mut self, node: usize, rate: u64) {
        self.clocks[node].set_rate(self.now, rate);
        if let Some(run) = &mut self.nodes[node].run {
            run.alarm_for = None;
            self.set_alarm(node);
        }
    }

    /// A process begins a run.
    fn start(&mut self, node: usize, epoch: u32, what: Happening) {
        let current = &self.nodes[node];
        let is_due = current.epoch == epoch && current.run.is_none();
        if !is_due || self.is_held_up(node, false, what) {
            return;
        }
        let now = self.clocks[node].local(self.now);
        let incarnation = self.next_incarnation(node);
        let settings = &self.plan.nodes[node].settings;
        let state = &mut self.nodes[node];
        let machine =
            Machine::new(self.mutant, settings, incarnation, now, state.held_back_until.take());
        state.run = Some(Run { machine, alarm: 0, alarm_for: None, term: None });
        state.up = true;
        // Who gives up at the first sign of life need not lead.
        let is_patient = settings.acquire_timeout.is_none();
        self.liveness.willing(node, is_patient.then_some(self.now));
        self.file_started(node);
        self.checks.run_started(node);
        self.stats.runs += 1;
        self.mark(Some(node), || Mark::RunStarted);
        self.step(node, Event::Tick);
    }
}
