//! The guard alone: these tests take the place of `elect` and speak its protocol.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::support::{
    PATIENCE, Place, can_trace, elect_path, is_alive, now, pid_of, signal, wait_for_exit,
    wait_until,
};

#[path = "../../src/bin/elect/control.rs"]
#[expect(dead_code, reason = "one half of it is spoken here")]
mod control;

use control::Order;

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(300);

/// A guard with the command that it guards, in a place of its own.
struct Guard {
    place: Place,
    process: Child,
    elect: Option<OwnedFd>,
}

/// How to start one.
struct Setup {
    script: &'static str,
    term: Duration,
    kill_after: Duration,
    loss_grace: Duration,
    stdin: Option<&'static str>,
}

/// A guard of `sh -c script`, in a term that lasts.
fn guard(script: &'static str) -> Setup {
    Setup { script, term: LONG, kill_after: LONG, loss_grace: LONG, stdin: None }
}

impl Setup {
    fn term(self, term: Duration) -> Self {
        Self { term, ..self }
    }

    fn kill_after(self, kill_after: Duration) -> Self {
        Self { kill_after, ..self }
    }

    fn loss_grace(self, loss_grace: Duration) -> Self {
        Self { loss_grace, ..self }
    }

    fn stdin(self, stdin: &'static str) -> Self {
        Self { stdin: Some(stdin), ..self }
    }

    fn start(self) -> Guard {
        let place = Place::new();
        let (elect, theirs) = control::pair().unwrap();
        let input = place.path("stdin");
        std::fs::write(&input, self.stdin.unwrap_or_default()).unwrap();
        let input = File::open(input).unwrap();
        control::send_with(&elect, begin(self.term), b"name\0/lock", &[input.as_fd()]).unwrap();
        let process = guard_command(&place, self.kill_after, self.loss_grace)
            .args(["--", "sh", "-c", self.script])
            .stdin(Stdio::from(theirs))
            .spawn()
            .unwrap();
        Guard { place, process, elect: Some(elect) }
    }
}

/// The order to begin a term that lasts for `term` from now.
fn begin(term: Duration) -> Order {
    Order::Begin { deadline: (now() + term).as_nanos() as u64, token: 7 }
}

fn guard_command(place: &Place, kill_after: Duration, loss_grace: Duration) -> Command {
    let mut command = Command::new(elect_path());
    let words: [OsString; 4] = [
        "guard".into(),
        format!("--kill-after-millis={}", kill_after.as_millis()).into(),
        format!("--loss-grace-millis={}", loss_grace.as_millis()).into(),
        // No group of this number lends a terminal.
        "--lender=2147483647".into(),
    ];
    command.args(words).current_dir(place);
    command
}

impl Guard {
    fn order(&self, order: Order) {
        control::send(self.elect.as_ref().unwrap(), order).unwrap();
    }

    fn code(&mut self) -> Option<i32> {
        wait_for_exit(&mut self.process).code()
    }

    fn pid(&self, name: &str) -> Pid {
        self.place.wait_for_pid(name)
    }
}

/// Ends what a failed test leaves behind: the guard kills all below it when the socket closes, or
/// is itself killed after a moment.
impl Drop for Guard {
    fn drop(&mut self) {
        self.elect = None;
        if self.process.try_wait().is_ok_and(|status| status.is_none()) {
            signal(pid_of(&self.process), Signal::CONT);
            signal(pid_of(&self.process), Signal::KILL);
            let _ = self.process.wait();
        }
    }
}

#[test]
fn the_commands_code_is_the_guards() {
    assert_eq!(guard("exit 7").start().code(), Some(7));
    assert_eq!(guard("exit 0").start().code(), Some(0));
    assert_eq!(guard("kill -USR1 $$").start().code(), Some(128 + 10));
}

#[test]
fn standard_input_reaches_the_command_and_other_descriptors_do_not() {
    let mut guard = guard("cat > copy; ls /proc/self/fd | cat > fds").stdin("line\n").start();
    assert_eq!(guard.code(), Some(0));
    assert_eq!(guard.place.read("copy"), "line\n");
    // Whoever runs the tests may pass on some of its own.
    let inherited = Command::new("sh").args(["-c", "ls /proc/self/fd | cat"]).output().unwrap();
    assert_eq!(guard.place.read("fds"), String::from_utf8(inherited.stdout).unwrap());
}

