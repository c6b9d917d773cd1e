//! What is explored: candidates, a directory, and an environment that may delay, lose, repeat and
//! hide what they do.

use std::time::Duration;

use leaderelection::testing::Instant;
use leaderelection::testing::file::{Memory, Op};
use stateright::{Model, Property};

use crate::directory::{Directory, Keeps};
use crate::driver::{Holder, Node, What};
use crate::moves::changes;
use crate::mutants::Mutant;

pub const ONE_LEADS: &str = "at most one believes that it leads";
pub const TOKENS_RISE: &str = "tokens rise from term to term";
pub const COMPLETED: &str = "nobody leads after a completion";

/// The unit of all spans: a quarter of the longest attempt window.
pub const UNIT: Duration = Duration::from_millis(2500);

/// What is checked in one run of the checker.
#[derive(Clone, Debug)]
pub struct Setup {
    pub name: &'static str,
    /// How many units each candidate's clock counts in a tick.
    pub rates: Vec<u32>,
    /// By how many units each clock is ahead.
    pub offsets: Vec<u32>,
    /// The lease of each candidate, in units, as all below.
    pub leases: Vec<u32>,
    /// The renew deadline of each.
    pub deadlines: Vec<u32>,
    /// How long a generation is kept.
    pub keep: u32,
    /// How long a head that can't be read is waited for.
    pub corrupt: u32,
    /// In ticks.
    pub horizon: u64,
    /// The highest generation that is looked at.
    pub generations: u64,
    /// Ticks of which a power cut loses what was not synced.
    pub loses: u64,
    pub left: Left,
    /// Generations are swept.
    pub sweeps: bool,
    /// Records carry witnesses, and sweeps go by them.
    pub witnesses: bool,
    /// Looks read the next name first.
    pub peeks: bool,
    /// Every call is a step of its own, though nothing that happens between matters.
    pub each_call: bool,
    /// It is known when each name was made.
    pub dated: bool,
    /// A candidate remembers a term whose validity has ended.
    pub keeps_terms: bool,
    /// A log may have gone back, so candidates go by the highest generation that they ever saw.
    pub goes_back: bool,
    pub mutant: Option<Mutant>,
    /// Without its mutant it is exhausted in the long form only.
    pub is_large: bool,
    /// How the world came to be what it is when the search begins: moves without a mutant.
    pub script: Vec<Line>,
}

/// A line of a script.
#[derive(Clone, Copy, Debug)]
pub enum Line {
    Do(Act),
    /// A candidate begins something and carries it through.
    Through(usize, What),
    /// What a candidate has begun is carried through.
    Rest(usize),
    /// It makes so many calls.
    Calls(usize, u8),
    Ticks(u64),
}

/// How often each may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Left {
    /// A call is carried out, and its reply is lost.
    pub lost: u8,
    /// A call is given up, and may be carried out later.
    pub late: u8,
    /// A call is carried out, and may be carried out once more later.
    pub twice: u8,
    /// A directory is opened, or a name read, as it was when the client last asked the server.
    pub stale: u8,
    /// A listing takes its time.
    pub torn: u8,
    /// A link is refused, as of a foreign symbolic link.
    pub refused: u8,
    pub crashes: u8,
    pub releases: u8,
    pub completions: u8,
    /// The head becomes unreadable.
    pub corruptions: u8,
    pub cuts: u8,
}

impl Left {
    const PLENTY: Self = Self {
        lost: 99,
        late: 99,
        twice: 99,
        stale: 99,
        torn: 99,
        refused: 99,
        crashes: 99,
        releases: 99,
        completions: 99,
        corruptions: 99,
        cuts: 99,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Time goes on.
    Tick,
    /// A candidate begins something.
    Begin(usize, What),
    /// It makes its call.
    Call(usize),
    Lose(usize),
    Delay(usize),
    Twice(usize),
    Refuse(usize),
    /// Its client answers with what it remembers.
    Remember(usize),
    /// Its listing begins.
    BeginListing(usize),
    /// Its listing ends, and shows nothing above this name.
    EndListing(usize, u64),
    /// A call that was given up, or is repeated, is carried out.
    Land(usize),
    /// It dies, and another incarnation starts.
    Crash(usize),
    Corrupt,
    PowerCut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    TokensRise,
    Completed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub now: u64,
    pub directory: Directory,
    pub late: Vec<Op>,
    pub nodes: Vec<Node>,
    pub left: Left,
    /// The highest token of a term that has begun.
    pub token: u64,
    pub completed: bool,
    pub broken: Option<Rule>,
}

impl Setup {
    /// Two candidates whose clocks run alike, so that the lease need be no longer than the
    /// deadline, and names kept no longer than the window.
    pub fn two(name: &'static str) -> Self {
        Self {
            name,
            rates: vec![1, 1],
            offsets: vec![0, 0],
            leases: vec![2, 2],
            deadlines: vec![2, 2],
            keep: 2,
            corrupt: 2,
            horizon: 6,
            generations: 5,
            loses: 0,
            left: Left::default(),
            sweeps: false,
            witnesses: false,
            peeks: false,
            each_call: false,
            dated: false,
            keeps_terms: false,
            goes_back: false,
            mutant: None,
            is_large: false,
            script: Vec::new(),
        }
    }

