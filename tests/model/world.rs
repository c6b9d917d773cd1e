//! A small world around real state machines: clocks with rates of their own, a store with an atomic
//! compare-and-swap, and an environment that may delay, lose, crash and pause at every step.
//!
//! Nothing here decides anything about the election. A step that the environment does not take is a
//! pause: nobody has to be stepped while time goes on.

use std::sync::Arc;
use std::time::Duration;

use leaderelection::testing::WriteReply;
use leaderelection::testing::{Action, Election, End, Event, Instant, Jitter, ReadReply, Settings};
use leaderelection::{
    Incarnation, Intent, LeaderElectionRecord, Liveness, Observed, OnSuccess, Outcome, RecordKind,
    Revision,
};

use crate::mutants::Mutant;

/// What is checked in one run of the checker.
#[derive(Clone, Debug)]
pub struct Setup {
    pub name: &'static str,
    pub candidates: Vec<Candidate>,
    /// Ticks of true time until the world ends.
    pub horizon: u64,
    pub on_success: OnSuccess,
    /// How often each may happen.
    pub budget: Budget,
    /// A crash is proven to others at once, as it is on one host.
    pub proofs: bool,
    /// Each tick, each clock runs at its own rate or, if the environment likes, at the other one.
    pub rates_change: bool,
    pub mutant: Option<Mutant>,
}

/// Durations are in units of the candidate's own clock, which counts `rate` units each tick.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    pub rate: u64,
    pub lease: u64,
    pub deadline: u64,
    pub retry_micros: u64,
    /// What the work needs to stop after the validity.
    pub grace: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Lost requests, lost replies, and writes that are given up and may happen later.
    pub faults: u8,
    pub crashes: u8,
    pub stops: u8,
    pub successes: u8,
    /// Further runs of a candidate whose run has ended.
    pub again: u8,
    /// Times at which a candidate, or its way to the store, falls behind. `FREE`: always, all.
    pub lags: u8,
}

/// Any number of lags.
pub const FREE: u8 = u8::MAX;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub now: u64,
    pub nodes: Vec<Arc<Node>>,
    pub store: Option<Observed>,
    /// Writes whose sender has given them up, and that may still happen.
    pub late: Vec<Write>,
    pub left: Budget,
    pub highest_token: u64,
    /// The first rule that was seen to be broken.
    pub broken: Option<Rule>,
}

