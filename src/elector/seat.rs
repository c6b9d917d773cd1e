//! One election on the election thread: feeds its state machine with what happens, and carries out
//! what that decides.
//!
//! It waits for nothing, runs no user code, and never logs.

use std::sync::Arc;

use rand::Rng;
use rand::rngs::SmallRng;

use crate::callbacks::{ElectionEvent, LeaderCallbacks};
use crate::clock::{Clock, Instant};
use crate::config::{Settings, new_incarnation};
use crate::election::{Action, Election, End, Event, Jitter, ReadReply, WriteReply};
use crate::elector::desk::{Call, Desk, Failed, Found, LockClient, Reply, Request};
use crate::elector::handle::{Ended, Leader, RunState, Running, Shared};
use crate::elector::inbox::SeatId;
use crate::elector::threads::{Returned, TermThreads};
use crate::elector::worker::Worker;
use crate::error::{Error, Failure, LockError, Outcome};
use crate::lock::Intent;
use crate::record::Revision;
use crate::sync::channel::{Sender, bounded};
use crate::term::Term;

/// Who works in a term.
pub(super) enum Work {
    /// The callbacks, on threads of their own. Without `on_started_leading` it is the holder of the
    /// handle.
    Callbacks(Box<LeaderCallbacks>),
    /// The holder of the handle.
    Holder,
    /// The holder of a guard, which gets the term here.
    Guard(Sender<Term>),
    /// Nobody any more.
    Nobody,
}

/// What a run needs from its elector and its caller.
pub(super) struct Run {
    pub(super) settings: Arc<Settings>,
    pub(super) clock: Clock,
    pub(super) shared: Arc<Shared>,
    pub(super) state: Arc<RunState>,
    pub(super) lock: LockClient,
    pub(super) work: Work,
    /// Campaigns again after a term that was lost or has reached its limit.
    pub(super) again: bool,
    /// The threads of a term are started while its candidate waits. Thousands of candidates would
    /// start too many.
    pub(super) ready_ahead: bool,
}

/// What the elections of one thread use by turns.
pub(super) struct Tools {
    pub(super) rng: SmallRng,
    pub(super) actions: Vec<Action>,
    /// What carrying out an action led to.
    pub(super) feedback: Vec<Event>,
    pub(super) asking: Asking,
}

/// How a lock is asked in a step.
#[derive(Default)]
pub(super) struct Asking {
    /// Looks and renewals are not urgent.
    pub(super) quiet: bool,
    /// Whoever takes the step asks the lock itself after that,
    pub(super) serves_itself: bool,
    /// namely this one.
    pub(super) desk: Option<Arc<Desk>>,
}

/// A run in progress.
pub(super) struct Seat {
    run: Run,
    /// Until the end is told.
    running: Option<Running>,
    election: Election,
    /// Of the request that was made last.
    ticket: u64,
    // In boxes, because most of thousands of candidates have none of these.
    threads: Option<Box<TermThreads>>,
    term: Option<Box<CurrentTerm>>,
    panic: Option<Box<str>>,
    stop_heard: bool,
    /// Who held the handle or the guard works in no term any more.
    awaited: bool,
    result: Option<Box<Ended>>,
    /// The earliest deadline at which the engine will look here.
    pub(super) armed: Option<Instant>,
    /// The engine counts it as a leader.
    pub(super) counted: bool,
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

impl Seat {
    /// A campaign that begins now. Nothing is done before its first step.
    pub(super) fn new(run: Run, running: Running) -> Self {
        Self {
            election: new_election(&run),
            run,
            running: Some(running),
            ticket: 0,
            threads: None,
            term: None,
            panic: None,
            stop_heard: false,
            awaited: false,
            result: None,
            armed: None,
            counted: false,
        }
    }

    pub(super) fn id(&self) -> SeatId {
        self.run.state.outlet.id()
    }

    pub(super) fn election(&self) -> &Election {
        &self.election
    }