    pub fn three(name: &'static str) -> Self {
        Self {
            rates: vec![1; 3],
            offsets: vec![0; 3],
            leases: vec![2; 3],
            deadlines: vec![2; 3],
            ..Self::two(name)
        }
    }

    pub fn local(&self, world: &World, i: usize) -> Instant {
        // Long after the boot, so that every span fits before.
        let units = u64::from(self.rates[i]) * world.now + u64::from(self.offsets[i]);
        Instant::from_nanos(0) + Duration::from_secs(7200) + UNIT * units as u32
    }

    pub fn lease(&self, i: usize) -> Duration {
        UNIT * self.leases[i]
    }

    pub fn deadline(&self, i: usize) -> Duration {
        UNIT * self.deadlines[i]
    }

    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub fn memory(&self, i: usize) -> Memory {
        // Clocks of different rates or readings are clocks of different machines.
        let boot = match self.is(Mutant::WitnessOfAForeignBoot) {
            true => "boot".to_owned(),
            false => format!("boot-{}-{}", self.rates[i], self.offsets[i]),
        };
        let keep = match self.mutant {
            Some(Mutant::SweepWithoutItsWait) => 0,
            Some(Mutant::KeepShorterThanTheWindow) => self.keep / 2,
            _ => self.keep,
        };
        let few_names = if self.witnesses { 0 } else { usize::MAX };
        Memory::new(Some(boot.into())).scaled(UNIT * keep, few_names)
    }

    pub fn keeps(&self) -> Keeps {
        Keeps { unsynced: self.left.cuts > 0, made: self.dated }
    }

    pub fn has_stale_views(&self) -> bool {
        self.left.stale > 0
    }

    /// Whether the highest generation ever seen can differ from what a listing shows.
    pub fn may_go_back(&self) -> bool {
        self.goes_back || self.has_stale_views() || self.left.cuts > 0 || self.left.torn > 0
    }

    pub fn believers(&self, world: &World) -> usize {
        let believes = |(i, node): (usize, &Node)| node.believes(self.local(world, i));
        world.nodes.iter().enumerate().filter(|entry| believes(*entry)).count()
    }

    fn own_lease(&self, i: usize) -> Option<Duration> {
        self.is(Mutant::OwnLease).then(|| self.lease(i))
    }

    /// The world as it is when all begins.
    fn beginning(&self) -> World {
        let node = |i: usize| Node::new((i as u128 + 1) << 4, self.memory(i));
        World {
            now: 0,
            directory: Directory::default(),
            late: Vec::new(),
            nodes: (0..self.rates.len()).map(node).collect(),
            left: Left::PLENTY,
            token: 0,
            completed: false,
            broken: None,
        }
    }

    /// The world after the script. It is one that can be reached without a mutant.
    pub fn after_the_script(&self) -> World {
        let honest = Self { mutant: None, horizon: u64::MAX, left: Left::PLENTY, ..self.clone() };
        let mut world = self.beginning();
        for line in &self.script {
            match *line {
                Line::Do(act) => honest.play(&mut world, act),
                Line::Through(i, what) => {
                    honest.play(&mut world, Act::Begin(i, what));
                    honest.finish(&mut world, i);
                }
                Line::Rest(i) => honest.finish(&mut world, i),
                Line::Calls(i, calls) => {
                    (0..calls).for_each(|_| honest.play(&mut world, Act::Call(i)));
                }
                Line::Ticks(ticks) => (0..ticks).for_each(|_| honest.play(&mut world, Act::Tick)),
            }
        }
        world.left = self.left;
        self.forget_what_is_past(&mut world);
        world
    }

    fn play(&self, world: &mut World, act: Act) {
        let mut acts = Vec::new();
        self.actions(world, &mut acts);
        assert!(acts.contains(&act), "{}: {act:?} can't be: {acts:?}", self.name);
        *world = self.after(world, act);
    }

    fn finish(&self, world: &mut World, i: usize) {
        while world.nodes[i].doing.is_some() {
            self.play(world, Act::Call(i));
        }
    }

