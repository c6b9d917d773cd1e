//! COMMAND as `elect` sees it: a guard, told what happens to the term, and its exit.
//!
//! This file must not know when a term begins or ends; `work.rs` tells it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, after, bounded};
use leaderelection::Companion;
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Signal, getpgrp};

use crate::control::{self, Order, Received, Report};
use crate::guard::GuardArgs;
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
    /// The lock, as the user named it.
    pub lock: PathBuf,
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
    pub fn begin(self, begin: Order, identity: &str) -> io::Result<Guarded> {
        match self.tell_to_begin(begin, identity) {
            Ok(()) => {}
            Err(error) => {
                self.dismiss();
                return Err(error);
            }
        }
        let guard = self.guard.recv().map_err(io::Error::other)??;
        let Self { control, reports, bury, gone, .. } = self;
        Ok(Guarded { guard, control, by_force: false, reports, bury, gone })
    }

    /// The order waits in the socket for a guard that is not there yet. What it carries is held by
    /// the message itself: so the companion's lock is not free in between, even if `elect` is
    /// killed.
    fn tell_to_begin(&self, begin: Order, identity: &str) -> io::Result<()> {
        // Where there is none, none stands in the record either: it is made before the claim.
        let companion = if self.same_host { Companion::of_process().ok() } else { None };
        let companion = companion.map(|companion| companion.descriptor()).transpose()?;
        let mut files = vec![rustix::stdio::stdin()];
        files.extend(companion.as_ref().map(AsFd::as_fd));
        control::send_with(&self.control, begin, identity.as_bytes(), &files)
    }

    /// Ends a guard that is not needed, and waits for that. It has nothing below it.
    pub fn dismiss(self) {
        // A guard whose start hangs, as on a file system that does, will end by this.
        let _ = shutdown(&self.control, Shutdown::Both);
        if let Ok(Ok(mut guard)) = self.guard.recv_timeout(LONGEST_START) {
            let _ = guard.kill();
            let _ = guard.wait();
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
        .env("ELECT_LOCK", &plan.lock)
        // Apart from `elect`: what is sent to that group must not end the guard.
        .process_group(0);
    command
}

/// A guard, and COMMAND below it.
#[derive(Debug)]
pub struct Guarded {
    guard: Child,
    control: Arc<OwnedFd>,
    /// This process has killed it.
    by_force: bool,
    reports: Receiver<Report>,
    bury: Sender<Child>,
    gone: Receiver<()>,
}

impl Guarded {
    /// What the guard says. Disconnects when it has ended.
    pub fn reports(&self) -> &Receiver<Report> {
        &self.reports
    }

    /// Tells the guard something, without waiting. `false` if it has no room for it now.
    pub fn tell(&self, order: Order) -> bool {
        match control::send(&self.control, order) {
            Ok(()) => true,
            // A guard that is gone needs no orders.
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Disconnects when no thread looks after the guard any more.
    pub fn gone(&self) -> &Receiver<()> {
        &self.gone
    }

    /// After the guard has said that nothing is left: it only has to be buried, and who does that
    /// waits for it.
    pub fn leave(self) {
        let _ = self.bury.send(self.guard);
    }

    /// The guard's exit code, which is COMMAND's, when it has ended and nothing is left.
    pub fn finish(mut self) -> io::Result<u8> {
        let status = self.guard.wait()?;
        match status.code() {
            Some(code) => Ok(code as u8),
            None => {
                if !self.by_force {
                    self.end_by_force();
                    log::warn!("COMMAND's guard was killed, and COMMAND with it");
                }
                Ok(exit::by_signal(Signal::KILL.as_raw()))
            }
        }
    }

    /// Does the guard's work in its place: kills it, which kills COMMAND, and whatever is left.
    /// What a guard leaves falls to this process, which is a subreaper too.
    pub fn end_by_force(&mut self) {
        self.by_force = true;
        // SIGKILL reaches a frozen guard too.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
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
}

fn listen(control: &OwnedFd, tell: &Sender<Report>) {
    loop {
        match control::receive(control) {
            // Whoever is slow to look has been told already.
            Received::Message(report @ Report::Paused(_), _) => {
                let _ = tell.try_send(report);
            }
            // Each comes once. Whoever does not look any more has dropped the other end.
            Received::Message(report @ (Report::Exited { .. } | Report::NothingLeft(_)), _) => {
                let _ = tell.send(report);
            }
            Received::Nothing => {}
            Received::Closed => return,
        }
    }
}
