//! Eight candidates on one lock, and what is done to them.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::harm::{Harm, Kind, Whom, parts};
use crate::ledger::{Freeze, Line, Oracle, Tail};
use crate::machine::{Dice, monotonic};
use crate::support::{self, Place, elect_path, is_alive, pid_of, signal};

/// The ledger's name in its place.
const LEDGER: &str = "ledger";
const CANDIDATES: usize = 8;

#[derive(Debug)]
struct Candidate {
    name: String,
    process: Child,
    /// A part of it was killed, or it was told to end. With its guard frozen as well, nobody would
    /// be left to end its command.
    doomed: bool,
}

/// A candidate that stands still.
#[derive(Debug)]
struct Frozen {
    slot: usize,
    pids: Vec<Pid>,
    until: Duration,
    /// Its place among the freezes, if all of it stands still.
    freeze: Option<usize>,
}

#[derive(Debug)]
pub struct Arena {
    place: Place,
    lease: Duration,
    freezes: Vec<Freeze>,
    candidates: Vec<Candidate>,
    frozen: Vec<Frozen>,
    harms: Vec<Harm>,
    dice: Dice,
    started: usize,
    log: File,
    tail: Tail,
    oracle: Oracle,
    /// Something was written since the last look.
    fresh: bool,
}

impl Arena {
    pub fn new(seed: u64, lease: Duration) -> Self {
        let place = Place::new();
        File::create(place.path(LEDGER)).expect("a ledger");
        let tail = Tail::of(&place.path(LEDGER)).expect("a ledger");
        let log = File::options().append(true).create(true).open(place.path("log"));
        let mut arena = Self {
            place,
            lease,
            freezes: Vec::new(),
            candidates: Vec::new(),
            frozen: Vec::new(),
            harms: Vec::new(),
            dice: Dice::new(seed),
            started: 0,
            log: log.expect("a log"),
            tail,
            // Whoever was frozen as a whole may go on until its guard has killed it.
            oracle: Oracle::new(lease / 2),
            fresh: false,
        };
        for _ in 0..CANDIDATES {
            let candidate = arena.start_candidate();
            arena.candidates.push(candidate);
        }
        arena
    }

    /// Harms leaders, and somebody now and then, for `span`.
    pub fn run(&mut self, span: Duration) {
        let end = monotonic() + span;
        while monotonic() < end {
            let mut next_follower = monotonic() + self.dice.about(self.lease / 2);
            let next = monotonic() + self.dice.about(self.lease / 3);
            // Each loss of a leader is timed apart from the others.
            let patience = monotonic() + support::PATIENCE + 10 * self.lease;
            let leader = loop {
                self.keep_up();
                if monotonic() >= next_follower {
                    next_follower = monotonic() + self.dice.about(self.lease / 2);
                    self.harm_a_follower();
                }
                if let Some(leader) = (monotonic() >= next).then(|| self.leader()).flatten() {
                    break leader;
                }
                assert!(monotonic() < patience, "nobody leads");
                support::pause(self.lease / 100);
            };
            let leading = self.candidates.iter().position(|one| one.name == leader.candidate);
            if let Some(slot) = leading {
                self.harm(slot, Some(leader.token));
            }
        }
    }

    /// Ends all, and makes sure that no led command is left. What was done, and written.
    pub fn end(mut self) -> (Vec<Harm>, Oracle) {
        while let Some(frozen) = self.frozen.pop() {
            self.thaw(&frozen);
        }
        for candidate in &self.candidates {
            signal(pid_of(&candidate.process), Signal::TERM);
        }
        for candidate in &mut self.candidates {
            support::wait_for_exit(&mut candidate.process);
        }
        self.read_ledger();
        for line in self.oracle.terms() {
            // The guard of an elect that was killed just now is still ending its command.
            let what = format!("the end of the writer of {line:?}");
            support::wait_until(&what, || !self.is_writing(line.pid));
        }
        (
            std::mem::take(&mut self.harms),
            std::mem::replace(&mut self.oracle, Oracle::new(self.lease)),
        )
    }

    /// Whether the process is a led command of this arena.
    fn is_writing(&self, number: i32) -> bool {
        let pid = Pid::from_raw(number).expect("a process id");
        // The number may be another's by now; then it has another program.
        let program = std::fs::read_to_string(format!("/proc/{number}/cmdline"));
        // Another arena's led command has another directory.
        let place = std::fs::read_link(format!("/proc/{number}/cwd"));
        is_alive(pid)
            && program.is_ok_and(|words| words.contains("--exact\0writer"))
            && place.is_ok_and(|place| place.ends_with(self.place.as_ref()))
    }

    /// What to look at when something went wrong.
    fn show(&self) {
        let tail =
            |text: String| text.lines().rev().take(30).map(str::to_owned).collect::<Vec<_>>();
        println!("now {:?}", monotonic());
        println!("harms {:#?}", self.harms.iter().rev().take(8).collect::<Vec<_>>());
        println!("frozen {:#?}", self.frozen);
        println!("ledger {:#?}", tail(self.place.read(LEDGER)));
        println!("log {:#?}", tail(self.place.read("log")));
        println!("{}", support::elect(&self.place, &["status", "lock"]).stdout);
    }

