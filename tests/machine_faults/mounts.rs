//! Small file systems in memory, in a mount namespace of the test's own: they go with it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::Place;

/// Set in the process that has a mount namespace of its own.
const INSIDE: &str = "MACHINE_FAULTS_INSIDE";

/// Runs the test `name` again where it may mount. `true` in that process, which has to go on; the
/// process outside has no more to do.
pub fn inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let root = rustix::process::geteuid().is_root();
    let attempts: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
    // Root needs no user namespace, where it may mount at all.
    let usable = attempts.into_iter().skip(usize::from(!root)).find(|words| may_mount(words));
    let Some(words) = usable else {
        println!("skipped: {name}: needs to mount, as root or in a user namespace (unshare -rm)");
        return false;
    };
    let status = unshare(words)
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .status()
        .expect("unshare runs");
    assert!(status.success(), "{name} has failed in its mount namespace");
    false
}

fn unshare(words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(words).arg("--");
    command
}

fn may_mount(words: &[&str]) -> bool {
    unshare(words)
        .args(["mount", "-t", "tmpfs", "none", "/tmp"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A tmpfs with these options, mounted at `small` in `place`.
pub fn mount(place: &Place, options: &str) -> PathBuf {
    let path = place.path("small");
    std::fs::create_dir(&path).expect("a directory to mount on");
    run(Command::new("mount").args(["-t", "tmpfs", "-o", options, "small"]).arg(&path));
    path
}

/// Remounts `small` with `options`.
pub fn remount(place: &Place, options: &str) {
    run(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(place.path("small")));
}

fn run(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{command:?} has failed");
}
