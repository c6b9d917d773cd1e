//! The settings that follow from how long calls take.

use std::time::Duration;

use serde::Serialize;

use super::findings::{Findings, percentile};
use super::timing::{CLAIM, RENEWAL};

/// Below that a lease is shorter than what a loaded host may keep a process waiting.
const SHORTEST: Duration = Duration::from_secs(2);

/// The default of `elect`, and of the library.
pub const DEFAULT: Duration = Duration::from_secs(15);

/// The longest lease that the format knows.
const LONGEST: Duration = Duration::from_secs(3600);

/// What 99 of 100 claims take fits four times into the wait between two tries, which is 2/15 of the
/// lease.
const LEASE_IN_P99: u32 = 30;

/// A call as slow as the slowest may come in the middle of a term: it fits four times into the
/// renew deadline.
const LEASE_IN_SLOWEST: u32 = 6;

/// A name that others see only later delays a take-over by that; it should not double it.
const LEASE_IN_SIGHT: u32 = 4;

/// Settings, in the proportions of `elect`'s defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// `--lease-duration`
    pub lease_duration_millis: u64,
    /// `--renew-deadline`
    pub renew_deadline_millis: u64,
    /// `--retry-period`
    pub retry_period_millis: u64,
}

/// The shortest settings that leave room for what was measured; `None` where nothing was.
pub fn advise(findings: &Findings) -> Option<Settings> {
    let sequences = [CLAIM, RENEWAL].iter().filter_map(|name| findings.times.get(*name));
    let times: Vec<&Vec<u64>> = sequences.collect();
    let slow = times.iter().filter_map(|list| percentile(list, 99)).max()?;
    let slowest = times.iter().flat_map(|list| list.iter()).max().copied()?;
    let lease = SHORTEST
        .max(Duration::from_micros(slow) * LEASE_IN_P99)
        .max(Duration::from_micros(slowest) * LEASE_IN_SLOWEST)
        .max(slowest_sight(findings) * LEASE_IN_SIGHT);
    Some(Settings::of(round_up(lease.min(LONGEST))))
}

/// The longest that another took to see a name, by the looks that the lock makes.
pub fn slowest_sight(findings: &Findings) -> Duration {
    let listed = findings.appearances.iter().filter_map(|seen| seen.listed_micros).max();
    let answers = percentile(&findings.answers_elsewhere, 99);
    Duration::from_micros(listed.max(answers).unwrap_or_default())
}

impl Settings {
    /// In the proportions of the defaults.
    fn of(lease: Duration) -> Self {
        let millis = lease.as_millis() as u64;
        Self {
            lease_duration_millis: millis,
            renew_deadline_millis: millis * 2 / 3,
            retry_period_millis: millis * 2 / 15,
        }
    }

    /// Whether the defaults are long enough.
    pub fn allow_defaults(&self) -> bool {
        self.lease_duration_millis <= DEFAULT.as_millis() as u64
    }

    /// As options of `elect`.
    pub fn options(&self) -> String {
        // The other two follow from it.
        format!("--lease-duration {}s", self.lease_duration_millis / 1000)
    }
}

/// To whole seconds, of long leases to whole five.
fn round_up(lease: Duration) -> Duration {
    let millis = lease.as_millis() as u64;
    let step = if millis > 30_000 { 5000 } else { 1000 };
    Duration::from_millis(millis.div_ceil(step) * step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::findings::Appearance;

    fn measured(claim_micros: &[u64]) -> Findings {
        let mut findings = Findings::default();
        findings.times.insert(CLAIM.into(), claim_micros.to_vec());
        findings
    }

    fn lease(findings: &Findings) -> u64 {
        advise(findings).unwrap().lease_duration_millis
    }

    #[test]
    fn fast_calls_allow_the_shortest_lease_and_slow_ones_lengthen_it() {
        assert_eq!(lease(&measured(&[100, 200])), 2000);
        assert_eq!(lease(&measured(&[150_000])), 5000);
        assert_eq!(lease(&measured(&[1_200_000])), 40_000);
        assert_eq!(lease(&measured(&[1_500_000])), 45_000);
        assert_eq!(lease(&measured(&[600_000_000])), 3_600_000);
    }

    #[test]
    fn one_slow_call_counts_less_than_many() {
        let mut times = vec![1000; 199];
        times.push(1_000_000);
        assert_eq!(lease(&measured(&times)), 6000);
    }

    #[test]
    fn late_sight_lengthens_the_lease() {
        let mut findings = measured(&[1000]);
        findings.appearances =
            vec![Appearance { listed_micros: Some(3_000_000), ..Appearance::default() }];
        assert_eq!(lease(&findings), 12_000);
    }

    #[test]
    fn nothing_measured_is_no_advice() {
        assert_eq!(advise(&Findings::default()), None);
        assert_eq!(advise(&measured(&[])), None);
    }

    #[test]
    fn settings_have_the_proportions_of_the_defaults() {
        let settings = Settings::of(DEFAULT);
        assert_eq!((settings.renew_deadline_millis, settings.retry_period_millis), (10_000, 2000));
        assert!(settings.allow_defaults());
        assert_eq!(settings.options(), "--lease-duration 15s");
    }
}
