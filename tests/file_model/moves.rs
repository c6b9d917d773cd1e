//! How what happens changes the world.

use leaderelection::testing::Instant;
use leaderelection::testing::file::{Errno, Next, Op, Reply, Step};

use crate::directory::{HOME, Listing, read};
use crate::driver::{Doing, Holder, Node, Running, Term, incarnation_of};
use crate::mutants::Mutant;
use crate::scene::{Act, Setup, World};

const TIMED_OUT: Reply = Reply::Failed(Errno(110));
const UNREADABLE: &[u8] = b"?";
const NOT_PERMITTED: Reply = Reply::Failed(Errno(1));

impl Setup {
    pub fn after(&self, world: &World, act: Act) -> World {
        let mut next = world.clone();
        match act {
            Act::Tick => next.now += 1,
            Act::Begin(i, what) => self.begin(&mut next, i, what),
            Act::Call(i) => self.call(&mut next, i),
            Act::Lose(i) => {
                next.left.lost -= 1;
                self.perform(&mut next, i);
                self.deliver(&mut next, i, TIMED_OUT);
            }
            Act::Delay(i) => {
                next.left.late -= 1;
                self.put_off(&mut next, i);
                self.deliver(&mut next, i, TIMED_OUT);
            }
            Act::Twice(i) => {
                next.left.twice -= 1;
                self.put_off(&mut next, i);
                self.call(&mut next, i);
            }
            Act::Refuse(i) => {
                next.left.refused -= 1;
                self.deliver(&mut next, i, NOT_PERMITTED);
            }
            Act::Remember(i) => self.remember(&mut next, i),
            Act::BeginListing(i) => {
                next.left.torn -= 1;
                next.nodes[i].listing = Some(Listing::begin(&world.directory.names));
            }
            Act::EndListing(i, top) => {
                let listing = next.nodes[i].listing.take();
                let listed =
                    listing.map_or(Reply::Missing, |names| Reply::Listed(names.up_to(top)));
                self.deliver(&mut next, i, listed);
            }
            Act::Land(nth) => {
                let op = next.late.remove(nth);
                next.directory.perform(&op, next.now, self.keeps());
            }
            Act::Crash(i) => self.crash(&mut next, i),
            Act::Corrupt => {
                next.left.corruptions -= 1;
                let head = next.directory.highest();
                next.directory.names.insert(head, UNREADABLE.into());
            }
            Act::PowerCut => {
                next.left.cuts -= 1;
                next.directory.lose(next.now, self.loses);
            }
        }
        for i in 0..next.nodes.len() {
            self.hurry(&mut next, i);
        }
        self.forget_what_is_past(&mut next);
        next
    }

    fn crash(&self, world: &mut World, i: usize) {
        world.left.crashes -= 1;
        let op = world.nodes[i].doing.take().map(|doing| doing.op);
        // What it has sent may still be carried out.
        if let Some(op) = op.filter(changes) {
            self.push_late(world, op);
        }
        let old = world.nodes[i].clone();
        let mut new = Node::new(old.incarnation + 1, self.memory(i));
        // Its machine's client goes on.
        (new.cache, new.dirty) = (old.cache, old.dirty);
        world.nodes[i] = new;
    }

    fn put_off(&self, world: &mut World, i: usize) {
        if let Some(doing) = &world.nodes[i].doing {
            let op = doing.op.clone();
            self.push_late(world, op);
        }
    }

    fn push_late(&self, world: &mut World, op: Op) {
        world.late.push(op);
        // Their order means nothing.
        world.late.sort_by_key(|op| format!("{op:?}"));
    }

    /// Takes the steps of `i` that nothing can come before, or whose delay changes nothing that a
    /// delay elsewhere does not.
    fn hurry(&self, world: &mut World, i: usize) {
        while let Some(doing) = &world.nodes[i].doing
            && world.nodes[i].listing.is_none()
            && self.is_quick(world, i, doing)
        {
            self.call(world, i);
        }
    }

    fn is_quick(&self, world: &World, i: usize, doing: &Doing) -> bool {
        let op = &doing.op;
        if self.may_remember(world, i, op) || (*op == Op::List && world.left.torn > 0) {
            return false;
        }
        let left = world.left;
        let fails = left.lost.max(left.late).max(left.twice).max(left.refused) > 0;
        match op {
            Op::Open => true,
            Op::Sync => self.loses == 0,
            // A step begins when it first looks: a pause between only makes its instant earlier.
            Op::List => !self.each_call && !doing.called,
            Op::Link { .. } => !self.each_call && !doing.called && !fails,
            // What was made stays what it is, unless something removes it.
            Op::Read(_) if doing.created => !self.each_call && !self.sweeps && self.loses == 0,
            Op::Read(_) => !self.each_call,
            Op::Make | Op::Create(..) | Op::Remove(_) => false,
        }
    }

    /// Forgets what can make no difference any more, so that equal worlds look equal.
    pub fn forget_what_is_past(&self, world: &mut World) {
        for i in 0..world.nodes.len() {
            let now = self.local(world, i);
            let node = &mut world.nodes[i];
            self.forget_of(node, now);
            if let Some(listing) = &mut node.listing {
                listing.note(&world.directory.names);
            }
        }
        if self.left.cuts == 0 {
            world.directory.unsynced.clear();
        } else {
            let (now, loses) = (world.now, self.loses);
            world.directory.unsynced.retain(|_, made| *made + loses > now);
        }
    }

