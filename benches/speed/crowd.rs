//! Many candidates on one lock: what they cost while nothing happens, and who tries on a release.
//!
//! They share one process, which is not this one, so that its processor time is theirs alone.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leaderelection::crossbeam_channel::never;
use leaderelection::{
    Config, FileLock, Intent, LeaderCallbacks, LeaderElectionRecord, LeaderElector, Lock,
    LockError, Observed, Revision,
};

use crate::Effort;
use crate::clock::{now, pause};
use crate::place;
use crate::report::{Kind, Report};
use crate::subject::own_path;

pub fn run(effort: Effort) -> io::Result<()> {
    let mut report = Report::new("crowd", effort);
    let place = place::memory()?;
    let counts: &[u32] = if effort.smoke { &[2] } else { &[1, 8, 64, 512] };
    for &count in counts {
        let path = place.fresh();
        let lock = FileLock::new(&path).map_err(io::Error::other)?;
        let leader = LeaderElector::new(Config::new(lock)).map_err(io::Error::other)?;
        let leadership = leader.campaign().map_err(io::Error::other)?;
        let mut crowd = Crowd::gather(&path, count)?;
        let case = format!("{count} waiting, {}", place.name);
        let window = if effort.smoke { Duration::from_millis(50) } else { effort.longest };
        let share = crowd.idle_share(window)?;
        let mut add = |unit, subject, value: f64| {
            report.add_in(unit, &case, subject, Kind::Own, &[value].into_iter().collect());
        };
        add("% of a core", "idle, in all", share * 100.0);
        add("% of a core", "idle, each", share * 100.0 / f64::from(count));
        add("KiB", "memory, each", crowd.memory()? / 1024.0 / f64::from(count));
        drop(leadership);
        let claims = crowd.claims()?;
        add("claims", "tried after a release", claims as f64);
    }
    report.save()
}

/// The process of the candidates.
struct Crowd {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    bare_memory: f64,
}

impl Crowd {
    fn gather(path: &Path, count: u32) -> io::Result<Self> {
        let mut command = Command::new(own_path());
        command.arg("--crowd").arg(path).arg(count.to_string());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut crowd = Self { process, lines: BufReader::new(output).lines(), bare_memory: 0.0 };
        crowd.line()?;
        crowd.bare_memory = crowd.resident()?;
        crowd.tell("campaign")?;
        crowd.line()?;
        Ok(crowd)
    }

    /// The share of a core that they take while nothing changes.
    fn idle_share(&self, window: Duration) -> io::Result<f64> {
        let (before, began) = (self.processor_time()?, now());
        pause(window);
        let (after, ended) = (self.processor_time()?, now());
        Ok((after - before) / (ended - began) as f64)
    }

    /// What they occupy beyond the process itself.
    fn memory(&self) -> io::Result<f64> {
        Ok((self.resident()? - self.bare_memory).max(0.0))
    }

    /// How many have tried to claim by now; the one that succeeded is among them.
    fn claims(&mut self) -> io::Result<u64> {
        for _ in 0..600 {
            pause(Duration::from_millis(10));
            self.tell("claims")?;
            let claims: u64 = self.line()?.parse().map_err(io::Error::other)?;
            if claims > 0 {
                pause(Duration::from_millis(200));
                self.tell("claims")?;
                return self.line()?.parse().map_err(io::Error::other);
            }
        }
        Ok(0)
    }

    fn tell(&mut self, line: &str) -> io::Result<()> {
        let input = self.process.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(input, "{line}")
    }

    fn line(&mut self) -> io::Result<String> {
        self.lines.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
    }

    /// In nanoseconds, from the scheduler, of all its threads.
    fn processor_time(&self) -> io::Result<f64> {
        let mut sum = 0.0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let time = text.split(' ').next().and_then(|time| time.parse::<f64>().ok());
            sum += time.unwrap_or_default();
        }
        Ok(sum)
    }

    fn resident(&self) -> io::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
        Ok(kibibytes.unwrap_or_default() * 1024.0)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The process itself: candidates until its input ends.
pub fn wait(arguments: &[String]) -> io::Result<()> {
    let [path, count] = arguments else {
        return Err(io::Error::other("a crowd needs a lock and a number"));
    };
    let count: u32 = count.parse().map_err(io::Error::other)?;
    println!("ready");
    let mut lines = io::stdin().lines();
    lines.next();
    let claims = Arc::<AtomicU64>::default();
    let mut electors = Vec::new();
    for _ in 0..count {
        let lock = FileLock::new(path).map_err(io::Error::other)?;
        let lock = Counting { lock, claims: Arc::clone(&claims) };
        let callbacks = LeaderCallbacks::new().on_started_leading(|term| {
            let _ = term.stop_signal().recv();
        });
        let config = Config::new(lock).callbacks(callbacks);
        let elector = LeaderElector::new(config).map_err(io::Error::other)?;
        let run = elector.spawn(never()).map_err(io::Error::other)?;
        electors.push((elector, run));
    }
    while electors.iter().any(|(_, run)| run.get_leader().is_none()) {
        pause(Duration::from_millis(10));
    }
    println!("waiting");
    for _ in lines.map_while(Result::ok) {
        println!("{}", claims.load(Ordering::SeqCst));
    }
    // Each of them would wait to be stopped.
    std::process::exit(0)
}

/// Counts the claims that reach a lock.
struct Counting<L> {
    lock: L,
    claims: Arc<AtomicU64>,
}

impl<L: Lock> Lock for Counting<L> {
    fn get(&mut self, budget: Duration) -> Result<Option<Observed>, LockError> {
        self.lock.get(budget)
    }

    fn write(
        &mut self,
        intent: Intent,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) -> Result<Revision, LockError> {
        if intent == Intent::Acquire {
            self.claims.fetch_add(1, Ordering::SeqCst);
        }
        self.lock.write(intent, record, expected, budget)
    }

    fn describe(&self) -> String {
        self.lock.describe()
    }

    fn tidy(&mut self) {
        self.lock.tidy();
    }

    fn wake_ups(&self) -> leaderelection::crossbeam_channel::Receiver<()> {
        self.lock.wake_ups()
    }

    fn holder_is_dead(&mut self, observed: &Observed) -> bool {
        self.lock.holder_is_dead(observed)
    }
}
