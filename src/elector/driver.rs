//! The election thread: feeds the state machine with what happens, and carries out what it decides.
//!
//! It waits for nothing but its one select, runs no user code, and never logs.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::callbacks::{ElectionEvent, LeaderCallbacks};
use crate::clock::{Clock, Instant};
use crate::election::{Action, Election, End, Event, Jitter, ReadReply, WriteReply};
use crate::elector::lock_thread::{Call, Failed, Found, Reply, Request};
use crate::elector::threads::{Returned, TermThreads};
use crate::elector::worker::Worker;
use crate::elector::{Ended, Inputs, Leader, Shared};
use crate::error::{Error, Failure, LockError, Outcome};
use crate::lock::Intent;
use crate::record::Revision;
use crate::sync::channel::{Receiver, Sender, TryRecvError, bounded, never};
use crate::term::Term;

mod wait;

use wait::Ready;

/// So many results are taken before whatever else is ready. A channel that is never empty must not
/// keep the election from anything.
const RESULTS_AT_ONCE: usize = 16;

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
    pub(super) identity: Arc<str>,
    /// The lock, for people.
    pub(super) describe: String,
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
    /// Since when an answer of the lock is awaited.
    asked_at: Option<Instant>,
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
    stop_heard: bool,
    result: Option<Result<Outcome, Error>>,
}

