//! Take-over: from the SIGKILL of a leader to the first instruction of the next leader's work.

use std::io;
use std::time::Duration;

use crate::Effort;
use crate::arena::Arena;
use crate::place::{self, Place};
use crate::python;
use crate::report::{Kind, Report};
use crate::server;
use crate::subject::{Subject, Target};

/// What is measured where nothing but a lease can tell of a death.
const SHORT: Duration = Duration::from_secs(1);
/// The default, which a proof of death makes needless.
const DEFAULT: Duration = Duration::from_secs(15);

pub fn run(effort: Effort) -> io::Result<()> {
    let mut report = Report::new("take-over", effort);
    let (memory, disk) = (place::memory()?, place::disk()?);
    let mut kill =
        |subject, place: &Place, lease, port| add(&mut report, effort, subject, place, lease, port);
    kill(Subject::Fs2, &memory, DEFAULT, 0)?;
    let alone = Subject::Library { durable: true, same_host: false };
    kill(alone, &memory, SHORT, 0)?;
    if effort.smoke {
        return report.save();
    }
    let fast = Subject::Library { durable: true, same_host: true };
    for place in [&memory, &disk] {
        kill(fast, place, DEFAULT, 0)?;
    }
    kill(Subject::Elect, &memory, DEFAULT, 0)?;
    if python::is_there() {
        kill(Subject::Python, &memory, DEFAULT, 0)?;
    }
    match server::etcd()? {
        Some(server) => kill(Subject::Etcdctl, &disk, Duration::from_secs(10), server.port)?,
        None => println!("  etcdctl lock skipped: install etcd-server and etcd-client"),
    }
    report.save()
}

fn add(
    report: &mut Report,
    effort: Effort,
    subject: Subject,
    place: &Place,
    lease: Duration,
    port: u16,
) -> io::Result<()> {
    let target = Target { path: place.fresh(), lease, port };
    let own = matches!(subject, Subject::Library { .. } | Subject::Elect);
    let kind = if own { Kind::Own } else { Kind::Peer };
    let case = format!("SIGKILL, {}, lease {} s", place.name, lease.as_secs());
    let mut arena = Arena::new(subject, target, 1)?;
    let series = effort.series(|| arena.take_over())?;
    report.add(&case, subject.name(), kind, &series);
    Ok(())
}
