//! How a candidate begins what it may.

use leaderelection::RecordKind;
use leaderelection::testing::Instant;
use leaderelection::testing::file::{
    Claim, Content, Finish, Head, Next, Observe, Op, Predecessor, REMOVALS_A_CLAIM, Renew, Reply,
    Step, Sweep, Text,
};

use crate::directory::HOME;
use crate::driver::{Doing, Node, Running, What, Writing};
use crate::mutants::Mutant;
use crate::scene::{Setup, World};

impl Setup {
    pub fn begin(&self, world: &mut World, i: usize, what: What) {
        let now = self.local(world, i);
        let (mut running, text) = match what {
            What::Look => (self.look(world, i), None),
            What::Claim => self.claim(world, i),
            What::Renew => self.renew(world, i, now),
            What::Release | What::Complete => self.end(world, i, now, what),
            What::Sweep => (self.sweep(world, i), None),
        };
        let op = match &mut running {
            Running::Look(step) => first(step.as_mut(), now),
            Running::Claim(step) => first(step.as_mut(), now),
            Running::Renew(step) => first(step.as_mut(), now),
            Running::Finish(step, _) => first(step.as_mut(), now),
            Running::Sweep(step) => first(step.as_mut(), now),
            Running::Unmake(name) => Op::Read(*name),
        };
        world.nodes[i].doing = Some(Doing::new(running, op, now, text));
    }

    fn look(&self, world: &World, i: usize) -> Running {
        let node = &world.nodes[i];
        let whole = |head: &&Head| node.looked && node.highest_seen_above(head.generation) == 0;
        let head = node.view.as_ref().and_then(|view| view.head.as_deref()).filter(whole);
        Running::Look(Box::new(Observe::new(head.filter(|_| self.peeks), false)))
    }

    fn claim(&self, world: &World, i: usize) -> (Running, Option<Text>) {
        let node = &world.nodes[i];
        let mut head = node.view.as_ref().and_then(|view| view.head.clone());
        if self.is(Mutant::ClaimAboveTheHighestEverSeen)
            && node.highest > head.as_ref().map_or(0, |head| head.generation)
        {
            head = Some(Box::new(Head {
                directory: HOME,
                generation: node.highest,
                text: Some((&b"?"[..]).into()),
                content: Content::Corrupt(String::new()),
                read_at: Instant::default(),
                listed_at: Instant::default(),
            }));
        }
        let token = head.as_ref().map_or(0, |head| head.generation) + 1;
        let seen = head.as_ref().filter(|_| self.witnesses);
        let witness = seen.and_then(|head| node.memory.witness(head.generation, head.read_at));
        let incarnation = node.incarnation;
        let (kind, lease) = (RecordKind::Held, self.lease(i));
        let text = fresh(world, &Writing { incarnation, kind, token, lease, witness });
        let after = head.as_deref().map(Predecessor::from);
        let claim = Claim::new(after, text.clone(), self.deadline(i)).durable(self.loses > 0);
        (Running::Claim(Box::new(claim)), Some(text))
    }

    fn renew(&self, world: &mut World, i: usize, now: Instant) -> (Running, Option<Text>) {
        let again = self.is(Mutant::RenewalTimedFromItsRetry);
        let budget = match self.is(Mutant::RenewalAfterTheDeadline) {
            true => Some(self.deadline(i)),
            false => None,
        };
        let term = world.nodes[i].term.as_mut().expect("a leader has a term");
        match &mut term.first_sent {
            Some((first, _)) if again => *first = now,
            sent => _ = sent.get_or_insert((now, false)),
        }
        let budget = budget.unwrap_or(term.valid_until.since(now));
        let step = Renew::new(HOME, term.generation, term.text.clone(), budget);
        (Running::Renew(Box::new(step)), Some(term.text.clone()))
    }

    /// Who ends a term has stopped to believe in it.
    fn end(
        &self,
        world: &mut World,
        i: usize,
        now: Instant,
        what: What,
    ) -> (Running, Option<Text>) {
        let node = &mut world.nodes[i];
        let term = node.term.take().expect("a leader has a term");
        let completes = what == What::Complete;
        let kind = if completes { RecordKind::Completed } else { RecordKind::Released };
        let (incarnation, lease, token) = (node.incarnation, self.lease(i), term.token);
        node.runs_again();
        let text = fresh(world, &Writing { incarnation, kind, token, lease, witness: None });
        let (after, budget) = (term.generation, term.valid_until.since(now));
        let step = if completes {
            world.left.completions -= 1;
            Finish::complete(HOME, after, text.clone(), budget, self.loses > 0)
        } else {
            world.left.releases -= 1;
            Finish::release(HOME, after, text.clone(), budget)
        };
        (Running::Finish(Box::new(step), completes), Some(text))
    }

    fn sweep(&self, world: &World, i: usize) -> Running {
        let node = &world.nodes[i];
        let head = node.ruled.unwrap_or(0);
        let mut memory = node.memory.clone();
        if self.is(Mutant::SweepByAge) {
            memory = self.memory(i);
            memory.note(HOME, head, Instant::default());
        }
        // Later than any instant: a leader may sleep in its sweep.
        let until = Instant::from_nanos(u64::MAX);
        Running::Sweep(Box::new(Sweep::new(&memory, HOME, head, REMOVALS_A_CLAIM, until)))
    }
}

fn first<S: Step>(step: &mut S, now: Instant) -> Op {
    match step.next(now, Reply::Begin) {
        Next::Do(op) => op,
        Next::Done(_) => unreachable!("every step makes a call"),
    }
}

/// A text that differs from every other in the world. Numbers are used again once their text is
/// gone, so that worlds do not differ by their past alone.
fn fresh(world: &World, writing: &Writing) -> Text {
    let late = world.late.iter().filter_map(|op| match op {
        Op::Create(_, text) => Some(text),
        _ => None,
    });
    let names = world.directory.names.values().chain(late);
    let used: Vec<&Text> = names.chain(world.nodes.iter().flat_map(Node::texts)).collect();
    let mut texts = (1..).map(|nonce| writing.text(nonce));
    texts.find(|text| !used.contains(&text)).expect("there are enough numbers")
}
