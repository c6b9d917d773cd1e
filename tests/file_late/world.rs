//! Candidates with clocks of their own around one directory, in simulated time: the election and
//! the file lock that ship, driven as the elector's threads drive them.

use std::sync::Arc;
use std::time::Duration;

use leaderelection::testing::{
    Action, Clock, Election, Event, Instant, Jitter, ReadReply, Settings, WriteReply,
};
use leaderelection::{
    FileLock, Incarnation, Intent, LeaderElectionRecord, Liveness, Lock, LockError, OnSuccess,
    RecordKind, Revision,
};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::disk::{Disk, Mishap, Way};

/// How long work takes to return once it is told to stop.
const STOPPING: Duration = Duration::from_millis(50);

/// A call that is not answered is looked at no more often than this without time passing.
const MOST_STEPS_AT_ONCE: u32 = 10_000;

/// One candidate's part in a world.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// Its clock's rate, in thousandths of true time.
    pub rate: u64,
    /// It stops its term after so long; otherwise it leads as long as it can.
    pub stops_after: Option<Duration>,
}

/// What befalls whom: the candidate, the number of its call, and the mishap.
pub type Plan = Vec<(usize, u64, Mishap)>;

pub struct World {
    now: Mutex<Duration>,
    pub disk: Mutex<Disk>,
    nodes: Vec<Node>,
    plan: Mutex<Plan>,
    log: Mutex<Log>,
}

/// What has happened.
#[derive(Debug, Default)]
pub struct Log {
    /// The tokens of all terms, in their order.
    pub tokens: Vec<u64>,
    /// When somebody was last seen to lead.
    led_at: Duration,
    /// The longest time without a leader.
    pub longest_gap: Duration,
    /// The most names that stood in the directory.
    pub most_names: usize,
}

struct Node {
    role: Role,
    clock: Clock,
    state: Mutex<State>,
    lock: Mutex<Option<FileLock>>,
}

struct State {
    election: Election,
    rng: SmallRng,
    calls: u64,
    runs: u128,
    request: Option<Action>,
    /// A call is under way, or what follows one.
    busy: bool,
    /// The answer to a call is due.
    asked: bool,
    frozen: bool,
    term: Option<Term>,
    /// Events that are due at an instant of true time.
    agenda: Vec<(Duration, Event)>,
    /// When the next run begins.
    rests_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Term {
    /// For who reads that two lead.
    #[expect(dead_code, reason = "it is shown")]
    token: u64,
    valid_until: Instant,
}

fn settings() -> Settings {
    Settings {
        identity: "candidate".into(),
        metadata: "".into(),
        lease_duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
        term_limit: None,
        acquire_timeout: None,
        drain_timeout: Duration::from_secs(15),
        on_success: OnSuccess::Hold,
    }
}

impl World {
    pub fn new(roles: &[Role], plan: Plan, seed: u64) -> Arc<Self> {
        let nodes = roles.iter().enumerate().map(|(number, role)| Node::new(number, *role, seed));
        let world = Arc::new(Self {
            now: Mutex::default(),
            disk: Mutex::default(),
            nodes: nodes.collect(),
            plan: Mutex::new(plan),
            log: Mutex::default(),
        });
        for (number, node) in world.nodes.iter().enumerate() {
            let way = Way { world: Arc::clone(&world), node: number };
            let options = FileLock::options().clock(node.clock.clone()).seed(seed + number as u64);
            *node.lock.lock() = Some(options.open_store("x.lock", way));
        }
        world
    }

    pub fn now(&self) -> Duration {
        *self.now.lock()
    }

    pub fn log(&self) -> parking_lot::MutexGuard<'_, Log> {
        self.log.lock()
    }

    /// How many calls a candidate has made.
    pub fn calls(&self, node: usize) -> u64 {
        self.nodes[node].state.lock().calls
    }

    /// Counts a call, and says what befalls it.
    pub fn mishap(&self, node: usize) -> Option<Mishap> {
        let call = {
            let mut state = self.nodes[node].state.lock();
            state.calls += 1;
            state.calls - 1
        };
        let plan = self.plan.lock();
        let planned = plan.iter().find(|(who, at, _)| (*who, *at) == (node, call));
        planned.map(|(_, _, mishap)| *mishap)
    }

    /// No mishap comes any more; the time without a leader counts from now.
    pub fn heal(&self) {
        self.plan.lock().clear();
        let mut log = self.log.lock();
        log.led_at = self.now();
        log.longest_gap = Duration::ZERO;
    }

    /// A candidate's process stands still while time passes for the others.
    pub fn freeze(&self, node: usize, span: Duration) {
        self.nodes[node].state.lock().frozen = true;
        self.pass(span);
        self.nodes[node].state.lock().frozen = false;
    }

