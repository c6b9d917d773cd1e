//! The way to the store and back: requests that take their time, fail, get lost, or are carried out
//! long after anybody waits for them.

use leaderelection::testing::file::{Op, Reply};
use leaderelection::testing::{Event, Instant, ReadReply, WriteReply};
use leaderelection::{Intent, LeaderElectionRecord, Liveness, RecordKind, Revision, Timestamp};

use super::directory::{View, Written};
use super::files::{errno, excused};
use super::plan::{Push, STRAGGLER, StoreKind};
use super::stats::Extra;
use super::time::{MICRO, MILLI, SECOND, True, nanos};
use super::trace::Mark;
use super::world::{Happening, Signal, World};

/// What is asked of the store.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Read,
    Write {
        intent: Intent,
        record: Box<LeaderElectionRecord>,
        expected: Option<Revision>,
    },
    /// A call of the file lock.
    System(Op),
}

/// What comes back.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// To a machine.
    Lock(Box<Event>),
    /// To a file lock.
    System(Reply),
    /// It has come back, while the request itself may still be under way.
    Given,
}

/// What a request is answered if not with the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excuse {
    /// It surely did nothing.
    Unavailable,
    /// It may have been carried out.
    Unknown,
    Fatal,
}

#[derive(Debug)]
struct Request {
    node: usize,
    /// The run that is owed an answer, or the epoch of its process for a call of the file lock.
    run: u32,
    call: Call,
    sent: True,
    /// When its sender gives up.
    timeout: True,
    /// How much longer than usual the answer takes.
    delay: u64,
    /// What was sent while faults last is not under way for much longer than they last.
    latest: True,
    answer: Option<Answer>,
    /// It is on the agenda so many times.
    pending: u8,
}

/// How a request fares.
struct Fate {
    arrives: Option<True>,
    /// Arrives once more.
    again: Option<True>,
    excuse: Option<(Excuse, True)>,
    delay: u64,
}

/// All requests that are under way. Places are used again.
#[derive(Debug, Default)]
pub(super) struct Requests {
    places: Vec<Option<Request>>,
    free: Vec<usize>,
}

impl Requests {
    fn add(&mut self, request: Request) -> usize {
        match self.free.pop() {
            Some(place) => {
                self.places[place] = Some(request);
                place
            }
            None => {
                self.places.push(Some(request));
                self.places.len() - 1
            }
        }
    }

    fn get(&mut self, place: usize) -> &mut Request {
        self.places[place].as_mut().expect("a request stays until its last appointment")
    }

    /// An appointment is over; frees the place with the last one.
    fn leave(&mut self, place: usize) {
        let request = self.get(place);
        request.pending -= 1;
        if request.pending == 0 {
            self.places[place] = None;
            self.free.push(place);
        }
    }
}

impl Excuse {
    pub(super) fn answer(self, call: &Call) -> Answer {
        match call {
            Call::System(op) => Answer::System(errno(self, u64::from(matches!(op, Op::List)))),
            Call::Read => Answer::Lock(excused(self, true).into()),
            Call::Write { .. } => Answer::Lock(excused(self, false).into()),
        }
    }
}

impl World {
    /// Sends a request, unless its deadline has passed.
    pub(super) fn send(&mut self, node: usize, mut call: Call, deadline: Instant) {
        let intent = match &mut call {
            Call::Write { intent, record, .. } => {
                self.write_times(node, record);
                Some(*intent)
            }
            _ => None,
        };
        self.stats.requests += 1;
        self.mark(Some(node), || Mark::Sent(intent));
        if self.plan.store.kind == StoreKind::Files {
            return self.file_send(node, call, deadline);
        }
        let run = self.nodes[node].run_id;
        if self.clocks[node].local(self.now) >= deadline {
            let answer = Excuse::Unavailable.answer(&call);
            return self.give_answer(node, run, call, answer, self.now + MICRO);
        }
        let timeout = self.clocks[node].true_of(deadline).max(self.now) + MILLI;
        self.request(node, run, call, timeout);
    }

