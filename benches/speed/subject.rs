//! Who is measured: this library, this command, and their peers, each as processes that campaign.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::python;

/// A way to campaign for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The library, in a process of its own.
    Library { durable: bool, same_host: bool },
    /// `elect run`, whose COMMAND is the work.
    Elect,
    /// `flock(2)` by fs2.
    Fs2,
    /// Names in a directory and file events, and nothing else: the limit of that way.
    Bare,
    /// A key that expires and a channel that tells of its release, on a Redis server.
    Redis,
    /// Python's `filelock`.
    Python,
    /// The command `flock`.
    Flock,
    /// The command `etcdctl lock`.
    Etcdctl,
}

/// Where a subject's lock is.
#[derive(Clone, Debug)]
pub struct Target {
    pub path: PathBuf,
    pub lease: Duration,
    /// The port of the server, for those that have one.
    pub port: u16,
}

impl Subject {
    pub fn name(self) -> &'static str {
        match self {
            Self::Library { same_host: false, .. } => "leaderelection, lease alone",
            Self::Library { durable: false, .. } => "leaderelection, not durable",
            Self::Library { .. } => "leaderelection",
            Self::Elect => "elect run",
            Self::Fs2 => "flock in process (fs2)",
            Self::Bare => "symlink + inotify, bare",
            Self::Redis => "redis, pub/sub",
            Self::Python => "Python filelock",
            Self::Flock => "flock(1)",
            Self::Etcdctl => "etcdctl lock",
        }
    }

    /// It passes no input to a COMMAND, so it runs none: it prints a key when it leads, and a
    /// signal ends it.
    pub fn is_told_by_signal(self) -> bool {
        self == Self::Etcdctl
    }

    /// Each campaign is a process of its own.
    pub fn is_command(self) -> bool {
        matches!(self, Self::Elect | Self::Flock | Self::Etcdctl)
    }

    /// The process that campaigns.
    pub fn command(self, target: &Target) -> Command {
        match self {
            Self::Elect => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_elect"));
                let lease = format!("{}ms", target.lease.as_millis());
                command.args(["run", "-q", "--lease-duration", &lease, "--lock"]);
                command.arg(&target.path).arg("--");
                work_of(command)
            }
            Self::Flock => {
                let mut command = Command::new("flock");
                command.arg(&target.path);
                work_of(command)
            }
            Self::Etcdctl => {
                let mut command = Command::new("etcdctl");
                command.env("ETCDCTL_API", "3").arg("--endpoints").arg(endpoint(target.port));
                command.args(["lock", "--ttl", &target.lease.as_secs().max(1).to_string()]);
                command.arg(key(&target.path));
                command
            }
            Self::Python => python::command(&target.path),
            Self::Fs2 => role("fs2", target),
            Self::Bare => role("bare", target),
            Self::Redis => role("redis", target),
            Self::Library { durable, same_host } => {
                let mut command = role("library", target);
                command.args([durable.to_string(), same_host.to_string()]);
                command
            }
        }
    }
}

/// This program again, as one candidate.
fn role(name: &str, target: &Target) -> Command {
    let mut command = Command::new(own_path());
    command.args(["--candidate", name]).arg(&target.path);
    command.args([target.port.to_string(), target.lease.as_millis().to_string()]);
    command
}

/// This program again as the work that `command` runs.
fn work_of(mut command: Command) -> Command {
    command.arg(own_path()).arg("--work");
    command
}

pub fn own_path() -> PathBuf {
    std::env::current_exe().expect("the path of this program")
}

pub fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// A name of the path for servers.
pub fn key(path: &Path) -> String {
    path.file_name().map_or("lock".into(), |name| name.to_string_lossy().into_owned())
}
