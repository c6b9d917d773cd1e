//! A machine with clocks of its own, and a candidate on it.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::ledger::WRITER;
use crate::support::{Elect, Place, children_of, elect_path, now, signal, wait_for, wait_until};

/// The lease of all candidates, on their own clocks.
pub const LEASE: Duration = Duration::from_secs(2);

const OPTIONS: [&str; 6] =
    ["--lease-duration", "2s", "--renew-deadline", "1200ms", "--retry-period", "200ms"];

/// The library to preload, compiled once.
fn preload() -> &'static PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("preload.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clocks/preload.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
            .arg(&library)
            .args([source, "-ldl", "-lpthread"])
            .status();
        assert!(compiled.is_ok_and(|status| status.success()), "cc can't compile {source}");
        library
    })
}

/// One candidate on a machine of its own: clocks and boot identity are not those of the others.
pub struct Machine<'a> {
    pub name: String,
    place: &'a Place,
    elect: Elect,
}

impl<'a> Machine<'a> {
    /// All clocks run at `rate` from now on. Its command does not heed SIGTERM.
    pub fn start(place: &'a Place, name: &str, rate: f64) -> Self {
        let boot = place.path(&format!("{name}.boot"));
        std::fs::write(&boot, format!("{name}\n")).expect("a boot identity");
        let log = File::options().create(true).append(true).open(place.path(&log_of(name)));
        let process = Command::new(elect_path())
            .args(["run", "--repeat", "--lock", "lock", "--identity", name])
            .args(OPTIONS)
            .args(["--", "sh", "-c", &format!("trap '' TERM; {WRITER}")])
            .env("LD_PRELOAD", preload())
            .env("ELECT_CLOCK_RATE", rate.to_string())
            .env("ELECT_CLOCK_ORIGIN", now().as_nanos().to_string())
            .env("ELECT_CLOCK_JUMP", place.path(&format!("{name}.jump")))
            .env("ELECT_CLOCK_BOOT", boot)
            .current_dir(place)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .spawn()
            .expect("elect starts");
        Self { name: name.to_owned(), place, elect: Elect(process) }
    }

    /// What `elect` has said.
    pub fn log(&self) -> String {
        self.place.read(&log_of(&self.name))
    }

    pub fn pid(&self) -> Pid {
        self.elect.pid()
    }

    /// Its command, while it leads.
    pub fn command(&self) -> Pid {
        wait_for("COMMAND", || {
            let guard = children_of(self.pid()).first().copied()?;
            children_of(guard).first().copied()
        })
    }

    /// Waits until it has seen that `other` leads.
    pub fn wait_until_it_follows(&self, other: &str) {
        let word = format!("elect: {other} leads\n");
        wait_until("a candidate that waits", || self.log().contains(&word));
    }

    /// What a suspend is to it: nothing runs, and afterwards only the clock that counts it has gone
    /// on.
    pub fn suspend(&self, span: Duration) {
        let mut all = vec![self.pid()];
        let mut next = 0;
        while let Some(pid) = all.get(next) {
            all.extend(children_of(*pid));
            next += 1;
        }
        all.iter().for_each(|pid| signal(*pid, Signal::STOP));
        let jump = self.place.path(&format!("{}.jump", self.name));
        std::fs::write(jump, span.as_nanos().to_string()).expect("a jump");
        all.iter().rev().for_each(|pid| signal(*pid, Signal::CONT));
    }
}

fn log_of(name: &str) -> String {
    format!("{name}.log")
}
