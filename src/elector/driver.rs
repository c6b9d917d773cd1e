//! The election thread: feeds the state machine with what happens, and carries out what it decides.
//!
//! It waits for nothing but its one select, runs no user code, and never logs.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, bounded, never};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::callbacks::{ElectionEvent, LeaderCallbacks};
use crate::clock::{Clock, Instant};
use crate::election::{Action, Election, End, Event, Jitter, ReadReply, WriteReply};
use crate::elector::lock_thread::{Call, Found, Reply, Request};
use crate::elector::threads::{Returned, TermThreads};
use crate::elector::worker::Worker;
use crate::elector::{Inputs, Shared};
use crate::error::{Error, Failure, LockError, Outcome};
use crate::lock::Intent;
use crate::term::{Term, Validity};

/// While a term is held no wait is longer, since a channel's timer stops in a suspend.
const LONGEST_WAIT_AS_LEADER: Duration = Duration::from_millis(250);

/// The longest wait for the callback worker at the end of a run.
const FLUSH_PATIENCE: Duration = Duration::from_millis(250);

/// Who works in a term.
pub(super) enum Work {
    /// The callbacks, on threads of their own.
    Callbacks(LeaderCallbacks),
    /// The holder of a guard, which gets the term here.
    Guard(Sender<Term>),
}

/// What a run needs from its elector and its caller.
pub(super) struct Run {
    pub(super) election: Election,
    pub(super) clock: Clock,
    pub(super) seed: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) worker: Worker,
    pub(super) requests: Sender<Request>,
    pub(super) wake_ups: Receiver<()>,
    pub(super) work: Work,
    pub(super) inputs: Inputs,
}

/// A run in progress.
pub(super) struct Driver {
    run: Run,
    rng: SmallRng,
    /// Waits for the lock thread to be idle.
    outbox: Option<Request>,
    reply_to: Sender<Reply>,
    replies: Receiver<Reply>,
    returned_to: Sender<Returned>,
    returned: Receiver<Returned>,
    threads: Option<TermThreads>,
    term: Option<CurrentTerm>,
    /// What carrying out an action led to.
    feedback: Vec<Event>,
    actions: Vec<Action>,
    fatal: Option<LockError>,
    panic: Option<String>,
    result: Option<Result<Outcome, Error>>,
}

struct CurrentTerm {
    validity: Arc<Validity>,
    /// Dropped to tell the work to stop.
    stop: Option<Sender<()>>,
    /// `on_stopped_leading` has not returned yet.
    end_pending: bool,
}

/// What the select found ready.
enum Ready {
    Task(Option<bool>),
    Report(Option<bool>),
    Stop,
    Reply(Reply),
    Returned(Returned),
    GuardGone,
    WakeUp(bool),
    Sent,
    Timer,
}

impl Driver {
    pub(super) fn new(run: Run) -> Self {
        let (reply_to, replies) = bounded(1);
        // A term has two callbacks, each of which returns once.
        let (returned_to, returned) = bounded(2);
        Self {
            rng: SmallRng::seed_from_u64(run.seed),
            run,
            outbox: None,
            reply_to,
            replies,
            returned_to,
            returned,
            threads: None,
            term: None,
            feedback: Vec::new(),
            actions: Vec::new(),
            fatal: None,
            panic: None,
            result: None,
        }
    }

    /// Runs to the end of the campaign and its term.
    pub(super) fn drive(mut self) -> Result<Outcome, Error> {
        self.run.worker.event(ElectionEvent::CampaignStarted);
        self.step(Event::Tick);
        while !self.is_done() {
            let ready = self.wait();
            self.take(ready);
        }
        self.run.worker.flush(FLUSH_PATIENCE);
        self.result.unwrap_or(Ok(Outcome::Stopped))
    }

    fn is_done(&self) -> bool {
        let end_pending = self.term.as_ref().is_some_and(|term| term.end_pending);
        self.result.is_some() && !end_pending
    }

    fn wait(&mut self) -> Ready {
        let leading = self.run.election.is_leading();
        let longest = if leading { LONGEST_WAIT_AS_LEADER } else { Duration::MAX };
        let timer = match self.run.election.next_deadline() {
            Some(deadline) => self.run.clock.wake_at(deadline, longest),
            None if leading => self.run.clock.wake_at(self.run.clock.now() + longest, longest),
            None => never(),
        };
        let mut select = Select::new();
        let task = select.recv(&self.run.inputs.task);
        let report = select.recv(&self.run.inputs.reports);
        let stop = select.recv(&self.run.inputs.stop);
        let reply = select.recv(&self.replies);
        let returned = select.recv(&self.returned);
        let guard_gone = select.recv(&self.run.inputs.guard_gone);
        let time = select.recv(&timer);
        let wake_up = if leading { usize::MAX } else { select.recv(&self.run.wake_ups) };
        let sent = match &self.outbox {
            Some(_) => select.send(&self.run.requests),
            None => usize::MAX,
        };
        let operation = select.select();
        match operation.index() {
            index if index == task => Ready::Task(operation.recv(&self.run.inputs.task).ok()),
            index if index == report => {
                Ready::Report(operation.recv(&self.run.inputs.reports).ok())
            }
            index if index == stop => {
                let _ = operation.recv(&self.run.inputs.stop);
                Ready::Stop
            }
            index if index == reply => match operation.recv(&self.replies) {
                Ok(reply) => Ready::Reply(reply),
                Err(_) => Ready::Timer,
            },
            index if index == returned => match operation.recv(&self.returned) {
                Ok(returned) => Ready::Returned(returned),
                Err(_) => Ready::Timer,
            },
            index if index == guard_gone => {
                let _ = operation.recv(&self.run.inputs.guard_gone);
                Ready::GuardGone
            }
            index if index == wake_up => Ready::WakeUp(operation.recv(&self.run.wake_ups).is_ok()),
            index if index == sent => {
                if let Some(request) = self.outbox.take() {
                    let _ = operation.send(&self.run.requests, request);
                }
                Ready::Sent
            }
            index => {
                debug_assert_eq!(index, time);
                let _ = operation.recv(&timer);
                Ready::Timer
            }
        }
    }

