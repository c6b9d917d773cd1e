//! `on_stopped_leading` ends the process, as users of the original do, while all else is blocked
//! for ever: the lock hangs, the work ignores its stop signal, and the log and the other callbacks
//! are stuck.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leaderelection::crossbeam_channel::{Receiver, after, never};
use leaderelection::{
    Config, Intent, LeaderCallbacks, LeaderElectionRecord, LeaderElector, Lock, LockError,
    MemoryLock, Observed, Revision, Term,
};

const CODE: i32 = 42;

static BLOCKED: AtomicBool = AtomicBool::new(false);

fn perhaps_block() {
    if BLOCKED.load(Ordering::SeqCst) {
        let _ = never::<()>().recv();
    }
}

struct Hangs(MemoryLock);

impl Lock for Hangs {
    fn get(&mut self, budget: Duration) -> Result<Option<Observed>, LockError> {
        perhaps_block();
        self.0.get(budget)
    }

    fn write(
        &mut self,
        intent: Intent,
        record: &LeaderElectionRecord,
        expected: Option<Revision>,
        budget: Duration,
    ) -> Result<Revision, LockError> {
        perhaps_block();
        self.0.write(intent, record, expected, budget)
    }

    fn describe(&self) -> String {
        "a lock that hangs".to_owned()
    }
}

struct FullPipe;

impl log::Log for FullPipe {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, _: &log::Record<'_>) {
        perhaps_block();
    }
    fn flush(&self) {}
}

/// Not a test of its own: what the test below runs as a process.
#[test]
fn led_process() {
    if std::env::var_os("LED_PROCESS").is_none() {
        return;
    }
    log::set_logger(&FullPipe).expect("the only logger");
    log::set_max_level(log::LevelFilter::Trace);
    let callbacks = LeaderCallbacks::new()
        .on_started_leading(|_: &Term| {
            BLOCKED.store(true, Ordering::SeqCst);
            let _ = never::<()>().recv();
        })
        .on_new_leader(|_: &str| perhaps_block())
        .on_stopped_leading(|| std::process::exit(CODE));
    let config = Config::new(Hangs(MemoryLock::new()))
        .lease_duration(Duration::from_millis(600))
        .renew_deadline(Duration::from_millis(400))
        .retry_period(Duration::from_millis(100))
        .callbacks(callbacks)
        .on_event(|_| perhaps_block());
    let elector = LeaderElector::new(config).expect("settings");
    let _ = elector.run(never());
    unreachable!("the work never returns, so neither does the run");
}

#[test]
fn the_process_can_end_itself_when_all_else_is_blocked() {
    let mut process = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "led_process", "--nocapture"])
        .env("LED_PROCESS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let deadline: Receiver<_> = after(Duration::from_secs(30));
    let status = loop {
        if let Some(status) = process.try_wait().expect("can be waited for") {
            break Some(status);
        }
        if deadline.try_recv().is_ok() {
            break None;
        }
        let _ = after(Duration::from_millis(10)).recv();
    };
    if status.is_none() {
        let _ = process.kill();
        let _ = process.wait();
    }
    assert_eq!(status.and_then(|status| status.code()), Some(CODE));
}