    /// Puts a request on its way.
    pub(super) fn request(&mut self, node: usize, run: u32, call: Call, timeout: True) {
        let fate = self.fate(node, timeout);
        let answer = fate.excuse.map(|(excuse, _)| excuse.answer(&call));
        // Only a system call may be carried out twice: a write that compares can't.
        let is_call = matches!(call, Call::System(_));
        let twice = is_call && fate.again.is_some() && fate.excuse.is_some();
        self.stats.count(Extra::CarriedOutTwice, u64::from(twice));
        let arrivals = [fate.arrives, fate.again.filter(|_| twice)];
        let pending = arrivals.iter().flatten().count() as u8 + u8::from(answer.is_some());
        let (sent, latest, delay) = (self.now, self.latest(), fate.delay);
        let request = Request { node, run, call, sent, timeout, delay, latest, answer, pending };
        let request = self.requests.add(request);
        for at in arrivals.into_iter().flatten() {
            let at = self.in_time(request, at);
            self.at(at, Happening::Execute { request });
        }
        if let Some((_, at)) = fate.excuse {
            let at = self.in_time(request, at);
            self.at(at, Happening::Answer { request });
        }
    }

    /// An answer without a request to the store.
    pub(super) fn give_answer(
        &mut self,
        node: usize,
        run: u32,
        call: Call,
        answer: Answer,
        at: True,
    ) {
        let (sent, timeout, latest) = (self.now, at, at);
        let answer = Some(answer);
        let request =
            Request { node, run, call, sent, timeout, delay: 0, latest, answer, pending: 1 };
        let request = self.requests.add(request);
        self.at(at, Happening::Answer { request });
    }

    /// For people only, so they may be as wrong as they like.
    fn write_times(&self, node: usize, record: &mut LeaderElectionRecord) {
        let local = self.clocks[node].local(self.now).as_nanos() / MILLI;
        record.renew_time = Timestamp::from_millis(local.wrapping_add(self.nodes[node].wall_error));
        record.acquire_time = record.renew_time;
    }

    /// How long a request or an answer is on its way.
    pub(super) fn leg(&mut self) -> u64 {
        let (shortest, longest) = self.plan.store.leg;
        let leg = self.rng.between(shortest.max(1), longest);
        match self.slow_until > self.now {
            true => {
                let most = self.plan.longest_lease();
                self.rng.spread(leg, most)
            }
            false => leg,
        }
    }

    /// Until when something may be under way that begins now.
    fn latest(&mut self) -> True {
        match self.stormy {
            true => self.phase_ends + self.rng.below(STRAGGLER / 2),
            false => True::MAX,
        }
    }

    /// `at`, or sooner where that is later than the request in `place` may be under way.
    fn in_time(&mut self, place: usize, at: True) -> True {
        let latest = self.requests.get(place).latest;
        at.min(latest).max(self.now + 1)
    }

    fn fate(&mut self, node: usize, timeout: True) -> Fate {
        let arrives = self.now + self.leg();
        if !self.stormy {
            return Fate::arrives(arrives);
        }
        let faults = self.plan.faults.requests.clone();
        let worse = if self.errors_until > self.now { 8 } else { 1 };
        let mut roll = self.rng.below(1000);
        let mut falls = |share: u64| {
            let falls = roll < share * worse;
            roll = roll.wrapping_sub(share * worse);
            falls
        };
        let kinds = [
            falls(faults.refused),
            falls(faults.lost),
            falls(faults.reply_lost),
            falls(faults.late),
            falls(faults.hung),
            falls(faults.fatal),
        ];
        let Some(kind) = kinds.iter().position(|falls| *falls) else {
            return Fate::arrives(arrives);
        };
        self.stats.request_faults[kind] += 1;
        self.failed_fate(node, kind, arrives, timeout)
    }

