//! Deaths on one host: a leader that is proven to be gone is succeeded at once, any other in time.
//!
//! The lease is far longer than a test may wait, so that only a proof can end the wait for it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::support::{
    Elect, Place, Setup, children_of, is_alive, pause, run, signal, wait_for, wait_until,
};

/// No test waits so long.
const LONG: [&str; 2] = ["--lease-duration", "10m"];

/// Looks often, with a lease that is too long to wait for.
const OFTEN: [&str; 2] = ["--retry-period", "50ms"];

/// Looks so seldom that it has to be woken.
const SELDOM: [&str; 2] = ["--retry-period", "100s"];

/// A place whose companions lie in a directory of its own.
struct Host {
    place: Place,
    runtime: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let runtime = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
        Self { place: Place::new(), runtime }
    }

    fn run(&self) -> Setup<'_> {
        self.run_looking(OFTEN)
    }

    fn run_looking(&self, often: [&str; 2]) -> Setup<'_> {
        self.run_with(LONG, often)
    }

    fn run_with(&self, lease: [&str; 2], often: [&str; 2]) -> Setup<'_> {
        run(&self.place).with(lease).with(often).env("XDG_RUNTIME_DIR", self.runtime.path())
    }

    /// The files that stand for processes.
    fn companions(&self) -> Vec<PathBuf> {
        let Some(directory) = fs::read_dir(self.runtime.path()).unwrap().flatten().next() else {
            return Vec::new();
        };
        let files = fs::read_dir(directory.path()).unwrap().flatten().map(|file| file.path());
        files.filter(|file| file.extension() == Some("alive".as_ref())).collect()
    }

    /// One that writes its process id to `pid` and goes on.
    fn leader(&self) -> Elect {
        let leader = self.run().script("echo $$ > pid; exec sleep 600").start();
        self.place.wait_for_pid("pid");
        leader
    }

    fn waiter(&self) -> Elect {
        let waiter = self.run().with(["--identity", "waiter"]).script("echo $$ > second").start();
        pause(std::time::Duration::from_millis(300));
        assert_eq!(self.place.read("second"), "");
        waiter
    }
}

#[test]
fn a_leader_that_was_killed_is_succeeded_long_before_its_lease_is_over() {
    let host = Host::new();
    let leader = host.leader();
    let mut waiter = host.waiter();
    leader.signal(Signal::KILL);
    assert_eq!(waiter.code(), Some(0));
    assert_eq!(host.companions().len(), 1, "the proof is left for other locks");
}