    /// Lets so much true time pass.
    pub fn pass(&self, span: Duration) {
        let end = self.now() + span;
        let mut steps = 0;
        loop {
            let now = self.now();
            let next = self.next_due().unwrap_or(end).max(now);
            if next > end || now >= end {
                self.advance(end.saturating_sub(now));
                return;
            }
            steps = if next == now { steps + 1 } else { 0 };
            assert!(steps < MOST_STEPS_AT_ONCE, "no time passes any more");
            self.advance(next - now);
            for number in 0..self.nodes.len() {
                if self.is_due(number) {
                    self.wake(number);
                }
            }
        }
    }

    fn advance(&self, span: Duration) {
        let (before, after) = {
            let mut now = self.now.lock();
            let before = *now;
            *now += span;
            (before, *now)
        };
        // Who leads up to the end of a step has led all through it.
        let led = self.nodes.iter().any(Node::leads);
        for node in &self.nodes {
            node.clock.advance(node.local(after) - node.local(before));
        }
        let mut disk = self.disk.lock();
        disk.catch_up(after);
        let mut log = self.log.lock();
        log.most_names = log.most_names.max(disk.len());
        if led {
            log.led_at = before;
        }
        log.longest_gap = log.longest_gap.max(after - log.led_at);
    }

    fn next_due(&self) -> Option<Duration> {
        let due = self.nodes.iter().filter_map(Node::due).min();
        [due, self.disk.lock().next_late()].into_iter().flatten().min()
    }

    fn is_due(&self, number: usize) -> bool {
        self.nodes[number].due().is_some_and(|due| due <= self.now())
    }

    /// Gives a candidate what is due.
    fn wake(&self, number: usize) {
        let node = &self.nodes[number];
        let event = {
            let mut state = node.state.lock();
            let state = &mut *state;
            if let Some(until) = state.rests_until.filter(|_| !state.busy) {
                // A new run, once the lock's thread is idle.
                state.runs += 1;
                let incarnation = Incarnation(state.runs << 8 | number as u128);
                let now = node.clock.now();
                state.election = Election::new(settings(), incarnation, now, Some(until));
                state.rests_until = None;
                state.agenda.clear();
            }
            let now = self.now();
            let due = state.agenda.iter().position(|(at, _)| *at <= now);
            due.map_or(Event::Tick, |index| state.agenda.remove(index).1)
        };
        self.feed(number, event);
    }

    /// Steps a candidate's election, and makes the calls that it asks for.
    fn feed(&self, number: usize, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next {
            self.step(number, event);
            next = self.serve(number);
        }
    }

    fn step(&self, number: usize, event: Event) {
        let node = &self.nodes[number];
        let mut actions = Vec::new();
        {
            let mut state = node.state.lock();
            let jitter = Jitter(state.rng.next_u32());
            state.election.step(node.clock.now(), jitter, event, &mut actions);
        }
        for action in actions {
            self.carry_out(number, action);
        }
    }

    fn carry_out(&self, number: usize, action: Action) {
        let (node, now) = (&self.nodes[number], self.now());
        if let Action::BeginTerm { fencing_token, .. } = action {
            self.check_term(number, fencing_token);
        }
        let mut state = node.state.lock();
        match action {
            Action::Read { .. } | Action::Write { .. } => {
                assert!(!state.asked, "two requests");
                state.asked = true;
                state.request = Some(action);
            }
            Action::BeginTerm { fencing_token, valid_until } => {
                state.term = Some(Term { token: fencing_token, valid_until });
                if let Some(span) = node.role.stops_after {
                    state.agenda.push((now + span, Event::Stop));
                }
            }
            Action::Extend { from, until } => match &mut state.term {
                Some(term) if node.clock.now() < from => term.valid_until = until,
                _ => state.agenda.push((now, Event::ValidityEnded)),
            },
            Action::StopWork => {
                state.agenda.push((now + STOPPING, Event::WorkReturned { panicked: false }));
            }
            Action::EndTerm => state.term = None,
            Action::Finish { hold_back_until, .. } => {
                state.rests_until = Some(hold_back_until.unwrap_or(node.clock.now()));
            }
            Action::Lost(_) | Action::LeaderChanged(_) => {}
        }
    }

    /// Two believe that they lead only if one begins while another does.
    fn check_term(&self, number: usize, token: u64) {
        for (other, node) in self.nodes.iter().enumerate() {
            let term = node.state.lock().term;
            assert!(
                other == number || !node.leads(),
                "at {:?} candidate {number} begins term {token}, and {other} leads: {term:?}",
                self.now()
            );
        }
        let mut log = self.log.lock();
        assert!(log.tokens.last() < Some(&token), "token {token} after {:?}", log.tokens);
        log.tokens.push(token);
    }

