//! `elect guard`: stands between `elect` and COMMAND, and sees to it that COMMAND ends in time.
//!
//! A process of its own, because `elect` may be frozen or killed. It learns each new deadline from
//! a socket, which is its standard input, and ends everything below it at the last one or when the
//! socket closes. As a child subreaper it is the parent of all that COMMAND leaves behind, so it
//! knows when nothing is left. It has one thread: the parent-death signal of COMMAND would come
//! when the thread that started it ends.
//!
//! What escapes it: an uninterruptible sleep, until that ends; a process that has changed its user;
//! all but COMMAND itself if `elect` and its guard are killed at once; everything, for a moment, if
//! `elect`, guard and COMMAND were frozen together; and everything, until it goes on, if the guard
//! is frozen while `elect` is frozen too or killed. Against these there is the fencing token.
//!
//! It must not know why a term ends, and it prints nothing once COMMAND runs: a write could block.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process_group, set_child_subreaper, wait,
};
use rustix::time::Timespec;
use signal_hook::consts::SIGCHLD;

use crate::control::{self, Cargo, Order, Received, Report};
use crate::guard::plan::{Action, Event, Plan};
use crate::names::Names;
use crate::start::Start;
use crate::terminal::Terminal;
use crate::timer::Timer;
use crate::words::Words;
use crate::{descendants, exit, signals};

mod plan;

/// Scripts use descriptors of one digit for themselves.
const FIRST_DESCRIPTOR: i32 = 10;

/// So long a COMMAND that was told to end may take before what has escaped from it is looked for.
const LOOK_AROUND_AFTER: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// What `elect` tells its guard from the start.
#[derive(Debug, PartialEq, Eq)]
pub struct GuardArgs {
    /// From SIGTERM to SIGKILL when the term ends on purpose.
    pub kill_after: Duration,
    /// The same when the leadership is lost.
    pub loss_grace: Duration,
    /// The process group of `elect`, which lends the terminal.
    pub lender: i32,
    /// COMMAND and its arguments.
    pub command: Vec<OsString>,
}

impl GuardArgs {
    /// The arguments that `elect` starts its guard with.
    pub fn to_words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![
            "guard".into(),
            format!("--kill-after-millis={}", self.kill_after.as_millis()).into(),
            format!("--loss-grace-millis={}", self.loss_grace.as_millis()).into(),
            format!("--lender={}", self.lender).into(),
            "--".into(),
        ];
        words.extend_from_slice(&self.command);
        words
    }

    /// The same read back, but for the first.
    pub fn read(mut words: Words) -> Option<Self> {
        Some(Self {
            kill_after: Duration::from_millis(words.number("--kill-after-millis=")?),
            loss_grace: Duration::from_millis(words.number("--loss-grace-millis=")?),
            lender: words.number("--lender=")?,
            command: words.command()?,
        })
    }
}

/// Runs COMMAND until it has ended or has to, and returns its exit code when nothing of it is left.
pub fn run(args: &GuardArgs) -> u8 {
    match Guard::start(args) {
        Ok(Some(guard)) => guard.watch(),
        Ok(None) => exit::LOST,
        Err(error) => {
            eprintln!("elect: cannot start the guard of {}: {error}", args.command[0].display());
            exit::OWN_FAILURE
        }
    }
}

/// What processes are told that have left the process group of COMMAND.
#[derive(Debug)]
struct Untold {
    signals: &'static [Signal],
    /// This group was told, so it is left alone: to many programs a second SIGTERM means haste. Its
    /// number stays its own for as long as anybody is in it, even when COMMAND is buried.
    told: Option<Pid>,
}

#[derive(Debug)]
struct Guard {
    plan: Plan,
    lease: Timer,
    grace: Timer,
    child_signals: UnixStream,
    terminal: Option<Terminal>,
    /// COMMAND's process group, which is also its process id; known to be ours until it is reaped.
    group: Pid,
    command_code: Option<u8>,
    /// COMMAND was told to end while it ran.
    told: bool,
    /// What has escaped from its process group is not told yet.
    untold: Option<Untold>,
    paused: bool,
    connected: bool,
    /// It has said that COMMAND was started.
    told_of_start: bool,
    /// Keeps the companion's lock until this process has ended, and with it all of COMMAND.
    _companion: Option<OwnedFd>,
}