    /// Asks the oracle about what is new.
    fn read_ledger(&mut self) {
        let lines = self.tail.read().expect("a ledger");
        self.fresh = lines.as_ref().is_ok_and(|lines| !lines.is_empty());
        let read = lines.and_then(|lines| {
            lines.into_iter().try_for_each(|line| self.oracle.read(line, &self.freezes))
        });
        if let Err(wrong) = read {
            panic!("{wrong}");
        }
    }

    /// Who has just written, unless it was harmed and that has yet to show.
    fn leader(&self) -> Option<Line> {
        let last = self.oracle.last()?;
        // A short freeze may do no harm: then it goes on writing for longer than any loss would let
        // it. More than the lease and the grace of what is told to end.
        let overcome = self.lease * 13 / 10;
        let harmed_until = self.harms.iter().rev().find(|harm| harm.token == Some(last.token));
        let overcome = harmed_until.is_none_or(|harm| last.at > harm.until + overcome);
        (self.fresh && overcome).then(|| last.clone())
    }

    fn harm_a_follower(&mut self) {
        let slot = self.dice.below(CANDIDATES as u64) as usize;
        let leads =
            self.oracle.last().is_some_and(|last| last.candidate == self.candidates[slot].name);
        if !leads {
            self.harm(slot, None);
        }
    }

    fn harm(&mut self, slot: usize, token: Option<u64>) {
        if self.candidates[slot].doomed || self.frozen.iter().any(|frozen| frozen.slot == slot) {
            return;
        }
        let kind = Kind::any(&mut self.dice, token.is_some());
        self.candidates[slot].doomed = !kind.is_freeze();
        let elect = pid_of(&self.candidates[slot].process);
        let at = monotonic();
        let mut until = at;
        match kind {
            Kind::Term => signal(elect, Signal::TERM),
            Kind::Kill(whom) => {
                parts(elect, whom).iter().for_each(|pid| signal(*pid, Signal::KILL));
            }
            Kind::Freeze(whom) => {
                until = at + self.dice.decades(self.lease);
                self.freeze(slot, parts(elect, whom), until, whom == Whom::All);
            }
        }
        self.harms.push(Harm { kind, at, until, token });
    }

    fn freeze(&mut self, slot: usize, pids: Vec<Pid>, until: Duration, whole: bool) {
        let freeze = whole.then(|| {
            let candidate = self.candidates[slot].name.clone();
            // Until it is known: for good.
            self.freezes.push(Freeze { candidate, from: monotonic(), until: Duration::MAX });
            self.freezes.len() - 1
        });
        for pid in &pids {
            signal(*pid, Signal::STOP);
        }
        self.frozen.push(Frozen { slot, pids, until, freeze });
    }

    /// The led command first, so that it gets all the time that it could.
    fn thaw(&mut self, frozen: &Frozen) {
        for pid in frozen.pids.iter().rev() {
            signal(*pid, Signal::CONT);
        }
        if let Some(freeze) = frozen.freeze {
            self.freezes[freeze].until = monotonic();
        }
    }

    /// Reads what was written, thaws whom it is time for, and puts a new candidate in the place of
    /// each that has ended.
    fn keep_up(&mut self) {
        self.read_ledger();
        let now = monotonic();
        while let Some(at) = self.frozen.iter().position(|frozen| frozen.until <= now) {
            let frozen = self.frozen.swap_remove(at);
            self.thaw(&frozen);
        }
        for slot in 0..CANDIDATES {
            if self.candidates[slot].process.try_wait().expect("wait").is_some() {
                self.candidates[slot] = self.start_candidate();
            }
        }
    }

    /// Every second one has a command that is deaf to SIGTERM.
    fn start_candidate(&mut self) -> Candidate {
        self.started += 1;
        let name = format!("c{}", self.started);
        let deaf = if self.started.is_multiple_of(2) { "trap '' TERM;" } else { "" };
        let script = format!("{deaf} exec \"$0\" --exact writer --nocapture");
        let process = Command::new(elect_path())
            .args(["run", "--lock", "lock", "--identity", &name])
            .args(options(self.lease))
            .args(["--", "sh", "-c", &script])
            .arg(std::env::current_exe().expect("this program"))
            .env("CHAOS_LEDGER", self.place.path(LEDGER))
            .current_dir(&self.place)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log.try_clone().expect("a log"))
            .spawn()
            .expect("elect starts");
        Candidate { name, process, doomed: false }
    }
}

/// How a candidate measures its terms.
fn options(lease: Duration) -> Vec<String> {
    let parts = [
        ("--lease-duration", lease),
        ("--renew-deadline", lease * 6 / 10),
        ("--retry-period", lease / 10),
        ("--kill-after", lease / 5),
    ];
    let words =
        |(name, span): (&str, Duration)| [name.to_owned(), format!("{}ms", span.as_millis())];
    parts.into_iter().flat_map(words).collect()
}

impl Drop for Arena {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show();
        }
        for frozen in &self.frozen {
            frozen.pids.iter().rev().for_each(|pid| signal(*pid, Signal::CONT));
        }
        for candidate in &mut self.candidates {
            let _ = candidate.process.kill();
            let _ = candidate.process.wait();
        }
    }
}
