//! Candidates that are killed, ended and frozen at random, and an oracle outside the library: a
//! ledger that the led commands write themselves.
//!
//! ELECT_CHAOS_SECONDS (default 25) sets how long, ELECT_CHAOS_SEED what is done to whom,
//! ELECT_CHAOS_ARENAS (6) how many locks there are, each with eight candidates, and
//! ELECT_CHAOS_LEASE (1000) the lease in milliseconds. For 10,000 kills:
//!
//! ```sh
//! ELECT_CHAOS_SECONDS=3000 ELECT_CHAOS_ARENAS=12 ELECT_CHAOS_LEASE=2000 \
//!     cargo test --features cli --test chaos -- --nocapture one_leads
//! ```

use std::env;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

mod arena;
mod harm;
mod ledger;
mod machine;
#[path = "../elect/support.rs"]
#[expect(dead_code, reason = "shared with the other tests of the command")]
mod support;

use arena::Arena;
use harm::{Harm, KINDS, Kind};
use ledger::{Findings, Oracle};
use machine::Lag;

/// The led command, when a candidate of the test below runs this very program: it writes a line
/// every 5 ms. Without its environment it is no test at all.
#[test]
fn writer() {
    let Ok(path) = env::var("CHAOS_LEDGER") else { return };
    let mut ledger = File::options().append(true).open(path).expect("a ledger");
    let variable = |name| env::var(name).expect("elect sets it");
    let (token, candidate) = (variable("ELECT_FENCING_TOKEN"), variable("ELECT_IDENTITY"));
    loop {
        let now = machine::monotonic().as_nanos();
        let line = format!("{token} {} {now} {candidate}\n", std::process::id());
        // One call, so that no line is torn.
        ledger.write_all(line.as_bytes()).expect("a line");
        support::pause(Duration::from_millis(5));
    }
}

#[test]
fn one_leads_at_a_time_whatever_happens_to_it() {
    let seed = number("ELECT_CHAOS_SEED").unwrap_or_else(|| machine::monotonic().as_nanos() as u64);
    let span = Duration::from_secs(number("ELECT_CHAOS_SECONDS").unwrap_or(25));
    let lease = Duration::from_millis(number("ELECT_CHAOS_LEASE").unwrap_or(1000));
    let arenas = number("ELECT_CHAOS_ARENAS").unwrap_or(6);
    println!("seed {seed}, {arenas} arenas for {span:?}, leases of {lease:?}");
    let lag = Lag::start();
    let (mut failed, mut ended) = (0, Vec::new());
    std::thread::scope(|scope| {
        let run = |number| {
            let mut arena = Arena::new(seed + number, lease);
            arena.run(span);
            arena.end()
        };
        let threads: Vec<_> = (0..arenas).map(|number| scope.spawn(move || run(number))).collect();
        // What the others have found is worth a report too.
        for thread in threads {
            thread.join().map_or_else(|_| failed += 1, |arena| ended.push(arena));
        }
    });
    let gaps: Vec<Gap> =
        ended.iter().flat_map(|(harms, oracle)| gaps(oracle, harms, &lag)).collect();
    report(&ended, &gaps, lease);
    println!(
        "a thread that slept was at most {:?} late",
        lag.longest(Duration::ZERO, Duration::MAX)
    );
    assert!(failed == 0, "seed {seed}: {failed} arenas have failed, see above");
    let terms: usize = ended.iter().map(|(_, oracle)| oracle.findings().terms).sum();
    assert!(terms > 3, "seed {seed}: {terms} terms");
    if lag.longest(Duration::ZERO, Duration::MAX) > Duration::from_millis(50) {
        println!("this machine had no time for us, so how long a loss took is not checked");
        return;
    }
    let slow = percentile(gaps.iter().map(|gap| gap.after), 95);
    // The longest wait between two tries, then starting a process and writing a line.
    let most = lease + lease * 12 / 100 + (lease / 5).max(Duration::from_millis(200));
    assert!(slow <= most, "seed {seed}: 95 % of the gaps are below {slow:?}, more than {most:?}");
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// From a harm to a leader until the next one's first line.
#[derive(Clone, Copy, Debug)]
struct Gap {
    kind: Kind,
    after: Duration,
}

/// Without the time for which this machine kept a thread waiting that had nothing else to do.
fn gaps(oracle: &Oracle, harms: &[Harm], lag: &Lag) -> Vec<Gap> {
    // A term that outlived one harm ended by a later one.
    let is_last = |at: usize| {
        harms[at + 1..].iter().all(|later| later.token.is_none() || later.token != harms[at].token)
    };
    let gap = |(at, harm): (usize, &Harm)| {
        if !is_last(at) {
            return None;
        }
        let next = ledger::successor(oracle.terms(), harm.token?)?;
        let all = next.at.saturating_sub(harm.at);
        let after = all.saturating_sub(lag.between(harm.at, next.at));
        Some(Gap { kind: harm.kind, after })
    };
    harms.iter().enumerate().filter_map(gap).collect()
}

fn percentile(list: impl Iterator<Item = Duration>, percent: usize) -> Duration {
    let mut sorted: Vec<Duration> = list.collect();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn report(ended: &[(Vec<Harm>, Oracle)], gaps: &[Gap], lease: Duration) {
    let found = ended.iter().map(|(_, oracle)| oracle.findings());
    let found = found.fold(Findings::default(), Findings::and);
    let harms = || ended.iter().flat_map(|(harms, _)| harms);
    let led = harms().filter(|harm| harm.token.is_some()).count();
    println!("{} terms, {} lines, no two leaders at once", found.terms, found.lines);
    println!("{} harms, {led} of them to a leader", harms().count());
    for kind in KINDS {
        let all = harms().filter(|harm| harm.kind == kind).count();
        let gaps = || gaps.iter().filter(|gap| gap.kind == kind).map(|gap| gap.after);
        let [median, most] = [50, 100].map(|percent| percentile(gaps(), percent));
        let name = format!("{kind:?}");
        println!("  {all:6} {name:21} the next one leads after {median:.0?}, at most {most:.0?}");
    }
    let kills = harms().filter(|harm| matches!(harm.kind, Kind::Kill(_))).count();
    let freezes: Vec<&Harm> = harms().filter(|harm| harm.kind.is_freeze()).collect();
    println!("{kills} kills, {} freezes; of these, by length in leases:", freezes.len());
    for (from, until) in [(0.0, 0.5), (0.5, 1.0), (1.0, 3.0), (3.0, 10.1)] {
        let length = |harm: &Harm| (harm.until - harm.at).as_secs_f64() / lease.as_secs_f64();
        let count = freezes.iter().filter(|harm| (from..until).contains(&length(harm))).count();
        println!("  {count:6} from {from} to {until}");
    }
    let all = || gaps.iter().map(|gap| gap.after);
    println!(
        "the next one leads after: median {:?}, 95 % {:?}, longest {:?}",
        percentile(all(), 50),
        percentile(all(), 95),
        percentile(all(), 100)
    );
    println!(
        "{} stale lines after a freeze of everything, the last {:?} after it",
        found.stale, found.longest_stale
    );
}

#[test]
fn percentiles_are_of_the_sorted_list() {
    let list = || (1..=20).rev().map(Duration::from_secs);
    assert_eq!(percentile(list(), 50), Duration::from_secs(10));
    assert_eq!(percentile(list(), 95), Duration::from_secs(19));
    assert_eq!(percentile(list(), 100), Duration::from_secs(20));
    assert_eq!(percentile(std::iter::empty(), 95), Duration::ZERO);
}
