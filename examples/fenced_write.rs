//! Why there is a fencing token: a leader that is paused between its check and its write.
//!
//!     cargo run --example fenced_write
//!
//! No check of one's own term can prevent this: between "I lead" and the write that follows, a
//! process may be stopped for any length of time, and meanwhile another leads. Only the resource
//! can refuse the late write, by the token that goes with it.
//!
//! This program starts itself again as the first leader. That one checks that it leads, and is
//! stopped (SIGSTOP) just before it writes. The lease expires, this process leads and writes; then
//! the first goes on.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use leaderelection::{Config, FileLock, LeaderElector, Leadership};
use rustix::process::{Pid, Signal, getpid, kill_process};

const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    match std::env::args_os().nth(1) {
        None => second_leader(),
        Some(folder) => first_leader(Path::new(&folder)),
    }
}

/// Leads, checks, is paused, writes.
fn first_leader(folder: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let leadership = campaign(folder)?;
    let term = leadership.term();
    term.ensure(Duration::from_millis(1))?;
    println!("first leader: my term is valid, fencing token {}", term.fencing_token());

    // The machine could do this to any process, at any instruction.
    kill_process(getpid(), Signal::STOP)?;

    match Register::open(folder)?.write(term.fencing_token(), "first") {
        Ok(()) => {
            println!("first leader: my late write was accepted");
            Ok(ExitCode::FAILURE)
        }
        Err(refusal) => {
            println!("first leader: {refusal}; my term is valid: {}", term.is_valid());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Starts the first leader, takes over when it is paused, and lets it go on.
fn second_leader() -> Result<ExitCode, Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path();
    let mut first = Paused::start(folder)?;
    // The first leader says that it has checked; then it pauses itself.
    first.pass_on_line()?;

    let leadership = campaign(folder)?;
    let token = leadership.term().fencing_token();
    println!("second leader: the lease has expired, and I lead, fencing token {token}");
    let mut register = Register::open(folder)?;
    register.write(token, "second")?;
    println!("second leader: my write was accepted");

    first.go_on()?;
    first.pass_on_line()?;
    let refused = first.process.wait()?.success();
    println!("the register holds: {}", register.read()?.1);
    leadership.release()?;
    Ok(if refused { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn campaign(folder: &Path) -> Result<Leadership, Box<dyn Error>> {
    let config = Config::new(FileLock::new(folder.join("register.lock"))?)
        .lease_duration(Duration::from_secs(2))
        .renew_deadline(Duration::from_millis(1500))
        .retry_period(Duration::from_millis(200));
    let leadership = LeaderElector::new(config)?.campaign_timeout(PATIENCE)?;
    leadership.ok_or_else(|| "somebody else leads".into())
}

/// A value that keeps the highest token it has seen: what a database row, an object store or a
/// device has to do for the election to protect it. Comparing and writing must be one atomic step;
/// here a lock on the file makes it one.
struct Register {
    file: File,
}

impl Register {
    fn open(folder: &Path) -> std::io::Result<Self> {
        let path = folder.join("register");
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Self { file })
    }

    fn write(&mut self, token: u64, value: &str) -> Result<(), Box<dyn Error>> {
        fs2::FileExt::lock_exclusive(&self.file)?;
        let outcome = self.compare_and_write(token, value);
        fs2::FileExt::unlock(&self.file)?;
        outcome
    }

    fn compare_and_write(&mut self, token: u64, value: &str) -> Result<(), Box<dyn Error>> {
        let (highest, _) = self.read()?;
        if token < highest {
            return Err(format!(
                "my write was refused, for token {token} is older than {highest}"
            ))?;
        }
        self.file.set_len(0)?;
        self.file.rewind()?;
        write!(self.file, "{token} {value}")?;
        Ok(())
    }

    /// The highest token, and the value that it came with.
    fn read(&mut self) -> Result<(u64, String), Box<dyn Error>> {
        let mut text = String::new();
        self.file.rewind()?;
        self.file.read_to_string(&mut text)?;
        match text.split_once(' ') {
            Some((token, value)) => Ok((token.parse()?, value.to_owned())),
            None => Ok((0, String::new())),
        }
    }
}

/// The process of the first leader.
struct Paused {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Paused {
    fn start(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let mut process =
            Command::new(std::env::current_exe()?).arg(folder).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().ok_or("the process has no output")?;
        Ok(Self { process, output: BufReader::new(output) })
    }

    fn pass_on_line(&mut self) -> Result<(), Box<dyn Error>> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("the first leader ended early".into());
        }
        print!("{line}");
        Ok(())
    }

    fn go_on(&self) -> Result<(), Box<dyn Error>> {
        Ok(kill_process(Pid::from_child(&self.process), Signal::CONT)?)
    }
}

impl Drop for Paused {
    /// A process that is stopped would stay for ever.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