    fn forget_of(&self, node: &mut Node, now: Instant) {
        let past = |term: &Term| now >= term.valid_until;
        if node.doing.is_none() && !self.keeps_terms && node.term.as_ref().is_some_and(past) {
            node.term = None;
            node.runs_again();
        }
        if let Some(view) = &mut node.view {
            match view.holder {
                Holder::Somebody(lease) if now.since(view.since) < lease => {}
                _ => view.since = Instant::default(),
            }
            if let Some(head) = &mut view.head
                && !self.peeks
                && !self.witnesses
                && !self.is(Mutant::WitnessOfItsOwnClaim)
            {
                (head.read_at, head.listed_at) = Default::default();
            }
        }
        if let Some(generation) = node.memory.superseded(now) {
            // However long it is so.
            node.memory.forget();
            node.memory.note(HOME, generation, Instant::default());
        }
        if !self.may_go_back() {
            node.highest = 0;
        }
        if !self.has_stale_views() {
            node.cache.clear();
            node.dirty = false;
        }
    }

    /// The call of `i` as it should be.
    fn call(&self, world: &mut World, i: usize) {
        let reply = self.perform(world, i);
        self.deliver(world, i, reply);
    }

    /// Carries the call of `i` out.
    fn perform(&self, world: &mut World, i: usize) -> Reply {
        let node = &mut world.nodes[i];
        let Some(doing) = &node.doing else {
            return Reply::Missing;
        };
        let op = doing.op.clone();
        let reply = match &op {
            Op::Open => {
                if self.has_stale_views() {
                    node.cache = world.directory.names.clone();
                }
                (node.cached, node.dirty) = (false, false);
                return Reply::Opened(HOME);
            }
            Op::List if node.is_cached() => {
                return Reply::Listed(node.cache.keys().copied().collect());
            }
            Op::Read(name) if node.is_cached() => return read(&node.cache, *name),
            _ => world.directory.perform(&op, world.now, self.keeps()),
        };
        if changes(&op) && self.has_stale_views() {
            node.dirty = true;
        }
        reply
    }

    /// The client of `i` answers with what it remembers.
    fn remember(&self, world: &mut World, i: usize) {
        world.left.stale -= 1;
        let node = &mut world.nodes[i];
        let reply = match node.doing.as_ref().map(|doing| &doing.op) {
            Some(Op::Read(name)) => read(&node.cache, *name),
            _ => {
                node.cached = true;
                Reply::Opened(HOME)
            }
        };
        self.deliver(world, i, reply);
    }

    /// Gives the call of `i` its result.
    fn deliver(&self, world: &mut World, i: usize, reply: Reply) {
        let Some(mut doing) = world.nodes[i].doing.take() else {
            return;
        };
        let now = self.local(world, i);
        let reply = self.bend(world, i, &mut doing, reply);
        doing.called |= doing.op != Op::Open;
        doing.created |= changes(&doing.op);
        if let Some(op) = self.advance(world, i, now, &mut doing, reply) {
            doing.op = op;
            world.nodes[i].doing = Some(doing);
        }
    }

    /// The next call of what `i` does, if that has not come to its end.
    fn advance(
        &self,
        world: &mut World,
        i: usize,
        now: Instant,
        doing: &mut Doing,
        reply: Reply,
    ) -> Option<Op> {
        match &mut doing.running {
            Running::Look(step) => match step.next(now, reply) {
                Next::Do(op) => return Some(op),
                Next::Done(sight) => self.saw(world, i, sight, step.highest().1, doing.began),
            },
            Running::Claim(step) => {
                let at = if self.is(Mutant::NoAttemptWindow) { doing.began } else { now };
                match step.next(at, reply) {
                    Next::Do(op) => return Some(op),
                    Next::Done(result) => {
                        let generation = step.generation();
                        let (highest, went_back) = (step.highest().1, step.went_back());
                        let node = &mut world.nodes[i];
                        node.highest = node.highest.max(highest);
                        if went_back {
                            node.memory.forget();
                        }
                        self.claimed(world, i, result, generation, doing);
                    }
                }
            }
            Running::Renew(step) => match step.next(now, reply) {
                Next::Do(op) => return Some(op),
                Next::Done(result) => self.renewed(world, i, result),
            },
            Running::Finish(step, completes) => {
                let own = doing.text.clone().map(Reply::Text);
                let believed = self.is(Mutant::CompletionWithoutItsListing)
                    && *completes
                    && own.as_ref() == Some(&reply);
                match step.next(now, reply) {
                    Next::Do(op) if !believed => return Some(op),
                    Next::Done(Err(_)) => {}
                    _ => self.ended(world, *completes),
                }
            }
            Running::Sweep(step) => match step.next(now, reply) {
                Next::Do(op) => return Some(op),
                Next::Done(swept) => self.swept(world, i, swept, step.witnessed()),
            },
            Running::Unmake(name) => {
                let own = matches!(&reply, Reply::Text(text)
                    if incarnation_of(text) == Some(world.nodes[i].incarnation));
                return (own && !doing.created).then_some(Op::Remove(*name));
            }
        }
        None
    }
}

/// Whether a call changes the directory.
pub fn changes(op: &Op) -> bool {
    matches!(op, Op::Create(..) | Op::Link { .. } | Op::Remove(_))
}
