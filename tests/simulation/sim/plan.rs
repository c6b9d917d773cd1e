//! What a seed stands for: the candidates and their settings, the store, and which faults there
//! are.
//!
//! Most seeds have only some of the faults, and in different measure: where everything fails all
//! the time, little of interest is ever reached.

use std::sync::Arc;
use std::time::Duration;

use leaderelection::testing::Settings;
use leaderelection::{MAX_LEASE_DURATION, OnSuccess};

use super::mutant::Mutant;
use super::rng::Rng;
use super::time::{HOUR, MICRO, MILLI, MINUTE, SECOND, TRUE_RATE, nanos, on_slowest_clock};

/// The longest time for which a request that was under way at the end of all faults stays so.
pub const STRAGGLER: u64 = SECOND;

/// The longest time from the instant that a thread waits for to the one at which it runs, while
/// there are no faults.
pub const WAKE_LAG: u64 = 20 * MILLI;

/// All that a seed decides before anything runs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How far the rate of any clock may be from true, in parts of a million.
    pub drift: u64,
    pub nodes: Vec<NodePlan>,
    pub store: StorePlan,
    pub faults: Faults,
}

#[derive(Clone, Debug)]
pub struct NodePlan {
    pub settings: Settings,
    pub grace: Duration,
    /// Candidates of one host can prove each other's death.
    pub host: u8,
    pub clock_start: u64,
    pub clock_rate: u64,
    pub habits: Habits,
}

/// What the work and the user of a candidate do, each so many times out of a thousand.
#[derive(Clone, Debug)]
pub struct Habits {
    /// Work that reports a result by itself.
    pub reports: u64,
    /// Results that are a success.
    pub succeeds: u64,
    /// Results that are the end of the channel.
    pub hangs_up: u64,
    /// Work that returns without a word.
    pub returns_early: u64,
    pub panics: u64,
    /// Work that is told to stop and goes on for up to three leases.
    pub stubborn: u64,
    /// Work that goes on when its process is gone, until a guard stops it.
    pub outlives: u64,
    /// The longest time until the candidate runs again.
    pub rest: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// A store whose reads show what stands there.
    Strict,
    /// As files on a network: a read may show what stood there a while ago, older than what the
    /// same reader has seen before.
    Stale,
    /// The steps of the file lock, call by call, on a directory with such views.
    Files,
}

pub const STORE_KINDS: [StoreKind; 3] = [StoreKind::Strict, StoreKind::Stale, StoreKind::Files];

/// Of what candidates are told, soon, late or, while faults last, at times not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    Nothing,
    /// Of all but renewals.
    Changes,
    Everything,
}

#[derive(Clone, Debug)]
pub struct StorePlan {
    pub kind: StoreKind,
    pub push: Push,
    /// The shortest and the longest way to the store, or back.
    pub leg: (u64, u64),
    /// How old a view may be, and how many out of a thousand are.
    pub staleness: u64,
    pub stale: u64,
    /// Revisions skip numbers, as where other keys share them.
    pub gaps: bool,
    /// The record becomes unreadable once, by itself or because a write is torn.
    pub corrupts: bool,
    pub tears: bool,
    /// Writes without comparing: a mutant.
    pub blind: bool,
    /// Creating a name replaces another: the same for files.
    pub replaces: bool,
}

/// What goes wrong while faults last.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Half the longest time between two blows.
    pub gap: u64,
    pub blows: Vec<Blow>,
    pub requests: RequestFaults,
    /// A process stops between a step and its actions, so many times out of a thousand.
    pub pauses_in_a_step: u64,
}

/// A fault that hits a node, a host or the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Blow {
    Crash,
    Freeze,
    /// The election thread gets no processor, while the work does.
    Stall,
    /// A host sleeps; its clocks go on.
    Suspend,
    /// A host starts again, with all that runs on it, and so does its clock.
    Reboot,
    CutOff,
    CutRequests,
    CutReplies,
    /// Some hosts are cut off, and others not.
    Partition,
    StoreDown,
    Slow,
    Errors,
    /// Candidates are told of changes that are none.
    FalseWakeUps,
    Rate,
    WallStep,
    UserStops,
    TaskDone,
    TaskFails,
    TaskGone,
}

