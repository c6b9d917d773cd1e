//! The processes below this one, wherever they moved: another process group, another session.
//!
//! They are found by their parents in /proc. A process whose parent died belongs to the nearest
//! child subreaper above it, which a guard is, so nothing gets lost but what changes its user.

use std::collections::HashMap;
use std::fs;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, wait};

/// A line of /proc/PID/stat, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
}

/// Sends `signal` to every descendant of this process, but for the process group `except`.
pub fn signal_all(signal: Signal, except: Option<Pid>) {
    signal_all_unless(signal, except, || false);
}

/// The same, unless it is `too_late` before all are found: where there are many processes and
/// little time for this one, that may take seconds.
pub fn signal_all_unless(signal: Signal, except: Option<Pid>, too_late: impl Fn() -> bool) {
    let except = except.map(|group| group.as_raw_nonzero().get());
    let Some(all) = all_unless(too_late) else { return };
    for process in below(getpid().as_raw_nonzero().get(), &all) {
        if Some(process.group) != except
            && let Some(pid) = Pid::from_raw(process.pid)
        {
            // It may have ended since, or belong to another user: nothing that could be done.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Sends `signal` to the process group of COMMAND and to what escaped from it.
pub fn signal_group_and_escaped(group: Pid, signal: Signal) {
    let _ = kill_process_group(group, signal);
    signal_all(signal, Some(group));
}

/// Buries every child that has ended. Whether children are left.
pub fn reap() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Every process that can be seen. One that ends meanwhile is left out.
fn all_unless(too_late: impl Fn() -> bool) -> Option<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        if too_late() {
            return None;
        }
        if entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit())
            && let Ok(stat) = fs::read(entry.path().join("stat"))
        {
            found.extend(parse(&stat));
        }
    }
    Some(found)
}

/// `PID (NAME) STATE PARENT GROUP …`, where NAME may hold anything, parentheses and spaces too.
fn parse(stat: &[u8]) -> Option<Process> {
    let stat = String::from_utf8_lossy(stat);
    let (pid, rest) = stat.split_once(" (")?;
    let (_, fields) = rest.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(1).map(str::parse);
    Some(Process {
        pid: pid.parse().ok()?,
        parent: fields.next()?.ok()?,
        group: fields.next()?.ok()?,
    })
}

fn below(root: i32, all: &[Process]) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        // Taken out of the map, so that a snapshot with a cycle can't hold this up for ever.
        for child in children.remove(&parent).unwrap_or_default() {
            parents.push(child.pid);
            found.push(child);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32) -> Process {
        Process { pid, parent, group: pid }
    }

    #[test]
    fn a_name_may_hold_parentheses_and_spaces() {
        let line = b"42 (a) b (c) S 7 40 40 0 -1 4194560";
        assert_eq!(parse(line), Some(Process { pid: 42, parent: 7, group: 40 }));
        for broken in ["", "42", "42 (x", "42 (x) S", "42 (x) S y 4"] {
            assert_eq!(parse(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn only_what_stands_below_is_found_even_in_a_snapshot_with_a_cycle() {
        let all = [process(2, 1), process(3, 2), process(4, 3), process(5, 1), process(6, 6)];
        let mut found: Vec<i32> = below(2, &all).iter().map(|process| process.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [3, 4]);
        assert_eq!(below(6, &all).len(), 1);
    }

    #[test]
    fn a_look_ends_when_it_is_too_late() {
        let looks = std::cell::Cell::new(0);
        let found = all_unless(|| looks.replace(looks.get() + 1) == 3);
        assert_eq!((found, looks.get()), (None, 4));
    }

    #[test]
    fn this_process_is_seen() {
        let own = getpid().as_raw_nonzero().get();
        let all = all_unless(|| false).expect("all of them");
        assert!(all.iter().any(|process| process.pid == own));
    }
}