#[test]
fn a_release_and_a_death_are_heard_of_long_before_the_next_look() {
    for kill in [false, true] {
        let host = Host::new();
        let mut leader = host.leader();
        let mut waiters: Vec<Elect> =
            (0..5).map(|_| host.run_looking(SELDOM).script("echo line >> led").start()).collect();
        for waiter in &mut waiters {
            // It has looked, and knows who leads.
            let mut line = String::new();
            BufReader::new(waiter.0.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
            assert!(line.contains(" leads"), "{line}");
        }
        match kill {
            true => leader.signal(Signal::KILL),
            false => leader.signal(Signal::TERM),
        }
        leader.code();
        for waiter in &mut waiters {
            assert_eq!(waiter.code(), Some(0));
        }
        assert_eq!(host.place.read("led").lines().count(), 5);
    }
}

#[test]
fn whoever_comes_after_a_leader_was_killed_need_not_wait_either() {
    let host = Host::new();
    let mut leader = host.leader();
    let command = host.place.wait_for_pid("pid");
    leader.signal(Signal::KILL);
    leader.code();
    wait_until("the end of COMMAND", || !is_alive(command));
    assert_eq!(host.run().with(["--wait", "0"]).script("true").finish().code, Some(0));
}

#[test]
fn trying_only_beside_a_leader_that_lives_is_over_at_once() {
    let host = Host::new();
    let leader = host.leader();
    // A renewal would be a sign of life too, but none comes so soon.
    for frozen in [false, true] {
        if frozen {
            leader.signal(Signal::STOP);
        }
        let trying = host.run_looking(SELDOM).with(["--wait", "0"]).script("true");
        let tried = trying.finish();
        assert_eq!(tried.code, Some(75), "{}", tried.stderr);
    }
}

#[test]
fn a_leader_that_is_frozen_is_not_dead() {
    let host = Host::new();
    let leader = host.leader();
    leader.signal(Signal::STOP);
    host.waiter();
    assert_eq!(host.place.read("second"), "");
    drop(leader);
}

#[test]
fn a_lease_that_has_run_out_is_taken_though_the_process_is_there() {
    let host = Host::new();
    let run = || host.run_with(["--lease-duration", "2s"], OFTEN);
    let leader = run().script("echo $$ > pid; exec sleep 600").start();
    host.place.wait_for_pid("pid");
    leader.signal(Signal::STOP);
    // Each try either finds that the lease lasts, or times its end.
    wait_until("a successor", || {
        let tried = run().with(["--wait", "0"]).script("true").finish();
        assert!(matches!(tried.code, Some(0 | 75)), "{}", tried.stderr);
        tried.code == Some(0)
    });
    drop(leader);
}

#[test]
fn nobody_leads_before_all_work_of_a_killed_leader_is_dead() {
    let host = Host::new();
    // COMMAND does not heed SIGTERM, and has a child in a session of its own.
    let stubborn = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > escaped; sleep 600' & \
                    echo $$ > pid; sleep 600";
    let leader = host.run().with(["--loss-grace", "1s"]).script(stubborn).start();
    let (command, escaped) = (host.place.wait_for_pid("pid"), host.place.wait_for_pid("escaped"));
    let mut waiter = host.waiter();
    leader.signal(Signal::KILL);
    wait_until("the successor", || {
        let leads = !host.place.read("second").is_empty();
        assert!(!leads || !(is_alive(command) || is_alive(escaped)), "two work at once");
        leads
    });
    assert_eq!(waiter.code(), Some(0));
}

#[test]
fn work_that_outlives_both_its_leader_and_its_guard_has_the_whole_lease() {
    let host = Host::new();
    let mut leader =
        host.run().script("setsid sh -c 'echo $$ > pid; exec sleep 600' & wait").start();
    let escaped = host.place.wait_for_pid("pid");
    let guard = leader.guard();
    signal(guard, Signal::STOP);
    leader.signal(Signal::KILL);
    signal(guard, Signal::KILL);
    leader.code();
    wait_until("the end of the guard", || !is_alive(guard));
    assert!(is_alive(escaped));
    let waiter = host.waiter();
    assert!(is_alive(escaped));
    // No proof, and no sign of life either: who only tries goes on to time the lease.
    let mut trying = host.run().with(["--wait", "0"]).script("true").start();
    pause(std::time::Duration::from_millis(300));
    assert_eq!(trying.0.try_wait().unwrap(), None);
    signal(escaped, Signal::KILL);
    drop((waiter, trying));
}

#[test]
fn whoever_does_not_share_the_companions_waits_out_the_lease() {
    type Change = fn(&Host, Setup<'_>) -> Elect;
    let changes: [(&str, Change); 3] = [
        ("another directory", |host, waiter| {
            let other = host.place.path("elsewhere");
            fs::create_dir_all(&other).unwrap();
            waiter.env("XDG_RUNTIME_DIR", &other).start()
        }),
        ("told not to", |_, waiter| waiter.with(["--no-same-host"]).start()),
        ("the file is gone", |host, waiter| {
            host.companions().iter().for_each(|file| fs::remove_file(file).unwrap());
            waiter.start()
        }),
    ];
    for (what, change) in changes {
        let host = Host::new();
        let mut leader = host.leader();
        let command = host.place.wait_for_pid("pid");
        let _waiter = change(&host, host.run().script("echo > second"));
        leader.signal(Signal::KILL);
        leader.code();
        wait_until("the end of COMMAND", || !is_alive(command));
        pause(std::time::Duration::from_millis(300));
        assert_eq!(host.place.read("second"), "", "{what}");
    }
}

#[test]
fn a_leader_that_was_told_to_show_nothing_does_not() {
    let host = Host::new();
    let leader = host.run().with(["--no-same-host"]).script("echo $$ > pid; sleep 600").start();
    host.place.wait_for_pid("pid");
    assert!(host.companions().is_empty());
    let shown = fs::read_dir(host.place.path("lock"))
        .unwrap()
        .flatten()
        .any(|name| fs::read_link(name.path()).unwrap().to_string_lossy().contains("companion"));
    assert!(!shown);
    drop(leader);
}

#[test]
fn command_and_its_guard_have_the_companion_open_and_the_scripts_digits_are_free() {
    let host = Host::new();
    let leader = host.leader();
    let [companion] = &host.companions()[..] else { panic!("one companion") };
    let companion = fs::metadata(companion).unwrap().ino();
    let command = host.place.wait_for_pid("pid");
    let guard = leader.guard();
    assert!(children_of(guard).contains(&command));
    for pid in [leader.pid(), guard, command] {
        let open = wait_for("a descriptor", || {
            let files = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).ok()?;
            files.flatten().map(|file| file.path()).find(|file| {
                fs::metadata(file).is_ok_and(|open| open.is_file() && open.ino() == companion)
            })
        });
        let number: i32 = open.file_name().unwrap().to_str().unwrap().parse().unwrap();
        assert!(pid == leader.pid() || number >= 10, "descriptor {number}");
    }
}
