//! What the steps come to.

use leaderelection::testing::Instant;
use leaderelection::testing::file::{Claimed, Fault, FaultKind, Op, Sight, Swept};

use crate::directory::HOME;
use crate::driver::{Doing, Holder, Node, Running, Term, View, judge};
use crate::mutants::Mutant;
use crate::scene::{Rule, Setup, UNIT, World};

impl Setup {
    pub fn saw(
        &self,
        world: &mut World,
        i: usize,
        sight: Result<Sight, Fault>,
        highest: u64,
        began: Instant,
    ) {
        let now = self.local(world, i);
        let corrupt = match self.is(Mutant::CorruptIsOwnLease) {
            true => self.lease(i),
            false => UNIT * self.corrupt,
        };
        let node = &mut world.nodes[i];
        node.highest = node.highest.max(highest);
        let Ok(sight) = sight else {
            return;
        };
        node.looked = true;
        match sight {
            Sight::Unchanged => {}
            Sight::Nothing => self.saw_nothing(node, now),
            Sight::Head(mut head) => {
                if self.is(Mutant::WitnessReadTooEarly) {
                    head.read_at = began;
                }
                let hidden = node.highest_seen_above(head.generation);
                if hidden > 0 {
                    node.memory.forget();
                } else if self.sweeps {
                    node.memory.note(HOME, head.generation, head.read_at);
                }
                let version = (head.generation, head.nonce() ^ (hidden << 32));
                let holder = judge(&head, node.incarnation, corrupt);
                match &mut node.view {
                    Some(view) if view.version == version => view.holder = holder,
                    view => *view = Some(View { head: Some(head), version, holder, since: now }),
                }
            }
        }
    }

    fn saw_nothing(&self, node: &mut Node, now: Instant) {
        if !self.is(Mutant::ClaimAboveTheHighestEverSeen) {
            node.highest = 0;
        }
        node.memory.forget();
        let held = node.view.as_ref().map(|view| view.holder);
        // Who held the lease may not know yet that all is gone.
        let held = held.filter(|holder| matches!(holder, Holder::Somebody(_)));
        let (version, holder) = ((0, 0), held.unwrap_or(Holder::Nobody));
        if node.view.as_ref().is_none_or(|old| old.version != version) {
            node.view = Some(View { head: None, version, holder, since: now });
        }
    }

    pub fn claimed(
        &self,
        world: &mut World,
        i: usize,
        result: Result<Claimed, Fault>,
        generation: u64,
        doing: &Doing,
    ) {
        let now = self.local(world, i);
        let node = &mut world.nodes[i];
        node.looked = false;
        let unknown = |fault: &Fault| fault.kind == FaultKind::Indeterminate;
        let counts = match &result {
            Ok(_) => true,
            Err(fault) => self.is(Mutant::UnknownIsSuccess) && unknown(fault),
        };
        if !counts && self.is(Mutant::RemovesItsStaleClaim) {
            let (running, op) = (Running::Unmake(generation), Op::Read(generation));
            node.doing = Some(Doing::new(running, op, now, None));
        }
        if counts && now < doing.began + self.deadline(i) {
            self.won(world, i, generation, doing);
        }
    }

    fn won(&self, world: &mut World, i: usize, generation: u64, doing: &Doing) {
        let mut since = self.local(world, i);
        let node = &mut world.nodes[i];
        if self.is(Mutant::WitnessOfItsOwnClaim) {
            node.memory = self.memory(i);
            let head = node.view.as_ref().and_then(|view| view.head.as_ref());
            since = head.map_or(since, |head| head.read_at);
        }
        if self.sweeps {
            node.memory.note(HOME, generation, since);
            node.ruled = Some(generation);
        }
        node.term = Some(Term {
            token: generation,
            text: doing.text.clone().expect("a claim has a text"),
            generation,
            valid_until: doing.began + self.deadline(i),
            first_sent: None,
        });
        node.view = None;
        if world.completed {
            world.broken = Some(Rule::Completed);
        }
        if generation <= world.token {
            world.broken = Some(Rule::TokensRise);
        }
        world.token = generation;
    }

    pub fn renewed(&self, world: &mut World, i: usize, result: Result<u64, Fault>) {
        let now = self.local(world, i);
        let deadline = self.deadline(i);
        let node = &mut world.nodes[i];
        let Some(term) = &mut node.term else {
            return;
        };
        let late = now >= term.valid_until && !self.is(Mutant::RenewalAfterTheDeadline);
        match (result, &mut term.first_sent) {
            (Ok(generation), Some((first, _))) if !late => {
                term.generation = generation;
                term.valid_until = *first + deadline;
                term.first_sent = None;
                if self.sweeps {
                    node.memory.note(HOME, generation, now);
                    node.ruled = Some(generation);
                }
            }
            (Err(fault), Some((_, perhaps))) if fault.kind == FaultKind::Indeterminate => {
                *perhaps = true;
            }
            (Err(_), Some((_, false))) => term.first_sent = None,
            _ => {}
        }
    }

    /// A release or a completion is known to stand.
    pub fn ended(&self, world: &mut World, completes: bool) {
        if completes {
            world.completed = true;
            if self.believers(world) > 0 {
                world.broken = Some(Rule::Completed);
            }
        }
    }

    pub fn swept(
        &self,
        world: &mut World,
        i: usize,
        swept: Swept,
        witnessed: Option<(u64, Instant)>,
    ) {
        let now = self.local(world, i);
        let node = &mut world.nodes[i];
        let known = node.memory.superseded(now).is_some();
        match swept {
            Swept::All if known => node.memory.swept(HOME, node.ruled.unwrap_or(0), now),
            Swept::WentBack => node.memory.forget(),
            Swept::Some if let Some(witnessed) = witnessed => {
                node.memory.note_witnessed(HOME, witnessed);
            }
            Swept::All | Swept::Some => {}
        }
    }
}
