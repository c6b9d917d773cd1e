//! COMMAND as `elect` sees it: a guard, told what happens to the term, and its exit.
//!
//! This file must not know when a term ends; `work.rs` tells it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, after, bounded};
use leaderelection::Companion;
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::{Signal, getpgrp};

use crate::control::{self, Order, Received, Report};
use crate::guard::GuardArgs;
use crate::terminal::Terminal;
use crate::{descendants, exit};

/// Between two rounds of kills, for what was started between them.
const KILL_AGAIN: Duration = Duration::from_millis(5);

/// Scripts use descriptors of one digit for themselves.
const FIRST_DESCRIPTOR: i32 = 10;

/// What is to run, and how it may be ended.
#[derive(Clone, Debug)]
pub struct Plan {
    /// COMMAND and its arguments.
    pub command: Vec<OsString>,
    /// From SIGTERM to SIGKILL at an end on purpose.
    pub kill_after: Duration,
    /// The same at a loss.
    pub loss_grace: Duration,
    /// The record of the term shows this process's companion.
    pub same_host: bool,
    /// What COMMAND finds in its environment.
    pub environment: Vec<(&'static str, OsString)>,
}

/// A guard, and COMMAND below it.
#[derive(Debug)]
pub struct Guarded {
    guard: Child,
    control: Arc<OwnedFd>,
    /// This process has killed it.
    by_force: bool,
    reports: Receiver<Report>,
}

impl Guarded {
    /// Starts COMMAND under a guard, in a term that is valid until `deadline`.
    pub fn start(plan: &Plan, deadline: u64) -> io::Result<Self> {
        let (ours, theirs) = control::pair()?;
        // Before the guard is there: so it needs to wait for nothing.
        control::send(&ours, Order::Begin, Some(rustix::stdio::stdin()))?;
        let companion = if plan.same_host { inheritable_companion()? } else { None };
        let words = GuardArgs {
            deadline,
            kill_after: plan.kill_after,
            loss_grace: plan.loss_grace,
            lender: getpgrp().as_raw_nonzero().get(),
            command: plan.command.clone(),
        }
        .to_words();
        // By this path it is the binary that runs now, although an update may have replaced it.
        let guard = Command::new("/proc/self/exe")
            .arg0("elect")
            .args(words)
            .envs(plan.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::from(theirs))
            // Apart from `elect`: what is sent to that group must not end the guard.
            .process_group(0)
            .spawn()?;
        drop(companion);
        let control = Arc::new(ours);
        let (tell, reports) = bounded(4);
        let socket = Arc::clone(&control);
        let listener = std::thread::Builder::new().name("guard".into());
        let mut guarded = Self { guard, control, by_force: false, reports };
        match listener.spawn(move || listen(&socket, &tell)) {
            Ok(_) => Ok(guarded),
            Err(error) => {
                guarded.end_by_force();
                Err(error)
            }
        }
    }

    /// What the guard says. Disconnects when it has ended.
    pub fn reports(&self) -> &Receiver<Report> {
        &self.reports
    }

    /// Tells the guard something, without waiting. `false` if it has no room for it now.
    pub fn tell(&self, order: Order) -> bool {
        match control::send(self.control.as_fd(), order, None) {
            Ok(()) => true,
            // A guard that is gone needs no orders.
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
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

/// A duplicate of the companion's descriptor that the guard inherits, COMMAND, and all below, as
/// with flock(1). So whoever finds the companion's lock free has proof that none of them is left,
/// even where this process and its guard were killed at once.
fn inheritable_companion() -> io::Result<Option<OwnedFd>> {
    // Where there is none, none stands in the record either: it is made before the claim.
    let Ok(companion) = Companion::of_process() else { return Ok(None) };
    let duplicate = fcntl_dupfd_cloexec(companion.descriptor()?, FIRST_DESCRIPTOR)?;
    fcntl_setfd(&duplicate, FdFlags::empty())?;
    Ok(Some(duplicate))
}

fn listen(control: &OwnedFd, tell: &Sender<Report>) {
    loop {
        match control::receive(control) {
            // Whoever is slow to look has been told already.
            Received::Message(report @ Report::Paused(_), _) => {
                let _ = tell.try_send(report);
            }
            // Comes once. Whoever does not look any more has dropped the other end.
            Received::Message(report @ Report::Exited { .. }, _) => {
                let _ = tell.send(report);
            }
            Received::Nothing => {}
            Received::Closed => return,
        }
    }
}
