//! A shared directory, and an environment that may delay, lose, crash and pause at every system
//! call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use leaderelection::testing::file::{Errno, Op, Reply, Text};
use leaderelection::testing::{End, Event, Instant, Settings};
use leaderelection::{OnSuccess, Outcome};
use stateright::{Model, Property};

use crate::candidate::{Candidate, DEADLINE, HOME, Notice};

const TIMED_OUT: Reply = Reply::Failed(Errno(110));

/// A tick of true time, on a clock of rate one: half the deadline, a quarter of the lease.
const TICK: Duration = Duration::from_secs(5);

/// What is checked in one run of the checker.
#[derive(Clone, Debug)]
pub struct Setup {
    pub name: &'static str,
    /// The rate of each candidate's clock.
    pub rates: Vec<u64>,
    /// The lease of each candidate, in ticks of a clock of rate one.
    pub leases: Vec<u32>,
    pub horizon: u64,
    /// The highest generation that is looked at.
    pub generations: u64,
    pub on_success: OnSuccess,
    pub left: Left,
}

/// How often each may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Left {
    /// Replies that are lost, calls that execute late, reads that are stale, torn listings.
    pub faults: u8,
    pub crashes: u8,
    pub stops: u8,
    pub successes: u8,
    /// Losses of everything that was not synced.
    pub cuts: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    now: u64,
    names: BTreeMap<u64, Text>,
    synced: BTreeSet<u64>,
    late: Vec<Op>,
    nodes: Vec<Arc<Node>>,
    left: Left,
    highest_token: u64,
    lives: u64,
    completed: bool,
    pub terms: u8,
    broken: Option<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    candidate: Candidate,
    /// The names as they were when it opened the directory.
    view: BTreeMap<u64, Text>,
    /// The names when its listing began.
    listing: Option<Vec<u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    TokensRise,
    NoTermAfterCompletion,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// True time goes on, whoever has something to do.
    Tick,
    /// A candidate makes its call, or does what is due.
    Step(usize),
    /// Its call is carried out, and its reply is lost.
    LoseReply(usize),
    /// Its call is given up, and may be carried out later.
    Delay(usize),
    /// Its read shows what stood there when it opened the directory.
    ReadStale(usize),
    /// Its listing leaves out all that did not stand there throughout.
    ListLess(usize),
    /// A call that was given up is carried out.
    Land(usize),
    /// It dies, and another incarnation starts.
    Crash(usize),
    /// It is told to stop.
    Stop(usize),
    /// Its task succeeds.
    Succeed(usize),
    /// Its work, which was told to stop, returns.
    Return(usize),
    /// The server loses what was not synced.
    PowerCut,
}

impl Setup {
    fn local(&self, world: &World, node: usize) -> Instant {
        // Long after the boot, so that a mutant's clock can lie before now.
        Instant::from_nanos(0)
            + Duration::from_secs(7200)
            + TICK * (world.now * self.rates[node]) as u32
    }

    fn settings(&self, node: usize) -> Settings {
        Settings {
            identity: "c".into(),
            metadata: "".into(),
            lease_duration: TICK * self.leases[node],
            renew_deadline: DEADLINE,
            retry_period: TICK,
            term_limit: None,
            acquire_timeout: None,
            drain_timeout: TICK,
            on_success: self.on_success,
        }
    }

    fn candidate(&self, world: &mut World, node: usize) -> Candidate {
        world.lives += 1;
        let now = self.local(world, node);
        // Clocks of different rates are clocks of different machines.
        let boot = format!("boot-{}", self.rates[node]);
        let mut candidate =
            Candidate::new(self.settings(node), u128::from(world.lives), &boot, now);
        candidate.feed(now, Event::Tick);
        candidate
    }

    /// Lets `node` take in an event, and notes what that shows.
    fn feed(&self, world: &mut World, node: usize, event: Event) {
        let now = self.local(world, node);
        let mut notices = Vec::new();
        let mut changed = (*world.nodes[node]).clone();
        notices.extend(changed.candidate.feed(now, event));
        world.nodes[node] = Arc::new(changed);
        for notice in notices {
            match notice {
                Notice::Began(token) => {
                    if token <= world.highest_token {
                        world.broken = Some(Rule::TokensRise);
                    }
                    if world.completed {
                        world.broken = Some(Rule::NoTermAfterCompletion);
                    }
                    world.highest_token = world.highest_token.max(token);
                    world.terms += 1;
                }
                Notice::Finished(End::Outcome(Outcome::TaskSucceeded))
                    if self.on_success == OnSuccess::Complete =>
                {
                    world.completed = true;
                }
                Notice::Ended | Notice::Finished(_) => {}
            }
        }
    }