pub const BLOWS: [Blow; 19] = [
    Blow::Crash,
    Blow::Freeze,
    Blow::Stall,
    Blow::Suspend,
    Blow::Reboot,
    Blow::CutOff,
    Blow::CutRequests,
    Blow::CutReplies,
    Blow::Partition,
    Blow::StoreDown,
    Blow::Slow,
    Blow::Errors,
    Blow::FalseWakeUps,
    Blow::Rate,
    Blow::WallStep,
    Blow::UserStops,
    Blow::TaskDone,
    Blow::TaskFails,
    Blow::TaskGone,
];

/// So many requests out of a thousand, while faults last.
#[derive(Clone, Debug, Default)]
pub struct RequestFaults {
    /// Fail at once and do nothing.
    pub refused: u64,
    /// Never arrive.
    pub lost: u64,
    /// Are carried out, and nobody hears of it.
    pub reply_lost: u64,
    /// Are carried out long after they were given up.
    pub late: u64,
    /// Take long, and then tell the truth.
    pub hung: u64,
    /// Fail for good.
    pub fatal: u64,
}

impl Plan {
    pub fn new(rng: &mut Rng, mutant: Option<Mutant>, store: Option<StoreKind>) -> Self {
        let drift = rng.pick(&[0, 10_000, 50_000, 50_000, 50_000, 100_000, 200_000]);
        let count = rng.pick(&[2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 6, 8]);
        let mixed = rng.chance(300) || mutant == Some(Mutant::OwnLeaseInsteadOfTheHolders);
        let on_success =
            rng.pick(&[OnSuccess::Hold, OnSuccess::Hold, OnSuccess::Release, OnSuccess::Complete]);
        let times = Times::new(rng, drift, count, mutant.is_some_and(Mutant::is_of_files));
        let namesakes = rng.chance(100) || mutant == Some(Mutant::SameNameIsOneself);
        let on_a_host = match mutant {
            Some(Mutant::ProofBesideLivingWork) => 2,
            Some(Mutant::ProofOfAnotherBoot) => 1,
            _ => rng.pick(&[1, 1, 1, 1, 1, 2, 2, 2, 8, 8]),
        };
        let mut nodes = Vec::new();
        for index in 0..count {
            let times = if mixed {
                Times::new(rng, drift, count, mutant.is_some_and(Mutant::is_of_files))
            } else {
                times.clone()
            };
            let name = if namesakes { "twin".to_owned() } else { format!("node-{index}") };
            let host = (index / on_a_host) as u8;
            let settings = times.settings(rng, name.into(), on_success);
            nodes.push(NodePlan::new(rng, settings, times.grace, host, drift, mutant));
        }
        share_clocks(&mut nodes);
        let store = match mutant {
            Some(mutant) if mutant.is_of_files() => Some(StoreKind::Files),
            _ => store,
        };
        let mut store = StorePlan::new(rng, &nodes, store);
        store.blind = mutant == Some(Mutant::ClaimWithoutComparing);
        if mutant.is_some_and(Mutant::is_of_files) {
            // Claims that take their time, and begin together when a lease is released, which is
            // often.
            for node in &mut nodes {
                node.settings.term_limit = Some(node.settings.retry_period * 4);
                node.settings.acquire_timeout = None;
            }
            (store.push, store.stale) = (Push::Changes, 500);
            store.leg = (store.leg.0 * 8, store.leg.1 * 8);
            store.replaces = mutant == Some(Mutant::CreateReplacesAName);
        }
        let faults = Faults::new(rng, mutant);
        Self { drift, nodes, store, faults }
    }

    pub fn longest_lease(&self) -> u64 {
        self.nodes.iter().map(|node| nanos(node.settings.lease_duration)).max().unwrap_or(0)
    }

    pub fn longest_retry(&self) -> u64 {
        self.nodes.iter().map(|node| nanos(node.settings.retry_period)).max().unwrap_or(0)
    }