    fn begins(&self, world: &World, i: usize, acts: &mut Vec<Act>) {
        let node = &world.nodes[i];
        let now = self.local(world, i);
        let leads = node.believes(now);
        let mut begin = |what| acts.push(Act::Begin(i, what));
        if !leads {
            let completed = node.view.as_ref().is_some_and(|view| view.holder == Holder::Completed);
            if !completed {
                begin(What::Look);
            }
            if node.may_claim(now, self.own_lease(i)) {
                begin(What::Claim);
            }
        }
        if let Some(term) = &node.term {
            let late = self.is(Mutant::RenewalAfterTheDeadline);
            if (leads || late) && now + self.deadline(i) > term.valid_until {
                begin(What::Renew);
            }
            if leads && world.left.releases > 0 {
                begin(What::Release);
            }
            if leads && world.left.completions > 0 {
                begin(What::Complete);
            }
        }
        if self.may_sweep(world, i) {
            begin(What::Sweep);
        }
    }

    fn may_sweep(&self, world: &World, i: usize) -> bool {
        let node = &world.nodes[i];
        let due = self.witnesses
            || self.is(Mutant::SweepByAge)
            || node.memory.superseded(self.local(world, i)).is_some();
        self.sweeps && node.ruled.is_some() && due && world.directory.names.len() > 1
    }

    fn calls(&self, world: &World, i: usize, op: &Op, acts: &mut Vec<Act>) {
        let node = &world.nodes[i];
        if let Some(listing) = &node.listing {
            acts.extend(listing.tops().into_iter().map(|top| Act::EndListing(i, top)));
            return;
        }
        acts.push(Act::Call(i));
        let left = world.left;
        if changes(op) {
            acts.extend((left.lost > 0).then_some(Act::Lose(i)));
            acts.extend((left.late > 0).then_some(Act::Delay(i)));
            acts.extend((left.twice > 0).then_some(Act::Twice(i)));
        }
        if matches!(op, Op::Link { .. }) && left.refused > 0 {
            acts.push(Act::Refuse(i));
        }
        if self.may_remember(world, i, op) {
            acts.push(Act::Remember(i));
        }
        if *op == Op::List && left.torn > 0 && !node.is_cached() {
            acts.push(Act::BeginListing(i));
        }
    }

    /// Whether the client of `i` might answer without asking, and would answer another thing.
    pub fn may_remember(&self, world: &World, i: usize, op: &Op) -> bool {
        let node = &world.nodes[i];
        let names = &world.directory.names;
        world.left.stale > 0
            && self.has_stale_views()
            && match op {
                Op::Open => !node.dirty && node.cache != *names,
                Op::Read(name) => node.cache.get(name) != names.get(name),
                _ => false,
            }
    }

    fn happens(&self, world: &World, acts: &mut Vec<Act>) {
        for (i, node) in world.nodes.iter().enumerate() {
            if world.left.crashes > 0 && (node.doing.is_some() || node.term.is_some()) {
                acts.push(Act::Crash(i));
            }
        }
        acts.extend((0..world.late.len()).map(Act::Land));
        if world.left.corruptions > 0 && !world.directory.names.is_empty() {
            acts.push(Act::Corrupt);
        }
        if world.left.cuts > 0 && world.directory.can_lose(world.now, self.loses) {
            acts.push(Act::PowerCut);
        }
        if world.now < self.horizon {
            acts.push(Act::Tick);
        }
    }
}

impl Node {
    /// Whether what it has opened is what its client remembers.
    pub fn is_cached(&self) -> bool {
        self.cached && !self.dirty
    }
}

impl Model for Setup {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        vec![self.after_the_script()]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        if world.broken.is_some() {
            return;
        }
        for i in 0..world.nodes.len() {
            match &world.nodes[i].doing {
                Some(doing) => self.calls(world, i, &doing.op, acts),
                None => self.begins(world, i, acts),
            }
        }
        self.happens(world, acts);
    }

    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        Some(self.after(world, act)).filter(|next| next != world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(ONE_LEADS, |setup: &Self, world: &World| setup.believers(world) <= 1),
            Property::always(TOKENS_RISE, |_, w: &World| w.broken != Some(Rule::TokensRise)),
            Property::always(COMPLETED, |_, w: &World| w.broken != Some(Rule::Completed)),
        ];
        if self.mutant.is_none() && self.script.is_empty() {
            properties.extend(self.reachable());
        }
        properties
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.directory.highest() <= self.generations
    }
}

impl Setup {
    /// What must be possible, given what this setup allows.
    fn reachable(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::sometimes("a later term begins", |setup: &Self, world: &World| {
                world.token > 1 && setup.believers(world) == 1
            }),
            Property::sometimes("a term is renewed", |_, world: &World| {
                world
                    .nodes
                    .iter()
                    .any(|node| node.term.as_ref().is_some_and(|term| term.generation > term.token))
            }),
        ];
        if self.sweeps {
            properties.push(Property::sometimes("a hole or a shorter log", |_, world: &World| {
                let names = &world.directory.names;
                !names.is_empty() && (names.len() as u64) < world.directory.highest()
            }));
        }
        if self.left.completions > 0 {
            properties
                .push(Property::sometimes("a completion is recorded", |_, w: &World| w.completed));
        }
        properties
    }
}