#[test]
fn the_command_leads_its_group_and_has_every_signal_at_its_default() {
    let script = "cut -d \" \" -f 5 /proc/$$/stat > group; echo $$ > pid
        grep -E 'Sig(Blk|Ign)' /proc/self/status > masks";
    let mut guard = guard(script).start();
    assert_eq!(guard.code(), Some(0));
    assert_eq!(guard.place.read("group").trim(), guard.place.read("pid").trim());
    for line in guard.place.read("masks").lines() {
        let mask = u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap();
        // What the test's own parents ignore may stay so; SIGPIPE (13) and SIGTTOU (22) are ours,
        // and what a guard holds back: SIGHUP (1), SIGINT (2), SIGQUIT (3) and SIGTERM (15).
        let ours: &[u32] = if line.starts_with("SigBlk") { &[1, 2, 3, 13, 15, 22] } else { &[13] };
        assert!(ours.iter().all(|signal| mask & (1 << (signal - 1)) == 0), "{line}");
    }
}

#[test]
fn at_the_deadline_everything_ends_although_elect_says_nothing() {
    let mut guard = guard("echo $$ > pid; sleep 600 & wait").term(SHORT * 2).start();
    let command = guard.pid("pid");
    assert_eq!(guard.code(), Some(128 + 15));
    assert!(!is_alive(command));
}

