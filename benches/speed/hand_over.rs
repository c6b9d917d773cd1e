//! Hand-over: from the last instruction of one leader's work to the first of the next one's.

use std::io;
use std::time::Duration;

use crate::Effort;
use crate::arena::Arena;
use crate::place::{self, Place};
use crate::python;
use crate::report::{Kind, Report};
use crate::server;
use crate::subject::{Subject, Target};

const LEASE: Duration = Duration::from_secs(15);

pub fn run(effort: Effort) -> io::Result<()> {
    let mut report = Report::new("hand-over", effort);
    let (memory, disk) = (place::memory()?, place::disk()?);
    let redis = server::redis()?;
    let library = |durable| Subject::Library { durable, same_host: true };
    let waiters: &[usize] = if effort.smoke { &[1] } else { &[1, 8, 100] };
    for &waiters in waiters {
        let mut cases = Cases { report: &mut report, effort, waiters };
        cases.add(&memory, Subject::Fs2, 0)?;
        cases.add(&memory, Subject::Bare, 0)?;
        cases.add(&memory, library(true), 0)?;
        if !effort.smoke {
            cases.add(&disk, Subject::Fs2, 0)?;
            cases.add(&disk, library(false), 0)?;
            cases.add(&disk, library(true), 0)?;
        }
        match &redis {
            Some(server) => cases.add(&memory, Subject::Redis, server.port)?,
            None => cases.skip(Subject::Redis, "install redis-server"),
        }
        match python::is_there() {
            true if !effort.smoke => cases.add(&memory, Subject::Python, 0)?,
            _ => cases.skip(Subject::Python, python::ABSENT),
        }
    }
    drop(redis);
    commands(&mut report, effort, &memory, &disk)?;
    report.save()
}

/// The same between commands: the end of one and the start of another process come on top.
fn commands(report: &mut Report, effort: Effort, memory: &Place, disk: &Place) -> io::Result<()> {
    let mut cases = Cases { report, effort, waiters: 1 };
    cases.add(memory, Subject::Flock, 0)?;
    cases.add(memory, Subject::Elect, 0)?;
    if effort.smoke {
        return Ok(());
    }
    cases.add(disk, Subject::Flock, 0)?;
    cases.add(disk, Subject::Elect, 0)?;
    match server::etcd()? {
        Some(server) => cases.add(disk, Subject::Etcdctl, server.port)?,
        None => cases.skip(Subject::Etcdctl, "install etcd-server and etcd-client"),
    }
    Ok(())
}

struct Cases<'a> {
    report: &'a mut Report,
    effort: Effort,
    waiters: usize,
}

impl Cases<'_> {
    fn add(&mut self, place: &Place, subject: Subject, port: u16) -> io::Result<()> {
        // Where nothing wakes the waiting ones, a short lease makes them look more often.
        let lease = if self.effort.smoke { LEASE / 5 } else { LEASE };
        let target = Target { path: place.fresh(), lease, port };
        let kind = match subject {
            Subject::Library { .. } | Subject::Elect => Kind::Own,
            _ => Kind::Peer,
        };
        let what = if subject.is_command() { "commands, " } else { "" };
        let case = format!("{what}{} waiting, {}", self.waiters, place.name);
        let measured = Arena::new(subject, target, self.waiters)
            .and_then(|mut arena| self.effort.series(|| arena.hand_over()));
        match measured {
            Ok(series) => self.report.add(&case, subject.name(), kind, &series),
            Err(error) if kind == Kind::Peer => {
                self.report.skip(&case, subject.name(), &error.to_string());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn skip(&self, subject: Subject, why: &str) {
        self.report.skip("", subject.name(), why);
    }
}
