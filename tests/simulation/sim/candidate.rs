//! What a candidate's process does: it carries out the actions of its machine, and its work works.

use leaderelection::testing::{Action, End, Instant};
use leaderelection::{Incarnation, Intent, Liveness, OnSuccess, Outcome};

use super::check::Rule;
use super::mutant::Mutant;
use super::network::Call;
use super::plan::Push;
use super::stats::Extra;
use super::time::{MILLI, MINUTE, SECOND, True, nanos};
use super::trace::Mark;
use super::world::{Happening, Signal, Term, World};

impl World {
    /// Another number for each run. It tells the process too, so that its death can be proven.
    pub(super) fn next_incarnation(&mut self, node: usize) -> Incarnation {
        let state = &mut self.nodes[node];
        state.run_id += 1;
        let parts = [state.boot, state.epoch, state.run_id, node as u32];
        Incarnation(parts.iter().fold(0, |number, part| number << 32 | u128::from(*part)))
    }

    /// What `reader` can know of the process of `incarnation` where they are of one host and of one
    /// boot: that it lives, or what it has started does, or that nothing of it holds its companion.
    pub(super) fn liveness_of(&self, incarnation: Incarnation, reader: usize) -> Liveness {
        let [boot, epoch] = [96, 64].map(|shift| (incarnation.0 >> shift) as u32);
        let node = (incarnation.0 & 0xffff_ffff) as usize;
        let is_here = self.plan.nodes[node].host == self.plan.nodes[reader].host
            && self.nodes[reader].boot == boot;
        let is_gone = self.nodes[node].epoch != epoch;
        let works = self.nodes[node].orphans.contains(&epoch);
        match self.mutant {
            Some(Mutant::ProofBesideLivingWork) if is_here && is_gone => Liveness::Dead,
            // What stands here of that name belongs to nobody.
            Some(Mutant::ProofOfAnotherBoot) if !is_here => Liveness::Dead,
            _ if !is_here => Liveness::Unknown,
            _ if is_gone && !works => Liveness::Dead,
            _ => Liveness::Alive,
        }
    }

    /// The work of a process that is gone has ended, or was ended.
    pub(super) fn orphan_ends(&mut self, node: usize, epoch: u32) {
        if !self.nodes[node].orphans.contains(&epoch) {
            return;
        }
        self.nodes[node].orphans.retain(|orphan| *orphan != epoch);
        self.checks.orphan_ended(node, epoch);
        self.mark(Some(node), || Mark::OrphanEnded);
        self.push_death(node);
    }

    pub(super) fn carry_out(&mut self, node: usize, action: Action) {
        self.checks.action(self.now, node, &action, &self.clocks);
        match action {
            Action::Read { deadline } => self.send(node, Call::Read, deadline),
            Action::Write { intent, record, expected, deadline } => {
                let record = Box::new(record);
                self.send(node, Call::Write { intent, record, expected }, deadline);
            }
            Action::BeginTerm { fencing_token, valid_until } => {
                self.begin_term(node, fencing_token, valid_until);
            }
            Action::Extend { from, until } => self.extend(node, from, until),
            Action::StopWork => self.stop_work(node),
            Action::EndTerm => {
                self.belief_ends(node);
                self.mark(Some(node), || Mark::TermEnded);
            }
            Action::LeaderChanged(_) => {}
            Action::Lost(reason) => {
                self.stats.lost += 1;
                self.mark(Some(node), || Mark::Lost(reason));
            }
            Action::Finish { end, hold_back_until } => self.finish(node, end, hold_back_until),
        }
    }

    fn begin_term(&mut self, node: usize, token: u64, valid_until: Instant) {
        let is_valid = self.clocks[node].local(self.now) < valid_until;
        if is_valid {
            self.check_gap(node);
            // It may have become so after this term's claim.
            self.corrupted = self.is_corrupt();
            self.stats.terms += 1;
            let another = self.last_leader.is_some_and(|last| last != node);
            self.stats.take_overs += u64::from(another);
            self.last_leader = Some(node);
            self.mark(Some(node), || Mark::TermBegan { token });
        }
        self.liveness.willing(node, None);
        self.note(token);
        if let Some(run) = &mut self.nodes[node].run {
            let term = Term { valid_until, ended: !is_valid, works: true, is_returning: false };
            run.term = Some(term);
            self.work_begins(node);
        }
    }

