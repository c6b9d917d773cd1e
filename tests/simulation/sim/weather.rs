//! Faults come in storms. Between two storms it is calm for so long that somebody has to lead.

use super::plan::{Blow, StoreKind, rate};
use super::stats::Extra;
use super::time::{MINUTE, SECOND, True};
use super::trace::Mark;
use super::world::{Happening, Run, Signal, World};

impl World {
    /// A storm is over, or a calm.
    pub(super) fn phase_ended(&mut self) {
        let first = self.now == 0;
        if !self.stormy && !first {
            self.calm_ends();
            if self.now >= self.end_at {
                self.is_over = true;
                return;
            }
        }
        self.stormy = !self.stormy;
        let length = match self.stormy {
            true => self.rng.spread(MINUTE, 8 * MINUTE),
            false if self.corrupted => self.plan.longest_gap_when_corrupt() + 5 * SECOND,
            false => self.plan.longest_gap() + self.rng.between(5 * SECOND, 30 * SECOND),
        };
        self.phase_ends = self.now + length;
        self.at(self.phase_ends, Happening::PhaseEnds);
        // A client that does not see what it has made itself can't lead; that is a fault, too.
        self.directory.stale = if self.stormy { self.plan.store.stale } else { 0 };
        (self.tears, self.directory.tears) = (false, false);
        self.liveness.calm((!self.stormy).then_some(self.now));
        if self.stormy {
            self.mark(None, || Mark::FaultsBegin);
            self.next_blow();
        } else {
            self.mark(None, || Mark::FaultsEnd);
        }
    }

    fn calm_ends(&mut self) {
        let led = (0..self.nodes.len()).any(|node| self.believes(node));
        if !led {
            self.check_gap(0);
        }
    }

    fn next_blow(&mut self) {
        let at = self.now + 1 + self.rng.below(2 * self.plan.faults.gap);
        if at < self.phase_ends {
            self.at(at, Happening::Blow);
        }
    }

    /// A time after now and not after the end of the storm: most are soon, some are many leases on.
    pub(super) fn some_time_from_now(&mut self) -> True {
        let lease = self.plan.longest_lease();
        (self.now + self.rng.spread(lease / 100, 4 * lease)).min(self.phase_ends)
    }

    pub(super) fn freeze(&mut self, node: usize, until: True) {
        let frozen = &mut self.nodes[node].frozen_until;
        *frozen = until.max(*frozen);
        self.mark(Some(node), || Mark::Frozen { until });
    }

    pub(super) fn blow(&mut self) {
        let blow = self.rng.pick(&self.plan.faults.blows);
        let node = self.rng.below(self.nodes.len() as u64) as usize;
        let until = self.some_time_from_now();
        self.stats.blows[blow as usize] += 1;
        match blow {
            Blow::Crash => self.crash(node, until, true),
            Blow::Reboot => self.reboot(self.plan.nodes[node].host, until),
            Blow::Freeze => self.freeze(node, until),
            Blow::Stall => {
                let stalled = &mut self.nodes[node].stalled_until;
                *stalled = until.max(*stalled);
                self.mark(Some(node), || Mark::Stalled { until });
            }
            Blow::Suspend => {
                let host = self.plan.nodes[node].host;
                for node in 0..self.nodes.len() {
                    if self.plan.nodes[node].host == host {
                        self.freeze(node, until);
                    }
                }
            }
            Blow::CutOff => self.cut_off(node, until, true, true),
            Blow::CutRequests => self.cut_off(node, until, true, false),
            Blow::CutReplies => self.cut_off(node, until, false, true),
            Blow::Partition => self.partition(until),
            Blow::FalseWakeUps => self.wake_falsely(),
            Blow::StoreDown => {
                for node in 0..self.nodes.len() {
                    self.cut_off(node, until, true, true);
                }
            }
            Blow::Slow => {
                self.slow_until = until;
                self.mark(None, || Mark::Slow { until });
            }
            Blow::Errors => {
                self.errors_until = until;
                self.mark(None, || Mark::Errors { until });
            }
            Blow::Rate | Blow::WallStep => self.disturb_clock(node, blow),
            Blow::UserStops | Blow::TaskDone | Blow::TaskFails | Blow::TaskGone => {
                self.user_acts(node, blow);
            }
        }
        if self.plan.store.corrupts && self.now > MINUTE && self.rng.chance(100) {
            self.corrupt();
        }
        if self.plan.store.tears && self.now > MINUTE && self.rng.chance(100) {
            self.plan.store.tears = false;
            match self.plan.store.kind {
                StoreKind::Files => self.directory.tears = true,
                _ => self.tears = true,
            }
        }
        self.next_blow();
    }

    fn partition(&mut self, until: True) {
        let cut = self.rng.next();
        for node in 0..self.nodes.len() {
            if cut >> (self.plan.nodes[node].host % 64) & 1 == 1 {
                self.cut_off(node, until, true, true);
            }
        }
    }

    fn wake_falsely(&mut self) {
        for node in 0..self.nodes.len() {
            let run = self.nodes[node].run_id;
            for _ in 0..self.rng.below(6) {
                let at = self.now + self.rng.spread(1, SECOND);
                self.at(at, Happening::Tell { node, run, signal: Signal::WakeUp });
            }
            self.mark(Some(node), || Mark::FalselyWoken);
        }
    }

