//! Rules of the file protocol, each broken on purpose.
//!
//! A mutant changes what passes between the real steps and the world, so that the code that ships has
//! no switch for it.

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// The listing after a claim is not made: the claim is taken for the head.
    NoListingAfterTheClaim,
    /// A generation is swept as soon as it is no longer the head.
    SweepsWithoutWaiting,
    /// An attempt counts however long it took.
    NoWindow,
    /// "Mine" is decided by the incarnation: another attempt of it passes for this one.
    MineByIncarnation,
    /// The name of a claim that was lost is removed.
    RemovesItsStaleClaim,
    /// A renewal counts from its retry instead of its first sending.
    RenewalTimedFromItsRetry,
    /// An unknown reply is taken for success.
    UnknownIsSuccess,
    /// A completion is not shown to be the head.
    CompletionWithoutListing,
}