    /// A gap without a leader ends at `node`, or has lasted until now.
    pub(super) fn check_gap(&mut self, node: usize) {
        for node in 0..self.nodes.len() {
            let led_until = self.believed_until(node);
            self.liveness.led_until(led_until);
        }
        let allowed = match self.corrupted {
            true => self.plan.longest_gap_when_corrupt(),
            false => self.plan.longest_gap(),
        };
        if self.checks.is_completed() {
            return;
        }
        self.checks.made[Rule::SomebodyLeads as usize] += 1;
        if let Some(gap) = self.liveness.check(self.now, allowed) {
            let text = format!(
                "nobody led for {} ms without a fault; at most {} ms are allowed",
                gap / MILLI,
                allowed / MILLI
            );
            self.checks.broken(self.now, node, Rule::SomebodyLeads, text);
        }
    }

    /// Until when, up to now, `node` believed in its present term; the beginning of time if it has
    /// none.
    fn believed_until(&self, node: usize) -> True {
        let term = self.nodes[node].run.as_ref().and_then(|run| run.term.as_ref());
        match term {
            Some(term) if !term.ended => self.clocks[node].true_of(term.valid_until).min(self.now),
            _ => 0,
        }
    }

    /// Whether `node` believes right now.
    pub(super) fn believes(&self, node: usize) -> bool {
        let term = self.nodes[node].run.as_ref().and_then(|run| run.term.as_ref());
        let now = self.clocks[node].local(self.now);
        term.is_some_and(|term| !term.ended && now < term.valid_until)
    }

    pub(super) fn belief_ends(&mut self, node: usize) {
        let until = self.believed_until(node);
        if let Some(term) = self.nodes[node].run.as_mut().and_then(|run| run.term.as_mut())
            && !term.ended
        {
            term.ended = true;
            self.liveness.led_until(until);
            self.trace.mark(until, Some(node), || Mark::BeliefEnded);
        }
    }

    /// As the elector does it: whoever finds that the old end has passed says so.
    fn extend(&mut self, node: usize, from: Instant, until: Instant) {
        let now = self.clocks[node].local(self.now);
        let id = self.nodes[node].run_id;
        let Some(term) = self.nodes[node].run.as_mut().and_then(|run| run.term.as_mut()) else {
            return;
        };
        let in_time = now < from && term.valid_until == from && !term.ended;
        if in_time || self.mutant == Some(Mutant::LateReplyRevives) {
            term.valid_until = until;
            self.checks.extended(self.now, node, until, &self.clocks);
        } else {
            let signal = Signal::ValidityEnded;
            self.at(self.now, Happening::Tell { node, run: id, signal });
        }
        self.mark(Some(node), || Mark::Extended { in_time });
    }

    /// What the work of a term will do by itself.
    fn work_begins(&mut self, node: usize) {
        let (habits, settings) = {
            let plan = &self.plan.nodes[node];
            (plan.habits.clone(), &plan.settings)
        };
        let shortest = nanos(settings.retry_period) / 4;
        let run = self.nodes[node].run_id;
        let at = self.now + self.rng.spread(shortest, 40 * MINUTE);
        if self.rng.chance(habits.reports) {
            let result = match self.rng.below(1000) {
                roll if roll < habits.succeeds => Some(true),
                roll if roll < habits.succeeds + habits.hangs_up => None,
                _ => Some(false),
            };
            self.at(at, Happening::WorkReports { node, run, result });
        } else if self.rng.chance(habits.returns_early) {
            self.at(at, Happening::WorkReturns { node, run, panicked: false });
        } else if self.rng.chance(habits.panics) {
            self.at(at, Happening::WorkReturns { node, run, panicked: true });
        }
    }