    /// Only once, for then everybody waits for an hour; and no completion, which nobody would know
    /// of any more.
    fn corrupt(&mut self) {
        if self.checks.is_completed() {
            return;
        }
        self.plan.store.corrupts = false;
        match self.plan.store.kind {
            StoreKind::Files => self.directory.corrupt(&mut self.rng),
            _ => self.store.corrupt(self.now, &mut self.rng),
        };
        self.corrupted = self.is_corrupt();
        self.stats.count(Extra::Decay, u64::from(self.corrupted));
        self.mark(None, || Mark::Corrupted);
    }

    pub(super) fn is_corrupt(&self) -> bool {
        match self.plan.store.kind {
            StoreKind::Files => self.directory.is_corrupt(),
            _ => self.store.is_corrupt(),
        }
    }

    /// A host starts again: nothing of what ran there is left, and what was written about it there
    /// proves nothing any more.
    fn reboot(&mut self, host: u8, until: True) {
        for node in 0..self.nodes.len() {
            if self.plan.nodes[node].host != host {
                continue;
            }
            self.crash(node, until, false);
            for epoch in std::mem::take(&mut self.nodes[node].orphans) {
                self.checks.orphan_ended(node, epoch);
            }
            self.nodes[node].boot += 1;
            self.clocks[node].restart(self.now);
            self.mark(Some(node), || Mark::Rebooted);
        }
    }

    /// What is left behind of a process that crashes: its work may go on until a guard stops it,
    /// which is within the grace after its validity.
    fn leave_orphan(&mut self, node: usize) -> Option<u32> {
        let works = |run: &Run| run.term.as_ref().filter(|term| term.works).map(|t| t.valid_until);
        let valid_until = self.nodes[node].run.as_ref().and_then(works)?;
        let latest = self.clocks[node].true_of(valid_until + self.plan.nodes[node].grace);
        let outlives = self.rng.chance(self.plan.nodes[node].habits.outlives);
        if !outlives || latest <= self.now {
            return None;
        }
        let until = self.now + self.rng.between(1, latest - self.now);
        let epoch = self.nodes[node].epoch;
        self.nodes[node].orphans.push(epoch);
        self.stats.count(Extra::Orphan, 1);
        self.mark(Some(node), || Mark::OrphanLeft { until });
        self.at(until, Happening::OrphanEnds { node, epoch });
        Some(epoch)
    }

    fn crash(&mut self, node: usize, until: True, may_outlive: bool) {
        if !self.nodes[node].up {
            return;
        }
        let orphan = if may_outlive { self.leave_orphan(node) } else { None };
        self.belief_ends(node);
        self.checks.crashed(node, orphan);
        self.liveness.willing(node, None);
        let state = &mut self.nodes[node];
        state.up = false;
        state.run = None;
        state.epoch += 1;
        state.held_back_until = None;
        state.deferred.clear();
        (state.frozen_until, state.stalled_until) = (0, 0);
        let epoch = state.epoch;
        self.file_crashed(node);
        self.mark(Some(node), || Mark::Crashed { until });
        self.at(until, Happening::Start { node, epoch });
        if orphan.is_none() {
            self.push_death(node);
        }
    }

    fn cut_off(&mut self, node: usize, until: True, requests: bool, replies: bool) {
        let state = &mut self.nodes[node];
        for (cut, until_now) in
            [(requests, &mut state.requests_cut_until), (replies, &mut state.replies_cut_until)]
        {
            if cut {
                *until_now = until.max(*until_now);
            }
        }
        self.mark(Some(node), || Mark::CutOff { until });
    }

    fn disturb_clock(&mut self, node: usize, blow: Blow) {
        if blow == Blow::WallStep {
            self.nodes[node].wall_error = self.rng.next() >> 20;
            self.mark(Some(node), || Mark::WallStepped);
            return;
        }
        let rate = rate(&mut self.rng, self.plan.drift, self.mutant);
        let host = self.plan.nodes[node].host;
        for node in 0..self.nodes.len() {
            if self.plan.nodes[node].host == host {
                self.mark(Some(node), || Mark::Rate(rate));
                self.set_rate(node, rate);
            }
        }
    }

    fn user_acts(&mut self, node: usize, blow: Blow) {
        let run = self.nodes[node].run_id;
        let signal = match blow {
            Blow::TaskDone => {
                // Where that completes the task for good, the story ends with it.
                let completes = self.plan.nodes[node].settings.on_success
                    == leaderelection::OnSuccess::Complete;
                if completes && !self.rng.chance(50) {
                    return;
                }
                Signal::Task(Some(true))
            }
            Blow::TaskFails => Signal::Task(Some(false)),
            Blow::TaskGone => Signal::Task(None),
            _ => Signal::Stop,
        };
        match signal {
            Signal::Task(result) => self.mark(Some(node), || Mark::Reported(result)),
            _ => self.mark(Some(node), || Mark::UserStopped),
        }
        self.at(self.now, Happening::Tell { node, run, signal });
    }
}
