//! One term's work: COMMAND from the start of the term to the end of its last process.
//!
//! Runs on the term's own thread. It must not know what the end of a term means for `elect`.

use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, after, never, select};
use leaderelection::Term;
use rustix::process::{Signal, kill_current_process_group};

use crate::child::Guarded;
use crate::control::{Order, Report};
use crate::guards::Guards;
use crate::names::Names;

/// How long to wait for SIGCONT before it is sure that this process was not stopped at all.
const NOT_STOPPED: Duration = Duration::from_millis(300);

/// After the guard should have killed everything on purpose, the time until it is done by force.
/// The lease is renewed meanwhile.
pub const FORCE_MARGIN: Duration = Duration::from_secs(2);

/// What the work of each term needs.
#[derive(Debug)]
pub struct Work {
    /// Those who run COMMAND.
    pub guards: Guards,
    /// What COMMAND is told.
    pub names: Names,
    /// After a loss and its grace, the time until what is left is ended by force.
    pub force_margin: Duration,
    /// How long a guard may take for its answer to the first renewal. One that is frozen when the
    /// term begins would keep the lock from all others, and run nothing.
    pub patience: Duration,
    /// How often to look for a new deadline.
    pub tick: Duration,
    /// A message for each SIGCONT to this process.
    pub continued: Receiver<()>,
}

/// How COMMAND ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code, or 128 + N after signal N.
    pub code: u8,
    /// It was told to end, so even the code 0 does not say that it has finished its task.
    pub told_to_end: bool,
}

impl Work {
    /// Runs COMMAND; returns how it ended, when nothing of it is left. `None` where the term was
    /// over before that.
    pub fn run(&self, term: &Term) -> io::Result<Option<Exit>> {
        let Some(deadline) = term.deadline_nanos() else { return Ok(None) };
        let begin = Order::Begin { deadline, token: term.fencing_token() };
        let guarded = self.guards.begin(begin, &self.names)?;
        let (order, exit) = (None, None);
        Watch { work: self, term, guarded, deadline, renewed: false, end: End::NotYet, order, exit }
            .until_the_end()
            .map(Some)
    }
}

/// A term whose COMMAND runs.
struct Watch<'a> {
    work: &'a Work,
    term: &'a Term,
    guarded: Guarded,
    /// The last deadline that the guard was told.
    deadline: u64,
    /// It was told a later one than that which it began with.
    renewed: bool,
    end: End,
    /// An order that the guard has not heard yet.
    order: Option<Order>,
    /// How COMMAND ended, while what it left behind may still run.
    exit: Option<Exit>,
}

/// How far the term is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    NotYet,
    OnPurpose,
    ByLoss,
}

impl Watch<'_> {
    fn until_the_end(mut self) -> io::Result<Exit> {
        let mut stop = self.term.stop_signal().clone();
        let mut by_force = never();
        let mut not_stopped = never();
        // What has come before concerns no COMMAND of this term.
        while self.work.continued.try_recv().is_ok() {}
        loop {
            select! {
                // It disconnects, once; from then on it would always be ready.
                recv(stop) -> _ => stop = never(),
                recv(self.guarded.reports()) -> report => match report {
                    Ok(Report::Began) if self.end == End::NotYet => by_force = never(),
                    Ok(Report::Began) => {}
                    Ok(Report::Paused(_)) => not_stopped = pause(),
                    Ok(Report::Exited { code, told: told_to_end }) => {
                        self.exit = Some(Exit { code, told_to_end });
                    }
                    Ok(Report::NothingLeft(code)) => {
                        self.guarded.leave();
                        return Ok(how(self.exit, code, self.end));
                    }
                    Err(_) => break,
                },
                recv(self.work.continued) -> _ => not_stopped = self.go_on(),
                recv(not_stopped) -> _ => not_stopped = self.go_on(),
                recv(by_force) -> _ => {
                    self.guarded.end_by_force();
                    let why = match self.end {
                        End::NotYet => "its guard did not answer",
                        _ => "it did not end in time",
                    };
                    log::warn!("COMMAND was killed with its guard: {why}");
                    break;
                }
                default(self.work.tick) => {}
            }
            if let Some(patience) = self.look_at_term() {
                by_force = after(patience);
            }
            if self.tell_guard() && self.end == End::NotYet {
                by_force = after(self.work.patience);
            }
        }
        let code = self.guarded.finish()?;
        Ok(how(self.exit, code, self.end))
    }

    /// Notes whether the term ends. If that is news: how long the guard has to end COMMAND.
    fn look_at_term(&mut self) -> Option<Duration> {
        let end = match (self.term.is_valid(), self.term.stopped()) {
            (false, _) => End::ByLoss,
            (true, true) => End::OnPurpose,
            (true, false) => End::NotYet,
        };
        if end <= self.end {
            return None;
        }
        self.end = end;
        match end {
            End::NotYet => None,
            End::OnPurpose => {
                self.order = Some(Order::Stop);
                Some(self.work.guards.plan().kill_after + FORCE_MARGIN)
            }
            End::ByLoss => {
                self.order = Some(Order::Lose);
                Some(self.work.guards.plan().loss_grace + self.work.force_margin)
            }
        }
    }

    /// Tells the guard what it does not know yet. What it has no room for is told at the next tick.
    /// Whether that was the first renewal, which it answers.
    fn tell_guard(&mut self) -> bool {
        if self.order.is_some_and(|order| self.guarded.tell(order)) {
            self.order = None;
        }
        if let Some(deadline) = self.term.deadline_nanos()
            && deadline > self.deadline
            && self.guarded.tell(Order::Deadline(deadline))
        {
            self.deadline = deadline;
            return !std::mem::replace(&mut self.renewed, true);
        }
        false
    }

    fn go_on(&self) -> Receiver<std::time::Instant> {
        let _ = self.guarded.tell(Order::Continue);
        never()
    }
}

/// How COMMAND ended, by what its guard has said or by the guard's own code.
///
/// The term's end may have come when COMMAND was done and only the rest had to be ended. A guard
/// that was killed has said nothing; then it is safer not to believe in a success.
fn how(said: Option<Exit>, code: u8, end: End) -> Exit {
    said.unwrap_or(Exit { code, told_to_end: end > End::NotYet })
}

/// COMMAND was stopped from the terminal, and this process is what the shell knows: it stops too,
/// so that the shell's prompt comes back. The lease is not renewed meanwhile, and COMMAND is ended
/// if that takes too long. A group that no shell looks after is not stopped by this; then COMMAND
/// goes on, after the time for which the channel waits.
fn pause() -> Receiver<std::time::Instant> {
    let _ = kill_current_process_group(Signal::TSTP);
    after(NOT_STOPPED)
}