#[test]
fn a_later_deadline_keeps_it_going() {
    let mut guard = guard("until [ -e go ]; do sleep 0.01; done").term(SHORT * 3).start();
    guard.order(Order::Deadline((now() + LONG).as_nanos() as u64));
    let start = now();
    wait_until("the first deadline to pass", || now() - start > SHORT * 4);
    assert!(guard.process.try_wait().unwrap().is_none(), "it ended at the first deadline");
    std::fs::write(guard.place.path("go"), "").unwrap();
    assert_eq!(guard.code(), Some(0));
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_after_the_grace_of_a_loss() {
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.01; done";
    let mut guard = guard(script).loss_grace(SHORT).start();
    guard.pid("pid");
    guard.order(Order::Lose);
    assert_eq!(guard.code(), Some(128 + 9));
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_after_the_grace_of_a_stop() {
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.01; done";
    let mut guard = guard(script).kill_after(SHORT).start();
    guard.pid("pid");
    guard.order(Order::Stop);
    assert_eq!(guard.code(), Some(128 + 9));
}

#[test]
fn a_command_may_clean_up_when_it_is_stopped_even_if_it_was_suspended() {
    let script = "trap 'echo bye > last; exit 3' TERM; echo $$ > pid; while :; do sleep 0.01; done";
    let mut guard = guard(script).start();
    let command = guard.pid("pid");
    signal(command, Signal::STOP);
    guard.order(Order::Stop);
    assert_eq!(guard.code(), Some(3));
    assert_eq!(guard.place.read("last"), "bye\n");
}

#[test]
fn what_a_command_that_is_stopped_leaves_in_its_group_is_told_once() {
    let script = "sh -c 'trap \"echo told >> told; [ -e go ] && exit\" TERM; echo $$ > pid
        while :; do sleep 0.01; done' & exec sleep 600";
    let mut guard = guard(script).start();
    guard.pid("pid");
    guard.order(Order::Stop);
    wait_until("word of it", || !guard.place.read("told").is_empty());
    let told = now();
    wait_until("a second word, which must not come", || now() - told > SHORT);
    assert_eq!(guard.place.read("told"), "told\n");
    signal(guard.pid("pid"), Signal::KILL);
    assert_eq!(guard.code(), Some(128 + 15));
}

#[test]
fn when_elect_is_gone_everything_ends_even_what_left_the_session() {
    let script = "echo $$ > pid
        setsid sh -c 'trap \"\" TERM HUP; echo $$ > escaped; while :; do sleep 0.01; done' &
        (setsid sh -c 'echo $$ > orphan; sleep 600' &) &
        wait";
    let mut guard = guard(script).loss_grace(SHORT).start();
    let pids = [guard.pid("pid"), guard.pid("escaped"), guard.pid("orphan")];
    guard.elect = None;
    assert_eq!(guard.code(), Some(128 + 15));
    for pid in pids {
        assert!(!is_alive(pid), "{pid:?} is still alive");
    }
}

#[test]
fn what_the_command_leaves_behind_is_ended_before_the_guard_ends() {
    let script = "(setsid sh -c 'echo $$ > left; exec sleep 600' &)
        until [ -s left ]; do sleep 0.01; done; exit 5";
    let mut guard = guard(script).start();
    let left = guard.pid("left");
    assert_eq!(guard.code(), Some(5));
    assert!(!is_alive(left));
}

#[test]
fn processes_that_keep_starting_others_are_all_killed() {
    let script = "trap '' TERM; echo $$ > pid
        breed() { while :; do setsid sh -c 'trap \"\" TERM; sleep 0.2' & sleep 0.01; done; }
        breed & breed & wait";
    let mut guard = guard(script).loss_grace(SHORT).start();
    guard.pid("pid");
    guard.order(Order::Lose);
    assert_eq!(guard.code(), Some(128 + 9));
}

#[test]
fn the_command_dies_with_its_guard() {
    let mut guard = guard("echo $$ > pid; exec sleep 600").start();
    let command = guard.pid("pid");
    signal(pid_of(&guard.process), Signal::KILL);
    guard.code();
    wait_until("the end of the command", || !is_alive(command));
}

#[test]
fn signals_that_end_elect_do_not_end_its_guard() {
    let mut guard = guard("echo $$ > pid; until [ -e go ]; do sleep 0.01; done; exit 4").start();
    guard.pid("pid");
    for number in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        signal(pid_of(&guard.process), number);
    }
    std::fs::write(guard.place.path("go"), "").unwrap();
    assert_eq!(guard.code(), Some(4));
}

#[test]
fn who_kills_elect_by_its_name_does_not_mean_its_guard() {
    let mut guard = guard("echo $$ > pid; until [ -e go ]; do sleep 0.01; done").start();
    guard.pid("pid");
    let process = guard.process.id();
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap();
    assert_eq!(name.trim_end(), "leader-guard");
    std::fs::write(guard.place.path("go"), "").unwrap();
    assert_eq!(guard.code(), Some(0));
}

#[test]
fn a_guard_that_was_frozen_past_the_deadline_kills_at_once() {
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.01; done";
    let mut guard = guard(script).term(SHORT * 2).loss_grace(SHORT).start();
    let command = guard.pid("pid");
    signal(pid_of(&guard.process), Signal::STOP);
    let frozen = now();
    wait_until("the deadline and the grace to pass", || now() - frozen > SHORT * 4);
    assert!(is_alive(command), "nothing could end it");
    signal(pid_of(&guard.process), Signal::CONT);
    assert_eq!(guard.code(), Some(128 + 9));
}

#[test]
fn a_guard_that_was_frozen_takes_the_renewals_that_it_missed() {
    let mut guard =
        guard("echo $$ > pid; until [ -e go ]; do sleep 0.01; done").term(SHORT * 2).start();
    guard.pid("pid");
    signal(pid_of(&guard.process), Signal::STOP);
    guard.order(Order::Deadline((now() + LONG).as_nanos() as u64));
    let frozen = now();
    wait_until("the first deadline to pass", || now() - frozen > SHORT * 3);
    signal(pid_of(&guard.process), Signal::CONT);
    std::fs::write(guard.place.path("go"), "").unwrap();
    assert_eq!(guard.code(), Some(0));
}

#[test]
fn an_order_that_waited_until_the_term_had_passed_starts_nothing() {
    for _ in 0..20 {
        let mut late = guard("touch ran").term(Duration::ZERO).start();
        assert_eq!(late.code(), Some(76));
        assert!(!late.place.path("ran").exists());
    }
}

#[test]
fn a_guard_that_is_not_told_to_begin_starts_nothing_and_ends_with_elect() {
    let place = Place::new();
    let (elect, theirs) = control::pair().unwrap();
    let mut process = guard_command(&place, LONG, LONG)
        .args(["--", "touch", "ran"])
        .stdin(Stdio::from(theirs))
        .spawn()
        .unwrap();
    let name = format!("/proc/{}/comm", process.id());
    wait_until("a guard that waits", || {
        std::fs::read_to_string(&name).is_ok_and(|name| name.trim_end() == "leader-guard")
    });
    // Or a copy of it could not become COMMAND.
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    assert_eq!(threads.count(), 1);
    // What ends `elect` says nothing to a guard that waits either.
    for number in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        signal(pid_of(&process), number);
    }
    assert_eq!(process.try_wait().unwrap(), None);
    drop(elect);
    assert_eq!(wait_for_exit(&mut process).code(), Some(76));
    assert!(!place.path("ran").exists());
}

#[test]
fn an_order_to_begin_that_a_guard_reads_late_starts_nothing() {
    let place = Place::new();
    let (elect, theirs) = control::pair().unwrap();
    let mut process = guard_command(&place, LONG, LONG)
        .args(["--", "touch", "ran"])
        .stdin(Stdio::from(theirs))
        .spawn()
        .unwrap();
    signal(pid_of(&process), Signal::STOP);
    control::send_with(&elect, begin(SHORT), b"name\0/lock", &[std::io::stdin().as_fd()]).unwrap();
    let told = now();
    wait_until("the end of the term", || now() - told > SHORT * 2);
    signal(pid_of(&process), Signal::CONT);
    assert_eq!(wait_for_exit(&mut process).code(), Some(76));
    assert!(!place.path("ran").exists());
}

