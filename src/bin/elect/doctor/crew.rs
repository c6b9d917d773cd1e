//! The workers, seen from the coordinator: processes that are asked for something and answer in
//! time, or don't.
//!
//! The coordinator itself makes no call into the directory. This file must not know what is asked.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, after, bounded, select};

use super::task::{Answer, Task};
use crate::stopping::Stopping;

use std::os::unix::process::CommandExt;

/// The hidden subcommand of a worker.
pub const WORKER: &str = "doctor-worker";

/// Workers of one host: two that see each other.
pub const WORKERS: usize = 2;

/// How long a killed worker is waited for; one that hangs in a call dies when that returns.
const BURIAL: Duration = Duration::from_millis(500);

/// Why a question has no answer.
#[derive(Debug)]
pub enum Trouble {
    /// A signal told `elect` to end.
    Interrupted(i32),
    /// A call did not return: which task made it, and the time that was given.
    Hung(String, Duration),
    /// Something failed.
    Failed(String),
}

/// The workers of this host.
#[derive(Debug)]
pub struct Crew {
    workers: Vec<Worker>,
    answers: Receiver<(usize, Option<Answer>)>,
    stop: Receiver<()>,
    stopping: Option<Stopping>,
}

#[derive(Debug)]
struct Worker {
    process: Child,
    stdin: Option<ChildStdin>,
}

impl Crew {
    /// Starts the workers; a signal to `elect` then ends every wait for them.
    pub fn start(stopping: Stopping) -> io::Result<Self> {
        let stop = stopping.stop.clone();
        Self::of(WORKERS, stop, Some(stopping))
    }

    /// One worker for what must be done although a signal came.
    pub fn undertaker() -> io::Result<Self> {
        Self::of(1, crossbeam_channel::never(), None)
    }

    fn of(size: usize, stop: Receiver<()>, stopping: Option<Stopping>) -> io::Result<Self> {
        // A worker has one question at a time, and its end is told once.
        let (sender, answers) = bounded(size * 2);
        let mut crew = Self { workers: Vec::new(), answers, stop, stopping };
        for number in 0..size {
            crew.workers.push(Worker::start(number, sender.clone())?);
        }
        Ok(crew)
    }

    /// Asks one worker.
    pub fn one(&mut self, number: usize, task: Task, limit: Duration) -> Result<Answer, Trouble> {
        let mut answers = self.ask(vec![(number, task)], limit)?;
        answers.pop().ok_or_else(|| Trouble::Failed("a worker gave no answer".into()))
    }

    /// Asks all workers the same.
    pub fn all(&mut self, task: &Task, limit: Duration) -> Result<Vec<Answer>, Trouble> {
        let tasks = (0..self.workers.len()).map(|number| (number, task.clone())).collect();
        self.ask(tasks, limit)
    }

    /// Asks several at once, and waits for all answers. A failure is told when all have answered.
    pub fn ask(
        &mut self,
        tasks: Vec<(usize, Task)>,
        limit: Duration,
    ) -> Result<Vec<Answer>, Trouble> {
        for (number, task) in &tasks {
            self.workers[*number].tell(task).map_err(|_| lost())?;
        }
        let mut answers = Vec::new();
        let timeout = after(limit);
        while answers.len() < tasks.len() {
            select! {
                recv(self.answers) -> answer => match answer {
                    Ok((_, Some(answer))) => answers.push(answer),
                    _ => return Err(lost()),
                },
                recv(self.stop) -> _ => {
                    let signal = self.stopping.as_ref().and_then(Stopping::signal);
                    return Err(Trouble::Interrupted(signal.unwrap_or_default()));
                }
                recv(timeout) -> _ => {
                    let task = format!("{:?}", tasks[0].1);
                    let name = task.split([' ', '{']).next().unwrap_or_default().to_owned();
                    return Err(Trouble::Hung(name, limit));
                }
            }
        }
        match answers.iter().find_map(|answer| match answer {
            Answer::Failed(reason) => Some(reason.clone()),
            _ => None,
        }) {
            Some(reason) => Err(Trouble::Failed(reason)),
            None => Ok(answers),
        }
    }
}

fn lost() -> Trouble {
    Trouble::Failed("a worker process has ended before it was told to".into())
}

impl Drop for Crew {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            // Killed first: at the end of its input it would remove the session.
            let _ = worker.process.kill();
        }
        let patience = after(BURIAL);
        for worker in &mut self.workers {
            while matches!(worker.process.try_wait(), Ok(None)) {
                if patience.try_recv().is_ok() {
                    return;
                }
                let _ = after(Duration::from_millis(5)).recv();
            }
        }
    }
}

impl Worker {
    fn start(number: usize, answers: Sender<(usize, Option<Answer>)>) -> io::Result<Self> {
        let mut process = Command::new("/proc/self/exe")
            .arg(WORKER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Not in the terminal's foreground: the coordinator decides what an interrupt means.
            .process_group(0)
            .spawn()?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        std::thread::Builder::new().name("answers".into()).spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let answer = line.ok().and_then(|line| serde_json::from_str(&line).ok());
                let ended = answer.is_none();
                if answers.try_send((number, answer)).is_err() || ended {
                    return;
                }
            }
            let _ = answers.try_send((number, None));
        })?;
        Ok(Self { process, stdin })
    }

    fn tell(&mut self, task: &Task) -> io::Result<()> {
        let stdin = self.stdin.as_mut().ok_or_else(|| io::Error::other("no standard input"))?;
        let mut line = serde_json::to_vec(task)?;
        line.push(b'\n');
        stdin.write_all(&line)
    }
}