    fn take(&mut self, ready: Ready) {
        match ready {
            Ready::Task(Some(success)) | Ready::Report(Some(success)) => {
                self.step(Event::Task(success));
            }
            Ready::Task(None) => {
                self.run.inputs.task = never();
                self.step(Event::TaskGone);
            }
            Ready::Report(None) => self.run.inputs.reports = never(),
            Ready::Stop => {
                self.run.inputs.stop = never();
                self.step(Event::Stop);
            }
            Ready::Reply(reply) => self.on_reply(reply),
            Ready::Returned(returned) => self.on_returned(returned),
            Ready::GuardGone => {
                self.run.inputs.guard_gone = never();
                self.take_reports();
                self.step(Event::WorkReturned { panicked: false });
                self.step(Event::Stop);
            }
            Ready::WakeUp(true) => self.step(Event::WakeUp),
            Ready::WakeUp(false) => self.run.wake_ups = never(),
            Ready::Sent => {}
            Ready::Timer => self.step(Event::Tick),
        }
    }

    fn step(&mut self, event: Event) {
        self.step_once(event);
        while let Some(event) = self.feedback.pop() {
            self.step_once(event);
        }
    }

    fn step_once(&mut self, event: Event) {
        if self.result.is_some() {
            return;
        }
        let jitter = Jitter(self.rng.next_u32());
        let mut actions = std::mem::take(&mut self.actions);
        self.run.election.step(self.run.clock.now(), jitter, event, &mut actions);
        for action in actions.drain(..) {
            self.carry_out(action);
        }
        self.actions = actions;
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Read { deadline } => self.ask(Call::Read, deadline),
            Action::Write { intent, record, expected, deadline } => {
                if intent == Intent::Acquire && !self.threads_are_ready() {
                    self.feedback.push(Event::Written(WriteReply::Unavailable));
                    return;
                }
                self.ask(Call::Write { intent, record, expected }, deadline);
            }
            Action::BeginTerm { fencing_token, valid_until } => {
                self.begin_term(fencing_token, valid_until);
            }
            Action::Extend { from, until } => self.extend(from, until),
            Action::StopWork => {
                self.run.worker.event(ElectionEvent::Stopping);
                if let Some(term) = &mut self.term {
                    term.stop = None;
                }
            }
            Action::EndTerm => self.end_term(),
            Action::LeaderChanged(leader) => self.report_leader(leader),
            Action::Lost(reason) => self.run.worker.event(ElectionEvent::Lost(reason)),
            Action::Finish { end, hold_back_until } => {
                self.run.shared.hold_back(hold_back_until);
                self.result = Some(self.result_of(end));
            }
        }
    }

    fn ask(&mut self, call: Call, deadline: Instant) {
        debug_assert!(self.outbox.is_none(), "one request at a time");
        self.outbox = Some(Request { call, deadline, reply_to: self.reply_to.clone() });
    }

    /// Has the threads of a term ready before its claim: once the lease is won it is too late to
    /// find that the system has no more threads.
    fn threads_are_ready(&mut self) -> bool {
        let Work::Callbacks(callbacks) = &self.run.work else {
            return true;
        };
        if self.threads.is_none() {
            match TermThreads::start(callbacks, &self.returned_to) {
                Ok(threads) => self.threads = Some(threads),
                Err(error) => self.run.worker.event(lock_failed(&error)),
            }
        }
        self.threads.is_some()
    }

    fn begin_term(&mut self, fencing_token: u64, valid_until: Instant) {
        let validity = Arc::new(Validity::new(self.run.clock.clone()));
        validity.begin(valid_until);
        self.run.shared.validity.begin(valid_until);
        let (stop, stop_signal) = bounded(0);
        let term = Term::new(fencing_token, stop_signal, Arc::clone(&validity));
        let end_pending = matches!(self.run.work, Work::Callbacks(_));
        self.term = Some(CurrentTerm { validity, stop: Some(stop), end_pending });
        self.run.worker.event(ElectionEvent::Acquired { fencing_token });
        match (&self.run.work, &self.threads) {
            (Work::Guard(elected), _) => {
                // Whoever campaigns waits for it; if not, the guard's end is seen at once.
                let _ = elected.try_send(term);
            }
            (Work::Callbacks(_), Some(threads)) => threads.begin(term),
            (Work::Callbacks(_), None) => debug_assert!(false, "a claim without its threads"),
        }
    }

    fn extend(&mut self, from: Instant, until: Instant) {
        let Some(term) = &self.term else {
            return;
        };
        let extended =
            term.validity.extend(from, until) && self.run.shared.validity.extend(from, until);
        if extended {
            let valid_for = until.since(self.run.clock.now());
            self.run.worker.event(ElectionEvent::Renewed { valid_for });
        } else {
            self.feedback.push(Event::ValidityEnded);
        }
    }

    fn end_term(&mut self) {
        if let Some(term) = &self.term {
            term.validity.end();
        }
        self.run.shared.validity.end();
        if let Some(threads) = &self.threads {
            threads.end();
        }
    }

    fn report_leader(&mut self, leader: Option<Arc<str>>) {
        self.run.shared.set_leader(leader.clone());
        if let Some(leader) = &leader {
            self.run.worker.leader(Arc::clone(leader));
        }
        self.run.worker.event(ElectionEvent::LeaderChanged(leader));
    }

    fn on_returned(&mut self, returned: Returned) {
        match returned {
            Returned::Work(panic) => {
                // A result that the work has reported counts, though its return is seen first.
                self.take_reports();
                let panicked = panic.is_some();
                if let Some(text) = panic {
                    let event = ElectionEvent::CallbackPanicked(text.as_str().into());
                    self.run.worker.event(event);
                    self.panic = Some(text);
                }
                self.step(Event::WorkReturned { panicked });
            }
            Returned::End(panic) => {
                if let Some(text) = panic {
                    self.run.worker.event(ElectionEvent::CallbackPanicked(text.into()));
                }
                if let Some(term) = &mut self.term {
                    term.end_pending = false;
                }
            }
        }
    }

    fn take_reports(&mut self) {
        while let Ok(success) = self.run.inputs.reports.try_recv() {
            self.step(Event::Task(success));
        }
        loop {
            match self.run.inputs.task.try_recv() {
                Ok(success) => self.step(Event::Task(success)),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.run.inputs.task = never();
                    return self.step(Event::TaskGone);
                }
            }
        }
    }

    fn on_reply(&mut self, reply: Reply) {
        let event = match reply {
            Reply::Read(result) => Event::Read(self.read_reply(result)),
            Reply::Written(intent, result) => {
                let reply = self.write_reply(result);
                match (intent, reply) {
                    (Intent::Release, WriteReply::Written(_)) => {
                        self.run.worker.event(ElectionEvent::Released);
                    }
                    (Intent::Complete, WriteReply::Written(_)) => {
                        self.run.worker.event(ElectionEvent::Completed);
                    }
                    _ => {}
                }
                Event::Written(reply)
            }
        };
        self.step(event);
    }

    fn read_reply(&mut self, result: Result<Option<Found>, LockError>) -> ReadReply {
        match result {
            Ok(None) => ReadReply::Absent,
            Ok(Some(Found { observed, holder_is_dead })) => {
                ReadReply::Found { observed, holder_is_dead }
            }
            Err(error) => {
                self.run.worker.event(lock_failed(&error));
                match error {
                    LockError::Corrupt { revision, nonce, .. } => {
                        ReadReply::Corrupt { revision, nonce }
                    }
                    LockError::Fatal(_) => {
                        self.fatal = Some(error);
                        ReadReply::Fatal
                    }
                    _ => ReadReply::Unavailable,
                }
            }
        }
    }

    fn write_reply(&mut self, result: Result<crate::record::Revision, LockError>) -> WriteReply {
        let error = match result {
            Ok(revision) => return WriteReply::Written(revision),
            Err(error) => error,
        };
        // Losing a race is everyday life; the next look says who won.
        if !matches!(error, LockError::Conflict(_)) {
            self.run.worker.event(lock_failed(&error));
        }
        match error {
            LockError::Conflict(_) => WriteReply::Conflict,
            LockError::Unavailable(_) => WriteReply::Unavailable,
            LockError::Fatal(_) => {
                self.fatal = Some(error);
                WriteReply::Fatal
            }
            LockError::Indeterminate(_) | LockError::Corrupt { .. } => WriteReply::Indeterminate,
        }
    }

    fn result_of(&mut self, end: End) -> Result<Outcome, Error> {
        match end {
            End::Outcome(outcome) => Ok(outcome),
            End::WorkPanicked => Err(Error::WorkPanicked(self.panic.take().unwrap_or_default())),
            End::LockFailed => Err(Error::Lock(
                self.fatal
                    .take()
                    .unwrap_or_else(|| LockError::Fatal(Failure::new("use", "the lock"))),
            )),
        }
    }
}

/// The error with all of its sources in one line.
fn lock_failed(error: &dyn std::error::Error) -> ElectionEvent {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // An error that stands for its cause repeats it.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    ElectionEvent::LockFailed(text.into())
}
