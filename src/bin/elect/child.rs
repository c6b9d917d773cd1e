//! COMMAND as `elect` sees it: a guard, told what happens to the term, and its exit.
//!
//! This file must not know when a term begins or ends; `work.rs` tells it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, after, bounded};
use leaderelection::Companion;
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Signal, getpgrp};

use crate::control::{self, Order, Received, Report};
use crate::guard::GuardArgs;
use crate::names::Names;
use crate::terminal::Terminal;
use crate::{descendants, exit};

/// Between two rounds of kills, for what was started between them.
const KILL_AGAIN: Duration = Duration::from_millis(5);

/// How long to wait for the start of a guard that is not needed.
const LONGEST_START: Duration = Duration::from_secs(1);

/// What is to run, and how it may be ended.
#[derive(Clone, Debug)]
pub struct Plan {
    /// COMMAND and its arguments.
    pub command: Vec<OsString>,
    /// From SIGTERM to SIGKILL at an end on purpose.
    pub kill_after: Duration,
    /// The same at a loss.
    pub loss_grace: Duration,
    /// The record of a term shows this process's companion.
    pub same_host: bool,
}

/// A guard that waits for its term. COMMAND does not run before [`Spare::begin`], since the guard
/// has not even its standard input until then.
///
/// It does not keep `elect` alive to anybody: whatever ends `elect` closes the socket, which ends
/// the guard, and standard output and error with it.
#[derive(Debug)]
pub struct Spare {
    control: Arc<OwnedFd>,
    /// Comes once.
    guard: Receiver<io::Result<Child>>,
    reports: Receiver<Report>,
    bury: Sender<Child>,
    gone: Receiver<()>,
    same_host: bool,
}

impl Spare {
    /// Starts a guard, on a thread of its own: the system call lasts until the guard is executed.
    pub fn start(plan: &Plan) -> io::Result<Self> {
        let (ours, theirs) = control::pair()?;
        let mut command = guard_command(plan);
        command.stdin(Stdio::from(theirs));
        let control = Arc::new(ours);
        let socket = Arc::clone(&control);
        let (started, guard) = bounded(1);
        let (tell, reports) = bounded(4);
        let (bury, left) = bounded::<Child>(1);
        let (here, gone) = bounded(0);
        std::thread::Builder::new().name("guard".into()).spawn(move || {
            let _here: Sender<()> = here;
            let child = command.spawn();
            // With it goes the guard's end of the socket, so that it is closed when the guard ends.
            drop(command);
            if started.send(child).is_err() {
                return;
            }
            listen(&socket, &tell);
            drop(tell);
            // Nothing where whoever had it has buried it.
            if let Ok(mut child) = left.recv() {
                let _ = child.wait();
            }
        })?;
        Ok(Self { control, guard, reports, bury, gone, same_host: plan.same_host })
    }

    /// Lets COMMAND run, by the order to begin. An error says that it does not:
    /// the guard was killed while it waited, say.
    pub fn begin(self, begin: Order, names: &Names) -> io::Result<Guarded> {
        match self.tell_to_begin(begin, names) {
            Ok(()) => Ok(Guarded { spare: self, status: None }),
            // Where it could not be started, its closed socket is not the news.
            Err(error) => Err(self.dismiss().unwrap_or(error)),
        }
    }

    /// The order waits in the socket for a guard that is not there yet. What it carries is held by
    /// the message itself: so the companion's lock is not free in between, even if `elect` is
    /// killed.
    fn tell_to_begin(&self, begin: Order, names: &Names) -> io::Result<()> {
        // Where there is none, none stands in the record either: it is made before the claim.
        let companion = if self.same_host { Companion::of_process().ok() } else { None };
        let companion = companion.map(|companion| companion.descriptor()).transpose()?;
        let mut files = vec![rustix::stdio::stdin()];
        files.extend(companion.as_ref().map(AsFd::as_fd));
        control::send_with(&self.control, begin, &names.to_text(), &files)
    }

    /// Ends a guard that is not needed, and waits for that. It has nothing below it. Returns why it
    /// could not be started, if it could not.
    pub fn dismiss(self) -> Option<io::Error> {
        // A guard whose start hangs, as on a file system that does, will end by this.
        let _ = shutdown(&self.control, Shutdown::Both);
        match self.guard.recv_timeout(LONGEST_START) {
            Ok(Ok(mut guard)) => {
                let _ = guard.kill();
                let _ = guard.wait();
                None
            }
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        }
    }
}

