//! One candidate of the model: the real election and the real steps of the file protocol, with the
//! little that joins them.

use std::time::Duration;

use leaderelection::testing::file::{
    Claim, Content, DirectoryId, Entry, FORMAT, FaultKind, Finish, Head, Memory, Next, Observe, Op,
    Predecessor, REMOVALS_A_CLAIM, Renew, Reply, Sight, Step, Sweep, Swept, Text, encode,
};
use leaderelection::testing::{
    Action, Election, End, Event, Instant, Jitter, ReadReply, Settings, WriteReply,
};
use leaderelection::{
    Incarnation, Intent, LeaderElectionRecord, Liveness, Observed, RecordKind, Revision,
};

/// A step of the file protocol that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Running {
    Observe(Observe),
    Claim(Box<Claim>, Text),
    Renew(Box<Renew>),
    Finish(Box<Finish>),
    Sweep(Box<Sweep>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    pub token: u64,
    text: Text,
    generation: u64,
    confirmed_at: Instant,
    directory: DirectoryId,
}

/// What the environment has to know of a step of the election.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    Began(u64),
    Ended,
    Finished(End),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    pub election: Election,
    incarnation: Incarnation,
    pub running: Option<Running>,
    /// The call that the running step waits for.
    pub op: Option<Op>,
    head: Option<Box<Head>>,
    term: Option<Term>,
    memory: Memory,
    /// What the work and the user believe in, on the candidate's own clock.
    pub valid_until: Option<Instant>,
    pub working: bool,
    /// The work was told to stop.
    pub stopped: bool,
    nonce: u64,
    /// A sweep to be made when the lock is idle.
    sweep_due: bool,
}

impl Candidate {
    pub fn new(settings: Settings, incarnation: u128, boot: &str, now: Instant) -> Self {
        let incarnation = Incarnation(incarnation);
        Self {
            election: Election::new(settings, incarnation, now, None),
            incarnation,
            running: None,
            op: None,
            head: None,
            term: None,
            memory: Memory::new(Some(boot.into())),
            valid_until: None,
            working: false,
            stopped: false,
            nonce: 0,
            sweep_due: false,
        }
    }

    /// Whether it believes that it leads.
    pub fn believes(&self, now: Instant) -> bool {
        self.valid_until.is_some_and(|until| now < until)
    }

    /// Whether it would do something if it were stepped.
    pub fn is_due(&self, now: Instant) -> bool {
        if self.election.is_finished() {
            return false;
        }
        self.op.is_some()
            || self.sweep_due
            || self.election.next_deadline().is_some_and(|deadline| now >= deadline)
    }

