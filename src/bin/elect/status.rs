//! `elect status`: who leads, since when, and with which fencing token.

use std::io::{self, Write};
use std::time::Duration;

use leaderelection::{FileLock, Lock, LockError, Observed, RecordKind, Timestamp};
use serde::Serialize;

use crate::candidate::open_lock;
use crate::cli::StatusArgs;
use crate::{exit, verdict};

/// Between two looks of `--watch`.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// How long a look may take.
const BUDGET: Duration = Duration::from_secs(10);

/// Returns the exit code.
pub fn run(args: &StatusArgs) -> u8 {
    // Looking harms nobody, wherever the lock lies.
    let mut lock = match open_lock(&args.lock, FileLock::options().trust_anyway(true)) {
        Ok(lock) => lock,
        Err(refusal) => return fail(&refusal.reason),
    };
    let mut shown = None;
    loop {
        match Status::of(&args.lock.to_string_lossy(), &mut lock) {
            Ok(status) => {
                if shown.as_ref() != Some(&status.change()) {
                    match show(args, &status) {
                        Ok(()) => {}
                        // Whoever has closed the pipe wants no more.
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return 0,
                        Err(error) => {
                            return fail(&format!("cannot write to standard output: {error}"));
                        }
                    }
                    shown = Some(status.change());
                }
            }
            Err(error @ LockError::Unavailable(_)) if args.watch => {
                eprintln!("elect: {}", verdict::chain(&error));
            }
            Err(error) => return fail(&verdict::chain(&error)),
        }
        if !args.watch || reader_leaves_within(WATCH_PERIOD) {
            return 0;
        }
    }
}

/// Waits, and says whether whoever reads standard output has closed it meanwhile.
fn reader_leaves_within(span: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let stdout = rustix::stdio::stdout();
    // That an end is closed is told without being asked for.
    let mut polled = [PollFd::from_borrowed_fd(stdout, PollFlags::empty())];
    let span = rustix::time::Timespec { tv_sec: span.as_secs() as i64, tv_nsec: 0 };
    poll(&mut polled, Some(&span)).is_ok_and(|ready| ready > 0)
}

fn fail(reason: &str) -> u8 {
    eprintln!("elect: {reason}");
    exit::OWN_FAILURE
}

fn show(args: &StatusArgs, status: &Status) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut stdout, status)?;
        writeln!(stdout)?;
    } else {
        if args.watch {
            writeln!(stdout, "{}", Timestamp::now())?;
        }
        write!(stdout, "{}", status.text(Timestamp::now()))?;
    }
    stdout.flush()
}

/// What `--json` shows; scripts rely on the keys.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    lock: String,
    state: &'static str,
    /// Who holds the lock, or has completed its task.
    holder: Option<String>,
    fencing_token: Option<u64>,
    leader_transitions: Option<u64>,
    lease_duration_millis: Option<u64>,
    acquire_time: Option<Timestamp>,
    renew_time: Option<Timestamp>,
    #[serde(skip)]
    problem: Option<String>,
}

impl Status {
    fn of(path: &str, lock: &mut FileLock) -> Result<Self, LockError> {
        let absent = Self::absent(path);
        match lock.get(BUDGET) {
            Ok(None) => Ok(absent),
            Ok(Some(observed)) => Ok(absent.with(&observed, lock.renewed_at(observed.revision))),
            Err(LockError::Corrupt { failure, .. }) => {
                Ok(Self { state: "corrupt", problem: Some(failure.to_string()), ..absent })
            }
            Err(error) => Err(error),
        }
    }

    fn absent(path: &str) -> Self {
        Self {
            lock: path.to_owned(),
            state: "absent",
            holder: None,
            fencing_token: None,
            leader_transitions: None,
            lease_duration_millis: None,
            acquire_time: None,
            renew_time: None,
            problem: None,
        }
    }

    fn with(self, observed: &Observed, renewed_at: Option<Timestamp>) -> Self {
        let record = &observed.record;
        let (state, has_holder) = match record.kind {
            RecordKind::Held => ("held", true),
            RecordKind::Released => ("released", false),
            RecordKind::Completed => ("completed", true),
        };
        Self {
            state,
            holder: has_holder.then(|| record.holder_identity.to_string()),
            fencing_token: record.fencing_token,
            leader_transitions: Some(record.leader_transitions),
            lease_duration_millis: Some(record.lease_duration.as_millis() as u64),
            acquire_time: Some(record.acquire_time),
            renew_time: renewed_at.or(Some(record.renew_time)),
            ..self
        }
    }