fn guard_command(plan: &Plan) -> Command {
    let words = GuardArgs {
        kill_after: plan.kill_after,
        loss_grace: plan.loss_grace,
        lender: getpgrp().as_raw_nonzero().get(),
        command: plan.command.clone(),
    }
    .to_words();
    // By this path it is the binary that runs now, although an update may have replaced it.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("elect")
        .args(words)
        // Apart from `elect`: what is sent to that group must not end the guard.
        .process_group(0);
    command
}

/// A guard, and COMMAND below it. The guard itself may still be about to be started.
#[derive(Debug)]
pub struct Guarded {
    spare: Spare,
    /// Set once this process has killed it: its exit status, where that is known.
    status: Option<Option<ExitStatus>>,
}

impl Guarded {
    /// What the guard says. Disconnects when it has ended, or could not be started.
    pub fn reports(&self) -> &Receiver<Report> {
        &self.spare.reports
    }

    /// Tells the guard something, without waiting. `false` if it has no room for it now.
    pub fn tell(&self, order: Order) -> bool {
        match control::send(&self.spare.control, order) {
            Ok(()) => true,
            // A guard that is gone needs no orders.
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Disconnects when no thread looks after the guard any more.
    pub fn gone(&self) -> &Receiver<()> {
        &self.spare.gone
    }

    /// After the guard has said that nothing is left: it only has to be buried, and who does that
    /// waits for it.
    pub fn leave(self) {
        if let Ok(Ok(guard)) = self.spare.guard.try_recv() {
            let _ = self.spare.bury.send(guard);
        }
    }

    /// The guard's exit code, which is COMMAND's, when it has ended and nothing is left. For who
    /// has seen the end of its reports, or has ended it by force.
    pub fn finish(self) -> io::Result<u8> {
        let by_force = self.status.is_some();
        let status = match self.status {
            Some(status) => status,
            // It is there, since the reports end after it has come.
            None => Some(self.spare.guard.recv().map_err(io::Error::other)??.wait()?),
        };
        if let Some(code) = status.and_then(|status| status.code()) {
            return Ok(code as u8);
        }
        if !by_force {
            end_what_is_left();
            log::warn!("COMMAND's guard was killed, and COMMAND with it");
        }
        Ok(exit::by_signal(Signal::KILL.as_raw()))
    }

    /// Does the guard's work in its place: kills it, which kills COMMAND, and whatever is left.
    /// What a guard leaves falls to this process, which is a subreaper too.
    pub fn end_by_force(&mut self) {
        self.status = Some(self.guard_at_last().and_then(|mut guard| {
            // SIGKILL reaches a frozen guard too.
            let _ = guard.kill();
            guard.wait().ok()
        }));
        end_what_is_left();
    }

    /// The guard; `None` where it could not be started. It has mostly come long ago. But one that
    /// is still to come would find the order to begin, so nothing is over before it has; and one
    /// that was frozen before it was executed comes when it is killed.
    fn guard_at_last(&self) -> Option<Child> {
        loop {
            match self.spare.guard.recv_timeout(KILL_AGAIN) {
                Ok(started) => return started.ok(),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => descendants::signal_all(Signal::KILL, None),
            }
        }
    }
}

/// What a guard that is dead has left.
fn end_what_is_left() {
    loop {
        descendants::signal_all(Signal::KILL, None);
        if !descendants::reap() {
            break;
        }
        let _ = after(KILL_AGAIN).recv();
    }
    // The guard would have done this.
    if let Some(terminal) = Terminal::of(getpgrp()) {
        terminal.take_back_if_abandoned();
    }
}

fn listen(control: &OwnedFd, tell: &Sender<Report>) {
    loop {
        match control::receive(control) {
            // Whoever is slow to look has been told already.
            Received::Message(report @ Report::Paused(_), _) => {
                let _ = tell.try_send(report);
            }
            // Each comes once. Whoever does not look any more has dropped the other end.
            Received::Message(report, _) => {
                let _ = tell.send(report);
            }
            Received::Nothing => {}
            Received::Closed => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_that_could_not_be_started_says_why_when_its_term_begins() {
        let plan = Plan {
            // Longer than an argument may be.
            command: vec!["x".repeat(1 << 20).into()],
            kill_after: Duration::ZERO,
            loss_grace: Duration::ZERO,
            same_host: false,
        };
        let spare = Spare::start(&plan).unwrap();
        assert!(spare.reports.recv().is_err(), "it was started");
        let names = Names { identity: String::new(), lock: "/lock".into() };
        let begin = Order::Begin { deadline: u64::MAX, token: 1 };
        let error = spare.begin(begin, &names).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ArgumentListTooLong, "{error}");
    }
}