/// The copy of a guard between its birth and COMMAND stands still while `strace` delays its `call`.
fn with_slow_start(call: &str, setup: Setup) -> Option<Guard> {
    with_slow_start_under(":", call, setup)
}

/// The same in a shell that has done `first`.
fn with_slow_start_under(first: &str, call: &str, setup: Setup) -> Option<Guard> {
    if !can_trace() {
        return None;
    }
    let place = Place::new();
    let (elect, theirs) = control::pair().unwrap();
    let stdin = std::io::stdin();
    control::send_with(&elect, begin(setup.term), b"name\0/lock", &[stdin.as_fd()]).unwrap();
    let delay = format!("inject={call}:delay_enter=900000");
    let guard = guard_command(&place, setup.kill_after, setup.loss_grace);
    let process = Command::new("sh")
        .args(["-c", &format!("{first}; exec \"$@\""), "sh", "strace"])
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &delay])
        .arg(elect_path())
        .args(guard.get_args())
        .args(["--", "sh", "-c", setup.script])
        .current_dir(&place)
        .stdin(Stdio::from(theirs))
        .spawn()
        .unwrap();
    Some(Guard { place, process, elect: Some(elect) })
}

#[test]
fn a_copy_of_the_guard_that_is_late_for_its_term_does_not_become_the_command() {
    let setup = guard("touch ran").term(SHORT * 2);
    let Some(mut late) = with_slow_start("getppid", setup) else { return };
    // By its own look at the lease, or told to end by its guard: whichever is first.
    assert!(matches!(late.code(), Some(76 | 143)));
    assert!(!late.place.path("ran").exists());
}

#[test]
fn a_copy_of_the_guard_that_ignores_sigterm_does_not_become_the_command_in_the_grace() {
    // Whoever has started `elect` ignores it, so the guard's word at the deadline ends nothing.
    let setup = guard("touch ran").term(SHORT);
    let Some(mut late) = with_slow_start_under("trap '' TERM", "getppid", setup) else { return };
    assert_eq!(late.code(), Some(76));
    assert!(!late.place.path("ran").exists());
}

#[test]
fn a_copy_of_the_guard_that_is_told_to_end_does_not_become_the_command() {
    let Some(mut told) = with_slow_start("getppid", guard("touch ran")) else { return };
    told.order(Order::Stop);
    assert_eq!(told.code(), Some(128 + 15));
    assert!(!told.place.path("ran").exists());
}

#[test]
fn an_elect_that_is_gone_before_the_start_starts_nothing() {
    let place = Place::new();
    let (elect, theirs) = control::pair().unwrap();
    drop(elect);
    let mut process = guard_command(&place, LONG, LONG)
        .args(["--", "touch", "ran"])
        .stdin(Stdio::from(theirs))
        .spawn()
        .unwrap();
    assert_eq!(wait_for_exit(&mut process).code(), Some(76));
    assert!(!place.path("ran").exists());
}

#[test]
fn a_command_that_is_missing_or_not_executable_has_its_code() {
    for (command, code) in [("/nowhere/at/all", 127), ("/etc/passwd", 126), ("/", 126)] {
        let place = Place::new();
        let (elect, theirs) = control::pair().unwrap();
        control::send_with(&elect, begin(PATIENCE), b"name\0/lock", &[std::io::stdin().as_fd()])
            .unwrap();
        let output = guard_command(&place, LONG, LONG)
            .args(["--", command])
            .stdin(Stdio::from(theirs))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{command}");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains(command), "{message}");
    }
}

#[test]
fn a_guard_that_has_no_room_for_the_companion_starts_nothing() {
    // Under each of these limits something is lost, and what it is depends on what is open.
    for limit in 5..=10 {
        let place = Place::new();
        let (elect, theirs) = control::pair().unwrap();
        let companion = tempfile::tempfile().unwrap();
        let stdin = std::io::stdin();
        let files = [stdin.as_fd(), companion.as_fd()];
        control::send_with(&elect, begin(PATIENCE), b"name\0/lock", &files).unwrap();
        let guard = guard_command(&place, LONG, LONG);
        let mut process = Command::new("sh")
            .args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh", elect_path()])
            .args(guard.get_args())
            .args(["--", "touch", "ran"])
            .current_dir(&place)
            .stdin(Stdio::from(theirs))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert_eq!(wait_for_exit(&mut process).code(), Some(125), "{limit} files");
        assert!(!place.path("ran").exists(), "{limit} files");
    }
}