    pub(super) fn worker(&self) -> &Worker {
        &self.run.state.worker
    }

    /// The first step of a campaign.
    pub(super) fn begin(&mut self, tools: &mut Tools) {
        // One of before has found nobody here, or was left unheard in a term.
        self.run.state.heard();
        self.run.state.worker.event(ElectionEvent::CampaignStarted);
        self.step(tools, Event::Tick);
        if self.run.ready_ahead && self.result.is_none() {
            // While the lock is looked at. What is in the way of it may be gone at the claim.
            let _ = self.start_threads();
        }
    }

    /// Whether nothing of the run is left to be awaited.
    pub(super) fn is_done(&self) -> bool {
        let end_pending = self.term.as_ref().is_some_and(|term| term.end_pending);
        self.result.is_some() && !end_pending
    }

    /// Begins the next campaign of a run that goes on after a term; `false` if this was the end.
    pub(super) fn begin_again(&mut self, tools: &mut Tools) -> bool {
        let outcome = self.result.as_deref().and_then(|result| result.as_ref().ok());
        let goes_on = matches!(outcome, Some(Outcome::LeaseLost(_) | Outcome::TermLimitReached));
        if !goes_on || !self.run.again {
            return false;
        }
        // A term that was ending anyway has taken the message, and the next would not see it.
        if self.stop_heard {
            self.result = Some(Box::new(Ok(Outcome::Stopped)));
            return false;
        }
        self.forget_request();
        self.threads = self.threads.take().filter(|_| self.term.is_none());
        self.term = None;
        self.result = None;
        self.election = new_election(&self.run);
        self.begin(tools);
        true
    }

    /// Tells the end. What is left is the user's in part, and to drop it may take any time.
    pub(super) fn finish(&mut self) {
        self.forget_request();
        // Another run may start as soon as the result is known.
        self.running = None;
        let ended = self.result.take().unwrap_or_else(|| Box::new(Ok(Outcome::Stopped)));
        self.run.state.end(Some(ended));
        self.nobody_waits_for_a_term();
    }

    /// A panic of the election thread is a defect of this crate; even so the user hears of the
    /// term's end, and of the run's.
    pub(super) fn abandon(&mut self) {
        // After a run that ended well its elector may lead again already.
        if self.term.as_ref().is_some_and(|term| !term.over) {
            self.end_validity();
        }
        if let Some(term) = &mut self.term {
            term.stop = None;
            if let Some(threads) = &self.threads {
                threads.end();
            }
        }
        self.run.state.end(None);
        self.running = None;
        self.nobody_waits_for_a_term();
    }

    fn nobody_waits_for_a_term(&mut self) {
        if matches!(self.run.work, Work::Guard(_)) {
            // Who waits there learns that there is none.
            self.run.work = Work::Nobody;
        }
    }

    /// What nobody has begun is not done any more, and what was begun not listened to.
    fn forget_request(&mut self) {
        self.run.lock.withdraw();
        self.ticket += 1;
    }

    pub(super) fn on_report(&mut self, tools: &mut Tools, success: bool) {
        self.run.state.report_taken();
        self.step(tools, Event::Task(success));
    }

    pub(super) fn on_awaited(&mut self, tools: &mut Tools) {
        self.awaited = true;
        self.holder_has_left(tools);
    }

    /// Says nothing of whether the work has returned: another thread may be at it.
    pub(super) fn stop(&mut self, tools: &mut Tools) {
        self.stop_heard = true;
        self.step(tools, Event::Stop);
    }

    pub(super) fn on_wake_up(&mut self, tools: &mut Tools) {
        // In a term nothing is to be learned from it: further ones would only keep the thread busy.
        if !self.election.is_leading() {
            self.run.state.heard();
        }
        self.step(tools, Event::WakeUp);
    }

    fn holder_has_left(&mut self, tools: &mut Tools) {
        if self.holder_works() {
            self.step(tools, Event::WorkReturned { panicked: false });
        }
    }

