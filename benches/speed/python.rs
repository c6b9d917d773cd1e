//! Python's `filelock`, where it is installed for the benchmarks.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A candidate as in `candidate.rs`. Its clock is that of `clock.rs`.
const SCRIPT: &str = "
import sys, time, filelock
def say(*words): print(*words, flush=True)
def now(): return time.clock_gettime_ns(time.CLOCK_MONOTONIC)
lock = filelock.FileLock(sys.argv[1])
while sys.stdin.readline() == 'campaign\\n':
    say('waiting')
    lock.acquire()
    say('began', now())
    if sys.stdin.readline() != 'release\\n': break
    ended = now()
    lock.release()
    say('ended', ended)
";

/// Why there is none.
pub const ABSENT: &str = "python3 -m venv target/benches/venv && \
                          target/benches/venv/bin/pip install filelock";

pub fn command(lock: &Path) -> Command {
    let mut command = Command::new(interpreter());
    command.args(["-c", SCRIPT]).arg(lock);
    command
}

pub fn is_there() -> bool {
    let mut command = Command::new(interpreter());
    command.args(["-c", "import filelock"]).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn interpreter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/benches/venv/bin/python")
}
