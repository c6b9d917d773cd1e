//! `elect start`: the last step before COMMAND, in the process that becomes COMMAND.
//!
//! It sets what a process can only set for itself: that it dies with its guard, and that it takes
//! the terminal, before anything of COMMAND could read from it.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getpgrp, getppid, set_parent_process_death_signal};

use crate::terminal::Terminal;
use crate::timer::Timer;
use crate::words::Words;
use crate::{command, exit, signals};

/// What the guard tells the process that becomes COMMAND.
#[derive(Debug, PartialEq, Eq)]
pub struct StartArgs {
    /// The guard's process id.
    pub guard: i32,
    /// The process group that lends the terminal.
    pub lender: i32,
    /// The term's deadline when the guard began, in nanoseconds of the boot clock.
    pub deadline: u64,
    /// COMMAND and its arguments.
    pub command: Vec<OsString>,
}

impl StartArgs {
    /// The arguments that the guard starts it with.
    pub fn to_words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![
            "start".into(),
            format!("--guard={}", self.guard).into(),
            format!("--lender={}", self.lender).into(),
            format!("--deadline={}", self.deadline).into(),
            "--".into(),
        ];
        words.extend_from_slice(&self.command);
        words
    }

    /// The same read back, but for the first.
    pub fn read(mut words: Words) -> Option<Self> {
        Some(Self {
            guard: words.number("--guard=")?,
            lender: words.number("--lender=")?,
            deadline: words.number("--deadline=")?,
            command: words.command()?,
        })
    }
}

/// Becomes COMMAND; returns only where that failed, with an exit code.
pub fn run(args: &StartArgs) -> u8 {
    let error = match prepare(args) {
        Ok(lease) if lease.is_over() => {
            eprintln!("elect: {} not started: the term is over", args.command[0].display());
            return exit::LOST;
        }
        Ok(_) => Command::new(&args.command[0]).args(&args.command[1..]).exec(),
        Err(error) => error,
    };
    // What is there and can't be found is a script.
    let there = error.kind() == io::ErrorKind::NotFound && command::check(&args.command[0]).is_ok();
    let hint = if there { "; it is there, so the interpreter it names is missing" } else { "" };
    eprintln!("elect: cannot execute {}: {error}{hint}", args.command[0].display());
    match error.kind() {
        io::ErrorKind::NotFound => exit::NOT_FOUND,
        _ => exit::NOT_EXECUTABLE,
    }
}

/// All that comes before COMMAND; returns a timer that is over when the term is.
fn prepare(args: &StartArgs) -> io::Result<Timer> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A guard that died before that call sends no signal any more.
    if getppid() != Pid::from_raw(args.guard) {
        return Err(io::Error::other("its guard has ended"));
    }
    signals::hold_back_terminal_stops()?;
    if let Some(terminal) = Pid::from_raw(args.lender).and_then(Terminal::of) {
        terminal.lend_to(getpgrp());
    }
    signals::allow_terminal_stops()?;
    let lease = Timer::new()?;
    lease.set_at(args.deadline)?;
    Ok(lease)
}