    fn holder_works(&self) -> bool {
        match &self.run.work {
            Work::Callbacks(callbacks) => callbacks.started.is_none(),
            Work::Guard(_) | Work::Holder => true,
            Work::Nobody => false,
        }
    }

    pub(super) fn step(&mut self, tools: &mut Tools, event: Event) {
        tools.feedback.push(event);
        while !tools.feedback.is_empty() {
            let event = tools.feedback.remove(0);
            self.step_once(tools, event);
        }
    }

    fn step_once(&mut self, tools: &mut Tools, event: Event) {
        if self.result.is_some() {
            return;
        }
        let jitter = Jitter(tools.rng.next_u32());
        self.election.step(self.run.clock.now(), jitter, event, &mut tools.actions);
        for action in tools.actions.drain(..) {
            let led_to = self.carry_out(action, &mut tools.asking);
            tools.feedback.extend(led_to);
        }
        tools.feedback.extend(self.start_work());
    }

    /// Says what the action led to at once.
    fn carry_out(&mut self, action: Action, asking: &mut Asking) -> Option<Event> {
        match action {
            Action::Read { deadline } => {
                let quiet = asking.quiet;
                return self.ask(Call::Read, deadline, quiet, asking);
            }
            Action::Write { intent, record, expected, deadline } => {
                if intent == Intent::Acquire && !self.threads_are_ready() {
                    return Some(Event::Written(WriteReply::Unavailable));
                }
                let quiet = asking.quiet && intent == Intent::Renew;
                let call = Call::Write { intent, record, expected };
                return self.ask(call, deadline, quiet, asking);
            }
            Action::BeginTerm { fencing_token, valid_until } => {
                self.begin_term(fencing_token, valid_until);
            }
            Action::Extend { from, until } => return self.extend(from, until),
            Action::StopWork => self.stop_work(),
            Action::EndTerm => return self.end_term(),
            Action::LeaderChanged(leader) => self.report_leader(leader),
            Action::Lost(reason) => {
                // Before the work is told to stop: it must not take this for a time to clean up.
                self.end_validity();
                self.say_what_hangs();
                self.run.state.worker.event(ElectionEvent::Lost(reason));
            }
            Action::Finish { end, hold_back_until } => {
                self.run.shared.hold_back(hold_back_until);
                self.result = Some(Box::new(self.result_of(end)));
            }
        }
        None
    }

    fn ask(
        &mut self,
        call: Call,
        deadline: Instant,
        quiet: bool,
        asking: &mut Asking,
    ) -> Option<Event> {
        self.ticket += 1;
        let (ticket, reply_to) = (self.ticket, self.run.state.outlet.clone());
        let request = Request { call, deadline, ticket, quiet, reply_to };
        if asking.serves_itself {
            asking.desk = self.run.lock.hand_in(request).or(asking.desk.take());
            return None;
        }
        let refused = self.run.lock.ask(request).err();
        refused.map(|request| Self::on_refused(&request.call))
    }

    /// A call that does not return has no error of its own; a term that is lost for that should not
    /// look as if there was no reason.
    fn say_what_hangs(&self) {
        if let Some(asked_at) = self.election.awaiting_since() {
            let waited = self.run.clock.now().since(asked_at).as_secs_f64();
            let text = format!(
                "{} has not answered for {waited:.1} s: is its server or the network down, or was \
                 this process stopped?",
                self.run.lock.describe()
            );
            self.lock_failed(text.into());
        }
    }

    /// Has the threads of a term ready before its claim: once the lease is won it is too late to
    /// find that the system has no more threads.
    fn threads_are_ready(&mut self) -> bool {
        match self.start_threads() {
            Ok(()) => true,
            Err(error) => {
                let text = match &error {
                    Error::Thread { source, .. } => format!("{error}: {source}"),
                    _ => error.to_string(),
                };
                self.run.state.worker.event(ElectionEvent::LockFailed(text.into()));
                false
            }
        }
    }