    fn failed_fate(&mut self, node: usize, kind: usize, arrives: True, timeout: True) -> Fate {
        let retry = nanos(self.plan.nodes[node].settings.retry_period);
        let long = self.rng.spread(retry / 8, 6 * self.plan.longest_lease());
        // Some say at once that the connection was lost, some wait until they give up.
        let given_up = match self.rng.chance(500) {
            true => arrives + self.leg(),
            false => timeout,
        };
        let late = arrives + long;
        let unknown = Some((Excuse::Unknown, given_up));
        match kind {
            0 => Fate::excuse(Excuse::Unavailable, given_up),
            1 => Fate { arrives: None, again: None, excuse: unknown, delay: 0 },
            2 => Fate { excuse: unknown, ..Fate::arrives(arrives) },
            3 => {
                let first = self.rng.chance(500).then_some(arrives);
                let again = first.map(|_| late);
                Fate { arrives: first.or(Some(late)), again, excuse: unknown, delay: 0 }
            }
            4 if self.rng.chance(500) => Fate::arrives(late),
            4 => Fate { delay: late - arrives, ..Fate::arrives(arrives) },
            _ => Fate::excuse(Excuse::Fatal, given_up),
        }
    }

    /// A request arrives at the store.
    pub(super) fn execute(&mut self, place: usize) {
        let node = self.requests.get(place).node;
        let cut_until = self.nodes[node].requests_cut_until;
        if cut_until > self.now {
            if self.rng.chance(500) {
                let leg = self.leg();
                let at = self.in_time(place, cut_until + leg);
                return self.at(at, Happening::Execute { request: place });
            }
            return self.lose(place);
        }
        let answer = self.perform(place);
        let arrives = self.now + self.leg() + self.requests.get(place).delay;
        if self.requests.get(place).answer.is_some() {
            return self.requests.leave(place);
        }
        let cut_until = self.nodes[node].replies_cut_until;
        if cut_until > arrives && self.rng.chance(500) {
            return self.lose(place);
        }
        let arrives = if cut_until > arrives { cut_until + self.leg() } else { arrives };
        let arrives = self.in_time(place, arrives);
        self.requests.get(place).answer = Some(answer);
        self.at(arrives, Happening::Answer { request: place });
    }

    /// Nothing comes back: its sender gives up in the end.
    fn lose(&mut self, place: usize) {
        let request = self.requests.get(place);
        if request.answer.is_some() {
            return self.requests.leave(place);
        }
        request.answer = Some(Excuse::Unknown.answer(&request.call));
        let timeout = request.timeout;
        let at = self.in_time(place, timeout);
        self.at(at, Happening::Answer { request: place });
    }

    fn perform(&mut self, place: usize) -> Answer {
        let request = self.requests.get(place);
        let (node, sent) = (request.node, request.sent);
        let (intent, record, expected) = match &request.call {
            Call::Read => {
                let reply = self.store.read(self.now, &mut self.rng);
                return Answer::Lock(Event::Read(reply).into());
            }
            Call::System(op) => {
                let op = op.clone();
                return Answer::System(self.perform_call(node, sent, &op));
            }
            Call::Write { intent, record, expected } => (*intent, record.clone(), *expected),
        };
        if std::mem::take(&mut self.tears) {
            return self.tear(node, intent, expected);
        }
        let written = record.clone();
        let reply = self.store.write(self.now, intent, *record, expected, &mut self.rng);
        match reply {
            WriteReply::Written(revision) => {
                self.checks.committed(self.now, node, &written);
                self.committed(node, intent, revision.0);
            }
            _ => self.mark(Some(node), || Mark::Refused { intent }),
        }
        Answer::Lock(Event::Written(reply).into())
    }

    /// A write that fits leaves something that nobody can read; whoever wrote hears nothing good.
    fn tear(&mut self, node: usize, intent: Intent, expected: Option<Revision>) -> Answer {
        let reply = match self.store.tear(self.now, expected, &mut self.rng) {
            true => WriteReply::Indeterminate,
            false => WriteReply::Conflict,
        };
        if reply == WriteReply::Indeterminate {
            self.stats.count(Extra::TornWrite, 1);
            self.corrupted = true;
            self.mark(Some(node), || Mark::Torn { intent });
        }
        Answer::Lock(Event::Written(reply).into())
    }

