//! Eight candidates on one lock, and what is done to them.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::ledger::{Freeze, Line, parse};
use crate::support::{self, FAST, Place, children_of, elect_path, is_alive, pid_of, signal};

/// The ledger's name in its place.
pub const LEDGER: &str = "ledger";
const CANDIDATES: usize = 8;
/// More than the lease and the grace of what is told to end.
const OVERCOME: Duration = Duration::from_millis(1300);

/// What was done to a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Kill,
    Term,
    /// `elect` alone stands still.
    Freeze,
    /// `elect` and all below it stand still.
    FreezeAll,
}

#[derive(Debug)]
pub struct Harm {
    pub kind: Kind,
    pub at: Duration,
    /// The end of a freeze; the same as `at` otherwise.
    pub until: Duration,
    /// The term that it hit, if the candidate led.
    pub token: Option<u64>,
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
    pub place: Place,
    pub freezes: Vec<Freeze>,
    pub lag: Lag,
    candidates: Vec<(String, Child)>,
    frozen: Vec<Frozen>,
    harms: Vec<Harm>,
    dice: Dice,
    started: usize,
    log: File,
}

impl Arena {
    pub fn new(seed: u64) -> Self {
        let place = Place::new();
        File::create(place.path(LEDGER)).expect("a ledger");
        let log = File::options().append(true).create(true).open(place.path("log"));
        let mut arena = Self {
            place,
            freezes: Vec::new(),
            lag: Lag::start(),
            candidates: Vec::new(),
            frozen: Vec::new(),
            harms: Vec::new(),
            dice: Dice(seed),
            started: 0,
            log: log.expect("a log"),
        };
        for _ in 0..CANDIDATES {
            let candidate = arena.start_candidate();
            arena.candidates.push(candidate);
        }
        arena
    }

    /// Harms somebody now and then for `span`.
    pub fn run(&mut self, span: Duration) {
        let end = monotonic() + span;
        while monotonic() < end {
            let next = monotonic() + Duration::from_millis(100 + self.dice.below(500));
            // Each loss of a leader is timed apart from the others.
            let leader = support::wait_for("a leader that writes", || {
                self.keep_up();
                (monotonic() >= next).then(|| self.leader()).flatten()
            });
            self.harm_somebody(&leader);
        }
    }

