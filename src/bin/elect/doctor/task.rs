//! What the coordinator asks of its workers, and what they answer: a line of JSON each.
//!
//! Workers make all calls into the directory, so that one that hangs holds up nobody else. This
//! file must not know how a task is carried out.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::findings::{Findings, Race};

/// Something for one worker to do. Times are in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Task {
    /// Agree with `peers` other hosts on a session; alone, just begin one.
    Meet { directory: PathBuf, host: String, peers: usize, wait: u64 },
    /// Take part in the session under a name.
    Enter { session: PathBuf, member: String },
    /// Wait until every host has come as far.
    Barrier { name: String, host: String, hosts: Vec<String>, wait: u64 },
    /// Say on which file system the session lies, and how it counts and times files.
    Describe,
    /// Make what one way of creating names starts from.
    Prepare { race: Race },
    /// Try to be the one who creates each of these names.
    Compete { race: Race, names: usize },
    /// Compare what was said then with what stands there now.
    ReadBack { race: Race },
    /// Take a file's lock and keep it.
    HoldFlock,
    /// Try to take it as well; `elsewhere` if its holder is on another host.
    TryFlock { elsewhere: bool },
    /// Let go of it.
    DropFlock,
    /// See that a name is absent.
    LookAbsent,
    /// Create it.
    Appear,
    /// Wait until it is seen.
    AwaitAppearance { elsewhere: bool },
    /// Change names and files in a folder of one's own.
    Write { host: String, span: u64 },
    /// Look at such folders meanwhile.
    Watch { hosts: Vec<String>, span: u64 },
    /// Create names that somebody answers.
    Ping { name: String, rounds: usize, span: u64, elsewhere: bool },
    /// Answer them.
    Pong { name: String, rounds: usize, span: u64 },
    /// Time each call.
    Time { calls: usize, span: u64 },
    /// Tell the other hosts what was found here.
    Publish { host: String, text: String },
    /// Read what they found.
    Collect { hosts: Vec<String> },
    /// Hand over what was found.
    Report,
    /// Remove every trace of a host that takes no part any more.
    Remove { directory: PathBuf, host: String, session: Option<PathBuf> },
}

/// How a task ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// The session, and the hosts that take part.
    Met { session: PathBuf, hosts: Vec<String> },
    /// What was found.
    Report(Box<Findings>),
    /// What went wrong with what.
    Failed(String),
}
