//! `elect run -- true` as a whole process, guard included, beside `flock` and a bare process.

use std::io;
use std::process::{Command, Stdio};

use crate::Effort;
use crate::clock::now;
use crate::place;
use crate::report::{Kind, Report};

pub fn run(effort: Effort) -> io::Result<()> {
    let mut report = Report::new("command", effort);
    for place in [place::memory()?, place::disk()?] {
        let (file, lock) = (place.fresh(), place.fresh());
        let case = format!("whole process, {}", place.name);
        let mut flock = Command::new("flock");
        flock.arg(&file).arg("true");
        let mut elect = Command::new(env!("CARGO_BIN_EXE_elect"));
        elect.args(["run", "-q", "--lock"]).arg(&lock).args(["--", "true"]);
        // Taken in turn: whatever else the machine does then meets all of them.
        let mut commands = [flock, Command::new("true"), elect];
        let mut spans: [Vec<f64>; 3] = Default::default();
        effort.series(|| {
            for (command, spans) in commands.iter_mut().zip(&mut spans) {
                spans.push(span(command)? as f64);
            }
            Ok(0)
        })?;
        let names =
            [("flock(1) true", Kind::Peer), ("true", Kind::Limit), ("elect run", Kind::Own)];
        for ((name, kind), spans) in names.into_iter().zip(spans) {
            report.add(&case, name, kind, &spans.into_iter().collect());
        }
    }
    report.save()
}

/// From before the process is started until it is buried.
fn span(command: &mut Command) -> io::Result<u64> {
    command.stdin(Stdio::null());
    let began = now();
    let status = command.status()?;
    let span = now() - began;
    match status.success() {
        true => Ok(span),
        false => Err(io::Error::other(format!("{command:?}: {status}"))),
    }
}
