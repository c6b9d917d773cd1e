//! For tests of locks and electors, ours and yours: a simulated clock, the [contract] suite that
//! every [`Lock`](crate::Lock) has to pass, a lock that injects faults, and the pure state machine
//! for simulators and model checkers.

pub mod contract;
mod faults;

pub use crate::clock::{Clock, Instant};
pub use crate::config::Settings;
pub use crate::election::{Action, Election, End, Event, Jitter, ReadReply, WriteReply};
#[cfg(shuttle)]
pub use crate::sync::{Mutant, random, refuse_threads, with_mutant};
pub use faults::{FaultLock, Injection, random_faults, scripted_faults};

/// The steps of the file protocol, pure, and the seam to the system calls that they ask for.
pub mod file {
    pub use crate::lock::file::claim::{Claim, Claimed, Predecessor};
    pub use crate::lock::file::entry::{
        CompanionId, Decoded, Entry, FORMAT, HolderFacts, MAX_TEXT_BYTES, Text, TooLong, Witness,
        checksum, decode, encode,
    };
    pub use crate::lock::file::finish::Finish;
    pub use crate::lock::file::layout::{MAX_GENERATION, Name, name_of, parse_name};
    pub use crate::lock::file::observe::{Content, Head, Observe, Sight};
    pub use crate::lock::file::renew::Renew;
    pub use crate::lock::file::step::{
        DirectoryId, Errno, Fault, FaultKind, KEEP, LONGEST_WINDOW, Next, Op, Reply, Step,
    };
    pub use crate::lock::file::store::Store;
    pub use crate::lock::file::sweep::{
        Memory, REMOVALS_A_CLAIM, REMOVALS_A_RENEWAL, Sweep, Swept,
    };
}