impl Guard {
    /// Waits for the term and starts COMMAND in it; `None` where `elect` or the term was gone
    /// before that.
    ///
    /// `elect` starts its guard ahead, while it waits to lead. Until it is told to begin, this
    /// process has nothing of `elect`'s but its standard output and error, and does nothing but
    /// wait for an order or for the end of `elect`, whatever ends that.
    fn start(args: &GuardArgs) -> io::Result<Option<Self>> {
        signals::hold_back_terminal_stops()?;
        // `elect` gets them too and decides.
        let held_back = signals::hold_back_ending()?;
        set_child_subreaper(Some(getpid()))?;
        // `ps` would call it `exe`. Without `elect` in it, `pkill elect` leaves it to end COMMAND.
        let _ = rustix::thread::set_name(c"leader-guard");
        let child_signals = child_signals()?;
        let (lease, grace) = (Timer::new()?, Timer::new()?);
        let Some(begin) = wait_for_begin()? else { return Ok(None) };
        lease.set_at(begin.deadline)?;
        let companion = begin.companion.map(inheritable).transpose()?;
        let terminal = Pid::from_raw(args.lender).and_then(Terminal::of);
        // The order may have waited for this process, however long that has taken.
        if lease.is_over() {
            return Ok(None);
        }
        let start = Start {
            command: &args.command,
            token: begin.token,
            names: &begin.names,
            deadline: begin.deadline,
            terminal: terminal.as_ref(),
            held_back,
        };
        let group = start.start(begin.stdin)?;
        Ok(Some(Self {
            plan: Plan::new(begin.deadline, args.kill_after, args.loss_grace),
            lease,
            grace,
            child_signals,
            terminal,
            group,
            command_code: None,
            told: false,
            untold: None,
            paused: false,
            connected: true,
            told_of_start: false,
            _companion: companion,
        }))
    }

    fn watch(mut self) -> u8 {
        loop {
            self.sleep();
            // Before the orders: a COMMAND that has ended by itself was not told to.
            if !self.reap() {
                self.give_terminal_back();
                let code = self.command_code.unwrap_or(exit::OWN_FAILURE);
                // So that `elect` need not wait until this process is gone: it has no child left,
                // and as a subreaper it had every process that COMMAND left behind. Lost where the
                // socket is full; then the end of this process says the same.
                let _ = control::send(control_socket(), Report::NothingLeft(code));
                return code;
            }
            self.tell_escaped();
            self.read_orders();
            if self.lease.has_fired() {
                self.happened(Event::LeaseTimer);
            }
            if self.grace.has_fired() {
                self.happened(Event::GraceTimer);
            }
        }
    }

    /// Until an order, a child's signal or a timer.
    fn sleep(&self) {
        let mut waiting = vec![
            PollFd::new(&self.child_signals, PollFlags::IN),
            PollFd::new(&self.lease, PollFlags::IN),
            PollFd::new(&self.grace, PollFlags::IN),
        ];
        let control = control_socket();
        if self.connected {
            waiting.push(PollFd::new(&control, PollFlags::IN));
        }
        // Interrupted or failed: whatever there is to do is looked for anyway.
        let patience = self.untold.is_some().then_some(LOOK_AROUND_AFTER);
        let _ = poll(&mut waiting, patience.as_ref());
        let mut bytes = [0; 64];
        let _ = rustix::io::read(&self.child_signals, &mut bytes);
    }

    /// Before the timers, so that a guard that was frozen learns of the renewals it has missed.
    fn read_orders(&mut self) {
        while self.connected {
            match control::try_receive(control_socket()) {
                Received::Nothing => return,
                Received::Closed => {
                    self.connected = false;
                    self.happened(Event::Lose);
                }
                Received::Message(Order::Deadline(nanos), _) => {
                    if !self.told_of_start {
                        let told = control::send(control_socket(), Report::Began);
                        self.told_of_start = told.is_ok();
                    }
                    self.happened(Event::Deadline(nanos));
                }
                Received::Message(Order::Stop, _) => self.happened(Event::Stop),
                Received::Message(Order::Lose, _) => self.happened(Event::Lose),
                Received::Message(Order::Continue, _) => self.resume(),
                Received::Message(Order::Begin { .. }, _) => {}
            }
        }
    }

    fn happened(&mut self, event: Event) {
        if let (Event::Lose | Event::LeaseTimer, Some(untold)) = (event, &mut self.untold) {
            // What is stopped when the term has ended must not run again.
            untold.signals = &[Signal::TERM];
        }
        for action in self.plan.step(event) {
            match action {
                Action::Terminate { wake } => {
                    self.told |= self.command_code.is_none();
                    self.tell(if wake { &[Signal::TERM, Signal::CONT] } else { &[Signal::TERM] });
                }
                Action::Kill => {
                    self.untold = None;
                    self.signal(Signal::KILL);
                }
                // Only nonsense as a time could fail, and then killing now is the safe side.
                Action::SetLease(nanos) => {
                    self.lease.set_at(nanos).unwrap_or_else(|_| self.signal(Signal::KILL));
                }
                Action::SetGrace(span) => {
                    self.grace.set_in(span).unwrap_or_else(|_| self.signal(Signal::KILL));
                }
            }
        }
    }

    /// What has escaped is told later: to look for it means to read all of /proc, which must not
    /// delay a kill, and mostly there is nothing left by then.
    fn tell(&mut self, signals: &'static [Signal]) {
        let told = self.command_code.is_none().then_some(self.group);
        self.untold = Some(Untold { signals, told });
        if let Some(group) = told {
            for signal in signals {
                let _ = kill_process_group(group, *signal);
            }
        }
    }