    /// Gives the call of `node` its result.
    fn reply(&self, world: &mut World, node: usize, reply: Reply) {
        let mut changed = (*world.nodes[node]).clone();
        let now = self.local(world, node);
        let event = changed.candidate.advance(now, reply);
        world.nodes[node] = Arc::new(changed);
        let Some(event) = event else {
            return;
        };
        if let Some(event) = event {
            self.feed(world, node, event);
        }
    }

    /// Carries a call out on the directory.
    fn perform(world: &mut World, op: &Op) -> Reply {
        match op {
            Op::Open => Reply::Opened(HOME),
            Op::Make => Reply::Exists,
            Op::List => Reply::Listed(world.names.keys().copied().collect()),
            Op::Read(name) => match world.names.get(name) {
                Some(text) => Reply::Text(text.clone()),
                None => Reply::Missing,
            },
            Op::Create(name, text) => {
                if world.names.contains_key(name) {
                    return Reply::Exists;
                }
                world.names.insert(*name, text.clone());
                Reply::Done
            }
            Op::Link { from, to } => match world.names.get(from).cloned() {
                None => Reply::Missing,
                Some(_) if world.names.contains_key(to) => Reply::Exists,
                Some(text) => {
                    world.names.insert(*to, text);
                    Reply::Done
                }
            },
            Op::Remove(name) => match world.names.remove(name) {
                Some(_) => Reply::Done,
                None => Reply::Missing,
            },
            Op::Sync => {
                world.synced = world.names.keys().copied().collect();
                Reply::Done
            }
        }
    }

    /// One call of `node` as it should be; a listing takes two steps.
    fn call(&self, world: &mut World, node: usize, op: &Op, less: bool) {
        let mut changed = (*world.nodes[node]).clone();
        let reply = match op {
            Op::Open => {
                changed.view = world.names.clone();
                Reply::Opened(HOME)
            }
            Op::List if changed.listing.is_none() && world.left.faults > 0 => {
                changed.listing = Some(world.names.keys().copied().collect());
                world.nodes[node] = Arc::new(changed);
                return;
            }
            Op::List => {
                let ends: BTreeSet<u64> = world.names.keys().copied().collect();
                let began = match changed.listing.take() {
                    Some(names) => names.into_iter().collect(),
                    None => ends.clone(),
                };
                changed.view = world.names.clone();
                let listed: Vec<u64> = if less {
                    began.intersection(&ends).copied().collect()
                } else {
                    began.union(&ends).copied().collect()
                };
                Reply::Listed(listed.into())
            }
            op => Self::perform(world, op),
        };
        world.nodes[node] = Arc::new(changed);
        self.reply(world, node, reply);
    }

    fn step(&self, world: &mut World, node: usize) {
        let now = self.local(world, node);
        if let Some(op) = world.nodes[node].candidate.op.clone() {
            return self.call(world, node, &op, false);
        }
        let mut changed = (*world.nodes[node]).clone();
        let swept = changed.candidate.begin_sweep(now);
        world.nodes[node] = Arc::new(changed);
        if !swept {
            self.feed(world, node, Event::Tick);
        }
    }

    /// Makes the calls of `node` that nothing which matters can come before.
    fn hurry(&self, world: &mut World, node: usize) {
        while let Some(op) = world.nodes[node].candidate.op.clone()
            && world.left.faults == 0
            && match op {
                Op::Open | Op::Read(_) => true,
                Op::Sync => self.left.cuts == 0,
                _ => false,
            }
        {
            self.call(world, node, &op, false);
        }
    }

    fn acts_of(&self, world: &World, index: usize, acts: &mut Vec<Act>) {
        let node = &world.nodes[index];
        let candidate = &node.candidate;
        let now = self.local(world, index);
        let left = world.left;
        if candidate.is_due(now) {
            acts.push(Act::Step(index));
        }
        if left.faults > 0 {
            match &candidate.op {
                Some(Op::Create(..) | Op::Link { .. }) => {
                    acts.extend([Act::LoseReply(index), Act::Delay(index)]);
                }
                Some(Op::Read(name)) if node.view.get(name) != world.names.get(name) => {
                    acts.push(Act::ReadStale(index));
                }
                Some(Op::List) => {
                    let now: Vec<u64> = world.names.keys().copied().collect();
                    if node.listing.as_ref().is_some_and(|began| *began != now) {
                        acts.push(Act::ListLess(index));
                    }
                }
                _ => {}
            }
        }
        if left.crashes > 0 && candidate.election.is_leading() {
            acts.push(Act::Crash(index));
        }
        let acting = candidate.working && !candidate.stopped;
        if left.stops > 0 && acting {
            acts.push(Act::Stop(index));
        }
        if left.successes > 0 && acting {
            acts.push(Act::Succeed(index));
        }
        if candidate.working && candidate.stopped {
            acts.push(Act::Return(index));
        }
    }