    pub fn feed(&mut self, now: Instant, event: Event) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut actions = Vec::new();
        self.election.step(now, Jitter(0), event, &mut actions);
        for action in actions {
            self.carry_out(now, action, &mut notices);
        }
        notices
    }

    fn carry_out(&mut self, now: Instant, action: Action, notices: &mut Vec<Notice>) {
        match action {
            Action::Read { .. } => {
                let step = Observe::new(self.head.as_deref(), false);
                self.begin(now, Running::Observe(step));
            }
            Action::Write { intent, record, expected, deadline } => {
                self.write(now, intent, record, expected, deadline.since(now));
            }
            Action::BeginTerm { fencing_token, valid_until } => {
                self.valid_until = Some(valid_until);
                self.working = true;
                notices.push(Notice::Began(fencing_token));
            }
            Action::Extend { from, until } => {
                // As the atomic of the elector: who is past the old end stays past it.
                if now < from {
                    self.valid_until = Some(until);
                }
            }
            Action::EndTerm => {
                self.valid_until = None;
                notices.push(Notice::Ended);
            }
            Action::StopWork => self.stopped = true,
            Action::LeaderChanged(_) | Action::Lost(_) => {}
            Action::Finish { end, .. } => notices.push(Notice::Finished(end)),
        }
    }

    fn begin(&mut self, now: Instant, running: Running) {
        self.running = Some(running);
        // A step's first answer is its first call.
        let ended = self.advance(now, Reply::Begin);
        assert!(ended.is_none(), "every step makes a call");
    }

    fn write(
        &mut self,
        now: Instant,
        intent: Intent,
        mut record: LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) {
        match intent {
            Intent::Acquire => {
                let generation = expected.map_or(1, |revision| revision.0 + 1);
                record.fencing_token = Some(generation);
                let seen = self.head.as_ref().map(|head| (head.generation, head.read_at));
                let text = self.text(record, seen);
                let after = self.head.as_deref().map(Predecessor::from);
                let claim = Claim::new(after, text.clone(), budget).durable(true);
                self.begin(now, Running::Claim(Box::new(claim), text));
            }
            Intent::Renew => {
                let term = self.adopt(expected);
                let renew = Renew::new(term.directory, term.generation, term.text, budget);
                self.begin(now, Running::Renew(Box::new(renew)));
            }
            Intent::Release | Intent::Complete => {
                let term = self.adopt(expected);
                record.renewals = 0;
                let seen = Some((term.generation, term.confirmed_at));
                let text = self.text(record, seen);
                let (directory, after) = (term.directory, term.generation);
                let step = match intent {
                    Intent::Complete => Finish::complete(directory, after, text, budget, true),
                    _ => Finish::release(directory, after, text, budget),
                };
                self.begin(now, Running::Finish(Box::new(step)));
            }
        }
    }

    /// The term, at the generation that the election has learned of.
    fn adopt(&mut self, expected: Option<Revision>) -> Term {
        let term = self.term.as_mut().expect("a term is renewed or ended only if it is there");
        term.generation = expected.expect("a term has a revision").0;
        term.clone()
    }

    fn text(&mut self, record: LeaderElectionRecord, seen: Option<(u64, Instant)>) -> Text {
        self.nonce += 1;
        let nonce = self.nonce << 8 | (self.incarnation.0 as u64);
        let witness = seen.and_then(|(generation, at)| self.memory.witness(generation, at));
        encode(&Entry { format: FORMAT, record, nonce, witness, holder: None }).expect("short")
    }

    /// Gives the running step the result of its call; the event that its end makes, if it ended.
    pub fn advance(&mut self, now: Instant, reply: Reply) -> Option<Option<Event>> {
        let mut running = self.running.take()?;
        let event = match &mut running {
            Running::Observe(step) => match step.next(now, reply) {
                Next::Do(op) => return self.wait(running, op),
                Next::Done(sight) => Some(Event::Read(self.observed(sight))),
            },
            Running::Claim(step, text) => match step.next(now, reply) {
                Next::Do(op) => return self.wait(running, op),
                Next::Done(Ok(claimed)) => {
                    let text = text.clone();
                    Some(self.won(now, claimed.directory, claimed.generation, text))
                }
                Next::Done(Err(fault)) => Some(written(fault.kind)),
            },
            Running::Renew(step) => match step.next(now, reply) {
                Next::Do(op) => return self.wait(running, op),
                Next::Done(Ok(generation)) => {
                    let term = self.term.as_mut().expect("a renewal is of a term");
                    (term.generation, term.confirmed_at) = (generation, now);
                    self.memory.note(term.directory, generation, now);
                    self.sweep_due = true;
                    Some(Event::Written(WriteReply::Written(Revision(generation))))
                }
                Next::Done(Err(fault)) => Some(written(fault.kind)),
            },
            Running::Finish(step) => match step.next(now, reply) {
                Next::Do(op) => return self.wait(running, op),
                Next::Done(Ok(generation)) => {
                    self.head = None;
                    Some(Event::Written(WriteReply::Written(Revision(generation))))
                }
                Next::Done(Err(fault)) => Some(written(fault.kind)),
            },
            Running::Sweep(step) => match step.next(now, reply) {
                Next::Do(op) => return self.wait(running, op),
                Next::Done(Swept::WentBack) => {
                    self.memory.forget();
                    None
                }
                Next::Done(Swept::All | Swept::Some) => None,
            },
        };
        self.op = None;
        Some(event)
    }

    fn won(&mut self, now: Instant, directory: DirectoryId, generation: u64, text: Text) -> Event {
        self.memory.note(directory, generation, now);
        self.head = None;
        let confirmed_at = now;
        self.term = Some(Term { token: generation, text, generation, confirmed_at, directory });
        self.sweep_due = true;
        Event::Written(WriteReply::Written(Revision(generation)))
    }

    fn wait(&mut self, running: Running, op: Op) -> Option<Option<Event>> {
        self.running = Some(running);
        self.op = Some(op);
        None
    }

    /// Begins the sweep that is due, if nothing else is under way.
    pub fn begin_sweep(&mut self, now: Instant) -> bool {
        if !self.sweep_due || self.running.is_some() {
            return false;
        }
        self.sweep_due = false;
        let Some(term) = &self.term else {
            return false;
        };
        if self.memory.superseded(now).is_none() {
            return false;
        }
        let (directory, head) = (term.directory, term.generation);
        let until = Instant::from_nanos(u64::MAX);
        let step = Sweep::new(&self.memory, directory, head, REMOVALS_A_CLAIM, until);
        self.begin(now, Running::Sweep(Box::new(step)));
        true
    }

    fn observed(
        &mut self,
        sight: Result<Sight, leaderelection::testing::file::Fault>,
    ) -> ReadReply {
        match sight {
            Ok(Sight::Unchanged) => {}
            Ok(Sight::Nothing) => self.head = None,
            Ok(Sight::Head(head)) => {
                self.memory.note(head.directory, head.generation, head.read_at);
                self.head = Some(head);
            }
            Err(fault) if fault.kind == FaultKind::Fatal => return ReadReply::Fatal,
            Err(_) => return ReadReply::Unavailable,
        }
        let Some(head) = &self.head else {
            return ReadReply::Absent;
        };
        let revision = Revision(head.generation);
        match &head.content {
            Content::Entry(entry) => {
                let mut record = entry.record.clone();
                if record.kind == RecordKind::Held {
                    record.renewals = head.generation - record.fencing_token.unwrap_or(0);
                }
                let observed = Observed { record, revision, nonce: head.nonce() };
                ReadReply::Found { observed, liveness: Liveness::Unknown }
            }
            Content::Corrupt(_) => ReadReply::Corrupt { revision, nonce: head.nonce() },
        }
    }
}

/// The only directory.
pub const HOME: DirectoryId = DirectoryId { device: 1, inode: 1 };

/// Half the lease, so that clocks of rates 1 and 2 are just within the bound.
pub const DEADLINE: Duration = Duration::from_secs(10);

fn written(kind: FaultKind) -> Event {
    Event::Written(match kind {
        FaultKind::Conflict => WriteReply::Conflict,
        FaultKind::Unavailable => WriteReply::Unavailable,
        FaultKind::Indeterminate => WriteReply::Indeterminate,
        FaultKind::Fatal => WriteReply::Fatal,
    })
}
