//! A candidate that runs COMMAND while it leads: what `elect run` and `elect once` share.
//!
//! This file must not know how often to run, nor which exit code an end has.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use leaderelection::{
    Companion, Config, ElectionEvent, Error, FileLock, FileLockOptions, LeaderCallbacks,
    LeaderElector, OnSuccess, Outcome, Term,
};
use rustix::process::{getpgrp, getpid, set_child_subreaper};
use signal_hook::consts::{SIGINT, SIGQUIT};

use crate::child::Plan;
use crate::cli::CandidateArgs;
use crate::guards::Guards;
use crate::names::Names;
use crate::output::Output;
use crate::stopping::Stopping;
use crate::terminal::Terminal;
use crate::timing::Timing;
use crate::verdict::Codes;
use crate::work::{Exit, FORCE_MARGIN, Work};
use crate::{command, exit, signals, verdict};

/// However short the retry period is.
const SHORTEST_TICK: Duration = Duration::from_millis(1);

/// Why there is no candidate: the exit code, and the reason for people.
#[derive(Debug)]
pub struct Refusal {
    /// The exit code.
    pub code: u8,
    /// What is wrong with what.
    pub reason: String,
}

impl Refusal {
    fn own(reason: impl ToString) -> Self {
        Self { code: exit::OWN_FAILURE, reason: reason.to_string() }
    }
}

/// Makes a candidate, lets `lead` campaign with it, and returns the exit code when all is said.
pub fn campaign(
    args: &CandidateArgs,
    on_success: OnSuccess,
    lead: impl FnOnce(&Candidate) -> u8,
) -> u8 {
    let output = match prepare_process().and_then(|()| Output::start(args.verbose, args.quiet)) {
        Ok(output) => output,
        Err(error) => {
            eprintln!("elect: cannot start: {error}");
            return exit::OWN_FAILURE;
        }
    };
    let code = match Candidate::new(args, on_success, &output) {
        Ok(candidate) => {
            let code = lead(&candidate);
            candidate.dismiss_guard();
            code
        }
        Err(refusal) => {
            log::error!("{}", refusal.reason);
            refusal.code
        }
    };
    // By now nothing is left that its lock could speak of.
    Companion::retire();
    output.flush();
    if code == exit::by_signal(SIGINT) && is_in_foreground() {
        // At a terminal this was Ctrl-C. A shell stops its loop or script only if what it ran dies
        // of that, and reads the same code. If it can't be raised, the code is returned.
        let _ = signal_hook::low_level::emulate_default_handler(SIGINT);
    }
    code
}

fn is_in_foreground() -> bool {
    Terminal::of(getpgrp()).is_some_and(|terminal| terminal.is_with_lender())
}

/// How COMMAND ended in a term.
#[derive(Debug)]
enum WorkEnd {
    Exit(Exit),
    /// The term was over before COMMAND was started.
    TooLate,
    NotStarted(io::Error),
}

/// How one campaign ended, with the term that it may have won.
#[derive(Debug)]
pub struct Ended {
    /// As the library says it.
    pub outcome: Result<Outcome, Error>,
    /// How COMMAND ended, where it has run.
    pub exit: Option<Exit>,
    /// The signal that told `elect` to end, if one did.
    pub signal: Option<i32>,
    /// COMMAND was interrupted from the terminal, which means `elect` too.
    pub interrupted: bool,
}

/// A candidate with its COMMAND.
#[derive(Debug)]
pub struct Candidate {
    elector: LeaderElector,
    task: Receiver<bool>,
    ends: Receiver<WorkEnd>,
    work: Arc<OnceLock<Work>>,
    stopping: Stopping,
    has_terminal: bool,
    codes: Codes,
}

