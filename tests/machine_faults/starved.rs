//! A cgroup that gives `elect` and its guard a millisecond of each second.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

use crate::support::{Place, children_of, is_alive, wait_for, wait_until};
use crate::{candidate, ledger};

/// A control group of the test's own, gone with it.
struct Group {
    path: PathBuf,
    /// Where its processes go at the end.
    parent: PathBuf,
}

impl Group {
    /// `None` where no group can be made, or its share of time can't be set.
    fn new() -> Option<Self> {
        // The hierarchy of version 2, or the one of version 1 that divides time.
        let parents = ["/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"];
        parents.iter().map(Path::new).find_map(|parent| {
            let path = parent.join(format!("elect-starved-{}", std::process::id()));
            fs::create_dir(&path).ok()?;
            let group = Self { path, parent: parent.to_owned() };
            // A directory elsewhere is no group. Whether it may be used shows when a process is in.
            let is_group = group.path.join("cgroup.procs").exists();
            let usable = is_group && group.give(500_000).is_some() && group.is_open();
            usable.then_some(group)
        })
    }

    fn is_open(&self) -> bool {
        let Ok(mut probe) = std::process::Command::new("sleep").arg("60").spawn() else {
            return false;
        };
        let moved = self.take(Pid::from_child(&probe));
        let _ = probe.kill();
        let _ = probe.wait();
        moved
    }

    /// This many microseconds of each second, on all cores together.
    fn give(&self, micros: u32) -> Option<()> {
        let second = "1000000";
        let version_1 = || {
            fs::write(self.path.join("cpu.cfs_period_us"), second)?;
            fs::write(self.path.join("cpu.cfs_quota_us"), micros.to_string())
        };
        fs::write(self.path.join("cpu.max"), format!("{micros} {second}"))
            .or_else(|_| version_1())
            .ok()
    }

    fn take(&self, pid: Pid) -> bool {
        fs::write(self.path.join("cgroup.procs"), pid.as_raw_nonzero().to_string()).is_ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let left = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        for pid in left.lines() {
            let _ = fs::write(self.parent.join("cgroup.procs"), pid);
        }
        let _ = fs::remove_dir(&self.path);
    }
}

#[test]
fn a_leader_without_time_ends_and_a_fenced_resource_sees_one_at_a_time() {
    let Some(group) = Group::new() else {
        println!("skipped: needs to make a cgroup with a share of time, as root");
        return;
    };
    let place = Place::new();
    let mut starved = candidate::start(&place, "lock", "starved.log");
    let first = ledger::wait_for_later(&place, 0);
    let guard = starved.guard();
    let command = wait_for("COMMAND", || children_of(guard).first().copied());
    let mut other = candidate::start(&place, "lock", "other.log");
    wait_until("a candidate that waits", || place.read("other.log").contains(" leads"));
    // Its command goes on at full speed: it would gladly write for ever.
    assert!(group.give(1000).is_some() && group.take(starved.pid()) && group.take(guard));
    wait_until("the end of its command", || !is_alive(command));
    ledger::wait_for_later(&place, first.token);
    let lines = ledger::lines(&place);
    let refused = ledger::refused(&lines);
    println!("{} lines after that of a later term, all refused by their token", refused.len());
    drop(group);
    for elect in [&mut starved, &mut other] {
        elect.signal(Signal::TERM);
        elect.code();
    }
}
