//! Candidates that are killed, ended and frozen at random, and an oracle outside the library: a
//! ledger that the led commands write themselves.
//!
//! ELECT_CHAOS_SECONDS (default 30) sets how long, ELECT_CHAOS_SEED what is done to whom. For
//! minutes of it:
//!
//! ```sh
//! ELECT_CHAOS_SECONDS=600 cargo test --features cli --test chaos -- --nocapture
//! ```

use std::env;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

mod arena;
mod ledger;
#[path = "../elect/support.rs"]
#[expect(dead_code, reason = "shared with the other tests of the command")]
mod support;

use arena::{Arena, Harm, Kind};
use ledger::{Findings, Line};

const LEASE: Duration = Duration::from_secs(1);
/// The longest wait between two tries at a retry period of 100 ms.
const LONGEST_RETRY: Duration = Duration::from_millis(120);
/// For the rest: starting a process, writing a line.
const TOLERANCE: Duration = Duration::from_millis(200);
/// How long whoever was frozen as a whole may go on until its guard has killed it.
const MOMENT: Duration = Duration::from_millis(500);

/// The led command, when a candidate of the test below runs this very program: it writes a line
/// every 5 ms. Without its environment it is no test at all.
#[test]
fn writer() {
    let Ok(path) = env::var("CHAOS_LEDGER") else { return };
    let mut ledger = File::options().append(true).open(path).expect("a ledger");
    let variable = |name| env::var(name).expect("elect sets it");
    let (token, candidate) = (variable("ELECT_FENCING_TOKEN"), variable("ELECT_IDENTITY"));
    loop {
        let now = arena::monotonic().as_nanos();
        let line = format!("{token} {} {now} {candidate}\n", std::process::id());
        // One call, so that no line is torn.
        ledger.write_all(line.as_bytes()).expect("a line");
        support::pause(Duration::from_millis(5));
    }
}

#[test]
fn one_leads_at_a_time_whatever_happens_to_it() {
    let span = Duration::from_secs(number("ELECT_CHAOS_SECONDS").unwrap_or(30));
    let seed = number("ELECT_CHAOS_SEED").unwrap_or_else(|| arena::monotonic().as_nanos() as u64);
    println!("seed {seed}");
    let mut arena = Arena::new(seed);
    arena.run(span);
    let harms = arena.end();
    let lines = ledger::parse(&arena.place.read(arena::LEDGER)).unwrap();
    let findings = ledger::check(&lines, &arena.freezes, MOMENT)
        .unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    let gaps = gaps(&lines, &harms, &arena);
    report(&findings, &harms, &gaps);
    assert!(findings.terms > 3, "seed {seed}: {findings:?}");
    let slow = percentile(&gaps, 95);
    let most = LEASE + LONGEST_RETRY + TOLERANCE;
    assert!(slow <= most, "seed {seed}: 95 % of the gaps are below {slow:?}, more than {most:?}");
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// From each harm to a leader until the next one's first line, without the time for which this
/// machine kept a thread waiting that had nothing else to do.
fn gaps(lines: &[Line], harms: &[Harm], arena: &Arena) -> Vec<Duration> {
    // A term that outlived one harm ended by a later one.
    let is_last = |at: usize| {
        harms[at + 1..].iter().all(|later| later.token.is_none() || later.token != harms[at].token)
    };
    let gap = |(at, harm): (usize, &Harm)| {
        if !is_last(at) {
            return None;
        }
        let next = ledger::successor(lines, harm.token?)?;
        Some(next.at.saturating_sub(harm.at).saturating_sub(arena.lag.between(harm.at, next.at)))
    };
    let mut gaps: Vec<Duration> = harms.iter().enumerate().filter_map(gap).collect();
    gaps.sort_unstable();
    gaps
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn report(findings: &Findings, harms: &[Harm], gaps: &[Duration]) {
    let to_leaders = harms.iter().filter(|harm| harm.token.is_some()).count();
    println!("{} terms, {} lines", findings.terms, findings.lines);
    println!("{} harms, {to_leaders} of them to a leader", harms.len());
    for kind in [Kind::Kill, Kind::Term, Kind::Freeze, Kind::FreezeAll] {
        println!("  {kind:?}: {}", harms.iter().filter(|harm| harm.kind == kind).count());
    }
    println!(
        "the next one leads after: median {:?}, 95 % {:?}, longest {:?}",
        percentile(gaps, 50),
        percentile(gaps, 95),
        percentile(gaps, 100)
    );
    println!(
        "{} stale lines after a freeze of everything, the last {:?} after it",
        findings.stale, findings.longest_stale
    );
}

#[test]
fn percentiles_are_of_the_sorted_list() {
    let list: Vec<Duration> = (1..=20).map(Duration::from_secs).collect();
    assert_eq!(percentile(&list, 50), Duration::from_secs(10));
    assert_eq!(percentile(&list, 95), Duration::from_secs(19));
    assert_eq!(percentile(&list, 100), Duration::from_secs(20));
    assert_eq!(percentile(&[], 95), Duration::ZERO);
}