impl Candidate {
    /// Checks all that can be checked before a campaign.
    pub fn new(
        args: &CandidateArgs,
        on_success: OnSuccess,
        output: &Output,
    ) -> Result<Self, Refusal> {
        if let Err(unusable) = command::check(&args.command[0]) {
            return Err(Refusal { code: unusable.code, reason: unusable.reason });
        }
        let timing = Timing::of(args).map_err(Refusal::own)?;
        // First of all that takes time, beside which it is then done.
        let guards = Guards::new(plan(args, &timing));
        guards.prepare();
        let options = FileLock::options().trust_anyway(args.i_know).same_host(!args.no_same_host);
        let lock = open_lock(&args.lock, options)?;
        let path = lock.path().to_owned();
        let stopping = Stopping::listen().map_err(Refusal::own)?;
        // Bounded by one term at a time; emptied before each campaign.
        let (report, task) = bounded(1);
        let (end, ends) = bounded(1);
        let work = Arc::new(OnceLock::new());
        // With -v the library's own log says all of this, and more.
        let tells = args.verbose == 0;
        let config = config(args, &timing, lock, Arc::clone(&work), output)
            .on_success(on_success)
            .callbacks(callbacks(Arc::clone(&work), report, end, output.clone(), tells));
        let elector = LeaderElector::new(config).map_err(Refusal::own)?;
        let _ = work.set(Work {
            guards,
            names: Names { identity: elector.identity().to_owned(), lock: path },
            force_margin: (timing.stop_grace - timing.loss_grace) / 3,
            patience: timing.lease_duration + FORCE_MARGIN * 2,
            tick: (timing.retry_period / 4).max(SHORTEST_TICK),
            continued: stopping.continued.clone(),
        });
        let has_terminal = Terminal::of(getpgrp()).is_some();
        let codes = Codes { not_acquired: args.not_acquired_exit_code, lost: args.lost_exit_code };
        Ok(Self { elector, task, ends, work, stopping, has_terminal, codes })
    }

    /// The exit codes that the user chose.
    pub fn codes(&self) -> Codes {
        self.codes
    }

    /// One campaign, and the term that it may win.
    pub fn run_once(&self) -> Ended {
        // What the work of an earlier term said after its end concerns nobody.
        while self.task.try_recv().is_ok() || self.ends.try_recv().is_ok() {}
        self.guards(Guards::prepare);
        let outcome = self.elector.run_until(self.task.clone(), self.stopping.stop.clone());
        let (outcome, exit) = match (outcome, self.ends.try_recv()) {
            (outcome, Ok(WorkEnd::Exit(exit))) => (outcome, Some(exit)),
            (_, Ok(WorkEnd::NotStarted(source))) => {
                (Err(Error::Thread { name: "guard", source }), None)
            }
            (outcome, Ok(WorkEnd::TooLate) | Err(_)) => (outcome, None),
        };
        let interrupted = self.has_terminal
            && [SIGINT, SIGQUIT]
                .into_iter()
                .any(|signal| exit.is_some_and(|exit| exit.code == exit::by_signal(signal)));
        self.guards(Guards::wait_for_leaving);
        let ended = Ended { outcome, exit, signal: self.stopping.signal(), interrupted };
        self.tell(&ended);
        ended
    }
}

impl Candidate {
    /// After the last campaign.
    fn dismiss_guard(&self) {
        self.guards(Guards::dismiss);
    }

    fn guards(&self, action: impl FnOnce(&Guards)) {
        if let Some(work) = self.work.get() {
            action(&work.guards);
        }
    }

    /// Says what the log of the election does not. By now nothing of COMMAND is left.
    fn tell(&self, ended: &Ended) {
        match (&ended.outcome, ended.exit) {
            (Err(error), _) => log::error!("{}", verdict::chain(error)),
            (Ok(Outcome::AcquireTimedOut), _) => match self.elector.get_leader() {
                Some(leader) => log::info!("not acquired: {leader} leads"),
                None => log::info!(
                    "not acquired: nobody is seen to lead, but the lock did not let anybody in"
                ),
            },
            (Ok(Outcome::AlreadyCompleted), _) => {
                log::info!("the task is already completed; `elect reset` lets it run again");
            }
            (Ok(Outcome::SucceededUnrecorded), _) => {
                log::error!("COMMAND succeeded, but that could not be recorded: it may run again");
            }
            (Ok(_), Some(Exit { code, .. })) if code > 128 => {
                log::info!("COMMAND was ended by signal {}", code - 128);
            }
            (Ok(_), Some(Exit { code: 0, .. })) => log::debug!("COMMAND ended with code 0"),
            (Ok(_), Some(Exit { code, .. })) => log::info!("COMMAND ended with code {code}"),
            (Ok(_), None) => {}
        }
    }
}

