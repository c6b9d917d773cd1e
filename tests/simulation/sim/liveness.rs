//! Once faults have ended, somebody leads.

use super::time::True;

/// Watches for a time without a leader while somebody wants to lead and nothing fails.
#[derive(Clone, Debug)]
pub struct Liveness {
    /// Since when nothing fails; `None` while something may.
    calm_since: Option<True>,
    /// When the last belief that was seen to end did so.
    led_until: True,
    /// Since when each candidate wants to lead.
    willing: Vec<Option<True>>,
    /// The longest gap that was seen, as a share of what is allowed, in thousandths.
    pub longest: u64,
}

impl Liveness {
    pub fn new(candidates: usize) -> Self {
        Self { calm_since: None, led_until: 0, willing: vec![None; candidates], longest: 0 }
    }

    /// Faults have ended, or will begin again.
    pub fn calm(&mut self, since: Option<True>) {
        self.calm_since = since;
    }

    /// A candidate begins to campaign, or no longer does so.
    pub fn willing(&mut self, node: usize, since: Option<True>) {
        self.willing[node] = since;
    }

    /// Somebody believed that it leads until `at`.
    pub fn led_until(&mut self, at: True) {
        self.led_until = self.led_until.max(at);
    }

    /// At `at` somebody begins to lead, or nobody has so far: the gap, if it is longer than
    /// `allowed`.
    pub fn check(&mut self, at: True, allowed: u64) -> Option<u64> {
        let calm_since = self.calm_since?;
        let willing_since = self.willing.iter().flatten().min()?;
        let since = calm_since.max(self.led_until).max(*willing_since);
        let gap = at.saturating_sub(since);
        self.longest = self.longest.max(gap * 1000 / allowed);
        (gap > allowed).then_some(gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_from_the_last_of_its_causes() {
        let mut liveness = Liveness::new(2);
        liveness.willing(0, Some(10));
        assert_eq!(liveness.check(1000, 50), None, "faults last");
        liveness.calm(Some(100));
        assert_eq!(liveness.check(150, 50), None);
        assert_eq!(liveness.check(151, 50), Some(51));
        liveness.led_until(120);
        assert_eq!(liveness.check(170, 50), None);
        assert_eq!(liveness.check(171, 50), Some(51));
        liveness.willing(0, Some(160));
        assert_eq!(liveness.check(210, 50), None);
        liveness.willing(1, Some(130));
        assert_eq!(liveness.check(210, 50), Some(80), "the other was willing all the time");
    }

    #[test]
    fn nobody_need_lead_where_nobody_wants_to() {
        let mut liveness = Liveness::new(1);
        liveness.calm(Some(0));
        assert_eq!(liveness.check(1_000_000, 1), None);
    }
}