    /// The longest time without a leader, while a candidate wants to lead and nothing fails.
    ///
    /// Counted from when the last belief, all faults, and the time in which there was no candidate
    /// have ended, whichever is last. All spans of clocks are as the slowest one counts them.
    ///
    /// - What was sent before may still arrive for [`STRAGGLER`], or for as long as views are
    ///   stale. After that, nothing changes the record but a claim, and a claim that succeeds
    ///   leads.
    /// - The candidate looks again within 1.2 retry periods of the last answer, which takes two
    ///   ways. From that look on it times the lease: at most the longest, `L`. A view has to be
    ///   fresh for a claim: where a wake-up came late, one more look comes before it.
    /// - The claim takes two ways. One that fails is followed by a look after at most 1.2 retry
    ///   periods. It fails only to a claim that leads, or to a straggler.
    /// - Who gives way first waits two retry periods, which may come before all this.
    /// - Each wait ends up to [`WAKE_LAG`] late; there are no more than six in this list.
    pub fn longest_gap(&self) -> u64 {
        let way = self.store.calls() * self.store.leg.1;
        let settling = STRAGGLER + self.store.staleness;
        let looks = 2 * (self.longest_retry() * 12 / 10 + 2 * way) + 2 * way;
        let claim = 2 * way + 2 * self.longest_retry();
        let waits = on_slowest_clock(looks + claim + self.longest_lease(), self.drift);
        settling + waits + 6 * WAKE_LAG
    }

    /// The same while the record can't be read: that is waited for as the longest lease of all.
    pub fn longest_gap_when_corrupt(&self) -> u64 {
        self.longest_gap() + on_slowest_clock(nanos(MAX_LEASE_DURATION), self.drift)
    }
}

/// The durations of an election that satisfy the inequality, often with nothing to spare.
#[derive(Clone, Debug)]
struct Times {
    lease: u64,
    deadline: u64,
    retry: u64,
    grace: Duration,
}

impl Times {
    fn new(rng: &mut Rng, drift: u64, candidates: u64, files: bool) -> Self {
        let original = (rng.chance(500) || files) && drift <= 200_000;
        // Many candidates with a short lease only cost time.
        let shortest = if candidates > 4 { 10_000 } else { 3_000 };
        let lease = if original { 15_000 } else { rng.spread(shortest, 60_000) } * MILLI;
        // What a leader may take at most, with its grace.
        let usable = (u128::from(lease) * u128::from(TRUE_RATE - drift)
            / u128::from(TRUE_RATE + drift)) as u64;
        let deadline = match original {
            true => 10_000 * MILLI,
            false => rng.between(usable / 2, usable),
        };
        let spare = usable.saturating_sub(deadline);
        let tight = rng.chance(500);
        let grace = rng.pick(&[0, spare / 2, spare]);
        let deadline = if tight && !original { usable - grace } else { deadline };
        let retry = if original { 2_000 * MILLI } else { deadline / rng.between(2, 8) };
        Self { lease, deadline, retry, grace: Duration::from_nanos(grace) }
    }

    fn settings(&self, rng: &mut Rng, identity: Arc<str>, on_success: OnSuccess) -> Settings {
        let span = Duration::from_nanos;
        let longest = 40 * self.lease;
        let term_limit = rng.chance(400).then(|| span(rng.spread(self.retry, longest)));
        let patience = rng.chance(200).then(|| span(rng.pick(&[0, self.retry, self.lease * 2])));
        let drain = rng.pick(&[self.lease, self.lease, self.lease / 4, self.lease * 3, 0]);
        Settings {
            identity,
            metadata: "".into(),
            lease_duration: span(self.lease),
            renew_deadline: span(self.deadline),
            retry_period: span(self.retry),
            term_limit,
            acquire_timeout: patience,
            drain_timeout: span(drain),
            on_success,
        }
    }
}

impl NodePlan {
    fn new(
        rng: &mut Rng,
        settings: Settings,
        grace: Duration,
        host: u8,
        drift: u64,
        mutant: Option<Mutant>,
    ) -> Self {
        let clock_start = rng.below(10_000 * HOUR);
        let clock_rate = rate(rng, drift, mutant);
        let succeeds = if settings.on_success == OnSuccess::Complete { 30 } else { 400 };
        let habits = Habits {
            reports: rng.pick(&[0, 200, 600]),
            succeeds,
            hangs_up: 200,
            returns_early: rng.pick(&[0, 0, 50]),
            panics: rng.pick(&[0, 0, 20]),
            stubborn: rng.pick(&[0, 200, 500]),
            outlives: match mutant {
                Some(Mutant::ProofBesideLivingWork) => 900,
                _ => rng.pick(&[0, 200, 700]),
            },
            rest: rng.pick(&[10 * MILLI, SECOND, 10 * SECOND]),
        };
        Self { settings, grace, host, clock_start, clock_rate, habits }
    }
}