fn plan(args: &CandidateArgs, timing: &Timing) -> Plan {
    Plan {
        command: args.command.clone(),
        kill_after: args.kill_after,
        loss_grace: timing.loss_grace,
        same_host: !args.no_same_host,
    }
}

/// The lock at `path`.
pub fn open_lock(path: &Path, options: FileLockOptions) -> Result<FileLock, Refusal> {
    let text = path.to_string_lossy();
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(Refusal::own(format!(
            "cannot open lock {text}: {scheme}:// is not built in; this elect knows paths of \
             directories only"
        )));
    }
    options.open(path).map_err(|error| Refusal::own(verdict::chain(&error)))
}

/// Before any thread is started, which takes this over.
fn prepare_process() -> io::Result<()> {
    signals::hold_back_terminal_stops()?;
    // What a guard leaves behind that was killed falls to this process.
    Ok(set_child_subreaper(Some(getpid()))?)
}

fn config(
    args: &CandidateArgs,
    timing: &Timing,
    lock: FileLock,
    work: Arc<OnceLock<Work>>,
    output: &Output,
) -> Config {
    let mut config = Config::new(lock)
        .lease_duration(timing.lease_duration)
        .renew_deadline(timing.renew_deadline)
        .retry_period(timing.retry_period)
        .stop_grace(timing.stop_grace)
        .term_limit(args.term_limit)
        // Longer than the guard takes, and than ending by force after that.
        .drain_timeout(args.kill_after + FORCE_MARGIN * 2 + timing.lease_duration);
    // With -v the library's own log says all of this, and more.
    if args.verbose == 0 {
        let output = output.clone();
        config = config.on_event(move |event| tell_change(event, work.get(), &output));
    }
    if let Some(identity) = &args.identity {
        config = config.identity(identity);
    }
    if let Some(wait) = args.wait {
        config = config.acquire_timeout(wait);
    }
    config
}

/// A line for each change that matters to who waits. The library's warnings come beside these.
fn tell_change(event: &ElectionEvent, work: Option<&Work>, output: &Output) {
    let own = work.map_or("", |work| &work.names.identity);
    match event {
        ElectionEvent::LeaderChanged(Some(leader)) if **leader != *own => {
            log::info!("{leader} leads");
            output.wait_for(Some(Arc::clone(leader)));
        }
        ElectionEvent::LeaderChanged(_) => output.wait_for(None),
        _ => {}
    }
}

fn callbacks(
    work: Arc<OnceLock<Work>>,
    report: Sender<bool>,
    end: Sender<WorkEnd>,
    output: Output,
    tells: bool,
) -> LeaderCallbacks {
    LeaderCallbacks::new().on_started_leading(move |term: &Term| {
        // Not by the hook for events, which may be called when COMMAND has the terminal already.
        if let Some(work) = work.get().filter(|_| tells) {
            let (own, token) = (&work.names.identity, term.fencing_token());
            log::info!("{own} leads, with fencing token {token}: this candidate");
        }
        output.lend_terminal();
        let ended = match work.get().map(|work| work.run(term)) {
            Some(Ok(Some(exit))) => WorkEnd::Exit(exit),
            Some(Ok(None)) | None => WorkEnd::TooLate,
            Some(Err(error)) => WorkEnd::NotStarted(error),
        };
        output.take_terminal_back();
        let success = matches!(ended, WorkEnd::Exit(Exit { code: 0, told_to_end: false }));
        let _ = end.try_send(ended);
        let _ = report.try_send(success);
    })
}
