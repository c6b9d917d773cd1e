//! What many elections in one process cost: threads, memory, and the share of a core.
//!
//! ```text
//! cargo bench --bench pool -- [MEMBERS [SECONDS [DIRECTORY]]]
//! ```
//!
//! Each line is a process of its own. "Idle" members look at a lock that somebody else holds, every
//! 2 s; "leading" ones renew theirs every 2 s. File locks lie in DIRECTORY, by default /dev/shm;
//! of their cost, the last column is what the same system calls take without any election.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use leaderelection::crossbeam_channel::never;
use leaderelection::{
    Config, ElectorHandle, ElectorPool, FileLock, Incarnation, Intent, LeaderElectionRecord, Lock,
    MemoryLock, Stopwatch,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Looks and renewals of a candidate with the default settings.
const PERIOD: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Measure {
    what: String,
    members: usize,
    seconds: u64,
    directory: PathBuf,
}

fn main() -> Result<()> {
    // Cargo adds an option of its own.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|text| text != "--bench").collect();
    if let [marker, what, members, seconds, directory] = &arguments[..]
        && marker == "measure"
    {
        let (what, directory) = (what.clone(), directory.into());
        return Measure { what, members: members.parse()?, seconds: seconds.parse()?, directory }
            .run();
    }
    let number = |index: usize, default: usize| {
        arguments.get(index).map_or(Ok(default), |text| text.parse())
    };
    let (members, seconds) = (number(0, 10_000)?, number(1, 20)?);
    let directory = arguments.get(2).map_or("/dev/shm", String::as_str);
    println!(
        "{:16} {:>8} {:>8} {:>12} {:>8} {:>10}",
        "", "members", "threads", "bytes each", "core", "of it raw"
    );
    for (what, members) in [
        ("idle memory", members),
        ("idle file", members),
        ("leading memory", members / 10),
        ("leading file", members / 10),
    ] {
        let status = Command::new(std::env::current_exe()?)
            .args(["measure", what, &members.to_string(), &seconds.to_string(), directory])
            .status()?;
        if !status.success() {
            return Err(format!("{what}: {status}").into());
        }
    }
    Ok(())
}

impl Measure {
    fn run(&self) -> Result<()> {
        let home = Home::new(&self.directory)?;
        // What others need for their record is not what a candidate costs.
        let locks = self.locks(&home.0)?;
        let before = resident_bytes()?;
        let pool = ElectorPool::new();
        let members = locks
            .into_iter()
            .map(|lock| pool.spawn(Config::new(lock)))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        self.settle(&members)?;
        let (cpu, watch) = (cpu_time()?, Stopwatch::start());
        wait(Duration::from_secs(self.seconds));
        let share = (cpu_time()? - cpu).as_secs_f64() / watch.elapsed().as_secs_f64();
        let (threads, bytes) = (threads()?, resident_bytes()?.saturating_sub(before));
        let raw = match self.what.ends_with("file") {
            true => format!("{:.2} %", 100.0 * self.raw_share(&home.0)?),
            false => String::new(),
        };
        println!(
            "{:16} {:>8} {:>8} {:>12} {:>6.2} % {:>10}",
            self.what,
            self.members,
            threads,
            bytes / self.members,
            100.0 * share,
            raw,
        );
        self.check(&members)?;
        drop(members);
        pool.shutdown(Duration::from_secs(60));
        Ok(())
    }

    fn leads(&self) -> bool {
        self.what.starts_with("leading")
    }

    fn locks(&self, home: &Path) -> Result<Vec<Box<dyn Lock>>> {
        (0..self.members)
            .map(|member| {
                let lock: Box<dyn Lock> = match self.what.ends_with("file") {
                    true => Box::new(FileLock::new(home.join(member.to_string()))?),
                    false => Box::new(MemoryLock::new()),
                };
                match self.leads() {
                    true => Ok(lock),
                    false => held_by_another(lock, home, member),
                }
            })
            .collect()
    }

    /// Until every member leads, or has seen who does, and the first rush is over.
    fn settle(&self, members: &[ElectorHandle]) -> Result<()> {
        let patience = Stopwatch::start();
        while !members.iter().all(|member| member.get_leader().is_some()) {
            if patience.elapsed() > Duration::from_secs(120) {
                return Err("no end of the first looks".into());
            }
            wait(Duration::from_millis(100));
        }
        wait(PERIOD * 2);
        Ok(())
    }

    fn check(&self, members: &[ElectorHandle]) -> Result<()> {
        match members.iter().all(|member| member.is_leader() == self.leads()) {
            true => Ok(()),
            false => Err("not what was meant to be measured".into()),
        }
    }

    /// The share of a core that the bare system calls of this would take.
    fn raw_share(&self, home: &Path) -> Result<f64> {
        let scratch = home.join("raw");
        std::fs::create_dir(&scratch)?;
        let name = |number: usize| scratch.join(format!("g.{number:020}"));
        std::os::unix::fs::symlink("x".repeat(300), name(0))?;
        const ROUNDS: usize = 2_000;
        let watch = cpu_time()?;
        for round in 0..ROUNDS {
            let _directory = std::fs::File::open(&scratch)?;
            match self.leads() {
                true => {
                    std::fs::hard_link(name(round), name(round + 1))?;
                    std::fs::read_link(name(round + 1))?;
                    std::fs::remove_file(name(round))?;
                }
                false => drop(std::fs::read_link(name(1))),
            }
        }
        let each = (cpu_time()? - watch).as_secs_f64() / ROUNDS as f64;
        let period = if self.leads() { 1.0 } else { 1.1 } * PERIOD.as_secs_f64();
        Ok(each * self.members as f64 / period)
    }
}

/// Has somebody else hold it for an hour.
fn held_by_another(mut lock: Box<dyn Lock>, home: &Path, member: usize) -> Result<Box<dyn Lock>> {
    let hour = Duration::from_secs(3600);
    let record = LeaderElectionRecord::new("another", Incarnation(1), hour);
    lock.write(Intent::Acquire, &record, None, PERIOD)?;
    match lock.describe().contains("memory") {
        true => Ok(lock),
        // One that does not know it as its own.
        false => Ok(Box::new(FileLock::new(home.join(member.to_string()))?)),
    }
}

/// A directory that goes with this.
struct Home(PathBuf);

impl Home {
    fn new(directory: &Path) -> Result<Self> {
        let home = directory.join(format!("leaderelection-bench-{}", std::process::id()));
        std::fs::create_dir(&home)?;
        Ok(Self(home))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn wait(span: Duration) {
    let _ = never::<()>().recv_timeout(span);
}

/// User and system time of this process.
fn cpu_time() -> Result<Duration> {
    let mut nanos = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

fn threads() -> Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

fn resident_bytes() -> Result<usize> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = text.lines().find(|line| line.starts_with("Rss:")).ok_or("no Rss")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse::<usize>()? * 1024)
}
