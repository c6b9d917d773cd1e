//! One candidate of the model: the real steps, and around them as little as leads: when it may
//! look, claim, renew, end and sweep, which is whenever the rules allow it.

use std::time::Duration;

use leaderelection::testing::Instant;
use leaderelection::testing::file::{
    Claim, Content, Decoded, Entry, FORMAT, Finish, Head, Memory, Observe, Op, Renew, Sweep, Text,
    Witness, decode, encode,
};
use leaderelection::{Incarnation, LeaderElectionRecord, RecordKind};

use crate::directory::{Listing, Names};

/// What a candidate may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    Look,
    Claim,
    Renew,
    Release,
    Complete,
    Sweep,
}

/// A step of the protocol that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Running {
    Look(Box<Observe>),
    Claim(Box<Claim>),
    Renew(Box<Renew>),
    /// A release, or with `true` a completion.
    Finish(Box<Finish>, bool),
    Sweep(Box<Sweep>),
    /// A mutant's removal of its own name.
    Unmake(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Doing {
    pub running: Running,
    /// The call that it waits for.
    pub op: Op,
    pub began: Instant,
    /// What a claim or an end writes.
    pub text: Option<Text>,
    /// It has called for more than the directory.
    pub called: bool,
    /// It has tried to create its name.
    pub created: bool,
}

impl Doing {
    pub fn new(running: Running, op: Op, began: Instant, text: Option<Text>) -> Self {
        Self { running, op, began, text, called: false, created: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Anybody may claim.
    Nobody,
    /// Its lease is to be waited for.
    Somebody(Duration),
    Completed,
}

/// The version that is waited on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    pub head: Option<Box<Head>>,
    pub version: (u64, u64),
    pub holder: Holder,
    /// An instant after the read that first showed it; 0 once its lease has run out.
    pub since: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    pub token: u64,
    pub text: Text,
    pub generation: u64,
    pub valid_until: Instant,
    /// The first sending of the renewal that is not confirmed, and whether it may stand.
    pub first_sent: Option<(Instant, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub incarnation: u128,
    pub doing: Option<Doing>,
    pub view: Option<View>,
    /// Nothing has shown since that the view is out of date.
    pub looked: bool,
    pub term: Option<Term>,
    pub memory: Memory,
    /// The last generation that it made as the leader: it may sweep.
    pub ruled: Option<u64>,
    /// The highest generation ever seen; kept only where a listing may hide it.
    pub highest: u64,
    /// The names when it last opened the directory and its client asked the server.
    pub cache: Names,
    /// Its client did not ask when it opened the directory.
    pub cached: bool,
    /// It has changed the directory since, so its client will ask.
    pub dirty: bool,
    pub listing: Option<Listing>,
}

impl Node {
    pub fn new(incarnation: u128, memory: Memory) -> Self {
        Self {
            incarnation,
            doing: None,
            view: None,
            looked: false,
            term: None,
            memory,
            ruled: None,
            highest: 0,
            cache: Names::new(),
            cached: false,
            dirty: false,
            listing: None,
        }
    }

    /// Whether it believes that it leads.
    pub fn believes(&self, now: Instant) -> bool {
        self.term.as_ref().is_some_and(|term| now < term.valid_until)
    }

    /// Whether the rules let it claim what it sees.
    pub fn may_claim(&self, now: Instant, own_lease: Option<Duration>) -> bool {
        let ripe = |view: &View| match view.holder {
            Holder::Nobody => true,
            Holder::Somebody(lease) => now.since(view.since) >= own_lease.unwrap_or(lease),
            Holder::Completed => false,
        };
        self.looked && self.view.as_ref().is_some_and(ripe)
    }

    /// Its term is over: the next run is another incarnation's.
    pub fn runs_again(&mut self) {
        self.incarnation += 1;
        (self.view, self.looked) = (None, false);
    }

    pub fn highest_seen_above(&self, generation: u64) -> u64 {
        if self.highest > generation { self.highest } else { 0 }
    }

    /// All texts that it may still compare with another.
    pub fn texts(&self) -> impl Iterator<Item = &Text> {
        let doing = self.doing.iter().filter_map(|doing| doing.text.as_ref());
        let view = self.view.iter().filter_map(|view| view.head.as_ref()?.text.as_ref());
        let term = self.term.iter().map(|term| &term.text);
        doing.chain(view).chain(term).chain(self.cache.values())
    }
}

/// What the head means to the candidate `own`; one that can't be read is held for `corrupt`.
pub fn judge(head: &Head, own: u128, corrupt: Duration) -> Holder {
    let entry = match &head.content {
        Content::Entry(entry) => entry,
        Content::Corrupt(_) => return Holder::Somebody(corrupt),
    };
    match entry.record.kind {
        RecordKind::Completed => Holder::Completed,
        RecordKind::Released => Holder::Nobody,
        // A claim of this candidate that never became a term.
        RecordKind::Held if entry.record.incarnation == Incarnation(own) => Holder::Nobody,
        RecordKind::Held => Holder::Somebody(entry.record.lease_duration),
    }
}

/// What a new name says.
pub struct Writing {
    pub incarnation: u128,
    pub kind: RecordKind,
    pub token: u64,
    pub lease: Duration,
    pub witness: Option<Witness>,
}

impl Writing {
    pub fn text(&self, nonce: u64) -> Text {
        let incarnation = Incarnation(self.incarnation);
        let mut record = LeaderElectionRecord::new("c", incarnation, self.lease);
        record.kind = self.kind;
        record.fencing_token = Some(self.token);
        let nonce = nonce << 8 | self.incarnation as u64;
        let witness = self.witness.clone();
        encode(&Entry { format: FORMAT, record, nonce, witness, holder: None })
            .expect("it is short")
    }
}

pub fn incarnation_of(text: &Text) -> Option<u128> {
    match decode(text) {
        Decoded::Entry(entry) => Some(entry.record.incarnation.0),
        _ => None,
    }
}
