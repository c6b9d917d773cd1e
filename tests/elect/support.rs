//! What the tests of the command share: processes, files that they write, and waits with a
//! deadline.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
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

/// Whether processes can be held up by strace here; says so where not.
pub fn can_trace() -> bool {
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    let can = traced.is_ok_and(|traced| traced.status.success());
    if !can {
        println!("skipped: strace can't be used here");
    }
    can
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

/// A lease that ends soon, for tests that wait for it.
pub const FAST: [&str; 6] =
    ["--lease-duration", "1s", "--renew-deadline", "600ms", "--retry-period", "100ms"];

/// An `elect run` or `elect once` on the lock `lock` of a place, and its COMMAND: a shell script.
#[derive(Debug)]
pub struct Setup<'a> {
    place: &'a Place,
    words: Vec<String>,
    environment: Vec<(&'static str, PathBuf)>,
    script: Vec<String>,
    stdin: Stdio,
    stderr: Stdio,
}

impl<'a> Setup<'a> {
    fn new(place: &'a Place, subcommand: &str) -> Self {
        let words = [subcommand, "--lock", "lock"].map(str::to_owned).to_vec();
        Self {
            place,
            words,
            environment: Vec::new(),
            script: Vec::new(),
            stdin: Stdio::null(),
            stderr: Stdio::piped(),
        }
    }

    /// More options.
    pub fn with<'w>(mut self, words: impl IntoIterator<Item = &'w str>) -> Self {
        self.words.extend(words.into_iter().map(str::to_owned));
        self
    }

    /// A variable in its environment; the last of a name counts.
    pub fn env(mut self, key: &'static str, value: &Path) -> Self {
        self.environment.push((key, value.to_owned()));
        self
    }

    /// A shell script as COMMAND.
    pub fn script(mut self, script: &str) -> Self {
        self.script = ["sh", "-c", script].map(str::to_owned).to_vec();
        self
    }

    /// COMMAND itself.
    pub fn command(mut self, words: &[&str]) -> Self {
        self.script = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    pub fn stdin(mut self, stdin: Stdio) -> Self {
        self.stdin = stdin;
        self
    }

    pub fn stderr(mut self, stderr: Stdio) -> Self {
        self.stderr = stderr;
        self
    }

    pub fn start(self) -> Elect {
        let process = Command::new(elect_path())
            .args(&self.words)
            .arg("--")
            .args(&self.script)
            .envs(self.environment)
            .current_dir(self.place)
            // In the background of a terminal that the tests may run on.
            .process_group(0)
            .stdin(self.stdin)
            .stdout(Stdio::piped())
            .stderr(self.stderr)
            .spawn()
            .expect("elect starts");
        Elect(process)
    }

    /// Runs it to its end.
    pub fn finish(self) -> Finished {
        self.start().finish()
    }
}

/// An `elect` that runs; killed with what it guards when the test is over.
#[derive(Debug)]
pub struct Elect(pub Child);

/// What an `elect` that has ended said and returned.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Elect {
    pub fn pid(&self) -> Pid {
        pid_of(&self.0)
    }

    /// Its guard, from before it leads.
    pub fn guard(&self) -> Pid {
        wait_for("a guard", || children_of(self.pid()).first().copied())
    }

    pub fn signal(&self, number: Signal) {
        signal(self.pid(), number);
    }

    pub fn code(&mut self) -> Option<i32> {
        wait_for_exit(&mut self.0).code()
    }

    /// Waits for its end. What it says must fit into a pipe.
    pub fn finish(mut self) -> Finished {
        let code = self.code();
        let mut finished = Finished { code, stdout: String::new(), stderr: String::new() };
        if let Some(mut stdout) = self.0.stdout.take() {
            stdout.read_to_string(&mut finished.stdout).expect("text");
        }
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut finished.stderr).expect("text");
        }
        finished
    }
}

impl Drop for Elect {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|status| status.is_none()) {
            // Its guard sees that it is gone and ends the rest.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// `elect run` in a place.
pub fn run(place: &Place) -> Setup<'_> {
    Setup::new(place, "run")
}

/// `elect once` in a place.
pub fn once(place: &Place) -> Setup<'_> {
    Setup::new(place, "once")
}

/// Any other use of `elect` in a place.
pub fn elect(place: &Place, words: &[&str]) -> Finished {
    let output = Command::new(elect_path())
        .args(words)
        .current_dir(place)
        .stdin(Stdio::null())
        .output()
        .expect("elect runs");
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

/// `elect status --json` of the lock `lock`.
pub fn status(place: &Place) -> serde_json::Value {
    let finished = elect(place, &["status", "lock", "--json"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    serde_json::from_str(&finished.stdout).expect("JSON")
}