    fn stop_work(&mut self, node: usize) {
        self.mark(Some(node), || Mark::WorkToldToStop);
        self.work_will_return(node);
        // Work that was told to stop may still finish its task.
        if self.rng.chance(30) {
            let completes = self.plan.nodes[node].settings.on_success == OnSuccess::Complete;
            let success = !completes || self.rng.chance(100);
            let run = self.nodes[node].run_id;
            let at = self.now + self.rng.spread(MILLI, 10 * SECOND);
            self.at(at, Happening::WorkReports { node, run, result: Some(success) });
        }
    }

    fn work_will_return(&mut self, node: usize) {
        let stubborn = self.rng.chance(self.plan.nodes[node].habits.stubborn);
        self.stats.count(Extra::StubbornWork, u64::from(stubborn));
        let settings = &self.plan.nodes[node].settings;
        let most = match stubborn {
            true => 3 * nanos(settings.lease_duration),
            false => nanos(self.plan.nodes[node].grace).max(50 * MILLI),
        };
        let at = self.now + self.rng.spread(MILLI, most);
        let run = self.nodes[node].run_id;
        let Some(term) = self.nodes[node].run.as_mut().and_then(|run| run.term.as_mut()) else {
            return;
        };
        if term.works && !term.is_returning {
            term.is_returning = true;
            self.at(at, Happening::WorkReturns { node, run, panicked: false });
        }
    }

    pub(super) fn work_returns(&mut self, node: usize, run: u32, panicked: bool, what: Happening) {
        if !self.is_running(node, run) || self.is_held_up(node, false, what) {
            return;
        }
        let Some(term) = self.nodes[node].run.as_mut().and_then(|run| run.term.as_mut()) else {
            return;
        };
        if !std::mem::replace(&mut term.works, false) {
            return;
        }
        self.checks.work_returned(node);
        self.stats.count(Extra::WorkPanics, u64::from(panicked));
        self.mark(Some(node), || Mark::WorkReturned { panicked });
        let signal = Signal::WorkReturned { panicked };
        self.at(self.now, Happening::Tell { node, run, signal });
    }

    pub(super) fn work_reports(
        &mut self,
        node: usize,
        run: u32,
        result: Option<bool>,
        what: Happening,
    ) {
        if !self.is_running(node, run) || self.is_held_up(node, false, what) {
            return;
        }
        self.mark(Some(node), || Mark::Reported(result));
        self.at(self.now, Happening::Tell { node, run, signal: Signal::Task(result) });
        // What has reported returns, before it is told to or after.
        if self.rng.chance(700) {
            self.work_will_return(node);
        }
    }

    fn finish(&mut self, node: usize, end: End, hold_back_until: Option<Instant>) {
        self.mark(Some(node), || Mark::Finished(end));
        self.belief_ends(node);
        self.liveness.willing(node, None);
        let state = &mut self.nodes[node];
        state.run = None;
        state.held_back_until = hold_back_until;
        let rest = match end {
            End::Outcome(Outcome::AlreadyCompleted) => 30 * SECOND,
            _ => self.plan.nodes[node].habits.rest,
        };
        let at = self.now + 1 + self.rng.below(rest);
        let epoch = self.nodes[node].epoch;
        self.at(at, Happening::Start { node, epoch });
    }

    /// A write has been carried out by the store.
    pub(super) fn committed(&mut self, node: usize, intent: Intent, revision: u64) {
        self.stats.commits += 1;
        self.note(revision);
        self.mark(Some(node), || Mark::Committed { intent, revision });
        if self.checks.is_completed() {
            // Some more time, in which nobody may lead.
            self.end_at = self.end_at.min(self.now + 2 * MINUTE);
        }
        match self.plan.store.push {
            Push::Everything => self.push_wake_ups(node),
            Push::Changes if intent != Intent::Renew => self.push_wake_ups(node),
            _ => {}
        }
    }
}
