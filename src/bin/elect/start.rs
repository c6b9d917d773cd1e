//! The last step before COMMAND, in the process that becomes COMMAND: a copy of its guard.
//!
//! It sets what a process can only set for itself: its process group, that it dies with its guard,
//! and that it takes the terminal, before anything of COMMAND could read from it. To execute
//! `elect` once more for that would cost more than all else between a won leadership and COMMAND.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use fork::{ProcessFork, fork_process};
use nix::sys::signal::SigSet;
use rustix::process::{
    Pid, Signal, getpgrp, getpid, getppid, set_parent_process_death_signal, setpgid,
};

use crate::names::Names;
use crate::terminal::Terminal;
use crate::timer::Timer;
use crate::{command, exit};

/// What is to become COMMAND, and under which conditions.
#[derive(Debug)]
pub struct Start<'a> {
    /// COMMAND and its arguments.
    pub command: &'a [OsString],
    /// The fencing token of the term.
    pub token: u64,
    /// What COMMAND is told of its candidate.
    pub names: &'a Names,
    /// The term is valid until this instant, in nanoseconds of the boot clock.
    pub deadline: u64,
    /// The terminal that COMMAND gets.
    pub terminal: Option<&'a Terminal>,
    /// The signals that the guard holds back and COMMAND must not.
    pub held_back: SigSet,
}

impl Start<'_> {
    /// Starts COMMAND with this standard input; returns its process id, which is also that of its
    /// process group.
    ///
    /// For a guard: only a process with one thread may copy itself, since of others' threads a copy
    /// has nothing but the locks that they held. What the copy inherits but for the guard's
    /// companion is closed as COMMAND is executed. Its handler for SIGCHLD and its ignoring of
    /// SIGPIPE end there too, and until then it gets neither signal: it has no children and writes
    /// to no pipe but standard error.
    pub fn start(&self, stdin: File) -> io::Result<Pid> {
        let guard = getpid();
        match fork_process()? {
            ProcessFork::Parent(child) => {
                let child = Pid::from_raw(child.get()).ok_or(io::ErrorKind::InvalidData)?;
                // The copy does the same. Whoever is first: a signal to the group from here on
                // reaches it. Refused once it is COMMAND, and then there is nothing left to do.
                let _ = setpgid(Some(child), Some(child));
                Ok(child)
            }
            // Past the guard's destructors, of which none is this process's business.
            ProcessFork::Child => std::process::exit(self.become_command(guard, stdin).into()),
        }
    }

    /// Returns only where that failed, with an exit code.
    fn become_command(&self, guard: Pid, stdin: File) -> u8 {
        let program = &self.command[0];
        let error = match self.prepare(guard) {
            Ok(lease) if lease.is_over() => {
                eprintln!("elect: {} not started: the term is over", program.display());
                return exit::LOST;
            }
            Ok(_) => Command::new(program)
                .args(&self.command[1..])
                .env("ELECT_LOCK", &self.names.lock)
                .env("ELECT_IDENTITY", &self.names.identity)
                .env("ELECT_FENCING_TOKEN", self.token.to_string())
                .stdin(Stdio::from(stdin))
                .exec(),
            Err(error) => error,
        };
        // What is there and can't be found is a script.
        let there = error.kind() == io::ErrorKind::NotFound && command::check(program).is_ok();
        let hint = if there { "; it is there, so the interpreter it names is missing" } else { "" };
        eprintln!("elect: cannot execute {}: {error}{hint}", program.display());
        match error.kind() {
            io::ErrorKind::NotFound => exit::NOT_FOUND,
            _ => exit::NOT_EXECUTABLE,
        }
    }

    /// All that comes before COMMAND but for the last look at the lease, by a timer that is over
    /// when the term is. The guard's own would not do: a copy shares it, and after a loss the guard
    /// sets it to the end of the grace.
    fn prepare(&self, guard: Pid) -> io::Result<Timer> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // A guard that died before that call sends no signal any more.
        if getppid() != Some(guard) {
            return Err(io::Error::other("its guard has ended"));
        }
        setpgid(None, None)?;
        if let Some(terminal) = self.terminal {
            terminal.lend_to(getpgrp());
        }
        // What the guard has sent meanwhile ends this process here, by the signal's default: from
        // its copy on it holds nothing of the guard's back that would be lost.
        self.held_back.thread_unblock()?;
        let lease = Timer::new()?;
        lease.set_at(self.deadline)?;
        Ok(lease)
    }
}