    /// Ends all, and makes sure that no led command is left. What was done.
    pub fn end(&mut self) -> Vec<Harm> {
        while let Some(frozen) = self.frozen.pop() {
            self.thaw(&frozen);
        }
        for (_, process) in &mut self.candidates {
            signal(pid_of(process), Signal::TERM);
        }
        for (_, process) in &mut self.candidates {
            support::wait_for_exit(process);
        }
        for line in self.lines() {
            let pid = Pid::from_raw(line.pid).expect("a process id");
            // The number may be another's by now; then it has another program.
            let program = std::fs::read_to_string(format!("/proc/{}/cmdline", line.pid));
            let ours = program.is_ok_and(|words| words.contains("--exact\0writer"));
            assert!(!(is_alive(pid) && ours), "{line:?}: its writer is still alive");
        }
        std::mem::take(&mut self.harms)
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

    fn lines(&self) -> Vec<Line> {
        parse(&self.place.read(LEDGER)).expect("a ledger")
    }

    /// Who writes at present, unless it was harmed and that has yet to show.
    fn leader(&self) -> Option<Line> {
        let text = self.place.read(LEDGER);
        let tail = text.len().saturating_sub(400);
        let (_, last_lines) = text.get(tail..)?.split_once('\n')?;
        let last = parse(last_lines).ok()?.pop()?;
        let fresh = monotonic().saturating_sub(last.at) < Duration::from_millis(50);
        // A short freeze may do no harm: then it goes on writing for longer than any loss would let
        // it.
        let harmed_until = self.harms.iter().rev().find(|harm| harm.token == Some(last.token));
        let overcome = harmed_until.is_none_or(|harm| last.at > harm.until + OVERCOME);
        (fresh && overcome).then_some(last)
    }

    fn harm_somebody(&mut self, leader: &Line) {
        let leading = self.candidates.iter().position(|(name, _)| *name == leader.candidate);
        let slot = match leading {
            Some(slot) if self.dice.below(10) < 7 => slot,
            _ => self.dice.below(CANDIDATES as u64) as usize,
        };
        if self.frozen.iter().any(|frozen| frozen.slot == slot) {
            return;
        }
        let kind =
            [Kind::Kill, Kind::Term, Kind::Freeze, Kind::FreezeAll][self.dice.below(4) as usize];
        let token = (leading == Some(slot)).then_some(leader.token);
        let at = monotonic();
        let until = match kind {
            Kind::Kill | Kind::Term => at,
            Kind::Freeze | Kind::FreezeAll => {
                at + Duration::from_millis(100 + self.dice.below(2500))
            }
        };
        self.harms.push(Harm { kind, at, until, token });
        let elect = pid_of(&self.candidates[slot].1);
        match kind {
            Kind::Kill => signal(elect, Signal::KILL),
            Kind::Term => signal(elect, Signal::TERM),
            Kind::Freeze => self.freeze(slot, vec![elect], until, None),
            Kind::FreezeAll => {
                let pids = tree(elect);
                let candidate = self.candidates[slot].0.clone();
                // Until it is known: for good.
                self.freezes.push(Freeze { candidate, from: at, until: Duration::MAX });
                let freeze = Some(self.freezes.len() - 1);
                self.freeze(slot, pids, until, freeze);
            }
        }
    }

    fn freeze(&mut self, slot: usize, pids: Vec<Pid>, until: Duration, freeze: Option<usize>) {
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

    /// Thaws whom it is time for, and puts a new candidate in the place of each that has ended.
    fn keep_up(&mut self) {
        let now = monotonic();
        while let Some(at) = self.frozen.iter().position(|frozen| frozen.until <= now) {
            let frozen = self.frozen.swap_remove(at);
            self.thaw(&frozen);
        }
        for slot in 0..CANDIDATES {
            if self.candidates[slot].1.try_wait().expect("wait").is_some() {
                self.candidates[slot] = self.start_candidate();
            }
        }
    }

    /// Every second one has a command that is deaf to SIGTERM.
    fn start_candidate(&mut self) -> (String, Child) {
        self.started += 1;
        let name = format!("c{}", self.started);
        let deaf = if self.started.is_multiple_of(2) { "trap '' TERM;" } else { "" };
        let script = format!("{deaf} exec \"$0\" --exact writer --nocapture");
        let process = Command::new(elect_path())
            .args(["run", "--lock", "lock", "--identity", &name, "--kill-after", "200ms"])
            .args(FAST)
            .args(["--", "sh", "-c", &script])
            .arg(std::env::current_exe().expect("this program"))
            .env("CHAOS_LEDGER", self.place.path(LEDGER))
            .current_dir(&self.place)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log.try_clone().expect("a log"))
            .spawn()
            .expect("elect starts");
        (name, process)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show();
        }
        for frozen in &self.frozen {
            frozen.pids.iter().rev().for_each(|pid| signal(*pid, Signal::CONT));
        }
        for (_, process) in &mut self.candidates {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A process and all below it.
fn tree(root: Pid) -> Vec<Pid> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children_of(*pid));
        next += 1;
    }
    found
}

/// Time on CLOCK_MONOTONIC.
#[expect(clippy::disallowed_methods, reason = "the oracle's own clock")]
pub fn monotonic() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// How long a thread that sleeps overslept: time that the machine did not give to anybody here.
#[derive(Debug)]
pub struct Lag {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    overslept: Receiver<(Duration, Duration)>,
    seen: std::cell::RefCell<Vec<(Duration, Duration)>>,
}

impl Lag {
    fn start() -> Self {
        const NAP: Duration = Duration::from_millis(5);
        let ended = Arc::new(AtomicBool::new(false));
        let (tell, overslept) = channel();
        let told = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let before = monotonic();
                support::pause(NAP);
                let over = (monotonic() - before).saturating_sub(NAP);
                if over > Duration::from_millis(1) && tell.send((before, over)).is_err() {
                    return;
                }
            }
        });
        Self { ended, thread: Some(thread), overslept, seen: Default::default() }
    }

    /// All of it between two times.
    pub fn between(&self, from: Duration, until: Duration) -> Duration {
        let mut seen = self.seen.borrow_mut();
        seen.extend(self.overslept.try_iter());
        seen.iter().filter(|(at, _)| (from..until).contains(at)).map(|(_, over)| *over).sum()
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A small generator (SplitMix64): a seed gives the same choices each time.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }
}
