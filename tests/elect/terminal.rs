//! `elect` at a terminal: keys, job control, and who may read. The tests type into a shell that
//! runs on a pseudoterminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{self, Place, elect_path, wait_until};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

/// A terminal with a program on it, and what it has shown so far.
struct Terminal {
    place: Place,
    controller: File,
    program: Child,
    shown: String,
    name: String,
}

impl Terminal {
    /// A shell with job control.
    fn with_shell() -> Self {
        let mut terminal = Self::with(&["bash", "--norc", "--noprofile", "-i"]);
        terminal.wait_for("ready> ");
        terminal
    }

    /// `words` as the leader of a session of its own.
    fn with(words: &[&str]) -> Self {
        let place = Place::new();
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).unwrap();
        rustix::fs::fcntl_setfl(&controller, OFlags::NONBLOCK).unwrap();
        let end = |terminal: &OwnedFd| Stdio::from(terminal.try_clone().unwrap());
        let program = Command::new("setsid")
            .arg("--ctty")
            .args(words)
            .env("PS1", "ready> ")
            .env("TERM", "dumb")
            .env("ELECT", elect_path())
            .current_dir(&place)
            .stdin(end(&terminal))
            .stdout(end(&terminal))
            .stderr(end(&terminal))
            .spawn()
            .unwrap();
        let name = name.to_string_lossy().trim_start_matches("/dev/").to_owned();
        Self { place, controller: File::from(controller), program, shown: String::new(), name }
    }

    fn press(&mut self, keys: &str) {
        self.controller.write_all(keys.as_bytes()).unwrap();
    }

    fn enter(&mut self, line: &str) {
        self.press(line);
        self.press("\r");
    }

    /// Waits until `text` is shown; returns it with all that came before.
    fn wait_for(&mut self, text: &str) -> String {
        let (controller, shown) = (&mut self.controller, &mut self.shown);
        let mut bytes = [0; 4096];
        support::wait_for(&format!("{text:?} on the terminal"), || {
            // At its end, a terminal that nobody has open any more gives an error.
            if let Ok(count) = controller.read(&mut bytes) {
                shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
            shown.find(text).map(|at| shown.drain(..at + text.len()).collect())
        })
    }

    /// The exit code of the last command of the shell.
    fn expect_code(&mut self, code: i32) {
        self.wait_for("ready> ");
        // What is typed is shown too; this is not what is waited for.
        self.enter("echo code=$?.");
        self.wait_for(&format!("code={code}."));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("on the terminal: {:?}", self.shown);
            let words = ["-o", "pid,ppid,pgid,tpgid,stat,wchan,args", "-t", &self.name];
            let processes = Command::new("ps").args(words).output().unwrap().stdout;
            println!("{}", String::from_utf8_lossy(&processes));
        }
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// Says that it is there, in words that were not typed like this; then reads a line.
const READER: &str = r#"sh -c 'echo I "am" here; read line; echo got "<$line>"'"#;

/// Says that it is there, and goes on. Not with a program in the foreground: while a shell starts
/// one by vfork, it loses keys, with or without `elect`.
const WAITER: &str = r#"sh -c 'sleep 600 & echo I "am" here; wait'"#;

#[test]
fn ctrl_c_ends_command_and_elect() {
    let mut terminal = Terminal::with_shell();
    for options in ["", "--repeat"] {
        terminal.enter(&format!("$ELECT run -q {options} --lock lock -- {WAITER}"));
        terminal.wait_for("I am here");
        terminal.press(CTRL_C);
        terminal.expect_code(130);
    }
}

#[test]
fn ctrl_c_ends_a_loop_of_the_shell_too() {
    let mut terminal = Terminal::with_shell();
    let run = "$ELECT run -q --lock lock -- sh -c 'sleep 600 & echo round \"$1\" is here; wait' sh";
    terminal.enter(&format!("for round in 1 2 3; do {run} $round; done"));
    terminal.wait_for("round 1 is here");
    terminal.press(CTRL_C);
    terminal.expect_code(130);
}

#[test]
fn a_guard_that_is_killed_leaves_the_terminal_to_the_shell() {
    let mut terminal = Terminal::with_shell();
    terminal.enter("$ELECT run -q --lock lock -- sh -c 'kill -9 $PPID; sleep 600'");
    terminal.expect_code(137);
}

#[test]
fn ctrl_c_ends_a_campaign() {
    let mut terminal = Terminal::with_shell();
    terminal.enter("$ELECT run -q --lock lock -- sleep 600 &");
    terminal.wait_for("ready> ");
    terminal.enter("until $ELECT status lock | grep -w held; do sleep 0.05; done");
    terminal.wait_for("held\r");
    terminal.enter("$ELECT run --lock lock -- true");
    terminal.wait_for(" leads");
    terminal.press(CTRL_C);
    terminal.expect_code(130);
    terminal.enter("kill %1; wait %1");
    terminal.expect_code(143);
}

#[test]
fn who_waits_is_told_for_how_long_until_the_command_has_the_terminal() {
    let mut terminal = Terminal::with_shell();
    let script = "until [ -e over ]; do sleep 0.05; done";
    terminal.enter(&format!("$ELECT run -q --lock lock --identity other -- sh -c '{script}' &"));
    terminal.wait_for("ready> ");
    terminal.enter("until $ELECT status lock | grep -w held; do sleep 0.05; done");
    terminal.wait_for("held\r");
    terminal.enter(&format!("TERM=xterm $ELECT run --lock lock -- {READER}"));
    terminal.wait_for("elect: other leads\r\n");
    terminal.wait_for("\r\x1b[Kelect: waiting: other has led for 0s or more");
    terminal.wait_for("\r\x1b[Kelect: waiting: other has led for 1s or more");
    std::fs::write(terminal.place.path("over"), "").unwrap();
    terminal.wait_for("\r\x1b[K");
    let shown = terminal.wait_for("I am here");
    assert!(shown.contains("this candidate\r\n"), "{shown:?}");
    terminal.enter("this");
    // Nothing was drawn over what the command shows.
    let shown = terminal.wait_for("got <this>");
    assert!(!shown.contains("waiting") && !shown.contains("\x1b["), "{shown:?}");
    terminal.expect_code(0);
}

#[test]
fn ctrl_c_is_for_the_command_that_handles_it() {
    let mut terminal = Terminal::with_shell();
    let script = r#"trap "echo caught " INT; echo I "am" here; read line; echo got "<$line>""#;
    terminal.enter(&format!("$ELECT run -q --lock lock -- bash -c '{script}'"));
    terminal.wait_for("I am here");
    terminal.press(CTRL_C);
    terminal.wait_for("caught");
    terminal.enter("more");
    terminal.wait_for("got <more>");
    terminal.expect_code(0);
}

#[test]
fn the_command_reads_from_the_terminal_and_the_shell_after_it() {
    let mut terminal = Terminal::with_shell();
    terminal.enter(&format!("$ELECT run -q --lock lock -- {READER}"));
    terminal.wait_for("I am here");
    terminal.enter("this");
    terminal.wait_for("got <this>");
    terminal.expect_code(0);
}

#[test]
fn ctrl_z_stops_the_job_and_fg_continues_it() {
    let mut terminal = Terminal::with_shell();
    terminal.enter(&format!("$ELECT run -q --lock lock -- {READER}"));
    terminal.wait_for("I am here");
    terminal.press(CTRL_Z);
    terminal.wait_for("Stopped");
    terminal.enter("echo the shell is \"back\"");
    terminal.wait_for("the shell is back");
    terminal.enter("fg");
    terminal.wait_for("$ELECT run");
    terminal.enter("this");
    terminal.wait_for("got <this>");
    terminal.expect_code(0);
}

#[test]
fn a_job_that_stays_stopped_loses_and_its_command_does_not_outlive_that() {
    let mut terminal = Terminal::with_shell();
    let fast = "--lease-duration 1s --renew-deadline 600ms --retry-period 100ms";
    let script = "echo $$ > pid; sleep 600 & echo I \"am\" here; wait";
    terminal.enter(&format!("$ELECT run -q {fast} --lock lock -- sh -c '{script}'"));
    terminal.wait_for("I am here");
    let command = terminal.place.wait_for_pid("pid");
    terminal.press(CTRL_Z);
    terminal.wait_for("Stopped");
    wait_until("the end of the command", || !support::is_alive(command));
    terminal.enter("fg");
    terminal.wait_for("$ELECT run");
    terminal.expect_code(76);
}

#[test]
fn a_background_job_stops_when_it_reads_and_goes_on_in_the_foreground() {
    let mut terminal = Terminal::with_shell();
    terminal.enter(&format!("$ELECT run -q --lock lock -- {READER} &"));
    terminal.wait_for("I am here");
    wait_until("the job to stop", || {
        terminal.enter("jobs");
        terminal.wait_for("ready> ").contains("Stopped")
    });
    terminal.enter("fg");
    terminal.wait_for("$ELECT run");
    terminal.enter("this");
    terminal.wait_for("got <this>");
    terminal.expect_code(0);
}

#[test]
fn without_a_shell_to_continue_it_ctrl_z_is_without_effect() {
    let script = "echo I \"am\" here; read line; echo got \"<$line>\"; exit 3";
    let words = [elect_path(), "run", "-q", "--lock", "lock", "--", "sh", "-c", script];
    let mut terminal = Terminal::with(&words);
    terminal.wait_for("I am here");
    terminal.press(CTRL_Z);
    terminal.enter("this");
    terminal.wait_for("got <this>");
    assert_eq!(support::wait_for_exit(&mut terminal.program).code(), Some(3));
}

#[test]
fn a_killed_command_leaves_the_terminal_usable() {
    let mut terminal = Terminal::with_shell();
    terminal.enter("$ELECT run -q --lock lock -- sh -c 'stty -echo -icanon; kill -9 $$'");
    terminal.expect_code(137);
    terminal.enter(
        "stty -a | tr ';' '\\n' | grep -oE -- '-?(echo|icanon)\\b' | sort | xargs echo modes:",
    );
    terminal.wait_for("modes: echo icanon");
}