    /// Makes the call that was asked for, as the lock thread does; its answer is the next event.
    fn serve(&self, number: usize) -> Option<Event> {
        let node = &self.nodes[number];
        let request = {
            let mut state = node.state.lock();
            if state.busy {
                return None;
            }
            let request = state.request.take()?;
            state.busy = true;
            request
        };
        let mut lock = node.lock.lock();
        let lock = lock.as_mut().expect("every candidate has a lock");
        let (event, tidy) = match request {
            Action::Read { deadline } => (Event::Read(read(node, lock, deadline)), false),
            Action::Write { intent, record, expected, deadline } => {
                let reply = write(node, lock, intent, &record, expected, deadline);
                (Event::Written(reply), matches!(reply, WriteReply::Written(_)))
            }
            _ => unreachable!("only reads and writes are requests"),
        };
        node.state.lock().asked = false;
        if !tidy {
            node.state.lock().busy = false;
            return Some(event);
        }
        // The election hears of it before the lock thread tidies up; what it asks then has to wait.
        self.step(number, event);
        lock.tidy();
        node.state.lock().busy = false;
        Some(Event::Tick)
    }
}

impl Node {
    fn new(number: usize, role: Role, seed: u64) -> Self {
        let clock = Clock::simulated();
        let incarnation = Incarnation(number as u128);
        let election = Election::new(settings(), incarnation, clock.now(), None);
        let state = State {
            election,
            rng: SmallRng::seed_from_u64(seed ^ (number as u64) << 32),
            calls: 0,
            runs: 0,
            request: None,
            busy: false,
            asked: false,
            frozen: false,
            term: None,
            agenda: Vec::new(),
            rests_until: None,
        };
        Self { role, clock, state: Mutex::new(state), lock: Mutex::default() }
    }

    /// What its clock has counted by an instant of true time.
    fn local(&self, now: Duration) -> Duration {
        now * u32::try_from(self.role.rate).expect("a small rate") / 1000
    }

    /// The first instant of true time at which its clock shows `instant` or more.
    fn true_time(&self, instant: Instant) -> Duration {
        let nanos = instant.since(Clock::simulated().now()).as_nanos();
        let nanos = (nanos * 1000).div_ceil(u128::from(self.role.rate)) + 1;
        Duration::from_nanos(u64::try_from(nanos).expect("a short test"))
    }

    /// Whether it believes that it leads.
    fn leads(&self) -> bool {
        let term = self.state.lock().term;
        term.is_some_and(|term| self.clock.now() < term.valid_until)
    }

    /// When it has something to do, in true time.
    fn due(&self) -> Option<Duration> {
        let state = self.state.lock();
        if state.frozen {
            return None;
        }
        let deadline = match state.rests_until {
            Some(_) if state.busy => None,
            Some(_) => Some(Duration::ZERO),
            None => state.election.next_deadline().map(|at| self.true_time(at)),
        };
        state.agenda.iter().map(|(at, _)| *at).chain(deadline).min()
    }
}

fn read(node: &Node, lock: &mut FileLock, deadline: Instant) -> ReadReply {
    let budget = deadline.since(node.clock.now());
    if budget.is_zero() {
        return ReadReply::Unavailable;
    }
    match lock.get(budget) {
        Ok(None) => ReadReply::Absent,
        Ok(Some(observed)) => ReadReply::Found { observed, liveness: Liveness::Unknown },
        Err(LockError::Corrupt { revision, nonce, .. }) => ReadReply::Corrupt { revision, nonce },
        Err(LockError::Fatal(failure)) => panic!("fatal: {failure}"),
        Err(_) => ReadReply::Unavailable,
    }
}

fn write(
    node: &Node,
    lock: &mut FileLock,
    intent: Intent,
    record: &LeaderElectionRecord,
    expected: Option<Revision>,
    deadline: Instant,
) -> WriteReply {
    let budget = deadline.since(node.clock.now());
    if budget.is_zero() {
        return WriteReply::Unavailable;
    }
    debug_assert!(intent != Intent::Release || record.kind == RecordKind::Released);
    match lock.write(intent, record, expected, budget) {
        Ok(revision) => WriteReply::Written(revision),
        Err(LockError::Conflict(_)) => WriteReply::Conflict,
        Err(LockError::Unavailable(_)) => WriteReply::Unavailable,
        Err(LockError::Fatal(failure)) => panic!("fatal: {failure}"),
        Err(_) => WriteReply::Indeterminate,
    }
}
