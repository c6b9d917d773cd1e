//! The controlling terminal, which the foreground process group owns.
//!
//! `elect` lends it to COMMAND's group and has it back when COMMAND has ended or was stopped, as a
//! shell does for its jobs. Whoever else holds the foreground keeps it. The callers hold SIGTTOU
//! back ([`crate::signals`]), without which a process in the background could not do this.

use std::fs::File;

use rustix::process::{Pid, test_kill_process_group};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp};

/// The controlling terminal, seen from the process group that lends it.
#[derive(Debug)]
pub struct Terminal {
    tty: File,
    lender: Pid,
    modes: Option<Termios>,
}

impl Terminal {
    /// The terminal that `lender` may lend; `None` where there is none.
    pub fn of(lender: Pid) -> Option<Self> {
        let tty = File::options().read(true).write(true).open("/dev/tty").ok()?;
        let modes = tcgetattr(&tty).ok();
        Some(Self { tty, lender, modes })
    }

    /// Whether the lender's group is in the foreground now.
    pub fn is_with_lender(&self) -> bool {
        tcgetpgrp(&self.tty) == Ok(self.lender)
    }

    /// Puts `group` in the foreground, if the lender's is.
    pub fn lend_to(&self, group: Pid) {
        if self.is_with_lender() {
            // A group that has ended meanwhile needs no terminal.
            let _ = tcsetpgrp(&self.tty, group);
        }
    }

    /// Puts the lender's group in the foreground, if `group` is.
    pub fn take_back_from(&self, group: Pid) {
        if tcgetpgrp(&self.tty) == Ok(group) {
            // The lender may be dead; then its shell takes the terminal.
            let _ = tcsetpgrp(&self.tty, self.lender);
        }
    }

    /// Puts the lender's group in the foreground, if nobody is left of the group that is.
    pub fn take_back_if_abandoned(&self) {
        if let Ok(group) = tcgetpgrp(&self.tty)
            && test_kill_process_group(group) == Err(rustix::io::Errno::SRCH)
        {
            self.take_back_from(group);
        }
    }

    /// Sets the modes that the terminal had at first: a program that was killed may have left it
    /// without echo.
    pub fn restore_modes(&self) {
        if let Some(modes) = &self.modes {
            let _ = tcsetattr(&self.tty, OptionalActions::Drain, modes);
        }
    }
}
