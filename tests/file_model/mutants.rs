//! Rules of the file protocol, each broken on purpose.
//!
//! A mutant changes what passes between the real steps and the world, so that the code that ships
//! has no switch for it.

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// The name of a claim that was lost is removed.
    RemovesItsStaleClaim,
    /// An unknown reply is taken for success.
    UnknownIsSuccess,
}
