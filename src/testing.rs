//! For tests of locks and electors, ours and yours: a simulated clock, the contract suite that every
//! [`Lock`](crate::Lock) has to pass, and the pure state machine for simulators and model checkers.

pub use crate::clock::{Clock, Instant};
pub use crate::config::Settings;
pub use crate::election::{Action, Election, End, Event, Jitter, ReadReply, WriteReply};