    /// What makes it worth showing again; a renewal alone is no change.
    fn change(&self) -> (&'static str, Option<String>, Option<u64>) {
        (self.state, self.holder.clone(), self.fencing_token)
    }

    /// Whether the holder gives signs of life, as far as two wall clocks can tell.
    fn health(&self, now: Timestamp) -> Option<String> {
        let (renewed, lease) = (self.renew_time?, self.lease_duration_millis?);
        let silent = now.as_millis().checked_sub(renewed.as_millis());
        let health = match (self.state, silent) {
            ("held", Some(silent)) if silent > lease => {
                "no sign of life for longer than its lease: a candidate that waits takes over"
            }
            ("held", Some(_)) => "renewed within its lease",
            _ => return None,
        };
        Some(health.to_owned())
    }

    fn text(&self, now: Timestamp) -> String {
        let mut text = format!("lock           {}\nstate          {}\n", self.lock, self.state);
        let mut row = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                text.push_str(&format!("{name:<14} {value}\n"));
            }
        };
        let who = if self.state == "completed" { "completed by" } else { "holder" };
        row(who, self.holder.clone());
        row("fencing token", self.fencing_token.map(|token| token.to_string()));
        row("transitions", self.leader_transitions.map(|count| count.to_string()));
        row("lease", self.lease_duration_millis.map(|millis| span(Duration::from_millis(millis))));
        row("acquired", self.acquire_time.map(|time| with_age(time, now)));
        row("renewed", self.renew_time.map(|time| with_age(time, now)));
        row("health", self.health(now));
        row("problem", self.problem.clone());
        text
    }
}

/// The age is by two wall clocks, which may be of two machines: good enough to read.
fn with_age(time: Timestamp, now: Timestamp) -> String {
    match now.as_millis().checked_sub(time.as_millis()) {
        Some(millis) if time != Timestamp::default() => {
            // Nobody needs the milliseconds of an hour.
            let millis = if millis > 60_000 { millis / 1000 * 1000 } else { millis };
            format!("{time} ({} ago)", span(Duration::from_millis(millis)))
        }
        _ => time.to_string(),
    }
}

fn span(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Status {
        Status {
            state: "held",
            holder: Some("node-7".into()),
            fencing_token: Some(12),
            leader_transitions: Some(3),
            lease_duration_millis: Some(15_000),
            acquire_time: Some(Timestamp::from_millis(1_795_508_161_250)),
            renew_time: Some(Timestamp::from_millis(1_795_508_165_000)),
            ..Status::absent("x.lock")
        }
    }

    #[test]
    fn json_has_exactly_the_promised_keys() {
        let json = serde_json::to_string(&Status::absent("x.lock")).unwrap();
        let expected = r#"{"lock":"x.lock","state":"absent","holder":null,"fencingToken":null,"#
            .to_owned()
            + r#""leaderTransitions":null,"leaseDurationMillis":null,"acquireTime":null,"#
            + r#""renewTime":null}"#;
        assert_eq!(json, expected);
        let json = serde_json::to_value(held()).unwrap();
        assert_eq!(json["fencingToken"], 12);
        assert_eq!(json["acquireTime"], "2026-11-24T08:16:01.250Z");
    }

    #[test]
    fn people_read_ages() {
        let now = Timestamp::from_millis(1_795_508_166_200);
        let expected = "\
lock           x.lock
state          held
holder         node-7
fencing token  12
transitions    3
lease          15s
acquired       2026-11-24T08:16:01.250Z (4s 950ms ago)
renewed        2026-11-24T08:16:05.000Z (1s 200ms ago)
health         renewed within its lease
";
        assert_eq!(held().text(now), expected);
        // A clock that is behind shows no age.
        let behind = Timestamp::from_millis(1_795_508_160_000);
        assert!(!held().text(behind).contains("ago"));
        let later = Timestamp::from_millis(1_795_508_181_000);
        assert!(held().text(later).contains("health         no sign of life for longer"));
    }
}
