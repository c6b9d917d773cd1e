//! The rules, each broken on purpose: an adaptor between the real machine and the world lies to one
//! of them, so that the machine itself needs no hooks for it.

use std::time::Duration;

use leaderelection::testing::{Instant, ReadReply};
use leaderelection::{Incarnation, Intent, Observed, RecordKind, Revision};

use crate::world::{Node, Setup, UNIT, World, incarnation};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Validity counts from the reply of a write, not from before it was sent.
    DeadlineFromTheReply,
    /// An unknown renewal that is sent again counts from the second sending.
    RenewalTimedFromItsRetry,
    /// A candidate times an expiry from before the read that showed the record.
    TimerFromBeforeTheRead,
    /// A candidate waits for its own lease duration, not for the holder's.
    OwnLeaseInsteadOfTheHolders,
    /// A candidate does not start again when it sees a renewal.
    RenewalsUnseen,
    /// A write of unknown fate is taken as one that surely failed.
    UnknownTakenAsFailed,
    /// A confirmation after the deadline extends.
    LateReplyRevives,
    ReleaseBeforeTheWorkHasEnded,
    /// A record of the same name is taken as one's own, whatever its incarnation.
    SameNameIsOneself,
    /// The process of a holder that lives is said to be dead.
    TheLivingSaidToBeDead,
    ClaimWithoutComparing,
    /// The store uses its versions again after a release.
    ReleaseForgetsTheRevision,
    /// One clock runs faster against another than the settings allow for.
    DriftBeyondTheBound,
    /// A candidate's clock stops while it is suspended.
    ClockStopsInASuspend,
}

impl Setup {
    pub fn as_mutant_reads(&self, i: usize, node: &Node, reply: ReadReply) -> ReadReply {
        let ReadReply::Found { mut observed, liveness } = reply else {
            return reply;
        };
        let lease = self.candidates[i].lease;
        let record = &mut observed.record;
        match self.mutant {
            Some(Mutant::OwnLeaseInsteadOfTheHolders) => {
                record.lease_duration = UNIT * lease as u32;
            }
            Some(Mutant::SameNameIsOneself) if node.term().is_none() => {
                record.incarnation = Incarnation(incarnation(i, node.lives()));
            }
            Some(Mutant::RenewalsUnseen) if node.term().is_none() => hide_renewals(&mut observed),
            _ => {}
        }
        ReadReply::Found { observed, liveness }
    }

    /// The instant at which this candidate hears of a write's reply, if not now.
    pub fn as_mutant_hears(&self, node: &Node) -> Option<Instant> {
        let term = node.term().filter(|term| !term.ended && node.time() >= term.valid_until)?;
        let revives = self.mutant == Some(Mutant::LateReplyRevives);
        revives.then(|| term.valid_until - Duration::from_nanos(1))
    }

    pub fn as_mutant_expects(
        &self,
        world: &World,
        intent: Intent,
        expected: Option<Revision>,
    ) -> Option<Revision> {
        match (self.mutant, intent) {
            (Some(Mutant::RenewalsUnseen), Intent::Acquire) => {
                world.store.as_ref().map(|observed| observed.revision)
            }
            _ => expected,
        }
    }

    pub fn as_mutant_believes(&self, i: usize, node: &Node, until: Instant) -> Instant {
        match self.mutant {
            Some(Mutant::DeadlineFromTheReply) => node.time() + self.deadline(i),
            _ => until,
        }
    }

    pub fn as_mutant_extends(&self, i: usize, node: &Node, until: Instant) -> Instant {
        match (self.mutant, node.last_write()) {
            (Some(Mutant::DeadlineFromTheReply), _) => node.time() + self.deadline(i),
            (Some(Mutant::RenewalTimedFromItsRetry), Some(sent)) => sent + self.deadline(i),
            _ => until,
        }
    }

    fn deadline(&self, i: usize) -> Duration {
        UNIT * self.candidates[i].deadline as u32
    }
}

/// Makes every record of a term look like its first.
fn hide_renewals(observed: &mut Observed) {
    if observed.record.kind == RecordKind::Held {
        observed.revision = Revision(observed.record.fencing_token.unwrap_or_default());
    }
}