    fn start_threads(&mut self) -> Result<(), Error> {
        if let (Work::Callbacks(callbacks), None) = (&self.run.work, &self.threads) {
            let threads = TermThreads::start(callbacks, &self.run.state.outlet)?;
            self.threads = Some(Box::new(threads));
        }
        Ok(())
    }

    fn begin_term(&mut self, fencing_token: u64, valid_until: Instant) {
        let (stop, stop_signal) = bounded(0);
        // The name first: who finds this candidate to lead finds its name, too.
        let name = Arc::clone(&self.run.settings.identity);
        self.run.shared.set_leader(Some(Leader { name, ours: true }));
        let validity = &self.run.shared.validity;
        let term = Term::begin(fencing_token, stop_signal, validity, valid_until);
        self.run.state.set_term(Some(term.clone()));
        let end_pending = self.threads.as_ref().is_some_and(|threads| threads.will_tell_the_end());
        let (begins, stop) = (Some(term), Some(stop));
        self.term = Some(Box::new(CurrentTerm { begins, stop, over: false, end_pending }));
        self.run.state.worker.event(ElectionEvent::Acquired { fencing_token });
    }

    /// Starts the work of a term that has just begun: after all else of that step, so that the work
    /// finds its elector to be the leader.
    fn start_work(&mut self) -> Option<Event> {
        let term = self.term.as_mut().and_then(|term| term.begins.take())?;
        match (&self.run.work, &self.threads) {
            (Work::Guard(elected), _) => {
                // Whoever campaigns waits for it; if not, the guard's end is seen at once.
                let _ = elected.try_send(term);
            }
            (Work::Callbacks(_), Some(threads)) => threads.begin(term),
            (Work::Callbacks(_), None) => debug_assert!(false, "a claim without its threads"),
            // The holder of the handle finds it there.
            (Work::Holder | Work::Nobody, _) => {}
        }
        let nobody_works = self.awaited && self.holder_works();
        nobody_works.then_some(Event::WorkReturned { panicked: false })
    }

    fn extend(&self, from: Instant, until: Instant) -> Option<Event> {
        if self.run.shared.validity.extend(from, until) {
            let valid_for = until.since(self.run.clock.now());
            self.run.state.worker.event(ElectionEvent::Renewed { valid_for });
            None
        } else {
            Some(Event::ValidityEnded)
        }
    }

    fn stop_work(&mut self) {
        let Some(term) = &mut self.term else {
            return;
        };
        term.stop = None;
        if !term.over {
            self.run.state.worker.event(ElectionEvent::Stopping);
        }
    }

    fn end_validity(&mut self) {
        if let Some(term) = &mut self.term {
            term.over = true;
            self.run.shared.validity.end();
            self.run.state.set_term(None);
        }
    }

    fn end_term(&mut self) -> Option<Event> {
        self.end_validity();
        if let Some(threads) = &self.threads {
            threads.end();
        }
        // Whoever works by a handle finds out by that; there is no more to wait for.
        let by_handle = self.holder_works() && !matches!(self.run.work, Work::Guard(_));
        by_handle.then_some(Event::WorkReturned { panicked: false })
    }

    fn report_leader(&mut self, leader: Option<Arc<str>>) {
        let ours = self.term.as_ref().is_some_and(|term| !term.over);
        self.run.shared.set_leader(leader.clone().map(|name| Leader { name, ours }));
        self.run.state.worker.leader_changed(leader);
    }

    pub(super) fn on_returned(&mut self, tools: &mut Tools, returned: Returned) {
        let (Returned::Work(panic) | Returned::End(panic)) = &returned;
        if let Some(text) = panic {
            self.run.state.worker.event(ElectionEvent::CallbackPanicked(text.as_str().into()));
        }
        match returned {
            Returned::Work(panic) => {
                let panicked = panic.is_some();
                self.panic = panic.map(Into::into);
                self.step(tools, Event::WorkReturned { panicked });
            }
            Returned::End(_) => {
                if let Some(term) = &mut self.term {
                    term.end_pending = false;
                }
            }
        }
    }