/// What must hold of every step, beside what can be seen in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    TokensRise,
    NoTermAfterCompletion,
    CallbacksPaired,
    ReleasedAfterTheWork,
    EndedStaysEnded,
    NothingAfterTheEnd,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// What its clock shows, in its own units.
    pub clock: u64,
    lives: u8,
    /// Time may pass although it has something to do.
    lags: bool,
    /// The token of its last term.
    pub token: u64,
    pub state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Up(Box<Process>),
    Down,
    Done { end: End, hold_back_until: Option<Instant> },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    election: Election,
    request: Option<Request>,
    pub term: Option<Term>,
    /// When the last write was sent; kept only for the mutant that believes in it.
    last_write: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    /// The kind of the record that its claim replaced.
    pub over: Option<RecordKind>,
    pub valid_until: Instant,
    stopped: bool,
    pub ended: bool,
    pub working: bool,
    /// Somebody may have read that the validity is over.
    seen_over: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Request {
    call: Call,
    sent: Instant,
    reply: Option<Reply>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Call {
    Read,
    Write(Write),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    intent: Intent,
    record: LeaderElectionRecord,
    expected: Option<Revision>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Reply {
    Read(ReadReply),
    Written { reply: WriteReply, over: Option<RecordKind> },
}

/// A step of the environment. The number is the candidate's, or that of the late write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// Time passes; those clocks whose bit is set run at the other rate.
    Advance(u8),
    Tick(usize),
    /// The store carries a write out. Reads that are under way and whose bit is set see what stood
    /// there before; others will see what stands there when they are answered.
    Execute(usize, u8),
    Answer(usize),
    /// The request is lost, and its sender knows that.
    Refuse(usize),
    /// The reply is lost.
    Lose(usize),
    /// The write is given up while it may still happen.
    Abandon(usize),
    Late(usize, u8),
    WorkReturns(usize),
    Succeed(usize),
    Stop(usize),
    Crash(usize),
    Restart(usize),
    RunAgain(usize),
    FallBehind(usize),
    CatchUp(usize),
}

pub const UNIT: Duration = Duration::from_millis(1);

fn instant(units: u64) -> Instant {
    Instant::from_nanos(1_000_000_000) + UNIT * u32::try_from(units).expect("a small world")
}

impl Setup {
    pub fn world(&self) -> World {
        let nodes = (0..self.candidates.len()).map(|i| {
            let lags = self.budget.lags == FREE;
            let node = Node { clock: 0, lives: 0, lags, token: 0, state: State::Down };
            Arc::new(self.started(i, node, None))
        });
        World {
            now: 0,
            nodes: nodes.collect(),
            store: None,
            late: Vec::new(),
            left: self.budget,
            highest_token: 0,
            broken: None,
        }
    }

    fn settings(&self, i: usize) -> Settings {
        let Candidate { lease, deadline, retry_micros, .. } = self.candidates[i];
        let one_name = self.mutant == Some(Mutant::SameNameIsOneself);
        Settings {
            identity: if one_name { "x" } else { ["a", "b", "c"][i] }.into(),
            metadata: "".into(),
            lease_duration: UNIT * lease as u32,
            renew_deadline: UNIT * deadline as u32,
            retry_period: Duration::from_micros(retry_micros),
            term_limit: None,
            acquire_timeout: None,
            drain_timeout: UNIT * lease as u32,
            on_success: self.on_success,
        }
    }

    /// `node` with a new run by a new incarnation.
    fn started(&self, i: usize, mut node: Node, hold_back_until: Option<Instant>) -> Node {
        node.lives += 1;
        let incarnation = Incarnation(incarnation(i, node.lives));
        let now = instant(node.clock);
        let election = Election::new(self.settings(i), incarnation, now, hold_back_until);
        let process = Process { election, request: None, term: None, last_write: None };
        node.state = State::Up(Box::new(process));
        node
    }

    /// Whether the work of this candidate's term may act now, with the grace that it has.
    pub fn acts(&self, node: &Node, i: usize) -> bool {
        let grace = UNIT * self.candidates[i].grace as u32;
        node.term()
            .is_some_and(|term| term.working && instant(node.clock) < term.valid_until + grace)
    }

    pub fn moves(&self, world: &World, moves: &mut Vec<Move>) {
        if world.broken.is_some() {
            return;
        }
        let mut all_idle = true;
        for (i, node) in world.nodes.iter().enumerate() {
            let before = moves.len();
            self.urgent_moves(world, i, moves);
            all_idle &= node.lags || moves.len() == before;
            self.chances(world, i, moves);
        }
        for k in 0..world.late.len() {
            moves.extend(self.stale_reads(world, &world.late[k]).map(|mask| Move::Late(k, mask)));
        }
        if world.now < self.horizon && all_idle {
            let free = self.rates_change || self.mutant == Some(Mutant::ClockStopsInASuspend);
            let masks = if free { 1 << world.nodes.len() } else { 1 };
            moves.extend((0..masks).map(Move::Advance));
        }
    }

    /// What happens before time passes, unless this candidate is behind.
    fn urgent_moves(&self, world: &World, i: usize, moves: &mut Vec<Move>) {
        let node = &world.nodes[i];
        let State::Up(process) = &node.state else { return };
        if process.election.next_deadline().is_some_and(|at| at <= node.time()) {
            moves.push(Move::Tick(i));
        }
        match &process.request {
            Some(Request { call: Call::Write(write), reply: None, .. }) => {
                let before = moves.len();
                moves.extend(self.stale_reads(world, write).map(|mask| Move::Execute(i, mask)));
                if moves.len() == before {
                    moves.push(Move::Answer(i));
                }
            }
            Some(_) => moves.push(Move::Answer(i)),
            None => {}
        }
    }

    /// The sets of reads that see what stood there before `write`; none where it changes nothing.
    fn stale_reads(&self, world: &World, write: &Write) -> impl Iterator<Item = u8> + use<> {
        let nodes = world.nodes.iter().enumerate();
        let reading =
            nodes.filter(|(_, node)| node.is_reading()).fold(0, |set, (i, _)| set | 1 << i);
        let masks = if self.fits(world, write) { 1 << world.nodes.len() } else { 0 };
        (0..masks).filter(move |mask| mask & !reading == 0)
    }

    /// What may happen at any time, as long as there is enough left of it.
    fn chances(&self, world: &World, i: usize, moves: &mut Vec<Move>) {
        let (left, node) = (world.left, &world.nodes[i]);
        match &node.state {
            State::Up(process) => {
                if left.faults > 0 {
                    faults(i, process, moves);
                }
                self.users_moves(world, i, process, moves);
                if left.crashes > 0 {
                    moves.push(Move::Crash(i));
                }
            }
            State::Down => moves.push(Move::Restart(i)),
            State::Done { .. } if left.again > 0 => moves.push(Move::RunAgain(i)),
            State::Done { .. } => {}
        }
        if left.lags != FREE {
            if node.lags {
                moves.push(Move::CatchUp(i));
            } else if left.lags > 0 && matches!(node.state, State::Up(_)) {
                moves.push(Move::FallBehind(i));
            }
        }
    }

    fn users_moves(&self, world: &World, i: usize, process: &Process, moves: &mut Vec<Move>) {
        let left = world.left;
        if let Some(term) = &process.term {
            if term.working && term.stopped {
                moves.push(Move::WorkReturns(i));
            }
            if left.successes > 0 && term.working {
                moves.push(Move::Succeed(i));
            }
        }
        let claims = process.request.as_ref().is_some_and(Request::is_a_claim);
        let stoppable = process.term.as_ref().map_or(claims, |term| !term.stopped);
        if left.stops > 0 && stoppable {
            moves.push(Move::Stop(i));
        }
    }

    pub fn after(&self, world: &World, chosen: Move) -> World {
        let mut next = world.clone();
        match chosen {
            Move::Advance(mask) => self.advance(&mut next, mask),
            Move::Tick(i) => self.step(&mut next, i, Event::Tick, None),
            Move::Execute(i, stale) => self.execute(&mut next, i, stale),
            Move::Answer(i) => self.answer(&mut next, i),
            Move::Refuse(i) => self.refuse(&mut next, i),
            Move::Lose(i) => self.lose(&mut next, i, false),
            Move::Abandon(i) => self.lose(&mut next, i, true),
            Move::Late(k, stale) => {
                let write = next.late.remove(k);
                self.swap(&mut next, &write, stale);
            }
            Move::WorkReturns(i) => {
                if let Some(term) = next.node(i).term_mut() {
                    term.working = false;
                }
                self.step(&mut next, i, Event::WorkReturned { panicked: false }, None);
            }
            Move::Succeed(i) => {
                next.left.successes -= 1;
                self.step(&mut next, i, Event::Task(true), None);
            }
            Move::Stop(i) => {
                next.left.stops -= 1;
                self.step(&mut next, i, Event::Stop, None);
            }
            Move::Crash(i) => {
                next.left.crashes -= 1;
                next.give_request_up(i);
                next.node(i).state = State::Down;
            }
            Move::Restart(i) => self.start(&mut next, i, None),
            Move::RunAgain(i) => {
                next.left.again -= 1;
                if let State::Done { hold_back_until, .. } = next.nodes[i].state {
                    self.start(&mut next, i, hold_back_until);
                }
            }
            Move::FallBehind(i) => {
                next.left.lags -= 1;
                next.node(i).lags = true;
            }
            Move::CatchUp(i) => next.node(i).lags = false,
        }
        next.forget_impossible_writes();
        next
    }

    fn start(&self, world: &mut World, i: usize, hold_back_until: Option<Instant>) {
        let node = (*world.nodes[i]).clone();
        world.nodes[i] = Arc::new(self.started(i, node, hold_back_until));
    }

    fn advance(&self, world: &mut World, mask: u8) {
        world.now += 1;
        for i in 0..world.nodes.len() {
            let own = self.candidates[i].rate;
            let other = match self.mutant {
                Some(Mutant::ClockStopsInASuspend) => 0,
                _ => {
                    self.candidates.iter().map(|c| c.rate).find(|rate| *rate != own).unwrap_or(own)
                }
            };
            let node = world.node(i);
            node.clock += if mask & (1 << i) == 0 { own } else { other };
            let clock = instant(node.clock);
            if let Some(term) = node.term_mut() {
                term.seen_over |= clock >= term.valid_until;
            }
        }
    }

    /// The store carries out the write of candidate `i`; the answer is on its way.
    fn execute(&self, world: &mut World, i: usize, stale: u8) {
        let Some(Request { call: Call::Write(write), .. }) = world.request(i).cloned() else {
            return;
        };
        let over = world.store.as_ref().map(|observed| observed.record.kind);
        let reply = self.swap(world, &write, stale);
        if let Some(request) = world.request(i) {
            request.reply = Some(Reply::Written { reply, over });
        }
    }

    fn look(&self, world: &World) -> ReadReply {
        let Some(observed) = world.store.clone() else {
            return ReadReply::Absent;
        };
        let holder = observed.record.incarnation;
        let alive = world.nodes.iter().enumerate().any(|(i, node)| {
            matches!(node.state, State::Up(_)) && incarnation(i, node.lives) == holder.0
        });
        let wrongly = self.mutant == Some(Mutant::TheLivingSaidToBeDead);
        let liveness = match (self.proofs, alive) {
            _ if wrongly => Liveness::Dead,
            (true, false) => Liveness::Dead,
            (true, true) | (false, _) => Liveness::Unknown,
        };
        ReadReply::Found { observed, liveness }
    }

    fn fits(&self, world: &World, write: &Write) -> bool {
        let found = world.store.as_ref().map(|observed| observed.revision);
        let blind = self.mutant == Some(Mutant::ClaimWithoutComparing);
        found == write.expected || (blind && write.intent == Intent::Acquire)
    }

    /// The compare-and-swap.
    fn swap(&self, world: &mut World, write: &Write, stale: u8) -> WriteReply {
        if !self.fits(world, write) {
            return WriteReply::Conflict;
        }
        for i in (0..world.nodes.len()).filter(|i| stale & (1 << i) != 0) {
            let seen = self.look(world);
            if let Some(request) = world.request(i) {
                request.reply = Some(Reply::Read(seen));
            }
        }
        let found = world.store.as_ref().map(|observed| observed.revision);
        let revision = Revision(found.map_or(1, |revision| revision.0 + 1));
        let mut record = write.record.clone();
        if write.intent == Intent::Acquire {
            record.fencing_token = Some(revision.0);
        }
        let deletes = self.mutant == Some(Mutant::ReleaseForgetsTheRevision);
        world.store = if deletes && write.intent == Intent::Release {
            None
        } else {
            Some(Observed { record, revision, nonce: 0 })
        };
        WriteReply::Written(revision)
    }

    fn answer(&self, world: &mut World, i: usize) {
        let Some(request) = world.process(i).and_then(|process| process.request.take()) else {
            return;
        };
        // A read sees what stands there now, and a write that no longer fits has failed, whenever
        // the store may have looked: see `Move::Execute` for those that saw something older.
        let reply = request.reply.unwrap_or_else(|| match request.call {
            Call::Read => Reply::Read(self.look(world)),
            Call::Write(_) => Reply::Written { reply: WriteReply::Conflict, over: None },
        });
        match reply {
            Reply::Read(reply) => {
                let reply = self.as_mutant_reads(i, &world.nodes[i], reply);
                let at =
                    (self.mutant == Some(Mutant::TimerFromBeforeTheRead)).then_some(request.sent);
                self.step_at(world, i, Event::Read(reply), None, at);
            }
            Reply::Written { reply, over } => {
                let at = self.as_mutant_hears(&world.nodes[i]);
                self.step_at(world, i, Event::Written(reply), over, at);
            }
        }
    }

    fn refuse(&self, world: &mut World, i: usize) {
        world.left.faults -= 1;
        let request = world.process(i).and_then(|process| process.request.take());
        let event = match request.map(|request| request.call) {
            Some(Call::Read) => Event::Read(ReadReply::Unavailable),
            _ => Event::Written(WriteReply::Unavailable),
        };
        self.step(world, i, event, None);
    }

    /// The sender of a write hears nothing.
    fn lose(&self, world: &mut World, i: usize, may_still_happen: bool) {
        world.left.faults -= 1;
        if may_still_happen {
            world.give_request_up(i);
        } else if let Some(process) = world.process(i) {
            process.request = None;
        }
        let reply = match self.mutant {
            Some(Mutant::UnknownTakenAsFailed) => WriteReply::Unavailable,
            _ => WriteReply::Indeterminate,
        };
        self.step(world, i, Event::Written(reply), None);
    }

    fn step(&self, world: &mut World, i: usize, event: Event, over: Option<RecordKind>) {
        self.step_at(world, i, event, over, None);
    }

    /// Steps the machine of candidate `i`, at another instant than its clock's only for a mutant.
    fn step_at(
        &self,
        world: &mut World,
        i: usize,
        event: Event,
        over: Option<RecordKind>,
        at: Option<Instant>,
    ) {
        let now = at.unwrap_or(instant(world.nodes[i].clock));
        let mut actions = Vec::new();
        let Some(process) = world.process(i) else { return };
        process.election.step(now, Jitter(0), event, &mut actions);
        let stops = actions.contains(&Action::StopWork);
        for action in actions {
            self.carry_out(world, i, action, over);
        }
        if stops && self.mutant == Some(Mutant::ReleaseBeforeTheWorkHasEnded) {
            self.step(world, i, Event::WorkReturned { panicked: false }, None);
        }
    }

    fn carry_out(&self, world: &mut World, i: usize, action: Action, over: Option<RecordKind>) {
        match action {
            Action::Read { .. } => world.ask(i, Call::Read),
            Action::Write { intent, record, expected, .. } => {
                let working = world.nodes[i].term().is_some_and(|term| term.working);
                let early = self.mutant == Some(Mutant::ReleaseBeforeTheWorkHasEnded);
                if intent == Intent::Release && working && !early {
                    world.broken = Some(Rule::ReleasedAfterTheWork);
                }
                let expected = self.as_mutant_expects(world, intent, expected);
                world.ask(i, Call::Write(Write { intent, record, expected }));
                if self.mutant == Some(Mutant::RenewalTimedFromItsRetry) {
                    let sent = instant(world.nodes[i].clock);
                    world.process(i).expect("it has just acted").last_write = Some(sent);
                }
            }
            Action::BeginTerm { fencing_token, valid_until } => {
                let valid_until = self.as_mutant_believes(i, &world.nodes[i], valid_until);
                self.begin(world, i, fencing_token, valid_until, over);
            }
            Action::Extend { from, until } => {
                let until = self.as_mutant_extends(i, &world.nodes[i], until);
                world.extend(i, from, until);
            }
            Action::StopWork => {
                world.in_term(i, |term| !std::mem::replace(&mut term.stopped, true))
            }
            Action::EndTerm => world.in_term(i, |term| !std::mem::replace(&mut term.ended, true)),
            Action::Finish { end, hold_back_until } => world.finish(i, end, hold_back_until),
            Action::LeaderChanged(_) | Action::Lost(_) => {}
        }
    }

    fn begin(
        &self,
        world: &mut World,
        i: usize,
        token: u64,
        valid_until: Instant,
        over: Option<RecordKind>,
    ) {
        if token <= world.highest_token {
            world.broken = Some(Rule::TokensRise);
        }
        let kind = world.store.as_ref().map(|observed| observed.record.kind);
        if kind == Some(RecordKind::Completed) {
            world.broken = Some(Rule::NoTermAfterCompletion);
        }
        world.highest_token = world.highest_token.max(token);
        let node = world.node(i);
        node.token = token;
        let seen_over = instant(node.clock) >= valid_until;
        if let State::Up(process) = &mut node.state {
            let (stopped, ended, working) = (false, false, true);
            let term = Term { over, valid_until, stopped, ended, working, seen_over };
            if process.term.replace(term).is_some() {
                world.broken = Some(Rule::CallbacksPaired);
            }
        }
    }
}

fn faults(i: usize, process: &Process, moves: &mut Vec<Move>) {
    match &process.request {
        Some(Request { call: Call::Read, .. }) => moves.push(Move::Refuse(i)),
        Some(Request { reply: Some(_), .. }) => moves.push(Move::Lose(i)),
        Some(_) => moves.extend([Move::Refuse(i), Move::Abandon(i)]),
        None => {}
    }
}

pub fn incarnation(i: usize, lives: u8) -> u128 {
    (i as u128 + 1) * 100 + u128::from(lives)
}

impl World {
    fn node(&mut self, i: usize) -> &mut Node {
        Arc::make_mut(&mut self.nodes[i])
    }

    fn process(&mut self, i: usize) -> Option<&mut Process> {
        match &mut self.node(i).state {
            State::Up(process) => Some(process),
            _ => None,
        }
    }

    fn request(&mut self, i: usize) -> Option<&mut Request> {
        self.process(i)?.request.as_mut()
    }

    fn ask(&mut self, i: usize, call: Call) {
        let sent = instant(self.nodes[i].clock);
        let Some(process) = self.process(i) else { return };
        if process.request.replace(Request { call, sent, reply: None }).is_some() {
            self.broken = Some(Rule::NothingAfterTheEnd);
        }
    }

    fn in_term(&mut self, i: usize, first_time: impl FnOnce(&mut Term) -> bool) {
        if !self.node(i).term_mut().is_some_and(first_time) {
            self.broken = Some(Rule::CallbacksPaired);
        }
    }

    fn extend(&mut self, i: usize, from: Instant, until: Instant) {
        let Some(term) = self.node(i).term_mut() else {
            self.broken = Some(Rule::CallbacksPaired);
            return;
        };
        let revives = term.seen_over || term.ended;
        let moves_on = from <= term.valid_until && from < until;
        term.valid_until = term.valid_until.max(until);
        if revives || !moves_on {
            self.broken = Some(Rule::EndedStaysEnded);
        }
    }

    /// A run ends with its term ended and its work returned, or with no term at all.
    fn finish(&mut self, i: usize, end: End, hold_back_until: Option<Instant>) {
        let open = self.nodes[i].term().is_some_and(|term| !term.ended || !term.stopped);
        if open {
            self.broken = Some(Rule::CallbacksPaired);
        }
        // For the mutant whose work goes on: its term is kept, so that it is seen to act.
        if self.nodes[i].term().is_some_and(|term| term.working) {
            return;
        }
        self.give_request_up(i);
        self.node(i).state = State::Done { end, hold_back_until };
    }

    /// Nobody waits for the request of candidate `i` any more; a write may still happen.
    fn give_request_up(&mut self, i: usize) {
        let request = self.process(i).and_then(|process| process.request.take());
        if let Some(Request { call: Call::Write(write), reply: None, .. }) = request {
            self.late.push(write);
        }
    }

    /// Revisions only rise, so a write that expects an earlier one does nothing whenever it
    /// happens.
    fn forget_impossible_writes(&mut self) {
        let found = self.store.as_ref().map(|observed| observed.revision);
        self.late.retain(|write| write.expected >= found);
    }
}

impl Request {
    fn is_a_claim(&self) -> bool {
        matches!(&self.call, Call::Write(write) if write.intent == Intent::Acquire)
    }
}

impl Node {
    pub fn term(&self) -> Option<&Term> {
        match &self.state {
            State::Up(process) => process.term.as_ref(),
            _ => None,
        }
    }

    fn term_mut(&mut self) -> Option<&mut Term> {
        match &mut self.state {
            State::Up(process) => process.term.as_mut(),
            _ => None,
        }
    }

    pub fn last_write(&self) -> Option<Instant> {
        match &self.state {
            State::Up(process) => process.last_write,
            _ => None,
        }
    }

    fn is_reading(&self) -> bool {
        match &self.state {
            State::Up(process) => process
                .request
                .as_ref()
                .is_some_and(|request| request.call == Call::Read && request.reply.is_none()),
            _ => false,
        }
    }

    pub fn time(&self) -> Instant {
        instant(self.clock)
    }

    pub fn lives(&self) -> u8 {
        self.lives
    }

    /// Whether `is_leader` would say so now.
    pub fn believes(&self) -> bool {
        let clock = instant(self.clock);
        self.term().is_some_and(|term| !term.ended && clock < term.valid_until)
    }

    pub fn ended_as(&self, outcome: Outcome) -> bool {
        matches!(&self.state, State::Done { end, .. } if *end == End::Outcome(outcome))
    }
}
