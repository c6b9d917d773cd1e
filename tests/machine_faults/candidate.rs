//! A candidate of these tests: `elect run --repeat` with a command that writes a ledger.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::ledger::WRITER;
use crate::support::{Elect, FAST, Place, elect_path};

/// On `lock` in `place`; what it says goes to `log`.
pub fn start(place: &Place, lock: &str, log: &str) -> Elect {
    start_below(place, &[], lock, log)
}

/// The same, below a program that runs its arguments.
pub fn start_below(place: &Place, program: &[&str], lock: &str, log: &str) -> Elect {
    let log = File::create(place.path(log)).expect("a log");
    let words = [program, &[elect_path(), "run", "--repeat", "--lock", lock]].concat();
    let process = Command::new(words[0])
        .args(&words[1..])
        .args(FAST)
        .args(["--", "sh", "-c", WRITER])
        .current_dir(place)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("it starts");
    Elect(process)
}