    fn fault(&self, world: &mut World, node: usize, act: &Act) {
        world.left.faults -= 1;
        let Some(op) = world.nodes[node].candidate.op.clone() else {
            return;
        };
        match act {
            Act::LoseReply(_) => {
                Self::perform(world, &op);
                self.reply(world, node, TIMED_OUT);
            }
            Act::Delay(_) => {
                world.late.push(op);
                world.late.sort_by_key(|op| format!("{op:?}"));
                self.reply(world, node, TIMED_OUT);
            }
            Act::ReadStale(_) => {
                let Op::Read(name) = op else { return };
                let stale = match world.nodes[node].view.get(&name) {
                    Some(text) => Reply::Text(text.clone()),
                    None => Reply::Missing,
                };
                self.reply(world, node, stale);
            }
            _ => self.call(world, node, &op, true),
        }
    }
}

impl Model for Setup {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        let mut world = World {
            now: 0,
            names: BTreeMap::new(),
            synced: BTreeSet::new(),
            late: Vec::new(),
            nodes: Vec::new(),
            left: self.left,
            highest_token: 0,
            lives: 0,
            completed: false,
            terms: 0,
            broken: None,
        };
        for node in 0..self.rates.len() {
            let candidate = self.candidate(&mut world, node);
            let node = Node { candidate, view: BTreeMap::new(), listing: None };
            world.nodes.push(Arc::new(node));
        }
        vec![world]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        if world.broken.is_some() {
            return;
        }
        for node in 0..world.nodes.len() {
            self.acts_of(world, node, acts);
        }
        acts.extend((0..world.late.len()).map(Act::Land));
        if world.left.cuts > 0 && world.names.keys().any(|name| !world.synced.contains(name)) {
            acts.push(Act::PowerCut);
        }
        if world.now < self.horizon {
            acts.push(Act::Tick);
        }
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        let mut next = world.clone();
        match act {
            Act::Tick => next.now += 1,
            Act::Step(node) => self.step(&mut next, node),
            Act::LoseReply(node)
            | Act::Delay(node)
            | Act::ReadStale(node)
            | Act::ListLess(node) => self.fault(&mut next, node, &act),
            Act::Land(index) => {
                let op = next.late.remove(index);
                Self::perform(&mut next, &op);
            }
            Act::Crash(node) => {
                next.left.crashes -= 1;
                let candidate = self.candidate(&mut next, node);
                let node_state = Node { candidate, view: BTreeMap::new(), listing: None };
                next.nodes[node] = Arc::new(node_state);
            }
            Act::Stop(node) => {
                next.left.stops -= 1;
                self.feed(&mut next, node, Event::Stop);
            }
            Act::Succeed(node) => {
                next.left.successes -= 1;
                self.feed(&mut next, node, Event::Task(true));
            }
            Act::Return(node) => {
                let mut changed = (*next.nodes[node]).clone();
                changed.candidate.working = false;
                next.nodes[node] = Arc::new(changed);
                self.feed(&mut next, node, Event::WorkReturned { panicked: false });
            }
            Act::PowerCut => {
                next.left.cuts -= 1;
                let World { names, synced, .. } = &mut next;
                names.retain(|name, _| synced.contains(name));
            }
        }
        for node in 0..next.nodes.len() {
            self.hurry(&mut next, node);
        }
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "at most one believes that it leads",
                |setup: &Setup, world: &World| {
                    let believers = world.nodes.iter().enumerate().filter(|(index, node)| {
                        node.candidate.believes(setup.local(world, *index))
                    });
                    believers.count() <= 1
                },
            ),
            Property::always(
                "tokens rise, and nothing follows a completion",
                |_, world: &World| world.broken.is_none(),
            ),
            Property::sometimes("a second term begins", |_, world: &World| world.terms >= 2),
        ]
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.names.keys().next_back().is_none_or(|highest| *highest <= self.generations)
    }
}