    /// There is no lock thread. All user code there is guarded, so this is a defect of this crate.
    fn on_refused(call: &Call) -> Event {
        match call {
            Call::Read => Event::Read(ReadReply::Fatal),
            Call::Write { .. } => Event::Written(WriteReply::Fatal),
        }
    }

    pub(super) fn on_reply(&mut self, tools: &mut Tools, ticket: u64, reply: Reply) {
        if ticket != self.ticket || self.result.is_some() {
            return;
        }
        let event = match reply {
            Reply::Read(result) => Event::Read(self.read_reply(result)),
            Reply::Written(intent, result) => {
                let reply = self.write_reply(result);
                let won = matches!(reply, WriteReply::Written(_));
                if intent == Intent::Acquire && !won && !self.run.ready_ahead {
                    // The rest of the campaign may be long. The next claim has its own.
                    self.threads = None;
                }
                match (intent, reply) {
                    (Intent::Release, WriteReply::Written(_)) => {
                        self.run.state.worker.event(ElectionEvent::Released);
                    }
                    (Intent::Complete, WriteReply::Written(_)) => {
                        self.run.state.worker.event(ElectionEvent::Completed);
                    }
                    _ => {}
                }
                Event::Written(reply)
            }
        };
        self.step(tools, event);
    }

    fn read_reply(&self, result: Result<Option<Found>, Failed>) -> ReadReply {
        match result {
            Ok(None) => ReadReply::Absent,
            Ok(Some(Found { observed, liveness })) => ReadReply::Found { observed, liveness },
            Err(Failed::Corrupt { revision, nonce, text }) => {
                self.lock_failed(text);
                ReadReply::Corrupt { revision, nonce }
            }
            Err(Failed::Fatal(text)) => {
                self.lock_failed(text);
                ReadReply::Fatal
            }
            Err(Failed::Unavailable(text) | Failed::Indeterminate(text)) => {
                self.lock_failed(text);
                ReadReply::Unavailable
            }
            Err(Failed::Conflict) => ReadReply::Unavailable,
        }
    }

    fn write_reply(&self, result: Result<Revision, Failed>) -> WriteReply {
        match result {
            Ok(revision) => WriteReply::Written(revision),
            // The next look says who won.
            Err(Failed::Conflict) => WriteReply::Conflict,
            Err(Failed::Unavailable(text)) => {
                self.lock_failed(text);
                WriteReply::Unavailable
            }
            Err(Failed::Fatal(text)) => {
                self.lock_failed(text);
                WriteReply::Fatal
            }
            Err(Failed::Indeterminate(text) | Failed::Corrupt { text, .. }) => {
                self.lock_failed(text);
                WriteReply::Indeterminate
            }
        }
    }

    fn lock_failed(&self, text: Arc<str>) {
        self.run.state.worker.event(ElectionEvent::LockFailed(text));
    }

    fn result_of(&mut self, end: End) -> Result<Outcome, Error> {
        match end {
            End::Outcome(outcome) => Ok(outcome),
            End::WorkPanicked => {
                Err(Error::WorkPanicked(self.panic.take().unwrap_or_default().into()))
            }
            End::LockFailed => Err(Error::Lock(match self.run.lock.take_fatal() {
                Some(error) => *error,
                None => {
                    let failure = Failure::new("use", "the lock").hint("its thread is gone");
                    LockError::Fatal(failure)
                }
            })),
        }
    }
}

fn new_election(run: &Run) -> Election {
    let held_back_until = run.shared.held_back_until();
    Election::new(Arc::clone(&run.settings), new_incarnation(), run.clock.now(), held_back_until)
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.abandon();
    }
}
