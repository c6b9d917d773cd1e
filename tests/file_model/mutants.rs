//! Rules of the file protocol, each broken on purpose.
//!
//! A mutant changes what passes between the real steps and the world, or a rule of the candidate
//! around them, so that the code that ships has no switch for it.

use std::sync::Arc;

use leaderelection::testing::file::{Op, Reply};

use crate::driver::{Doing, Running, incarnation_of};
use crate::scene::{Setup, World};

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// The listing that proves a claim is not made.
    NoListingAfterAClaim,
    /// The listing before a claim is not made: what was seen is believed to be the head still.
    NoListingBeforeAClaim,
    /// The generation that a claim follows is not read again.
    PredecessorNotRead,
    /// Generations are swept as soon as they are superseded.
    SweepWithoutItsWait,
    /// Generations are kept for less than the attempt window.
    KeepShorterThanTheWindow,
    /// Generations are swept a while after they were made, not after they were superseded.
    SweepByAge,
    /// The name of a claim that was lost is removed.
    RemovesItsStaleClaim,
    /// Whatever this incarnation has written counts as this attempt's.
    MineByIncarnation,
    /// A renewal that is sent again counts from then.
    RenewalTimedFromItsRetry,
    /// A renewal is sent, and counts, after the term's validity has ended.
    RenewalAfterTheDeadline,
    /// A completion counts when it can be read back.
    CompletionWithoutItsListing,
    /// An unknown reply is taken for success.
    UnknownIsSuccess,
    /// A claim counts however long it took.
    NoAttemptWindow,
    /// All machines are taken for one boot of one.
    WitnessOfAForeignBoot,
    /// What was claimed counts as superseding from when its predecessor was read.
    WitnessOfItsOwnClaim,
    /// The clock of a witness is read before the generation is.
    WitnessReadTooEarly,
    /// A candidate waits for its own lease, not for the holder's.
    OwnLease,
    /// A claim follows the highest generation ever seen, whatever its listing shows.
    ClaimAboveTheHighestEverSeen,
    /// A head that can't be read is waited for no longer than one's own lease.
    CorruptIsOwnLease,
    /// A release is believed, whatever stands below it.
    AnyReleaseIsHonoured,
}

impl Setup {
    /// What a mutant makes of a reply.
    pub fn bend(&self, world: &World, i: usize, doing: &mut Doing, reply: Reply) -> Reply {
        let (Some(mutant), Doing { running, op, text, created, .. }) = (self.mutant, doing) else {
            return reply;
        };
        let own = world.nodes[i].incarnation;
        match (mutant, &*running, &*op) {
            (Mutant::MineByIncarnation, Running::Claim(_) | Running::Renew(_), Op::Read(_)) => {
                match (&reply, text) {
                    (Reply::Text(read), Some(text)) if incarnation_of(read) == Some(own) => {
                        Reply::Text(text.clone())
                    }
                    _ => reply,
                }
            }
            (
                Mutant::PredecessorNotRead | Mutant::ClaimAboveTheHighestEverSeen,
                Running::Claim(claim),
                Op::Read(name),
            ) if *name < claim.generation() => {
                let head = world.nodes[i].view.as_ref().and_then(|view| view.head.as_ref());
                match head.filter(|head| head.generation == *name) {
                    Some(head) => head.text.clone().map_or(Reply::NotALink, Reply::Text),
                    None => Reply::Text((&b"?"[..]).into()),
                }
            }
            (Mutant::NoListingAfterAClaim, Running::Claim(claim), Op::List) if *created => {
                Reply::Listed(Arc::from([claim.generation()]))
            }
            (
                Mutant::NoListingBeforeAClaim | Mutant::ClaimAboveTheHighestEverSeen,
                Running::Claim(claim),
                Op::List,
            ) if !*created => {
                let head = claim.generation() - 1;
                let names: Vec<u64> = (head > 0).then_some(head).into_iter().collect();
                Reply::Listed(names.into())
            }
            (Mutant::SweepByAge, Running::Sweep(_), Op::List) => {
                let head = world.nodes[i].ruled.unwrap_or(0);
                let old = |name: &u64| {
                    let made = world.directory.made.get(name).copied().unwrap_or(0);
                    *name >= head || made + u64::from(self.keep) <= world.now
                };
                Reply::Listed(world.directory.names.keys().copied().filter(old).collect())
            }
            (Mutant::AnyReleaseIsHonoured, Running::Look(_), Op::Read(_)) => {
                match (&reply, &text) {
                    (_, Some(head)) => Reply::Text(head.clone()),
                    (Reply::Text(read), None) => {
                        *text = Some(read.clone());
                        reply
                    }
                    _ => reply,
                }
            }
            _ => reply,
        }
    }
}
