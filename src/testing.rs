//! For tests of locks and electors, ours and yours: a simulated clock, and the contract suite that
//! every [`Lock`](crate::Lock) has to pass.

pub use crate::clock::{Clock, Instant};
