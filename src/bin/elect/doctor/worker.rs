//! A worker: carries out tasks from standard input, one after another, and answers on standard
//! output.
//!
//! It must not know why something is tried. When its coordinator is gone it removes the session, so
//! that nothing is left behind by a coordinator that was killed.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;

use super::describe::describe;
use super::findings::{Findings, Race};
use super::place::{Place, errno_name};
use super::task::{Answer, Task};
use super::{meet, race, sight, timing, watch};
use crate::exit;

/// One worker of a session.
#[derive(Debug, Default)]
pub struct Worker {
    place: Option<Place>,
    /// Its name among all workers of all hosts.
    pub member: String,
    /// What it found so far.
    pub findings: Findings,
    /// What it was told in each race.
    pub told: BTreeMap<Race, Vec<Result<(), Errno>>>,
    /// The file whose lock it holds.
    pub locked: Option<OwnedFd>,
}

/// What a task says that went wrong.
pub type Outcome = Result<(), String>;

/// Works until standard input ends; the exit code.
pub fn run() -> u8 {
    let mut worker = Worker::default();
    for line in io::stdin().lock().lines() {
        let task = line.ok().and_then(|line| serde_json::from_str(&line).ok());
        let Some(task) = task else { break };
        let answer = worker.answer(task).unwrap_or_else(Answer::Failed);
        let mut stdout = io::stdout().lock();
        let sent = serde_json::to_writer(&mut stdout, &answer).map_err(io::Error::from);
        if sent.and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush()).is_err() {
            break;
        }
    }
    if let Some(place) = &worker.place {
        // The coordinator that could hear of a failure is gone.
        let _ = place.remove_all();
    }
    exit::OWN_FAILURE
}

impl Worker {
    /// One outside any session, for tests.
    #[cfg(test)]
    pub fn named(member: &str) -> Self {
        Self { member: member.to_owned(), ..Self::default() }
    }

    fn answer(&mut self, task: Task) -> Result<Answer, String> {
        let outcome = match task {
            Task::Meet { directory, host, peers, wait } => {
                let place = Place::new(directory);
                let met = meet::meet(&place, &host, peers, Duration::from_millis(wait))?;
                let session = place.path.join(&met.session);
                self.place = Some(Place::new(&session));
                return Ok(Answer::Met { session, hosts: met.hosts });
            }
            Task::Enter { session, member } => self.enter(Place::new(session), member),
            Task::Report => {
                let findings = std::mem::take(&mut self.findings);
                return Ok(Answer::Report(Box::new(findings)));
            }
            Task::Remove { directory, host, session } => {
                self.place = None;
                meet::remove(&Place::new(directory), &host, session.as_deref())
            }
            other => {
                let place = self.place.clone().ok_or("there is no session yet")?;
                self.carry_out(&place, other)
            }
        };
        outcome.map(|()| Answer::Done)
    }

    fn enter(&mut self, place: Place, member: String) -> Outcome {
        failed("open", &place, place.open().map(drop))?;
        self.member = member;
        self.place = Some(place);
        Ok(())
    }

    fn carry_out(&mut self, place: &Place, task: Task) -> Outcome {
        let span = Duration::from_millis;
        match task {
            Task::Barrier { name, host, hosts, wait } => {
                meet::barrier(place, &name, &host, &hosts, span(wait))
            }
            Task::Describe => describe(self, place),
            Task::Prepare { race } => race::prepare(self, place, race),
            Task::Compete { race, names } => race::compete(self, place, race, names),
            Task::ReadBack { race } => race::read_back(self, place, race),
            Task::HoldFlock => sight::hold_flock(self, place),
            Task::TryFlock { elsewhere } => sight::try_flock(self, place, elsewhere),
            Task::DropFlock => {
                self.locked = None;
                Ok(())
            }
            Task::LookAbsent => sight::look_absent(place),
            Task::Appear => sight::appear(place),
            Task::AwaitAppearance { elsewhere } => sight::await_appearance(self, place, elsewhere),
            Task::Write { host, span: millis } => watch::write(place, &host, span(millis)),
            Task::Watch { hosts, span: millis } => watch::watch(self, place, &hosts, span(millis)),
            Task::Ping { name, rounds, span: millis, elsewhere } => {
                let times = sight::ping(place, &name, rounds, span(millis))?;
                let answers = match elsewhere {
                    true => &mut self.findings.answers_elsewhere,
                    false => &mut self.findings.answers_here,
                };
                answers.extend(times);
                Ok(())
            }
            Task::Pong { name, rounds, span: millis } => {
                sight::pong(place, &name, rounds, span(millis))
            }
            Task::Time { calls, span: millis } => timing::time(self, place, calls, span(millis)),
            Task::Publish { host, text } => meet::publish(place, &host, &text),
            Task::Collect { hosts } => {
                self.findings.refusals_elsewhere = meet::collect(place, &hosts)?;
                Ok(())
            }
            Task::Meet { .. } | Task::Enter { .. } | Task::Report | Task::Remove { .. } => {
                Err("this task needs no session".into())
            }
        }
    }
}

/// Names the operation and the place of an error.
pub fn failed<T>(operation: &str, place: &Place, result: Result<T, Errno>) -> Result<T, String> {
    result.map_err(|errno| {
        let name = errno_name(errno);
        format!("cannot {operation} {}: {name} ({errno})", place.path.display())
    })
}