    fn tell_escaped(&mut self) {
        if let Some(Untold { signals, told }) = self.untold.take()
            && !self.lease.is_over()
        {
            for signal in signals {
                descendants::signal_all_unless(*signal, told, || self.lease.is_over());
            }
        }
    }

    fn signal(&self, signal: Signal) {
        match self.command_code {
            None => descendants::signal_group_and_escaped(self.group, signal),
            // The number of a group whose leader is buried may soon be another's.
            Some(_) => descendants::signal_all(signal, None),
        }
    }

    /// Buries who has ended and notes what COMMAND did. Whether anybody is left.
    fn reap(&mut self) -> bool {
        let ran = self.command_code.is_none();
        loop {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if pid == self.group => self.command_did(status),
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => break,
                Err(_) => return false,
            }
        }
        // Only now, since to look for what it left means to read all of /proc: mostly it left
        // nothing.
        if ran && self.command_code.is_some() {
            self.happened(Event::CommandEnded);
        }
        true
    }

    fn command_did(&mut self, status: WaitStatus) {
        if let Some(signal) = status.stopping_signal() {
            return self.command_stopped(signal);
        }
        let by_signal = status.terminating_signal();
        let code = match (status.exit_status(), by_signal) {
            (Some(code), _) => code as u8,
            (None, Some(signal)) => exit::by_signal(signal),
            (None, None) => return,
        };
        self.command_code = Some(code);
        // What it left behind may outlast the term, so `elect` has to learn of this end by itself.
        let report = Report::Exited { code, told: self.told };
        let _ = control::send(control_socket(), report);
        if by_signal.is_some()
            && let Some(terminal) = &self.terminal
        {
            terminal.restore_modes();
        }
    }

    /// Only the terminal's own stops matter: with others, somebody meant COMMAND alone.
    fn command_stopped(&mut self, signal: i32) {
        let Some(terminal) = &self.terminal else { return };
        let wants_terminal = [Signal::TTIN, Signal::TTOU].map(Signal::as_raw).contains(&signal);
        if wants_terminal && terminal.is_with_lender() {
            // A shell's `fg` of a running job tells nobody; this is how it shows.
            self.paused = true;
            self.resume();
        } else if wants_terminal || signal == Signal::TSTP.as_raw() {
            terminal.take_back_from(self.group);
            self.paused = true;
            let _ = control::send(control_socket(), Report::Paused(signal));
        }
    }

    fn resume(&mut self) {
        if !std::mem::take(&mut self.paused) || self.command_code.is_some() {
            return;
        }
        if let Some(terminal) = &self.terminal {
            terminal.lend_to(self.group);
        }
        let _ = kill_process_group(self.group, Signal::CONT);
    }

    fn give_terminal_back(&self) {
        if let Some(terminal) = &self.terminal {
            terminal.take_back_from(self.group);
        }
    }
}

/// The socket to `elect`: standard input, the one place where a process can be handed a file
/// safely.
fn control_socket() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

/// Gets a byte for each SIGCHLD.
fn child_signals() -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGCHLD, write)?;
    Ok(read)
}

/// What `elect` tells its guard when the term begins.
struct Begin {
    deadline: u64,
    token: u64,
    names: Names,
    stdin: File,
    companion: Option<File>,
}

/// `None` where `elect` ended first. Nothing else can happen to this process meanwhile.
fn wait_for_begin() -> io::Result<Option<Begin>> {
    loop {
        match control::receive(control_socket()) {
            Received::Message(Order::Begin { deadline, token }, cargo) => {
                return begin(deadline, token, cargo).map(Some);
            }
            Received::Nothing => {}
            Received::Message(..) | Received::Closed => return Ok(None),
        }
    }
}

/// Refuses an order that is not whole: without the companion's descriptor, which the record speaks
/// of, COMMAND could outlive the proof that it has ended.
fn begin(deadline: u64, token: u64, cargo: Cargo) -> io::Result<Begin> {
    let names = Names::read(&cargo.text).filter(|_| cargo.is_whole);
    let mut files = cargo.files.into_iter();
    match (names, files.next(), files.next()) {
        (Some(names), Some(stdin), companion) => {
            Ok(Begin { deadline, token, names, stdin, companion })
        }
        _ => Err(io::Error::other(
            "a file that comes with the order to begin was lost; let it open more (ulimit -n)",
        )),
    }
}

/// A duplicate of the companion's descriptor that COMMAND inherits, and all below, as with
/// flock(1). So whoever finds the companion's lock free has proof that none of them is left, even
/// where `elect` and its guard were killed at once.
fn inheritable(companion: File) -> io::Result<OwnedFd> {
    let duplicate = fcntl_dupfd_cloexec(companion.as_fd(), FIRST_DESCRIPTOR)?;
    fcntl_setfd(&duplicate, FdFlags::empty())?;
    Ok(duplicate)
}
