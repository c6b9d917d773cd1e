//! What the tests of the command share: processes, files that they write, and waits with a deadline.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal};

/// Long enough for a loaded machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The command under test.
pub fn elect_path() -> &'static str {
    env!("CARGO_BIN_EXE_elect")
}

/// A directory of the test's own, gone with it.
#[derive(Debug)]
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The file's text so far; empty where there is no file yet.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The first word of the file as a process id, once it is there.
    pub fn wait_for_pid(&self, name: &str) -> Pid {
        wait_for(&format!("a process id in {name}"), || {
            let text = self.read(name);
            let (pid, _) = text.split_once('\n')?;
            Pid::from_raw(pid.trim().parse().ok()?)
        })
    }
}

impl AsRef<Path> for Place {
    fn as_ref(&self) -> &Path {
        self.0.path()
    }
}

/// Polls until `look` finds something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(now() - start < PATIENCE, "waited in vain for {what}");
        pause(Duration::from_millis(5));
    }
}

/// Polls until `holds` does.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

/// The exit of `child`, once it has ended.
pub fn wait_for_exit(child: &mut Child) -> ExitStatus {
    wait_for("the end of a process", || child.try_wait().expect("wait"))
}

/// Time on the clock that counts a suspend.
#[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
pub fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// For polls.
#[expect(clippy::disallowed_methods, reason = "between two looks of a poll")]
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// Whether the process still runs; a zombie doesn't.
pub fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| {
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
        !matches!(state, Some(Some('Z' | 'X')) | None)
    })
}

/// The children of a process.
pub fn children_of(pid: Pid) -> Vec<Pid> {
    let own = pid.as_raw_nonzero();
    let Ok(tasks) = fs::read_dir(format!("/proc/{own}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|pids| pids.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .filter_map(Pid::from_raw)
        .collect()
}

/// Sends a signal to a process that may have ended.
pub fn signal(pid: Pid, signal: Signal) {
    let _ = rustix::process::kill_process(pid, signal);
}

/// The process id of a child.
pub fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32).expect("a process id")
}
