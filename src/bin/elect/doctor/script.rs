//! What is tried, in which order, and by whom: every host plays the same script on the same
//! session.
//!
//! It must not know what follows from what is found.

use std::path::PathBuf;
use std::time::Duration;

use super::crew::{Crew, Trouble};
use super::findings::{Findings, Race};
use super::progress::Progress;
use super::task::{Answer, Task};

/// Names in each race.
const NAMES: usize = 50;
/// How long folders are changed and watched.
const CHANGES: Duration = Duration::from_millis(2500);
/// Names that are answered, at most, and the time for them.
const ROUNDS: usize = 30;
const ROUNDS_SPAN: Duration = Duration::from_secs(4);
/// Calls of each kind that are timed, at most, and the time for each kind.
const CALLS: usize = 100;
const CALLS_SPAN: Duration = Duration::from_millis(1500);
/// Kinds of calls.
const KINDS: u32 = 8;
/// What a task may take beyond the time that it was given: more is a hang.
const MARGIN: Duration = Duration::from_secs(30);
/// How long hosts wait for each other between steps.
const TOGETHER: Duration = Duration::from_secs(90);

/// The steps, for the progress bar.
pub const STEPS: u64 = 11;

/// The script on one host.
#[derive(Debug)]
pub struct Script<'a> {
    crew: &'a mut Crew,
    progress: &'a Progress,
    host: String,
    hosts: Vec<String>,
    /// The session's directory.
    pub session: PathBuf,
}

impl<'a> Script<'a> {
    /// Meets the other hosts.
    pub fn begin(
        crew: &'a mut Crew,
        progress: &'a Progress,
        directory: PathBuf,
        host: &str,
        peers: usize,
        wait: Duration,
    ) -> Result<Self, Trouble> {
        progress.step(match peers {
            0 => "begins",
            _ => "waits for other hosts",
        });
        let host = host.to_owned();
        let meet = Task::Meet { directory, host: host.clone(), peers, wait: millis(wait) };
        let Answer::Met { session, hosts } = crew.one(0, meet, wait + MARGIN)? else {
            return Err(Trouble::Failed("a worker gave another answer than it was asked".into()));
        };
        let mut script = Self { crew, progress, host, hosts, session };
        script.enter()?;
        Ok(script)
    }

    /// How many hosts take part.
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// Plays it to the end; what was found.
    pub fn play(&mut self) -> Result<Findings, Trouble> {
        self.progress.step("examines the file system");
        self.crew.one(0, Task::Describe, MARGIN)?;
        for race in Race::ALL {
            self.progress.step(&format!("races for names ({})", race.name()));
            self.race(race)?;
        }
        self.progress.step("tries flock");
        self.flock()?;
        self.progress.step("looks for a name that was absent");
        self.appearance()?;
        self.progress.step("watches folders that change");
        self.changes()?;
        self.progress.step("waits for answers");
        self.answers()?;
        self.progress.step("times each call");
        self.barrier("time")?;
        let time = Task::Time { calls: CALLS, span: millis(CALLS_SPAN) };
        self.crew.all(&time, CALLS_SPAN * KINDS + MARGIN)?;
        self.report()
    }

    /// Tells the other hosts what is wrong here, hears what is wrong there, and goes.
    pub fn end(&mut self, refusal: &str) -> Result<Vec<String>, Trouble> {
        let publish = Task::Publish { host: self.host.clone(), text: refusal.to_owned() };
        self.crew.one(0, publish, MARGIN)?;
        self.barrier("published")?;
        let hosts = self.hosts.iter().filter(|host| **host != self.host).cloned().collect();
        self.crew.one(0, Task::Collect { hosts }, MARGIN)?;
        let told = self.report()?.refusals_elsewhere;
        // The first host removes everything, when the others need it no more.
        let hosts = if self.is_first() { self.hosts.clone() } else { Vec::new() };
        self.barrier_of("ended", hosts)?;
        Ok(told)
    }

    /// Whether this host removes the session when all is over.
    pub fn is_first(&self) -> bool {
        self.hosts.first() == Some(&self.host)
    }

    fn enter(&mut self) -> Result<(), Trouble> {
        let enter = |number: usize| Task::Enter {
            session: self.session.clone(),
            member: format!("{}-{number}", self.host),
        };
        let tasks = vec![(0, enter(0)), (1, enter(1))];
        self.crew.ask(tasks, MARGIN).map(drop)
    }