struct CurrentTerm {
    /// For who works in the term, until it is told.
    begins: Option<Term>,
    /// Dropped to tell the work to stop.
    stop: Option<Sender<()>>,
    /// Its validity has been ended here.
    over: bool,
    /// `on_stopped_leading` has not returned yet.
    end_pending: bool,
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
            asked_at: None,
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
            stop_heard: false,
            result: None,
        }
    }

    /// Runs to the end of the campaign and its term. What is left is the user's in part, and to
    /// drop it may take any time.
    pub(super) fn drive(&mut self) -> Ended {
        self.run.worker.event(ElectionEvent::CampaignStarted);
        self.step(Event::Tick);
        while !self.is_done() {
            let ready = self.wait();
            self.take(ready);
        }
        Ended {
            result: self.result.take().unwrap_or(Ok(Outcome::Stopped)),
            stop_heard: self.stop_heard,
            told: self.run.worker.flush(),
        }
    }

    fn is_done(&self) -> bool {
        let end_pending = self.term.as_ref().is_some_and(|term| term.end_pending);
        self.result.is_some() && !end_pending
    }

    fn take(&mut self, ready: Ready) {
        match ready {
            Ready::Task(Some(success)) | Ready::Report(Some(success)) => {
                return self.step(Event::Task(success));
            }
            Ready::Task(None) => return self.task_gone(),
            Ready::Report(None) => return self.run.inputs.reports = never(),
            _ => {}
        }
        // The select picks any that is ready. Neither a stop nor a limit nor a return may overtake
        // a result that was reported before it.
        self.take_results();
        match ready {
            Ready::Stop => {
                self.run.inputs.stop = never();
                self.stop_heard = true;
                self.step(Event::Stop);
            }
            Ready::Reply(reply) => self.on_reply(reply),
            Ready::Returned(returned) => self.on_returned(returned),
            Ready::GuardGone => {
                self.run.inputs.guard_gone = never();
                self.step(Event::WorkReturned { panicked: false });
                self.step(Event::Stop);
            }
            Ready::WakeUp(true) => self.step(Event::WakeUp),
            Ready::WakeUp(false) => self.run.wake_ups = never(),
            Ready::Refused(request) => self.on_refused(request),
            Ready::Timer => self.step(Event::Tick),
            Ready::Sent | Ready::Task(_) | Ready::Report(_) => {}
        }
    }

    fn take_results(&mut self) {
        for _ in 0..RESULTS_AT_ONCE {
            match self.run.inputs.reports.try_recv() {
                Ok(success) => self.step(Event::Task(success)),
                Err(_) => break,
            }
        }
        for _ in 0..RESULTS_AT_ONCE {
            match self.run.inputs.task.try_recv() {
                Ok(success) => self.step(Event::Task(success)),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => return self.task_gone(),
            }
        }
    }

    fn task_gone(&mut self) {
        self.run.inputs.task = never();
        self.step(Event::TaskGone);
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
        self.start_work();
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
            Action::StopWork => self.stop_work(),
            Action::EndTerm => self.end_term(),
            Action::LeaderChanged(leader) => self.report_leader(leader),
            Action::Lost(reason) => {
                // Before the work is told to stop: it must not take this for a time to clean up.
                self.end_validity();
                self.say_what_hangs();
                self.run.worker.event(ElectionEvent::Lost(reason));
            }
            Action::Finish { end, hold_back_until } => {
                self.run.shared.hold_back(hold_back_until);
                self.result = Some(self.result_of(end));
            }
        }
    }

    fn ask(&mut self, call: Call, deadline: Instant) {
        debug_assert!(self.outbox.is_none(), "one request at a time");
        self.asked_at = Some(self.run.clock.now());
        self.outbox = Some(Request { call, deadline, reply_to: self.reply_to.clone() });
    }

    /// A call that does not return has no error of its own; a term that is lost for that should not
    /// look as if there was no reason.
    fn say_what_hangs(&self) {
        if let Some(asked_at) = self.asked_at {
            let waited = self.run.clock.now().since(asked_at).as_secs_f64();
            let text = format!(
                "{} has not answered for {waited:.1} s: is its server or the network down, or was \
                 this process stopped?",
                self.run.describe
            );
            self.lock_failed(text.into());
        }
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
                Err(error) => {
                    let text = match &error {
                        Error::Thread { source, .. } => format!("{error}: {source}"),
                        _ => error.to_string(),
                    };
                    self.run.worker.event(ElectionEvent::LockFailed(text.into()));
                }
            }
        }
        self.threads.is_some()
    }

    fn begin_term(&mut self, fencing_token: u64, valid_until: Instant) {
        let (stop, stop_signal) = bounded(0);
        // The name first: who finds this candidate to lead finds its name, too.
        let name = Arc::clone(&self.run.identity);
        self.run.shared.set_leader(Some(Leader { name, ours: true }));
        let validity = &self.run.shared.validity;
        let term = Term::begin(fencing_token, stop_signal, validity, valid_until);
        let end_pending = matches!(self.run.work, Work::Callbacks(_));
        self.term =
            Some(CurrentTerm { begins: Some(term), stop: Some(stop), over: false, end_pending });
        self.run.worker.event(ElectionEvent::Acquired { fencing_token });
    }

    /// Starts the work of a term that has just begun: after all else of that step, so that the work
    /// finds its elector to be the leader.
    fn start_work(&mut self) {
        let Some(term) = self.term.as_mut().and_then(|term| term.begins.take()) else {
            return;
        };
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
        if self.run.shared.validity.extend(from, until) {
            let valid_for = until.since(self.run.clock.now());
            self.run.worker.event(ElectionEvent::Renewed { valid_for });
        } else {
            self.feedback.push(Event::ValidityEnded);
        }
    }

    fn stop_work(&mut self) {
        let Some(term) = &mut self.term else {
            return;
        };
        term.stop = None;
        if !term.over {
            self.run.worker.event(ElectionEvent::Stopping);
        }
    }

    fn end_validity(&mut self) {
        if let Some(term) = &mut self.term {
            term.over = true;
            self.run.shared.validity.end();
        }
    }

    fn end_term(&mut self) {
        self.end_validity();
        if let Some(threads) = &self.threads {
            threads.end();
        }
    }

    fn report_leader(&mut self, leader: Option<Arc<str>>) {
        let ours = self.term.as_ref().is_some_and(|term| !term.over);
        self.run.shared.set_leader(leader.clone().map(|name| Leader { name, ours }));
        self.run.worker.leader_changed(leader);
    }

    fn on_returned(&mut self, returned: Returned) {
        let (Returned::Work(panic) | Returned::End(panic)) = &returned;
        if let Some(text) = panic {
            self.run.worker.event(ElectionEvent::CallbackPanicked(text.as_str().into()));
        }
        match returned {
            Returned::Work(panic) => {
                let panicked = panic.is_some();
                self.panic = panic;
                self.step(Event::WorkReturned { panicked });
            }
            Returned::End(_) => {
                if let Some(term) = &mut self.term {
                    term.end_pending = false;
                }
            }
        }
    }

    /// The lock thread is gone. All user code there is guarded, so this is a defect of this crate.
    fn on_refused(&mut self, request: Request) {
        self.asked_at = None;
        let failure = Failure::new("use", "the lock").hint("its thread is gone");
        self.fatal = Some(LockError::Fatal(failure));
        self.step(match request.call {
            Call::Read => Event::Read(ReadReply::Fatal),
            Call::Write { .. } => Event::Written(WriteReply::Fatal),
        });
    }

    fn on_reply(&mut self, reply: Reply) {
        self.asked_at = None;
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

    fn read_reply(&mut self, result: Result<Option<Found>, Failed>) -> ReadReply {
        match result {
            Ok(None) => ReadReply::Absent,
            Ok(Some(Found { observed, holder_is_dead })) => {
                ReadReply::Found { observed, holder_is_dead }
            }
            Err(Failed::Corrupt { revision, nonce, text }) => {
                self.lock_failed(text);
                ReadReply::Corrupt { revision, nonce }
            }
            Err(Failed::Fatal(error, text)) => {
                self.lock_failed(text);
                self.fatal = Some(error);
                ReadReply::Fatal
            }
            Err(Failed::Unavailable(text) | Failed::Indeterminate(text)) => {
                self.lock_failed(text);
                ReadReply::Unavailable
            }
            Err(Failed::Conflict) => ReadReply::Unavailable,
        }
    }

    fn write_reply(&mut self, result: Result<Revision, Failed>) -> WriteReply {
        match result {
            Ok(revision) => WriteReply::Written(revision),
            // The next look says who won.
            Err(Failed::Conflict) => WriteReply::Conflict,
            Err(Failed::Unavailable(text)) => {
                self.lock_failed(text);
                WriteReply::Unavailable
            }
            Err(Failed::Fatal(error, text)) => {
                self.lock_failed(text);
                self.fatal = Some(error);
                WriteReply::Fatal
            }
            Err(Failed::Indeterminate(text) | Failed::Corrupt { text, .. }) => {
                self.lock_failed(text);
                WriteReply::Indeterminate
            }
        }
    }

    fn lock_failed(&self, text: Arc<str>) {
        self.run.worker.event(ElectionEvent::LockFailed(text));
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

/// A panic of the election thread is a defect of this crate; even so the user hears of the term's
/// end.
impl Drop for Driver {
    fn drop(&mut self) {
        // After a run that ended well its elector may lead again already.
        if self.term.as_ref().is_some_and(|term| !term.over) {
            self.end_validity();
        }
        if let (Some(_), Some(threads)) = (&self.term, &self.threads) {
            threads.end();
        }
    }
}