    fn perform_call(&mut self, node: usize, sent: True, op: &Op) -> Reply {
        let view = View { sent, opened: self.files[node].opened.max(sent.min(self.now)) };
        let view = match op {
            Op::Read(_) => View { opened: self.files[node].opened, ..view },
            _ => view,
        };
        let tears = self.directory.tears;
        let (reply, written) = self.directory.perform(self.now, op, view, &mut self.rng);
        if tears && !self.directory.tears {
            self.corrupted = self.is_corrupt();
            self.mark(Some(node), || Mark::Torn { intent: Intent::Acquire });
        }
        if matches!(reply, Reply::Opened(_)) {
            self.files[node].opened = self.now;
        }
        if let Some(Written { intent, generation, record }) = written {
            self.checks.committed(self.now, node, &record);
            self.committed(node, intent, generation);
        }
        reply
    }

    /// An answer arrives at the candidate.
    pub(super) fn answer(&mut self, place: usize, what: Happening) {
        let request = self.requests.get(place);
        let (node, run) = (request.node, request.run);
        let is_call = matches!(request.answer, Some(Answer::System(_)));
        let useful = match is_call {
            true => self.nodes[node].epoch == run,
            false => self.is_running(node, run),
        };
        if useful && self.is_held_up(node, !is_call, what) {
            return;
        }
        let answer = self.requests.get(place).answer.replace(Answer::Given);
        self.requests.leave(place);
        match answer.filter(|_| useful) {
            Some(Answer::System(reply)) => self.file_goes_on(node, reply),
            Some(Answer::Lock(event)) => {
                let event = self.with_liveness(node, *event);
                self.mark(Some(node), || Mark::Answered(event.clone()));
                self.step(node, event);
            }
            Some(Answer::Given) | None => {}
        }
    }

    /// Who reads a record also looks whether the process that wrote it lives.
    pub(super) fn with_liveness(&mut self, node: usize, event: Event) -> Event {
        match event {
            Event::Read(ReadReply::Found { observed, .. }) => {
                let liveness = match observed.record.kind {
                    RecordKind::Held => self.liveness_of(observed.record.incarnation, node),
                    _ => Liveness::Unknown,
                };
                self.stats.proofs += u64::from(liveness == Liveness::Dead);
                Event::Read(ReadReply::Found { observed, liveness })
            }
            event => event,
        }
    }

    /// Tells all others that the record has changed; some never hear of it.
    pub(super) fn push_wake_ups(&mut self, writer: usize) {
        for node in (0..self.nodes.len()).filter(|node| *node != writer) {
            let cut = self.nodes[node].replies_cut_until > self.now;
            let leg = self.leg();
            match cut {
                true => self.stats.count(Extra::WakeUpLost, 1),
                false => self.wake_up(node, leg),
            }
        }
    }

    /// The candidates of one host see that a process of it is gone, or the last of its work.
    pub(super) fn push_death(&mut self, of: usize) {
        let host = self.plan.nodes[of].host;
        for node in (0..self.nodes.len()).filter(|node| *node != of) {
            if self.plan.nodes[node].host == host && self.plan.store.push != Push::Nothing {
                let soon = self.rng.spread(MICRO, MILLI);
                self.wake_up(node, soon);
            }
        }
    }

    fn wake_up(&mut self, node: usize, after: u64) {
        let mut at = self.now + after;
        if self.stormy {
            match self.rng.below(20) {
                0 | 1 => return self.stats.count(Extra::WakeUpLost, 1),
                2 => {
                    self.stats.count(Extra::WakeUpLate, 1);
                    at = self.some_time_from_now() + self.rng.below(SECOND);
                }
                _ => {}
            }
        }
        self.stats.wake_ups += 1;
        let run = self.nodes[node].run_id;
        self.at(at, Happening::Tell { node, run, signal: Signal::WakeUp });
    }
}

impl Fate {
    fn excuse(excuse: Excuse, at: True) -> Self {
        Self { arrives: None, again: None, excuse: Some((excuse, at)), delay: 0 }
    }

    fn arrives(at: True) -> Self {
        Self { arrives: Some(at), again: None, excuse: None, delay: 0 }
    }
}