    fn race(&mut self, race: Race) -> Result<(), Trouble> {
        self.crew.all(&Task::Prepare { race }, MARGIN)?;
        self.barrier(&format!("prepared-{}", race.name()))?;
        self.crew.all(&Task::Compete { race, names: NAMES }, MARGIN * 2)?;
        self.barrier(&format!("competed-{}", race.name()))?;
        self.crew.all(&Task::ReadBack { race }, MARGIN * 2).map(drop)
    }

    /// One host holds a lock, all try to take it. Another host does so again, so that each host
    /// tries a lock that is held elsewhere.
    fn flock(&mut self) -> Result<(), Trouble> {
        self.flock_held_by(0)?;
        match self.hosts.len() {
            1 => Ok(()),
            hosts => self.flock_held_by(hosts - 1),
        }
    }

    fn flock_held_by(&mut self, holder: usize) -> Result<(), Trouble> {
        let holds = self.hosts.get(holder) == Some(&self.host);
        if holds {
            self.crew.one(0, Task::HoldFlock, MARGIN)?;
        }
        self.barrier(&format!("locked-{holder}"))?;
        let (number, elsewhere) = if holds { (1, false) } else { (0, true) };
        self.crew.one(number, Task::TryFlock { elsewhere }, MARGIN * 2)?;
        self.barrier(&format!("tried-to-lock-{holder}"))?;
        if holds {
            self.crew.one(0, Task::DropFlock, MARGIN)?;
        }
        self.barrier(&format!("unlocked-{holder}"))
    }

    fn appearance(&mut self) -> Result<(), Trouble> {
        let first = self.is_first();
        // One observer on each host: the first to list would make the other's host look again.
        self.crew.one(1, Task::LookAbsent, MARGIN)?;
        self.barrier("seen-absent")?;
        if first {
            self.crew.one(0, Task::Appear, MARGIN)?;
        }
        self.barrier("appeared")?;
        self.crew.one(1, Task::AwaitAppearance { elsewhere: !first }, MARGIN).map(drop)
    }

    fn changes(&mut self) -> Result<(), Trouble> {
        self.barrier("change")?;
        let span = millis(CHANGES);
        // Written for longer than watched: a watcher waits until there is something.
        let write = Task::Write { host: self.host.clone(), span: span * 2 };
        let watch = Task::Watch { hosts: self.hosts.clone(), span };
        self.crew.ask(vec![(0, write), (1, watch)], CHANGES * 2 + MARGIN).map(drop)
    }

    fn answers(&mut self) -> Result<(), Trouble> {
        let span = millis(ROUNDS_SPAN);
        let (rounds, limit) = (ROUNDS, ROUNDS_SPAN + MARGIN);
        let name = self.host.clone();
        let ping = Task::Ping { name: name.clone(), rounds, span, elsewhere: false };
        self.crew.ask(vec![(0, ping), (1, Task::Pong { name, rounds, span })], limit)?;
        let others: Vec<String> = self.hosts.iter().skip(1).cloned().collect();
        for (i, other) in others.into_iter().enumerate() {
            self.barrier(&format!("answers-{i}"))?;
            let name = format!("to-{other}");
            if self.is_first() {
                self.crew.one(0, Task::Ping { name, rounds, span, elsewhere: true }, limit)?;
            } else if other == self.host {
                self.crew.one(0, Task::Pong { name, rounds, span }, limit)?;
            }
        }
        Ok(())
    }

    fn report(&mut self) -> Result<Findings, Trouble> {
        let mut all = Findings::default();
        for answer in self.crew.all(&Task::Report, MARGIN)? {
            if let Answer::Report(findings) = answer {
                all.add(*findings);
            }
        }
        Ok(all)
    }

    fn barrier(&mut self, name: &str) -> Result<(), Trouble> {
        self.barrier_of(name, self.hosts.clone())
    }

    fn barrier_of(&mut self, name: &str, hosts: Vec<String>) -> Result<(), Trouble> {
        if self.hosts.len() < 2 {
            return Ok(());
        }
        let (name, host) = (name.to_owned(), self.host.clone());
        let wait = millis(TOGETHER);
        self.crew.one(0, Task::Barrier { name, host, hosts, wait }, TOGETHER + MARGIN).map(drop)
    }
}

fn millis(span: Duration) -> u64 {
    span.as_millis() as u64
}