/// The processes of a host have one clock.
fn share_clocks(nodes: &mut [NodePlan]) {
    for node in 1..nodes.len() {
        let before = &nodes[node - 1];
        if before.host == nodes[node].host {
            let (start, rate) = (before.clock_start, before.clock_rate);
            (nodes[node].clock_start, nodes[node].clock_rate) = (start, rate);
        }
    }
}

/// A rate within the bound, often at one of its ends.
pub fn rate(rng: &mut Rng, drift: u64, mutant: Option<Mutant>) -> u64 {
    let drift = match mutant {
        Some(Mutant::DriftBeyondTheBound) => drift + 250_000,
        _ => drift,
    };
    let (slowest, fastest) = (TRUE_RATE - drift, TRUE_RATE + drift);
    let between = rng.between(slowest, fastest);
    rng.pick(&[slowest, fastest, between])
}

impl StorePlan {
    fn new(rng: &mut Rng, nodes: &[NodePlan], wanted: Option<StoreKind>) -> Self {
        let deadlines = nodes.iter().map(|node| nanos(node.settings.renew_deadline));
        let shortest = deadlines.min().unwrap_or(SECOND);
        // The file lock takes some ten times as long to simulate.
        let kind = match rng.below(10) {
            0 => StoreKind::Files,
            1..=4 => StoreKind::Stale,
            _ => StoreKind::Strict,
        };
        let kind = wanted.unwrap_or(kind);
        // What one request takes must leave room for two before the deadline.
        let slowest = match kind {
            StoreKind::Files => shortest / 400,
            _ => shortest / 40,
        };
        let longest = rng.spread(100 * MICRO, slowest.max(200 * MICRO));
        let is_stale = kind != StoreKind::Strict;
        // A view of files is as old as the opening of the directory, which is within a request.
        let staleness = if kind == StoreKind::Stale { rng.spread(MILLI, 20 * SECOND) } else { 0 };
        Self {
            kind,
            push: rng.pick(&[Push::Nothing, Push::Changes, Push::Everything]),
            leg: (longest / 10, longest),
            staleness,
            stale: if is_stale { rng.spread(1, 500) } else { 0 },
            gaps: kind == StoreKind::Strict && rng.chance(200),
            corrupts: rng.chance(15),
            tears: rng.chance(15),
            blind: false,
            replaces: false,
        }
    }

    /// How often the longest request goes to the store and back.
    fn calls(&self) -> u64 {
        match self.kind {
            // A claim that makes the directory is one of eleven calls.
            StoreKind::Files => 12,
            _ => 1,
        }
    }
}

impl Faults {
    fn new(rng: &mut Rng, mutant: Option<Mutant>) -> Self {
        let mut blows: Vec<Blow> = BLOWS.into_iter().filter(|_| rng.chance(450)).collect();
        if blows.is_empty() || mutant.is_some() {
            blows.extend([Blow::CutOff, Blow::StoreDown, Blow::Freeze]);
        }
        let mut some = |most: u64| match rng.chance(400) {
            true => rng.spread(1, most),
            false => 0,
        };
        let mut requests = RequestFaults {
            refused: some(100),
            lost: some(100),
            reply_lost: some(100),
            late: some(60),
            hung: some(60),
            fatal: some(2),
        };
        let pauses_in_a_step = some(10);
        match mutant {
            Some(Mutant::DeadlineFromTheReply) => requests.hung = 80,
            Some(mutant) if mutant.is_of_files() => {
                // Little else, so that claims are many.
                requests = RequestFaults { hung: 150, ..RequestFaults::default() };
                blows = vec![Blow::FalseWakeUps, Blow::TaskFails];
            }
            _ => {}
        }
        Self { gap: rng.spread(3 * SECOND, 2 * MINUTE), blows, requests, pauses_in_a_step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_has_settings_that_an_elector_would_accept() {
        for seed in 0..2000 {
            let plan = Plan::new(&mut Rng::new(seed), None, None);
            for node in &plan.nodes {
                let settings = &node.settings;
                let taken = nanos(settings.renew_deadline + node.grace);
                let needed = u128::from(taken) * u128::from(TRUE_RATE + plan.drift)
                    / u128::from(TRUE_RATE - plan.drift);
                assert!(needed <= settings.lease_duration.as_nanos(), "seed {seed}: {node:?}");
                assert!(settings.renew_deadline > settings.retry_period * 12 / 10);
                assert!(node.clock_rate.abs_diff(TRUE_RATE) <= plan.drift);
            }
        }
    }
}
