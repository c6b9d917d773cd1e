//! What happened in a run, for people: kept only where somebody asks for it.

use std::fmt;

use leaderelection::testing::{End, Event, ReadReply};
use leaderelection::{Intent, Liveness, LossReason};

use super::time::{SECOND, True};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    FaultsBegin,
    FaultsEnd,
    RunStarted,
    TermBegan {
        token: u64,
    },
    /// Belief has ended, by its own clock.
    BeliefEnded,
    /// The validity was extended, or would have been.
    Extended {
        in_time: bool,
    },
    WorkToldToStop,
    TermEnded,
    WorkReturned {
        panicked: bool,
    },
    Reported(Option<bool>),
    UserStopped,
    Lost(LossReason),
    Finished(End),
    Sent(Option<Intent>),
    Committed {
        intent: Intent,
        revision: u64,
    },
    Refused {
        intent: Intent,
    },
    Answered(Event),
    Crashed {
        until: True,
    },
    Frozen {
        until: True,
    },
    Stalled {
        until: True,
    },
    CutOff {
        until: True,
    },
    Slow {
        until: True,
    },
    Errors {
        until: True,
    },
    Rate(u64),
    WallStepped,
    FalselyWoken,
    Rebooted,
    /// Its process is gone, its work is not.
    OrphanLeft {
        until: True,
    },
    OrphanEnded,
    Corrupted,
    Torn {
        intent: Intent,
    },
    Broken(String),
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = |f: &mut fmt::Formatter<'_>, what: &str, until: &True| {
            write!(f, "{what} until {}", Seconds(*until))
        };
        match self {
            Mark::FaultsBegin => f.write_str("-- faults begin --"),
            Mark::FaultsEnd => f.write_str("-- faults have ended --"),
            Mark::RunStarted => f.write_str("campaigns"),
            Mark::TermBegan { token } => write!(f, "LEADS, term {token}"),
            Mark::BeliefEnded => f.write_str("no longer believes that it leads"),
            Mark::Extended { in_time: true } => f.write_str("renewed"),
            Mark::Extended { in_time: false } => f.write_str("renewed too late"),
            Mark::WorkToldToStop => f.write_str("tells its work to stop"),
            Mark::TermEnded => f.write_str("term ends"),
            Mark::WorkReturned { panicked } => write!(f, "work returns (panic: {panicked})"),
            Mark::Reported(result) => write!(f, "task says {result:?}"),
            Mark::UserStopped => f.write_str("is told to stop"),
            Mark::Lost(reason) => write!(f, "lost the lease: {reason:?}"),
            Mark::Finished(end) => write!(f, "run ends: {end:?}"),
            Mark::Sent(None) => f.write_str("sends a read"),
            Mark::Sent(Some(intent)) => write!(f, "sends {intent:?}"),
            Mark::Committed { intent, revision } => write!(f, "{intent:?} stands, at {revision}"),
            Mark::Refused { intent } => write!(f, "{intent:?} is refused"),
            Mark::Answered(Event::Read(ReadReply::Found { observed, liveness })) => {
                let record = &observed.record;
                let dead = if *liveness == Liveness::Dead { ", whose process is gone" } else { "" };
                let (kind, holder) = (record.kind, record.incarnation.0 & 0xff);
                let (revision, renewals) = (observed.revision, record.renewals);
                write!(
                    f,
                    "sees {kind:?} by node {holder}{dead}, at {revision}, {renewals} renewals"
                )
            }
            Mark::Answered(Event::Read(reply)) => write!(f, "sees {reply:?}"),
            Mark::Answered(answer) => write!(f, "hears {answer:?}"),
            Mark::Crashed { until: at } => until(f, "crashed", at),
            Mark::Frozen { until: at } => until(f, "frozen", at),
            Mark::Stalled { until: at } => until(f, "election thread stalled", at),
            Mark::CutOff { until: at } => until(f, "cut off from the store", at),
            Mark::Slow { until: at } => until(f, "store slow", at),
            Mark::Errors { until: at } => until(f, "requests fail", at),
            Mark::Rate(rate) => write!(f, "clock runs at {rate} millionths"),
            Mark::WallStepped => f.write_str("its wall clock steps"),
            Mark::FalselyWoken => f.write_str("is told of a change that is none"),
            Mark::Rebooted => f.write_str("its host starts again, and so does its clock"),
            Mark::OrphanLeft { until: at } => until(f, "its work goes on without it", at),
            Mark::OrphanEnded => f.write_str("the work that it left behind has ended"),
            Mark::Torn { intent } => write!(f, "{intent:?} is torn: nobody can read it"),
            Mark::Corrupted => f.write_str("the record becomes unreadable"),
            Mark::Broken(text) => write!(f, "** {text} **"),
        }
    }
}

/// A time in seconds, to the microsecond.
pub struct Seconds(pub True);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / SECOND, self.0 % SECOND / 1000)
    }
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub at: True,
    /// `None` for the world itself.
    pub node: Option<usize>,
    pub mark: Mark,
}

/// The entries, or none at all.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    entries: Option<Vec<Entry>>,
}

impl Trace {
    pub fn new(kept: bool) -> Self {
        Self { entries: kept.then(Vec::new) }
    }

    /// Adds an entry, which is made only if it is kept.
    pub fn mark(&mut self, at: True, node: Option<usize>, mark: impl FnOnce() -> Mark) {
        if let Some(entries) = &mut self.entries {
            entries.push(Entry { at, node, mark: mark() });
        }
    }

    /// In the order of their times.
    pub fn into_entries(self) -> Vec<Entry> {
        let mut entries = self.entries.unwrap_or_default();
        entries.sort_by_key(|entry| entry.at);
        entries
    }
}

/// The timeline as text, from `from` to `to`.
pub fn timeline(entries: &[Entry], from: True, to: True) -> String {
    let mut text = String::new();
    for Entry { at, node, mark } in entries.iter().filter(|e| (from..=to).contains(&e.at)) {
        let who = node.map_or_else(|| "        ".to_owned(), |node| format!("node {node}: "));
        text.push_str(&format!("{:>14} {who}{mark}\n", Seconds(*at).to_string()));
    }
    text
}
